"""QVHighlights and our own form: a JSON object a line, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from geomclip.grounding.annotations.content import Content, Row, length, name, parsed, seconds, windows
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.pairs.parsing import need, shorten


def is_qvhighlights(content: Content) -> bool:
    """Whether the first line has the keys."""
    return isinstance(content.first, dict) and {"vid", "query"} <= set(content.first)


def is_own(content: Content) -> bool:
    """Whether the first line has the keys."""
    return isinstance(content.first, dict) and {"video", "text"} <= set(content.first)


def read_qvhighlights(content: Content, _: Mapping[str, float] | None) -> Iterator[Row]:
    """A row a line; the test split as released has no windows."""
    for where, held in _objects(content):
        number = need(held.get("qid"), int, entry=f"{where}, qid")
        yield Row(
            where,
            name(held.get("vid"), where=f"{where}, vid"),
            need(held.get("query"), str, entry=f"{where}, query"),
            _windows(held, "relevant_windows", where),
            length(held.get("duration"), where=f"{where}, duration"),
            shorten(number),
        )


def read_own(content: Content, durations: Mapping[str, float] | None) -> Iterator[Row]:
    """A row a line: video, text, start and end or windows, duration, and id if wanted."""
    for where, held in _objects(content):
        video = name(held.get("video"), where=f"{where}, video")
        found = _windows(held, "windows", where)
        if "start" in held or "end" in held:
            if found is not None:
                raise InputError(f"{where} has windows, and start or end too: one or the other")
            ends = (seconds(held.get(key), where=f"{where}, {key}") for key in ("start", "end"))
            found = [(next(ends), next(ends))]
        duration = held.get("duration", (durations or {}).get(video))
        if duration is None:
            raise InputError(
                f"{where}: nothing says how long {shorten(video)} is: give it a duration, or {option('durations')}"
            )
        yield Row(
            where,
            video,
            need(held.get("text"), str, entry=f"{where}, text"),
            found,
            length(duration, where=f"{where}, duration"),
            name(held["id"], where=f"{where}, id") if "id" in held else "",
        )


def _windows(held: dict[str, Any], key: str, where: str) -> list[tuple[float, float]] | None:
    return windows(held[key], where=f"{where}, {key}") if key in held else None


def _objects(content: Content) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in content.lines():
        yield where, need(parsed(line, where=where), dict, entry=where)
