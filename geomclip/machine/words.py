"""Words: messages on one line, and the names that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

CLOSE = 0.5
"""How alike two names must be, from 0 to 1, for one to be offered in place of the other."""


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


def near(word: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that are most like this word, upper and lower case alike; the best first.

    Examples
    --------
    >>> near("vit-b/32", ["ViT-B-32", "RN50"])
    ['ViT-B-32']
    """
    names = {name.lower(): name for name in reversed(list(known))}
    return [names[found] for found in get_close_matches(word.lower(), names, n=3, cutoff=CLOSE)]


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean a or b?' with up to three known names like this word, '' if none is.

    Examples
    --------
    >>> nearest("mesure", ["measure", "models"])
    '; did you mean measure?'
    >>> nearest("zzz", ["measure", "models"])
    ''
    """
    close = near(word, known)
    return f"; did you mean {' or '.join(close)}?" if close else ""
