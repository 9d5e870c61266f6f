"""Mutations of files: of their bytes, and of what is inside JSON, safetensors, numpy files and archives.

Each takes the content and a `random.Random`, and gives another content; the same draw gives the same.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]
EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
NUMBERS = (0, -1, 1e308, 1 << 31, 1 << 63, 1 << 70, 10**400, -0.0, 1e-320, 0.5, 2**53 + 1)
VALUES: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "\0",
    "\x1b[31m",
    "../../up",
    "\ud800",
    [],
    {},
    [[]],
    {"": None},
    "1" * 5000,
)
DEEPEST = 3000
"""Levels of nesting: three times what Python's stack takes."""


def flip(content: bytes, draw: random.Random) -> bytes:
    """A few bits the other way."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8, 64)) if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    """The beginning, or all but a piece."""
    at, to = sorted(draw.randint(0, len(content)) for _ in range(2))
    return content[:at] if draw.random() < 0.5 else content[:at] + content[to:]


def splice(content: bytes, draw: random.Random) -> bytes:
    """A piece of it put elsewhere, over or between."""
    start, end = sorted(draw.randint(0, len(content)) for _ in range(2))
    piece, at = content[start : min(end, start + 4096)], draw.randint(0, len(content))
    return content[:at] + piece * draw.choice((1, 1, 1, 50)) + content[at + draw.choice((0, len(piece))) :]


def field(content: bytes, draw: random.Random) -> bytes:
    """Bytes that may be a length, set to a number at a border."""
    size = draw.choice((1, 2, 4, 8))
    # lengths stand at the beginning and the end more often than within
    at = draw.choice((draw.randint(0, 64), len(content) - draw.randint(0, 64), draw.randint(0, len(content))))
    at = max(0, min(at, len(content)))
    packed = (draw.choice(EXTREMES) & ((1 << 8 * size) - 1)).to_bytes(size, draw.choice(("little", "big")))
    return content[:at] + packed + content[at + size :]


def text(content: bytes, draw: random.Random) -> bytes:
    """A number, or a sign, made another."""
    found = list(re.finditer(rb"\d+", content))
    if found and draw.random() < 0.5:
        start, end = draw.choice(found).span()
        return content[:start] + draw.choice((b"-1", b"9" * 400, b"1e999", b"NaN", b"", b"x")) + content[end:]
    at = draw.randint(0, len(content))
    odd = (
        b'"',
        b"\0",
        b"\n",
        b"\r",
        b",",
        b"\t",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"'",
        b"\\",
        b"{",
        b"[" * 2000,
        b"a" * 200_000,
    )
    return content[:at] + draw.choice(odd) + content[at + draw.choice((0, 1)) :]


def whole(content: bytes, draw: random.Random) -> bytes:
    """Something else altogether."""
    return draw.choice(
        (b"", b"\0" * 100, b"{}", b"[]", b"null", draw.randbytes(200), content * 3, b"\n", content[::-1])
    )


BYTES: tuple[Mutation, ...] = (flip, flip, cut, splice, field, field, whole)


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    """Any of the mutations that know nothing of formats."""
    return draw.choice(BYTES)(content, draw)


def places(value: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every container of JSON with each of its keys."""
    found = [] if found is None else found
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        places(value[key], found)
    return found


def of_json(content: bytes, draw: random.Random) -> bytes:
    """A value of another type or size, a key gone, twice or renamed, nesting; bytes where it is no JSON."""
    try:
        value = json.loads(content)
    except ValueError:
        return draw.choice((of_bytes, text))(content, draw)
    return _structure(value, content, draw)


