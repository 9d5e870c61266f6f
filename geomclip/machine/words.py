"""Words: messages on one line, options as the caller writes them, and the names that were probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def one_line(message: object, most: int | None = None) -> str:
    """The text of a message or exception on one line: white space, line ends too, is made single spaces.

    Of an error of the system it is the reason that the system gives; of an exception without text its kind. A text
    of others can be of any length: `most` cuts it.

    Examples
    --------
    >>> one_line(EOFError()), one_line(ValueError("first line\\nsecond")), one_line("abcdef", most=3)
    ('EOFError', 'first line second', 'abc')
    """
    reason = message.strerror if isinstance(message, OSError) else None
    text = " ".join(str(reason or message).split())
    if not text and isinstance(message, BaseException):
        text = type(message).__name__
    return text[:most]


CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Escapes, and what else ends a line: a range of characters for a regular expression."""
# and embeddings and overrides of direction, which show what follows in another order
_ACTING = re.compile(rf"[{CONTROLS}\u202a-\u202e\u2066-\u2069]")
_ACTING_IN_LINES = re.compile(r"(?![\n\t])" + _ACTING.pattern)


def harmless(text: str, *, lines: bool = False, by: str = "\ufffd") -> str:
    r"""A text of others with `by` for whatever a terminal would act on; with `lines` line ends and tabs stay.

    Examples
    --------
    >>> harmless("a\x1b[31mb"), harmless("one\ntwo"), harmless("one\ntwo", lines=True)
    ('a�[31mb', 'one�two', 'one\ntwo')
    """
    return (_ACTING_IN_LINES if lines else _ACTING).sub(by, text)


def escaped(text: str) -> str:
    r"""JSON of the same value, in which whatever a terminal would act on is written as an escape.

    Examples
    --------
    >>> escaped('["\u202e"]')
    '["\\u202e"]'
    """
    # only its texts can hold such a character
    return _ACTING_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_MARKUP = re.compile(r"[\\`*#\[\]<>$~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_OPENING = re.compile(r"^(?:[-+=](?=\W|$)|\d+(?=[.)](?:\s|$)))")
_LINKED = re.compile(r"(?i)\b(https?|ftp|mailto)(:)|\b(www)(\.)")


def markdown(text: object) -> str:
    r"""A text of others on one line of prose, so that Markdown sees no markup, link, picture, tag or heading in it.

    Examples
    --------
    >>> print(markdown("a <b> [c](d) *e*"), markdown("# one\nline"), markdown("see https://a.org, a_b & 95 %"))
    a &lt;b&gt; \[c\](d) \*e\* \# one line see https&#58;//a.org, a_b & 95 %
    """
    line = _MARKUP.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), _on_one_line(text))
    # a number that would begin a list is parted from its dot, all others are escaped
    line = _OPENING.sub(lambda found: f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}", line)
    return _LINKED.sub(lambda found: f"{found[1]}&#58;" if found[1] else f"{found[3]}&#46;", line)


ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
"""What would begin a tag or a sign by its name."""


def markdown_code(text: object) -> str:
    """A name of others as code of Markdown; a grave accent, which would end it, becomes an apostrophe.

    Examples
    --------
    >>> markdown_code("a`b<c>")
    "`a'b<c>`"
    """
    line = _on_one_line(text).replace("`", "'")
    return f"`{line}`" if line else ""


def _on_one_line(text: object) -> str:
    return " ".join(harmless(str(text), by=" ").split())


_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf")


def spreadsheet_cell(value: Any) -> Any:
    """What a table that is meant to be looked at has in a cell: a text that a spreadsheet would run is shown as text.

    Examples
    --------
    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("-5.5e-3"), spreadsheet_cell("a dog"), spreadsheet_cell(0.5)
    ("'=1+1", '-5.5e-3', 'a dog', 0.5)
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


_on_the_command_line = False


def speak_of_flags(flags: bool = True) -> None:
    """From here on messages name options as the command line has them; a process has one kind of caller."""
    global _on_the_command_line
    _on_the_command_line = flags


def speaks_of_flags() -> bool:
    """Whether messages name options as the command line has them: what another process of the same work is to do."""
    return _on_the_command_line


def option(name: str, value: object = None) -> str:
    """An option as who called writes it: `batch_size` for Python, `--batch-size` for the command line.

    With a value it is how to set it: `intersect=True` and `--intersect`, `curves=False` and `--no-curves`,
    `split='val'` and `--split val`.

    Examples
    --------
    >>> option("batch_size"), option("intersect", True), option("split", "val")
    ('batch_size', 'intersect=True', "split='val'")
    """
    if not _on_the_command_line:
        return name if value is None else f"{name}={value!r}"
    flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
    return flag if value is None or isinstance(value, bool) else f"{flag} {value}"


def typed(command: str, call: str) -> str:
    """What to type, as who called types it: the command for a terminal, the call for Python.

    Examples
    --------
    >>> typed("geomclip measure --model demo", "geomclip.embed('demo')")
    "geomclip.embed('demo')"
    """
    return command if _on_the_command_line else call


def near(word: str, known: Iterable[str], *, cutoff: float = 0.5) -> list[str]:
    """Up to three of the known names that are most like this word, upper and lower case alike; the best first.

    `cutoff` is how alike a name must be, from 0 to 1, to be offered.

    Examples
    --------
    >>> near("vit-b/32", ["ViT-B-32", "RN50"])
    ['ViT-B-32']
    """
    names = {name.lower(): name for name in reversed(list(known))}
    return [names[found] for found in get_close_matches(word.lower(), names, n=3, cutoff=cutoff)]


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean a or b?' with up to three known names like this word, '' if none is.

    Examples
    --------
    >>> nearest("mesure", ["measure", "models"])
    '; did you mean measure?'
    >>> nearest("zzz", ["measure", "models"])
    ''
    """
    close = near(word, known, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
