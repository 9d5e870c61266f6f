"""What `geomclip check` finds: of each thing that geomclip keeps, what is whole, what is not, and what to do.

Nothing is changed. Whatever has a sum is read and compared with it, so a store or a run takes as long as reading it.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geomclip.embeddings.shards import MANIFEST, read_manifest, verify
from geomclip.machine import json_files, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import DamagedError, GeomclipError, InputError
from geomclip.machine.sums import SUM, check_sum, file_sha256, read_sealed, sum_in
from geomclip.machine.words import one_line

SCHEMA = "geomclip.check/1"
WHOLE, NO_SUM, UNFINISHED, DAMAGED = "whole", "no sum", "unfinished", "damaged"
REMADE = "nothing: the next run that needs it makes it again"
_RESULTS = ("geomclip.measure/", "geomclip.compare", "geomclip.plan/")
_RUNS = ("geomclip.run/1", "geomclip.grounding/1")
_BLOB = re.compile(r"[0-9a-f]{64}")  # what the hub names by its sha256; smaller files have names of another kind


@dataclass(frozen=True)
class Part:
    """One thing with a sum, or a file that should have one."""

    name: str  # below the path that was named; "" for the path itself
    state: str  # whole, no sum (of an earlier version, or of another tool), unfinished or damaged
    reason: str = ""
    way_out: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON types only."""
        return {"name": self.name, "state": self.state, "reason": self.reason, "what_to_do": self.way_out}


@dataclass(frozen=True)
class Checked:
    """What a path is, and its parts."""

    path: Path
    kind: str  # store, run, cache, result, checkpoint, vectors or data
    parts: tuple[Part, ...]

    def of(self, state: str) -> list[Part]:
        """The parts of this state."""
        return [part for part in self.parts if part.state == state]

    def failure(self) -> str:
        """What is damaged, in one line; "" if nothing is."""
        damaged = self.of(DAMAGED)
        if not damaged:
            return ""
        return f"{self.path}: {len(damaged)} of {len(self.parts)} damaged: {', '.join(_names(damaged, self.path))}"

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        counts = {state: len(self.of(state)) for state in (WHOLE, NO_SUM, UNFINISHED, DAMAGED)}
        parts = [part.to_dict() for part in self.parts]
        return {"schema": SCHEMA, "path": str(self.path), "kind": self.kind, "counts": counts, "parts": parts}


