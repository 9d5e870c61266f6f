"""Tables, figures and the numbers behind each claim, from the runs that `finetune_methods.py` made."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# heading, key of the panel, factor, decimals, direction that is better ("" where neither is)
COLUMNS = (
    ("R@1 I→T %", "text_retrieval_recall@1", 100, 1, "higher"),
    ("R@1 T→I %", "image_retrieval_recall@1", 100, 1, "higher"),
    ("R@5 I→T %", "text_retrieval_recall@5", 100, 1, "higher"),
    ("R@5 T→I %", "image_retrieval_recall@5", 100, 1, "higher"),
    ("alignment", "alignment", 1, 3, "lower"),
    ("rel. align. T→I", "relative_alignment_text_to_image", 1, 3, "lower"),
    ("rel. align. I→T", "relative_alignment_image_to_text", 1, 3, "lower"),
    ("unif. joint", "uniformity_joint", 1, 3, "lower"),
    ("unif. cross", "uniformity_cross", 1, 3, "lower"),
    ("gap", "modality_gap", 1, 3, ""),
    ("RMG", "relative_modality_gap", 1, 3, ""),
    ("separability", "linear_separability", 1, 3, ""),
    ("ECE I→T %", "text_retrieval_ece", 100, 1, "lower"),
    ("ECE T→I %", "image_retrieval_ece", 100, 1, "lower"),
)
# what is claimed, of which method against which, by which keys
CLAIMS = (
    ("m²-mix improves uniformity over FT", "m2mix", "ft", ("uniformity_joint", "uniformity_cross")),
    ("m²-mix improves alignment over FT", "m2mix", "ft", ("alignment", "relative_alignment_text_to_image")),
    ("m³-mix improves uniformity further", "m3mix", "m2mix", ("uniformity_joint", "uniformity_cross")),
    ("m³-mix improves alignment further", "m3mix", "m2mix", ("alignment", "relative_alignment_text_to_image")),
    ("m²-mix calibrates better than FT", "m2mix", "ft", ("text_retrieval_ece", "image_retrieval_ece")),
    ("m³-mix calibrates better than FT", "m3mix", "ft", ("text_retrieval_ece", "image_retrieval_ece")),
    ("retrieval does not suffer: m²-mix", "m2mix", "ft", ("text_retrieval_recall@1", "image_retrieval_recall@1")),
    ("retrieval does not suffer: m³-mix", "m3mix", "ft", ("text_retrieval_recall@1", "image_retrieval_recall@1")),
    ("tenfold m²-mix improves uniformity over FT", "m2mix x10", "ft", ("uniformity_joint", "uniformity_cross")),
    ("tenfold m²-mix improves alignment over FT", "m2mix x10", "ft", ("alignment", "relative_alignment_text_to_image")),
    ("tenfold m²-mix calibrates better than FT", "m2mix x10", "ft", ("text_retrieval_ece", "image_retrieval_ece")),
    ("tenfold m²-mix: retrieval", "m2mix x10", "ft", ("text_retrieval_recall@1", "image_retrieval_recall@1")),
)
# Okabe and Ito's colours, told apart by all readers; the marker tells those of one colour apart
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = "#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
STYLES = {
    "base": ("0.45", "*"),
    "ft": (BLACK, "o"),
    "m2mix": (RED, "s"),
    "m2mix x10": (RED, "P"),
    "m3mix": (BLUE, "D"),
    "m3mix x10": (BLUE, "P"),
    "vmix": (GREEN, "v"),
    "lmix": (GREEN, "^"),
    "vlmix": (GREEN, "d"),
    "imix": (PINK, "v"),
    "unmix": (PINK, "^"),
    "hcl": (ORANGE, "v"),
    "cyclip": (ORANGE, "^"),
    "cua": (SKY, "v"),
    "cuaxu": (SKY, "^"),
    "geodesic": (SKY, "s"),
    "g2l": (SKY, "D"),
    "siglip": (ORANGE, "d"),
    "lp-ft": (BLACK, "D"),
    "wise-ft": (BLACK, "X"),
    "es": ("0.45", "X"),
}
PATHS: dict[str, Any] = {
    "ft": "-",
    "m2mix": "--",
    "m3mix": ":",
    "m2mix x10": (0, (5, 1, 1, 1)),
    "m3mix x10": (0, (1, 1)),
}
PREFIX = "finetune_methods_"
WIDTH = 3.4  # inches: a column of a two-column paper


@dataclass(frozen=True)
class Runs:
    """All runs of one data set."""

    name: str
    runs: list[dict[str, Any]]

    def methods(self) -> list[str]:
        """In the order of `STYLES`."""
        there = {each["trial"]["method"] for each in self.runs}
        return [method for method in STYLES if method in there]

    def grid(self, method: str) -> list[dict[str, Any]]:
        """The trials that were compared on val."""
        return [each for each in self.runs if each["trial"]["method"] == method and each["trial"]["seed"] == 0]

    def chosen(self, method: str) -> list[dict[str, Any]]:
        """The runs of the best trial of a method, by seed."""
        best = max(self.grid(method), key=lambda each: (each["chosen"]["score"], -each["trial"]["lr"]))
        rate = best["trial"]["lr"]
        same = [each for each in self.runs if each["trial"]["method"] == method and each["trial"]["lr"] == rate]
        return sorted(same, key=lambda each: each["trial"]["seed"])

    def values(self, method: str, key: str) -> list[float]:
        """A number on test, by seed; of the base model for "base"."""
        if method == "base":
            return [number(self.runs[0]["start"][key])]
        return [number(each["test"][key]) for each in self.chosen(method)]


def number(value: float | None) -> float:
    """NaN for what is undefined."""
    return math.nan if value is None else value


def report(study: Path, out: Path) -> None:
    """Write OUT/finetune_methods*.md, .csv, .png (where methods end) and _ways.png for every data set of a study."""
    from geomclip.machine.files import atomic_bytes

    for folder in sorted(each for each in study.iterdir() if (each / "runs").is_dir()):
        kept = [json.loads(file.read_text("utf-8")) for file in sorted((folder / "runs").glob("*.json"))]
        if not kept:
            continue
        runs = Runs(folder.name, kept)
        stem = out / f"{PREFIX}{folder.name}"
        parts = [table(runs), choices(runs), claims(runs), equal_rates(runs), hardness(runs)]
        atomic_bytes(stem.with_suffix(".md"), ("\n".join(parts)).encode())
        atomic_bytes(stem.with_suffix(".csv"), as_csv(runs).encode())
        draw_ends(stem.with_suffix(".csv"), stem.with_suffix(".png"))
        draw_ways(runs, stem.with_name(f"{stem.name}_ways.png"))


# --------------------------------------------------------------------------------------------------------- tables


def markdown(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], below: str = "") -> str:
    """A table under a heading, with a line of explanation below it."""
    lines = [f"## {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, *(["", below] if below else []), ""])


def spread(values: Sequence[float], factor: float = 1, decimals: int = 3) -> str:
    """Mean ± standard deviation over seeds; the value alone where there is one."""
    text = f"{factor * statistics.fmean(values):.{decimals}f}"
    return text if len(values) < 2 else f"{text} ± {factor * statistics.stdev(values):.{decimals}f}"


def table(runs: Runs) -> str:
    """Every method on test: mean and spread over seeds."""
    rows = [
        [method, *(spread(runs.values(method, key), factor, places) for _, key, factor, places, _ in COLUMNS)]
        for method in ["base", *runs.methods()]
    ]
    head = ["method", *(heading for heading, *_ in COLUMNS)]
    seeds = max(len(runs.chosen(method)) for method in runs.methods())
    return markdown(f"{runs.name}: test, mean ± standard deviation over {seeds} seeds", head, rows)


def choices(runs: Runs) -> str:
    """What each method's grid chose on val, and how far the trials lie apart."""
    rows = []
    for method in runs.methods():
        scores = [each["chosen"]["score"] for each in runs.grid(method)]
        best = runs.chosen(method)[0]
        own = best["chosen"]
        what = f"{own['swept']} {own['value']:g}" if "swept" in own else f"lr {best['trial']['lr']:g}"
        rows.append([method, what, f"{100 * max(scores):.1f}", f"{100 * min(scores):.1f}", str(len(scores))])
    start = 100 * runs.runs[0]["chosen"]["start_score"]
    below = f"Score: mean of R@1 and R@5, both ways, on val, in percent; the base model has {start:.1f}."
    return markdown(f"{runs.name}: chosen on val", ["method", "choice", "best", "worst", "trials"], rows, below)


