"""sha256 of images, kept by the files that they lie in: a later run knows them without reading.

A digest is kept in the cache by the path of the file and what the system says of it: size, time of modification, time
of change, inode and device. Where any of these is another, the file is read again: a picture that was replaced under
its name, size and time of modification has another time of change. A file that was changed within the last two
seconds is read again too, since it may change once more without another time.

`digests/` in the cache has a file for each folder of data: 64 bytes an image, appended shard by shard. Each record has
a check of its own, so one that is cut short or damaged is an image that is read again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import atomic_write, make_folder
from geomclip.machine.leftovers import clear_dead
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.threads import Workers, default_workers
from geomclip.machine.words import one_line
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import ImageSource, place_of, stat_if_there

SETTLED_NS = 2 * 10**9
"""Nanoseconds since its last change after which a file that changes again has another time: FAT counts in 2 s."""

MOST_RECORDS = 1 << 20
"""A file of digests keeps so many (64 MiB), or two for each image of the data: the newest."""

READ_AT_ONCE = 64
"""Images that a thread reads in one call."""

_RECORD = np.dtype([("place", "<u8"), ("state", "V16"), ("sha256", "V32"), ("check", "<u8")])
_HEAD = b"geomclip digests/1".ljust(_RECORD.itemsize, b"\n")
# odd, so that no single change of a word goes unseen; the last is added, so that zeros are no record
_MIX = np.frombuffer(hashlib.blake2b(_HEAD).digest(), "<u8") | np.uint64(1)


class Stamp(NamedTuple):
    """What a digest is kept by, as hashes."""

    place: int  # of the path, and of what lies where within the file
    state: bytes  # of these, and of what the system says of the file


class Digests:
    """The sha256 of images, known or made; what is made is kept.

    Parameters
    ----------
    images : sequence of ImageSource
    cache : path
        The cache, of which `digests/` is used. One that cannot be read or written costs reading the images again.
    progress : Progress, optional
        Takes the stage "comparing images", and a line where digests are lost or cannot be kept.
    """

    def __init__(self, images: Sequence[ImageSource], cache: Path, *, progress: Progress = SILENT) -> None:
        self.images, self.cache, self.progress = images, cache, progress
        self._rewrite = False  # not whole, or too long: written anew when something is added
        self._keeps = True

    def sha256(self, places: Sequence[int]) -> list[str]:
        """That of each of these images, read where it is not known; "" of one that cannot be read.

        Raises
        ------
        GeomclipError
            If the machine fails at reading an image.
        """
        stamps = self.stamps(places)
        digests = self._known(stamps)
        unknown = [i for i, digest in enumerate(digests) if digest is None]
        for i, digest in zip(unknown, self._read([self.images[places[i]] for i in unknown]), strict=True):
            digests[i] = digest
        made = [digest or "" for digest in digests]
        self.keep(stamps, made)
        return made

    def stamps(self, places: Iterable[int]) -> list[Stamp | None]:
        """What digests of these images are kept by if they are read from now on; None: by nothing."""
        now = time.time_ns()
        states: dict[str, str | None] = {}
        stamps: list[Stamp | None] = []
        for place in places:
            where = place_of(self.images[place])
            if where is None:
                stamps.append(None)
                continue
            file = os.path.abspath(where.file)
            if file not in states:
                states[file] = _state(where.file, now)
            state = states[file]
            name = os.fsencode(file) + b"\0" + where.within.encode("utf-8", "surrogatepass")
            stamps.append(None if state is None else Stamp(_number(name), _hash(name + b"\0" + state.encode(), 16)))
        return stamps

    def keep(self, stamps: Sequence[Stamp | None], digests: Sequence[str]) -> None:
        """Keep digests that were made after their stamps; those that are kept already are not kept twice."""
        new = [
            (stamp.place, stamp.state, bytes.fromhex(digest), 0)
            for stamp, digest, known in zip(stamps, digests, self._known(stamps), strict=True)
            if stamp is not None and digest and known != digest
        ]
        if not new or self.path is None or not self._keeps:
            return
        try:
            records = np.array(new, _RECORD)
            records["check"] = _checks(records)
            self._write(self.path, records.tobytes())
        except (OSError, GeomclipError) as problem:
            self._keeps = False
            self.progress.log(f"digests of images are not kept, so they are read again: {one_line(problem, 200)}")

    @cached_property
    def path(self) -> Path | None:
        """The file of the folder that all the images lie under; None if none lies in a file."""
        places = [place_of(image) for image in self.images]
        folders = {os.path.dirname(os.path.abspath(place.file)) for place in places if place is not None}
        if not folders:
            return None
        return self.cache / "digests" / f"{_hash(os.fsencode(os.path.commonpath(folders)), 16).hex()}.bin"

    @cached_property
    def _records(self) -> NDArray[Any]:
        """What is kept and sound, in the order of the places, of one place the last."""
        found, most = np.empty(0, _RECORD), max(MOST_RECORDS, 2 * len(self.images))
        if self.path is not None:
            clear_dead(self.path)
            try:
                found, self._rewrite = _load(self.path, most=4 * most)
            except FileNotFoundError:
                pass
            except (OSError, InputError) as problem:
                self._rewrite = True
                self.progress.log(f"{self.path} is made anew: {one_line(problem, 200)}")
        sound = found["check"] == _checks(found)
        if not sound.all():
            self._rewrite = True
            self.progress.log(
                f"{self.path} is damaged: {len(sound) - sound.sum()} of {len(sound)} digests are made anew"
            )
        found = found[sound]
        last = _last_of_each(found)
        self._rewrite |= len(found) > most or len(found) > 2 * len(last) + READ_AT_ONCE
        newest = np.sort(last)[-most:]
        self._age = newest[np.argsort(found["place"][newest], kind="stable")]
        return found[self._age]

    def _known(self, stamps: Sequence[Stamp | None]) -> list[str | None]:
        """What is kept by these stamps."""
        records = self._records
        wanted = np.array([0 if stamp is None else stamp.place for stamp in stamps], np.uint64)
        found = np.searchsorted(records["place"], wanted).tolist() if len(records) else [0] * len(stamps)
        return [
            None if stamp is None or at == len(records) else _digest(records[at].tobytes(), stamp)
            for stamp, at in zip(stamps, found, strict=True)
        ]

    def _read(self, images: Sequence[ImageSource]) -> Iterable[str]:
        """The digests of images, several read at a time."""
        if not images:
            return
        with Workers(default_workers(), "digest") as workers:
            parts = [images[start : start + READ_AT_ONCE] for start in range(0, len(images), READ_AT_ONCE)]
            done = 0
            for call in [workers.add(_digests, part, workers.check) for part in parts]:
                made = workers.result(call)
                done += len(made)
                self.progress.stage("comparing images", done, len(images))
                yield from made

    def _write(self, path: Path, new: bytes) -> None:
        if self._rewrite or not path.exists():
            with atomic_write(path) as file:
                file.write(_HEAD + self._records[np.argsort(self._age)].tobytes() + new)
            self._rewrite = False
            return
        make_folder(path.parent)
        # one write at the end, wherever another process has moved it meanwhile
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            if os.write(descriptor, new) < len(new):
                self._rewrite = True
        finally:
            os.close(descriptor)


def _state(file: Path, now: int) -> str | None:
    """What the system says of a file, if a change from now on will be seen in it; else None."""
    stat = stat_if_there(file)
    # no time of change at all: a file system that has none
    if stat is None or not 0 < stat.st_ctime_ns < now - SETTLED_NS:
        return None
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}:{stat.st_dev}"


def _load(path: Path, *, most: int) -> tuple[NDArray[Any], bool]:
    """The records of a file, up to so many, and whether the last was cut short, as by a process that was killed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        content = file.read((most + 1) * _RECORD.itemsize)
    if content[: len(_HEAD)] != _HEAD:
        raise InputError("it is damaged, or of another version")
    whole = len(content) // _RECORD.itemsize
    return np.frombuffer(content, _RECORD, whole)[1:], len(content) != whole * _RECORD.itemsize


