"""Maps of very many points beside an earlier commit: DOSNES and HeatGeodesic, their time and what they keep.

python benchmarks/large.py [--points 100000] [--heat-points 50000] [--dim 512] [--turns 1] [--maps dosnes heat]
                           [--before REVISION or FOLDER] [--out FILE.json]

The code of this tree and of the earlier one run in turns, each fit in a process of its own, after a smaller one that
compiles what numba compiles. Ratios are of the seconds that the processors worked, which other work on the machine
moves less than those on the clock; both are told. DOSNES draws unit rows in two cones, `kept` is the share of the 15
nearest of 500 rows that are among their 15 nearest on the map; HeatGeodesic draws a Swiss roll, `kept` is Pearson's
correlation of drawn distances with those along the roll.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from alone import alone, measured
from goal import Goal, report
from sphere import made
from unchanged import tree_of

BEFORE = "0d5664b"
"""The commit whose maps of many points are the measure."""
MOST = {"dosnes": 1 / 3, "heat": 1 / 2}
"""Of its time."""
MOST_BESIDE = 1 / 5
"""Of the time of DOSNES without the search for neighbours; one of the two is the goal."""
K, LOOKED_AT = 15, 5000
KEPT = {"dosnes": 0.99, "heat": 0.999}
"""Of what the earlier maps keep: chance moves it by less."""


def rolled(points: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """A Swiss roll in many dimensions, and its sheet laid flat."""
    draw = np.random.default_rng(0)
    turn, height = 1.5 * np.pi * (1 + 2 * draw.random(points)), 21 * draw.random(points)
    along = (turn * np.sqrt(turn * turn + 1) + np.arcsinh(turn)) / 2
    x = np.stack([turn * np.cos(turn), height, turn * np.sin(turn)], axis=1)
    if dim > 3:
        x = x @ np.linalg.qr(draw.standard_normal((dim, 3)))[0].T
    x += 0.1 * np.sqrt(3 / dim) * draw.standard_normal(x.shape)
    return x.astype(np.float32), np.stack([along, height], axis=1)


def compiled(method: str, x: np.ndarray) -> None:
    """A small fit by the ways that a large one goes."""
    from geomclip.projections import DOSNES, HeatGeodesic
    from geomclip.projections import neighbors as search

    some = x[:: max(1, len(x) // 4000)]
    count = min(90, len(some) - 1)
    search.nearest(some, count, metric="euclidean", method="approximate")
    if method == "heat":
        HeatGeodesic(random_state=0, n_landmarks=min(200, len(some) // 2)).fit(some)
        return
    module = sys.modules[DOSNES.__module__]
    limit = getattr(module, "QUICK_FROM", None)
    for quick_from in {limit, None if limit is None else 0}:
        if quick_from is not None:
            module.QUICK_FROM = quick_from  # type: ignore[attr-defined]
        DOSNES(random_state=0, n_iter=130, repulsion="cells").fit(some)
    if limit is not None:
        module.QUICK_FROM = limit  # type: ignore[attr-defined]


def fit(method: str, data: Path, out: Path) -> dict[str, Any]:
    """One map in this process: its rows to `out`, and its figures; by whichever geomclip is first on the path."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    x = np.load(data)
    compiled(method, x)
    from geomclip.projections import DOSNES, HeatGeodesic
    from geomclip.projections import neighbors as search

    spent, nearest = [0.0], search.nearest

    def timed(*arguments: Any, **options: Any) -> Any:
        begin = time.process_time()
        found = nearest(*arguments, **options)
        spent[0] += time.process_time() - begin
        return found

    search.nearest = timed
    estimator = DOSNES(random_state=0) if method == "dosnes" else HeatGeodesic(random_state=0)
    drawn, figures = measured(lambda: estimator.fit_transform(x))
    np.save(out, drawn)
    end = {"KL": estimator.kl_divergence_} if method == "dosnes" else {"stress": estimator.stress_}
    return {"CPU s": figures["cpu_seconds"], "of it search": spent[0], "seconds": figures["seconds"], **end}


def preserved(x: np.ndarray, drawn: np.ndarray) -> float:
    """Share of the nearest of some rows that are nearest on the map too."""
    rows = np.random.default_rng(0).choice(len(x), min(LOOKED_AT, len(x)), replace=False)
    k, found = min(K, len(x) - 1), []
    for points in (x, drawn.astype(np.float64)):
        apart = (points**2).sum(axis=1) - 2 * points[rows] @ points.T
        apart[np.arange(len(rows)), rows] = np.inf
        found.append(np.argpartition(apart, k - 1, axis=1)[:, :k])
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*found, strict=True)]))


def along(flat: np.ndarray, drawn: np.ndarray) -> float:
    """Correlation of drawn and true distances."""
    i, j = np.random.default_rng(1).integers(len(flat), size=(2, 200_000))
    lengths = [np.linalg.norm(points[i] - points[j], axis=1) for points in (flat, drawn)]
    return float(np.corrcoef(*lengths)[0, 1])


def turns(method: str, trees: Mapping[str, Path], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a side: medians of its turns."""
    points = options.points if method == "dosnes" else options.heat_points
    x, flat = (made(points, options.dim), None) if method == "dosnes" else rolled(points, options.dim)
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in trees}
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "x.npy", Path(folder) / "rows.npy"
        np.save(data, x)
        for turn in range(options.turns):
            for side in list(trees)[:: 1 if turn % 2 == 0 else -1]:
                figures = alone(__file__, "--fit", method, data, out, tree=trees[side])
                drawn = np.load(out)
                figures["kept"] = preserved(x, drawn) if flat is None else along(flat, drawn)
                found[side].append(figures)
                print(f"{method}, {side}: {figures['CPU s']:.1f} s of the processors", flush=True)
    rows = []
    for side, each in found.items():
        row = {method: side, "points": points, "dim": options.dim}
        rows.append(row | {name: statistics.median(one[name] for one in each) for name in each[0]})
    return rows


def goals(method: str, rows: list[dict[str, Any]], of: str) -> list[Goal]:
    """Time and truth beside the earlier commit's."""
    before, now = rows
    size = f"{now['points']:,} x {now['dim']}"
    share = now["CPU s"] / before["CPU s"]
    beside = [row["CPU s"] - row["of it search"] for row in (now, before)]
    rest = f"; {beside[0] / beside[1]:.2f} without the search for neighbours"
    if method == "dosnes":
        rest += f", where {MOST_BESIDE:g} would do as well"
    return [
        Goal(f"{method} of many points", share, MOST[method], why=f"of the time of {of}, {size}{rest}"),
        Goal(
            f"what {method} keeps",
            now["kept"] / before["kept"],
            KEPT[method],
            better="higher",
            why=f"{now['kept']:.4f} beside {before['kept']:.4f}, {size}",
        ),
    ]


def main() -> None:
    """Draw by both trees, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--heat-points", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--maps", nargs="+", choices=MOST, default=list(MOST))
    parser.add_argument("--before", default=BEFORE, metavar="REVISION")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fit", nargs=3, metavar=("METHOD", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit is not None:
        print(json.dumps(fit(options.fit[0], Path(options.fit[1]), Path(options.fit[2]))))
        return
    rows: list[dict[str, Any]] = []
    found: list[Goal] = []
    with tree_of(options.before) as before:
        for method in options.maps:
            own = turns(method, {"before": before, "now": Path(__file__).resolve().parents[1]}, options)
            rows += own
            found += goals(method, own, f"commit {options.before}")
    report("Maps of very many points", found, rows, options.out)


if __name__ == "__main__":
    main()
