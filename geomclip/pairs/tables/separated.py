"""csv and tsv files: the separator, the quotes and the header are found out; few malformed rows are left out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import shorten
from geomclip.pairs.source import Source
from geomclip.pairs.tables.columns import Table, text_of
from geomclip.pairs.tables.names import at_default, is_address, is_image_name, names_found

RULES = (
    "Fields are parted by commas, tabs, semicolons or bars (|): by whichever makes the columns that are looked for "
    "stand in the first line.",
    'A field in quotes may hold separators and line ends, a quote in it is doubled (""); between tabs or bars a '
    "quote that is not closed is a character.",
    "White space around the names in the header is taken off, and then around every cell.",
    "Rows of more or fewer fields than the header are left out and counted if they are at most 1 % (or 10, and at "
    "most a tenth); otherwise the file is refused.",
    "A file whose first line holds an image path and no known name has no header: that column is the images', the "
    "one with words the captions'; the #0 to #4 behind the paths of Flickr8k.token.txt is taken off.",
)

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
OWN = {"csv": ",", "tsv": "\t"}
FEW, FEW_OF, FEW_SHARE = 10, 0.1, 0.01
"""So many malformed rows are few, if they are no more than a tenth; so are those below this share."""
NUMBERED = re.compile(r"(.+\.\w{1,5})#\d+", re.DOTALL)  # one of Flickr8k is called ....jpg.1
HEAD = 1 << 20
"""The first line ends within so many characters."""
CHECKED = 1000
"""Rows by which the columns of a file without header are told apart."""


@dataclass(frozen=True)
class Dialect:
    """How the fields of a file are parted and quoted, and whether its first line has names."""

    separator: str
    header: tuple[str, ...]  # the fields of the first line
    spaced: bool = False  # the header has white space around its names
    quoted: bool = True

    @property
    def words(self) -> str:
        """As messages call the separator."""
        return SEPARATORS[self.separator]


def read(file: Path, source: Source, tally: Tally) -> Table:
    """The table in a file of separated fields."""
    text = text_of(file)
    with _fields_of_any_length(text):
        dialect = _dialect(text, source, file=file)
        rows, dialect = _rows(text, dialect, file=file)
        headerless = _lacks_header(rows, source)
        header, body = (("",) * len(dialect.header), rows) if headerless else (dialect.header, rows[1:])
        first = len(rows) - len(body)

        def where(row: int) -> str:
            return f"{file} line {_line_numbers(text, dialect, [kept[row] + first])[0]}"

        _check_header(header, file=file)
        if dialect.separator != OWN[source.format]:
            tally.understood(_about_separator(dialect, source))
        kept = _well_formed(text, body, dialect, first=first, file=file, tally=tally)
    columns = dict(zip(header, map(list, zip(*body, strict=True)), strict=True)) if body and not headerless else {}
    if headerless:
        columns = _named_by_content(body, source, file=file, tally=tally)
    elif not body:
        columns = {name: [] for name in header}
    columns.pop("", None)  # numbers of rows, as pandas writes them
    if dialect.spaced:
        columns = {name: [cell.strip() for cell in cells] for name, cells in columns.items()}
    return Table(file, columns, len(body), where, file.parent, typed=False, headerless=headerless)


def _about_separator(dialect: Dialect, source: Source) -> str:
    shown = {"\t": "tab"}.get(dialect.separator, dialect.separator)
    hint = next((f", as {kind}:FILE is" for kind, own in OWN.items() if own == dialect.separator), "")
    return f"the fields are parted by {dialect.words} ({shown}){hint}, not by {SEPARATORS[OWN[source.format]]}"


@contextmanager
def _fields_of_any_length(text: str) -> Iterator[None]:
    previous = csv.field_size_limit(len(text) + 1)  # the limit is global and stops at 131,072 characters
    try:
        yield
    finally:
        csv.field_size_limit(previous)


# ---- the dialect


def _dialect(text: str, source: Source, *, file: Path) -> Dialect:
    """The separator by which the first line has the names that are looked for, else an image path."""
    own, head = OWN[source.format], text[:HEAD]
    found = []
    for separator in (own, *(each for each in SEPARATORS if each != own)):
        try:
            line = next((line for line in _reader(head, separator) if line), None)
        except csv.Error:
            continue  # said where the file is read whole
        if line is None:
            raise InputError(f"{file} is empty")
        names = tuple(name.strip() for name in line)
        spaced = any(name != bare for name, bare in zip(line, names, strict=True))
        score = names_found(names, source)
        pictured = len(line) > 1 and at_default(source) and any(map(_names_image, line))
        # one name found of a line in one piece is no reason for a separator
        found.append((score if len(names) > 1 else 0, pictured, len(names) > 1, Dialect(separator, names, spaced)))
    if not found:
        return Dialect(own, ())
    # max takes the first of equals, which is the format's own
    return max(found, key=lambda each: each[:3])[3]


def _names_image(cell: str) -> bool:
    cell = cell.strip()
    numbered = NUMBERED.fullmatch(cell)
    return is_image_name(numbered[1] if numbered else cell) or is_address(cell)


def _reader(text: str, separator: str, *, spaced: bool = False, quoted: bool = True) -> Iterator[list[str]]:
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        strict=True,
        skipinitialspace=spaced,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )


# ---- the rows


def _rows(text: str, dialect: Dialect, *, file: Path) -> tuple[list[list[str]], Dialect]:
    """The rows, the header among them, and the dialect with what was found out about quotes."""
    rows, problem = _quoted_rows(text, dialect, file=file)
    if dialect.separator in "\t|" and '"' in text:
        plain = [row for row in _reader(text, dialect.separator, spaced=dialect.spaced, quoted=False) if row]
        if rows is None or _is_better(plain, rows):
            return [[_unquoted(cell) for cell in row] for row in plain], Dialect(
                dialect.separator, dialect.header or tuple(plain[0]), dialect.spaced, quoted=False
            )
    if rows is None:
        raise problem or InputError(f"{file} is empty")
    return rows, dialect


def _quoted_rows(text: str, dialect: Dialect, *, file: Path) -> tuple[list[list[str]] | None, InputError | None]:
    """The rows, or why there are none."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=dialect.separator, strict=True, skipinitialspace=dialect.spaced
    )
    try:
        return [row for row in reader if row], None
    except csv.Error as error:
        return None, InputError(
            f"{file} line {reader.line_num}: {one_line(error, 200)}; "
            'a field with a quote in it is written in quotes, the quote doubled ("")'
        )


