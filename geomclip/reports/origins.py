"""What a page says that its numbers were made from: a line a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geomclip.panels.record import Panel

LISTED = 8
"""Entries of a list that are named; the rest are counted."""
LONGEST = 2000


def made_of(panel: Panel) -> dict[str, str]:
    """Data, model and settings of a panel, and the machine's packages; not how long it took."""
    result = panel.to_dict()
    counts = ("n_images", "n_texts", "dim", "logit_scale", "logit_scale_source", "seed", "features_sha256")
    return lines_of(
        {
            **panel.made_from,
            **{name: result[name] for name in counts},
            "measured with": panel.params,
            "environment": panel.env,
        }
    )


def lines_of(entries: Mapping[str, Any]) -> dict[str, str]:
    """Each entry in words; empty ones are left out.

    Examples
    --------
    >>> lines_of({"split": "test", "notes": [], "skipped": list("abcdefghij"), "env": {"torch": "2", "cpus": 2}})
    {'split': 'test', 'skipped': 'a, b, c, d, e, f, g, h and 2 more', 'env': 'torch 2, cpus 2'}
    """
    return {str(name): _words(value) for name, value in entries.items() if value not in (None, "", [], (), {})}


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {_words(each)}" for name, each in value.items() if each is not None)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        more = f" and {len(value) - LISTED:,} more" if len(value) > LISTED else ""
        text = ", ".join(map(_words, value[:LISTED])) + more
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
