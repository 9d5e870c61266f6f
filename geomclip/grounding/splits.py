"""Splits of a data set: what each holds, what a guess reaches in it, and what two of them share."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from geomclip.grounding.annotations import FORMATS, Annotations, wording
from geomclip.grounding.features import absent
from geomclip.grounding.moments import ROUNDING, Proposals, overlap, proposals
from geomclip.grounding.record import Query
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.panels.lines import Line

SCHEMA = "geomclip.ground.check/1"
QUERIES = 2048
"""At a time: 2,048 queries x 2,548 proposals x 8 bytes = 42 MB."""
LISTED = 5
"""Moments left out, and videos without features, that a table names."""
PART_OF_A_VIDEO = re.compile(r"(.+)_[0-9]+(?:\.[0-9]+)?_[0-9]+(?:\.[0-9]+)?")
"""QVHighlights' ids: a video of the web, start and end of the part that is annotated."""


@dataclass(frozen=True)
class Guesses:
    """What moments reach that nobody looked at the video for, as shares of the queries.

    `possible`: some proposal overlaps a window by 0.7 or more, which no model of this map exceeds. `random`: a
    proposal drawn for each query, on average. `fixed`: one and the same part of every video, `span`, the one that
    reaches 0.5 most often among these very queries.
    """

    possible: float
    random: tuple[float, float]  # R@1 at 0.5 and 0.7
    fixed: tuple[float, float]
    span: tuple[float, float]  # shares of the video


@dataclass(frozen=True)
class Split:
    """What a file holds. Without moments (a test split whose answers are kept back) lengths and guesses are None."""

    name: str
    path: str
    format: str
    videos: int
    sentences: int
    moments: int
    clipped: int
    skipped: int
    same_sentence: int
    duplicates: int
    mean_seconds: float | None
    mean_share: float | None
    clips: int
    guesses: Guesses | None


@dataclass(frozen=True)
class Shared:
    """What two splits have in common: videos, videos that they are parts of, sentences, and sentences of one video."""

    first: str
    second: str
    videos: int
    sources: int
    sentences: int
    sentences_of_a_video: int

    @property
    def leak(self) -> str:
        """What a model trained on the one knows of the other; "" if nothing."""
        if not self.sources:
            return ""
        kind, count = ("videos", self.videos) if self.videos else ("videos of which parts are in both", self.sources)
        return f"{self.first} and {self.second} share {count:,} {kind}"


@dataclass(frozen=True)
class Lacking:
    """Annotated videos without features."""

    path: str
    videos: int
    absent: tuple[str, ...]


