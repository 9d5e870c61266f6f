"""The page of a comparison: what changed, with intervals and verdicts, and both spaces side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.panels.comparison import tables
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.sources import SIDES
from geomclip.reports import commands, numbers
from geomclip.reports.cards import Card, Space, galleries, moves
from geomclip.reports.figures import pictures_of
from geomclip.reports.origins import lines_of, made_of
from geomclip.reports.page import Missing, Page, Table, write
from geomclip.reports.views import POINTS, Asked, View, view_of


def save_page(
    comparison: Comparison,
    out: Path,
    *,
    thumbnails: bool = True,
    points: int = POINTS,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
    command: str | None = None,
    **of_data: Any,
) -> Path:
    """Write the page of a comparison, whole or not at all.

    Parameters
    ----------
    comparison : Comparison
        What it is of, if it is still in memory (`comparison.sides`), is shown: both spaces, where both have vectors.
    out : path
    thumbnails, points, cache_dir, progress, command
        As of `report`.
    **of_data
        Where the images lie: data, split, data_root and columns, as `load_pairs` takes them.

    Returns
    -------
    Path
    """
    both = {} if comparison.sides is None else dict(zip(SIDES, comparison.sides, strict=True))
    asked = Asked(of_data if thumbnails else None, points, comparison.seed, cache_dir, progress)
    view = view_of(both, asked) if both else View()
    if not thumbnails and not view.spaces:
        raise InputError("--no-thumbnails: without vectors of both sides there are no images: leave it out")
    return write(_page(comparison, view, command or _call(comparison, out)), out)


def _page(comparison: Comparison, view: View, command: str) -> Page:
    groups = numbers.changes_of(comparison)
    panels = (
        {} if comparison.sides is None else dict(zip(SIDES, (side.panel for side in comparison.sides), strict=True))
    )
    *sides, how = tables.header(comparison)
    return Page(
        kind="compare",
        kicker="Before and after",
        title=" → ".join(str(side.get("model") or "unnamed model") for side in (comparison.before, comparison.after)),
        lines=[*sides, how],
        remarks=comparison.notes,
        tiles=numbers.headline(groups),
        groups=groups,
        files=numbers.comparison_files(comparison),
        made=[(side, made_of(panels[side]) if panels else lines_of(getattr(comparison, side))) for side in SIDES],
        command=command,
        missing=None if view.spaces else _missing(comparison),
        maps=view.maps,
        pictures=pictures_of(panels, view.spaces, comparison.after.get("name")),
        galleries=_galleries(view.spaces) if view.spaces else {},
        items=view.items,
        by=_by(comparison),
        notes=[*view.notes, *([f"images: {view.licence}"] if view.licence else [])],
    )


def _galleries(spaces: Sequence[Space]) -> Mapping[str, list[Card]]:
    """What moved most, then what is notable after."""
    before, after = spaces
    return {**moves(before, after), **{f"{heading}, after": cards for heading, cards in galleries(after).items()}}


def _missing(comparison: Comparison) -> Missing:
    said = (
        "This page has no vectors of both sides: maps, similarities, spectra, hubs, neighbours, search and galleries "
        "are of the vectors. With them:"
    )
    return Missing(said, commands.of_both(comparison.before, comparison.after))


def _call(comparison: Comparison, out: Path) -> str:
    sides = [comparison.before.get("name"), comparison.after.get("name")]
    named = commands.called("compare", *sides) if all(sides) else "geomclip.compare(before, after)"
    return f"{named}.save({str(out)!r})"


def _by(comparison: Comparison) -> Table | None:
    if not comparison.groups:
        return None
    some = {"all": comparison, **comparison.groups}
    rows = [["images", *(f"{one.n_images:,}" for one in some.values())]]
    rows += [[key, *(tables.starred(one.rows.get(key)) for one in some.values())] for key in comparison.rows]
    return Table(comparison.by or "group", list(some), rows)