def examine(path: str | Path) -> Checked:
    """Read whatever geomclip keeps at a path and compare it with its sums.

    Parameters
    ----------
    path : path
        A store, a run folder, a cache, a folder of data that geomclip fetched, a result, a checkpoint or an .npz.

    Raises
    ------
    InputError
        If nothing is there, or it is nothing that geomclip writes.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    kind = _kind(path)
    if kind is None:
        raise InputError(
            f"{path} is nothing that geomclip keeps: name a store, a run, a result, a checkpoint, an .npz of vectors, "
            "fetched data or a cache"
        )
    return Checked(path, kind, tuple(_READERS[kind](path, "")))


# --- what a path is


def _kind(path: Path) -> str | None:
    from geomclip.cli.cache import READERS

    if path.is_dir():
        if (path / MANIFEST).exists():
            return "store"
        if (path / "config.json").exists() and _schema(path / "config.json").startswith(_RUNS):
            return "run"
        if any(path.glob(".*.unpacked.json")):
            return "data"
        return "cache" if any((path / name).is_dir() for name in READERS) else None
    if path.suffix == ".safetensors":
        return "checkpoint" if _is_checkpoint(path) else None
    if path.suffix == ".npz":
        return "vectors" if _is_ours(path) else None
    return "result" if path.suffix == ".json" and _schema(path).startswith(_RESULTS) else None


def _schema(file: Path) -> str:
    """The schema that a file names, found as text: a damaged file is still one of ours."""
    found = re.search(rb'"schema":\s*"([\w./-]+)"', _start(file))
    return found[1].decode() if found else ""


def _start(file: Path) -> bytes:
    """What a file begins with: the header of a checkpoint, the schema of a result."""
    try:
        with regular.binary(file) as opened:
            return opened.read(1 << 20)
    except OSError as problem:
        raise unreadable(file, problem) from problem


def _is_checkpoint(file: Path) -> bool:
    from geomclip.encoders.weights.contents import METADATA_KEY
    from geomclip.encoders.weights.contents import SCHEMA as CHECKPOINT
    from geomclip.grounding.weights import WEIGHTS_SUM

    start = _start(file)
    return any(word.encode() in start for word in (f'"{METADATA_KEY}"', CHECKPOINT, WEIGHTS_SUM))


def _is_ours(file: Path) -> bool:
    from geomclip.embeddings.store import METADATA

    if not file.stat().st_size:
        return False
    with regular.binary(file) as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(METADATA.encode()) >= 0


# --- the parts


def _part(name: str, look: Callable[[], object], way_out: str, *, has_sum: bool = True) -> Part:
    """Whole, unless `look` raises that it is not."""
    try:
        look()
    except (GeomclipError, OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        return Part(name, DAMAGED, one_line(problem, 300), way_out)
    if has_sum:
        return Part(name, WHOLE)
    return Part(name, NO_SUM, f"{name or 'it'} has no sum: of an earlier version, or of another tool")


def _store(folder: Path, inside: str) -> Iterator[Part]:
    again = REMADE if inside else "the same `geomclip extract` into a new folder"
    first = _part(f"{inside}{MANIFEST}", partial(read_manifest, folder), again, has_sum=_has_sum(folder / MANIFEST))
    yield first
    if first.state == DAMAGED:
        return
    manifest = read_manifest(folder)
    way_out = REMADE if inside else "the same `geomclip extract` again makes this shard again"
    for shard in [*manifest.get("class_shards", []), *manifest["shards"]]:
        for name, record in shard["files"].items():
            yield _part(f"{inside}{name}", partial(verify, folder, name, record), way_out)
    if not manifest["done"]:
        yield Part(inside, UNFINISHED, f"{folder} is unfinished", "the same `geomclip extract` again finishes it")


def _run(folder: Path, inside: str) -> Iterator[Part]:
    from geomclip.training import snapshots
    from geomclip.training.folder import BEST, CONFIG, LAST, read_config

    schema = _schema(folder / CONFIG)
    way_out = "put back a copy, or train again into another --out"
    config = _part(CONFIG, partial(read_config, folder, schema), way_out, has_sum=_has_sum(folder / CONFIG))
    yield config
    if config.state != DAMAGED and not read_config(folder, schema).get("finished"):
        yield Part("", UNFINISHED, f"{folder} is unfinished", "the same command with --resume goes on")
    for file in (folder / LAST, folder / BEST):
        if file.exists():
            yield from _checkpoint(file, file.name)
    for place in sorted((folder / snapshots.FOLDER).glob("step-*")):
        name = f"{snapshots.FOLDER}/{place.name}"
        one = _has_sum(place / snapshots.STATE)
        yield _part(name, partial(snapshots.check, place), "--resume takes the one before", has_sum=one)
    for file in sorted(folder.glob("*.json")):
        if file.name != CONFIG and _schema(file).startswith(_RESULTS):
            yield from _result(file, file.name, "--resume measures it again")
        elif file.name != CONFIG:
            yield _sealed_part(file, file.name, "--resume makes it again")


def _result(file: Path, name: str, way_out: str = "measure again, or put back a copy") -> Iterator[Part]:
    from geomclip.panels.loading import load

    look = load if _schema(file).startswith("geomclip.measure/") else _judged
    yield _part(name, partial(look, file), way_out, has_sum=_has_sum(file))


def _checkpoint(file: Path, name: str) -> Iterator[Part]:
    from geomclip.encoders.saved import check_weights
    from geomclip.encoders.weights.contents import read_contents
    from geomclip.grounding.weights import WEIGHTS_SUM, load_weights

    start = _start(file)
    way_out = "fetch or write it again, or take another checkpoint of the run"
    if WEIGHTS_SUM.encode() in start:
        yield _part(name, partial(load_weights, file), way_out)
    elif _is_checkpoint(file):
        yield _part(name, lambda: check_weights(read_contents(file)), way_out, has_sum=SUM.encode() in start)
    else:
        yield _part(name, partial(read_contents, file), way_out, has_sum=False)


def _vectors(file: Path, name: str) -> Iterator[Part]:
    from geomclip.embeddings.store import load

    yield _part(name, partial(load, file), "save the set again, or put back a copy")


def _cache(folder: Path, _: str) -> Iterator[Part]:
    for place in _below(folder, "embeddings"):
        if (place / MANIFEST).exists():
            yield from _store(place, f"embeddings/{place.name}/")
    for kind in ("encoders", "nulls"):
        for file in _below(folder, kind):
            if file.suffix == ".json":
                yield _part(f"{kind}/{file.name}", partial(read_sealed, file), REMADE)
    for file in _below(folder, "digests"):
        yield _part(f"digests/{file.name}", partial(_digests, file), REMADE)
    for repository in _below(folder, "weights"):
        for blob in _below(repository, "blobs"):
            if _BLOB.fullmatch(blob.name):
                name = f"weights/{repository.name}/blobs/{blob.name}"
                yield _part(name, partial(_blob, blob), "delete this file: it is fetched again")
    for place in _below(folder, "data"):
        yield from _data(place, f"data/{place.name}/")


def _data(folder: Path, inside: str) -> Iterator[Part]:
    for note in sorted(folder.glob(".*.unpacked.json")):
        archive = note.name[1:].removesuffix(".unpacked.json")
        way_out = f"`geomclip data download {folder.name}` fetches it again"
        yield _part(f"{inside}{archive}", partial(_unpacked, note, archive), way_out)


def _unpacked(note: Path, archive: str) -> None:
    from geomclip.pairs.unpacked import lost

    read_sealed(note)
    if gone := lost(note.parent, archive):
        raise DamagedError(
            f"{note.parent}: of {archive} {len(gone)} of the files are gone or have another size, first {gone[0]}"
        )


def _digests(file: Path) -> None:
    from geomclip.encoders.extraction.digests import count_damaged

    if damaged := count_damaged(file):
        raise DamagedError(f"{file}: {damaged} of its digests are damaged")


def _blob(file: Path) -> None:
    if file_sha256(file) != file.name:
        raise DamagedError(f"{file} is damaged: its sha256 is not the one that it is named by")


def _sealed_part(file: Path, name: str, way_out: str) -> Part:
    return _part(name, partial(_judged, file), way_out, has_sum=_has_sum(file))


def _judged(file: Path) -> None:
    check_sum(json_files.read_json(file), file)


def _has_sum(file: Path) -> bool:
    """Whether a JSON file has a sum; True of one that cannot be read, which is damaged."""
    try:
        record = json.loads(regular.read(file, "json-bytes"))
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(record, dict) or sum_in(record) is not None


def _below(folder: Path, name: str) -> list[Path]:
    """What lies in a folder of the cache that is no link."""
    place = folder / name
    return sorted(place.iterdir()) if place.is_dir() and not place.is_symlink() else []


def _names(parts: Iterable[Part], path: Path, most: int = 3) -> list[str]:
    names = [part.name or path.name for part in parts]
    return [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]


_READERS: dict[str, Callable[[Path, str], Iterator[Part]]] = {
    "store": _store,
    "run": _run,
    "cache": _cache,
    "data": _data,
    "result": _result,
    "checkpoint": _checkpoint,
    "vectors": _vectors,
}
