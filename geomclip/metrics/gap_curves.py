"""What closing the gap does: the clouds shifted together, or cut in the dimensions that carry the gap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.metrics.gap import modality_gap, owners
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.retrieval import retrieval
from geomclip.metrics.uniformity import uniformity_joint

SHIFTS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""In units of the gap: 0 leaves the clouds, 1 moves each mean half-way to the other, above 1 they pass."""


@on_unit_rows
def gap_shift_curve(
    x: Tensor, y: Tensor, image_of_text: Tensor | None = None, *, shifts: Sequence[float] = SHIFTS
) -> dict[str, Tensor]:
    """Gap, recall and uniformity as both clouds are shifted along the gap and put back on the sphere.
    Rows are normalised.

    With Δ = mean x − mean y and shift λ: x' = norm(x − λΔ/2), y' = norm(y + λΔ/2). The embedding-shift
    baseline is one point of this curve.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Images.
    y : Tensor of shape (m, d)
        Texts.
    image_of_text : integer Tensor of shape (m,), optional
    shifts : sequence of s float
        In units of the gap.

    Returns
    -------
    dict of float64 tensors of shape (s,)
        `shift`, `modality_gap`, `text_retrieval_recall@1`, `image_retrieval_recall@1`, `uniformity_joint`.

    Raises
    ------
    ValueError
        If a shift moves a row onto the origin, or both means are one point, so that there is no direction.

    References
    ----------
    Liang et al. (2022), "Mind the gap", NeurIPS.

    Examples
    --------
    >>> curve = gap_shift_curve(torch.eye(4), -torch.eye(4), shifts=(0.0, 1.0))
    >>> [round(gap, 6) for gap in curve["modality_gap"].tolist()]
    [1.0, 0.0]
    """
    own = owners(x, y, image_of_text)
    half = (x.double().mean(dim=0) - y.double().mean(dim=0)).to(x.dtype) / 2
    if not half.any():
        raise ValueError("the mean of x is the mean of y, so the gap has no direction to shift along")
    points = []
    for shift in shifts:
        image, _ = normalize(x - shift * half, name=f"x shifted by {shift:g} of the gap")
        text, _ = normalize(y + shift * half, name=f"y shifted by {shift:g} of the gap")
        points.append({"shift": torch.tensor(shift, dtype=torch.float64), **_measured(image, text, own)})
    return _columns(points)


@on_unit_rows
def gap_ablation_curve(x: Tensor, y: Tensor, image_of_text: Tensor | None = None) -> dict[str, Tensor]:
    """Gap, recall and uniformity as the dimensions in which the means differ most are removed. Rows are normalised.

    The k dimensions of largest |mean x − mean y| are set to 0 in both clouds and the rows put back on the
    sphere, k = 0, 1, 2, 4, 8, ... below d; the curve ends where a row has nothing left.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (m, d)
    image_of_text : integer Tensor of shape (m,), optional

    Returns
    -------
    dict of float64 tensors of shape (s,)
        `removed`, `modality_gap`, `text_retrieval_recall@1`, `image_retrieval_recall@1`, `uniformity_joint`.

    References
    ----------
    Schrodi et al. (2025), "Two effects, one trigger", ICLR: a few dimensions carry the gap.

    Examples
    --------
    >>> x = torch.tensor([[0.6, 0.8, 0.0], [0.6, 0.0, 0.8]])
    >>> curve = gap_ablation_curve(x, x * torch.tensor([-1.0, 1.0, 1.0]))
    >>> [round(gap, 6) for gap in curve["modality_gap"].tolist()]
    [1.2, 0.0]
    """
    own = owners(x, y, image_of_text)
    order = (x.double().mean(dim=0) - y.double().mean(dim=0)).abs().argsort(descending=True, stable=True)
    points = []
    removed = 0
    while removed < x.shape[1]:
        kept = torch.ones(x.shape[1], dtype=x.dtype)
        kept[order[:removed]] = 0
        image, text = x * kept, y * kept
        if not (image.any(dim=1).all() and text.any(dim=1).all()):
            break
        image, text = normalize(image)[0], normalize(text)[0]
        points.append({"removed": torch.tensor(removed, dtype=torch.float64), **_measured(image, text, own)})
        removed = max(1, 2 * removed)
    return _columns(points)


def _measured(image: Tensor, text: Tensor, own: Tensor) -> dict[str, Tensor]:
    found = retrieval(image, text, own)
    return {
        "modality_gap": modality_gap(image, text),
        "text_retrieval_recall@1": found["text_retrieval_recall@1"],
        "image_retrieval_recall@1": found["image_retrieval_recall@1"],
        "uniformity_joint": uniformity_joint(image, text),
    }


def _columns(points: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([point[key] for point in points]) for key in points[0]}
