"""The preloaded library of shim.c: how it is built, armed and read."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
COUNT, KILL, HALF, FAIL, FULL, SIGNAL = range(6)
NAMES = ("rename", "unlink", "mkdir", "rmdir", "link", "symlink", "truncate")


@dataclass(frozen=True)
class Fault:
    """What befalls one operation, and which operations it can befall (all, if none are named)."""

    mode: int
    number: int = 0
    operations: tuple[str, ...] = ()


FAULTS = {
    "kill": Fault(KILL),
    "half": Fault(HALF, operations=("write",)),
    "full": Fault(FULL, operations=("open", "write", "mkdir", "link", "symlink")),
    "EIO": Fault(FAIL, errno.EIO),
    "EMFILE": Fault(FAIL, errno.EMFILE, ("open",)),
    "EACCES": Fault(FAIL, errno.EACCES, ("open", *NAMES)),
    "TERM": Fault(SIGNAL, signal.SIGTERM),
    "INT": Fault(SIGNAL, signal.SIGINT),
}
"""By name: killed before it, killed in the middle of a write, the disk full from here on, an error, a signal."""


@dataclass(frozen=True)
class Operation:
    """One line of the log."""

    number: int
    process: int
    kind: str
    result: int  # bytes written, 0, or the negative errno
    offset: int
    flags: int
    path: str
    other: str
    data: bytes

    def takes(self, fault: Fault) -> bool:
        """Whether the fault can befall it."""
        if fault.mode == FULL and self.kind == "open" and not self.flags & os.O_CREAT:
            return False
        return not fault.operations or self.kind in fault.operations


def compiler() -> str | None:
    """A C compiler of this machine."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def build(folder: Path) -> Path:
    """The library, built from source."""
    library = folder / "shim.so"
    using = compiler()
    if using is None:
        raise SystemExit("a C compiler (cc, gcc or clang) is needed")
    flags = ["-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([using, *flags, "-o", library, SOURCE, "-ldl"], check=True)
    return library


def arm(root: Path, *, k: int, fault: Fault, log: Path | None, with_data: bool = False, reads: bool = False) -> None:
    """From here on, in this process and its children: count below `root`, and disturb operation k."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    descriptor = -1 if log is None else os.open(log, flags, 0o644)
    library = ctypes.CDLL(None)
    library.geomclip_shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, *[ctypes.c_int] * 5]
    library.geomclip_shim_arm(os.fsencode(root), k, fault.mode, fault.number, with_data, reads, descriptor)


def read_log(log: Path) -> list[Operation]:
    """What was written down, in the order of the counter."""
    return sorted(_records(log.read_bytes()), key=lambda operation: operation.number)


def _records(content: bytes) -> Iterator[Operation]:
    at = 0
    while at < len(content):
        end = content.index(b"\n", at)
        number, process, kind, *others = content[at:end].decode().split()
        result, offset, flags, *lengths = map(int, others)
        texts, at = [], end + 1
        for length in lengths:
            texts.append(content[at : at + length])
            at += length
        path, other, data = texts
        yield Operation(
            int(number), int(process), kind, result, offset, flags, os.fsdecode(path), os.fsdecode(other), data
        )
