"""Directions of retrieval, as sentences and tables name them: from the query to what is looked for."""

from __future__ import annotations

DIRECTIONS = {"text_retrieval": "image → text", "image_retrieval": "text → image"}
"""Prefix of the keys to the direction: in text retrieval the query is an image, and a text is looked for."""


def direction_of(key: str) -> str:
    """The direction that a key is of; '' where it is of none.

    Examples
    --------
    >>> direction_of("text_retrieval_recall@1"), direction_of("image_retrieval_ece"), direction_of("alignment")
    ('image → text', 'text → image', '')
    """
    return next((name for prefix, name in DIRECTIONS.items() if key.startswith(f"{prefix}_")), "")
