"""The composer: from a bank of pictures to videos of segments, annotated queries, and repeats that nobody annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from geomclip.grounding.bench.bank import DRIFTS, STOPS, Bank
from geomclip.grounding.record import Clips, Query
from geomclip.training.seeds import derived

FRAMES = 2
"""Frames a clip; its row is the direction of the mean of theirs."""
SHORTEST = 2
"""Clips of the shortest segment."""
SEGMENTS = (4, 5, 6)
ANNOTATED = 2
"""Segments of a video that have a query."""
SIMILAR = 0.5
"""Share of the spare segments that are similar to an annotated one, but another concept."""

Role = Literal["annotated", "spare", "repeat"]
"""A repeat is one of an annotated segment, which nobody annotated."""


@dataclass(frozen=True)
class Segment:
    """A picture that a video shows for a while, the camera drifting over it.

    `start` and `stop` are frames; the drift goes from `begin` to `end`, places between 0 and 1 of its way. `of` is
    the number of the segment that it shows again, or −1.
    """

    picture: int
    drift: int
    begin: float
    end: float
    start: int
    stop: int
    role: Role
    of: int = -1


@dataclass(frozen=True, eq=False)
class Videos:
    """Composed videos with their queries.

    Attributes
    ----------
    clips : Tensor of shape (n, T, d), float32
        Unit rows.
    segments : tuple of n tuples of Segment
    text : Tensor of shape (q,), int64
        The sentence of each query, a row of the bank's texts.
    owner : Tensor of shape (q,), int64
        Its video; ascending.
    picture : Tensor of shape (q,), int64
        The picture that it describes.
    spans : Tensor of shape (q, 2), float64
        When it is shown, as shares of the video.
    repeats : tuple of q Tensors of shape (r, 2), float64
        When it is shown again, unannotated.
    """

    clips: Tensor
    segments: tuple[tuple[Segment, ...], ...]
    text: Tensor
    owner: Tensor
    picture: Tensor
    spans: Tensor
    repeats: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def queries(self, bank: Bank, *, seconds: float = 1.0) -> list[Query]:
        """The queries as records, each clip so many seconds long."""
        duration = self.clips.shape[1] * seconds
        told = zip(self.text.tolist(), self.owner.tolist(), (self.spans * duration).tolist(), strict=True)
        return [
            Query(f"v{video}", bank.sentences[text], ((start, end),), duration, id=str(place))
            for place, (text, video, (start, end)) in enumerate(told)
        ]

    def records(self, *, seconds: float = 1.0) -> list[Clips]:
        """The videos as records."""
        duration = self.clips.shape[1] * seconds
        return [Clips(f"v{place}", rows, duration) for place, rows in enumerate(self.clips)]


def compose(
    bank: Bank, split: str, count: int, *, seed: int, dose: float = 0.0, repeated: float = 0.0, clips: int = 16
) -> Videos:
    """Videos of 4 to 6 segments with two annotated queries each.

    Every spare segment but the first shows a picture of its video again with probability `repeated`: an annotated
    one in a share dose/repeated of the cases, the first spare one in the others. So videos of two doses have the
    same cuts, the same queries and as many distinct pictures; what differs is whether what is shown again is what a
    query describes. A repeat is another variant of the concept, or the same picture under the other drift, and
    touches neither what it repeats nor the first spare. At a cut one frame is the mean of both sides.

    Parameters
    ----------
    bank : Bank
    split : "train", "val" or "test"
    count : int
        Videos.
    seed : int
    dose : float
        Probability that a spare segment, but for the first, repeats an annotated one; at most `repeated`.
    repeated : float
        Probability that it repeats any.
    clips : int
        T; each segment has at least two, and cuts are at frames, two a clip.

    Raises
    ------
    ValueError
        If the dose is above `repeated`, or T is too small for six segments.
    """
    if not 0 <= dose <= repeated <= 1:
        raise ValueError(f"dose must be between 0 and repeated = {repeated:g}, got {dose:g}")
    if clips < SHORTEST * max(SEGMENTS):
        raise ValueError(f"{max(SEGMENTS)} segments need {SHORTEST * max(SEGMENTS)} clips, got {clips}")
    rng = np.random.default_rng([derived(seed, f"videos of {split}") % 2**32, seed])
    draft = _Draft(bank, split, rng)
    segments = tuple(draft.video(clips * FRAMES, dose=dose, repeated=repeated) for _ in range(count))
    return _videos(bank, segments, draft.texts, clips)


class _Draft:
    """The draws of the videos of a split, in one order whatever the dose."""

    def __init__(self, bank: Bank, split: str, rng: np.random.Generator) -> None:
        self.bank, self.rng = bank, rng
        self.own = bank.members[split].tolist()
        self.concept = bank.concept.tolist()
        self.kin = bank.kin.tolist()
        self.variants = {picture: bank.variants(picture).tolist() for picture in self.own}
        self.sentences: dict[int, list[int]] = {}
        for text, picture in enumerate(bank.picture_of_text.tolist()):
            self.sentences.setdefault(picture, []).append(text)
        self.texts: list[list[int]] = []

    def video(self, frames: int, *, dose: float, repeated: float) -> tuple[Segment, ...]:
        rng = self.rng
        count = int(rng.choice(SEGMENTS))
        draws = rng.random((count, 4))
        again = [place > ANNOTATED and draws[place, 0] < repeated for place in range(count)]
        order = self._order(again)
        cuts = self._cuts(count, frames)
        pictures = self._pictures(again)
        annotated = range(ANNOTATED)
        made: list[Segment] = []
        for place in range(count):
            at = order.index(place)
            begin, end = sorted(draws[place, 2:4].tolist(), reverse=bool(rng.random() < 0.5))
            whole = Segment(pictures[place], int(rng.integers(DRIFTS)), begin, end, cuts[at], cuts[at + 1], "spare")
            pick = int(rng.integers(2**31))
            if place in annotated:
                whole = replace(whole, role="annotated")
            elif again[place]:
                apart = [of for of in annotated if abs(order.index(of) - at) > 1]
                of = apart[pick % len(apart)] if draws[place, 0] < dose else ANNOTATED
                whole = self._repeat(whole, made[of], of, pick)
            made.append(whole)
        in_time = [made[place] for place in order]
        told = [rng.choice(self.sentences[made[place].picture]) for place in annotated]
        self.texts.append([int(told[place]) for place in order if place in annotated])
        return tuple(replace(each, of=order.index(each.of)) if each.of >= 0 else each for each in in_time)

    def _order(self, again: Sequence[bool]) -> list[int]:
        """Which segment stands where: each that repeats has an annotated one apart, and the first spare one too."""
        while True:
            order = self.rng.permutation(len(again)).tolist()
            place = {segment: at for at, segment in enumerate(order)}
            apart = [
                [of for of in range(ANNOTATED + 1) if abs(place[of] - place[segment]) > 1]
                for segment, repeats in enumerate(again)
                if repeats
            ]
            if all(ANNOTATED in own and len(own) > 1 for own in apart):
                return order

    def _cuts(self, count: int, frames: int) -> list[int]:
        """Frames at which segments begin, and the end: any frame that leaves each segment its two clips."""
        least = SHORTEST * FRAMES
        spare = frames - least * count
        places = np.sort(self.rng.integers(0, spare + 1, size=count - 1)).tolist()
        return [0, *(place + least * (at + 1) for at, place in enumerate(places)), frames]

    def _pictures(self, again: Sequence[bool]) -> list[int]:
        """A picture for each segment, of distinct concepts; half of the spare ones similar to an annotated one."""
        taken: list[int] = []
        seen: set[int] = set()
        for place in range(len(again)):
            similar = place >= ANNOTATED and self.rng.random() < SIMILAR
            near = self.kin[taken[int(self.rng.integers(ANNOTATED))]] if similar else []
            free = [picture for picture in near if self.concept[picture] not in seen]
            picture = int(self.rng.choice(free or self.own))
            while self.concept[picture] in seen:
                picture = int(self.rng.choice(self.own))
            taken.append(picture)
            seen.add(self.concept[picture])
        return taken

    def _repeat(self, spare: Segment, first: Segment, of: int, pick: int) -> Segment:
        """The segment in whose place another variant is shown, or the same picture under its other drift."""
        others = [picture for picture in self.variants[first.picture] if picture != first.picture]
        role: Role = "repeat" if first.role == "annotated" else "spare"
        if others:
            return replace(spare, picture=others[pick % len(others)], role=role, of=of)
        drift = (first.drift + 1 + pick % (DRIFTS - 1)) % DRIFTS
        return replace(spare, picture=first.picture, drift=drift, role=role, of=of)


def _videos(bank: Bank, segments: tuple[tuple[Segment, ...], ...], texts: list[list[int]], clips: int) -> Videos:
    frames = clips * FRAMES
    owner, picture, spans, repeats = [], [], [], []
    for video, own in enumerate(segments):
        for at, segment in enumerate(own):
            if segment.role == "annotated":
                owner.append(video)
                picture.append(segment.picture)
                spans.append((segment.start, segment.stop))
                again = [(each.start, each.stop) for each in own if each.role == "repeat" and each.of == at]
                repeats.append(torch.tensor(again, dtype=torch.float64).reshape(-1, 2) / frames)
    return Videos(
        clips=_rows(bank, segments, clips),
        segments=segments,
        text=torch.tensor([text for own in texts for text in own], dtype=torch.int64),
        owner=torch.tensor(owner, dtype=torch.int64),
        picture=torch.tensor(picture, dtype=torch.int64),
        spans=torch.tensor(spans, dtype=torch.float64).reshape(-1, 2) / frames,
        repeats=tuple(repeats),
    )


def _rows(bank: Bank, segments: tuple[tuple[Segment, ...], ...], clips: int) -> Tensor:
    """The clips (n, T, d) of videos."""
    unit = torch.nn.functional.normalize
    frames = clips * FRAMES
    made = torch.empty(len(segments), clips, bank.dim)
    for video, own in enumerate(segments):
        shown = torch.cat([_shown(bank, segment) for segment in own])  # (frames, d)
        for segment in own[1:]:
            shown[segment.start] = unit(shown[segment.start - 1] + shown[segment.start], dim=0)
        assert len(shown) == frames
        made[video] = unit(shown.unflatten(0, (clips, FRAMES)).mean(1), dim=1)
    return made


def _shown(bank: Bank, segment: Segment) -> Tensor:
    """The frames (f, d) of a segment: rows between those of the crops that its drift meets."""
    stops = bank.views[segment.picture, segment.drift]
    along = torch.linspace(segment.begin, segment.end, segment.stop - segment.start) * (STOPS - 1)
    before = along.long().clamp(max=STOPS - 2)
    share = (along - before)[:, None]
    return torch.nn.functional.normalize(stops[before] * (1 - share) + stops[before + 1] * share, dim=1)
