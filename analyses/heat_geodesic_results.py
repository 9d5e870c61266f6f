"""Where each result of heat_geodesic.py lies, and the settings that the choosing seeds prefer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

FIRST_CHOOSING, FIRST_REPORTED = 42, 47
"""Seeds: those before the second choose the settings."""


def place(study: Path, stage: str, data: str, noise: float, seed: int, method: str) -> Path:
    """The file of one result."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{data} {noise} {seed}")
    return study / stage / plain / f"{method.replace(', ', '-').replace(' ', '-')}.json"


def keep(path: Path, results: list[dict[str, object]]) -> None:
    """Written whole or not at all: other processes look for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1), encoding="utf-8")
    part.replace(path)


def chosen(study: Path, data: str, noise: float, seeds: Iterable[int], method: str) -> list[tuple[object, ...]]:
    """The best setting by distances (if the method has any) and the best by its map."""
    tried = [json.loads(place(study, "rolls and trees", data, noise, seed, method).read_text()) for seed in seeds]
    best = []
    for kind in ("distances", "map"):
        means = {
            tuple(each["setting"]): np.mean([by[i][kind][m] for by in tried for m in ("pearson", "spearman")])
            for i, each in enumerate(tried[0])
            if each[kind]
        }
        if means:
            best.append(max(means, key=lambda setting: means[setting]))
    return best
