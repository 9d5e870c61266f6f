"""A folder of images, each with a text file of the same name (one caption a line); subfolders are labels."""

from __future__ import annotations

import os
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.pairs.beside import Beside, captions_of_record
from geomclip.pairs.parsing import check_folder, choose_split, clean, counted, numbered, read_json, read_text
from geomclip.pairs.record import FolderImage, Pair, Pairs
from geomclip.pairs.source import Source
from geomclip.pairs.walking import Endings, is_image, one_form, seen_instead, walk

RULES = (
    "Images by their endings, in the order of their paths; the subfolder is the label.",
    "photo.txt (in any case of its letters, in either Unicode form of its name) is the text of photo.jpg; "
    "an image without one is a candidate without captions.",
    "Left out and counted: other endings, texts without an image, hidden files and folders, links to folders.",
    "Refused: two texts of one image (a.txt, a.TXT), a folder without an image or without a caption.",
)


def read(source: Source, folder: Path) -> Pairs:
    """The images under the folder in the order of their paths; an image without text stays a candidate."""
    check_folder(source, folder)
    split = choose_split(source.split, (), name=f"folder:{folder}")
    tally, beside = Tally(), Beside()
    endings = Endings(tally)
    found: list[tuple[tuple[str, ...], str, str]] = []  # parts of the path, names of its text and its record
    shared = 0
    for parts, names in walk(folder, tally):
        images, texts, records = _sorted_out(parts, names, endings)
        taken: set[str] = set()
        for name in images:
            stem = name.rpartition(".")[0]
            text, record = texts.of(stem, folder, parts), records.of(stem, folder, parts)
            shared += bool(text) and text in taken
            taken |= {text, record}
            found.append(((*parts, name), text, record))
        for name in [*texts.names, *records.names]:
            if name not in taken:
                reason = f"{name[name.rindex('.') :].lower()} files without an image of their name"
                tally.leave_out("files", reason, "/".join((*parts, name)))
        tally.use("files", len(images) + len(taken - {""}))
    if not found:
        raise InputError(f"folder:{folder} holds no image (jpg, png, webp, gif, ...){seen_instead(tally)}")
    pairs = [_pair(folder, *each, beside) for each in sorted(found)]
    beside.tell(tally)
    silent = sum(not pair.captions for pair in pairs)
    if silent == len(pairs):
        raise InputError(
            f"folder:{folder} has {silent} images but no caption: "
            "each needs a text file of its name beside it (photo.jpg, photo.txt)"
            f"{_table_in(folder)}{seen_instead(tally)}"
        )
    notes = counted(
        (silent, "{n} images have no text file, or an empty one, and no caption"),
        (shared, "{n} images share a text file with another image of the same name but for its ending"),
    )
    return Pairs(source.title, split, pairs, notes=notes, read=tally.read())


def _pair(folder: Path, parts: tuple[str, ...], text: str, record: str, beside: Beside) -> Pair:
    parent = os.path.join(folder, *parts[:-1])

    def of_record() -> tuple[str, ...]:
        return _of_record(Path(parent, record)) if record else ()

    captions = beside.captions(read_text(f"{parent}/{text}") if text else None, of_record)
    path = "/".join(parts)
    name = clean(path)
    return Pair(name, FolderImage(folder, path), captions, numbered(name, captions), label=clean("/".join(parts[:-1])))


def _of_record(file: Path) -> tuple[str, ...]:
    """The captions in a .json; none in one of another kind, such as boxes that are a list."""
    content = read_json(file)
    return captions_of_record(content, entry=str(file)) if isinstance(content, dict) else ()


class _Texts:
    """The texts of one ending in one folder, found by the stem of an image: as it is, else in one Unicode form."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._exact: dict[str, list[str]] = {}
        self._alike: dict[str, list[str]] = {}
        for name in names:
            stem = name.rpartition(".")[0]
            self._exact.setdefault(stem, []).append(name)
            if not stem.isascii():
                self._alike.setdefault(one_form(stem), []).append(name)

    def of(self, stem: str, folder: Path, parts: tuple[str, ...]) -> str:
        """The name of the text of an image, '' if it has none."""
        found = self._exact.get(stem) or ([] if stem.isascii() else self._alike.get(one_form(stem), []))
        if len(found) > 1:
            one, other = (ascii(name) if one_form(found[0]) == one_form(found[1]) else name for name in found[:2])
            raise InputError(f"{Path(folder, *parts)}: {one} and {other} are texts of one image; keep one of them")
        return found[0] if found else ""


def _sorted_out(parts: tuple[str, ...], names: list[str], others: Endings) -> tuple[list[str], _Texts, _Texts]:
    """The images, texts and records among the files of one folder; all others are counted as left out."""
    images, texts, records = [], [], []
    for name in names:
        ending = name[-5:].lower()
        if is_image(name):
            images.append(name)
        elif ending.endswith(".txt"):
            texts.append(name)
        elif ending == ".json":
            records.append(name)
        else:
            others.leave_out(name, shown="/".join((*parts, name)))
    return images, _Texts(texts), _Texts(records)


def _table_in(folder: Path) -> str:
    """The table of captions in the folder, as datasets' imagefolder has it, and how it is named."""
    kinds = {f".{kind}": kind for kind in ("csv", "tsv", "jsonl", "json", "parquet")}
    found = sorted(each for each in folder.iterdir() if each.suffix.lower() in kinds and each.is_file())
    tables = [each for each in found if each.suffix.lower() != ".json" or each.stem.lower() in ("metadata", "captions")]
    return f"; if the captions are in {tables[0].name}, {kinds[tables[0].suffix.lower()]}:{tables[0]}" if tables else ""
