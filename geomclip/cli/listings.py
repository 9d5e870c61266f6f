"""Listings: panels, comparisons, models, data sets and findings on the terminal. Computes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from geomclip.cli.quantities import shown_age, shown_size
from geomclip.machine.words import one_line
from geomclip.panels.comparison.blocks import verdict_lines
from geomclip.panels.comparison.shown import Changes
from geomclip.panels.comparison.side_by_side import Runs, several_lines, verdicts
from geomclip.panels.comparison.tables import comparison_lines
from geomclip.panels.lines import shortened, show
from geomclip.panels.papers.citations import cite
from geomclip.panels.planning import Plan, plan_lines
from geomclip.panels.shown import Shown
from geomclip.panels.standouts import standout_lines
from geomclip.panels.tables import panel_lines
from geomclip.reproduction.table import lines as reproduction_lines
from geomclip.reproduction.table import list_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from geomclip.cli.cache import Contents, Entry, Pruned
    from geomclip.cli.checks import Checked
    from geomclip.cli.doctor import Finding
    from geomclip.encoders import ModelInfo
    from geomclip.pairs import DatasetInfo
    from geomclip.reproduction.availability import Place
    from geomclip.reproduction.record import Reproduction


KEPT = ("trustworthiness", "continuity")
"""What pictures print of how far they can be trusted."""


def print_panel(panel: Shown, console: Console, *, full: bool = False) -> None:
    """Header, the ten numbers that answer, notes, and the groups of --by side by side; in `full` every number."""
    show(panel_lines(panel, console.width, full=full), console)


def print_standouts(panel: Shown, console: Console) -> None:
    """What stands out of a panel, and no number beside."""
    show(standout_lines(panel, console.width), console)


def print_comparison(comparison: Changes, console: Console, *, full: bool = False) -> None:
    """What was compared, notes, the ten numbers that answer, or in `full` all, and the changes of the groups."""
    show(comparison_lines(comparison, console.width, full=full), console)


def print_comparisons(comparisons: Runs, console: Console, *, full: bool = False) -> None:
    """Which runs were compared, notes, and the value and change of each of the ten numbers, or in `full` of all."""
    show(several_lines(comparisons, console.width, full=full), console)


def print_verdict(comparison: Changes, console: Console) -> None:
    """What a comparison comes to, and no number beside."""
    show(verdict_lines(comparison.verdict, console.width), console)


def print_verdicts(comparisons: Runs, console: Console) -> None:
    """What the comparison of each run with the first comes to, and no number beside."""
    show(verdicts(comparisons, console.width), console)


def print_sources(*what: Any) -> None:
    """BibTeX of what has just been printed or drawn, after an empty line."""
    click.echo(f"\n{cite(*what)}", nl=False)


def print_plan(plan: Plan, console: Console) -> None:
    """How many images each number needs, by which rule, and where that misleads."""
    show(plan_lines(plan, console.width), console)


def print_reproduction(found: Reproduction, console: Console) -> None:
    """Published numbers beside ours, and what that comes to."""
    show(reproduction_lines(found.outcomes, console.width), console, whole=True)


def reproduction_json(found: Reproduction) -> str:
    """The same as JSON."""
    return json.dumps(found.to_dict(), indent=2, allow_nan=False)


def print_places(places: Sequence[Place], console: Console) -> None:
    """What would be run, and what is here for it."""
    show(list_lines(places, console.width), console, whole=True)


def places_json(places: Sequence[Place]) -> str:
    """The same as JSON."""
    return json.dumps({"rows": [place.to_dict() for place in places]}, indent=2)


def print_datasets(datasets: Sequence[DatasetInfo], console: Console) -> None:
    """Each data set that can be named: what it is, size, licence, splits, where it is or is looked for."""
    table = plain_table()
    for dataset in datasets:
        if ":" in dataset.name:  # a form of one's own data: nothing to fetch, nowhere to look
            table.add_row(dataset.name, "", dataset.description)
            continue
        facts = f"{dataset.size}; {dataset.licence}"
        place = f"{'in' if dataset.present else 'looked for in'} {dataset.where}"
        about = f"{dataset.description}\n{facts}\nsplits {', '.join(dataset.splits)}; {place}"
        table.add_row(dataset.name, "here" if dataset.present else "absent", about)
    console.print(table)


def plain_table() -> Table:
    """Three columns without lines: a name, a word, and text that wraps."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_models(models: Sequence[ModelInfo], console: Console) -> None:
    """Each model that can be named, open_clip's in a row an architecture; * marks weights that are here."""
    table = plain_table()
    tags: dict[str, list[str]] = {}
    for model in models:
        star = "*" if model.present else ""
        if model.group == "open_clip":
            arch, _, tag = model.name.partition(":")
            tags.setdefault(arch, []).append(f"{tag}{star}")
        else:
            table.add_row(model.name, star, model.about)
    console.print(table)
    console.print("\nopen_clip's, as ARCHITECTURE:TAG")
    table = plain_table()
    for arch, its_tags in tags.items():
        table.add_row(arch, "", ", ".join(its_tags))
    console.print(table)
    console.print("\n* on this machine", style="dim")


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """What `doctor` found, with what to do beneath where there is something to do."""
    table = plain_table()
    for finding in findings:
        found = f"{finding.found}\n-> {finding.advice}" if finding.advice else finding.found
        table.add_row(finding.name, "ok" if finding.well else "!!", found)
    console.print(table)


