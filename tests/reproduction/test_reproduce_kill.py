"""A reproduction that is killed in the middle: what is done is not done again, and the table is that of a whole run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers import ROOT
from hub_server import served
from pair_files import write
from published import GAP, RETRIEVAL, coco, karpathy
from tiny_models import tiny_model

CODE = """
import sys, time
from pathlib import Path
from published import GAP, RETRIEVAL
from geomclip.machine.progress import Silent
from geomclip.reproduction.run import reproduce

class Slow(Silent):
    def stage(self, name, done, total, note=""):
        if name.startswith("tiny-coco: encoding"):
            Path("encoding").write_text(f"{done} {total}")
            time.sleep(float(sys.argv[1]))

table = reproduce(
    rows=[GAP, RETRIEVAL], data_root="data", cache_dir=Path("cache"), out="out", bootstrap=20, batch_size=4, workers=0,
    progress=Slow(),
)
print([outcome.kept for outcome in table.outcomes])
print(table)
"""


def start(folder: Path, address: str, seconds: float) -> subprocess.Popen[str]:
    """A reproduction in a process of its own, which sleeps so long after each batch of the second row."""
    known = {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
    known |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}
    line = [sys.executable, "-c", CODE, str(seconds)]
    return subprocess.Popen(
        line, cwd=folder, env={**os.environ, **known}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    tiny_model(tmp_path / "hub/org/tiny")
    for name in ("killed", "whole"):
        write(tmp_path / name / "data", {})
        coco(tmp_path / name / "data/coco")
        karpathy(tmp_path / name / "data/coco-karpathy")
    killed = tmp_path / "killed"
    with served(tmp_path / "hub") as hub:
        running = start(killed, hub.address, 0.3)
        try:
            until = time.monotonic() + 120
            while not (killed / "encoding").is_file() and time.monotonic() < until:
                assert running.poll() is None, running.communicate()[1]
                time.sleep(0.02)
        finally:
            running.send_signal(signal.SIGKILL)
            running.communicate()
        first = killed / "out" / GAP.name / "kept.json"
        done = first.stat().st_mtime_ns, first.read_bytes()
        assert not (killed / "out" / RETRIEVAL.name / "kept.json").exists()
        found, _, table = output(start(killed, hub.address, 0)).partition("\n")
        assert found == "[True, False]"
        assert (first.stat().st_mtime_ns, first.read_bytes()) == done
        assert hub.seen["GET org/tiny/open_clip_model.safetensors"] == 1
        _, _, expected = output(start(tmp_path / "whole", hub.address, 0)).partition("\n")
    assert table.replace(", kept from before", "") == expected
    assert sorted(path.name for path in (killed / "out").rglob("*")) == sorted(
        path.name for path in (tmp_path / "whole/out").rglob("*")
    )
