"""The captions in the cells of a column: a text, a list of texts, or a list written as a text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import option
from geomclip.pairs.parsing import caption, need, shorten, unbroken
from geomclip.pairs.tables.columns import Table

RULES = (
    "A cell is one caption; line breaks in it are white space. A list of texts (jsonl, parquet, Arrow), of objects "
    "with a text in raw, too, is several.",
    "Where every cell of the column is a JSON list or a Python list of texts, each text in it is a caption; if only "
    "some are, the table is refused when they are the most, and these are texts like the others when they are few.",
    "An empty cell is a row without caption, and counted; a column without any caption is refused.",
)

MAX_CELL = 1 << 20
"""A longer cell is no list."""
_TEXT = r"""[bBuU]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_PYTHON_LIST = re.compile(rf"\[\s*(?:{_TEXT}(?:\s*,\s*{_TEXT})*\s*,?)?\s*\]", re.DOTALL)
_PYTHON_TEXT = re.compile(_TEXT, re.DOTALL)
Captions = list[tuple[str, ...]]
"""Of each row."""


def captions_of(table: Table, column: str, tally: Tally) -> Captions:
    """The captions of each row, told how they were stored."""
    cells = table.columns[column]
    if not table.typed or set(map(type, cells)) <= {str, type(None)}:
        captions = _of_texts(table, column, cells, tally)
    else:
        captions = [_of_value(cell, f"{table.where(row)}, column {column!r}") for row, cell in enumerate(cells)]
    numbers = [texts for texts in captions if texts]
    if numbers and all(_is_number(text) for texts in numbers[:1000] for text in texts):
        numbers = [texts for texts in numbers if not all(map(_is_number, texts))]
        if not numbers:
            tally.understood(f"every caption in column {column!r} is a number ({option('text_column')} names another)")
    return captions


def _of_texts(table: Table, column: str, cells: Sequence[str | None], tally: Tally) -> Captions:
    there = [cell or "" for cell in cells]
    opened = sum(cell.lstrip()[:1] == "[" for cell in there) if any("[" in cell[:9] for cell in there) else 0
    if opened:
        lists = _lists(table, column, there, opened, tally)
        if lists is not None:
            return lists
    together = "\0".join(there)
    bare: Callable[[str], str] = str.strip if together.isascii() else caption
    texts = [bare(cell) for cell in there]
    if "\n" in together or "\r" in together:
        broken = [place for place, text in enumerate(texts) if "\n" in text or "\r" in text]
        for place in broken:
            texts[place] = unbroken(texts[place])
        if broken:
            tally.understood(f"line breaks in {len(broken)} captions were read as white space")
    return [(text,) if text else () for text in texts]


def _lists(table: Table, column: str, cells: Sequence[str], opened: int, tally: Tally) -> Captions | None:
    """The lists that the cells hold; None if they are texts."""
    filled = [place for place, cell in enumerate(cells) if cell.strip()]
    if 2 * opened <= len(filled):
        return None
    found: dict[int, list[str]] = {}
    kinds: dict[str, None] = {}
    failed: int | None = None
    looking_so = 0
    for place in filled:
        kind, texts = list_in(cells[place])
        if texts is None:
            failed = place if failed is None else failed
            looking_so += kind != ""
        else:
            found[place] = texts
            kinds[kind] = None
    if not found and looking_so < len(filled):
        return None
    if failed is not None:
        if 2 * (len(found) + looking_so) <= len(filled):
            return None
        raise InputError(
            f"{table.where(failed)}, column {column!r}: most cells hold lists of captions, "
            f"this one is none ({shorten(cells[failed])}); write it as a JSON list"
        )
    tally.understood(f"column {column!r} holds {' and '.join(kinds)} lists: each text in them is a caption")
    captions = [tuple(filter(None, map(unbroken, found.get(place, ())))) for place in range(len(cells))]
    return captions


def list_in(cell: str) -> tuple[str, list[str] | None]:
    """Of a cell that is a list of texts its notation and its texts; of one that looks so, the notation alone.

    >>> list_in('["a cat", "a pet"]'), list_in("['a cat']"), list_in("[a cat]")
    (('JSON', ['a cat', 'a pet']), ('Python', ['a cat']), ('', None))
    >>> list_in("['a cat' 'a pet']")  # as numpy prints it: Python would make one text of the two
    ('Python', None)
    """
    cell = cell.strip()
    if not (cell.startswith("[") and cell.endswith("]")) or len(cell) > MAX_CELL:
        return "", None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "JSON", value
    if _PYTHON_LIST.fullmatch(cell):
        try:
            return "Python", [str(ast.literal_eval(text)) for text in _PYTHON_TEXT.findall(cell)]
        except (ValueError, SyntaxError):  # an escape that is none
            return "Python", None
    return ("Python" if re.match(r"\[\s*['\"]", cell) and re.search(r"['\"]\s*\]$", cell) else ""), None


def _of_value(value: Any, entry: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    texts = (unbroken(need(_raw(each), str, entry=entry)) for each in values)
    return tuple(filter(None, texts))


def _raw(value: Any) -> Any:
    """The text of an object that has one, as the sentences of Karpathy's lists."""
    if isinstance(value, dict):
        return next((value[name] for name in ("raw", "caption", "text") if isinstance(value.get(name), str)), value)
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