def _structure(value: Any, content: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 4))):
        found = places(value)
        if not found:
            return text(content, draw)
        held, key = draw.choice(found)
        does = draw.randrange(6)
        if does == 0:
            held[key] = draw.choice(VALUES)
        elif does == 1:
            held[key] = draw.choice(NUMBERS)
        elif does == 2:
            del held[key]
        elif does == 3 and isinstance(held, dict):
            held[draw.choice(("", "x", f"{key}2", "__class__"))] = held.pop(key)
        elif does == 4:
            other, from_key = draw.choice(found)
            if isinstance(other, dict) and from_key in other:
                held[key] = json.loads(json.dumps(other[from_key]))
        else:
            held[key] = [held[key]] * draw.choice((0, 2, 1000 if len(found) < 1000 else 3))  # once, not its cube
    written = json.dumps(value)
    does = draw.random()
    if does < 0.05:  # the same key twice
        written = re.sub(r'("[^"]+": [^,{}\[\]]+)', r"\1, \1", written, count=1)
    elif does < 0.1:
        deep = draw.choice((100, 900, DEEPEST))
        inside = draw.choice(("[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep))
        written = re.sub(r": [^,{}\[\]]+", lambda _: f": {inside}", written, count=1)
    elif does < 0.15:
        written = re.sub(
            r": -?\d[\d.e+-]*", lambda _: ": " + draw.choice(("NaN", "-Infinity", "1e999")), written, count=1
        )
    return written.encode("utf-8", "surrogatepass")


def of_lines(content: bytes, draw: random.Random) -> bytes:
    """JSON lines: one of them changed, gone, or twice."""
    lines = content.splitlines(keepends=True)
    if not lines or draw.random() < 0.2:
        return of_bytes(content, draw)
    i = draw.randrange(len(lines))
    changed = draw.choice((of_json(lines[i], draw).replace(b"\n", b" ") + b"\n", b"", lines[i] * 2, lines[i].rstrip()))
    return b"".join([*lines[:i], changed, *lines[i + 1 :]])


def of_safetensors(content: bytes, draw: random.Random) -> bytes:
    """The header changed as JSON, with its right length before it."""
    (length,) = struct.unpack("<Q", content[:8])
    header = of_json(content[8 : 8 + length], draw)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def of_npy(content: bytes, draw: random.Random) -> bytes:
    """The header changed as text, padded to its right length."""
    (length,) = struct.unpack("<H", content[8:10])
    header = content[10 : 10 + length].decode("latin-1").strip()
    swaps = (
        (
            r"'descr': '[^']*'",
            "'descr': '" + draw.choice(("|O", "<f2", "<f8", ">f4", "<U4", "|S0", "<c8", "V9", "?", "<M8")) + "'",
        ),
        (r"\(\d*", "(" + str(draw.choice((-1, 0, 1, 1 << 31, 1 << 62, 10**30)))),
        (r"\(", "(" + "1, " * draw.choice((1, 40))),
        (r"False", draw.choice(("True", "None", "2"))),
        (r"'shape'", draw.choice(("'shap'", "'descr'"))),
    )
    pattern, instead = draw.choice(swaps)
    header = re.sub(pattern, lambda _: instead, header, count=1)
    padded = header.encode("latin-1") + b" " * (-(len(header) + 11) % 64) + b"\n"
    return content[:8] + struct.pack("<H", len(padded)) + padded + content[10 + length :]


def of_zip(content: bytes, draw: random.Random) -> bytes:
    """One member changed as what it is, gone, twice or renamed; the sums of the archive are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    i = draw.randrange(len(members))
    name, inside = members[i]
    does = draw.random()
    if does < 0.7:
        members[i] = (name, mutated(name, inside, draw))
    elif does < 0.8:
        del members[i]
    elif does < 0.9:
        members.append(members[i])
    else:
        members[i] = (draw.choice(("../" + name, name + "2", "", "/" + name)) or "x", inside)
    made = io.BytesIO()
    packed = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(made, "w", packed) as archive:  # of a name twice
        for name, inside in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            with archive.open(info, "w") as file:
                file.write(inside)
    return made.getvalue()


def of_tar(content: bytes, draw: random.Random) -> bytes:
    """One member changed as what it is, gone, twice, renamed or of another type; headers have right sums."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(info, archive.extractfile(info).read() if info.isfile() else b"") for info in archive]  # type: ignore[union-attr]
    i = draw.randrange(len(members))
    info, inside = members[i]
    does = draw.random()
    if does < 0.6:
        members[i] = (info, mutated(info.name, inside, draw))
    elif does < 0.7:
        del members[i]
    elif does < 0.8:
        members.append(members[i])
    elif does < 0.9:
        info.name = draw.choice(("../" + info.name, "x" * 300, "/" + info.name, info.name.upper(), "."))
    else:
        info.type = draw.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE))
        info.linkname = draw.choice(("", "/dev/zero", info.name, "../x"))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for info, inside in members:
            info.size = len(inside) if info.isfile() else 0
            archive.addfile(info, io.BytesIO(inside))
    return made.getvalue()


def of_png(content: bytes, draw: random.Random) -> bytes:
    """One chunk changed, with its right sum."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    i = draw.randrange(len(chunks))
    kind, inside = chunks[i]
    chunks[i] = draw.choice(((kind, of_bytes(inside, draw)), (b"IDAT", inside), (b"tRNS", inside), (kind, inside * 2)))
    return content[:8] + b"".join(
        struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))
        for kind, inside in chunks
    )


STRUCTURED: dict[str, Mutation] = {
    ".json": of_json,
    ".jsonl": of_lines,
    ".safetensors": of_safetensors,
    ".npy": of_npy,
    ".npz": of_zip,
    ".pt": of_zip,
    ".tar": of_tar,
    ".png": of_png,
    **dict.fromkeys((".csv", ".tsv", ".txt"), text),
}


def mutated(name: str, content: bytes, draw: random.Random) -> bytes:
    """The content of a file of this name, changed as its kind allows or as bytes."""
    structured = STRUCTURED.get(PurePath(name).suffix)
    if structured is None or draw.random() < 0.4:
        return of_bytes(content, draw)
    try:
        return structured(content, draw)
    except (struct.error, zipfile.BadZipFile, tarfile.TarError, IndexError, ValueError, RecursionError, OverflowError):
        return of_bytes(content, draw)
