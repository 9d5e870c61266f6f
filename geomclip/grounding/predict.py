"""`geomclip ground predict`: which moments of a video a sentence describes, by any encoder, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from geomclip.encoders import load_encoder
from geomclip.encoders.extraction.batches import Encoding, unit_rows
from geomclip.encoders.protocol import Encodes
from geomclip.grounding.looks import interactions, neighborhood, words_of
from geomclip.grounding.moments import SPARSE, Proposals, proposals, suppress
from geomclip.grounding.record import Moment
from geomclip.grounding.videos import EncodedVideo, encode_video, names_of
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_json
from geomclip.machine.json_files import clean
from geomclip.machine.outputs import check_output_file
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.version import __version__
from geomclip.machine.words import one_line, option

BATCH_SIZE = 32
MOST_CLIPS = 1024
MOST_MOMENTS = 8
"""Moments that words are looked at with."""
SHOWN = 60
"""Characters of a query that a table shows."""


class Scored(Protocol):
    """What a trained model makes of clips and sentences."""

    def scores(self) -> Tensor:
        """How well each proposal of its own video answers a sentence: (Q, N)."""


class Trained(Protocol):
    """A trained model, in eval mode; `geomclip.grounding.model.GroundingModel` is one."""

    @property
    def proposals(self) -> Proposals:
        """The moments that it scores, of as many clips as it takes."""

    def __call__(self, clips: Tensor, texts: Tensor, owner: Tensor) -> Scored:
        """Of clips (B, T, d), sentences (Q, d) and the video of each sentence (Q,)."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one query finds in one video.

    Attributes
    ----------
    query, video : int
        Their numbers.
    moments : tuple of Moment
        Best first, none of which overlaps a better one by more than was allowed.
    cosines : tuple of float
        Of each moment's row (the mean of its clips at length 1) with the query: to compare videos and queries by.
    clips : Tensor of shape (T,), float64
        Cosine of each clip with the query.
    scores : Tensor of shape (N,), float64
        Of all proposals, in their order.
    proposals : Proposals
    cells : tuple of (first clip, last clip)
        Of each moment: its cell in `map`.
    duration : float
        Of the video, in seconds.
    near : Tensor of shape (T,), optional
        Radians from the best moment to each clip along the graph of the video's moments; kept for a page.
    words : tuple of str
        Of the query; kept for a page.
    interactions : Tensor of shape (words, moments), optional
        How much a word and a moment are worth together beyond what they are apart: `geomclip.grounding.looks`.

    Examples
    --------
    >>> from geomclip.plots import static  # doctest: +SKIP
    >>> answer = predict("bikes.mp4", "a cyclist").answer()  # doctest: +SKIP
    >>> static.heat_map(answer.map, rows=answer.edges, columns=answer.edges, x="end (s)", y="start (s)", of="score",
    ...     marks={"found": answer.cells[0]})  # doctest: +SKIP
    """

    query: int
    video: int
    moments: tuple[Moment, ...]
    cosines: tuple[float, ...]
    clips: Tensor
    scores: Tensor
    proposals: Proposals
    cells: tuple[tuple[int, int], ...]
    duration: float
    near: Tensor | None = None
    words: tuple[str, ...] = ()
    interactions: Tensor | None = None

    @property
    def edges(self) -> Tensor:
        """When the clips end, in seconds: (T + 1,)."""
        return torch.linspace(0, self.duration, len(self.clips) + 1, dtype=torch.float64)

    @cached_property
    def map(self) -> Tensor:
        """The scores on cells (first clip, last clip): (T, T), NaN where nothing is proposed."""
        return self.proposals.on_map(self.scores).masked_fill(~self.proposals.valid, torch.nan)


@dataclass(frozen=True)
class Found:
    """A moment of one of several videos."""

    video: int
    moment: Moment
    cosine: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """The moments that were found, and what they were found in.

    Attributes
    ----------
    queries : tuple of str
    videos : tuple of EncodedVideo
    answers : tuple of Answer
        For each query those of each video.
    made_from : mapping
        The encoder, as results name it.
    notes : tuple of str
    comparable : bool
        Whether scores compare moments of several videos, as those of a trained model do; else cosines do.

    Examples
    --------
    >>> prediction = predict("bikes.mp4", "a cyclist on a hill")  # doctest: +SKIP
    >>> prediction.answer().moments[0]  # doctest: +SKIP
    Moment(start=3.125, end=5.625, score=0.71)
    """

    queries: tuple[str, ...]
    videos: tuple[EncodedVideo, ...]
    answers: tuple[Answer, ...]
    made_from: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    comparable: bool = False

    def answer(self, query: int = 0, video: int = 0) -> Answer:
        """What a query finds in a video, by their numbers."""
        return self.answers[query * len(self.videos) + video]

    @cached_property
    def names(self) -> list[str]:
        """How tables call the videos."""
        return names_of([clean(video.clips.video) for video in self.videos])

    def best(self, query: int = 0) -> list[Found]:
        """The moments of a query in all videos, best first.

        Where scores compare the moments of one video alone, videos are compared by the cosines of their moments, and
        within a video a moment does not go before one with a better score.
        """
        ranked = []
        for number in range(len(self.videos)):
            answer, lowest = self.answer(query, number), float("inf")
            for moment, cosine in zip(answer.moments, answer.cosines, strict=True):
                lowest = min(lowest, moment.score if self.comparable else cosine)
                ranked.append((lowest, Found(number, moment, cosine)))
        return [found for _, found in sorted(ranked, key=lambda each: -each[0])]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as JSON has it; times in seconds."""

        def listed(found: Found) -> dict[str, Any]:
            moment = found.moment
            values = {"start": moment.start, "end": moment.end, "score": moment.score, "cosine": found.cosine}
            return {"video": self.videos[found.video].clips.video, **{k: round(v, 6) for k, v in values.items()}}

        return {
            "geomclip": __version__,
            "made_from": dict(self.made_from),
            "notes": list(self.notes),
            "videos": [_facts(video) for video in self.videos],
            "queries": list(self.queries),
            # of each query in turn, the best first
            "moments": [
                {"query": query, **listed(found)}
                for number, query in enumerate(self.queries)
                for found in self.best(number)
            ],
            "scores": [
                {
                    "query": answer.query,
                    "video": answer.video,
                    "clip_cosines": _rounded(answer.clips),
                    "first": answer.proposals.first.tolist(),
                    "last": answer.proposals.last.tolist(),
                    "score": _rounded(answer.scores),
                }
                for answer in self.answers
            ],
        }

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all."""
        path = Path(path)
        check_output_file(path, ".json")
        atomic_json(path, self.to_dict())
        return path

    def __str__(self) -> str:
        many = len(self.videos) > 1
        blocks = []
        for number, query in enumerate(self.queries):
            head = f"{'':3}{'start':>10}{'end':>10}{'score':>8}{'cosine':>8}{'  video' if many else ''}"
            rows = [self._row(place, found, many) for place, found in enumerate(self.best(number), 1)]
            blocks.append([shown(query), head, *rows])
        read = []
        for name, video in zip(self.names, self.videos, strict=True):
            facts = f"{clock(video.clips.duration)}, {video.frames:,} frames, {len(video.clips.rows)} clips"
            read += [f"{_cut(name, 78 - len(facts))}: {facts}", *(f"  {note}" for note in video.notes)]
        return "\n\n".join("\n".join(block) for block in [*blocks, [*read, *self.notes]])

    def _row(self, place: int, found: Found, many: bool) -> str:
        moment = found.moment
        row = f"{place:>3}{clock(moment.start):>10}{clock(moment.end):>10}{moment.score:>8.2f}{found.cosine:>8.3f}"
        return f"{row}  {_cut(self.names[found.video], 39)}" if many else row


def predict(
    videos: str | Path | Sequence[str | Path],
    queries: str | Sequence[str],
    *,
    model: str | Encodes = "demo",
    pretrained: str | None = None,
    arch: str | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    seed: int = 0,
    trained: Trained | None = None,
    clips: int | None = None,
    fps: float | None = None,
    top: int = 5,
    suppress: float = 0.5,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    page: bool = True,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Prediction:
    """The moments of videos that sentences describe, by the rows of an encoder alone.

    Each video is decoded once and cut into clips; every proposed moment is scored (`zero_shot_scores`), the best
    are listed. A query finds its moments in each video; `Prediction.best` ranks them over all.

    Parameters
    ----------
    videos : path, or sequence of paths
        Video files, or folders of frames: see `geomclip.grounding.videos.encode_video`.
    queries : str, or sequence of str
    model : str or encoder
        With `pretrained`, `arch`, `precision`, `device`, `seed`: see `geomclip.encoders.load_encoder`.
    trained : model, optional
        Gives the scores, of rows of the encoder that it was trained on. Left out: `zero_shot_scores`.
    clips : int, optional
        Of each video; left out: one a second, but 16 to 64; of a trained model as many as it takes.
    fps : float, optional
        Frames a second that are looked at; of a folder of frames their rate.
    top : int
        Moments of each query in each video. Fewer come where fewer survive or have a score above 0.
    suppress : float
        A moment whose intersection over union with a better one is above it is left out; 0 to 1.
    batch_size, workers : int
        Frames that the model sees at once; threads, see `geomclip.encoders.extraction.calls.extract`.
    page : bool
        Keep what a page shows: small pictures, what is near to the best moments, and what their words do.
    cache_dir : path, optional
    progress : Progress, optional

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If a video, query, name or number cannot be used.

    Examples
    --------
    >>> print(predict("bikes.mp4", "a bicycle"))  # doctest: +SKIP
    """
    videos = [videos] if isinstance(videos, str | Path) else list(videos)
    queries = _checked([queries] if isinstance(queries, str) else list(queries), videos)
    _check_numbers(clips, fps, top, suppress, batch_size)
    if trained is not None:
        if clips not in (None, trained.proposals.clips):
            raise InputError(f"{option('clips')} {clips}: the trained model takes {trained.proposals.clips}")
        clips = trained.proposals.clips
    if isinstance(model, str):
        named = {"pretrained": pretrained, "arch": arch, "precision": precision, "device": device}
        model = load_encoder(model, **named, cache_dir=cache_dir, seed=seed)  # type: ignore[arg-type]
    made_from = dict(model.made_from())
    with Encoding(model, batch=batch_size, workers=workers) as encoding:
        texts, notes = _text_rows(encoding, queries)
        words = [_word_rows(encoding, query) for query in queries] if page else None
        watched = [
            encode_video(each, encoding, clips=clips, fps=fps, thumbnails=page, progress=progress) for each in videos
        ]
    per_video = [
        _answers(number, video, texts, trained, top=top, threshold=suppress) for number, video in enumerate(watched)
    ]
    if words is not None:
        per_video = [
            [_looked_at(each, video, *words[each.query], scale=model.logit_scale, seed=seed) for each in answers]
            for video, answers in zip(watched, per_video, strict=True)
        ]
    answers = tuple(each[query] for query in range(len(queries)) for each in per_video)
    if made_from.get("model") == "demo":
        notes.append(f"the demo model knows little but drawings of emoji: {option('model')} names another")
    return Prediction(tuple(queries), tuple(watched), answers, made_from, tuple(notes), trained is not None)


def prediction_json(prediction: Prediction) -> str:
    """A prediction as JSON text; letters of all scripts stay as they are."""
    return json.dumps(prediction.to_dict(), indent=2, ensure_ascii=False)


def zero_shot_scores(clips: Tensor, moments: Proposals) -> Tensor:
    """How well each moment answers, from the cosines (T,) of a video's clips with the query: (N,), at most 1.

    A clip counts by its cosine above a threshold θ, halfway from the mean of the video's clips to their maximum, and
    against the moment by what it lacks. A moment's score is the sum over its clips, as a share of the sum of all that
    lies above θ: 1 for the moment that holds every clip above θ and none below it. So a moment grows by clips that
    answer and not by others; the plain cosine of the mean row prefers single clips. The moments of one video and one
    query are compared by it, and only they. If all clips are alike, it is the length as a share of the video.

    Our own rule, chosen on 400 videos composed of 100 photos with CLIP vectors (four to six scenes, half of the
    others like the one that is asked for), clips with little to much noise: R@1 at IoU .5 is 82 to 91 % with 16 to 64
    clips, for the cosine of the mean row 13 to 65 %, for the mean inside less the mean outside 25 to 71 %.

    Examples
    --------
    >>> cosines = torch.tensor([0.1, 0.3, 0.3, 0.1])  # θ = 0.25
    >>> moments = proposals(4)
    >>> scores = zero_shot_scores(cosines, moments)
    >>> best = int(scores.argmax())
    >>> int(moments.first[best]), int(moments.last[best]), round(float(scores[best]), 6)
    (1, 2, 1.0)
    """
    cosines = clips.double()
    above = cosines - (cosines.max() + cosines.mean()) / 2
    if cosines.max() - cosines.mean() < 1e-9:
        return (moments.last - moments.first + 1).double() / moments.clips
    sums = torch.nn.functional.pad(above.cumsum(0), (1, 0))
    return (sums[moments.last + 1] - sums[moments.first]) / above.clamp(min=0).sum()


def map_of(clips: int) -> Proposals:
    """The proposals of so many clips: all moments, or beyond 64 clips a strided map, so that they stay few."""
    if clips <= max(SPARSE) and clips not in SPARSE:
        return proposals(clips)
    # 15 lengths by one clip, then 8 by twice as many at a time, until the longest is the video
    return proposals(clips, (15, *[8] * max(0, (clips - 1).bit_length() - 4)))


def clock(seconds: float) -> str:
    """A time as players show it, to a tenth of a second.

    Examples
    --------
    >>> clock(7.25), clock(62), clock(3723.96)
    ('0:07.2', '1:02.0', '1:02:04.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest / 10:04.1f}"


def shown(query: str) -> str:
    """A query as a line of a table has it."""
    return f'"{_cut(one_line(clean(query[: 4 * SHOWN])), SHOWN)}"'


def _answers(
    number: int, video: EncodedVideo, texts: Tensor, trained: Trained | None, *, top: int, threshold: float
) -> list[Answer]:
    """What each query finds in one video."""
    rows, duration = video.clips.rows, video.clips.duration
    cosines = (texts.double() @ rows.double().T).clamp(-1, 1)  # (Q, T)
    if trained is None:
        moments = map_of(len(rows))
        scores = torch.stack([zero_shot_scores(each, moments) for each in cosines])
    else:
        moments = trained.proposals
        with torch.inference_mode():
            scores = trained(rows[None], texts, torch.zeros(len(texts), dtype=torch.int64)).scores().double()
    answers = []
    for query, text in enumerate(texts):
        kept = suppress(moments.spans, scores[query], most=top, threshold=threshold)
        # what lacks more than it holds is no answer
        kept = kept[: max(1, int((scores[query, kept] > 0).sum()))]
        cells = tuple((int(moments.first[place]), int(moments.last[place])) for place in kept)
        found = tuple(
            Moment(float(start) * duration, float(end) * duration, float(score))
            for (start, end), score in zip(moments.spans[kept], scores[query, kept], strict=True)
        )
        own = tuple((_moment_rows(rows, cells).double() @ text.double()).tolist())
        answers.append(Answer(query, number, found, own, cosines[query], scores[query], moments, cells, duration))
    return answers


def _moment_rows(rows: Tensor, cells: Sequence[tuple[int, int]]) -> Tensor:
    """The mean of the clips of each cell (first, last) at length 1."""
    return unit_rows(torch.stack([rows[first : last + 1].double().mean(0) for first, last in cells]))


def _looked_at(
    answer: Answer, video: EncodedVideo, words: tuple[str, ...], rows: Tensor, *, scale: float, seed: int
) -> Answer:
    """The answer with what is near to its best moment, and what words and moments are worth together."""
    clips = video.clips.rows.double()
    near = neighborhood(clips, answer.proposals, answer.cells[0])
    if not words:
        return replace(answer, near=near)
    moments = _moment_rows(clips, answer.cells[:MOST_MOMENTS])
    draws = torch.Generator().manual_seed(seed)
    together = interactions(rows, moments, scale=scale, generator=draws)
    return replace(answer, near=near, words=words, interactions=together)


def _word_rows(encoding: Encoding, query: str) -> tuple[tuple[str, ...], Tensor]:
    """The words of a query that the model has rows of, and those rows."""
    words = words_of(query)
    encoded = encoding.finished(encoding.texts(words), lambda *_: None) if words else None
    if encoded is None or encoded.reasons:
        return (), torch.zeros(0, encoding.encoder.dim)
    return tuple(words), encoded.rows


def _text_rows(encoding: Encoding, queries: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Unit rows of the queries, and a note on each that the model does not read to its end."""
    encoded = encoding.finished(encoding.texts(queries), lambda *_: None)
    for place, reason in encoded.reasons.items():
        raise InputError(f"the query {shown(queries[place])} cannot be used: {reason}")
    cut = [shown(queries[place]) for place in sorted(encoded.truncated)]
    return encoded.rows, [f"the query {each} is too long for the model, which reads its beginning" for each in cut]


def _checked(queries: list[str], videos: Sequence[str | Path]) -> list[str]:
    if not videos:
        raise InputError("no video is named")
    if not queries:
        raise InputError(f"no query is given: {option('query')} says what to look for")
    if empty := [number for number, query in enumerate(queries, 1) if not query.strip()]:
        raise InputError(f"query {empty[0]} of {len(queries)} is empty")
    return queries


def _check_numbers(clips: int | None, fps: float | None, top: int, threshold: float, batch: int) -> None:
    if clips is not None and not 1 <= clips <= MOST_CLIPS:
        raise InputError(f"{option('clips')} {clips}: must be 1 to {MOST_CLIPS}")
    if fps is not None and not 0 < fps < float("inf"):
        raise InputError(f"{option('fps')} {fps}: must be above 0")
    if not 0 <= threshold <= 1:
        raise InputError(f"{option('suppress')} {threshold}: must be 0 to 1")
    for name, value in (("top", top), ("batch_size", batch)):
        if value < 1:
            raise InputError(f"{option(name)} {value}: must be at least 1")


def _facts(video: EncodedVideo) -> dict[str, Any]:
    return {
        "video": video.clips.video,
        "duration": round(video.clips.duration, 6),
        "clips": len(video.clips.rows),
        "frames": video.frames,
        "frames_per_second": round(video.rate, 6),
        "width": video.size[0],
        "height": video.size[1],
        "notes": list(video.notes),
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
