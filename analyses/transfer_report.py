"""Tables and figures of what `transfer.py` found: gain against forgetting, learning curves, claims seed by seed."""

from __future__ import annotations

import csv
import io
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from finetune_methods import VAL_METRIC
from finetune_methods_report import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, markdown, picture, spread, verdict
from transfer import ROWS, TEMPERATURES, runs_of

Column = tuple[str, str, tuple[str, ...], str]
COLUMNS: tuple[Column, ...] = (
    # heading, what was asked, keys whose mean it is, direction that is better; all in percent
    ("tuned R", "tuned retrieval", tuple(VAL_METRIC.split(",")), "higher"),
    ("emoji R", "emoji retrieval", tuple(VAL_METRIC.split(",")), "higher"),
    ("emoji acc", "emoji classes", ("zeroshot_acc1",), "higher"),
    ("emoji probe@16", "emoji classes", ("fewshot_probe_acc1@16",), "higher"),
    ("cifar acc", "cifar10 classes", ("zeroshot_acc1",), "higher"),
    ("cifar probe@4", "cifar10 classes", ("fewshot_probe_acc1@4",), "higher"),
    ("cifar probe@16", "cifar10 classes", ("fewshot_probe_acc1@16",), "higher"),
    ("shift acc", "emoji shift", ("shift_acc1_mean",), "higher"),
    ("shift drop", "emoji shift", ("shift_drop",), "lower"),
    ("emoji ECE", "emoji classes", ("zeroshot_ece",), "lower"),
    ("cifar ECE", "cifar10 classes", ("zeroshot_ece",), "lower"),
)
GAIN, KEPT, TRANSFER = COLUMNS[0], COLUMNS[1], COLUMNS[6]
PRESERVING = ("embedding", "cosine", "similarity")
CLAIMS = (
    # what is claimed, of which row against which, by which columns
    ("m²-mix transfers better than ft", "m2mix", "ft", ("cifar acc", "cifar probe@16", "emoji acc", "emoji probe@16")),
    ("m³-mix transfers better than m²-mix", "m3mix", "m2mix", ("cifar acc", "cifar probe@16", "emoji acc")),
    ("m²-mix is better calibrated than ft", "m2mix", "ft", ("emoji ECE", "cifar ECE")),
    ("m²-mix stands a shift better than ft", "m2mix", "ft", ("shift acc", "shift drop")),
    ("m²-mix retrieves better than ft", "m2mix", "ft", ("tuned R",)),
    ("lp-ft forgets less than ft", "lp-ft", "ft", ("emoji R", "emoji acc", "tuned R")),
    ("wise-ft forgets less than ft", "wise-ft", "ft", ("emoji R", "emoji acc", "tuned R")),
    *(
        (f"{method} with {kind} forgets less", f"{method} + {kind}", method, ("emoji R", "emoji acc", "tuned R"))
        for method in ("ft", "m2mix")
        for kind in PRESERVING
    ),
)
STYLES = {
    "base": ("0.45", "*"),
    "ft": (BLACK, "o"),
    "m2mix": (RED, "o"),
    "m3mix": (BLUE, "D"),
    "hcl": (ORANGE, "v"),
    "cyclip": (ORANGE, "^"),
    "siglip": (SKY, "d"),
    "lp-ft": (PINK, "D"),
    "wise-ft": (GREEN, "X"),
    **{f"ft + {kind}": (BLACK, marker) for kind, marker in zip(PRESERVING, "sP^", strict=True)},
    **{f"m2mix + {kind}": (RED, marker) for kind, marker in zip(PRESERVING, "sP^", strict=True)},
}


