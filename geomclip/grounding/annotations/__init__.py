"""Which sentence belongs to which moment: one file a layout, one table of formats, one rule for what cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from geomclip.grounding.annotations import by_line, by_video, charades
from geomclip.grounding.annotations.charades import read_durations
from geomclip.grounding.annotations.content import Content, Row
from geomclip.grounding.annotations.record import Annotations, Skipped, unrelated, wording
from geomclip.grounding.record import Query
from geomclip.machine.errors import InputError
from geomclip.machine.json_files import clean as without_controls
from geomclip.machine.words import nearest, option
from geomclip.pairs.parsing import clean, shorten

__all__ = [
    "FORMATS",
    "Annotations",
    "Format",
    "Skipped",
    "load_queries",
    "read_durations",
    "unrelated",
    "wording",
]


@dataclass(frozen=True)
class Format:
    """A layout of annotations: how to know it and how to read it."""

    about: str
    clips: int  # that the published models cut a video into
    is_it: Callable[[Content], bool]
    read: Callable[[Content, Mapping[str, float] | None], Iterator[Row]]
    takes_durations: bool = False  # from another file


FORMATS: dict[str, Format] = {
    "charades": Format("lines VIDEO START END##SENTENCE", 16, charades.is_charades, charades.read, True),
    "activitynet": Format(
        "JSON {VIDEO: {duration, timestamps, sentences}}", 64, by_video.is_activitynet, by_video.read_activitynet
    ),
    "tacos": Format(
        "JSON {VIDEO: {fps, num_frames, timestamps, sentences}}", 128, by_video.is_tacos, by_video.read_tacos
    ),
    "qvhighlights": Format(
        "JSON lines {vid, query, qid, duration, relevant_windows}",
        64,
        by_line.is_qvhighlights,
        by_line.read_qvhighlights,
    ),
    "jsonl": Format("JSON lines {video, text, start, end, duration}", 64, by_line.is_own, by_line.read_own, True),
}
"""The formats by the name that `format=` takes; jsonl is our own, for data of one's own."""


def load_queries(
    path: str | Path, *, format: str | None = None, durations: str | Path | Mapping[str, float] | None = None
) -> Annotations:
    """The sentences of a file of annotations, each with its moments in seconds.

    A moment that leaves its video is cut to it (in Charades-STA every seventh does), one that is reversed, empty or
    outside is left out, and both are told. Repeated sentences stay as they are: published numbers count them.

    Parameters
    ----------
    path : path
        A text file in UTF-8.
    format : str, optional
        A key of FORMATS; left out, it is known by what the file holds.
    durations : path or mapping of str to float, optional
        Seconds of each video, for a file that does not say: JSON {VIDEO: {"duration": S}} or {VIDEO: S}, or a csv with
        columns id and length. Charades-STA without it takes charades.json beside the file.

    Raises
    ------
    InputError
        If the file cannot be read, has none of the formats, or a value in it is none: names file, line or key.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mine.jsonl")
    ...     _ = file.write_text('{"video": "v", "text": "a dog runs", "start": 1, "end": 9.5, "duration": 8}')
    ...     held = load_queries(file)
    >>> held.queries[0].windows, held.clipped
    (((1.0, 8.0),), 1)
    """
    content = Content(Path(path))
    chosen = _recognised(content) if format is None else _named(format)
    kind = FORMATS[chosen]
    if durations is not None and not kind.takes_durations:
        raise InputError(f"{path} is {chosen}, which says how long its videos are: leave {option('durations')} out")
    seconds = durations if durations is None or isinstance(durations, Mapping) else read_durations(Path(durations))
    return _collected(Path(path), chosen, kind.read(content, seconds))


def _named(format: str) -> str:
    if format not in FORMATS:
        known = nearest(format, FORMATS) or f"; the formats are {', '.join(FORMATS)}"
        raise InputError(f"no format {shorten(format)}{known}")
    return format


def _recognised(content: Content) -> str:
    for name, format in FORMATS.items():
        if format.is_it(content):
            return name
    known = "; ".join(f"{name}: {format.about}" for name, format in FORMATS.items())
    raise InputError(f"{content.path} is in none of the formats known ({known}); name one with {option('format')}")


def _collected(path: Path, format: str, rows: Iterator[Row]) -> Annotations:
    """The rows as queries, held against their videos."""
    queries: list[Query] = []
    cut: list[float] = []
    skipped: list[Skipped] = []
    stated: dict[str, tuple[float, str]] = {}
    taken: dict[str, str] = {}
    of_video: Counter[str] = Counter()
    for row in rows:
        duration, before = stated.setdefault(row.video, (row.duration, row.where))
        if duration != row.duration:
            raise InputError(f"{row.where}: {shorten(row.video)} has {row.duration:g} s, but {duration:g} at {before}")
        name = row.id or f"{row.video}#{of_video[row.video]}"
        of_video[row.video] += 1
        if taken.setdefault(name, row.where) != row.where:
            raise InputError(f"{row.where} has the id {shorten(name)}, which {taken[name]} has")
        text = without_controls(clean(" ".join(row.text.split())))
        kept = []
        for start, end in dict.fromkeys(row.windows or ()):
            if reason := _unusable(start, end, duration):
                skipped.append(Skipped(row.where, reason))
                continue
            kept.append((max(start, 0.0), min(end, duration)))
            if kept[-1] != (start, end):
                cut.append(max(-start, 0.0) + max(end - duration, 0.0))
        if not text:
            skipped.append(Skipped(row.where, "has no sentence"))
        elif kept or row.windows is None:
            queries.append(Query(row.video, text, tuple(kept), duration, name))
        elif not row.windows:
            skipped.append(Skipped(row.where, "has no moment"))
    if not queries:
        why = f": {skipped[0].where} {skipped[0].reason}" if skipped else ""
        raise InputError(f"{path} holds no sentence that can be used{why}")
    return Annotations(path, format, tuple(queries), tuple(cut), tuple(skipped))


def _unusable(start: float, end: float, duration: float) -> str:
    """Why a moment cannot be cut to its video; "" if it can."""
    if start == end:
        return f"is empty: {start:g} to {end:g}"
    if start > end:
        return f"is reversed: {start:g} to {end:g}"
    if start >= duration or end <= 0:
        return f"is outside its video of {duration:g} s: {start:g} to {end:g}"
    return ""
