"""ActivityNet Captions and TACoS: one JSON object, a video a key, with sentences and timestamps in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from geomclip.grounding.annotations.content import Content, Row, length, name, window
from geomclip.machine.errors import InputError
from geomclip.pairs.parsing import need, shorten


def is_activitynet(content: Content) -> bool:
    """Whether the first video has sentences and a duration in seconds."""
    return {"sentences", "timestamps", "duration"} <= _keys(content)


def is_tacos(content: Content) -> bool:
    """Whether the first video has sentences and counts frames."""
    return {"sentences", "timestamps", "fps", "num_frames"} <= _keys(content)


def read_activitynet(content: Content, _: Mapping[str, float] | None) -> Iterator[Row]:
    """A row a sentence; times are seconds."""
    for where, video, held in _videos(content):
        yield from _rows(where, video, held, duration=length(held.get("duration"), where=f"{where}, duration"), fps=1)


def read_tacos(content: Content, _: Mapping[str, float] | None) -> Iterator[Row]:
    """A row a sentence; times are numbers of frames."""
    for where, video, held in _videos(content):
        fps = length(held.get("fps"), where=f"{where}, fps")
        frames = length(held.get("num_frames"), where=f"{where}, num_frames")
        yield from _rows(where, video, held, duration=length(frames / fps, where=where), fps=fps)


def _rows(where: str, video: str, held: dict[str, Any], *, duration: float, fps: float) -> Iterator[Row]:
    times = need(held.get("timestamps"), list, entry=f"{where}, timestamps")
    sentences = need(held.get("sentences"), list, entry=f"{where}, sentences")
    if len(times) != len(sentences):
        raise InputError(f"{where} has {len(times)} timestamps for {len(sentences)} sentences")
    for number, (time, text) in enumerate(zip(times, sentences, strict=True), 1):
        here = f"{where} sentence {number}"
        start, end = window(time, where=here)
        yield Row(here, video, need(text, str, entry=here), [(start / fps, end / fps)], duration, "")


def _videos(content: Content) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for key, held in need(content.whole, dict, entry=str(content.path)).items():
        where = f"{content.path} {shorten(key)}"
        yield where, name(key, where=where), need(held, dict, entry=where)


def _keys(content: Content) -> set[str]:
    """The keys of the first video."""
    if not content.text.lstrip().startswith("{"):
        return set()
    if isinstance(content.first, dict) and not any(isinstance(each, dict) for each in content.first.values()):
        return set()  # an object a line
    videos = content.whole if isinstance(content.whole, dict) else {}
    return set(next((each for each in videos.values() if isinstance(each, dict)), {}))
