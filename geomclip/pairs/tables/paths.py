"""Image paths in a table: where they lie, and one path written in two ways seen as one."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from geomclip.machine.errors import InputError
from geomclip.machine.places import are_kept
from geomclip.machine.tally import Tally
from geomclip.machine.words import option
from geomclip.pairs.parsing import clean, is_encodable, need, openable, shorten
from geomclip.pairs.source import Source, expanded
from geomclip.pairs.tables.columns import Table
from geomclip.pairs.tables.names import is_address

RULES = (
    "A path is absolute, or relative to the table's folder; --image-root names another folder. Where none of the "
    "images is there and a folder beside has them, the table is refused and the folder named.",
    "One path written in several ways is one image: ./a.png, a.png and b//a.png, an absolute one of the same folder, "
    "Windows' backslashes, and the composed and decomposed forms of Unicode, whichever the disk has.",
    "Addresses (https:, s3:, ...) are refused: nothing is fetched; file:///PATH is the path. A path on a drive "
    "(C:\\) is refused where there are no drives.",
)

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
MOST_FOLDERS = 200
"""So many folders are looked into for images that are not where they should be."""
_BLANK = re.compile(r"^[^\S\n]*$", re.MULTILINE)
_FOR_IMAGES = re.compile(
    r"(?:[a-z0-9]+[_-])?(?:images?|imgs?|photos?|pictures?|pics|jpe?gs?|pngs?|dataset)\d*(?:[_-][a-z0-9]+)?",
    re.IGNORECASE,
)
ODD = ("\\", "./", "//", "\n/", "/\n", " \n", "\n ", "\t")
"""Where none of these is in paths, a line each, each path has one way to be written."""
TRIED = 20
"""Paths that are looked for in each of them."""


def image_root(table: Table, source: Source) -> Path:
    """The folder that relative paths are relative to."""
    if source.image_root is None:
        return table.folder
    root = expanded(source.image_root)
    if not root.is_dir():
        raise InputError(f"{option('image_root')} {root} is not a folder")
    return root


def paths_of(table: Table, column: str, root: Path, tally: Tally, folders: str | None = None) -> list[str]:
    """The path of each row, in one form for each image."""
    cells = table.columns[column]
    if any(type(cell) is not str for cell in cells):
        for row, cell in enumerate(cells):
            need(cell, str, entry=_entry(table, row, column))
    if folders is not None:
        cells = [f"{folder}/{name}" for folder, name in zip(table.columns[folders], cells, strict=True)]
    together = "\n".join(cells)
    if "\0" in together or not all(cells) or _BLANK.search(together) or not is_encodable(together):
        for row, cell in enumerate(cells):
            openable(cell, entry=_entry(table, row, column))
    if ":" in together:
        cells = _without_file(table, column, cells, tally)
        together = "\n".join(cells)
        _refuse_addresses(table, column, cells, root)
    if together.isascii() and not any(odd in f"\n{together}\n" for odd in ODD):
        return list(cells)
    forms: dict[str, str] = {cell: _one_form(cell, root) for cell in dict.fromkeys(cells)}
    _tell(forms, tally)
    return [forms[cell] for cell in cells]


def _entry(table: Table, row: int, column: str) -> str:
    return f"{table.where(row)}, column {column!r}"


def _without_file(table: Table, column: str, cells: Sequence[str], tally: Tally) -> Sequence[str]:
    """The paths of addresses of files of this machine (file:///photos/a%20b.jpg), all others as they are."""
    found = {row: cell for row, cell in enumerate(cells) if cell[:5].lower() == "file:"}
    if not found:
        return cells
    plain = list(cells)
    for row, cell in found.items():
        local = re.fullmatch(r"(?i:file:(?://(?:localhost)?)?)(/[^/].*)", cell, re.DOTALL)
        if local is None:
            raise InputError(f"{_entry(table, row, column)} is no file:///PATH of this machine ({shorten(cell)})")
        plain[row] = openable(unquote(local[1]), entry=_entry(table, row, column))
    tally.understood(f"the addresses of {len(found)} files (file:) were read as paths")
    return plain


def _refuse_addresses(table: Table, column: str, cells: Sequence[str], root: Path) -> None:
    for row, cell in enumerate(cells):
        if os.name != "nt" and _DRIVE.match(cell) and not os.path.exists(root / cell):
            raise InputError(
                f"{_entry(table, row, column)} is a path on a drive of Windows ({shorten(cell)}): write it relative to "
                f"the table's folder, or to that of {option('image_root')}"
            )
        if is_address(cell):
            raise InputError(
                f"{_entry(table, row, column)} is an address ({shorten(cell)}), and nothing is fetched: download the "
                "images first (img2dataset writes tars for wds:), and name their files here"
            )


def _one_form(path: str, root: Path) -> str:
    """`path` as it is called from here on: of the ways to write it the plain one that the disk has."""
    plain = clean(path) if not path.isascii() else path
    there = os.path.exists(root / plain)
    if "\\" in plain and not there:
        plain = plain.replace("\\", "/")
        there = os.path.exists(root / plain)
    if plain != plain.strip() and not there and os.path.exists(root / plain.strip()):
        plain, there = plain.strip(), True
    absolute = plain.startswith("/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts:
        return plain  # the folder itself, which is no image
    plain = "/" * absolute + "/".join(parts)
    if ".." in parts:
        flat = os.path.normpath(plain)
        if there and os.path.exists(root / flat) and os.path.samefile(root / plain, root / flat):
            plain = flat
    if absolute and (inside := _below(plain, root)) and os.path.exists(root / inside):
        plain = inside
    if not plain.isascii() and not there:
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, plain)
            if os.path.exists(root / other):
                return other
    return plain


def _below(path: str, root: Path) -> str:
    """An absolute path relative to the root; "" if it is not below it."""
    for base in dict.fromkeys((os.path.abspath(root), os.path.realpath(root))):
        if path.startswith(base.rstrip("/") + "/"):
            return path[len(base.rstrip("/")) + 1 :]
    return ""


def elsewhere(paths: Iterable[str]) -> dict[str, tuple[Path, str]]:
    """The folder and the name below it of each absolute path: what is known of an image is not whose disk it is on.

    The folder is the innermost that has them all, or one further out where a name is one of the root too. None where
    paths are to be kept.
    """
    known = list(paths)
    away = [path for path in known if path.startswith("/")]
    if not away or are_kept():
        return {}
    others = set(known).difference(away)
    folder = os.path.commonpath([os.path.dirname(path) for path in away])
    names = [os.path.relpath(path, folder) for path in away]
    while not others.isdisjoint(names) and folder != "/":
        folder = os.path.dirname(folder)
        names = [os.path.relpath(path, folder) for path in away]
    if len({*others, *names}) < len(known):  # /a/b.png and /a/../a/b.png, or up to the root: told apart as they are
        return {}
    return dict(zip(away, ((Path(folder), name) for name in names), strict=True))


def _tell(forms: dict[str, str], tally: Tally) -> None:
    """Say which paths were written in more ways than one, and that backslashes were read as slashes."""
    first: dict[str, str] = {}
    again = []
    for written, form in forms.items():
        if first.setdefault(form, written) != written:
            again.append((first[form], written))
    if again:
        one, two = again[0]
        ways = f"{shorten(one)}, {shorten(two)}"
        tally.understood(f"{len(again)} images are named in two ways ({ways}): each is one image")
    turned = sum("\\" in written and "\\" not in form for written, form in forms.items())
    if turned:
        tally.understood(f"the backslashes of {turned} paths were read as /")


# ---- images that are not where they are looked for


def refuse_if_elsewhere(table: Table, column: str, paths: Iterable[str], root: Path) -> None:
    """InputError if none of the images is there and a folder beside has them."""
    known = list(dict.fromkeys(paths))
    if any(os.path.exists(root / path) for path in known):
        return
    some = known[:: max(1, len(known) // TRIED)][:TRIED]
    for folder in _beside(root):
        if sum(os.path.isfile(folder / path) for path in some) > len(some) / 2:
            raise InputError(
                f"{table.file}: none of the {len(known)} images of column {column!r} is in {root} "
                f"(the first: {shorten(known[0])}), but {folder} has them: {option('image_root', str(folder))}"
            )


def _beside(root: Path) -> Iterator[Path]:
    """Folders of the root, their folders, its parent and the folders of that, not too many."""
    own = _folders(root)
    yield from own
    inner = [each for folder in own[:MOST_FOLDERS] for each in _folders(folder)]
    yield from inner[:MOST_FOLDERS]
    parent = Path(os.path.abspath(root)).parent if not root.name or ".." in root.parts else root.parent
    yield parent
    # of folders further off only those that seem to be for this
    yield from (folder for folder in _folders(parent) if _FOR_IMAGES.fullmatch(folder.name))


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(found)[:MOST_FOLDERS]]
