"""Which column holds the images and which the captions: as the options say, else by names that many tables have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import nearest, option
from geomclip.pairs.parsing import shorten
from geomclip.pairs.source import Source
from geomclip.pairs.tables.columns import Table
from geomclip.pairs.tables.labels import class_column
from geomclip.pairs.tables.queries import DOCUMENTS
from geomclip.pairs.tables.stored import RowImage
from geomclip.pairs.walking import is_image

RULES = (
    "The columns are filepath and title, or those named by --image-column and --text-column. Where one of the two "
    "is not named and not there, the one column of a name that many tables have is taken (image, image_path, "
    "file_name, filename, image_name, ...; caption, text, raw, comment, sentence, ...), and said.",
    "Of several such names the one is taken whose cells end as images do; if that does not decide, the table is "
    "refused with their names.",
    "Where there is none of these, columns caption_0, caption_1, ... are the captions of each row.",
    "A column of parquet or Arrow that holds the images themselves goes before columns of paths.",
    "filepath and filename together, as in Karpathy's lists, are folder and name.",
)

IMAGE_NAMES = (
    *("filepath", "file_path", "filename", "file_name", "file", "files", "path", "image", "images", "img", "picture"),
    *("photo", "jpg", "png", "image_path", "img_path", "image_file", "img_file", "image_filename", "image_name"),
    *("img_name", "image_file_name", "imagepath", "imagename", "imagefile", "image_filepath"),
)
TEXT_NAMES = (
    *("title", "caption", "captions", "text", "texts", "txt", "raw", "sentence", "sentences", "comment", "comments"),
    *("description", "descriptions", "alt_text", "alttext", "image_caption", "image_description", "caption_text"),
)
ADDRESS_NAMES = ("url", "image_url", "img_url", "imageurl", "coco_url", "link")
ADDRESS = re.compile(r"(?:https?|ftp|s3|gs|gcs|hdfs|data|az|abfs):", re.IGNORECASE)
_NUMBERED = re.compile(r"([A-Za-z][A-Za-z_ ]*?)[_ ]?\d{1,2}")
SAMPLED = 100
"""Cells by which columns of likely names are told apart."""


@dataclass(frozen=True)
class Chosen:
    """The columns that are read, by name."""

    image: str
    text: str
    folder: str | None = None  # a column with the folder of each image
    label: str | None = None  # a column with the class of each image, where there are no captions


def at_default(source: Source) -> bool:
    """Whether neither column is named by an option."""
    return (source.image_column, source.text_column) == (Source.image_column, Source.text_column)


def names_found(names: Sequence[str], source: Source) -> int:
    """How many of the two columns a header has, 0 to 2, by the name looked for or one that may be guessed."""
    image = (
        source.query_column in names
        or source.image_column in names
        or (source.image_column == Source.image_column and bool(_named(names, (*IMAGE_NAMES, *ADDRESS_NAMES))))
    )
    text = source.text_column in names or (source.text_column == Source.text_column and bool(_named(names, TEXT_NAMES)))
    return image + text


def is_image_name(cell: Any) -> bool:
    """Whether a cell ends as names of image files do."""
    return isinstance(cell, str) and is_image(cell)


def is_address(cell: Any) -> bool:
    """Whether a cell is an address, which is not opened."""
    return isinstance(cell, str) and ADDRESS.match(cell) is not None


def choose_columns(table: Table, source: Source, tally: Tally) -> Chosen:
    """The columns that are meant, each guess said; InputError where there is none, or more than one."""
    if source.query_column is not None:
        return _of_texts(table, source, source.query_column, tally)
    holding = [name for name, cells in table.columns.items() if cells and isinstance(cells[0], RowImage)]
    image, folder = source.image_column, None
    if image == Source.image_column and len(holding) == 1 and holding[0] != image:
        image = holding[0]
        tally.understood(f"column {image!r} holds the images themselves")
    elif image == Source.image_column and image not in table.columns:
        image = _guessed(image, _likely_images(table), table, tally, "image_column")
    elif image == Source.image_column and _holds_folders(table):
        image, folder = "filename", image
        tally.understood(f"{folder}/filename of each row is its image")
    text, likely = source.text_column, _likely_texts(table, image)
    label = class_column(table, source, likely)
    if label is not None:
        text = label
    elif text == Source.text_column and text not in table.columns:
        text = _guessed(text, likely, table, tally, "text_column")
    for name, of in ((image, "image_column"), (text, "text_column"), (source.image_id_column, "image_id_column")):
        if name is not None and name not in table.columns:
            beside = ", nor one of classes (label)" if text == Source.text_column and of == "text_column" else ""
            raise _no_column(table.file, name, of, table, beside)
    return Chosen(image, text, folder, label)


def _of_texts(table: Table, source: Source, query: str, tally: Tally) -> Chosen:
    """The columns of a table of texts alone."""
    text = source.text_column
    if text == Source.text_column and text not in table.columns:
        known = _named(list(table.columns), (*DOCUMENTS, *TEXT_NAMES))
        text = _guessed(text, [name for name in known if name != query], table, tally, "text_column")
    for name, of in ((query, "query_column"), (text, "text_column"), (source.image_id_column, "image_id_column")):
        if name is not None and name not in table.columns:
            raise _no_column(table.file, name, of, table)
    return Chosen(query, text)


def with_captions_together(table: Table, source: Source, tally: Tally) -> Table:
    """The table with one column of lists, where caption_0, caption_1, ... hold the captions of each row."""
    if source.text_column != Source.text_column or source.text_column in table.columns:
        return table
    if not table.n_rows or _named(list(table.columns), TEXT_NAMES):
        return table
    series: dict[str, list[str]] = {}
    for name in table.columns:
        if (numbered := _NUMBERED.fullmatch(name)) and _named([numbered[1]], TEXT_NAMES):
            series.setdefault(numbered[1], []).append(name)
    found = [(name, columns) for name, columns in series.items() if len(columns) > 1]
    if len(found) != 1 or found[0][0] in table.columns:
        return table
    name, columns = found[0]
    columns.sort(key=lambda column: int(column[len(column.rstrip("0123456789")) :]))
    if not all(set(map(type, table.columns[column])) <= {str, type(None)} for column in columns):
        return table
    tally.understood(f"columns {columns[0]} to {columns[-1]} hold the captions of each row")
    together = [
        [cell for cell in cells if cell] for cells in zip(*(table.columns[each] for each in columns), strict=True)
    ]
    others = {each: cells for each, cells in table.columns.items() if each not in columns}
    return replace(table, columns={**others, name: together}, typed=True)


def _named(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if name.strip().lower().replace(" ", "_").replace("-", "_") in known]


def _likely_images(table: Table) -> list[str]:
    named = _named(list(table.columns), IMAGE_NAMES)
    by_content = [name for name in named if _share(table.columns[name], is_image_name) > 0.5]
    return by_content or named or _named(list(table.columns), ADDRESS_NAMES)


def _likely_texts(table: Table, image: str) -> list[str]:
    named = [name for name in _named(list(table.columns), TEXT_NAMES) if name != image]
    if len(named) < 2:
        return named
    return [name for name in named if _share(table.columns[name], _is_text) > 0.5] or named


def _is_text(cell: Any) -> bool:
    if isinstance(cell, list):
        return bool(cell) and _is_text(cell[0])
    return isinstance(cell, str) and not is_image_name(cell) and any(character.isalpha() for character in cell)


def _holds_folders(table: Table) -> bool:
    """Whether `filepath` is the folder of `filename`, as in the lists of Karpathy."""
    names, folders = table.columns.get("filename"), table.columns.get("filepath")
    if not names or not folders:
        return False
    return _share(names, is_image_name) == 1 and _share(folders, is_image_name) == 0


def _share(cells: Sequence[Any], holds: Any) -> float:
    """Of the first cells that are not empty the share that is so."""
    some = [cell for cell in cells[: 10 * SAMPLED] if cell not in ("", None)][:SAMPLED]
    return sum(map(holds, some)) / len(some) if some else 0.0


def _guessed(name: str, likely: list[str], table: Table, tally: Tally, of: str) -> str:
    if len(likely) == 1:
        what = "images" if of == "image_column" else "captions"
        tally.understood(f"column {shorten(likely[0])} holds the {what}: there is no {name!r} ({option(of)})")
        return likely[0]
    if not likely:
        return name
    there = ", ".join(shorten(each)[1:-1] for each in likely[:20])
    raise InputError(
        f"{table.file} has no column {name!r}, and {len(likely)} that may be meant ({there}): "
        f"say which with {option(of, likely[0])}"
    )


def _no_column(file: Path, name: str, of: str, table: Table, beside: str = "") -> InputError:
    if name in table.unread:
        what = {"image_column": "images", "image_id_column": "ids"}.get(of, "texts")
        held = f"column {name!r} holds {table.unread[name]}, not {what}"
        return InputError(f"{file}: {held}; name another with {option(of)}")
    names = [*table.columns, *table.unread]
    there = ", ".join(shorten(each)[1:-1] for each in names[:20]) or "none"
    return InputError(
        f"{file} has no column {name!r} (columns: {there}){beside}; say which with {option(of)}{nearest(name, names)}"
    )