@dataclass(frozen=True)
class SplitCheck:
    """What `check_splits` found."""

    splits: tuple[Split, ...]
    shared: tuple[Shared, ...]
    skipped: tuple[tuple[str, str], ...]  # where, reason
    lacking: Lacking | None = None

    @property
    def leaks(self) -> list[str]:
        """A line for each two splits that share videos."""
        return [each.leak for each in self.shared if each.leak]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for a file; every video without features is listed."""
        return {"schema": SCHEMA, **asdict(self), "leaks": self.leaks}

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def check_splits(
    splits: Sequence[Annotations], *, clips: int | None = None, features: str | Path | None = None
) -> SplitCheck:
    """What each split holds, what guesses reach in it, what two of them share, and which videos lack features.

    Parameters
    ----------
    splits : sequence of Annotations
        As `load_queries` reads them.
    clips : int, optional
        T of the proposals; left out, what published models take for the format.
    features : path, optional
        As `load_features` takes it.

    Raises
    ------
    InputError
        If a file is given twice, or the features cannot be read.
    """
    names = _names([each.path for each in splits])
    found = [_split(name, each, clips) for name, each in zip(names, splits, strict=True)]
    shared = [_shared(*pair) for pair in combinations(zip(names, splits, strict=True), 2)]
    skipped = [(skip.where, skip.reason) for each in splits for skip in each.skipped]
    lacking = None
    if features is not None:
        videos = list(dict.fromkeys(video for each in splits for video in each.videos))
        lacking = Lacking(str(features), len(videos), tuple(absent(features, videos)))
    return SplitCheck(tuple(found), tuple(shared), tuple(skipped), lacking)


def guesses(queries: Sequence[Query], every: Proposals) -> Guesses:
    """What proposals reach in queries that have moments, by the overlap with the nearest window of each."""
    reached = torch.zeros(2, len(every), dtype=torch.float64)
    total = torch.zeros(len(every), dtype=torch.float64)
    possible = 0
    for start in range(0, len(queries), QUERIES):
        chosen = queries[start : start + QUERIES]
        windows = torch.tensor(
            [[end / query.duration for end in window] for query in chosen for window in query.windows],
            dtype=torch.float64,
        )
        owner = torch.tensor([place for place, query in enumerate(chosen) for _ in query.windows])
        overlaps = overlap(windows, every.spans)  # (windows, proposals)
        nearest = torch.zeros(len(chosen), len(every), dtype=torch.float64)
        nearest.scatter_reduce_(0, owner[:, None].expand_as(overlaps), overlaps, "amax")  # (queries, proposals)
        reached += torch.stack([(nearest >= least - ROUNDING).sum(0) for least in (0.5, 0.7)])
        total += nearest.sum(0)
        possible += int((nearest.amax(1) >= 0.7 - ROUNDING).sum())
    best = int((reached[0] + total / (len(queries) + 1)).argmax())  # of equal ones that which overlaps more
    rate, chance = reached / len(queries), reached.mean(1) / len(queries)
    start_of, end_of = every.spans[best].tolist()
    return Guesses(
        possible / len(queries),
        (float(chance[0]), float(chance[1])),
        (float(rate[0, best]), float(rate[1, best])),
        (start_of, end_of),
    )


def source_of(video: str, format: str) -> str:
    """The video that this one is a part of; itself for formats whose ids do not tell.

    Examples
    --------
    >>> source_of("NUsG9BgSes0_210.0_360.0", "qvhighlights"), source_of("a_1_2", "jsonl")
    ('NUsG9BgSes0', 'a_1_2')
    """
    part = PART_OF_A_VIDEO.fullmatch(video) if format == "qvhighlights" else None
    return part[1] if part else video


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the files, shortened as far as they stay apart: without ending, folder, words that all begin with."""
    if twice := [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]:
        raise InputError(f"{twice[0]} is given twice")
    short = Counter(path.stem for path in paths)
    names = [path.stem if short[path.stem] == 1 else f"{path.resolve().parent.name}/{path.stem}" for path in paths]
    if len(set(names)) < len(names):
        return [str(path) for path in paths]
    words = [name.split("_") for name in names]
    while all(len(each) > 1 and each[0] == words[0][0] and each[1][:1].isalpha() for each in words) and len(words) > 1:
        words = [each[1:] for each in words]
    return ["_".join(each) for each in words]


def _split(name: str, held: Annotations, clips: int | None) -> Split:
    known = [query for query in held.queries if query.windows]
    lengths = [(end - start, query.duration) for query in known for start, end in query.windows]
    every = proposals(clips or FORMATS[held.format].clips)
    return Split(
        name=name,
        path=str(held.path),
        format=held.format,
        videos=len(held.videos),
        sentences=len(held.queries),
        moments=len(lengths),
        clipped=held.clipped,
        skipped=len(held.skipped),
        same_sentence=len(held.same_sentence),
        duplicates=held.duplicates,
        mean_seconds=fmean(length for length, _ in lengths) if lengths else None,
        mean_share=fmean(length / duration for length, duration in lengths) if lengths else None,
        clips=every.clips,
        guesses=guesses(known, every) if known else None,
    )


def _shared(one: tuple[str, Annotations], other: tuple[str, Annotations]) -> Shared:
    (first, a), (second, b) = one, other
    said = [{(query.video, wording(query.text)) for query in each.queries} for each in (a, b)]
    sources = [{source_of(video, each.format) for video in each.videos} for each in (a, b)]
    return Shared(
        first,
        second,
        videos=len(a.videos.keys() & b.videos.keys()),
        sources=len(sources[0] & sources[1]),
        sentences=len({text for _, text in said[0]} & {text for _, text in said[1]}),
        sentences_of_a_video=len(said[0] & said[1]),
    )


# ------------------------------------------------------------------------------------------------ lines

LABEL, COLUMN = 36, 14
EXPLAINED = (
    "possible: some proposal overlaps by 0.7 or more; no model can do better.",
    "random: a proposal drawn for each query, on average. fixed: one part of every",
    "video for all queries, the best of this file. What looks must do far better.",
)


