"""A video file or a folder of frames to rows of clips: decoded once, encoded in batches, only the rows are kept.

Files are from anybody. Only containers that hold their pictures themselves are read, so that no playlist leads to
another file or address; a picture's declared size is bounded before it is decoded; what is damaged is left out and
said. Memory holds a few frames and the rows, whatever the length of the video.
"""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from geomclip.encoders.extraction.batches import Encoded, Encoding, unit_rows
from geomclip.grounding.record import Clips
from geomclip.machine import limits, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.extras import optional
from geomclip.machine.files import by_number
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.threads import Call
from geomclip.machine.words import one_line, option
from geomclip.pairs.images import decode as decode_image

if TYPE_CHECKING:
    from PIL.Image import Image

FEWEST, MOST = 16, 64
"""Clips of a video whose number is left out: one a second, within these."""

FRAMES_A_CLIP = 2
"""Frames that are looked at in each clip at least, if the video has them: a single one may lie in a cross-fade."""

MOST_FRAMES = 1 << 15
"""Frames that are looked at in one video: nine hours at one a second, and 64 MiB of rows of 512 numbers."""

CONTAINERS = (
    "3g2,3gp,aiff,apng,asf,avi,dv,flv,gif,ivf,m4a,matroska,mj2,mov,mp3,mp4,mpeg,mpegts,mxf,nut,ogg,rm,swf,wav,webm"
)
"""Demuxers of FFmpeg that read one file; none that follows names in it (hls, dash, concat, sdp, image2)."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")

REFERENCES = 8
"""Where a frame in so many is looked at, those that no other needs (half, in a usual H.264) are not even decoded."""

THUMBNAILS = 512
"""Small pictures kept of one video at most: eight for each of 64 clips, 3 MB."""
THUMBNAIL_SIDE = 160


@dataclass(frozen=True, eq=False)
class EncodedVideo:
    """The clips of a video, and what was read of it.

    Attributes
    ----------
    clips : Clips
        Unit rows; `video` is its path.
    frames : int
        How many were looked at.
    rate : float
        Of them, a second.
    size : (width, height)
        Pixels of a frame, upright.
    thumbnails : tuple of (seconds, JPEG)
        In the order of time.
    notes : tuple of str
        What a reader should know: where it was cut, what was left out.
    """

    clips: Clips
    frames: int
    rate: float
    size: tuple[int, int]
    thumbnails: tuple[tuple[float, bytes], ...] = ()
    notes: tuple[str, ...] = ()

    def thumbnail(self, seconds: float) -> bytes:
        """The picture that is on the screen at a time, of those kept; b'' where none was."""
        before = [each for each in self.thumbnails if each[0] <= seconds]
        return (before or [*self.thumbnails[:1]] or [(0.0, b"")])[-1][1]


@dataclass(frozen=True)
class Frame:
    """A frame that is looked at: when it is shown, and a call that makes its picture."""

    time: float
    picture: Callable[[], Image]


class Film(Protocol):
    """What is read frame by frame: a file, or a folder."""

    declared: float | None  # seconds, as far as it says so
    rate: float  # frames to look at, a second
    end: float  # seconds, when the last frame that was read goes
    notes: list[str]

    def frames(self) -> Iterator[Frame]:
        """Those to look at, in the order of time."""


def encode_video(
    path: str | Path,
    encoding: Encoding,
    *,
    clips: int | None = None,
    fps: float | None = None,
    thumbnails: bool = False,
    progress: Progress = SILENT,
) -> EncodedVideo:
    """The clips of a video file, or of a folder of frames, as rows of an encoder.

    A clip's row is the mean of the unit rows of the frames in it, at length 1. A clip without a frame (a slide that
    is shown for long, say) has the row of the frame on the screen in its middle.

    Parameters
    ----------
    path : path
        A video that PyAV decodes, or a folder of pictures, which are taken in the natural order of their names.
    encoding : Encoding
        The encoder with its workers.
    clips : int, optional
        Left out: one a second, but 16 to 64, and no more than there are frames.
    fps : float, optional
        Frames a second that are looked at, by their time stamps. Left out: 1, and more in a short video, so that
        each clip has two. Of a folder it is the rate of its frames (left out: 1), which are all looked at.
    thumbnails : bool
        Keep small pictures.
    progress : Progress, optional

    Returns
    -------
    EncodedVideo

    Raises
    ------
    InputError
        One line: no file, no video, only sound, no frame that can be decoded, too large frames.
    NotAvailableError
        If PyAV is not installed.

    Examples
    --------
    >>> with Encoding(encoder, batch=32) as encoding:  # doctest: +SKIP
    ...     video = encode_video("bikes.mp4", encoding)
    >>> video.clips.rows.shape, video.clips.duration  # doctest: +SKIP
    (torch.Size([16, 512]), 10.0)
    """
    path = Path(path)
    film: Film = _Folder(path, fps) if path.is_dir() else _File(path, fps, clips)
    stream = _Stream(encoding, thumbnails)
    expected = None if film.declared is None else max(1, math.ceil(film.declared * film.rate))
    for frame in film.frames():
        if stream.count == MOST_FRAMES:
            film.notes.append(
                f"only the first {frame.time:.0f} s are looked at, {MOST_FRAMES:,} frames: "
                f"a lower {option('fps')} looks at all of it"
            )
            film.end, film.declared = frame.time, None
            break
        stream.add(frame)
        progress.stage(f"watching {path.name}", stream.count, max(stream.count, expected or 0))
    rows, times = stream.finish()
    if stream.lost:
        film.notes.append(f"{stream.lost} frames left out: {stream.reason}")
    if not len(rows):
        raise InputError(f"{path} has no frame that can be decoded{f' ({stream.reason})' if stream.lost else ''}")
    duration = _duration(film, times)
    count = clips or min(max(FEWEST, min(MOST, round(duration))), len(rows))
    pooled = clip_rows(rows, times / duration, count)
    read = Clips(str(path), pooled, duration)
    thumbnails_of = tuple(stream.thumbnails)
    return EncodedVideo(read, len(rows), len(rows) / duration, stream.size, thumbnails_of, tuple(film.notes))


def clip_rows(rows: Tensor, places: Tensor, clips: int) -> Tensor:
    """Rows of frames to rows of clips: unit rows (F, d) at places (F,) in 0..1, ascending, to (clips, d).

    Examples
    --------
    >>> clip_rows(torch.eye(2), torch.tensor([0.0, 0.7]), 3).tolist()  # the first is on the screen till .7
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    clip = (places * clips).long().clamp(0, clips - 1)
    sums = torch.zeros(clips, rows.shape[1], dtype=torch.float64).index_add_(0, clip, rows.double())
    middle = (torch.arange(clips, dtype=places.dtype) + 0.5) / clips
    shown = (torch.searchsorted(places, middle, right=True) - 1).clamp(min=0)
    empty = torch.bincount(clip, minlength=clips) == 0
    # frames that point against each other leave no mean: then, too, the one on the screen speaks for them
    empty |= sums.norm(dim=1) == 0
    sums[empty] = rows[shown[empty]].double()
    return unit_rows(sums)