def _is_better(plain: list[list[str]], rows: list[list[str]]) -> bool:
    """Whether quotes are characters: fewer rows are malformed so, or no fewer name an image.

    Of equals this is better: an open quote swallows line ends, and would do so in silence.
    """
    fewer = _misfits(plain) - _misfits(rows)
    if fewer or len(plain) == len(rows):
        return fewer <= 0
    return _share_of_images(plain) >= _share_of_images(rows)


def _share_of_images(rows: list[list[str]]) -> float:
    return sum(any(map(_names_image, row)) for row in rows[1:]) / max(1, len(rows) - 1)


def _misfits(rows: Sequence[Sequence[str]]) -> int:
    return sum(len(row) != len(rows[0]) for row in rows)


def _unquoted(cell: str) -> str:
    """A cell without quotes around it, if those in it are doubled."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        inner = cell[1:-1].replace('""', "\0")
        if '"' not in inner:
            return inner.replace("\0", '"')
    return cell


def _check_header(header: tuple[str, ...], *, file: Path) -> None:
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise InputError(f"{file} has two columns of one name: {shorten(', '.join(header))}")


def _well_formed(
    text: str, body: list[list[str]], dialect: Dialect, *, first: int, file: Path, tally: Tally
) -> list[int]:
    """Leave the malformed rows out of `body`; which are kept."""
    width = len(dialect.header)
    if set(map(len, body)) <= {width}:
        return list(range(len(body)))  # a range would do, but both are indexed alike
    for row in body:
        while len(row) > width and not row[-1]:  # a separator too many at the end of the line
            row.pop()
    bad = [place for place, row in enumerate(body) if len(row) != width]
    if bad:
        numbers = _line_numbers(text, dialect, [place + first for place in bad[: FEW + 1]])
        if len(bad) > FEW_SHARE * len(body) and (len(bad) > FEW or len(bad) > FEW_OF * len(body)):
            rest = f" (and {len(bad) - 1} more of {len(body)} rows)" if len(bad) > 1 else ""
            raise InputError(
                f"{file} line {numbers[0]} has {len(body[bad[0]])} fields, the header {width}{rest}; "
                f"write a field with a {dialect.separator!r} in it in quotes"
            )
        reason = f"they have not the {width} fields of the first line"
        for number in numbers:
            tally.leave_out("rows", reason, f"line {number}")
        tally.leave_out("rows", reason, count=len(bad) - len(numbers))
    left = set(bad)
    kept = [place for place in range(len(body)) if place not in left]
    body[:] = [body[place] for place in kept]
    return kept


def _line_numbers(text: str, dialect: Dialect, records: Sequence[int]) -> list[int]:
    """The lines where these records end, blank ones not counted as records; only messages need them."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect.separator,
        strict=True,
        skipinitialspace=dialect.spaced,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
    )
    wanted, found, place = set(records), {}, 0
    with _fields_of_any_length(text):
        for row in reader:
            if row:
                if place in wanted:
                    found[place] = reader.line_num
                    if len(found) == len(wanted):
                        break
                place += 1
    return [found[record] for record in records]


