"""A benchmark that is killed: its processes end with it, and what was done is not done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


def descendants(pid: int) -> set[int]:
    """The processes below one, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal():
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, ahead = set(), [pid]
    while ahead:
        below = {child for child, parent in parents.items() if parent == ahead[-1]}
        ahead.pop()
        ahead += below - found
        found |= below
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells processes by /proc")
def test_the_processes_of_a_killed_benchmark_end(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(60, 16)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", image=rows, text=rows + 0.1, image_of_text=np.arange(60), logit_scale=10.0)
    line = [sys.executable, "-m", "geomclip", "ground", "bench", "--source", "vectors", "--vectors", "rows.npz"]
    line += ["--out", "bench", "--rows", "base,mmn", "--steps", "100000", "--train", "40", "--val", "4", "--test", "20"]
    running = subprocess.Popen([*line, "--quiet"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 90
        while len(below := descendants(running.pid)) < 3 and time.monotonic() < until:  # two and the tracker
            assert running.poll() is None
            time.sleep(0.2)
        assert len(below) >= 3
        time.sleep(1)
        below = descendants(running.pid)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    until = time.monotonic() + 60
    while any(map(alive, below)) and time.monotonic() < until:
        time.sleep(0.2)
    left = [pid for pid in below if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
