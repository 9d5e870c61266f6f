"""Stores and files of vectors that lie at addresses: brought into the cache, file by file, and read from there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from geomclip.embeddings.files.gather import is_spec
from geomclip.embeddings.files.held import READERS
from geomclip.embeddings.shards import LIMIT, MANIFEST, Record, inside, parsed_manifest
from geomclip.machine import limits, remote
from geomclip.machine.addresses import is_address
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes, refuse_links
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.refusals import NotFoundError
from geomclip.machine.remote import Address


def brought(path: str, *, folder: str | Path | None = None, progress: Progress = SILENT) -> str:
    """The path of what lies at an address, once it is in the cache; any other path as it is.

    Of image=A,text=B each is brought that is an address.

    Parameters
    ----------
    folder : path, optional
        The cache; left out: see `machine.files.cache_dir`.

    Raises
    ------
    InputError
        If it is refused, absent, too large, unfinished, or not as its sums say.
    """
    if is_spec(path) and "://" in path:
        parts = [part.partition("=") for part in path.split(",")]
        return ",".join(f"{role}={brought(name, folder=folder, progress=progress)}" for role, _, name in parts)
    if not is_address(path):
        return path
    if Path(Address.of(path).name).suffix.lower() in READERS:
        return str(remote.fetched(path, folder=folder, progress=progress))
    return str(_store(Address.of(path), folder, progress))


def _store(at: Address, folder: str | Path | None, progress: Progress) -> Path:
    """The folder of a store, in the cache by what its manifest says: that vouches for all other files.

    Each file appears when it is whole and as recorded, the manifest last: what was stopped goes on with the next file.
    """
    try:
        content = remote.read(at.below(MANIFEST, at.sha256), LIMIT)
    except NotFoundError as problem:
        raise InputError(
            f"{at.shown} is no store, for {MANIFEST} is not in it or may not be seen, and no file of vectors, whose "
            f"names end in {', '.join(READERS)}: see that the address is right"
        ) from problem
    digest = hashlib.sha256(content).hexdigest()
    if at.sha256 not in (None, digest):
        raise InputError(f"{at.shown}/{MANIFEST} has the sha256 {digest}, expected {at.sha256}: it was changed")
    manifest = parsed_manifest(content, f"{at.shown}/{MANIFEST}")
    if not manifest["done"]:
        raise InputError(f"{at.shown} is unfinished: the same `geomclip extract` again, where it lies, finishes it")
    files = _files(manifest, f"{at.shown}/{MANIFEST}")
    total = sum(record["bytes"] for record in files.values())
    limits.check("remote-bytes", total, at.shown)
    place = remote.place_of(at.url, digest, folder)
    store = place / at.name
    with Lock(place, wait=True):
        done = 0
        for name, record in files.items():
            refuse_links(store, str(name))
            if not _is_whole(store / name, record):
                one = at.below(str(name), record["sha256"])
                with remote.opened(one) as found:
                    _check_size(one, found, record)
                    found = replace(found, size=record["bytes"])
                    remote.write(one, found, store / name, "remote-bytes", progress=progress, before=done, total=total)
            done += record["bytes"]
        if not (store / MANIFEST).is_file() or (store / MANIFEST).read_bytes() != content:
            atomic_bytes(store / MANIFEST, content)
            remote.note(place, at, files=len(files) + 1)
    return store


def _files(manifest: Mapping[str, Any], where: str) -> dict[PurePosixPath, Record]:
    """What the manifest says of each file of the store."""
    shards = (*manifest.get("class_shards", ()), *manifest.get("shards", ()))
    named = [each for shard in shards for each in shard["files"].items()]
    return {inside(name, where): record for name, record in named}


def _is_whole(file: Path, record: Record) -> bool:
    # it appeared when its sum was right, and the sum is looked at again as the store is read
    return file.is_file() and file.stat().st_size == record["bytes"]


def _check_size(at: Address, found: remote.Found, record: Record) -> None:
    if found.size not in (None, record["bytes"]):
        raise InputError(
            f"{at.shown} is cut short or changed: {found.size} bytes, its manifest says {record['bytes']}: "
            "put back a copy, or make the store again"
        )
