"""jsonl files (one JSON object a line) and JSON arrays of objects: under either name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import clean, need, parse_json
from geomclip.pairs.source import Source
from geomclip.pairs.tables.columns import Table, text_of
from geomclip.pairs.tables.names import names_found

RULES = (
    "jsonl: and json: take one JSON object a line, or one JSON array of objects; a row is an object, a column a name "
    "that any of them has.",
)


def read(file: Path, source: Source, tally: Tally) -> Table:
    """The table in a file of JSON objects."""
    text = text_of(file)
    if text.lstrip()[:1] == "[":
        values = need(parse_json(text, name=str(file)), list, entry=str(file))
        entries = [f"row {number}" for number in range(len(values))]
        tally.understood(f"{file.name} is one JSON array of {len(values)} rows")
    else:
        lines = [(number, line) for number, line in enumerate(re.split(r"\r\n|\n", text), start=1) if line.strip()]
        values = [parse_json(line, name=f"{file} line {number}") for number, line in _whole(lines, file)]
        entries = [f"line {number}" for number, _ in lines]
    rows: list[dict[str, Any]] = [
        need(value, dict, entry=f"{file} {entry}") for value, entry in zip(values, entries, strict=True)
    ]
    if len(rows) == 1 and names_found(tuple(rows[0]), source) < 2:
        _refuse_object(file, rows[0])
    if not rows:
        raise InputError(f"{file} is empty")
    columns = {clean(name): [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)}
    return Table(file, columns, len(rows), lambda row: f"{file} {entries[row]}", file.parent, ragged=True)


def _refuse_object(file: Path, row: dict[str, Any]) -> None:
    """InputError for one object that holds all rows, by what it is."""
    if not any(isinstance(value, list | dict) for value in row.values()):
        return
    if isinstance(row.get("annotations"), list):
        way = "it seems to be of COCO: coco with the folder that has it in annotations/ (geomclip data)"
    elif isinstance(row.get("images"), list):
        way = "it seems to be of Karpathy: coco-karpathy, flickr8k or flickr30k with its folder (geomclip data)"
    else:
        way = "write one object a line, or all in one JSON array (pandas: to_json(FILE, orient='records'))"
    raise InputError(f"{file} is one object, not a row for each image or caption; {way}")


def _whole(lines: list[tuple[int, str]], file: Path) -> list[tuple[int, str]]:
    """The lines, unless they are one object over several lines."""
    if len(lines) > 1 and lines[0][1].strip() in ("{", "{}"):
        raise InputError(
            f"{file} line {lines[0][0]} begins an object of several lines; write one object a line, or all in one "
            "JSON array (pandas: to_json(FILE, orient='records'))"
        )
    return lines