def claims(runs: Runs) -> str:
    """Differences seed by seed; they hold if all seeds agree and their mean exceeds their spread."""
    better = {key: direction for _, key, _, _, direction in COLUMNS}
    factors = {key: (factor, places) for _, key, factor, places, _ in COLUMNS}
    rows = []
    for claim, one, other, keys in CLAIMS:
        if not {one, other} <= set(runs.methods()):
            continue
        for key in keys:
            first, second = (
                {run["trial"]["seed"]: run["test"][key] for run in runs.chosen(each)} for each in (one, other)
            )
            differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
            factor, places = factors[key]
            rows.append([claim, key, spread(differences, factor, places), verdict(differences, better[key])])
    below = (
        "Difference of the two methods, each with its own choice of the grid, seed by seed. better / worse: all seeds "
        "agree in sign and their mean exceeds their standard deviation; unclear: else."
    )
    return markdown(f"{runs.name}: the claims", ["claim", "by", "difference", "verdict"], rows, below)


def verdict(differences: Sequence[float], direction: str) -> str:
    """Better, worse or unclear."""
    mean = statistics.fmean(differences)
    one_sign = all(each > 0 for each in differences) or all(each < 0 for each in differences)
    if not one_sign or (len(differences) > 1 and abs(mean) <= statistics.stdev(differences)):
        return "unclear"
    return "better" if (mean < 0) == (direction == "lower") else "worse"


