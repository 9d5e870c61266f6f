"""What sums and syncs cost: extraction and a step of training beside an earlier commit that had fewer of them.

python benchmarks/sums.py [--images 1024] [--steps 12] [--turns 5] [--before REVISION or FOLDER] [--out FILE.json]

The code of this tree and of the earlier one run in turns, each in a process of its own on one core, with the demo model
and the built-in pictures. Extraction is the seconds of the fastest turn on either side. A step is its own seconds and
its share of a checkpoint at the default --save-every: steps and checkpoints are timed apart, since one checkpoint in
50 steps is lost in their noise.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alone import alone
from goal import Goal, report
from unchanged import tree_of

BEFORE = "0d5664b"
"""The commit before everything kept had a sum."""
MOST = 1.03
"""Of the seconds of the earlier commit."""
SAVE_EVERY = 50
"""Steps between checkpoints, the default."""


def command(*words: object) -> float:
    """Seconds of a command of whichever geomclip is first on the path, in this process."""
    try:
        from geomclip.cli.app import main
    except ImportError:  # before commands were a package
        from geomclip.cli import main

    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = main([*map(str, words), "--quiet"])
    if code:
        sys.exit(f"geomclip {words[0]}: exit {code}")
    return time.perf_counter() - begin


def extraction(images: int, place: Path) -> dict[str, float]:
    """Seconds to extract so many pictures and their texts into a store of eight shards."""
    how = ("--split", "train", "--workers", 1, "--cache-dir", place / "cache", "--shard-rows", max(1, images // 8))
    command("extract", "--limit", min(images, 64), "--out", place / "first", *how)
    return {"extraction": command("extract", "--limit", images, "--out", place / "store", *how)}


def training(steps: int, place: Path) -> dict[str, float]:
    """Median seconds of a step, and of a checkpoint."""
    from geomclip.training import snapshots

    saves: list[float] = []
    save = snapshots.save

    def timed(*arguments: Any) -> Path:
        begin = time.perf_counter()
        folder = save(*arguments)
        saves.append(time.perf_counter() - begin)
        return folder

    snapshots.save = timed
    settings = ("--steps", steps, "--save-every", 1, "--probe-every", 0, "--bootstrap", 0)
    command("finetune", "--out", place / "run", "--cache-dir", place / "cache", *settings)
    lines = [json.loads(line) for line in (place / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
    size = json.loads((place / "run" / "config.json").read_text(encoding="utf-8"))["settings"]["batch_size"]
    # what comes first finds nothing in memory
    return {"step": size / statistics.median(rates[1:] or rates), "checkpoint": statistics.median(saves[1:] or saves)}


def turns(trees: Mapping[str, Path], options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """What each side takes in each turn."""
    found: dict[str, dict[str, list[float]]] = {side: {} for side in trees}
    for turn in range(options.turns):
        # the one that comes second finds files in memory: they take turns at that too
        for side in list(trees)[:: 1 if turn % 2 else -1]:
            for part, size in (("extraction", options.images), ("training", options.steps)):
                with tempfile.TemporaryDirectory() as place:
                    for name, seconds in alone(__file__, "--one", part, size, place, tree=trees[side]).items():
                        found[side].setdefault(name, []).append(seconds)
    return found


def goals(rows: list[dict[str, Any]], of: str) -> list[Goal]:
    """Both costs beside the earlier commit's; the step itself is the same code, so its seconds are those of both."""
    before, now = rows
    step = min(before["step s"], now["step s"])
    cost = [step + row["checkpoint s"] / SAVE_EVERY for row in rows]
    return [
        Goal(
            "sums of an extraction", now["extraction s"] / before["extraction s"], MOST, why=f"of the seconds of {of}"
        ),
        Goal(
            "sums of a step", cost[1] / cost[0], MOST, why=f"of the seconds of {of}, with a checkpoint in {SAVE_EVERY}"
        ),
    ]


def main() -> None:
    """Measure beside the earlier tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--before", default=BEFORE, metavar="REVISION")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tree_of(options.before) as before:
        found = turns({"before": before, "now": Path(__file__).resolve().parents[1]}, options)
    rows = [
        {"side": side, **{f"{name} s": min(seconds) for name, seconds in own.items()}} for side, own in found.items()
    ]
    report("Sums and syncs", goals(rows, f"commit {options.before}"), rows, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        import torch

        torch.set_num_threads(1)
        part = {"extraction": extraction, "training": training}[sys.argv[2]]
        print(json.dumps(part(int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main()
