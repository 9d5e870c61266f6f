"""Lines of progress for logs: how often, and what they tell. The clock is the test's."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from geomclip.cli.line_progress import LOG_EVERY, LineProgress
from geomclip.cli.terminal import progress_bar
from geomclip.machine.progress import SILENT, Named


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reporter(every: float, **more: Any) -> tuple[LineProgress, Clock, list[str]]:
    clock, lines = Clock(), list[str]()
    return LineProgress(every, clock=clock, write=lines.append, **more), clock, lines


def test_a_line_comes_every_so_many_seconds_and_no_more_often() -> None:
    progress, clock, lines = reporter(30)
    for second in range(0, 121, 5):
        clock.now = 1000 + second
        progress.stage("encoding", 10 * second, 2400)
    assert lines == [
        "encoding: 300 of 2,400 (12 %), 10.0/s, 3 min 30 s left",
        "encoding: 600 of 2,400 (25 %), 10.0/s, 3 min left",
        "encoding: 900 of 2,400 (37 %), 10.0/s, 2 min 30 s left",
        "encoding: 1,200 of 2,400 (50 %), 10.0/s, 2 min left",
    ]


def test_what_an_earlier_run_had_done_is_not_counted_into_the_rate() -> None:
    progress, clock, lines = reporter(30)
    progress.stage("encoding", 5000, 6000, "3 skipped")
    clock.now += 50
    progress.stage("encoding", 5100, 6000, "3 skipped")
    assert lines == ["encoding, 3 skipped: 5,100 of 6,000 (85 %), 2.0/s, 7 min 30 s left"]


def test_stages_share_the_interval_and_have_rates_of_their_own() -> None:
    progress, clock, lines = reporter(30)
    Named(progress, "before").stage("sweep", 0, 10)
    clock.now += 20
    progress.stage("sweep", 0, 10)
    clock.now += 20
    Named(progress, "before").stage("sweep", 8, 10)
    progress.stage("sweep", 5, 10)
    clock.now += 30
    progress.stage("sweep", 10, 10)
    assert lines == ["before: sweep: 8 of 10 (80 %), 0.2/s, 10 s left", "sweep: 10 of 10 (100 %), 0.2/s"]


def test_without_a_total_or_a_rate_a_line_says_what_there_is() -> None:
    progress, clock, lines = reporter(10)
    clock.now += 10
    progress.stage("watching", 7, None)
    clock.now += 10
    progress.stage("watching", 27, None)
    clock.now += 10
    progress.stage("drawing", 0, 0)
    assert lines == ["watching: 7", "watching: 27, 2.0/s", "drawing: 0 of 0"]


def test_bytes_are_counted_in_megabytes() -> None:
    progress, clock, lines = reporter(30, of_bytes=True)
    progress.stage("photos.zip", 0, 816_000_000)
    clock.now += 40
    progress.stage("photos.zip", 80_000_000, 816_000_000)
    assert lines == ["photos.zip: 80.0 MB of 816.0 MB (9 %), 2.0 MB/s, 6 min 8 s left"]


def test_0_leaves_only_what_is_logged() -> None:
    progress, clock, lines = reporter(0)
    clock.now += 1000
    progress.stage("encoding", 1, 2)
    progress.log("a note")
    assert lines == ["a note"]


@pytest.mark.parametrize(("is_terminal", "kind"), [(False, "LineProgress"), (True, "Report")])
def test_lines_are_for_logs_and_bars_for_terminals(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, kind: str
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(quiet=False, log_every=7) as progress:
        assert type(progress).__name__ == kind
    assert getattr(progress, "every", 7) == 7


def test_quiet_leaves_neither() -> None:
    with progress_bar(quiet=True, log_every=1) as progress:
        assert progress is SILENT


def test_every_command_with_bars_has_lines_too(run_every: Callable[[], dict[str, set[str]]]) -> None:
    for name, flags in run_every().items():
        assert ("--log-every" in flags) == ("--quiet" in flags and name != "export"), name
    assert LOG_EVERY == 30


@pytest.fixture
def run_every() -> Callable[[], dict[str, set[str]]]:
    import click

    from geomclip.cli.app import app

    def flags(group: click.Group) -> dict[str, set[str]]:
        found = {}
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                found |= flags(command)
            found[name] = {flag for each in command.params for flag in each.opts}
        return found

    return lambda: flags(app)
