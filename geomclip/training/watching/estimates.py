"""Estimates: the numbers of one batch, cheap enough for every step: of at most 128 of its rows, spread evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.machine.threads import one_torch_thread
from geomclip.metrics.shape import RANKME_EPSILON

ROWS = 128
"""Rows of a batch that are looked at: a few milliseconds a step, whatever the batch."""

KEYS = (
    "alignment",
    "uniformity_image",
    "uniformity_text",
    "modality_gap",
    "rankme_image",
    "rankme_text",
    "mean_cosine_image",
    "mean_cosine_text",
)
"""What is estimated, under the keys of the panel."""


def sample(rows: Tensor, most: int = ROWS) -> Tensor:
    """At most so many rows, spread evenly over a batch (n, d), without gradients; no generator is drawn from.

    Examples
    --------
    >>> sample(torch.arange(10.0)[:, None], 4)[:, 0].tolist()
    [0.0, 2.0, 5.0, 7.0]
    """
    rows = rows.detach()
    count = len(rows)
    if count <= most:
        return rows
    return rows[torch.tensor([i * count // most for i in range(most)], device=rows.device)]


def estimates(image: Tensor, text: Tensor) -> dict[str, float]:
    """Alignment, uniformity, gap, RankMe and mean cosine of a sample of pairs: float rows (n, d) on the CPU.

    The definitions are those of the panel, of these rows alone: they move with the batch, and RankMe is at most n.
    Rows with NaN, or without direction, make all of them NaN.

    Returns
    -------
    dict of str to float
        The keys are `KEYS`.

    Examples
    --------
    >>> found = estimates(torch.eye(4), torch.eye(4))
    >>> found["alignment"], round(found["rankme_image"], 3)
    (0.0, 4.0)
    """
    with one_torch_thread():
        try:
            image, text = normalize(image)[0].double(), normalize(text)[0].double()
        except ValueError:
            return dict.fromkeys(KEYS, math.nan)
        gap = (image.mean(0) - text.mean(0)).norm()
        found = {"alignment": (image - text).square().sum(1).mean(), "modality_gap": gap}
        for cloud, rows in (("image", image), ("text", text)):
            found |= {f"{name}_{cloud}": value for name, value in _of_cloud(rows).items()}
    return {key: float(found[key]) for key in KEYS}


def _of_cloud(rows: Tensor) -> dict[str, Tensor]:
    """The numbers of unit rows (n, d) from their cosines alone, which few rows have at hand: no sweep, one product.

    RankMe is of the square roots of the eigenvalues of these cosines, which are the singular values of the rows.
    """
    cosines = rows @ rows.T  # (n, n)
    others = ~torch.eye(len(rows), dtype=torch.bool)
    different = cosines[others]
    values = torch.linalg.eigvalsh(cosines)[-rows.shape[1] :].clamp(min=0).sqrt()
    return {
        "uniformity": (4 * (different - 1)).exp().mean().log(),  # exp(-2 |x - y|²), |x - y|² = 2 - 2 cos
        "mean_cosine": different.mean(),
        "rankme": torch.special.entr(values / values.sum() + RANKME_EPSILON).sum().exp(),
    }


@dataclass(frozen=True, eq=False)
class Batch:
    """The sample of a batch, perhaps still on its way from a GPU."""

    step: int
    size: int
    image: Tensor
    text: Tensor
    logit_scale: Tensor | float | None
    logit_bias: Tensor | float | None
    copied: Any = None  # the event after which it is here


def on_the_way(
    step: int, image: Tensor, text: Tensor, logit_scale: Tensor | float | None, logit_bias: Tensor | float | None
) -> Batch:
    """The sample of a batch, copied from a GPU without waiting for it."""
    later = image.device.type == "cuda"
    rows = [sample(each).to("cpu", non_blocking=later) for each in (image, text)]
    numbers = [
        each.detach().to("cpu", non_blocking=later) if isinstance(each, Tensor) else each
        for each in (logit_scale, logit_bias)
    ]
    copied = None
    if later:
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(image.device))
    return Batch(step, len(image), rows[0], rows[1], numbers[0], numbers[1], copied)
