"""Features that others made: a video's rows from an HDF5 file or a folder of numpy files, pooled to T equal clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.grounding.record import Clips
from geomclip.machine import limits
from geomclip.machine.array_files import read_npy, read_npz
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.extras import optional
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import inside, shorten

IN_NPZ = "features"
SHOWN = 5
"""Videos that a message names."""


class Features(Protocol):
    """Rows by video, from one place; a context manager, since the place may be an open file."""

    path: Path

    def __enter__(self) -> Self:
        """Open."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close."""

    def has(self, video: str) -> bool:
        """Whether there is something for a video; InputError if its name leads out of the place."""

    def rows(self, video: str) -> NDArray[Any]:
        """The rows (n, d) of a video that is there, as they are stored."""

    def some(self) -> list[str]:
        """The first names there are, for messages."""


def open_features(path: str | Path) -> Features:
    """Features by video in a folder of VIDEO.npy (or .npz with `features`), or in an HDF5 file with a data set a video.

    In HDF5 a video may be a group with one data set in it, as in C3D's VIDEO/c3d_features. Nothing is unpickled, and
    what lies elsewhere is not followed: links out of a folder, and links, virtual data sets and external storage of
    HDF5.

    Raises
    ------
    InputError
        If there is neither at the path.
    NotAvailableError
        If it is a file and h5py is not installed.
    """
    path = Path(path)
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    return HDF5(path)


def absent(path: str | Path, videos: Iterable[str]) -> list[str]:
    """The videos, each once and in their order, that have no features."""
    with open_features(path) as features:
        return [video for video in dict.fromkeys(videos) if not features.has(video)]


def load_features(
    path: str | Path,
    videos: Iterable[str],
    durations: Mapping[str, float],
    *,
    clips: int,
    normalize: bool = False,
) -> Iterator[Clips]:
    """The clips of each video, one video at a time.

    Parameters
    ----------
    path : path
        As `open_features` takes it.
    videos : iterable of str
        Each once, in the order in which they come; of `absent` ones there must be none.
    durations : mapping of str to float
        Seconds of each.
    clips : int
        T: the rows of a video are taken as equally long, and averaged over T equal parts of it.
    normalize : bool
        Give the clips length 1.

    Returns
    -------
    iterator of Clips
        Rows float32, of one width for all videos.

    Raises
    ------
    InputError
        At once if a video is absent (the count and the first are named). When it comes to a video: if its rows are no
        table of finite numbers (video and row are named), are too large, or of another width than before.
    """
    if clips < 1:
        raise InputError(f"a video needs at least one clip, got {clips}")
    chosen = list(dict.fromkeys(videos))
    with open_features(path) as features:
        lacking = [video for video in chosen if not features.has(video)]
        there = ", ".join(map(shorten, features.some())) or "nothing"
    if lacking:
        more = ", ..." if len(lacking) > SHOWN else ""
        named = ", ".join(map(shorten, lacking[:SHOWN])) + more
        raise InputError(f"{path} has no features of {len(lacking)} of {len(chosen)} videos: {named}; it has {there}")
    return _loaded(Path(path), chosen, durations, clips, normalize)


def pool(rows: NDArray[Any], clips: int) -> Tensor:
    """The mean over each of T equal parts of the time that n equally long rows cover: (n, d) to (T, d), float64.

    A row that lies in two parts counts in each by its share in it. Of fewer rows than parts a part is one row, or two
    weighted.

    Examples
    --------
    >>> pool(np.array([[0.0], [3.0], [6.0]]), 2).tolist()  # the middle row is half in either
    [[1.0], [5.0]]
    """
    n = len(rows)
    pooled = np.empty((clips, rows.shape[1]))
    for clip in range(clips):
        start, end = clip * n, (clip + 1) * n  # in parts of a row, of which each has T: whole numbers
        first, last = start // clips, -(-end // clips)
        edges = np.arange(first, last + 1) * clips
        weights = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
        pooled[clip] = weights @ rows[first:last].astype(np.float64) / n
    return torch.from_numpy(pooled)


