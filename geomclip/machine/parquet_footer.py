"""The footer of a parquet file: what is stored of each column in each group of rows, read by ourselves.

pyarrow ends the interpreter where the description of a column in a damaged file contradicts itself, if it is asked for
that description; asked to read the column it raises. So bounds are taken from here, and nothing is asked of pyarrow.
Thrift's compact protocol; of its structures only the fields that bounds need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomclip.machine import regular

MAGIC = b"PAR1"
TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
ENCODINGS = {
    0: "PLAIN",
    2: "PLAIN_DICTIONARY",
    3: "RLE",
    4: "BIT_PACKED",
    5: "DELTA_BINARY_PACKED",
    6: "DELTA_LENGTH_BYTE_ARRAY",
    7: "DELTA_BYTE_ARRAY",
    8: "RLE_DICTIONARY",
    9: "BYTE_STREAM_SPLIT",
}
DEEPEST = 32
"""Structures within one another; the format has eight."""


@dataclass(frozen=True)
class Chunk:
    """What is stored of one column in one group of rows; `nulls` is None where the file does not say."""

    path_in_schema: str
    physical_type: str
    encodings: tuple[str, ...]
    num_values: int
    total_uncompressed_size: int
    nulls: int | None


@dataclass(frozen=True)
class Group:
    """One group of rows."""

    num_rows: int
    chunks: tuple[Chunk, ...]


def read(path: Path) -> list[Group]:
    """The groups of rows of a parquet file.

    Raises
    ------
    OSError
        If the file cannot be read.
    InputError
        If it is no regular file.
    ValueError
        If it is no parquet file, or its footer is damaged.
    """
    with regular.binary(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if len(end) < 8 or end[4:] != MAGIC or length > size - 12:
            raise ValueError("it is no parquet file, or cut short")
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        groups = _Reader(footer).struct({4: _list_of({1: _list_of({3: _CHUNK}), 3: None})}).get(4, [])
        return [_group(each) for each in groups]
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as problem:
        raise ValueError("its footer is damaged") from problem


def _group(found: dict[int, Any]) -> Group:
    return Group(int(found[3]), tuple(_chunk(each[3]) for each in found[1]))


def _chunk(found: dict[int, Any]) -> Chunk:
    names = [each.decode("utf-8", "replace") for each in found[3]]
    encodings = tuple(ENCODINGS.get(each, str(each)) for each in found[2])
    nulls = (found.get(12) or {}).get(3)
    return Chunk(".".join(names), TYPES[found[1]], encodings, int(found[5]), int(found[6]), nulls)


def _list_of(fields: dict[int, Any]) -> list[dict[int, Any]]:
    return [fields]


# of a column: type, encodings, path, values, bytes unfolded; of its statistics the nulls
_CHUNK: dict[int, Any] = {1: None, 2: None, 3: None, 5: None, 6: None, 12: {3: None}}


class _Reader:
    """Values of the compact protocol, one after another."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place, self.depth = content, 0, 0

    def struct(self, wanted: dict[int, Any] | None) -> dict[int, Any]:
        """The wanted fields of a structure by their numbers; a value of `wanted` says what of a structure in it."""
        found: dict[int, Any] = {}
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError("its footer is nested too deep")
        for number, kind in self._fields():
            below = wanted.get(number) if wanted else None
            value = self._value(kind, below)
            if wanted is not None and number in wanted:
                found[number] = value
        self.depth -= 1
        return found

    def _fields(self) -> Iterator[tuple[int, int]]:
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            yield number, head & 15

    def _value(self, kind: int, wanted: Any, *, in_list: bool = False) -> Any:
        if kind in (1, 2):
            return self._byte() == 1 if in_list else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            return self._list(wanted)
        if kind == 11:
            return self._map()
        if kind == 12:
            return self.struct(wanted if isinstance(wanted, dict) else None)
        if kind == 13:
            return self._bytes(16)
        raise ValueError("its footer is damaged")

    def _list(self, wanted: Any) -> list[Any]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        self._check(count)
        below = wanted[0] if isinstance(wanted, list) else None
        return [self._value(head & 15, below, in_list=True) for _ in range(count)]

    def _map(self) -> None:
        count = self._varint()
        self._check(count)
        if count:
            kinds = self._byte()
            for _ in range(count):
                self._value(kinds >> 4, None, in_list=True)
                self._value(kinds & 15, None, in_list=True)

    def _check(self, count: int) -> None:
        """Each value has a byte at least."""
        if count > len(self.content) - self.place:
            raise ValueError("its footer is damaged")

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _bytes(self, count: int) -> bytes:
        self._check(count)
        self.place += count
        return self.content[self.place - count : self.place]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("its footer is damaged")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
