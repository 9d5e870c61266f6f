"""How the time and memory of the panel grow with the number of rows, beside the bare products of the same sizes.

python benchmarks/scaling.py [--texts 1000 2000 4000 8000 16000 32000 64000] [--texts-per-image 5] [--dim 512]
                             [--turns 3] [--out FILE.json]

Each size is that many texts and a fifth as many images, so all products grow with its square. A size is a process of
its own, warm, in which the bare products and the panel without bootstrap take turns (one turn of the largest size);
medians. The slope is that of a line through log seconds against log (N·M·D), fitted to the sizes from --fit-from
texts on: below, what does not grow with N·M (spectra, a classifier) is seen beside it. 1 is what N·M·D means.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
from alone import alone, measured
from goal import Goal, report
from made import made, products, warm_up

from geomclip.panels.measurement import measure

STEEPEST = 1.05
APART = ("nulls",)
"""Stages that are cached, of the same sizes at all of these."""


def one(options: argparse.Namespace) -> dict[str, object]:
    """A row of the table, measured in this process."""
    warm_up()
    (texts,) = options.texts
    vectors = made(texts // options.texts_per_image, options.texts_per_image, options.dim)
    bare, panel, peaks = [], [], []
    for _ in range(options.turns):
        bare.append(products(vectors))
        stages, used = measured(lambda: measure(vectors, bootstrap=0).seconds)
        panel.append(used["seconds"] - sum(stages.get(name, 0.0) for name in APART))
        peaks.append(used["peak_gb"])
    limit, seconds = statistics.median(bare), statistics.median(panel)
    return {
        "texts": texts,
        "images": len(vectors.image),
        "bare products s": limit,
        "panel s": seconds,
        "ratio": seconds / limit,
        "peak GB": max(peaks),
        "turns": options.turns,
    }


def slope(rows: list[dict[str, float]], key: str, dim: int) -> float:
    """Of log seconds against log (N·M·D)."""
    work = np.log([row["images"] * row["texts"] * dim for row in rows])
    return float(np.polyfit(work, np.log([row[key] for row in rows]), 1)[0])


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, nargs="+", default=[1000 * 2**power for power in range(7)])
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--fit-from", type=int, default=8000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options)))
        return

    sizes = sorted(set(options.texts))
    fitted = [size for size in sizes if size >= options.fit_from]
    if len(fitted) < 2:
        parser.error(f"a slope needs two sizes from --fit-from {options.fit_from} on, got {fitted}")
    rows = []
    for texts in sizes:
        turns = 1 if texts == sizes[-1] else options.turns
        asked = ["--one", "--texts", texts, "--texts-per-image", options.texts_per_image, "--dim", options.dim]
        rows.append(alone(__file__, *asked, "--turns", turns))
        print(f"{texts:,} texts: {rows[-1]['panel s']:.2f} s", flush=True)
    large = [row for row in rows if row["texts"] in fitted]
    ours, bare = (slope(large, key, options.dim) for key in ("panel s", "bare products s"))
    why = f"panel without bootstrap, {fitted[0]:,} to {fitted[-1]:,} texts, {options.dim} dimensions; "
    why += f"the bare products: {bare:.2f}; all sizes: {slope(rows, 'panel s', options.dim):.2f}"
    goals = [Goal("slope of log time on log (N M D)", ours, STEEPEST, unit="", why=why)]
    report(__doc__.splitlines()[0], goals, rows, options.out)


if __name__ == "__main__":
    main()
