"""Wording: what the two sides of a set are called where people read; keys and files keep their names.

Sentences and labels are written for images and texts. Of pairs of texts, queries stand where images do, and documents
where texts do (`made_from` says so by `sides`), and the words of what is printed are these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OF_TEXTS = ("query", "document")
WORDS: Mapping[str, str] = {
    "an image": "a query",
    "a text": "a document",
    "image": "query",
    "images": "queries",
    "text": "document",
    "texts": "documents",
}
"""Words for images and texts, and for queries and documents."""

_WORD = re.compile(r"(?<![\w@./\\-])(an image|a text|images?|texts?)(?![\w@/\\-])(?!\.\w)", re.IGNORECASE)


def is_of_texts(made_from: Mapping[str, Any]) -> bool:
    """Whether a set is of queries and documents."""
    return list(made_from.get("sides") or ()) == list(OF_TEXTS)


def worded(panel: object, sentence: str) -> str:
    """A sentence or label of ours in the words of a panel, set or comparison; names of others do not belong in it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> qa = SimpleNamespace(made_from={"sides": ["query", "document"]})
    >>> worded(qa, "Recall@1, image → text"), worded(qa, "An image finds one of its texts (mean_cosine_image)")
    ('Recall@1, query → document', 'A query finds one of its documents (mean_cosine_image)')
    >>> worded(SimpleNamespace(made_from={}), "two images")
    'two images'
    """
    made_from = getattr(panel, "made_from", None) or getattr(panel, "before", {})
    return _WORD.sub(_other, sentence) if is_of_texts(made_from) else sentence


def _other(found: re.Match[str]) -> str:
    word = found[0]
    other = WORDS[word.lower()]
    return other.capitalize() if word[0].isupper() else other
