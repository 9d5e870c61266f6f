"""What the cache folder holds, and clearing it: only what geomclip put there and can make or fetch again."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geomclip.cli.quantities import AGES, DAY
from geomclip.machine import json_files
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import LOCK_NAME, is_ours
from geomclip.machine.lock import Lock, holder_of
from geomclip.machine.remote import NOTE
from geomclip.machine.words import one_line

MANIFEST = "manifest.json"
_KEY = re.compile(r"[0-9a-f]{32}(?:-\d+)?")
_VERSION = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_STORE = re.compile(r"manifest\.json|(?:img|text|class)_emb/\w+\.npy|(?:text_|class_)?metadata/\w+\.parquet")
_HUB = re.compile(r"(?:blobs|refs|snapshots|\.no_exist)/.+|CACHEDIR\.TAG")
NOTES = {
    "encoders": (re.compile(r"[0-9a-f]{32}\.json"), "remembered encoders: {}"),
    "nulls": (re.compile(r"[\w-]+\.json"), "simulated nulls: {}"),
    "digests": (re.compile(r"[0-9a-f]+\.bin"), "digests of images, by folder: {}"),
    "places": (re.compile(r"[0-9a-f]{32}\.json"), "where the data and models of runs lie: {}"),
}
"""Folders of small files: which are geomclip's, and what they are."""
DATA_STAYS = "a data set: `geomclip data` says what it is, and you may have put files there"
UNFINISHED_STAYS = "it may be being written: younger than a day"


@dataclass(frozen=True)
class Entry:
    """One thing in the cache, which goes or stays as a whole."""

    kind: str  # embeddings, weights, remote, encoders, nulls, digests, places, data or unfinished
    name: str
    path: Path
    about: str
    size: int  # bytes
    files: int
    used: float  # when it was written or read last, in seconds since 1970
    kept: str = ""  # why it stays whatever is to go; "" if nothing speaks against it

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        used = datetime.fromtimestamp(self.used, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        named = {"kind": self.kind, "name": self.name, "path": str(self.path), "about": self.about}
        return {**named, "bytes": self.size, "files": self.files, "used": used, "kept": self.kept}


@dataclass(frozen=True)
class Contents:
    """What lies in a cache folder: entries, the one used last first, and what is not geomclip's."""

    folder: Path
    entries: tuple[Entry, ...]
    unknown: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self.entries)

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        entries = [entry.to_dict() for entry in self.entries]
        return {"folder": str(self.folder), "bytes": self.size, "entries": entries, "unknown": list(self.unknown)}


@dataclass(frozen=True)
class Pruned:
    """What went, or would go, what of it could not, and the bytes before and after."""

    folder: Path
    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]  # what was to go and stays, each with the reason
    before: int
    after: int
    dry_run: bool
    limit: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        lists = {name: [each.to_dict() for each in getattr(self, name)] for name in ("removed", "kept")}
        sizes = {"bytes_before": self.before, "bytes_after": self.after, "max_bytes": self.limit}
        return {"folder": str(self.folder), "dry_run": self.dry_run, **sizes, **lists}


# --- looking


def contents(folder: Path) -> Contents:
    """What a cache folder holds; nothing in it is changed, and no link in it is followed."""
    folder = folder.expanduser().absolute()
    entries, unknown = list[Entry](), list[str]()
    for place in _listed(folder):
        read = READERS.get(place.name)
        if read is None or place.is_symlink() or not place.is_dir():
            if not is_ours(place.name):
                unknown.append(place.name)
            continue
        for found in read(place):
            if isinstance(found, Entry):
                entries.append(found)
            else:
                unknown.append(str(found.relative_to(folder)))
    return Contents(folder, tuple(sorted(entries, key=lambda entry: -entry.used)), tuple(unknown))


def _embeddings(folder: Path) -> Iterator[Entry | Path]:
    """A store an entry."""
    for place in _listed(folder):
        if _KEY.fullmatch(place.name) and place.is_dir() and not place.is_symlink():
            entry = _measured("embeddings", place, _of_store(place), _STORE)
            held = holder_of(place)
            yield replace(entry, kept=f"in use by {held}") if held else entry
        else:
            yield _unfinished(place)


def _weights(folder: Path) -> Iterator[Entry | Path]:
    """A repository of the hub an entry."""
    for place in _listed(folder):
        if place.name.startswith("models--") and place.is_dir() and not place.is_symlink():
            entry = _measured(
                "weights", place, place.name.removeprefix("models--").replace("--", "/"), _HUB, links=True
            )
            loading = any(file.name.endswith(".incomplete") for file in _listed(place / "blobs"))
            young = time.time() - entry.used < AGES["h"]
            yield replace(entry, kept=entry.kept or "it is being fetched") if loading and young else entry
        elif place.name not in (".locks", "CACHEDIR.TAG"):
            yield place


def _remote(folder: Path) -> Iterator[Entry | Path]:
    """A version of what lies at an address an entry."""
    for place in _listed(folder):
        if _VERSION.fullmatch(place.name) and place.is_dir() and not place.is_symlink():
            entry = _measured("remote", place, _of_address(place), re.compile(".*"))
            held = holder_of(place)
            yield replace(entry, kept=f"in use by {held}") if held else entry
        else:
            yield _unfinished(place)


def _of_address(place: Path) -> str:
    """The address that something was fetched from, as the note beside it says."""
    try:
        address = json_files.read_json(place / NOTE).get("address")
    except (InputError, ValueError):
        return "of an address, unfinished"
    return str(address)


