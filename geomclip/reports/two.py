"""The page of a comparison: what changed, with intervals and verdicts, and both spaces side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.places import shown
from geomclip.machine.words import option
from geomclip.panels.comparison import tables
from geomclip.panels.comparison.blocks import HEADS
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.comparison.short import units_of
from geomclip.panels.comparison.transfer import transfer_of
from geomclip.panels.naming import side_of
from geomclip.panels.sources import SIDES
from geomclip.reports import commands, numbers
from geomclip.reports.cards import Card, galleries, moves
from geomclip.reports.figures import figures_of
from geomclip.reports.origins import lines_of, made_of
from geomclip.reports.page import Missing, Page, Table
from geomclip.reports.spaces import Space
from geomclip.reports.views import PageOptions, View, view_of


def page_of(comparison: Comparison, options: PageOptions, command: str) -> Page:
    """What the page of a comparison shows: of both spaces, where it is still in memory and both have vectors.

    Raises
    ------
    InputError
        If there are to be no thumbnails where there are no images.
    """
    both = {} if comparison.sides is None else dict(zip(SIDES, comparison.sides, strict=True))
    view = view_of(both, replace(options, seed=comparison.seed)) if both else View()
    if options.of_data is None and not view.spaces:
        raise InputError(
            f"{option('thumbnails', False)}: without vectors of both sides there are no images: leave it out"
        )
    groups = numbers.changes_of(comparison)
    panels = {name: side.panel for name, side in both.items()}
    *sides, how = tables.header(comparison)
    return Page(
        kind="compare",
        kicker="Before and after",
        title=" → ".join(
            side_of(side, str(side.get("model") or _file_of(side))) for side in (comparison.before, comparison.after)
        ),
        lines=[*sides, how],
        remarks=comparison.notes,
        tiles=numbers.tiles_of_changes(comparison),
        groups=groups,
        legend=list(tables.legend(comparison)),
        answer=comparison.verdict.paragraphs(),
        muted=comparison.verdict.is_muted,
        elsewhere=_elsewhere(comparison),
        transfer=transfer_of(comparison),
        files=numbers.comparison_files(comparison),
        made=[(side, made_of(panels[side]) if panels else lines_of(getattr(comparison, side))) for side in SIDES],
        command=command,
        missing=None if view.spaces else _missing(comparison),
        maps=view.maps,
        pictures=figures_of(panels, view.spaces, comparison.after.get("source")),
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
    reason = (
        "This page has no vectors of both sides: maps, similarities, spectra, hubs, neighbours, search and galleries "
        "are of the vectors. With them:"
    )
    return Missing(reason, commands.of_both(comparison.before, comparison.after))


def call_of(comparison: Comparison, out: Path) -> str:
    """The calls in Python that make the page, as far as the names of both sides are known."""
    sides = [comparison.before.get("source"), comparison.after.get("source")]
    named = commands.called("compare", *sides) if all(sides) else "geomclip.compare(before, after)"
    return f"geomclip.report({named}, {shown(out)!r})"


def _elsewhere(comparison: Comparison) -> Table | None:
    if not comparison.others:
        return None
    rows = [[name, *cells] for name, other in comparison.others.items() for cells in tables.primary_cells(other)]
    return Table("data", HEADS, rows)


def _by(comparison: Comparison) -> Table | None:
    if not comparison.groups:
        return None
    some = {"all": comparison, **comparison.groups}
    rows = [[units_of(comparison), *(f"{one.n_images:,}" for one in some.values())]]
    rows += [[key, *(tables.starred(one.rows.get(key)) for one in some.values())] for key in comparison.rows]
    return Table(comparison.by or "group", list(some), rows)


def _file_of(side: Mapping[str, Any]) -> str:
    """The name of the file that a side without a model was."""
    return Path(str(side.get("source") or "unnamed model")).name
