"""Tables and a verdict on each claim, from the results that `heat_geodesic.py` keeps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from heat_geodesic_data import KINDS, LABELLED
from heat_geodesic_results import FIRST_CHOOSING, FIRST_REPORTED, chosen, place
from heat_geodesic_rivals import METHODS, OPTIONAL

OURS, PATHS = "heat geodesic", "shortest path, Isomap"
CAP, SLACK = 0.995, 0.002
MEASURES = ("pearson", "spearman", "precision@10", "precision@50", "trustworthiness")

Key = tuple[str, float]  # kind of data, noise
Scores = dict[tuple[Key, str, str], dict[str, list[float]]]  # (key, method, "distances" or "map") -> measure -> by seed


def collect(study: Path, first_reported: int = FIRST_REPORTED) -> tuple[Scores, dict[tuple[Key, str, str], list[Any]]]:
    """Measures of the reported seeds by method, each at the setting that was chosen for it; and those settings."""
    scores: Scores = {}
    used: dict[tuple[Key, str, str], list[Any]] = {}
    noises = sorted({0.1, 0.5})
    choosing = [
        s
        for s in range(FIRST_CHOOSING, first_reported)
        if place(study, "rolls and trees", next(iter(KINDS)), 0.1, s, PATHS).exists()
    ]
    for kind in KINDS:
        for noise in noises:
            for method in (*METHODS, *OPTIONAL):
                for seed in range(first_reported, first_reported + 20):
                    path = place(study, "rolls and trees", kind, noise, seed, method)
                    if not path.exists():
                        continue
                    results = {tuple(each["setting"]): each for each in json.loads(path.read_text())}
                    settings = chosen(study, kind, noise, choosing, method) if len(results) > 1 else [*results] * 2
                    for part, setting in (("distances", settings[0]), ("map", settings[-1])):
                        for measure, value in results[setting][part].items():
                            key = ((kind, noise), method, part)
                            scores.setdefault(key, {}).setdefault(measure, []).append(value)
                            used[key] = list(setting)
    return scores, used


def mean(scores: Scores, key: Key, method: str, part: str, measure: str) -> float | None:
    """Over the reported seeds."""
    values = scores.get((key, method, part), {}).get(measure)
    return float(np.mean(values)) if values else None


def keys_of(scores: Scores) -> list[Key]:
    """Data and noise, in the order of `KINDS`."""
    found = {key for key, _, _ in scores}
    return [(kind, noise) for kind in KINDS for noise in sorted({n for k, n in found if k == kind})]


def methods_of(scores: Scores) -> list[str]:
    """Those with results, in the order of `METHODS`."""
    return [each for each in (*METHODS, *OPTIONAL) if any(method == each for _, method, _ in scores)]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [" | ".join(["", *heads, ""]).strip(), "|" + "---|" * len(heads)]
    return "\n".join([lines[0], lines[1], *("| " + " | ".join(row) + " |" for row in rows)])


def correlations(scores: Scores, part: str) -> str:
    """A row for each kind of data and noise, a column a method: Pearson / Spearman."""
    methods = [m for m in methods_of(scores) if any(key[1:] == (m, part) for key in scores)]
    rows = []
    for key in keys_of(scores):
        cells = []
        for method in methods:
            both = [mean(scores, key, method, part, measure) for measure in ("pearson", "spearman")]
            cells.append("-" if both[0] is None else f"{both[0]:.3f} / {both[1]:.3f}")
        rows.append([f"{key[0]}, noise {key[1]:g}", *cells])
    return table(["data", *methods], rows)


def verdicts(scores: Scores) -> str:
    """How far ours is from what it has to reach: the best rival other than shortest paths, and those, capped."""
    rows = []
    for part in ("distances", "map"):
        for key in keys_of(scores):
            for measure in ("pearson", "spearman"):
                ours = mean(scores, key, OURS, part, measure)
                others = {
                    m: mean(scores, key, m, part, measure)
                    for m in methods_of(scores)
                    if m != PATHS and not m.startswith(OURS)
                }
                rivals = {m: value for m, value in others.items() if value is not None}
                paths = mean(scores, key, PATHS, part, measure)
                if ours is None or paths is None or not rivals:
                    continue
                best = max(rivals, key=lambda m: rivals[m])
                goal = min(paths, CAP) - SLACK
                rows.append(
                    [
                        part,
                        f"{key[0]}, {key[1]:g}",
                        measure,
                        f"{ours:.4f}",
                        f"{best} {rivals[best]:.4f}",
                        held(ours - rivals[best]),
                        f"{paths:.4f}",
                        held(ours - goal),
                    ]
                )
    heads = [
        "of",
        "data, noise",
        "measure",
        OURS,
        "best rival",
        "above it by",
        PATHS,
        "above min(it, 0.995) − 0.002 by",
    ]
    return table(heads, rows)


def held(margin: float) -> str:
    """A margin, bold where it is negative."""
    return f"{margin:+.4f}" if margin >= 0 else f"**{margin:+.4f}**"


def local(scores: Scores) -> str:
    """What neighbours of the map are worth: precision at 10 and 50, trustworthiness; means over all data."""
    rows = []
    for method in methods_of(scores):
        cells = []
        for part, measure in (
            ("distances", "precision@10"),
            ("distances", "precision@50"),
            ("map", "precision@10"),
            ("map", "precision@50"),
            ("map", "trustworthiness"),
        ):
            values = [mean(scores, key, method, part, measure) for key in keys_of(scores)]
            known = [value for value in values if value is not None]
            cells.append(f"{np.mean(known):.3f}" if known else "-")
        rows.append([method, *cells])
    heads = [
        "",
        "precision@10 of distances",
        "precision@50",
        "precision@10 of the map",
        "precision@50",
        "trustworthiness",
    ]
    return table(heads, rows)


def clusters_table(study: Path) -> str:
    """Adjusted Rand index by method and data."""
    found: dict[str, dict[str, list[float]]] = {}
    for method in (*METHODS, *OPTIONAL):
        for kind in LABELLED:
            for seed in range(FIRST_REPORTED, 60):
                path = place(study, "clusters", kind, 0.5, seed, method)
                if path.exists():
                    found.setdefault(method, {}).setdefault(kind, []).append(json.loads(path.read_text())[0]["ari"])
    rows = [
        [method, *(f"{np.mean(by[kind]):.3f}" if kind in by else "-" for kind in LABELLED)]
        for method, by in found.items()
    ]
    return table(["ARI of k-means on the map", *LABELLED], rows)


def clip_table(study: Path) -> str:
    """What the maps of each set of a CLIP keep of its angles, and how they draw the gap."""
    rows = []
    for path in sorted((study / "clip").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        ratio, parts = record["across_over_within"], record["parts_of_the_graph"]
        for name, by in record["maps"].items():
            kept = [by[some]["pearson"] for some in ("all pairs", "within a modality")]
            numbers = [*kept, by["trustworthiness"], by["continuity"], ratio[name], ratio["angles"]]
            rows.append([path.stem, name, *(f"{value:.3f}" for value in numbers), str(parts)])
    heads = [
        "set",
        "map",
        "angles",
        "within a modality",
        "trustworthiness",
        "continuity",
        "across / within",
        "of angles",
    ]
    return table([*heads, "parts of the graph"], rows)


def lines(scores: Scores, used: dict[tuple[Key, str, str], list[Any]]) -> str:
    """Everything as CSV: a line for each data, noise, method, measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "noise", "method", "setting", "of", "measure", "mean", "standard_deviation", "seeds"])
    for (key, method, part), by in scores.items():
        for measure in MEASURES:
            if measure in by:
                values = np.array(by[measure])
                spread = f"{values.std(ddof=1):.5f}" if len(values) > 1 else ""
                setting = " ".join(map(str, used[key, method, part]))
                writer.writerow([*key, method, setting, part, measure, f"{values.mean():.5f}", spread, len(values)])
    return out.getvalue()


