"""Confusions: which classes are taken for which, and whether names and labels seem to be in other orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHOWN = 10
"""Pairs of classes that a result names."""
RAISED = 0.2
"""So much more accuracy under another matching of labels and names is no accident of a poor model."""
SHUFFLES = 20
"""Matchings of predictions without any tie to the labels, none of which may gain as much."""


def confusion(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """How many images of each class are called by each (c, c), int64.

    Examples
    --------
    >>> confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return torch.bincount(labels.long() * classes + predictions.long(), minlength=classes**2).view(classes, classes)


def most_confused(table: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of classes that are confused most, those of more images first: at most `SHOWN`.

    Each has `right`, `called`, `count`, and `share`, of the images of the right class.
    """
    wrong = table.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:SHOWN].tolist()
    rows = [(place // len(table), place % len(table)) for place in order]
    return [
        {
            "right": names[right],
            "called": names[called],
            "count": int(wrong[right, called]),
            "share": float(wrong[right, called] / table[right].sum()),
        }
        for right, called in rows
        if wrong[right, called]
    ]


def permuted(labels: Tensor, predictions: Tensor, names: Sequence[str], seed: int) -> str:
    """A line where another matching of labels and names would be far more often right; "" where none would.

    The matching is the best of all (Kuhn 1955, the Hungarian method). It gains some accuracy for any predictions, the
    more the fewer images a class has: so it must gain more than of predictions that were shuffled among the images.
    """
    gain, match, accuracy = _best(labels, predictions, len(names))
    if gain <= RAISED:
        return ""
    rng = np.random.default_rng([seed, 3])
    for _ in range(SHUFFLES):
        shuffled = predictions[torch.from_numpy(rng.permutation(len(predictions)))]
        if _best(labels, shuffled, len(names))[0] >= gain:
            return ""
    other = next(place for place, called in enumerate(match) if called != place and (labels == place).any())
    return (
        f"labels and names of classes seem to be in other orders: accuracy is {100 * accuracy:.0f} %, and "
        f"{100 * (accuracy + gain):.0f} % under another matching (images of {names[other]} are called "
        f"{names[match[other]]}): check the order of the class names"
    )


def _best(labels: Tensor, predictions: Tensor, classes: int) -> tuple[float, list[int], float]:
    """How much accuracy the best matching gains, of each class the name that it has there, and the accuracy now."""
    from scipy.optimize import linear_sum_assignment

    table = confusion(labels, predictions, classes)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    right, now = int(table.numpy()[rows, columns].sum()), int(table.diagonal().sum())
    return (right - now) / len(labels), columns.tolist(), now / len(labels)
