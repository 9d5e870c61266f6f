"""What is seen of vectors: one space or two of the same items, drawn and listed, with thumbnails of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Named, Progress
from geomclip.panels.details import details_of
from geomclip.panels.measurement import Measured
from geomclip.plots.coloring import check_column
from geomclip.reports.cards import GALLERY, items
from geomclip.reports.figures import Figure, maps_of
from geomclip.reports.spaces import Space, as_measured, sampled
from geomclip.reports.thumbnails import Thumbnails, thumbnails

POINTS = 50_000
"""Images and texts that a browser still draws and searches without a wait."""


@dataclass(frozen=True)
class PageOptions:
    """What a page is to show.

    `of_data` says where images lie, None that there are to be no thumbnails; `color` is a column of the images.
    """

    of_data: Mapping[str, Any] | None
    points: int = POINTS
    color: str | None = None
    seed: int = 0
    cache_dir: Path | None = None
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        if self.points < 4:
            raise InputError(f"points must be at least 4, got {self.points}")


@dataclass(frozen=True)
class View:
    """Spaces, the maps of them, their items for the scripts, and remarks on what is not as one might think."""

    spaces: Sequence[Space] = ()
    maps: Sequence[Figure] = ()
    items: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    licence: str = ""


def view_of(sides: Mapping[str, Measured], options: PageOptions) -> View:
    """The view of one side ('') or of both; empty where one has no vectors, or they are not of the same items."""
    sets = [as_measured(side) for side in sides.values()]
    if any(each is None for each in sets):
        return View()
    whole = [each for each in sets if each is not None]
    if any((each.image_id, each.caption_id) != (whole[0].image_id, whole[0].caption_id) for each in whole):
        return View(notes=["no maps: the two sides do not have the same images and texts in one order"])
    check_column(options.color, whole[0].attributes())
    drawn, note = sampled(whole, options.points, options.seed)
    spaces = []
    for (name, side), embeddings in zip(sides.items(), drawn, strict=True):
        details = details_of(embeddings, pairs=GALLERY, progress=Named(options.progress, name))
        spaces.append(Space(name, embeddings, details, side.panel))
    found = _thumbnails(spaces[0], options)
    maps = maps_of(spaces, seed=options.seed, progress=options.progress, color=options.color)
    notes = [*([note] if note else []), *found.notes, *_details(spaces)]
    return View(spaces, maps, items(spaces, found.webp), notes, found.licence)


def _thumbnails(space: Space, options: PageOptions) -> Thumbnails:
    if options.of_data is None:
        return Thumbnails()
    ids, made_from = space.embeddings.image_id, space.embeddings.made_from
    return thumbnails(ids, made_from, options.of_data, cache_dir=options.cache_dir, progress=options.progress)


def _details(spaces: Sequence[Space]) -> list[str]:
    return [
        f"{f'{space.name}: ' if space.name else ''}{what}: {why}"
        for space in spaces
        for what, why in space.details.notes.items()
    ]
