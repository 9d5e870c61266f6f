"""Places: what is written of a path of this machine, and where the cache keeps the rest of it.

Results, stores, pages and run folders travel; the folders of the machine that made them, which often have the name of
a person in them, stay. Of a path that leads out of the working folder the last part is written. What goes on later
finds the whole of it in the cache, or is told it again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from geomclip.machine.addresses import plain
from geomclip.machine.errors import GeomclipError
from geomclip.machine.files import atomic_json, cache_dir, make_folder

FOLDER = "places"
"""In the cache: the whole paths of what was written in short."""
_FORM = re.compile(r"(?:[A-Za-z][\w-]*:)?(?=[/~.])(?!//)")
_ADDRESS = re.compile(r"(?:[A-Za-z][\w-]*[:=])?[A-Za-z][\w+.-]+://", re.ASCII)
_OUTSIDE = re.compile(r"/|~|\.\.(?:/|$)")
_ROLE = re.compile(r"(--?[\w-]+=)?([A-Za-z_]\w*=)?(.*)", re.ASCII | re.DOTALL)
_kept: ContextVar[bool] = ContextVar("keep_paths", default=False)


@contextmanager
def keep_paths(keep: bool = True) -> Iterator[None]:
    """Have what is written while the block runs hold paths as they were named, and the name of this machine.

    Left alone, results, stores, pages and run folders have the last part of a path that leads out of the working
    folder, and no name of a machine. `--keep-paths` is the same for a command.

    Examples
    --------
    >>> with keep_paths():
    ...     shown("csv:/home/me/pairs.csv")
    'csv:/home/me/pairs.csv'
    """
    before = _kept.set(keep)
    try:
        yield
    finally:
        _kept.reset(before)


def are_kept() -> bool:
    """Whether paths are written as they were named."""
    return _kept.get()


def host() -> dict[str, str]:
    """The name of this machine, where it is to be kept."""
    return {"host": socket.gethostname()} if are_kept() else {}


def shown(name: str | Path) -> str:
    """What is written of a path, or of a name that may be one, as of a model or of data.

    Examples
    --------
    >>> shown("/home/me/runs/a"), shown("csv:~/pairs.csv"), shown("local-dir:../b/"), shown("runs/a"), shown("ViT-B/32")
    ('a', 'csv:pairs.csv', 'local-dir:b', 'runs/a', 'ViT-B/32')

    Of an address all but what gives access, also where paths are to be kept.

    >>> shown("csv:https://me:secret@example.org/pairs.csv?signature=1")
    'csv:https://example.org/pairs.csv'
    """
    text = str(name)
    if _ADDRESS.match(text):
        return plain(text)
    form = _FORM.match(text)
    if are_kept() or form is None or "\n" in text:
        return text
    place = text[form.end() :]
    return form[0] + (place.rstrip("/").rpartition("/")[2] or "/") if _OUTSIDE.match(place) else text


def shown_in(value: Any) -> Any:
    """A value of JSON with `shown` of all its texts.

    Examples
    --------
    >>> shown_in({"base": {"model": "/home/me/runs/a", "n": 3}})
    {'base': {'model': 'a', 'n': 3}}
    """
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {key: shown_in(each) for key, each in value.items()}
    return [shown_in(each) for each in value] if isinstance(value, list | tuple) else value


def shown_command(words: Sequence[str]) -> str:
    """A command as it is written into what it makes.

    Examples
    --------
    >>> shown_command(["geomclip", "measure", "--embeddings=image=/home/me/a.npy,text=/home/me/b.npy"])
    'geomclip measure --embeddings=image=a.npy,text=b.npy'
    """
    return shlex.join(map(_shown_word, words))


def _shown_word(word: str) -> str:
    word = plain(word)
    parts = [match.groups(default="") for part in word.split(",") if (match := _ROLE.fullmatch(part))]
    if len(parts) > 1 and not all(role for _, role, _ in parts):  # a comma within a name
        parts = [match.groups(default="") for match in [_ROLE.fullmatch(word)] if match]
    return ",".join(flag + role + shown(place) for flag, role, place in parts)


# ---- what was written in short, as it was


def remember(key: Any, values: Mapping[str, Any], folder: str | Path | None = None) -> None:
    """Keep in the cache the whole of each value that is written in short (texts and lists of them), by key and name.

    Not of addresses: what is left out of them gives access, and is nowhere kept.
    """
    with keep_paths(False):
        whole = {name: _whole(value) for name, value in values.items() if shown_in(value) != value}
    if whole:
        file = _file(key, folder)
        with suppress(GeomclipError):  # a cache that takes nothing costs that they are asked for again
            make_folder(file.parent)
            atomic_json(file, {**_read(file), **whole})


def recalled(key: Any, values: Mapping[str, Any], folder: str | Path | None = None) -> dict[str, Any]:
    """The values, as whole as they were remembered under the key; those that are others now as they are."""
    known = _read(_file(key, folder))
    with keep_paths(False):
        return {
            name: known[name] if name in known and shown_in(known[name]) == value else value
            for name, value in values.items()
        }


def _whole(value: Any) -> Any:
    """A value with the paths in it from the root: what is remembered holds in another working folder too."""
    return [_absolute(each) for each in value] if isinstance(value, list | tuple) else _absolute(value)


def _absolute(name: str) -> str:
    if shown(name) == name or _ADDRESS.match(name):  # demo, or a path in the working folder
        return shown(name)
    form = _FORM.match(name)
    start = form[0] if form else ""
    return start + str(Path(name[len(start) :]).expanduser().absolute())


def _file(key: Any, folder: str | Path | None) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return cache_dir(folder) / FOLDER / f"{digest}.json"


def _read(file: Path) -> dict[str, Any]:
    """What is kept in a file; nothing where it is not there or damaged: it is asked for again then."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
