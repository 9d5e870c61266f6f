"""Charades-STA: a line `VIDEO START END##SENTENCE`, in seconds; how long the videos are stands in a file beside."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from geomclip.grounding.annotations.content import Content, Row, length, name, seconds
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.pairs.parsing import need, shorten

BESIDE = "charades.json"
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
"""Not what `float` takes too: nan, inf, 1_000, digits of other scripts."""


def is_charades(content: Content) -> bool:
    """Whether the first line has the form."""
    moment, separator, _ = next(content.lines())[1].partition("##")
    return bool(separator) and len(moment.split()) == 3 and not moment.lstrip().startswith(("{", "["))


def read(content: Content, durations: Mapping[str, float] | None) -> Iterator[Row]:
    """A row a line."""
    if durations is None:
        beside = content.path.with_name(BESIDE)
        if not beside.is_file():
            raise InputError(
                f"{content.path} does not say how long its videos are: put {BESIDE} beside it, or name that file, or "
                f"Charades_v1_test.csv, with {option('durations')}"
            )
        durations = read_durations(beside)
    for where, line in content.lines():
        moment, separator, text = line.partition("##")
        words = moment.split()
        if not separator or len(words) != 3:
            raise InputError(f"{where} should be VIDEO START END##SENTENCE, is {shorten(line)}")
        video = name(words[0], where=f"{where}, video")
        if video not in durations:
            raise InputError(f"{where}: nothing says how long {shorten(video)} is (see {option('durations')})")
        window = _number(words[1], where), _number(words[2], where)
        yield Row(where, video, text, [window], length(durations[video], where=f"duration of {shorten(video)}"), "")


def read_durations(path: Path) -> dict[str, float]:
    """Video to seconds: of JSON {VIDEO: {"duration": S}} or {VIDEO: S}, or of Charades' csv with columns id, length."""
    content = Content(path)
    if content.text.lstrip().startswith(("{", "[")):
        held = need(content.whole, dict, entry=str(path))
        stated = {video: each.get("duration") if isinstance(each, dict) else each for video, each in held.items()}
        return {video: length(each, where=f"{path} {shorten(video)}, duration") for video, each in stated.items()}
    try:
        rows = list(csv.DictReader(io.StringIO(content.text, newline=""), strict=True))
    except csv.Error as problem:
        raise InputError(f"{path} is no csv ({problem})") from problem
    if not rows or not {"id", "length"} <= set(rows[0]):
        raise InputError(f"{path} has no columns id and length, and is no JSON: it does not say how long videos are")
    found = {}
    for number, row in enumerate(rows, 2):
        where = f"{path} row {number}"
        found[name(row["id"], where=f"{where}, id")] = length(_number(row["length"], where), where=f"{where}, length")
    return found


def _number(word: str | None, where: str) -> float:
    if word is None or not NUMBER.fullmatch(word.strip()):
        raise InputError(f"{where}: {shorten(word)} is no number of seconds")
    return seconds(float(word), where=where)