def _notes(folder: Path) -> Iterator[Entry | Path]:
    """All small files of a folder as one entry."""
    known = _known_notes(folder)
    if known:
        stats = [place.lstat() for place in known]
        size, used = sum(stat.st_size for stat in stats), max(stat.st_mtime for stat in stats)
        about = NOTES[folder.name][1].format(len(known))
        yield Entry(folder.name, folder.name, folder, about, size, len(known), used)
    yield from (_unfinished(place) for place in _listed(folder) if place not in known)


def _known_notes(folder: Path) -> list[Path]:
    """The small files of a folder that are geomclip's."""
    pattern = NOTES[folder.name][0]
    return [place for place in _listed(folder) if pattern.fullmatch(place.name) and _is_file(place)]


def _data(folder: Path) -> Iterator[Entry | Path]:
    """A data set an entry, which always stays."""
    for place in _listed(folder):
        if place.is_dir() and not place.is_symlink():
            yield replace(_measured("data", place, place.name, re.compile(".*"), links=True), kept=DATA_STAYS)
        else:
            yield place


READERS: dict[str, Callable[[Path], Iterator[Entry | Path]]] = {
    "embeddings": _embeddings,
    "weights": _weights,
    "remote": _remote,
    "encoders": _notes,
    "nulls": _notes,
    "digests": _notes,
    "places": _notes,
    "data": _data,
}
"""The folders that geomclip makes in its cache."""


def _unfinished(place: Path) -> Entry | Path:
    """What a writer that was killed left behind; the place itself if it is not geomclip's."""
    if not is_ours(place.name) or place.name == LOCK_NAME or place.is_symlink():
        return place
    entry = _measured("unfinished", place, "left behind by what was killed", re.compile(".*"), links=True)
    return replace(entry, kept=UNFINISHED_STAYS) if time.time() - entry.used < DAY else entry


def _measured(kind: str, place: Path, about: str, known: re.Pattern[str], *, links: bool = False) -> Entry:
    """An entry with its size and last use; it stays if it holds what geomclip does not put there."""
    size = count = 0
    used, kept = place.lstat().st_mtime if _is_file(place) else 0.0, ""
    for file in _files(place):
        name, stat = file.relative_to(place).as_posix(), file.lstat()
        size, count = size + (0 if file.is_symlink() else stat.st_size), count + 1
        if name != MANIFEST and not file.is_symlink():  # the manifest is read to list it
            used = max(used, stat.st_mtime, stat.st_atime)
        if file != place and not (known.fullmatch(name) or is_ours(file.name)):
            kept = kept or f"{name} in it is not geomclip's"
        elif file.is_symlink() and not links:
            kept = kept or f"{name} in it is a link"
    return Entry(kind, place.name, place, about, size, count, used or place.lstat().st_mtime, kept)


def _of_store(place: Path) -> str:
    """Model x data of a store, by its manifest."""
    try:
        manifest = json_files.read_json(place / MANIFEST)
        made = json_files.mapped(json_files.anything)(manifest.get("made_from", {}), "made_from")
    except (InputError, ValueError):
        return "without a manifest that can be read"
    weights = f", {made['pretrained']}" if made.get("pretrained") not in (None, "", made.get("model")) else ""
    split = f" ({made['split']})" if made.get("split") else ""
    images = f", {manifest['inputs']:,} images" if isinstance(manifest.get("inputs"), int) else ""
    unfinished = "" if manifest.get("done") else ", unfinished"
    return f"{made.get('model', 'unnamed')}{weights} x {made.get('dataset', 'unnamed')}{split}{images}{unfinished}"


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing if it is a link or not there."""
    if folder.is_symlink() and folder.name in READERS:
        return []
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(place: Path) -> Iterator[Path]:
    """All files below a place, links among them, none followed; a file itself."""
    if not place.is_dir() or place.is_symlink():
        yield place
        return
    for folder, folders, files in os.walk(place, followlinks=False):
        yield from (Path(folder, name) for name in files)
        yield from (Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name)))


def _is_file(place: Path) -> bool:
    return place.is_file() and not place.is_symlink()


# --- clearing


def prune(
    folder: Path, *, older_than: float | None = None, max_size: int | None = None, dry_run: bool = False
) -> Pruned:
    """Remove what was neither written nor read for so many seconds, then what was used longest ago, down to a size.

    Data sets, what is in use, and what holds files of others stay. Nothing outside of the folder is touched.

    Raises
    ------
    GeomclipError
        If something that is to go cannot be removed.
    """
    there = contents(folder)
    now, left = time.time(), there.size
    removed, kept = list[Entry](), list[Entry]()
    for entry in sorted(there.entries, key=lambda entry: entry.used):
        old = older_than is not None and now - entry.used > older_than
        if not old and not (max_size is not None and left > max_size):
            continue
        reason = entry.kept or ("" if dry_run else _remove(entry))
        if reason:
            kept.append(replace(entry, kept=reason))
        else:
            removed.append(entry)
            left -= entry.size
    return Pruned(there.folder, tuple(removed), tuple(kept), there.size, left, dry_run, max_size)


def _remove(entry: Entry) -> str:
    """Remove an entry; the reason if it stays."""
    try:
        if entry.kind in NOTES:
            for note in _known_notes(entry.path):
                note.unlink(missing_ok=True)
            return ""
        if entry.kind in ("embeddings", "remote"):
            with Lock(entry.path):
                aside = _aside(entry.path)
        else:
            aside = _aside(entry.path)
    except InputError as held:
        return one_line(held)
    except OSError as problem:
        raise GeomclipError(f"{entry.path} cannot be removed ({problem.strerror or problem})") from problem
    _delete(aside)
    return ""


def _aside(path: Path) -> Path:
    """Put a path out of the way, so that nobody reads half of it; the new path, beside it."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.geomclip-tmp")
    os.rename(path, aside)
    return aside


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as problem:
        raise GeomclipError(f"{path} cannot be removed ({problem.strerror or problem})") from problem
