"""The members of an uncompressed tar by their headers, several times faster than `tarfile`, which keeps all it reads.

Read are the ustar, GNU and pax formats (IEEE Std 1003.1, "pax Interchange Format"; GNU tar manual, "Basic Tar Format"):
names and sizes, long names of GNU, `path` and `size` of pax. Checksums are compared, and a tar must have its end mark.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from geomclip.machine.errors import InputError

BLOCK = 512
MAX_HEADER_BYTES = 1 << 20  # of a long name, or of one member's pax records

FILES = frozenset(b"0\x007")  # a plain file, one of a tar of 1979, a contiguous file
WITHOUT_DATA = frozenset(b"123456")  # links, devices, folders: whatever their size says, no data follow
GNU_NAME, GNU_LINK, GNU_SPARSE, PAX, PAX_GLOBAL = b"LKSxg"

COMPRESSED = ((b"\x1f\x8b", "gunzip"), (b"BZh", "bunzip2"), (b"\xfd7zXZ", "unxz"), (b"\x28\xb5\x2f\xfd", "unzstd"))


class Member(NamedTuple):
    """A member, and where its bytes are in the tar."""

    name: str
    offset: int
    size: int
    kind: str  # file, folder or other


class _Damaged(Exception):
    """Why a tar is not whole."""


def members(file: BinaryIO) -> Iterator[Member]:
    """The members of a tar in their order, one at a time; InputError where it is damaged, cut short or compressed."""
    start = file.read(8)
    for magic, tool in COMPRESSED:
        if start.startswith(magic):
            raise InputError(
                f"{file.name} is compressed, so its images cannot be read in place; decompress it ({tool} {file.name})"
            )
    try:
        yield from _members(file, os.fstat(file.fileno()).st_size)
    except _Damaged as damage:
        raise InputError(f"{file.name} is not a whole tar ({damage}); fetch or write it again") from damage


def _members(file: BinaryIO, end: int) -> Iterator[Member]:
    offset = 0
    for_all: dict[str, str] = {}  # pax records of all members that follow
    extra: dict[str, str] = {}  # pax records, or the long name, of the next member
    while True:
        file.seek(offset)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise _Damaged("no end mark")
        kind = block[156]
        if not kind and not block.strip(b"\0"):
            return
        size = _checked_size(block)
        offset += BLOCK
        if kind in FILES and not extra and not for_all and block[345] == 0:  # most members are as plain as this
            name = block[: block.find(b"\0", 0, 100) if b"\0" in block[:100] else 100].decode(
                "utf-8", "surrogateescape"
            )
            data_at, offset = offset, offset + (size + BLOCK - 1) // BLOCK * BLOCK
            if offset > end:
                raise _Damaged("its last member is cut short")
            yield Member(name, data_at, size, "file" if name[-1:] != "/" else "folder")
            continue
        if kind in (PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK):
            if size > MAX_HEADER_BYTES:
                raise _Damaged("a header is too large")
            content = file.read(size)
            offset += (size + BLOCK - 1) // BLOCK * BLOCK
            if kind == GNU_NAME:
                extra["path"] = _text(content.partition(b"\0")[0])
            elif kind != GNU_LINK:
                (for_all if kind == PAX_GLOBAL else extra).update(_pax_records(content))
            continue
        if kind == GNU_SPARSE:
            more = block[482]
            while more:
                file.seek(offset)
                more = (file.read(BLOCK) + bytes(BLOCK))[504]
                offset += BLOCK
        records = {**for_all, **extra}
        extra = {}
        name = records.get("path") or _name(block)
        size = _pax_size(records, size)
        data = 0 if kind in WITHOUT_DATA else (size + BLOCK - 1) // BLOCK * BLOCK
        if offset + data > end:
            raise _Damaged("its last member is cut short")
        sparse = any(key.startswith("GNU.sparse.") for key in records)
        plain = kind in FILES and not sparse
        what = "folder" if kind == ord("5") or (plain and name.endswith("/")) else "file" if plain else "other"
        yield Member(name, offset, size, what)
        offset += data


def _checked_size(block: bytes) -> int:
    """The size that a header gives, its checksum being right."""
    field = block[148:156]
    total = sum(block.translate(None, b"\0")) - sum(field) + 256  # as if the checksum's own field were blank
    try:
        if total != (stated := int(field.strip(b"\0 "), 8)) and _signed(block) != stated:
            raise _Damaged("a header's checksum is wrong")
        if block[124] & 0x80:  # GNU: a number too large for octal digits
            size = int.from_bytes(block[125:136]) if block[124] == 0x80 else -1
        else:
            size = int(block[124:136].strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise _Damaged("a header has no numbers where they belong") from None
    if size < 0:
        raise _Damaged("a size below zero")
    return size


def _signed(block: bytes) -> int:
    """The checksum as some old programs made it, of signed characters."""
    return sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])


def _name(block: bytes) -> str:
    name = _text(block[:100].partition(b"\0")[0])
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return f"{_text(prefix)}/{name}" if prefix else name


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pax_size(records: dict[str, str], size: int) -> int:
    value = records.get("size")
    if value is None:
        return size
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise _Damaged("a size that is no number")
    return int(value)


def _pax_records(content: bytes) -> dict[str, str]:
    """Lines of "LENGTH KEY=VALUE", the length being that of the whole line."""
    records: dict[str, str] = {}
    at = 0
    while at < len(content) and content[at]:
        digits, _, _ = content[at : at + 20].partition(b" ")
        if not digits.isdigit() or not len(digits) + 1 < int(digits) <= len(content) - at:
            raise _Damaged("a pax header is malformed")
        line = content[at + len(digits) + 1 : at + int(digits) - 1]
        key, _, value = line.partition(b"=")
        # times and owners, which most pax headers are for, are of no use here
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            records[_text(key)] = _text(value)
        at += int(digits)
    return records
