"""Tokens: captions cut into words as the Penn Treebank does, and punctuation dropped, as the COCO server does.

Written after the output of Stanford's PTBTokenizer (3.4.1, `-lowerCase`), which needs Java: the same on all 1,850
captions of a part of COCO val and on 11,998 of 12,000 of Flickr8k, not on all text.
"""

from __future__ import annotations

import re

TOKENIZER = "ptb-like/1"
"""Name of the tokeniser, for results: scores depend on it."""
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""Tokens that are dropped. Brackets stay, as "-lrb-": on the COCO server too, whose list has them in capitals."""

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_CLITIC = re.compile(r"’(?=(?:s|m|d|re|ve|ll)\b)|(?<=n)’(?=t\b)|’(?!\w)|(?<!\w)’")
_PLAIN = str.maketrans({"‘": "'", "“": '"', "”": '"', "—": " -- ", "–": " -- ", "…": " ... "})
_TWO = {
    **{"cannot": ("can", "not"), "gonna": ("gon", "na"), "wanna": ("wan", "na"), "gotta": ("got", "ta")},
    **{"gimme": ("gim", "me"), "lemme": ("lem", "me")},
}
_SHORT = "mr|mrs|ms|dr|st|jr|sr|prof|vs|etc|inc|co|corp|ltd|ave|blvd|mt|ft|gen|sgt|capt|lt|col|rev"
_LETTER = r"[^\W\d_]"
_WORD = r"(?:(?!n't(?!\w))\w)+"
_TOKEN = re.compile(
    rf"""
      </?[a-z][^<>\s]*>                                   # a tag
    | (?:{_LETTER}\.){{2,}}                               # u.s., p.m.
    | (?:{_SHORT})\.(?!\w) | no\.(?=\s*\d)               # mr.
    | [-+]?\d*[.,]?\d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s)?(?![^\W_]|-\w) # 1,000, 12:30, 3/4, 1990s
    | '\d\ds(?!\w)                                        # '90s
    | n't(?!\w) | '(?:s|m|d|re|ve|ll)(?!\w)               # what is left of don't and it's
    | [@\#]?\w+(?:&\w+)+                                  # at&t
    | @\w+
    | 'n'(?!\w) | o'clock | o'{_LETTER}+
    | {_WORD}(?:[-_’]{_WORD})*(?:/{_WORD}(?:-{_WORD})*)*  # words, hyphens inside; and/or
    | \.{{2,}} | -{{2,}} | '' | `` | \S
    """,
    re.VERBOSE,
)


def tokens(text: str) -> list[str]:
    """The words of a caption, in small letters, clitics apart and punctuation dropped.

    Examples
    --------
    >>> tokens("A man's dog isn't here, it's over there -- at 5 p.m.!")
    ['a', 'man', "'s", 'dog', 'is', "n't", 'here', 'it', "'s", 'over', 'there', 'at', '5', 'p.m.']
    """
    found: list[str] = []
    for token in _TOKEN.findall(_CLITIC.sub("'", text.lower()).translate(_PLAIN)):
        if token in _TWO:
            found += _TWO[token]
        elif token not in PUNCTUATION and token != '"' and token.strip(".-") != "":
            found.append(_BRACKETS.get(token, token))
    return found