# ---- files without a header


def _lacks_header(rows: list[list[str]], source: Source) -> bool:
    """Whether the first line is a row: it has an image path, as the lines below it, and no name looked for."""
    first = rows[0] if rows else []
    if len(first) < 2 or not at_default(source) or names_found(tuple(cell.strip() for cell in first), source):
        return False
    return any(_names_image(cell) and _mostly_images(rows, column) for column, cell in enumerate(first))


def _mostly_images(rows: list[list[str]], column: int) -> bool:
    cells = [row[column] for row in rows[:CHECKED] if len(row) > column]
    return sum(map(_names_image, cells)) > 0.9 * len(cells)


def _named_by_content(rows: list[list[str]], source: Source, *, file: Path, tally: Tally) -> dict[str, list[str]]:
    """Of a file without header the two columns that are needed, under the names that are looked for."""
    width = len(rows[0])
    images = [column for column in range(width) if _mostly_images(rows, column)]
    texts = [column for column in range(width) if column not in images and _mostly_words(rows, column)]
    if len(images) > 1 or len(texts) != 1:
        what = "images" if len(images) > 1 else "captions"
        raise InputError(
            f"{file} has no header, and which of its {width} columns holds the {what} is not clear: write one as "
            f"its first line, with {source.image_column} and {source.text_column} over the two that are meant"
        )
    paths = [row[images[0]].strip() for row in rows]
    numbered = all(NUMBERED.fullmatch(path) for path in paths)
    if numbered:
        paths = [path.rpartition("#")[0] for path in paths]
    tally.understood(
        f"{file.name} has no header: column {images[0] + 1} holds the images, column {texts[0] + 1} the captions"
        + (", and #N behind an image is the number of the caption" if numbered else "")
    )
    return {source.image_column: paths, source.text_column: [row[texts[0]] for row in rows]}


def _mostly_words(rows: list[list[str]], column: int) -> bool:
    """Whether there are letters in most of the cells, and a space in some."""
    cells = [row[column].strip() for row in rows[:CHECKED]]
    lettered = sum(any(character.isalpha() for character in cell) for cell in cells)
    return lettered > 0.5 * len(cells) and (any(" " in cell for cell in cells) or len(rows[0]) == 2)