def count_damaged(path: Path) -> int:
    """How many records of a file of digests are damaged.

    Raises
    ------
    InputError, OSError
        If it is no file of digests, or cannot be read.
    """
    found, cut_short = _load(path, most=path.stat().st_size // _RECORD.itemsize + 1)
    return int((found["check"] != _checks(found)).sum()) + cut_short


def _last_of_each(records: NDArray[Any]) -> NDArray[np.int64]:
    """Of each place the number of its last record."""
    order = np.argsort(records["place"], kind="stable")
    places = records["place"][order]
    return order[np.flatnonzero(np.append(places[1:] != places[:-1], True))] if len(order) else order


def _checks(records: NDArray[Any]) -> NDArray[np.uint64]:
    """What the check of each record must be."""
    words = np.ascontiguousarray(records).view("<u8").reshape(len(records), 8)
    return np.asarray((words[:, :7] * _MIX[:7]).sum(axis=1, dtype=np.uint64) + _MIX[7])


def _digest(record: bytes, stamp: Stamp) -> str | None:
    """That of a record, if it is one of the stamp."""
    own = int.from_bytes(record[:8], "little") == stamp.place and record[8:24] == stamp.state
    return record[24:56].hex() if own else None


def _hash(content: bytes, size: int) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()


def _number(content: bytes) -> int:
    return int.from_bytes(_hash(content, 8), "little")


def _digests(images: Sequence[ImageSource], check: Callable[[], None]) -> list[str]:
    """sha256 of the bytes of each image; "" of one that cannot be read."""
    digests = []
    for image in images:
        check()
        content = value_or_reason(image.read, name=image.path)
        digests.append("" if isinstance(content, str) else hashlib.sha256(content).hexdigest())
    return digests