def print_checked(found: Checked, console: Console) -> None:
    """Everything that is not whole with what to do, and how much is."""
    marks = {"damaged": "!!", "unfinished": "..", "no sum": "--"}
    for part in found.parts:
        if part.state == "whole":
            continue
        console.print(f"{marks[part.state]} {part.reason}", soft_wrap=True)
        if part.way_out and not part.reason.endswith(part.way_out):
            console.print(f"   -> {part.way_out}", soft_wrap=True)
    counts = [(state, len(found.of(state))) for state in ("whole", "no sum", "unfinished", "damaged")]
    shown = ", ".join(f"{count:,} {state}" for state, count in counts if count) or "nothing in it has a sum"
    console.print(f"{found.path} ({found.kind}): {shown}", soft_wrap=True)


def checked_json(found: Checked) -> str:
    """The same as JSON."""
    return json.dumps(found.to_dict(), indent=2)


def print_cache(found: Contents, console: Console, *, weights_elsewhere: bool = False) -> None:
    """A line an entry, what is not geomclip's, and where else to look."""
    console.print(f"{found.folder}: {shown_size(found.size)}, {entries(len(found.entries))}", soft_wrap=True)
    for entry in found.entries:
        console.print(entry_line(entry), soft_wrap=True)
    for name in found.unknown:
        console.print(f"! {one_line(name)} is not geomclip's: left alone", soft_wrap=True)
    if weights_elsewhere:
        console.print("Without --cache-dir weights lie in the hub's own folder (HF_HOME): not here.", style="dim")


def print_pruned(done: Pruned, console: Console) -> None:
    """A line an entry that goes, one each that stays with the reason, and the sizes."""
    for entry in done.removed:
        console.print(entry_line(entry), soft_wrap=True)
    for entry in done.kept:
        console.print(f"! {entry.kind}/{entry.name} stays: {entry.kept}", soft_wrap=True)
    would = "would be " if done.dry_run else ""
    sizes = f"{shown_size(done.before)} -> {shown_size(done.after)}"
    console.print(f"{done.folder}: {entries(len(done.removed))} {would}removed, {sizes}", soft_wrap=True)
    if done.limit is not None and done.after > done.limit:
        console.print(f"! still above {shown_size(done.limit)}: the rest stays, for these reasons", soft_wrap=True)


def cache_json(found: Contents | Pruned) -> str:
    """What the cache holds, or what went of it."""
    return json.dumps(found.to_dict(), indent=2)


def entries(count: int) -> str:
    """So many entries.

    Examples
    --------
    >>> entries(1), entries(2)
    ('1 entry', '2 entries')
    """
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def entry_line(entry: Entry) -> str:
    """Kind, size, time since its last use, and what it is, in 80 columns."""
    start = f"{entry.kind:<11} {shown_size(entry.size):>9} {shown_age(time.time() - entry.used):>6}  "
    return f"{start}{shortened(entry.about, 80 - len(start))}"
