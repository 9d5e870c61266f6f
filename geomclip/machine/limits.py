"""Limits: how much work a file of somebody else's may ask for, in one table; each is raised by its name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest, option, typed

VARIABLE = "GEOMCLIP_LIMITS"
# A file may unfold to 200 times its size (text ids and bins that stay empty are that regular, embeddings are not),
# or to 64 MiB whatever its size: beyond lies what was made to fill the memory.
ALWAYS_ALLOWED = 64 << 20


class Limit(NamedTuple):
    """The most that is let in, and what is counted."""

    most: int
    what: str


LIMITS = {
    "layers": Limit(512, "layers of a tower"),
    "width": Limit(1 << 15, "dimensions of a layer, and heads"),
    "vocabulary": Limit(1 << 22, "words of a text tower, and any other number in a configuration"),
    "context": Limit(1 << 14, "tokens of a text"),
    "image-side": Limit(1 << 13, "pixels of a side of the images that a model wants"),
    "patches": Limit(1 << 16, "patches of such an image"),
    "weights": Limit(10_000_000_000, "weights of a model, its buffers among them"),
    "tensors-header": Limit(16 << 20, "bytes of the header of a safetensors file"),
    "patterns": Limit(4096, "patterns of the names of modules, of an adapter"),
    "config-bytes": Limit(4 << 20, "bytes of the JSON that describes a model"),
    "tokenizer-bytes": Limit(128 << 20, "bytes of a file of a tokenizer"),
    "json-bytes": Limit(32 << 20, "bytes of a file of JSON: a result, a manifest, an index of shards"),
    "json-depth": Limit(100, "lists and objects within one another in JSON"),
    "image-bytes": Limit(1 << 30, "bytes of the file of an image"),
    "pixels": Limit(1 << 27, "pixels that an image declares"),
    "video-pixels": Limit(1 << 25, "pixels of a frame that a video declares"),
    "caption-bytes": Limit(1 << 26, "bytes of a file of captions, or of a record in a shard"),
    "annotation-bytes": Limit(1 << 29, "bytes of a file of JSON that describes a data set"),
    "moment-bytes": Limit(1 << 27, "bytes of a file of moments or queries"),
    "score-bytes": Limit(1 << 28, "bytes of a file of predictions of moments"),
    "table-bytes": Limit(1 << 32, "bytes of a table, or of its columns of texts unfolded"),
    "table-rows": Limit(100_000_000, "rows of a table"),
    "table-cells": Limit(1 << 27, "values in the columns of a table that are read"),
    "group-bytes": Limit(1 << 32, "bytes of the images in one group of rows of a table"),
    "feature-bytes": Limit(1 << 31, "bytes of the features of one video, or of a chunk of them"),
    "vector-bytes": Limit(1 << 36, "bytes of one column of a table of vectors"),
    "remote-bytes": Limit(1 << 36, "bytes of a file or store that is fetched from an address"),
    "arrays": Limit(10_000, "arrays in a file of embeddings"),
    "unfold": Limit(200, "times its size that a file unfolds to; up to 64 MiB it may always"),
}
"""By name; `docs/reliability.md` lists them, and a test compares."""


def most(name: str) -> int:
    """The limit of this name: its default, or what the environment sets.

    Examples
    --------
    >>> most("layers")
    512
    """
    return parsed(os.environ.get(VARIABLE, "")).get(name, LIMITS[name].most)


def check(name: str, found: int, where: str) -> None:
    """See that what a file asks for is within the limit of this name.

    Raises
    ------
    InputError
        Naming the file, the limit and how to raise it.

    Examples
    --------
    >>> check("layers", 600, "open_clip_config.json")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: open_clip_config.json: 600 layers of a tower, more than 512: refused; if \
you trust it, set GEOMCLIP_LIMITS=layers=600
    """
    if found > (limit := most(name)):
        raise InputError(f"{where}: {found} {LIMITS[name].what}, more than {limit}: {refused(name, found)}")


def check_unfolded(size: int, unfolded: int, claim: str) -> None:
    """See that a file of so many bytes claims to hold no more than an honest one can; `claim` begins the message.

    Raises
    ------
    InputError
        Naming the limit `unfold`.

    Examples
    --------
    >>> check_unfolded(1 << 20, 200 << 20, "a.npz"), check_unfolded(1, 64 << 20, "a.npz")
    (None, None)
    >>> check_unfolded(1 << 20, 201 << 20, "a.npz")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: a.npz: refused; if you trust it, set GEOMCLIP_LIMITS=unfold=201
    """
    if unfolded > max(ALWAYS_ALLOWED, most("unfold") * size):
        raise InputError(f"{claim}: {refused('unfold', -(-unfolded // max(size, 1)))}")


def refused(name: str, found: int) -> str:
    """How the message ends for what asks for this much: that it is refused, and how to raise the limit.

    Examples
    --------
    >>> refused("layers", 600)
    'refused; if you trust it, set GEOMCLIP_LIMITS=layers=600'
    """
    way = typed(f"{option('raise_limit')} {name}={found}", f"set {VARIABLE}={name}={found}")
    return f"refused; if you trust it, {way}"


def parsed(text: str, where: str = VARIABLE) -> dict[str, int]:
    """Limits from NAME=N with commas between; `where` begins what is said of others.

    Raises
    ------
    InputError
        For another name, or no whole number above 0.

    Examples
    --------
    >>> parsed("layers=600, weights=20_000_000_000")
    {'layers': 600, 'weights': 20000000000}
    """
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = (each.strip() for each in part.partition("="))
        if name not in LIMITS:
            near = nearest(name, LIMITS) or f"; they are {', '.join(LIMITS)}"
            raise InputError(f"{where}: no limit {name[:60]!r}{near}")
        digits = value.replace("_", "")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19 and int(digits)):
            raise InputError(f"{where}: write {name}=N, a whole number above 0")
        found[name] = int(digits)
    return found


def raised(values: Iterable[str]) -> str:
    """What to set the variable to, so that these apply over what it says now; raises as `parsed`."""
    every = parsed(os.environ.get(VARIABLE, "")) | parsed(",".join(values), option("raise_limit"))
    return ",".join(f"{name}={value}" for name, value in every.items())
