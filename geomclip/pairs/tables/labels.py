"""Tables without captions whose rows have a class: class data, as folders of classes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import option
from geomclip.pairs.classnames import class_names, class_prompts, distinct
from geomclip.pairs.parsing import shorten
from geomclip.pairs.source import Source
from geomclip.pairs.tables.columns import Table

RULES = (
    "A table without captions, but with a column of classes, is class data: a class label of datasets, in its order, "
    "or texts called label, class, class_name, category, ..., in the order of their letters; --text-column chooses "
    "among several class labels.",
    "Prompts and names of these classes are made as those of folders of classes: classnames.txt and templates beside "
    "the table, numbers and WordNet ids refused without it.",
)

NAMES = ("label", "labels", "class", "classes", "class_name", "classname", "label_name", "category", "species")


def class_column(table: Table, source: Source, texts: Sequence[str]) -> str | None:
    """The column that holds the class of each row, where it is meant; `texts` are columns likely to hold captions."""
    if source.text_column in table.classes:
        return source.text_column
    if source.text_column != Source.text_column or source.text_column in table.columns or texts:
        return None
    known = [name for name in table.classes if name in table.columns]
    words = [name for name in table.columns if name.strip().lower() in NAMES and _holds_words(table.columns[name])]
    found = [name for name in known if name == "label"] or known or words
    if len(found) > 1:
        raise InputError(
            f"{table.file} has no captions, and {len(found)} columns of classes ({', '.join(found[:10])}): "
            f"say which with {option('text_column', found[0])}"
        )
    return found[0] if found else None


def _holds_words(cells: Sequence[Any]) -> bool:
    return all(isinstance(cell, str) and cell.strip() for cell in cells) and len(set(cells)) < len(cells)


def labels_of(table: Table, column: str, groups: Mapping[str, Sequence[int]], known: Sequence[str]) -> list[str]:
    """The class of each image; InputError for a row that has none, or another than the row before of its image."""
    cells, classes = table.columns[column], set(known)
    for row, cell in enumerate(cells):
        if cell not in classes:
            raise InputError(
                f"{table.where(row)}, column {column!r}: {shorten(cell)} is no class; leave rows without one out, or "
                f"name a split that has classes with {option('split')}"
            )
    for rows in groups.values():
        for row in rows[1:]:
            if cells[row] != cells[rows[0]]:
                raise InputError(
                    f"{table.where(row)}, column {column!r}: its image is {shorten(cells[row])} here, "
                    f"{shorten(cells[rows[0]])} at {table.where(rows[0])}"
                )
    return [cells[rows[0]] for rows in groups.values()]


def keys_of(table: Table, column: str) -> list[str]:
    """The classes as the column calls them, in their order."""
    if column in table.classes:
        return list(table.classes[column])
    return sorted(set(table.columns[column]))


def named(
    table: Table, column: str, keys: list[str], name: str, tally: Tally
) -> tuple[dict[str, str], tuple[tuple[str, ...], ...]]:
    """What each class is called, by what the column calls it, and the prompts of each."""
    places = (table.folder,)
    names = class_names(keys, places, tally, name=name, what=f"classes of column {column!r}")
    prompts = class_prompts(names, places)
    tally.understood(f"there are no captions: column {column!r} holds {len(keys)} classes")
    tally.understood(f"prompts such as {prompts[0][0]!r}")
    return dict(zip(keys, distinct(names, tuple(keys)), strict=True)), prompts
