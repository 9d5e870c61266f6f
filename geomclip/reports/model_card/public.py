"""What a card may say of names that come from this machine or from others: no folder of it, no markup of theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine.words import markdown, markdown_code

FORMS = re.compile(r"(local-dir|csv|tsv|jsonl|json|parquet|folder|wds|imagenet-folder):(?=.)")
"""Forms of names in which a place on disk follows."""
PLACE = re.compile(r"(?<![\w.~/:<\\-])(?:~|\.{1,2})?/[^\s'\"`,;|()<>]+")
"""A path with a root, inside a text."""


def public(text: str) -> str:
    """The text with the last part alone of each path of this machine.

    Examples
    --------
    >>> public("csv:/home/me/pairs.csv"), public("trained on /data/x/a.npz"), public("ViT-B/32"), public("hf-hub:a/b")
    ('csv:pairs.csv', 'trained on a.npz', 'ViT-B/32', 'hf-hub:a/b')
    """
    form = FORMS.match(text)
    start, place = (form[0], text[form.end() :]) if form else ("", text)
    if form or _is_place(place):
        last = re.split(r"[/\\]", place.rstrip("/\\"))[-1]
        return f"{start}{last}"
    return PLACE.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)


def _is_place(text: str) -> bool:
    if text.startswith(("/", "~", "./", "../")) and "\n" not in text and " " not in text:
        return True
    try:
        return ("/" in text or "\\" in text) and Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null byte
        return False


def scrubbed(value: Any) -> Any:
    """A value of JSON with `public` of all its texts.

    Examples
    --------
    >>> scrubbed({"base": {"model": "/home/me/runs/a", "n": 3}})
    {'base': {'model': 'a', 'n': 3}}
    """
    if isinstance(value, str):
        return public(value)
    if isinstance(value, Mapping):
        return {key: scrubbed(each) for key, each in value.items()}
    return [scrubbed(each) for each in value] if isinstance(value, list | tuple) else value


def one(text: object) -> str:
    """A text of others on one line of prose, so that Markdown sees no markup in it.

    Examples
    --------
    >>> one("a <b> [c](d) *e*"), one("line\\nend")
    ('a &lt;b&gt; \\\\[c\\\\](d) \\\\*e\\\\*', 'line end')
    """
    return markdown(public(str(text)))


def code(text: object) -> str:
    """A name of others as code; a grave accent, which would end it, becomes an apostrophe.

    Examples
    --------
    >>> code("a`b<c>")
    "`a'b<c>`"
    """
    return markdown_code(public(str(text))) or "unnamed"
