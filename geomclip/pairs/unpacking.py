"""Unpacking zips from elsewhere: looked through first, unpacked whole or not at all."""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from geomclip.machine import files
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import inside

CHUNK = 1 << 20
MAX_EXPANSION = 100  # captions in JSON shrink to a fifth; a bomb to a thousandth


def unpack(archive: Path, root: Path, *, members: str = "*", progress: Progress = SILENT) -> dict[str, int]:
    """Unpack the members of a zip that match a pattern into `root`: checked first, then moved into place.

    All of it is on disk, names too, when it returns the size of each file by its name below `root`.

    Refused: names that leave `root`, links, encrypted members, and more than `MAX_EXPANSION` times the
    archive's own size. Checksums of the zip are verified. What is in `root` already stays, unless a member
    has its name.
    """
    fresh = unpacking_at(archive, root)
    files.refuse_links(root, fresh.name)
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            wanted = [info for info in content.infolist() if _wanted(info, archive, members)]
            total = sum(info.file_size for info in wanted)
            if total > MAX_EXPANSION * max(archive.stat().st_size, CHUNK):
                raise GeomclipError(f"{archive} would grow to {total} bytes, too many for its size; not unpacked")
            free = shutil.disk_usage(root).free
            if total > free:
                raise GeomclipError(f"{archive} unpacks to {total} bytes and {root} has {free}; make room")
            done = 0
            for info in wanted:
                file = inside(fresh, info.filename, entry=str(archive))
                file.parent.mkdir(parents=True, exist_ok=True)
                with content.open(info) as packed, file.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, CHUNK)  # never more than file_size bytes come
                done += info.file_size
                progress.stage(f"unpacking {archive.name}", done, total)
        if not wanted:
            raise GeomclipError(f"{archive} has no {members}; it is not the file expected")
        files.sync_tree(fresh)  # a name that a power cut leaves is the name of a whole file
        _move_into_place(fresh, root)
        return {info.filename: info.file_size for info in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        if isinstance(error, GeomclipError):
            raise
        raise GeomclipError(f"{archive} is damaged ({one_line(error, 200)}); delete it and run again") from error
    except OSError as error:
        raise GeomclipError(f"{archive} cannot be unpacked into {root}: {one_line(error, 200)}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def unpacking_at(archive: Path, root: Path) -> Path:
    """The folder that an archive is unpacked into before all of it is in place."""
    return root / f".{archive.name}.unpacked"


def _wanted(info: zipfile.ZipInfo, archive: Path, members: str) -> bool:
    """Whether a member is to be unpacked; InputError if it is none that could be."""
    if stat.S_ISLNK(info.external_attr >> 16):
        raise InputError(f"{archive}: {info.filename[:100]!r} is a link; only plain files are unpacked")
    if info.is_dir() or not fnmatch.fnmatchcase(info.filename, members):
        return False
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{archive}: {info.filename[:100]!r} is encrypted, or not packed by deflation")
    return True


def _move_into_place(fresh: Path, root: Path) -> None:
    """Rename whole folders where nothing is in their place (so they appear at once), else file by file."""
    for entry in sorted(fresh.iterdir()):
        place = root / entry.name
        if entry.is_dir() and place.is_dir():
            _move_into_place(entry, place)
        else:
            os.replace(entry, place)
    files.sync_folder(root)
