"""Few-shot fits beside scikit-learn's: shots x draws x seven C of a linear probe, fits alone timed.

python benchmarks/fewshot.py [--classes 10 100] [--dim 512] [--draws 10] [--turns 3] [--out FILE.json]

Both fit the same float64 unit rows, one thread each. scikit-learn's LogisticRegression gets max_iter=1000 and tol=1e-8,
as the oracle of the tests; "loose" is its default tol, at which it ends far from the minimum where the penalty is weak.
Accuracy is that on held-out rows, of both sides at the C of seven that is best on validation rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from goal import Goal, report
from numpy.typing import NDArray

from geomclip.evaluations.asked import SHOTS
from geomclip.evaluations.fewshot import CHOOSING, GRID
from geomclip.evaluations.logistic import fit, spanned

MOST = {10: 0.2, 100: 2 / 3}
"""Of scikit-learn's seconds, by the number of classes."""
NEAR = 0.001
"""Accuracy that may differ."""
TEST, VALIDATION = 100, 4
"""Rows a class."""

Rows = NDArray[np.float64]


class Made:
    """Rows of classes that overlap, and draws of them."""

    def __init__(self, classes: int, dim: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.classes, self.centres = classes, self.rng.normal(size=(classes, dim))

    def rows(self, each: int) -> tuple[Rows, NDArray[np.int64]]:
        """So many unit rows of each class."""
        labels = np.repeat(np.arange(self.classes), each)
        rows = 0.12 * self.centres[labels] + self.rng.normal(size=(len(labels), self.centres.shape[1]))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def ours(draws: list[tuple[Rows, NDArray[np.int64]]], classes: int) -> tuple[float, list[list[tuple[Rows, Rows]]]]:
    """Seconds of all fits, and weights and biases of each draw and C."""
    rows = torch.from_numpy(np.stack([each for each, _ in draws]))
    labels = torch.from_numpy(np.stack([each for _, each in draws]))
    begin = time.perf_counter()
    inside, basis = spanned(rows)
    found, start = [], None
    for c in GRID:
        start = fit(
            inside, labels, classes, torch.full((len(draws),), c, dtype=torch.float64), start=start, tolerance=CHOOSING
        )
        found.append((basis @ start.weight, start.bias))
    seconds = time.perf_counter() - begin
    fits = [[(weight[i].numpy(), bias[i].numpy()) for weight, bias in found] for i in range(len(draws))]
    return seconds, fits


def theirs(draws: list[tuple[Rows, NDArray[np.int64]]], tolerance: float) -> float:
    """Seconds of the same by scikit-learn, one fit after the other."""
    from sklearn.linear_model import LogisticRegression

    seconds = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rows, labels in draws:
            for c in GRID:
                model = LogisticRegression(C=c, max_iter=1000, tol=tolerance)
                begin = time.perf_counter()
                model.fit(rows, labels)
                seconds += time.perf_counter() - begin
    return seconds


def right(fits: tuple[Rows, Rows], rows: tuple[Rows, Any]) -> float:
    """Share of rows whose class has the highest score."""
    return float(((rows[0] @ fits[0] + fits[1]).argmax(1) == rows[1]).mean())


def apart(
    fits: list[list[tuple[Rows, Rows]]],
    draws: list[tuple[Rows, NDArray[np.int64]]],
    checked: tuple[Rows, Any],
    test: tuple[Rows, Any],
) -> float:
    """How far the mean accuracy is from that of a fit that has converged, at the C that is best on validation rows.

    By scikit-learn's newton-cg: its lbfgs ends early where the penalty is weak, whatever its tol.
    """
    from sklearn.linear_model import LogisticRegression

    differences = []
    for own, (rows, labels) in zip(fits, draws, strict=True):
        best = int(np.argmax([right(each, checked) for each in own]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a line search that can go no further
            model = LogisticRegression(C=GRID[best], solver="newton-cg", tol=1e-13, max_iter=1000).fit(rows, labels)
        differences.append(right(own[best], test) - float(model.score(*test)))
    return abs(statistics.fmean(differences))


def compared(classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides at all numbers of shots: medians over turns."""
    made = Made(classes, options.dim, seed=classes)
    test, checked = made.rows(TEST), made.rows(VALIDATION)
    draws = {shots: [made.rows(shots) for _ in range(options.draws)] for shots in SHOTS}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": [], "loose": []}
    worst = 0.0
    for turn in range(options.turns):
        sums = dict.fromkeys(seconds, 0.0)
        for drawn in draws.values():
            took, fits = ours(drawn, classes)
            sums["ours"] += took
            sums["theirs"] += theirs(drawn, 1e-8)
            sums["loose"] += theirs(drawn, 1e-4)
            if not turn:  # the same each time
                worst = max(worst, apart(fits, drawn, checked, test))
        for side, value in sums.items():
            seconds[side].append(value)
    return {
        "classes": classes,
        "fits": len(SHOTS) * options.draws * len(GRID),
        **{f"{side} s": statistics.median(each) for side, each in seconds.items()},
        "ratio": statistics.median(a / b for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)),
        "accuracy differs by": worst,
    }


def main() -> None:
    """Measure beside scikit-learn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [compared(classes, options) for classes in options.classes]
    goals = []
    for row in rows:
        most = MOST.get(row["classes"], MOST[100])
        name = f"few-shot fits, {row['classes']} classes"
        goals.append(Goal(name, row["ratio"], most, why=f"of scikit-learn's seconds, {row['fits']} fits"))
        goals.append(Goal(f"{name}: accuracy", row["accuracy differs by"], NEAR, why="differs from scikit-learn's"))
    report("Few-shot fits", goals, rows, options.out)


if __name__ == "__main__":
    main()
