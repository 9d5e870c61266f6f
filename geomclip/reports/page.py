"""The page: templates, style and scripts of this folder made into one HTML file that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from geomclip.machine.extras import optional
from geomclip.machine.files import atomic_bytes
from geomclip.machine.version import __version__
from geomclip.panels.comparison.transfer import Transfer
from geomclip.reports.cards import Card
from geomclip.reports.figures import Figure
from geomclip.reports.numbers import Group, Line
from geomclip.reports.packed import packed
from geomclip.reports.signs import plain

FOLDER = Path(__file__).parent
NUMBERS = {"report": "Numbers", "compare": "What changed", "moments": "Moments"}
"""What each kind of page calls its numbers."""
SCRIPTS = ("payload.js", "elements.js", "items.js", "maps.js", "explore.js", "main.js")


@dataclass(frozen=True)
class Table:
    """The groups of --by side by side: their names, and rows of a key and a cell each."""

    name: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Missing:
    """What a page cannot show, and the command that would give it."""

    reason: str
    command: str = ""


@dataclass(frozen=True)
class Findings:
    """What a sentence found in videos: rows of cells under the heads, each with small pictures (data addresses)."""

    query: str
    heads: Sequence[str]
    rows: Sequence[tuple[Sequence[str], Sequence[str]]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that a page shows; text as it came from outside, which the template escapes."""

    kind: str  # report, compare or moments: the template
    kicker: str
    title: str
    lines: Sequence[str]
    tiles: Sequence[Line]
    groups: Sequence[Group]
    legend: Sequence[str] = ()  # of a comparison: what its words mean
    answer: Sequence[tuple[str, str]] = ()  # of a comparison: subjects and sentences of its verdict
    muted: bool = False  # of a comparison: both sides are at chance, so no number is to look like a judgement
    elsewhere: Table | None = None  # of a comparison: the primary numbers on other data
    transfer: Transfer | None = None  # of a run: what it did to the tasks that it was asked
    files: Mapping[str, str]  # to download: name and content
    made: Sequence[tuple[str, Mapping[str, str]]]
    command: str
    warnings: Sequence[str] = ()
    remarks: Sequence[str] = ()
    missing: Missing | None = None
    maps: Sequence[Figure] = ()
    pictures: Sequence[Figure] = ()
    galleries: Mapping[str, Sequence[Card]] = field(default_factory=dict)
    items: Mapping[str, Any] | None = None
    by: Table | None = None
    findings: Sequence[Findings] = ()
    notes: Sequence[str] = ()


def write(page: Page, path: Path) -> Path:
    """Write the page, whole or not at all; the same page gives the same bytes.

    Raises
    ------
    NotAvailableError
        If plotly or jinja2 is not installed.
    InputError, GeomclipError
        If the place cannot be written to, or the disk is full.
    """
    atomic_bytes(path, html(page).encode())
    return path


def html(page: Page) -> str:
    """The page as one HTML text."""
    from geomclip.plots import offline

    safe = optional("markupsafe", "a report").Markup
    drawn = {each.name: each.figure for each in (*page.maps, *page.pictures) if each.figure is not None}
    of_items = [each for each in page.pictures if each.of_items]
    pictures = [each for each in page.pictures if not each.of_items]
    sections = [
        ("transfer", "Transfer", page.transfer),
        ("explore", "Explore", page.maps),
        ("pairs", "Pairs and hubs", page.galleries or of_items),
        ("numbers", NUMBERS[page.kind], True),
        ("pictures", "Pictures", pictures),
        ("made", "Made from", True),
    ]
    classes = page.items is not None and page.items["classes"]
    shown = {name: getattr(page, name) for name in page.__dataclass_fields__ if name != "items"}
    text: str = (
        _environment()
        .get_template(f"{page.kind}.html")
        .render(
            **shown | {"pictures": pictures, "of_items": of_items},
            version=__version__,
            sections=[(id, name) for id, name, there in sections if there],
            others="images or classes" if classes else "texts or images",
            stills={each.name: safe(each.still) for each in page.maps if each.still},
            captions="classes" if classes else "captions",
            drawn=drawn,
            policy=offline.CONTENT_POLICY,
            style=safe(offline.style() + _asset("report.css")),
            script=safe("".join(map(_asset, SCRIPTS))),
            plotly=safe(offline.plotly_script()),
            drawing=safe(offline.figure_script()),
            data=packed({"files": page.files, "items": page.items}),
            figures=packed(drawn),
        )
    )
    return text


@cache
def _environment() -> Any:
    """Templates that escape all that they show, and refuse a name that they do not have."""
    jinja2 = optional("jinja2", "a report")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        keep_trailing_newline=True,
    )


def _shown(value: Any) -> Any:
    """Strings with what acts in them written out; what is marked as safe markup of ours is left alone."""
    return plain(value) if type(value) is str else value


@cache
def _asset(name: str) -> str:
    return (FOLDER / "assets" / name).read_text(encoding="utf-8")
