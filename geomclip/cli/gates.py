"""Gates on the command line: the options, what is refused before the long work, and what trips at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from geomclip.machine.errors import GateError, InputError
from geomclip.machine.words import one_line

OF_VALUES = "'KEY<NUMBER' (<= > >=) of the value"
OF_CHANGES = "'KEY<NUMBER' (<= > >=) of the change; 'KEY worse' of a primary key, or with ' and q<0.05' of any"
OF_RUNS = "'KEY<NUMBER' (<= > >=) of the change; 'KEY worse' of recall@1, or with ' and q<0.05' of any"


def gates(of: str) -> list[click.Option]:
    """--fail-if and --warn-if, whose conditions are of values or of changes."""

    def repeated(flag: str, help: str) -> click.Option:
        return click.Option([flag], metavar="CONDITION", multiple=True, help=help)

    return [
        repeated("--fail-if", f"Exit 3 if {of}; may be given again."),
        repeated("--warn-if", "As --fail-if, but a line on stderr alone."),
    ]


def conditions(options: dict[str, Any]) -> tuple[str, ...]:
    """All conditions of the command line."""
    return (*options["fail_if"], *options["warn_if"])


def check_values(options: dict[str, Any]) -> None:
    """Of one panel: refuse conditions that cannot be, before the long work; ValueError says why."""
    from geomclip.panels.gates import OF_PAPERS, Gate

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


@dataclass(frozen=True)
class Judged:
    """What came of the conditions: lines on those that hold, and on those that could not be judged."""

    failed: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()  # the conditions that do not hold, as they were written

    def trip(self) -> None:
        """Say what holds, after all results are out.

        Raises
        ------
        InputError
            If a condition could not be judged: it must not pass for one that does not hold.
        GateError
            If one of --fail-if holds.
        """
        sys.stdout.flush()
        for line in self.warned:
            click.echo(f"geomclip: warning: --warn-if {line}", err=True)
        if self.unjudged:
            tripped = f"; --fail-if {'; '.join(self.failed)}" if self.failed else ""
            raise InputError(f"{'; '.join(self.unjudged)}{tripped}")
        if self.failed:
            raise GateError(f"--fail-if {'; '.join(self.failed)}")


def judged(options: dict[str, Any], failure: Callable[[str], str]) -> Judged:
    """Each condition judged by `failure` of a panel or comparison."""
    found: dict[str, list[str]] = {"fail_if": [], "warn_if": [], "unjudged": [], "passed": []}
    for name in ("fail_if", "warn_if"):
        for condition in options[name]:
            try:
                line = failure(condition)
            except ValueError as problem:
                found["unjudged"].append(one_line(problem))
            else:
                found[name if line else "passed"].append(line or condition)
    return Judged(*(tuple(found[name]) for name in ("fail_if", "warn_if", "unjudged", "passed")))