def _duration(film: Film, times: Tensor) -> float:
    """Seconds of what was read: as declared, if the last frame is shown about then."""
    declared, last = film.declared, float(times[-1])
    if declared is not None and last < declared <= film.end + max(0.5, 2 / film.rate):
        return declared
    if declared is not None and film.end < declared:
        film.notes.append(f"its frames end at {film.end:.1f} s of the {declared:.1f} s that it declares")
    if film.end > 0:
        return film.end
    film.notes.append("one frame, and no length is declared: taken as 1 s")
    return 1.0


@dataclass
class _Stream:
    """Frames on their way: pictures made in workers, batches encoded in workers, few of each at a time."""

    encoding: Encoding
    thumbnails_wanted: bool
    count: int = 0
    size: tuple[int, int] = (0, 0)
    lost: int = 0
    reason: str = ""
    thumbnails: list[tuple[float, bytes]] = field(default_factory=list)
    _stride: int = 1  # every such frame has a thumbnail
    _made: deque[tuple[float, int, Call[tuple[Tensor, tuple[int, int], bytes] | str]]] = field(default_factory=deque)
    _pixels: list[Tensor] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)  # of the pixels
    _batches: deque[tuple[list[float], Call[Encoded]]] = field(default_factory=deque)
    _rows: list[Tensor] = field(default_factory=list)
    _kept: list[float] = field(default_factory=list)  # times of the rows

    def add(self, frame: Frame) -> None:
        small = self.thumbnails_wanted and self.count % self._stride == 0
        self._made.append((frame.time, self.count, self.encoding.add(self._make, frame.picture, small)))
        self.count += 1
        # a decoded 4K frame has 12 MB: no more of them than keep the workers busy
        if len(self._made) > 2 * max(1, self.encoding.workers):
            self._take()

    def finish(self) -> tuple[Tensor, Tensor]:
        """Rows (F, d) and times (F,) float64 of all frames that could be encoded."""
        while self._made:
            self._take()
        self._begin()
        while self._batches:
            self._collect()
        rows = torch.cat([torch.empty(0, self.encoding.encoder.dim), *self._rows])
        return (unit_rows(rows) if len(rows) else rows), torch.tensor(self._kept, dtype=torch.float64)

    def _make(self, picture: Callable[[], Image], small: bool) -> tuple[Tensor, tuple[int, int], bytes] | str:
        try:
            image = picture()
            return self.encoding.prepare(image), image.size, _thumbnail(image) if small else b""
        except InputError as problem:
            return one_line(problem, 200)

    def _take(self) -> None:
        """The oldest picture into the batch that is being filled."""
        time, number, call = self._made.popleft()
        made = self.encoding.result(call)
        if isinstance(made, str):
            self._lose(made)
            return
        pixels, self.size, thumbnail = made
        if thumbnail and number % self._stride == 0:  # fewer may be wanted since it was made
            self.thumbnails.append((time, thumbnail))
            if len(self.thumbnails) > THUMBNAILS:
                self.thumbnails, self._stride = self.thumbnails[::2], 2 * self._stride
        self._pixels.append(pixels)
        self._times.append(time)
        if len(self._pixels) == self.encoding.batch:
            self._begin()

    def _begin(self) -> None:
        if self._pixels:
            self._batches.append((self._times, self.encoding.add(self.encoding.pixel_batch, self._pixels)))
            self._pixels, self._times = [], []
        if len(self._batches) > max(1, self.encoding.workers):
            self._collect()

    def _collect(self) -> None:
        times, call = self._batches.popleft()
        encoded = self.encoding.result(call)
        self._rows.append(encoded.rows)
        self._kept += [times[place] for place in encoded.kept]
        for reason in encoded.reasons.values():
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        self.lost += 1
        self.reason = self.reason or reason


