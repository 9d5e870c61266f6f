"""Do the intervals of a panel hold what they promise, and are the verdicts of a comparison true? By simulation.

Of each population (`coverage_populations.py`) many samples of n images are drawn and measured. An interval should hold
its target in 92 to 98 % of them, and be 0.85 to 1.25 times as wide as the spread of the number between samples makes
right, 2 x 1.96 standard deviations. The target is the value of one large sample for numbers that more images only
make surer ("population"), and the mean over the samples for those that depend on their number ("size").

    python analyses/coverage.py                                       # all cells, about two hours on two cores
    python analyses/coverage.py --only modality_gap --n 60            # one key, one size
    python analyses/coverage.py --vectors FILE.npz                    # and real vectors, resampled
    python analyses/coverage.py verdicts                              # false verdicts, and power

writes a table in Markdown to stdout, or whole with the numbers of every cell to --out FILE.json. A cell fails if its
coverage misses 92 to 98 % by more than two standard errors of the simulation, or its width 0.85 to 1.25. Three things
are no fault, and marked: coverage above 98 % of a number that takes few values or stands at an end of its range (`d`);
the width of one whose right interval would reach beyond its range (`e`); a cell without spread (`-`).
"""

# %%
from __future__ import annotations

if __name__ == "coverage":  # numba asks for the package of this name, and does without it where there is none
    raise ImportError("this is a study of geomclip, not the package coverage")

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, MutableMapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coverage_populations import Population, Sample, populations
from numpy.typing import NDArray

import geomclip as gc
from geomclip.metrics import METRICS
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

SIZES = {60: 400, 200: 400, 1000: 100}
"""Images of a sample, and how many samples are drawn."""

LARGE = 10_000
"""Images of the sample that stands for a population."""

COVERED = (0.92, 0.98)
WIDE = (0.85, 1.25)
RESAMPLES = 300
EXTRA = ("text_retrieval_nll", "image_retrieval_nll", "text_retrieval_brier", "image_retrieval_brier")
"""Keys outside the default panel that have intervals too."""

SQUARED = frozenset({"modality_gap_debiased", "modality_gap_standardized", "text_retrieval_ece_debiased",
                     "image_retrieval_ece_debiased"})  # fmt: skip
"""Roots whose squares are without bias: their target is the root of the mean square."""


class NoNulls(MutableMapping[str, Any]):
    """A cache that has every null, and all of them empty: none is simulated."""

    def __getitem__(self, key: str) -> dict[str, float]:
        return {}

    def __setitem__(self, key: str, value: object) -> None: ...

    def __delitem__(self, key: str) -> None: ...

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def embedded(sample: Sample) -> gc.EmbeddingSet:
    """A sample as a set of embeddings."""
    image, text, own, scale = sample
    rows = (torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in (image, text))
    return gc.EmbeddingSet(*rows, torch.from_numpy(own), logit_scale=scale)


def keys_with_intervals(only: Sequence[str]) -> list[str]:
    """The keys that the table has."""
    wanted = [key for key, each in METRICS.items() if each.interval and (each.default or key in EXTRA)]
    wanted = [key for key in wanted if not key.startswith("zeroshot")]
    return [key for key in wanted if not only or key in only]


# %% [markdown]
# ## Intervals


# %%
@dataclass(frozen=True)
class Cell:
    """One key in samples of one size from one population."""

    population: str
    n: int
    key: str
    samples: int
    printed: float  # share of samples with an interval
    coverage: float
    error: float  # of the coverage
    width: float  # over the right one; NaN without spread
    marks: str

    @property
    def failed(self) -> bool:
        """Whether coverage or width is outside its bounds and no mark excuses it."""
        if not self.printed:
            return False
        low, high = COVERED
        narrow = self.coverage + 2 * self.error < low
        covers_more = self.coverage - 2 * self.error > high and "d" not in self.marks and "-" not in self.marks
        unsized = math.isnan(self.width) or "e" in self.marks or WIDE[0] <= self.width <= WIDE[1]
        return narrow or covers_more or not unsized


def cell(population: str, n: int, key: str, measured: NDArray[np.float64], target: float | None) -> Cell:
    """A cell from values and ends (samples, 3), NaN where undefined."""
    value, low, high = measured[np.isfinite(measured[:, 0])].T
    if key in SQUARED and target is None:
        target = float(np.sqrt(np.mean(value**2)))
    mean = float(value.mean()) if target is None else target
    there = np.isfinite(low)
    held = (low[there] <= mean + 1e-9) & (mean - 1e-9 <= high[there])
    spread = float(value.std(ddof=1))
    metric = METRICS[key]
    marks = ""
    if spread <= 1e-9:
        marks, width = "-", math.nan
    else:
        width = float((high - low)[there].mean() / (2 * 1.96 * spread)) if there.any() else math.nan
        if len(np.unique(value)) <= 12 or np.mean((value <= metric.low) | (value >= metric.high)) > 0.01:
            marks += "d"
        if mean - 1.96 * spread < metric.low or mean + 1.96 * spread > metric.high:
            marks += "e"
        if metric.interval == "order":
            marks = "de"
    coverage = float(held.mean()) if there.any() else math.nan
    error = math.sqrt(max(coverage * (1 - coverage), 1e-9) / max(1, there.sum()))
    return Cell(population, n, key, len(value), float(there.mean()), coverage, error, width, marks)


