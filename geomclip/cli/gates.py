"""Gates on the command line: the options, what is refused before the long work, and what trips at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geomclip.cli.terminal import say
from geomclip.machine.errors import GateError, InputError
from geomclip.machine.outputs import append_text, check_appending

if TYPE_CHECKING:
    from geomclip.panels.gates import Outcome

OF_VALUES = "'KEY<NUMBER' (<= > >=) of the value"
OF_CHANGES = "'KEY<NUMBER' (<= > >=) of the change; 'KEY worse' of a primary key, or with ' and q<0.05' of any"
OF_RUNS = "'KEY<NUMBER' (<= > >=) of the change; 'KEY worse' of recall@1, or with ' and q<0.05' of any"


def gates(of: str) -> list[click.Option]:
    """--fail-if and --warn-if, of values or of changes, and --summary, which says what came of them."""

    def repeated(flag: str, help: str) -> click.Option:
        return click.Option([flag], metavar="CONDITION", multiple=True, help=help)

    return [
        repeated("--fail-if", f"Exit 3 if {of}; may be given again."),
        repeated("--warn-if", "As --fail-if, but a line on stderr alone."),
        click.Option(
            ["--summary"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Append a summary in Markdown: headline, gates, ten rows, notes; as for $GITHUB_STEP_SUMMARY.",
        ),
    ]


def conditions(options: dict[str, Any]) -> tuple[str, ...]:
    """All conditions of the command line."""
    return (*options["fail_if"], *options["warn_if"])


def check_values(options: dict[str, Any]) -> None:
    """Of one panel: refuse conditions that cannot be, before the long work; ValueError says why."""
    from geomclip.panels.gates import OF_PAPERS, Gate

    check_appending(options["summary"])
    known = [*measured_keys(options["metrics"]), *(OF_PAPERS if options["paper"] else ())]
    for condition in conditions(options):
        Gate.of_value(condition, known=known)


def check_changes(
    options: dict[str, Any], known: Iterable[str] | None, *, primary: str | Sequence[str] | None, nameable: bool = True
) -> None:
    """Of changes: refuse primary keys and conditions that cannot be, before the long work; ValueError says why.

    `known` is None where the keys are those of results, which are known when these are read.
    """
    from geomclip.panels.comparison.verdicts import primary_keys
    from geomclip.panels.gates import Gate

    check_appending(options["summary"])
    keys = None if known is None else list(known)
    named = primary_keys(primary, known=keys)
    for condition in conditions(options):
        gate = Gate.of(condition, known=keys, primary=named, nameable=nameable)
        if gate.judges and not options["bootstrap"]:
            raise InputError(f"condition {condition!r}: --bootstrap 0 leaves no intervals to judge by")


def measured_keys(metrics: str, *, pairs: bool = False) -> list[str]:
    """The keys that --metrics stands for, in the order of the table; of pairs alone without those of classes."""
    from geomclip.metrics import METRICS
    from geomclip.panels.measurement import metric_keys

    wanted = metric_keys(metrics)
    return [key for key, metric in METRICS.items() if key in wanted and not (pairs and metric.group == "zeroshot")]


def conclude(
    options: dict[str, Any], failure: Callable[[str], str], summary: Callable[[Sequence[Outcome]], str]
) -> None:
    """Judge the conditions, append the summary if there is to be one, and trip: after all other results are out."""
    outcomes = judged(options, failure)
    sys.stdout.flush()
    if options["summary"] is not None:
        append_text(options["summary"], summary(outcomes))
    trip(outcomes)


def judged(options: dict[str, Any], failure: Callable[[str], str]) -> list[Outcome]:
    """Each condition judged by `failure` of a panel or comparison."""
    from geomclip.panels.gates import judge

    failed = [judge(condition, failure) for condition in options["fail_if"]]
    return failed + [judge(condition, failure, holds="warned") for condition in options["warn_if"]]


def trip(outcomes: Sequence[Outcome]) -> None:
    """Say on stderr what holds.

    Raises
    ------
    InputError
        If a condition could not be judged: it must not pass for one that does not hold.
    GateError
        If one of --fail-if holds.
    """
    lines = {
        word: [each.line for each in outcomes if each.word == word] for word in ("warned", "not judged", "tripped")
    }
    for line in lines["warned"]:
        say(f"geomclip: warning: --warn-if {line}", err=True)
    tripped = f"--fail-if {'; '.join(lines['tripped'])}" if lines["tripped"] else ""
    if lines["not judged"]:
        raise InputError("; ".join(filter(None, (*lines["not judged"], tripped))))
    if tripped:
        raise GateError(tripped)
