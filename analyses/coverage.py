"""Do the intervals of a panel hold what they promise, and are the verdicts of a comparison true? By simulation.

Of each population (`coverage_populations.py`) many samples of n images are drawn and measured. An interval should hold
its target in 92 to 98 % of them, and be 0.85 to 1.25 times as wide as the spread of the number between samples makes
right, 2 x 1.96 standard deviations. The target is the value of one large sample for numbers that more images only make
surer ("population"), and the mean over the samples, or the median of medians, for those that depend on their number
("size").

    python analyses/coverage.py                                       # all cells, about two hours on two cores
    python analyses/coverage.py --only modality_gap --n 60            # one key, one size
    python analyses/coverage.py --vectors FILE.npz                    # and real vectors, resampled
    python analyses/coverage.py verdicts                              # false verdicts, and power

writes a table in Markdown to stdout, or whole with the numbers of every cell to --out FILE.json. A cell fails if its
coverage misses 92 to 98 %, or its width 0.85 to 1.25, by more than two standard errors of the simulation. Three things
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
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from coverage_populations import Population, Sample, populations, unit
from numpy.typing import NDArray

import geomclip as gc
from geomclip.metrics import METRICS
from geomclip.panels.comparison import compare
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
        sure = 2 * self.width / math.sqrt(2 * max(1, self.samples - 1))  # of the spread between so many samples
        right = WIDE[0] - sure <= self.width <= WIDE[1] + sure
        unsized = math.isnan(self.width) or "e" in self.marks or right
        return narrow or covers_more or not unsized


def cell(population: str, n: int, key: str, measured: NDArray[np.float64], target: float | None) -> Cell:
    """A cell from values and ends (samples, 3), NaN where undefined."""
    value, low, high = measured[np.isfinite(measured[:, 0])].T
    if key in SQUARED and target is None:
        target = float(np.sqrt(np.mean(value**2)))
    middle = np.median(value) if METRICS[key].interval == "order" else value.mean()
    mean = float(middle) if target is None else target
    there = np.isfinite(low)
    held = (low[there] <= mean + 1e-9) & (mean - 1e-9 <= high[there])
    spread = float(value.std(ddof=1))
    metric = METRICS[key]
    marks = ""
    if spread <= 1e-9:
        marks, width = "-", math.nan
    else:
        width = float((high - low)[there].mean() / (2 * 1.96 * spread)) if there.any() else math.nan
        rare = n * min(mean, 1 - mean) if metric.interval == "share" else n
        if len(np.unique(value)) <= 12 or rare < 5 or np.mean((value <= metric.low) | (value >= metric.high)) > 0.01:
            marks += "d"
        if mean - 1.96 * spread < metric.low or mean + 1.96 * spread > metric.high:
            marks += "e"
        if metric.interval == "order":
            marks = "de"
    coverage = float(held.mean()) if there.any() else math.nan
    likely = (held.sum() + 2) / (there.sum() + 4)  # Agresti and Coull (1998): of 100 held by all 100 not all is known
    error = math.sqrt(likely * (1 - likely) / (there.sum() + 4))
    return Cell(population, n, key, len(value), float(there.mean()), coverage, error, width, marks)


def panel_of(sample: Sample, keys: Sequence[str], bootstrap: int) -> Panel:
    """The panel of a sample, without nulls."""
    return measure(embedded(sample), metrics=list(keys), bootstrap=bootstrap, null_cache=defaultdict(dict))


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


def tens(samples: int, seed: int) -> list[range]:
    """The seeds of so many samples, ten at a time; those of another seed are others."""
    start = 1_000_000 * seed
    return [range(start + first, start + min(first + 10, samples)) for first in range(0, samples, 10)]


def coverage(options: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Cell]:
    """All cells."""
    keys = tuple(keys_with_intervals(options.only))
    cells = []
    for population in populations(options.d, options.vectors):
        targets = pool.submit(target_of, population, keys)
        for n in options.n:
            samples, start = options.samples or SIZES.get(n, 100), time.perf_counter()
            jobs = [(population, n, each, keys) for each in tens(samples, options.seed)]
            found = np.concatenate(list(pool.map(task, jobs)))  # (samples, keys, 3)
            cells += [
                cell(population.name, n, key, found[:, place], targets.result().get(key))
                for place, key in enumerate(keys)
            ]
            print(f"{population.name}, n = {n}: {time.perf_counter() - start:.0f} s", flush=True, file=sys.stderr)
            if options.out:
                options.out.write_text(json.dumps([asdict(each) for each in cells], indent=1) + "\n")
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


# %% [markdown]
# ## Verdicts


# %%
VERDICT_SIZES = (60, 200, 500)
PRIMARY = ("text_retrieval_recall@1", "image_retrieval_recall@1")
NOISIER = 0.12
"""By how much the noise of the second encoder is larger, for power."""

GAINING = 0.25
"""Share of images whose texts are moved towards them, for power."""


def gained(sample: Sample, generator: np.random.Generator) -> Sample:
    """The sample with the texts of some images moved half of the way to their image: a gain of recall."""
    image, text, own, scale = sample
    moved = generator.random(len(image))[own] < GAINING
    text = np.where(moved[:, None], text + image[own], text)
    return image, unit(text), own, scale


def one_comparison(
    population: Population, n: int, seed: int, kind: str, keys: Sequence[str]
) -> tuple[list[str], list[str], list[float]]:
    """Verdicts on the primary keys, those on other keys, and the differences of the primary ones."""
    generator = np.random.default_rng([seed, n, 1])
    first, second = population.draw(n, generator, worse=NOISIER if kind == "noisier" else 0.0)
    if kind == "gain":
        second = gained(second, generator)
    rows = compare(*(panel_of(each, keys, RESAMPLES) for each in (first, second))).rows
    on_primary = [rows[key].verdict for key in PRIMARY]
    others = [row.verdict for key, row in rows.items() if key not in PRIMARY]
    return on_primary, others, [float(rows[key].difference or 0.0) for key in PRIMARY]


def keys_compared(only: Sequence[str]) -> tuple[str, ...]:
    """The keys of a table of verdicts: those of a panel, or the primary ones and these."""
    wanted = [key for key, metric in METRICS.items() if metric.default and not key.startswith("zeroshot")]
    return tuple(key for key in wanted if not only or key in only or key in PRIMARY)


def comparisons(
    job: tuple[Population, int, range, str, tuple[str, ...]],
) -> list[tuple[list[str], list[str], list[float]]]:
    """Some comparisons, in a process of its own with one thread."""
    torch.set_num_threads(1)
    population, n, seeds, kind, keys = job
    return [one_comparison(population, n, seed, kind, keys) for seed in seeds]


def by_known_spread(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often a z-test of each key that knows its spread, corrected by Holm over the keys, is below 5 %."""
    z = np.abs(differences) / differences.std(0, ddof=1)
    p = np.array([[math.erfc(each / math.sqrt(2)) for each in row] for row in z])
    order = p.argsort(1)
    sorted_p = np.take_along_axis(p, order, 1) * (p.shape[1] - np.arange(p.shape[1]))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(sorted_p, 1), 1)
    return (adjusted < 0.05).mean(0)


