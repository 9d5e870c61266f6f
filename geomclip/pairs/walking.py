"""What lies in a folder of somebody else's: the files that are used, and a count of all that is left out.

Hidden files and folders, those that systems make (`__MACOSX`), and folders that are links are left out; a link to a
file is read, as the hub's own cache is made of them.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from geomclip.machine.tally import Tally

_ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "jif", "mpo", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff"),
    *("ppm", "pgm", "pbm", "pnm", "avif", "avifs", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    *("psd", "ico", "qoi", "pcx", "sgi", "tga"),
)
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
MADE_BY_SYSTEMS = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
SPLITS = ("train", "val", "validation", "valid", "dev", "test")

MANY_ENDINGS = 20
"""So many unknown endings are counted each for itself."""


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image.

    >>> is_image("a.JPG"), is_image("a.jpg.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def folders_in(folder: Path, tally: Tally | None = None) -> list[Path]:
    """The subfolders of one folder by name, without those that are hidden or made by systems; links are followed."""
    found = []
    for entry in os.scandir(folder):
        if entry.is_dir():
            reason = _unwanted(entry.name)
            if not reason:
                found.append(Path(folder, entry.name))
            elif tally is not None:
                tally.leave_out("folders", reason, entry.name)
    return sorted(found)


def holds_images(folder: Path) -> bool:
    """Whether an image lies directly in the folder."""
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) and not entry.name.startswith(".") for entry in entries)


def walk(root: Path, tally: Tally, *, shown: str = "") -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Each folder under `root`, as its parts below it, and its files that are not hidden; in any order.

    `shown` goes before the names of what is left out.
    """
    for parent, folders, files in os.walk(root, onerror=_raise):
        inner = os.path.relpath(parent, root)
        parts = () if inner == os.curdir else tuple(inner.split(os.sep))
        at = "/".join(filter(None, (shown, *parts)))
        wanted = []
        for name in folders:
            link = os.path.islink(os.path.join(parent, name))
            reason = _unwanted(name) or ("links to folders, which are not followed: name the folder" if link else "")
            if reason:
                tally.leave_out("folders", reason, f"{at}/{name}" if at else name)
            else:
                wanted.append(name)
        folders[:] = wanted
        seen = [name for name in files if not name.startswith(".")]
        if len(seen) < len(files):
            hidden = next(name for name in files if name.startswith("."))
            tally.leave_out("files", "hidden", f"{at}/{hidden}" if at else hidden, len(files) - len(seen))
        yield parts, seen


class Endings:
    """Counts files whose ending is not read, an ending at a time as long as they are few."""

    def __init__(self, tally: Tally, what: str = "files") -> None:
        self._tally, self._what = tally, what
        self._known: set[str] = set()

    def leave_out(self, name: str, *, shown: str = "") -> None:
        """One file more."""
        base = name.rpartition("/")[2]
        ending = os.path.splitext(base)[1].lower()[:12]
        if len(self._known) < MANY_ENDINGS:
            self._known.add(ending)
        if not ending:
            reason = "no ending"
        elif ending in self._known:
            reason = f"the ending {ending} is not read"
        else:
            reason = "other endings that are not read"
        self._tally.leave_out(self._what, reason, shown or name)


def images_under(folder: Path, tally: Tally, *, shown: str = "") -> list[Path]:
    """The image files under `folder` (by ending), in the order of their paths; all else is counted as left out."""
    found, endings = [], Endings(tally)
    for parts, files in walk(folder, tally, shown=shown):
        for name in files:
            if is_image(name):
                found.append((*parts, name))
            else:
                endings.leave_out(name, shown="/".join(filter(None, (shown, *parts, name))))
    tally.use("files", len(found))
    return [Path(folder, *parts) for parts in sorted(found)]


def seen_instead(tally: Tally) -> str:
    """What was seen instead, for a refusal."""
    left_out = [each.sentence(each.count) for each in tally.read().left_out[:3]]
    return f"; {'; '.join(left_out)}" if left_out else ""


def one_form(name: str) -> str:
    """A name in the one of its Unicode forms that is taken for all: a Mac writes é as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _unwanted(name: str) -> str:
    """Why a folder of this name is left out; '' if it is not."""
    if name.startswith("."):
        return "hidden"
    return "made by a system, not by people" if name in MADE_BY_SYSTEMS else ""


def _raise(error: OSError) -> None:
    """For os.walk, which otherwise skips a folder that it may not read."""
    raise error
