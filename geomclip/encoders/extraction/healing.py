"""A folder of the cache that cannot be used is made again: nobody named it, so nobody is asked for another name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.embeddings.shards import MANIFEST, read_manifest
from geomclip.encoders.extraction.refusals import refuse_another
from geomclip.machine.errors import InputError
from geomclip.machine.files import LOCK_NAME, is_ours
from geomclip.machine.progress import Progress
from geomclip.pairs.record import Pairs


def clear_place(folder: Path) -> None:
    """Remove what lies where a folder of the cache is to be and is none, and a lock in it that is no plain file."""
    if folder.is_file():
        folder.unlink(missing_ok=True)
    lock = folder / LOCK_NAME
    if lock.is_symlink() or (lock.is_file() and lock.stat().st_nlink > 1):
        lock.unlink(missing_ok=True)


def clear_unusable(folder: Path, head: Mapping[str, Any], pairs: Pairs, texts: str, progress: Progress) -> None:
    """Empty a store of the cache unless it is one of this head, these ids and these texts; a line says why.

    The caller holds the folder's lock.
    """
    reason = _unusable(folder, head, pairs, texts)
    if not reason:
        return
    progress.log(f"{folder} in the cache is made again: {reason}")
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != LOCK_NAME:
            entry.unlink(missing_ok=True)


def is_lost(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a file that was written there, or found, by this manifest is no longer there."""
    records = [*manifest.get("class_shards", ()), *manifest.get("shards", ())]
    names = [MANIFEST, *(name for record in records for name in record["files"])]
    return bool(manifest) and not all((folder / name).is_file() for name in names)


def _unusable(folder: Path, head: Mapping[str, Any], pairs: Pairs, texts: str) -> str:
    """Why the folder is no store that can be taken or gone on with; "" if it is one, or empty."""
    entries = [entry for entry in folder.iterdir() if not is_ours(entry.name)]
    links = [entry.name for entry in entries if entry.is_symlink()]
    if links:
        return f"{links[0]} in it is a link"
    if not (folder / MANIFEST).is_file():
        return f"it has no {MANIFEST}" if entries else ""
    try:
        manifest = read_manifest(folder)
    except InputError:
        return f"its {MANIFEST} is damaged, or of another version"
    try:
        refuse_another(folder, manifest, head, pairs, texts)
    except InputError:
        return f"its {MANIFEST} is of another extraction"
    return ""
