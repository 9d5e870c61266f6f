"""The protocol of Oh et al. (2023): one caption an image, runs of ft and of m2-mix, their last weights compared."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.extraction.calls import embed
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes, make_folder, refuse_links
from geomclip.machine.progress import Named, Progress
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.record import place_of
from geomclip.panels import compare
from geomclip.reproduction.rows import Row
from geomclip.training.finetune import finetune
from geomclip.training.folder import LAST

METHODS = ("ft", "m2mix")
CAPTIONS = "captions.csv"
COMPARISON = "comparison.json"


def runs(
    row: Row,
    source: Callable[[Row, str], Source],
    embedding: Mapping[str, Any],
    folder: Path,
    *,
    limit: int | None,
    progress: Progress,
) -> dict[str, EmbeddingSet]:
    """The test split under the last weights of each run; runs go on where they were stopped."""
    table, root = _one_caption(row, source, folder, embedding["cache_dir"])
    data = f"csv:{table}"
    after = {}
    for method in METHODS:
        refuse_links(folder, method)
        run = folder / method
        finetune(
            method=method,
            model=row.model,
            data=data,
            image_root=root,
            out=run,
            limit=limit,
            resume=True,
            preset="oh2023",
            device=embedding["device"],
            precision=embedding["precision"],
            workers=embedding["workers"],
            cache_dir=embedding["cache_dir"],
            metrics="alignment",
            bootstrap=0,
            progress=Named(progress, method),
        )
        how = {**embedding, "progress": Named(progress, method)}
        after[method] = embed(str(run / LAST), data, split=row.split, limit=limit, image_root=root, **how)
    return after


def compared(
    after: Mapping[str, EmbeddingSet],
    keys: Sequence[str],
    *,
    bootstrap: int,
    cache_dir: Path | None,
    out: Path,
    progress: Progress,
) -> tuple[dict[str, float | None], dict[str, tuple[float, float]]]:
    """m2mix less ft and its interval; of recalls the value of m2mix itself."""
    comparison = compare(
        after["ft"],
        after["m2mix"],
        names=METHODS,
        metrics=list(keys),
        bootstrap=bootstrap,
        cache_dir=cache_dir,
        progress=progress,
    )
    comparison.save(out / COMPARISON)
    values: dict[str, float | None] = {}
    ci: dict[str, tuple[float, float]] = {}
    for key in keys:
        found = comparison[key]
        values[key] = found.after if "recall" in key else found.difference
        if found.ci is not None and "recall" not in key:
            ci[key] = found.ci
    return values, ci


def _one_caption(
    row: Row, source: Callable[[Row, str], Source], folder: Path, cache_dir: Path | None
) -> tuple[Path, Path]:
    """A table of the first caption of each image of the three splits, as the authors' loader takes them; its root."""
    found: list[tuple[Path, str, str]] = []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["filepath", "title", "split"])
    for split in ("train", "val", row.split):
        for pair in load_pairs(source(row, split), cache_dir=cache_dir).described().pairs:
            place = place_of(pair.image)
            if place is None or place.within:
                raise InputError(f"{row.data}: {pair.image.path} is no file of its own, which this row needs")
            found.append((place.file.absolute(), pair.first_text, split))
    root = Path(os.path.commonpath([file.parent for file, _, _ in found]))
    writer.writerows([file.relative_to(root).as_posix(), caption, split] for file, caption, split in found)
    file = make_folder(folder) / CAPTIONS
    atomic_bytes(file, text.getvalue().encode())
    return file, root