def verdicts(options: argparse.Namespace, pool: ProcessPoolExecutor) -> str:
    """Shares of tables with a false verdict, and power against a test that knows the spread, as a table."""
    said = ("better", "worse")
    lines = ["| population | n | false on a primary key | false on any key | power, noisier | power, gain |"]
    lines.append("|---|--:|--:|--:|---|---|")
    samples, keys = options.samples or SIZES[200], keys_compared(options.only)
    for population in populations(options.d, options.vectors):
        for n in options.n:
            found = {}
            for kind in ("same", "noisier", "gain"):
                count = samples if kind == "same" else samples // 2
                jobs = [(population, n, each, kind, keys) for each in tens(count, options.seed)]
                found[kind] = [each for some in pool.map(comparisons, jobs) for each in some]
            primary = np.mean([any(word in said for word in on) for on, _, _ in found["same"]])
            either = np.mean([any(word in said for word in [*on, *others]) for on, others, _ in found["same"]])
            powers = []
            for kind in ("noisier", "gain"):
                ours = np.mean([[word in said for word in on] for on, _, _ in found[kind]], 0)
                known = by_known_spread(np.array([differences for *_, differences in found[kind]]))
                powers.append(", ".join(f"{a:.2f} of {b:.2f}" for a, b in zip(ours, known, strict=True)))
            lines.append(
                f"| {population.name} | {n} | {100 * primary:.1f} % | {100 * either:.1f} % | {' | '.join(powers)} |"
            )
            print(lines[-1], flush=True, file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("intervals", "verdicts"), default="intervals")
    parser.add_argument("--n", type=int, nargs="+", help="images of a sample (60 200 1000; of verdicts 60 200 500)")
    parser.add_argument("--d", type=int, nargs="+", default=[64, 512], help="dimensions of the populations made here")
    parser.add_argument("--samples", type=int, help="of each cell (default: 400, 400 and 100 at 60, 200 and 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples: another one draws others (default: 0)")
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY", help="keys, no others (and primary ones)")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="real vectors to resample: .npz")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time, of one thread each")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where every cell is written")
    options = parser.parse_args()
    options.n = options.n or list(VERDICT_SIZES if options.what == "verdicts" else SIZES)
    with ProcessPoolExecutor(options.processes) as pool:
        if options.what == "verdicts":
            print(verdicts(options, pool))
            return
        cells = coverage(options, pool)
    print(table(cells))
    failed = [each for each in cells if each.failed]
    print(f"\n{len(failed)} of {len(cells)} cells fail: " + "; ".join(f"{c.population} {c.n} {c.key}" for c in failed))


if __name__ == "__main__":
    main()
