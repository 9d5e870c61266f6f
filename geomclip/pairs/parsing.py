"""What all readers of pairs do alike: open others' files safely, check what is in them, choose a split."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from geomclip.machine import limits, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line, option
from geomclip.pairs.source import Source

K = TypeVar("K")
T = TypeVar("T")

ALL = "all"
"""The split of a set that has none."""


class NoSuchSplit(InputError):
    """A split that a set has not; `reason` is the message without the way out, for callers that know a better one."""

    def __init__(self, reason: str, way_out: str = "") -> None:
        super().__init__(f"{reason}; {way_out}" if way_out else reason)
        self.reason, self.way_out = reason, way_out


def choose_split(requested: str | None, splits: Sequence[str], *, name: str) -> str:
    """The split to read: the one requested, else test, else val; 'all' for a set without splits.

    Raises InputError, listing the splits that exist, where the answer is not among them.

    >>> choose_split(None, ("train", "val"), name="coco")
    'val'
    """
    if not splits:
        if requested in (None, ALL):
            return ALL
        raise NoSuchSplit(f"{name} has no splits, so there is no split {requested!r}", f"leave {option('split')} out")
    other_names = {"val": ("val", "validation", "valid", "dev")}
    for wanted in ("test", "val") if requested is None else (requested,):
        for split in other_names.get(wanted, (wanted,)):
            if split in splits:
                return split
    there = one_line(", ".join(splits), 500)
    if requested is None:
        raise InputError(f"{name} has neither a test nor a val split; name one with {option('split')} ({there})")
    raise NoSuchSplit(f"{name} has no split {requested!r}; it has {there}")


def inside(folder: Path, name: str, *, entry: str) -> Path:
    """`folder / name`, where `name` came from a file of somebody else's and must not leave the folder."""
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or os.path.splitdrive(name)[0] or ".." in parts:
        raise InputError(f"{entry}: {shorten(name)} leaves {folder}; only names inside the folder are read")
    return folder / openable(name, entry=entry)


def all_inside(folder: Path, names: Sequence[str], *, entry: Callable[[int], str]) -> None:
    """InputError for the first of the names that `inside` refuses; `entry` says where the one at a place stands."""
    together = "\n" + "\n".join(names)
    odd = ("..", "\\", "\0", ":", "\n/")
    if all(map(str.strip, names)) and not any(each in together for each in odd) and is_encodable(together):
        return
    for place, name in enumerate(names):
        inside(folder, name, entry=entry(place))


def openable(name: str, *, entry: str) -> str:
    """`name`, if a file could have it: not empty, no NUL, no half of a surrogate pair, as JSON can have it."""
    if not name.strip() or "\0" in name or not is_encodable(name):
        raise InputError(f"{entry}: {shorten(name)} cannot be the name of a file")
    return name


def is_encodable(name: str) -> bool:
    """Whether the system can take the text for the name of a file: half of a surrogate pair it cannot."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def check_folder(source: Source, folder: Path) -> None:
    """InputError if the folder that `source` names is not there."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "is not there"
        raise InputError(f"{source.format}: the folder {folder} {what}")


