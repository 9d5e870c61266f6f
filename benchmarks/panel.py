"""Time and memory of the panel, as ratios to the bare matrix products of the same sizes in the same run.

python benchmarks/panel.py [--images 5000] [--texts-per-image 5] [--dim 512] [--turns 3] [--out FILE.json]

The limit is the blocked products x yᵀ, x xᵀ and y yᵀ, all blocks, nothing done with them. Products, the folds of the
default panel in its three sweeps, and the panel take turns; the ratio of each turn is taken, then the median. The
nulls are timed apart (they are cached), and so is the loading of compiled loops, in a process of its own, from the
cache that an earlier one left. Memory is the peak of a process of its own above its inputs.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from alone import alone, measured
from goal import Goal, report
from made import folds, made, pairings, products, warm_up

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics.sweep import load_kernels
from geomclip.panels.measurement import measure

APART = ("nulls", "temperature", "curves", "kernels")
"""Stages that are timed apart from the panel: cached, asked for, or paid once."""


def seconds_of_folds(embeddings: EmbeddingSet) -> float:
    """Of every fold of the default panel, in its three sweeps."""
    begin = time.perf_counter()
    folds(pairings(embeddings))
    return time.perf_counter() - begin


def panel(embeddings: EmbeddingSet, bootstrap: int) -> tuple[float, dict[str, float]]:
    """Seconds of the panel less the stages timed apart, and the seconds of each stage."""
    begin = time.perf_counter()
    stages = dict(measure(embeddings, bootstrap=bootstrap).seconds)
    return time.perf_counter() - begin - sum(stages.get(name, 0.0) for name in APART), stages


def in_a_process(embeddings: EmbeddingSet, bootstrap: int) -> dict[str, float]:
    """For a process of its own: what loading compiled loops takes, and the peak of a panel above its inputs."""
    begin = time.perf_counter()
    missing = load_kernels()
    loading = time.perf_counter() - begin
    if missing:
        raise SystemExit(missing)
    _, used = measured(lambda: measure(embeddings, bootstrap=bootstrap))
    return {"kernels_s": loading, "peak_gb": used["peak_gb"]}


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = (options.images, options.texts_per_image, options.dim)
    embeddings = made(*size)
    if options.alone is not None:
        print(json.dumps(in_a_process(embeddings, options.alone)))
        return

    warm_up()
    turns: list[dict[str, float]] = []
    stages: dict[str, dict[str, float]] = {}
    for _ in range(options.turns):
        turn = {"products": products(embeddings), "folds": seconds_of_folds(embeddings)}
        for name, bootstrap in (("panel", 0), ("panel with 1,000 resamples", 1000)):
            turn[name], stages[name] = panel(embeddings, bootstrap)
        turns.append(turn)

    def ratio(name: str) -> float:
        return statistics.median(turn[name] / turn["products"] for turn in turns)

    with_intervals = statistics.median(turn["panel with 1,000 resamples"] / turn["panel"] for turn in turns)
    names = ("--images", "--texts-per-image", "--dim")
    arguments = [part for pair in zip(names, size, strict=True) for part in pair]
    lone = {bootstrap: alone(__file__, *arguments, "--alone", bootstrap) for bootstrap in (0, 1000)}
    rows: list[dict[str, object]] = [
        {"work": name, "seconds": statistics.median(turn[name] for turn in turns), "of the products": ratio(name)}
        for name in turns[0]
    ]
    keys = list(dict.fromkeys([*stages["panel"], *stages["panel with 1,000 resamples"]]))
    rows += [
        {
            "stage of the panel": f"{key} (apart)" if key in APART else key,
            "seconds": stages["panel"].get(key, 0.0),
            "with resamples": stages["panel with 1,000 resamples"].get(key, 0.0),
        }
        for key in keys
    ]
    goals = [
        Goal("all folds", ratio("folds"), 1.1, why="of the bare products"),
        Goal("panel without bootstrap", ratio("panel"), 1.6, why="of the bare products"),
        Goal("panel with 1,000 resamples", with_intervals, 1.35, why="of that without"),
        Goal("memory of the panel", lone[0]["peak_gb"], 0.5, "GB", why="above the inputs"),
        Goal("loading compiled loops", lone[0]["kernels_s"], 3.0, "s", why="the import of numba included"),
    ]
    rows.append({"memory": "panel with 1,000 resamples", "GB above the inputs": lone[1000]["peak_gb"]})
    texts = options.images * options.texts_per_image
    report(f"panel: {options.images} x {texts} x {options.dim}, median of {options.turns}", goals, rows, options.out)


if __name__ == "__main__":
    main()
