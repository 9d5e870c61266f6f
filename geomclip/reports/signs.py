"""Text from outside, as a page may show it: signs that act instead of being seen become visible."""

from __future__ import annotations

import re

# what reorders or ends lines, is no character, or cannot be encoded; tab and line ends are white space in a page
_ACTING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def plain(text: str) -> str:
    r"""The text with control signs, overrides of the writing direction and lone surrogates written out.

    Letters of all scripts stay, also those written from right to left; markup is the template's to escape.

    Examples
    --------
    >>> plain("photo\u202egpj.exe"), plain("a<b>\x00")
    ('photo\\u202egpj.exe', 'a<b>\\u0000')
    """
    return _ACTING.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)