def read_bytes(path: str | Path, *, limit: str) -> bytes:
    """The bytes of a file, within the limit of this name."""
    most = limits.most(limit)
    try:
        # of a hundred thousand captions a file object for each takes as long as all else
        descriptor, size = regular.opened(path)
        try:
            data = _read_up_to(descriptor, size, most + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {one_line(error, 200)}") from error
    if len(data) > most:
        end = limits.refused(limit, Path(path).stat().st_size)
        raise InputError(f"{path} is larger than {most >> 20} MiB, too large for a file of its kind: {end}")
    return data


def _read_up_to(descriptor: int, expected: int, most: int) -> bytes:
    """What is in an open file of an expected size, at most so many bytes."""
    # room for what may be read is made before: a small file shall not take that of the limit
    data = os.read(descriptor, min(expected + 1, most))
    if len(data) == expected and data:
        return data
    parts = [data]
    while parts[-1] and (room := most - sum(map(len, parts))):
        parts.append(os.read(descriptor, min(room, 1 << 20)))
    return b"".join(parts)


def read_text(path: str | Path) -> str:
    """The text of a small UTF-8 file, without its byte order mark."""
    return decode_text(read_bytes(path, limit="caption-bytes"), name=str(path))


def decode_text(data: bytes, *, name: str) -> str:
    """UTF-8 bytes (a byte order mark is left out) to text."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(name, error)) from error


def not_utf8(name: str, error: UnicodeDecodeError) -> str:
    """The message for a text file in another encoding."""
    return f"{name} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}); save it as UTF-8"


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return parse_json(read_bytes(path, limit="annotation-bytes"), name=str(path))


def parse_json(data: bytes | str, *, name: str) -> Any:
    """The value in JSON bytes or text; InputError, with the place, if it is not JSON."""
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(name, error)) from error
    except (ValueError, RecursionError) as error:
        hint = "it may have been cut short: fetch or write it again"
        raise InputError(f"{name} is not valid JSON ({one_line(error, 200)}); {hint}") from error


def need(value: Any, kind: type[T], *, entry: str) -> T:
    """`value`, if it is of this kind (a bool is no int); InputError naming the entry otherwise."""
    if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
        return value
    kinds = {str: "text", int: "a whole number", list: "a list", dict: "an object"}
    found = "missing" if value is None else shorten(value)
    raise InputError(f"{entry} should be {kinds.get(kind, kind.__name__)}, is {found}")


def json_columns(file: Path, lists: Mapping[str, Mapping[str, type]]) -> list[list[list[Any]]]:
    """Of a JSON object in a file the lists with these names, and of the objects in each the values of each name.

    What is of its kind is decoded straight into rows of these values; all else goes the slower way, which knows what
    to say of it.
    """
    data = read_bytes(file, limit="annotation-bytes")
    if (found := _decoded(data, lists)) is not None:
        return found
    content = need(parse_json(data, name=str(file)), dict, entry=str(file))
    return [
        columns(need(content.get(name), list, entry=f"{file}: {name}"), kinds, entry=f"{file}: {name}")
        for name, kinds in lists.items()
    ]


def _decoded(data: bytes, lists: Mapping[str, Mapping[str, type]]) -> list[list[list[Any]]] | None:
    import msgspec

    kind_of = {name: msgspec.defstruct(name, kinds.items(), gc=False) for name, kinds in lists.items()}
    whole = msgspec.defstruct("whole", [(name, list[kind]) for name, kind in kind_of.items()])  # type: ignore[valid-type]
    try:
        content = msgspec.json.decode(data, type=whole)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return [[list(map(attrgetter(name), getattr(content, each))) for name in kinds] for each, kinds in lists.items()]


def columns(rows: Sequence[Any], kinds: Mapping[str, type], *, entry: str) -> list[list[Any]]:
    """Of a list of JSON objects the values of each name; InputError naming the first that is of another kind.

    >>> columns([{"id": 1, "caption": "a cat"}, {"id": 2, "caption": "a dog"}], {"id": int, "caption": str}, entry="")
    [[1, 2], ['a cat', 'a dog']]
    """
    if set(map(type, rows)) <= {dict}:
        found = [[row.get(name) for row in rows] for name in kinds]
        if all(set(map(type, column)) <= {kind} for column, kind in zip(found, kinds.values(), strict=True)):
            return found
    return list(
        map(
            list,
            zip(*(_of_kinds(row, kinds, entry=f"{entry}[{number}]") for number, row in enumerate(rows)), strict=True),
        )
    )


def _of_kinds(row: Any, kinds: Mapping[str, type], *, entry: str) -> list[Any]:
    own = need(row, dict, entry=entry)
    return [need(own.get(name), kind, entry=f"{entry}.{name}") for name, kind in kinds.items()]


def grouped(keys: Iterable[K]) -> dict[K, list[int]]:
    """The places of each key, the keys in the order in which they first appear.

    >>> grouped(["a", "b", "a"])
    {'a': [0, 2], 'b': [1]}
    """
    groups: dict[K, list[int]] = {}
    for place, key in enumerate(keys):
        if (places := groups.get(key)) is None:
            groups[key] = [place]
        else:
            places.append(place)
    return groups


def clean(text: str) -> str:
    """`text` with halves of surrogate pairs, which no file format can hold, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def caption(text: str) -> str:
    """A caption without the white space around it."""
    return clean(text).strip()


def unbroken(text: str) -> str:
    """A caption on one line.

    >>> unbroken(" a cat \\n\\n on a mat")
    'a cat on a mat'
    """
    return re.sub(r"\s*[\r\n]\s*", " ", caption(text)) if "\n" in text or "\r" in text else caption(text)


def stripped(texts: Sequence[str]) -> list[str]:
    """Each text as `caption` gives it; of many the sooner."""
    return list(map(str.strip if all(map(str.isascii, texts)) else caption, texts))


def captions_by_line(text: str) -> tuple[str, ...]:
    """One caption a line, empty lines left out."""
    if "\n" not in text and "\r" not in text:
        return (line,) if (line := caption(text)) else ()
    return tuple(line for line in map(caption, re.split(r"\r\n|\r|\n", text)) if line)


def numbered(image_id: str, captions: Sequence[str]) -> tuple[str, ...]:
    """Caption ids for captions that have none: image_id#0, image_id#1, ..."""
    if len(captions) == 1:  # most are; a generator takes five times as long
        return (f"{image_id}#0",)
    return tuple(f"{image_id}#{number}" for number in range(len(captions)))


def counted(*notes: tuple[int, str]) -> tuple[str, ...]:
    """The notes whose count is not zero, the count in place of `{n}`."""
    return tuple(note.format(n=count) for count, note in notes if count)


def first_repeated(values: Iterable[T]) -> T | None:
    """The first value that was there before; None if all differ."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def shorten(value: object) -> str:
    """`value` as it looks in code, cut to a length that fits a message."""
    shown = repr(value[:100] if isinstance(value, str) else value)
    return shown if len(shown) <= 100 else shown[:97] + "..."
