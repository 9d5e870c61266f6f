"""A part of a benchmark in a process of its own: its seconds, and the most memory that it held above its inputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def memory_gb(field: str) -> float:
    """Memory of this process in GB (2**30 bytes): VmRSS, now; VmHWM, the peak; VmSize, addresses. Linux only."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 2**20


def forget_peak() -> None:
    """Start VmHWM again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measured(run: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """What it gives, its `seconds`, those that the cores worked, and `peak_gb` above what this process held before."""
    forget_peak()
    before, begin, worked = memory_gb("VmRSS"), time.perf_counter(), time.process_time()
    given = run()
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    return given, {"seconds": seconds, "cpu_seconds": worked, "peak_gb": memory_gb("VmHWM") - before}


def recorded(script: Path, *arguments: object, quiet: bool = False) -> tuple[dict[str, Any] | None, str, int]:
    """What a script writes with --out, None where it wrote nothing; its stderr, if it is quiet; and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, str(script), *map(str, arguments), "--out", str(out)]
        ended = subprocess.run(command, capture_output=quiet, text=True, check=False)
        record = json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
        return record, ended.stderr or "", ended.returncode


def alone(script: str, *arguments: object, tree: Path | None = None) -> dict[str, Any]:
    """Run a script with these arguments, with the code of a checkout if one is given; the JSON object of its last line.

    Raises
    ------
    SystemExit
        With what it wrote to stderr, where it fails.
    """
    command = [sys.executable, script, *map(str, arguments)]
    env = None if tree is None else {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    given = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(given, dict)
    return given
