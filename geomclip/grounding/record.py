"""What grounding is about: the clips of a video, a sentence with its moments, and a moment that was found."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Clips:
    """A video as rows of equally long clips, in the order of time.

    Attributes
    ----------
    video : str
        Its id.
    rows : Tensor of shape (T, d), float32
        One row a clip; an encoder's rows have length 1, features of others any.
    duration : float
        Seconds; clip t covers t/T to (t + 1)/T of it.
    """

    video: str
    rows: Tensor
    duration: float


@dataclass(frozen=True)
class Query:
    """A sentence, and when what it says happens.

    Attributes
    ----------
    video : str
    text : str
    windows : tuple of (start, end)
        Seconds, 0 ≤ start < end ≤ duration; one for most data sets, several for QVHighlights. Empty: not known.
    duration : float
        Seconds of the video.
    id : str
        Unique within a file.
    """

    video: str
    text: str
    windows: tuple[tuple[float, float], ...]
    duration: float
    id: str = ""


@dataclass(frozen=True)
class Moment:
    """A part of a video and how well it answers: higher is better."""

    start: float
    end: float
    score: float
