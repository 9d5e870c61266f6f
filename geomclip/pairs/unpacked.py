"""What an archive put into the folder of a data set: names and sizes, noted there when all of it is on disk.

A set is present where the files of this note have their sizes. One that was placed by hand has no note, and is taken
for what it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from geomclip.machine.errors import DamagedError
from geomclip.machine.sums import read_sealed, write_sealed


def note_of(root: Path, archive: str) -> Path:
    """Where the note on an archive of this name lies."""
    return root / f".{archive}.unpacked.json"


def write_note(root: Path, archive: str, sizes: Mapping[str, int]) -> None:
    """Note what was unpacked: name below `root` to bytes; raises as `atomic_json`."""
    write_sealed(note_of(root, archive), {"archive": archive, "files": dict(sizes)}, indent=None)


def lost(root: Path, archive: str) -> list[str]:
    """Names of files of the archive that are gone or have another size; none where there is no note that is whole."""
    try:
        files = read_sealed(note_of(root, archive))["files"]
        return [name for name, size in files.items() if _size(os.path.join(root, name)) != size]
    except (OSError, DamagedError, KeyError, AttributeError):
        return []


def is_present(root: Path, archive: str, provides: str) -> bool:
    """Whether what an archive provides is there: by its note, else by hand; and not where unpacking it was cut off."""
    place = root / provides
    if lost(root, archive):
        return False
    if note_of(root, archive).exists():
        return place.exists()
    if (root / archive).exists():
        return False
    return any(place.iterdir()) if place.is_dir() else bool(_size(place))


def _size(file: str | Path) -> int | None:
    try:
        return os.stat(file).st_size
    except OSError:
        return None