def equal_rates(runs: Runs) -> str:
    """The trials of ft, m2mix and m3mix side by side: the claims compare methods, not learning rates."""
    rows = []
    for method in (each for each in PATHS if each in runs.methods()):
        for each in sorted(runs.grid(method), key=lambda run: run["trial"]["lr"]):
            numbers = (f"{factor * number(each['test'][key]):.{places}f}" for _, key, factor, places, _ in COLUMNS)
            rows.append([method, f"{each['trial']['lr']:g}", *numbers])
    head = ["method", "lr", *(heading for heading, *_ in COLUMNS)]
    return markdown(f"{runs.name}: every learning rate, test, seed 0", head, rows)


def hardness(runs: Runs) -> str:
    """How much nearer mixed negatives are, in the space that each method ends with."""
    rows = []
    for method in runs.methods():
        spaces = [each["hardness"] for each in runs.chosen(method)]
        keys = ("plain_mean", "mixed_mean", "plain_hardest", "mixed_hardest", "mixed_harder")
        rows.append([method, *(spread([space[key] for space in spaces]) for key in keys)])
    head = ["method", "plain, mean", "mixed, mean", "plain, hardest", "mixed, hardest", "share harder when mixed"]
    below = (
        "Cosine of an anchor with negatives of the other modality, plain and mixed with their own partners, "
        "λ ~ Beta(½, ½); test, one caption an image; es shows the space after its shift."
    )
    return markdown(f"{runs.name}: hardness of negatives", head, rows, below)