@dataclass(frozen=True)
class Runs:
    """What is there of a study."""

    runs: tuple[dict[str, Any], ...]
    base: dict[str, Any]
    vectors: dict[str, Any] | None = None

    @classmethod
    def read(cls, study: Path, known: Path | None = None) -> Runs:
        """All JSON files of its folder of runs, and those runs of an earlier report's table that have none there."""
        kept = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted((study / "runs").glob("*.json"))}
        base, vectors = kept.pop("base", {}), kept.pop("vectors", None)
        there = [each["trial"] for each in kept.values()]
        earlier = [each for each in (of_table(known) if known else []) if each["trial"] not in there]
        return cls((*kept.values(), *earlier), base, vectors)

    def of(self, row: str, temperature: str) -> list[dict[str, Any]]:
        """The runs of a row, by seed."""
        wanted = {"row": row, "temperature": temperature}
        found = [each for each in self.runs if wanted.items() <= each["trial"].items()]
        return sorted(found, key=lambda each: each["trial"]["seed"])

    def rows(self, temperature: str) -> list[str]:
        """Those that have a run, in the order of `ROWS`."""
        return [row for row in ROWS if self.of(row, temperature)]

    def temperatures(self) -> list[str]:
        """Those that have a run."""
        return [each for each in TEMPERATURES if self.rows(each)]

    def values(self, row: str, temperature: str, column: Column) -> list[float]:
        """A column by seed, in percent; of the base for "base"."""
        kept = [self.base] if row == "base" else self.of(row, temperature)
        return [value_of(each["asked"], column) for each in kept]


def value_of(asked: dict[str, dict[str, float]], column: Column) -> float:
    """The mean of a column's keys, in percent."""
    _, task, keys, _ = column
    return 100 * sum(asked[task][key] for key in keys) / len(keys)


def of_table(table: Path) -> list[dict[str, Any]]:
    """The runs of a table that an earlier report wrote: all but their learning curves."""
    return [
        {
            "trial": asdict(trial),
            "logit_scale": float(row["logit_scale"]),
            "asked": _asked_of_row(row),
            "seconds": float(row["seconds"]),
            "val": [],
            "losses": [],
        }
        for trial, row in runs_of(table).items()
    ]


