"""Listings: panels, comparisons, models, data sets and findings on the terminal. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from geomclip.panels.comparison.blocks import verdict_lines
from geomclip.panels.comparison.shown import Changes
from geomclip.panels.comparison.side_by_side import Runs, several_lines, verdicts
from geomclip.panels.comparison.tables import comparison_lines
from geomclip.panels.lines import show
from geomclip.panels.papers.citations import cite
from geomclip.panels.planning import Plan, plan_lines
from geomclip.panels.shown import Shown
from geomclip.panels.tables import panel_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from geomclip.cli.doctor import Finding
    from geomclip.encoders import ModelInfo
    from geomclip.pairs import DatasetInfo


KEPT = ("trustworthiness", "continuity")
"""What pictures print of how far they can be trusted."""


def print_panel(panel: Shown, console: Console, *, full: bool = False) -> None:
    """Header, the ten numbers that answer, notes, and the groups of --by side by side; in `full` every number."""
    show(panel_lines(panel, console.width, full=full), console)


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