class Folder:
    """A folder with a file a video: VIDEO.npy, or VIDEO.npz with an array `features`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = path.resolve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has(self, video: str) -> bool:
        """Whether one of the files is there."""
        return bool(self._files(video))

    def rows(self, video: str) -> NDArray[Any]:
        """The array, mapped into memory where it can be."""
        files = self._files(video)
        if len(files) > 1:
            raise InputError(f"{files[0]} and {files[1].name} are both there: one is enough")
        file = files[0]
        if file.suffix == ".npz":
            return read_npz(file, [IN_NPZ], needed=IN_NPZ, most="feature-bytes")[IN_NPZ]
        return read_npy(file)

    def some(self) -> list[str]:
        """The first files in the order of their names."""
        return sorted(file.stem for file in islice(self.path.iterdir(), 1000) if file.suffix in (".npy", ".npz"))[:3]

    def _files(self, video: str) -> list[Path]:
        _parts(self.path, video)
        place = self.path / video
        try:
            found = [file for end in (".npy", ".npz") if (file := place.with_name(place.name + end)).is_file()]
            led_out = [file for file in found if not file.resolve().is_relative_to(self._real)]
        except (OSError, ValueError) as problem:  # a name that is too long
            no_name = InputError(f"features of {shorten(video)}: {one_line(problem, 200)}")
            raise unreadable(place, problem, no_name) from problem
        if led_out:
            raise InputError(f"{led_out[0]} is a link that leaves {self.path}: only files inside the folder are read")
        return found


class HDF5:
    """An HDF5 file with a data set a video, or a group with one data set in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._h5py = optional("h5py", f"{path.name} as features in HDF5", "video")
        self._file: Any = None

    def __enter__(self) -> Self:
        with _one_line(self.path):
            if not self._h5py.is_hdf5(self.path):
                raise InputError(f"{self.path} is no HDF5 file, and no folder of .npy files")
            self._file = self._h5py.File(self.path, "r")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def has(self, video: str) -> bool:
        """Whether the name is there."""
        return self._found(video) is not None

    def rows(self, video: str) -> NDArray[Any]:
        """The numbers of the data set, once its size is known to be within bounds."""
        with _one_line(self.path, video):
            held = self._found(video)
            if isinstance(held, self._h5py.Group):
                names = list(islice(held, 4))
                if len(names) != 1:
                    there = ", ".join(map(shorten, names)) or "nothing"
                    raise InputError(f"{self.path} {shorten(video)} should hold one data set, holds {there}")
                held = self._hard(held, names[0], video)
            if not isinstance(held, self._h5py.Dataset):
                raise InputError(f"{self.path} {shorten(video)} is no data set")
            self._check(held, video)
            return np.asarray(held[()])

    def some(self) -> list[str]:
        """The first names that the file lists."""
        with _one_line(self.path):
            return list(islice(self._file, 3))

    def _found(self, video: str) -> Any:
        """What a name leads to, part by part; None if nothing is there."""
        held: Any = self._file
        with _one_line(self.path, video):
            for part in _parts(self.path, video):
                if not isinstance(held, self._h5py.Group) or held.get(part, getlink=True) is None:
                    return None
                held = self._hard(held, part, video)
        return held

    def _hard(self, group: Any, name: str, video: str) -> Any:
        """A member of a group, unless it is a link to another place, of this file or another."""
        if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
            raise InputError(f"{self.path} {shorten(video)} is a link to another place, which is not followed")
        return group[name]

    def _check(self, held: Any, video: str) -> None:
        """Nothing from other files, and no more than fits."""
        where = f"{self.path} {shorten(video)}"
        if held.is_virtual or held.external:
            raise InputError(f"{where} keeps its numbers in other files, which are not read: copy them into this one")
        if held.shape is None or held.dtype.kind not in "fiu":
            raise InputError(f"{where} holds no numbers ({'nothing' if held.shape is None else held.dtype})")
        # a chunk is unpacked whole, and may be larger than the data set that it belongs to
        chunk = int(np.prod(held.chunks or (0,), dtype=object)) * held.dtype.itemsize
        _bounded(int(np.prod(held.shape, dtype=object)) * held.dtype.itemsize, where)
        _bounded(chunk, where)
        stored = held.id.get_storage_size()
        limits.check_unfolded(stored, max(held.nbytes, chunk), f"{where} claims {held.nbytes} bytes of {stored} stored")
        if held.nbytes and not held.id.get_storage_size():  # HDF5 would give zeros
            raise InputError(f"{where} was made, but its numbers were never written")


def _loaded(
    path: Path, videos: list[str], durations: Mapping[str, float], clips: int, normalize: bool
) -> Iterator[Clips]:
    first: tuple[str, int] | None = None
    with open_features(path) as features:
        for video in videos:
            where = f"{path} {shorten(video)}"
            rows = _checked(features.rows(video), where)
            first = first or (video, rows.shape[1])
            if rows.shape[1] != first[1]:
                raise InputError(f"{where} has width {rows.shape[1]}, but {shorten(first[0])} has {first[1]}")
            pooled = pool(rows, clips)
            if normalize:
                lengths = pooled.norm(dim=1, keepdim=True)
                if not lengths.all():
                    raise InputError(f"{where} clip {int(lengths[:, 0].argmin())} is zero and has no direction")
                pooled = pooled / lengths
            yield Clips(video, pooled.float(), float(durations[video]))


def _parts(path: Path, video: str) -> list[str]:
    """The parts of a name, which stays inside the path."""
    entry = f"features of {shorten(video)}"
    inside(path, video, entry=entry)
    parts = video.split("/")
    if "\\" in video or not {"", "."}.isdisjoint(parts):
        raise InputError(f"{entry}: that cannot be the name of a video in {path}")
    return parts


def _checked(rows: NDArray[Any], where: str) -> NDArray[Any]:
    """The same rows, if they are a table of finite numbers that fits."""
    if rows.dtype.kind not in "fiu":
        raise InputError(f"{where} holds no numbers but {rows.dtype}")
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError(f"{where} should have shape (rows, width), has {rows.shape}")
    _bounded(rows.nbytes, where)
    for start in range(0, len(rows), 4096):
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, as it would in the record
            finite = np.isfinite(rows[start : start + 4096].astype(np.float32)).all(axis=1)
        if not finite.all():
            raise InputError(f"{where} row {start + int(finite.argmin())} holds NaN or infinity")
    return rows


def _bounded(size: int, where: str) -> None:
    if size > (most := limits.most("feature-bytes")):
        raise InputError(
            f"{where} has {size} bytes, more than {most >> 20} MiB: {limits.refused('feature-bytes', size)}"
        )


@contextmanager
def _one_line(path: Path, video: str = "") -> Iterator[None]:
    """What h5py raises of a damaged file, which is of many kinds, in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as problem:
        where = f"{path} {shorten(video)}" if video else str(path)
        damaged = InputError(f"{where} cannot be read ({one_line(problem, 200)})")
        raise unreadable(where, problem, damaged) from problem