def split_lines(check: SplitCheck, width: int) -> Iterator[Line]:
    """A column a split, what two share, what was left out, and what has no features."""
    column = max(COLUMN, 2 + max(len(each.name) for each in check.splits))
    beside = max(1, (width - LABEL) // column)
    for start in range(0, len(check.splits), beside):
        yield from _columns(check.splits[start : start + beside], column)
        yield Line()
    yield from (Line(line, "dim") for line in EXPLAINED)
    if check.shared:
        yield Line()
        yield from _shared_lines(check.shared)
    if check.skipped:
        yield Line()
    for where, reason in check.skipped[:LISTED]:
        yield Line(f"left out: {where} {reason}", "dim")
    if len(check.skipped) > LISTED:
        yield Line(f"left out: {len(check.skipped) - LISTED:,} more, which {option('out')} lists", "dim")
    if check.lacking is not None:
        yield Line()
        yield from _lacking_lines(check.lacking)


def _shared_lines(shared: Sequence[Shared]) -> Iterator[Line]:
    named = [f"{each.first}, {each.second}" for each in shared]
    label = max(24, *map(len, named))
    parts = any(each.sources != each.videos for each in shared)
    kinds = [("videos", "videos"), *[("sources", "sources")] * parts, ("sentences", "sentences")]
    kinds.append(("both", "sentences_of_a_video"))
    yield Line(f"{'shared by':<{label}}" + "".join(f"{title:>12}" for title, _ in kinds), "bold")
    for name, each in zip(named, shared, strict=True):
        counts = "".join(f"{getattr(each, field):>12,}" for _, field in kinds)
        yield Line(f"{name:<{label}}{counts}", end="  leak" if each.leak else "", end_style="bold red")
    source = "sources: videos of the web of which each has a part. " if parts else ""
    yield Line(f"{source}both: a sentence with its video", "dim")


def _lacking_lines(lacking: Lacking) -> Iterator[Line]:
    count = len(lacking.absent)
    if not count:
        yield Line(f"{lacking.path} has features of all {lacking.videos:,} videos")
        return
    yield Line(f"{lacking.path} has no features of {count:,} of {lacking.videos:,} videos:")
    yield Line(f"  {', '.join(lacking.absent[:LISTED])}{', ...' if count > LISTED else ''}")
    if count > LISTED:
        yield Line(f"  {option('out')} lists all", "dim")


def _columns(splits: Sequence[Split], column: int) -> Iterator[Line]:
    def row(label: str, values: Iterable[str], style: str = "") -> Line:
        return Line(f"{label:<{LABEL}}" + "".join(f"{value:>{column}}" for value in values), style)

    yield row("", [each.name for each in splits], "bold")
    yield row("format", [each.format for each in splits])
    for label, field in (
        ("videos", "videos"),
        ("sentences", "sentences"),
        ("moments", "moments"),
        ("moments cut to their video", "clipped"),
        ("moments or sentences left out", "skipped"),
        ("sentences that name several moments", "same_sentence"),
        ("repeated queries", "duplicates"),
    ):
        yield row(label, [f"{getattr(each, field):,}" for each in splits])
    yield row("mean length of a moment, s", ["" if (s := each.mean_seconds) is None else f"{s:.1f}" for each in splits])
    yield row("  as a share of its video", ["" if (s := each.mean_share) is None else _percent(s) for each in splits])
    yield row("clips", [str(each.clips) for each in splits])

    def guessed(label: str, shown: Callable[[Guesses], str]) -> Line:
        return row(label, ["" if each.guesses is None else shown(each.guesses) for each in splits])

    yield guessed("possible at IoU ≥ 0.7", lambda each: _percent(each.possible))
    yield guessed("random: R@1 at IoU ≥ 0.5", lambda each: _percent(each.random[0]))
    yield guessed("random: R@1 at IoU ≥ 0.7", lambda each: _percent(each.random[1]))
    yield guessed("fixed: R@1 at IoU ≥ 0.5", lambda each: _percent(each.fixed[0]))
    yield guessed("fixed: R@1 at IoU ≥ 0.7", lambda each: _percent(each.fixed[1]))
    yield guessed("fixed: from, to (shares)", lambda each: f"{each.span[0]:.2f}, {each.span[1]:.2f}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
