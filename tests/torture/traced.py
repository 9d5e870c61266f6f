"""What strace sees of a command, counted as the shim counts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from shim import read_log

CALLS = {
    **dict.fromkeys(("open", "openat", "openat2", "creat"), "open"),
    **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range"), "write"),
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("unlink", "unlinkat"), "unlink"),
    **dict.fromkeys(("link", "linkat"), "link"),
    **dict.fromkeys(("symlink", "symlinkat"), "symlink"),
    **dict.fromkeys(("truncate", "ftruncate"), "truncate"),
    **dict.fromkeys(("fsync", "fdatasync", "sync_file_range", "syncfs", "msync"), "fsync"),
    **{"rmdir": "rmdir", "fallocate": "fallocate"},
}
"""System call -> what the shim calls it."""
LIBRARY = re.compile(r".*\.so(\.\d+)*")
"""What the dynamic linker looks for wherever its path leads: no file of the command's."""
TRACE = re.compile(r"^\d+ +(\w+)\((.*?)(?: <unfinished \.\.\.>|\) += .*)$")


def strace() -> str | None:
    """The program, if it is here and may look into processes."""
    program = shutil.which("strace")
    if program is None or subprocess.run([program, "-o", os.devnull, "true"], check=False).returncode:
        return None
    return program


def counts(typed: str, root: Path, library: Path, log: Path) -> tuple[Counter[str], Counter[str]]:
    """Operations of one command below `root`, by kind: as strace counts them, and as the shim does in the same run."""
    trace = log.with_suffix(".strace")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GEOMCLIP_")},
        **{"LD_PRELOAD": str(library), "GEOMCLIP_SHIM_ROOT": str(root), "GEOMCLIP_SHIM_LOG": str(log)},
        **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    }
    # strace itself must not be preloaded: it would be counted
    preloaded = [
        f"-E{name}={environment.pop(name)}" for name in ("LD_PRELOAD", "GEOMCLIP_SHIM_ROOT", "GEOMCLIP_SHIM_LOG")
    ]
    known = ",".join(f"?{call}" for call in CALLS)
    how = ["strace", "-f", "-y", "-s", "8192", "-o", str(trace), "-e", f"trace={known}", "-e", "signal=none"]
    command = [*how, *preloaded, sys.executable, "-m", "geomclip", *typed.split()]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-1000:])
    seen = Counter(_seen(trace.read_text("utf-8", "replace"), str(root)))
    return seen, Counter(operation.kind for operation in read_log(log))


def _seen(trace: str, root: str) -> Iterator[str]:
    """The kind of each traced call that concerns a path below `root`."""
    for line in trace.splitlines():
        match = TRACE.match(line)
        if match is None or match[1] not in CALLS:
            continue
        call, arguments = match.groups()
        if any(path == root or path.startswith(f"{root}/") for path in _paths(call, arguments)):
            kind = CALLS[call]
            yield "rmdir" if kind == "unlink" and "AT_REMOVEDIR" in arguments else kind


def _paths(call: str, arguments: str) -> Iterator[str]:
    """Absolute paths that a call names: of its descriptor, or by name from a folder."""
    if CALLS[call] in ("write", "truncate", "fsync", "fallocate"):
        held = re.match(r"\d+<([^>]*)>", arguments)
        if held is not None:
            yield held[1]
        return
    for folder, name in re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', arguments):
        if not LIBRARY.fullmatch(name):
            yield os.path.join(folder, name)