def _asked_of_row(row: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """What `value_of` takes; a column that is the mean of several keys is each of them."""
    asked: dict[str, dict[str, float]] = {}
    for heading, task, keys, _ in COLUMNS:
        asked.setdefault(task, {}).update(dict.fromkeys(keys, float(row[heading.replace(" ", "_")]) / 100))
    return asked


def report(study: Path, out: Path, known: Path | None = None) -> None:
    """Write OUT/transfer.md, .csv and .png (the plane), and _curves.png where the runs that are there have curves."""
    from geomclip.machine.files import atomic_bytes

    runs = Runs.read(study, known)
    if not runs.runs:
        raise SystemExit(f"{study}: no run has ended yet")
    stem = out / "transfer"
    parts = [part for each in runs.temperatures() for part in (table(runs, each), claims(runs, each))]
    if runs.vectors is not None:
        parts.append(of_vectors(runs.vectors["asked"]))
    atomic_bytes(stem.with_suffix(".md"), "\n".join(parts).encode())
    atomic_bytes(stem.with_suffix(".csv"), as_csv(runs).encode())
    draw_plane(runs, stem.with_suffix(".png"))
    if any(run["losses"] for run in runs.of("ft", runs.temperatures()[0])):
        draw_curves(runs, stem.with_name("transfer_curves.png"))


# --------------------------------------------------------------------------------------------------------- tables


def table(runs: Runs, temperature: str) -> str:
    """Every row: mean and spread over seeds."""
    rows = [
        [
            row,
            str(len(runs.of(row, temperature))) if row != "base" else "",
            *(spread(runs.values(row, temperature, column), 1, 1) for column in COLUMNS),
        ]
        for row in ["base", *runs.rows(temperature)]
    ]
    below = (
        "Percent, mean ± standard deviation over seeds. R: mean of R@1 and R@5, both ways; acc: zero-shot accuracy@1; "
        "probe@K: a linear probe of K images a class, mean over draws; ECE: of zero-shot, at the model's own scale."
    )
    head = ["row", "seeds", *(heading for heading, *_ in COLUMNS)]
    return markdown(f"Temperature {temperature}", head, rows, below)


def differences(runs: Runs, one: str, other: str, temperature: str, column: Column) -> list[float]:
    """One row minus another, by the seeds that both have."""
    first, second = (
        {run["trial"]["seed"]: value_of(run["asked"], column) for run in runs.of(row, temperature)}
        for row in (one, other)
    )
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def claims(runs: Runs, temperature: str) -> str:
    """Each claim, seed by seed: it holds, does not, or cannot be told from so many seeds."""
    known = {column[0]: column for column in COLUMNS}
    rows = []
    for claim, one, other, headings in CLAIMS:
        for heading in headings:
            found = differences(runs, one, other, temperature, known[heading])
            if found:
                rows.append([claim, heading, spread(found, 1, 1), str(len(found)), judged(found, known[heading][3])])
    below = (
        "Difference in points, seed by seed. better / worse: all of at least three seeds agree in sign and their mean "
        "exceeds their standard deviation; unclear: else. Of many such lines some are so by chance."
    )
    return markdown(
        f"Claims, temperature {temperature}", ["claim", "by", "difference", "seeds", "verdict"], rows, below
    )


def judged(found: Sequence[float], direction: str) -> str:
    """Better, worse or unclear; of fewer than three seeds always unclear."""
    return verdict(found, direction) if len(found) >= 3 else "unclear"


def of_vectors(asked: dict[str, dict[str, float]]) -> str:
    """What the same questions give of vectors at hand."""
    there = [column for column in COLUMNS if column[2][0] in asked.get(column[1], {})]
    rows = [[column[0], f"{value_of(asked, column):.1f}"] for column in there]
    return markdown("Vectors at hand, not tuned", ["asked", "percent"], rows)


def as_csv(runs: Runs) -> str:
    """The base and every run."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["row", "temperature", "seed", "logit_scale", *(heading.replace(" ", "_") for heading, *_ in COLUMNS)]
    writer.writerow([*head, "seconds"])
    writer.writerow(["base", "", "", "", *(f"{value_of(runs.base['asked'], each):.4f}" for each in COLUMNS), ""])
    for each in _in_order(runs):
        trial = each["trial"]
        numbers = [f"{value_of(each['asked'], column):.4f}" for column in COLUMNS]
        scale = f"{each['logit_scale']:.4f}"
        writer.writerow([trial["row"], trial["temperature"], trial["seed"], scale, *numbers, each["seconds"]])
    return buffer.getvalue()


def _in_order(runs: Runs) -> Iterator[dict[str, Any]]:
    for temperature in runs.temperatures():
        for row in runs.rows(temperature):
            yield from runs.of(row, temperature)


# -------------------------------------------------------------------------------------------------------- figures


def draw_plane(runs: Runs, file: Path) -> None:
    """Gain on the tuned data against what is left of the old skill: means, with standard deviations over seeds."""
    temperatures = runs.temperatures()
    with picture(file, 2.5 * len(temperatures) + 1.1) as figure:
        panes = figure.subplots(len(temperatures), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, temperature in zip(panes, temperatures, strict=True):
            for row in ["base", *runs.rows(temperature)]:
                x, y = (runs.values(row, temperature, column) for column in (KEPT, GAIN))
                colour, marker = STYLES[row]
                many = len(x) > 1
                axes.errorbar(
                    statistics.fmean(x),
                    statistics.fmean(y),
                    xerr=statistics.stdev(x) if many else None,
                    yerr=statistics.stdev(y) if many else None,
                    color=colour,
                    marker=marker,
                    markersize=9 if row == "base" else 5,
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    linestyle="none",
                    elinewidth=0.6,
                    label=row,
                )
            axes.set_title(f"temperature {temperature}", loc="left")
            axes.set_ylabel("gain: recall on tuned data, % (↑)")
        panes[-1].set_xlabel("kept: recall on emoji, % (→ less forgotten)")
        handles, labels = panes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def draw_curves(runs: Runs, file: Path) -> None:
    """The score on val by step, mean over seeds, and the contrastive term while training."""
    temperature = runs.temperatures()[0]
    with picture(file, 4.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        for row in runs.rows(temperature):
            kept = [each for each in runs.of(row, temperature) if each["losses"]]
            if not kept:
                continue
            colour, marker = STYLES[row]
            style = {"color": colour, "marker": marker, "markersize": 3, "linewidth": 0.9, "label": row}
            above.plot(*_mean_by_step([each["val"] for each in kept], 100), **style)
            terms = [
                [[step, each["contrastive"]] for step, each in run["losses"] if "contrastive" in each] for run in kept
            ]
            if all(terms):
                below.plot(*_mean_by_step(terms, 1), **style)
        above.set_title(f"while training, temperature {temperature}", loc="left")
        above.set_ylabel("recall on val, %")
        below.set(xlabel="step", ylabel="contrastive term, nats")
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


def _mean_by_step(curves: Sequence[Sequence[Sequence[float]]], factor: float) -> tuple[list[float], list[float]]:
    """Steps, and the mean of the curves at each."""
    steps = [step for step, _ in curves[0]]
    return steps, [factor * statistics.fmean(curve[place][1] for curve in curves) for place in range(len(steps))]
