"""Thumbnails: the images of a set as small WebP, found through the data set that it says it is of."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.threads import default_workers
from geomclip.machine.words import option
from geomclip.pairs import DATASETS, Pairs, Source, load_pairs
from geomclip.pairs.images import decode
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import ImageSource

SIDE = 96
"""Longest side in pixels: a list of ten fits a phone, and 1,000 photos take about 3 MB."""
QUALITY = 60


@dataclass(frozen=True)
class Thumbnails:
    """One WebP an image of a set, b'' where there is none; what was not found, and whose pictures they are."""

    webp: Sequence[bytes] = ()
    notes: Sequence[str] = ()
    licence: str = ""

    def __bool__(self) -> bool:
        return any(self.webp)


def thumbnails(
    ids: Sequence[str],
    made_from: Mapping[str, Any],
    of_data: Mapping[str, Any],
    *,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Thumbnails:
    """The images of a set, by their ids in its data set; only what that data set names is read.

    Parameters
    ----------
    ids : sequence of str
        Of the images.
    made_from : mapping
        Of the set.
    of_data : mapping
        Fields of `geomclip.pairs.Source`: data, split, data_root, columns. Without `data`, the set that `made_from`
        names, if it is one of `geomclip data`; a place (csv:FILE, folder:DIR) is never taken from there.
    cache_dir : path, optional
    progress : Progress, optional
        Takes how many images are done.

    Returns
    -------
    Thumbnails
        With a note where images are absent, cannot be read, or have no id in the data set.

    Raises
    ------
    InputError
        If data that `of_data` names cannot be used.
    GeomclipError
        If the machine fails while an image is read.
    """
    try:
        pairs = _pairs(made_from, of_data, cache_dir)
    except (InputError, NotAvailableError) as absent:
        if of_data:
            raise
        return Thumbnails(notes=(f"no thumbnails: {absent}",))
    sources = _sources(ids, pairs)
    if not any(sources):
        return Thumbnails(
            notes=(f"no thumbnails: no image of {pairs.title} has an id of this set ({option('data')} names another)",)
        )

    def make(source: ImageSource | None) -> bytes | str:
        if source is None:
            return "its id is not in the data set"
        return value_or_reason(lambda: shrunk(source), name=source.path)

    webp, lost = [], []
    with ThreadPoolExecutor(default_workers()) as pool:  # Pillow decodes without the interpreter's lock
        for done, (name, made) in enumerate(zip(ids, pool.map(make, sources), strict=True), 1):
            if isinstance(made, str):
                lost.append(f"{name} ({made})")
            webp.append(b"" if isinstance(made, str) else made)
            if done % 50 == 0 or done == len(sources):
                progress.stage("thumbnails", done, len(sources))
    notes = [f"{len(lost):,} of {len(webp):,} images have no thumbnail; first: {lost[0]}"] if lost else []
    return Thumbnails(webp, notes, pairs.licence)


def shrunk(source: ImageSource) -> bytes:
    """The image as WebP of at most `SIDE` pixels; OSError or InputError if it cannot be read."""
    from PIL import Image

    picture = decode(source.read(), name=source.path)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


def _pairs(made_from: Mapping[str, Any], of_data: Mapping[str, Any], cache_dir: Path | None) -> Pairs:
    """The pairs that the set was made from, or those that `of_data` names."""
    named = dict(of_data)
    if "data" not in named:
        name = str(made_from.get("dataset") or "")
        # a store may be somebody else's: it names a set that this machine knows, and no file or folder to read
        if name not in DATASETS:
            what = f"its images are of {name}, which" if name else "it does not say of which images it is, which"
            raise InputError(f"{what} {option('data')} tells")
        named["data"] = name
        if made_from.get("split"):
            named.setdefault("split", str(made_from["split"]))
    return load_pairs(Source(**named), cache_dir=cache_dir)


def _sources(ids: Sequence[str], pairs: Pairs) -> list[ImageSource | None]:
    """Where each image of the set is; None for ids that the data do not have, or have twice."""
    known: dict[str, ImageSource | None] = {}
    for pair in pairs.pairs:
        known[pair.image_id] = None if pair.image_id in known else pair.image
    if tuple(ids) == tuple(map(str, range(len(ids)))) and tuple(ids) != tuple(pair.image_id for pair in pairs.pairs):
        return [None] * len(ids)  # row numbers, which say nothing of other rows
    return [known.get(each) for each in ids]