def panel_of(sample: Sample, keys: Sequence[str], bootstrap: int) -> Panel:
    """The panel of a sample, without nulls."""
    return measure(embedded(sample), metrics=list(keys), bootstrap=bootstrap, null_cache=NoNulls())


def one_sample(population: Population, n: int, seed: int, keys: Sequence[str]) -> NDArray[np.float64]:
    """Value and ends of each key: (keys, 3)."""
    sample, _ = population.draw(n, np.random.default_rng([seed, n]))
    panel = panel_of(sample, keys, RESAMPLES)
    rows = []
    for key in keys:
        value = panel.values.get(key)
        rows.append((math.nan if value is None else value, *panel.ci.get(key, (math.nan, math.nan))))
    return np.array(rows)


def target_of(population: Population, keys: Sequence[str]) -> dict[str, float]:
    """What one large sample says of the keys whose target is the population."""
    wanted = [key for key in keys if METRICS[key].target == "population"]
    if not wanted:
        return {}
    sample, _ = population.draw(LARGE, np.random.default_rng([0, LARGE]))
    panel = panel_of(sample, wanted, 0)
    return {key: float(panel.values[key] or 0.0) for key in wanted}


def task(job: tuple[Population, int, range, tuple[str, ...]]) -> NDArray[np.float64]:
    """Some samples, in a process of its own with one thread."""
    torch.set_num_threads(1)
    population, n, seeds, keys = job
    return np.stack([one_sample(population, n, seed, keys) for seed in seeds])


def coverage(options: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Cell]:
    """All cells."""
    keys = tuple(keys_with_intervals(options.only))
    cells = []
    for population in populations(options.d, options.vectors):
        targets = pool.submit(target_of, population, keys)
        for n in options.n:
            samples, start = options.samples or SIZES.get(n, 100), time.perf_counter()
            jobs = [(population, n, range(first, min(first + 10, samples)), keys) for first in range(0, samples, 10)]
            found = np.concatenate(list(pool.map(task, jobs)))  # (samples, keys, 3)
            cells += [
                cell(population.name, n, key, found[:, place], targets.result().get(key))
                for place, key in enumerate(keys)
            ]
            print(f"{population.name}, n = {n}: {time.perf_counter() - start:.0f} s", flush=True, file=sys.stderr)
    return cells


def table(cells: Sequence[Cell]) -> str:
    """A row a key: of each size and kind of population, the coverage and the width that are furthest from right."""
    columns = list(dict.fromkeys((each.population.rsplit(" ", 1)[-1], each.n) for each in cells))
    lines = ["| key | target | " + " | ".join(f"{d} d, n = {n}" for d, n in columns) + " |"]
    lines.append("|---|---|" + "---|" * len(columns))
    for key in dict.fromkeys(each.key for each in cells):
        row = []
        for d, n in columns:
            here = [c for c in cells if c.key == key and c.n == n and c.population.endswith(f" {d}")]
            row.append(", ".join(shown(c) for c in here))
        lines.append(f"| `{key}` | {METRICS[key].target} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def shown(one: Cell) -> str:
    """Coverage in percent and width of one cell, with its marks, and ! where it fails."""
    if not one.printed:
        return "none"
    width = "" if math.isnan(one.width) else f"/{one.width:.2f}"
    return f"{100 * one.coverage:.0f}{width}{one.marks}{'!' if one.failed else ''}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=list(SIZES), help="images of a sample")
    parser.add_argument("--d", type=int, nargs="+", default=[64, 512], help="dimensions of the populations made here")
    parser.add_argument("--samples", type=int, help="of each cell (default: 400, 400 and 100 at 60, 200 and 1000)")
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY", help="keys, and no others")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="real vectors to resample: .npz")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time, of one thread each")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where every cell is written")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        cells = coverage(options, pool)
    if options.out:
        options.out.write_text(json.dumps([asdict(each) for each in cells], indent=1) + "\n")
    print(table(cells))
    failed = [each for each in cells if each.failed]
    print(f"\n{len(failed)} of {len(cells)} cells fail: " + "; ".join(f"{c.population} {c.n} {c.key}" for c in failed))


if __name__ == "__main__":
    main()
