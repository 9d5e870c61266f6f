"""Zero-shot classification: the class whose text is nearest, and how well its probability is calibrated."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from geomclip.metrics.bins import BINS
from geomclip.metrics.calibration_scores import ace, brier, class_bin_gaps, ece, mce, smece
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.sweep import TIE

CELLS = 4_000_000
"""Scores held at a time: 32 MB."""


@on_unit_rows
def zeroshot(image: Tensor, labels: Tensor, class_text: Tensor, *, logit_scale: float) -> dict[str, Tensor]:
    """Accuracy and calibration of classifying images by their nearest class text. Rows are normalised.

    The rank of the right class is 1 + the number of other classes with a score no lower than its own − 1e-9
    (a tie counts against the image); probabilities are the softmax of logit_scale · cosine.

    Parameters
    ----------
    image : Tensor of shape (n, d)
    labels : integer Tensor of shape (n,)
        Row of class_text that is right for each image.
    class_text : Tensor of shape (c, d)
        c at least 2.
    logit_scale : float
        1/temperature of the model, as a factor.

    Returns
    -------
    dict of 0-d float64 tensors
        `zeroshot_acc1`, `zeroshot_acc5`, `zeroshot_mean_per_class_recall` (over classes that have an image):
        higher is better, 0 to 1. `zeroshot_ece`, `_mce`, `_ace`, `_smece`, `_classwise_ece` (0 to 1),
        `zeroshot_brier` (0 to 2), `zeroshot_nll` (0 up): lower is better.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or logit_scale is not positive.

    References
    ----------
    Radford et al. (2021), "Learning transferable visual models from natural language supervision", ICML.

    Examples
    --------
    >>> answer = zeroshot(torch.eye(3), torch.tensor([0, 1, 1]), torch.eye(3), logit_scale=100.0)
    >>> round(answer["zeroshot_acc1"].item(), 6), answer["zeroshot_mean_per_class_recall"].item()
    (0.666667, 0.75)
    """
    return zeroshot_whole(image, labels, class_text, logit_scale=logit_scale)[0]


def zeroshot_whole(
    image: Tensor, labels: Tensor, class_text: Tensor, *, logit_scale: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What `zeroshot` and `zeroshot_queries` return, of unit rows, from one pass over the scores."""
    _check(image, labels, class_text, logit_scale)
    found, gaps = [], torch.zeros(len(class_text), BINS, dtype=torch.float64)
    for queries, probability, label in _blocks(image, labels, class_text, logit_scale):
        found.append(queries)
        gaps += class_bin_gaps(probability, label)
    queries = _joined(found)
    confidence, hit, rank = queries["confidence"], queries["hit"], queries["rank"]
    right = torch.zeros(len(class_text), dtype=torch.float64).index_add(0, labels.long(), hit)
    count = torch.bincount(labels.long(), minlength=len(class_text))
    values = {
        "acc1": hit.mean(),
        "acc5": (rank <= 5).double().mean(),
        "mean_per_class_recall": (right[count > 0] / count[count > 0]).mean(),
        "ece": ece(confidence, hit),
        "mce": mce(confidence, hit),
        "ace": ace(confidence, hit),
        "smece": smece(confidence, hit),
        "brier": brier(queries["squares"], queries["own"]),
        "nll": queries["nll"].mean(),
        "classwise_ece": gaps.abs().sum(dim=1).mean() / len(image),
    }
    return {f"zeroshot_{key}": value for key, value in values.items()}, queries


@on_unit_rows
def zeroshot_queries(image: Tensor, labels: Tensor, class_text: Tensor, *, logit_scale: float) -> dict[str, Tensor]:
    """What `zeroshot` adds up, image by image; arguments as there. Rows are normalised.

    Returns
    -------
    dict
        Float64 (n,): `confidence` (largest probability), `hit` (0 or 1), `rank` (1 is first), `own`
        (probability of the right class), `nll`, `squares` (Σ p²). And `prediction` (n,), int64.

    Examples
    --------
    >>> queries = zeroshot_queries(torch.eye(2), torch.tensor([0, 0]), torch.eye(2), logit_scale=1.0)
    >>> queries["rank"].tolist(), queries["prediction"].tolist()
    ([1.0, 2.0], [0, 1])
    """
    _check(image, labels, class_text, logit_scale)
    return _joined([queries for queries, _, _ in _blocks(image, labels, class_text, logit_scale)])


def _blocks(
    image: Tensor, labels: Tensor, class_text: Tensor, logit_scale: float
) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """For some images at a time: what `zeroshot_queries` returns, the probabilities (b, c), and the labels (b,)."""
    step = max(1, CELLS // len(class_text))
    turned = class_text.double().T
    for rows, label in zip(image.split(step), labels.long().split(step), strict=True):
        right = label[:, None]
        score = rows.double() @ turned  # (b, c)
        log_probability = (logit_scale * score).log_softmax(dim=1)
        rank = (score >= score.gather(1, right) - TIE).sum(dim=1).double()  # the right class counts itself
        probability = log_probability.exp()
        queries = {
            "confidence": probability.amax(dim=1),
            "hit": (rank == 1).double(),
            "rank": rank,
            "own": probability.gather(1, right)[:, 0],
            "nll": -log_probability.gather(1, right)[:, 0],
            "squares": probability.square().sum(dim=1),
            "prediction": score.argmax(dim=1),
        }
        yield queries, probability, label


def _joined(found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([queries[key] for queries in found]) for key in found[0]}


def _check(image: Tensor, labels: Tensor, class_text: Tensor, logit_scale: float) -> None:
    if image.ndim != 2 or class_text.ndim != 2 or image.shape[1] != class_text.shape[1]:
        shapes = f"{tuple(image.shape)} and {tuple(class_text.shape)}"
        raise ValueError(f"image (n, d) and class_text (c, d) must share d, got {shapes}")
    if len(image) == 0 or len(class_text) < 2:
        raise ValueError(f"need 1 image and 2 classes at least, got {len(image)} and {len(class_text)}")
    if labels.shape != (len(image),):
        raise ValueError(f"labels have shape {tuple(labels.shape)} for {len(image)} images")
    if labels.min() < 0 or labels.max() >= len(class_text):
        row = int(((labels < 0) | (labels >= len(class_text))).nonzero()[0])
        raise ValueError(f"label {row} is {int(labels[row])}, outside the {len(class_text)} classes")
    if not 0 < logit_scale < float("inf"):
        raise ValueError(f"logit_scale must be positive and finite, got {logit_scale}")
