"""Bins of confidence: what calibration errors add up, and the reliability diagram that shows them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 15

Z95 = 1.959963984540054
"""Standard deviations of a normal that hold 95 % of it, to either side."""


def bin_of(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Index of the equal-width bin (lo, hi] of each confidence, the first one closed at 0.

    Examples
    --------
    >>> bin_of(torch.tensor([0.0, 0.5, 0.51, 1.0]), bins=2).tolist()
    [0, 0, 1, 1]
    """
    return torch.bucketize(confidence.double(), torch.arange(1, bins, dtype=torch.float64) / bins)


def reliability(confidence: Tensor, hit: Tensor, *, bins: int = BINS) -> list[dict[str, float | int | None]]:
    """The reliability diagram: per bin its edges, count, accuracy with Wilson interval, and mean confidence.

    Bins as in `ece`; in an empty bin everything but the edges and the count is None.

    Examples
    --------
    >>> reliability(torch.tensor([0.75, 0.75]), torch.tensor([1, 0]), bins=2)[1]["accuracy"]
    0.5
    """
    confidence, hit = checked_queries(torch.as_tensor(confidence), torch.as_tensor(hit))
    rows: list[dict[str, float | int | None]] = []
    for b, (count, right, sure) in enumerate(torch.stack(bin_sums(confidence, hit, bins), dim=1).tolist()):
        low, high = wilson_interval(right, count) if count else (None, None)
        rows.append(
            {
                "low": b / bins,
                "high": (b + 1) / bins,
                "count": int(count),
                "accuracy": right / count if count else None,
                "confidence": sure / count if count else None,
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return rows


def wilson_interval(hits: float, count: float, *, z: float = Z95) -> tuple[float, float]:
    """95 % interval of a share of hits out of count; another z is another level.

    References
    ----------
    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22.

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson_interval(5, 10)]
    [0.2366, 0.7634]
    """
    if not (count > 0 and 0 <= hits <= count):
        raise ValueError(f"hits must be 0 to count, and count above 0, got {hits} of {count}")
    share = hits / count
    middle = share + z**2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def checked_queries(confidence: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    """Confidences and hits (n,) in float64; ValueError where they are none."""
    if confidence.ndim != 1 or confidence.shape != hit.shape or len(hit) == 0:
        raise ValueError(f"need (n,) and (n,), n at least 1, got {tuple(confidence.shape)} and {tuple(hit.shape)}")
    confidence, hit = confidence.double().contiguous(), hit.double()
    bad = ~((confidence >= 0) & (confidence <= 1 + 1e-6))  # a float32 softmax can pass 1 by rounding
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(f"confidence must be 0 to 1, query {row} has {float(confidence[row])}")
    return confidence.clamp(max=1), hit


def bin_sums(confidence: Tensor, hit: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, hits and summed confidence of each bin: (bins,) each."""
    index = bin_of(confidence, bins)
    sums = [
        torch.zeros(bins, dtype=torch.float64).index_add(0, index, value)
        for value in (torch.ones_like(hit), hit, confidence)
    ]
    return sums[0], sums[1], sums[2]