def _thumbnail(image: Image) -> bytes:
    small = image.copy() if max(image.size) <= THUMBNAIL_SIDE else image
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


class _Folder:
    """A folder of frames, all of which are looked at."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self.files = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURES), key=by_number)
        if not self.files:
            raise InputError(f"{path} holds no frames ({', '.join(PICTURES)}); of a folder of videos name each")
        self.rate = 1.0 if fps is None else fps
        self.end = len(self.files) / self.rate
        self.declared: float | None = self.end
        self.notes: list[str] = []

    def frames(self) -> Iterator[Frame]:
        for number, file in enumerate(self.files):
            yield Frame(number / self.rate, lambda file=file: _read(file))  # type: ignore[misc]


def _read(file: Path) -> Image:
    try:
        return decode_image(regular.read(file, "image-bytes"), name=file.name)
    except OSError as problem:
        raise unreadable(file, problem) from problem


class _File:
    """A video file, decoded from end to end; of the frames only those that are looked at are converted."""

    declared: float | None

    def __init__(self, path: Path, fps: float | None, clips: int | None) -> None:
        self.path = path
        self.av = optional("av", "reading a video", "video")
        self.notes: list[str] = []
        self.end = 0.0
        self._file, self._container = self._opened()
        try:
            self._stream = self._video()
            self.declared = self._declared()
            self.rate = fps or _rate(self.declared, clips)
        except BaseException:
            self._close()
            raise

    def frames(self) -> Iterator[Frame]:
        try:
            yield from self._looked_at()
        finally:
            self._close()

    def _looked_at(self) -> Iterator[Frame]:
        due, time, native = 0.0, 0.0, self._native()
        length = 1 / native if native else 0.0
        for number, frame in enumerate(self._decoded()):
            stamp = number * (length or 0.04) if frame.time is None else float(frame.time) - self._start
            time = max(time, stamp)
            shown = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else length
            self.end = max(self.end, time + shown)
            if time >= due - 1e-6:
                due = (math.floor(time * self.rate + 1e-6) + 1) / self.rate
                yield Frame(time, lambda frame=frame: _upright(frame))  # type: ignore[misc]

    def _decoded(self) -> Iterator[Any]:
        """All frames that can be decoded, in the order of time."""
        damaged, error = 0, self.av.error.FFmpegError
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (error, EOFError) as problem:
                self.notes.append(f"it cannot be read to its end: {_reason(problem)}")
                break
            if packet is None:
                break
            try:
                yield from packet.decode()
            except MemoryError:
                raise
            except (error, EOFError, ValueError) as problem:
                if "max_pixels" in str(problem):
                    raise self._too_large() from problem
                damaged += 1
        if damaged:
            self.notes.append(f"{damaged} damaged parts are left out")

    def _opened(self) -> tuple[Any, Any]:
        try:
            if not self.path.is_file():
                raise InputError(f"{self.path} is no file{'' if self.path.exists() else ': it does not exist'}")
            file = self.path.open("rb")
        except OSError as problem:
            raise unreadable(self.path, problem) from problem
        # a file object has no name that FFmpeg could resolve others against, and the lists leave it nothing to open
        lists = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
        try:
            return file, self.av.open(file, mode="r", options=lists, metadata_errors="replace")
        except (self.av.error.FFmpegError, OSError, ValueError) as problem:
            file.close()
            reason = "it is empty" if not self.path.stat().st_size else _reason(problem)
            if isinstance(problem, self.av.error.ArgumentError):  # the lists left nothing that reads it
                reason = "it is of no format that is read, as mp4, mkv, webm, mov, avi, mpeg or gif"
            no_video = InputError(f"{self.path} is no video that can be read ({reason})")
            raise unreadable(self.path, problem, no_video) from problem
        except BaseException:
            file.close()
            raise

    def _video(self) -> Any:
        """The stream of pictures; the cover of a song is none."""
        cover = self.av.stream.Disposition.attached_pic
        streams = [each for each in self._container.streams.video if not each.disposition & cover]
        if not streams:
            others = {each.type for each in self._container.streams} - {"video"}
            raise InputError(f"{self.path} has no pictures{', only ' + ', '.join(sorted(others)) if others else ''}")
        stream = streams[0]
        if stream.codec_context is None:
            raise InputError(f"{self.path}: nothing here decodes its pictures")
        most, declared = limits.most("video-pixels"), stream.width * stream.height
        if declared > most:
            raise self._too_large(f"{stream.width} x {stream.height} pixels", declared)
        stream.codec_context.options = {"max_pixels": str(most)}
        stream.thread_type = "AUTO"
        return stream

    def _too_large(self, what: str = "more", declared: int = 0) -> InputError:
        most = limits.most("video-pixels")
        end = limits.refused("video-pixels", declared or 4 * most)
        return InputError(f"{self.path} declares frames of {what}; at most {most:,} pixels are read: {end}")

    def _declared(self) -> float | None:
        start, stream = self._container.start_time, self._stream
        self._start = 0.0 if start is None else start / 1_000_000
        if stream.duration and stream.time_base:
            length = float(stream.duration * stream.time_base)
            return length + max(0.0, float((stream.start_time or 0) * stream.time_base) - self._start)
        return self._container.duration / 1_000_000 if self._container.duration else None

    def _native(self) -> float:
        """Frames a second of the file; 0 if it does not say. Sets which need not be decoded."""
        rate = self._stream.average_rate
        native = float(rate) if rate else 0.0
        if native >= REFERENCES * self.rate:
            self._stream.codec_context.skip_frame = "NONREF"
        return native

    def _close(self) -> None:
        self._container.close()
        self._file.close()


def _rate(declared: float | None, clips: int | None) -> float:
    """Frames a second to look at, if nobody says: 1, and as many more as give each clip two."""
    if not declared or declared <= 0:
        return float(FRAMES_A_CLIP)
    count = clips or max(FEWEST, min(MOST, round(declared)))
    return max(1.0, FRAMES_A_CLIP * count / declared)


def _upright(frame: Any) -> Image:
    """The frame as an RGB picture, turned as its metadata say."""
    try:
        image: Image = frame.to_image()
    except (ValueError, OSError) as problem:  # FFmpeg's errors are both; memory that runs out is neither
        raise InputError(f"a frame of {frame.format.name} cannot be converted ({_reason(problem)})") from problem
    turn = round(frame.rotation) % 360
    return image.rotate(turn, expand=True) if turn else image


def _reason(problem: BaseException) -> str:
    text = getattr(problem, "strerror", None) or problem
    return one_line(str(text), 200)


def names_of(paths: Sequence[str | Path]) -> list[str]:
    """How tables call several videos: their names, with as much of the folder as tells them apart.

    Examples
    --------
    >>> names_of(["a/x.mp4", "b/y.mp4"]), names_of(["a/x.mp4", "b/x.mp4"])
    (['x.mp4', 'y.mp4'], ['a/x.mp4', 'b/x.mp4'])
    """
    parts = [Path(path).parts for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(path) for path in paths]