def as_csv(runs: Runs) -> str:
    """The base model and every run: its trial, its score on val, and its numbers on test."""
    buffer = io.StringIO()
    keys = [key for _, key, *_ in COLUMNS]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "lr", "seed", "chosen", "val_score", "logit_scale", *keys, "seconds"])
    start = [f"{value:.6g}" for key in keys for value in runs.values("base", key)]
    writer.writerow(["base", "", "", 1, "", "", *start, ""])
    for method in runs.methods():
        taken = [each["trial"] for each in runs.chosen(method)]
        for each in (run for run in runs.runs if run["trial"]["method"] == method):
            trial = each["trial"]
            place = [method, trial["lr"], trial["seed"], int(trial in taken)]
            numbers = [f"{value:.6g}" for value in (each["chosen"]["score"], each["logit_scale"])]
            writer.writerow([*place, *numbers, *(f"{each['test'][key]:.6g}" for key in keys), each["seconds"]])
    return buffer.getvalue()


# --------------------------------------------------------------------------------------------------------- figure


def draw_ways(runs: Runs, file: Path) -> None:
    """The way of a few methods across the plane of both losses, while training."""
    with picture(file, 2.6) as figure:
        axes = figure.subplots()
        for method in runs.methods():
            if method not in PATHS:
                continue
            for each in runs.chosen(method):
                way = [(probe["uniformity_joint"], probe["alignment"]) for _, probe in each["path"]]
                colour, marker = STYLES[method]
                style = {"color": colour, "linestyle": PATHS[method], "linewidth": 1.1}
                axes.plot(*zip(*way, strict=True), **style)  # its end tells whose it is
                axes.plot(*way[-1], marker, color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5)
        start = runs.chosen("ft")[0]["path"][0][1]
        axes.plot(start["uniformity_joint"], start["alignment"], "*", color=STYLES["base"][0], markersize=10)
        axes.set_title(f"{runs.name}: while training, {len(runs.chosen('ft'))} seeds (probe set of val)")
        axes.set(xlabel="uniformity, both modalities (← more even)", ylabel="alignment (↓ closer)")


def draw_ends(table: Path, file: Path) -> None:
    """Alignment and uniformity on test from the CSV, means and standard deviations over seeds: a line a method."""
    with table.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["chosen"] == "1"]
    methods = [method for method in STYLES if method in {row["method"] for row in rows}]
    with picture(file, 0.7 + 0.17 * len(methods)) as figure:
        below = figure.subplots(1, 2, sharey=True)
        for axes, key, label in zip(
            below, ("alignment", "uniformity_joint"), ("alignment (← closer)", "uniformity (← even)"), strict=True
        ):
            for place, method in enumerate(methods):
                values = [float(row[key]) for row in rows if row["method"] == method]
                colour, marker = STYLES[method]
                axes.errorbar(
                    statistics.fmean(values),
                    place,
                    xerr=statistics.stdev(values) if len(values) > 1 else 0,
                    color=colour,
                    marker=marker,
                    markersize=8 if marker == "*" else 5,
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    linewidth=0.8,
                )
            axes.set(xlabel=label)
            axes.grid(axis="y", color="0.9", linewidth=0.6)
            axes.set_axisbelow(True)
        below[0].set_yticks(range(len(methods)), methods)
        below[0].invert_yaxis()
        name = table.stem.removeprefix(PREFIX)
        below[0].set_title(f"{name}: where all methods end (test, ± std. dev.)", loc="left")


@contextmanager
def picture(file: Path, height: float) -> Iterator[Any]:
    """A figure as wide as a column, written as PNG at the end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from geomclip.machine.files import atomic_write

    plt.rcParams.update({"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7})
    figure = plt.figure(figsize=(WIDTH, height), layout="constrained")
    yield figure
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(file) as out:
        figure.savefig(out, format="png", dpi=300)
    plt.close(figure)


if __name__ == "__main__":  # python analyses/finetune_methods_report.py figures/finetune_methods_emoji.csv
    for name in sys.argv[1:]:
        draw_ends(Path(name), Path(name).with_suffix(".png"))