def report(study: Path, folder: Path) -> None:
    """heat_geodesic_scores.md and .csv, and the figures of what is there."""
    from heat_geodesic_figures import draw_all

    scores, used = collect(study)
    seeds = max(len(by["pearson"]) for by in scores.values())
    text = f"""# Heat-geodesic embedding: how near are its distances to those along the data?

Rows' mean of Pearson / Spearman correlation with the true distances; mean of {seeds} seeds from 47 on. `HeatGeodesic`
has one set of defaults; the other methods have the best setting of their grids for each kind of data and noise, by
seed 42 (in the CSV): one seed, so that shortest paths with 15 neighbours, which take short cuts on another, can be
chosen. Made by `analyses/heat_geodesic.py`.

## Distances

{correlations(scores, "distances")}

## Maps (2-D, "DEMaP")

{correlations(scores, "map")}

## Against the aim

Bold: not reached. A map of t-SNE or UMAP counts as a rival among the maps only; they have no distances.

{verdicts(scores)}

## Neighbours, mean over the data above

Against the true distances; trustworthiness with k = 15.

{local(scores)}

## Clusters

Noise 0.5. A tree's labels are its branches, which are no clusters: they meet.

{clusters_table(study)}

## Vectors of a CLIP

Pearson's correlation of drawn distances with angles, over all pairs and within a modality; trustworthiness and
continuity (k = 15); mean distance across modalities over that within, drawn and by angles.

{clip_table(study)}
"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "heat_geodesic_scores.md").write_text(text, encoding="utf-8")
    (folder / "heat_geodesic_scores.csv").write_text(lines(scores, used), encoding="utf-8")
    draw_all(study, folder)
