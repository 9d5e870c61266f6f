"""What it costs to fill a model from a weights file, beside bare reading of its tensors, in time and memory.

python benchmarks/weights.py [--arch ViT-L-14] [--turns 3] [--folder DIR] [--out FILE.json]

Random weights of an architecture are written as safetensors, as shards of it, and as the checkpoint of a trainer whose
names begin with `module.`. Bare reading takes all tensors into memory with safetensors or torch. Ours reads what the
file holds, compares it with the model and copies tensor after tensor into it. Both take turns, each in a process of
its own, with the file in the system's cache. The memory is that of `load_encoder`, from the name to the encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from alone import alone, measured
from goal import Goal, report
from torch import Tensor

MOST_OF_READING, MOST_MEMORY = 1.5, 1.2
SHARDS = 4
BARE, FILL, LOAD = "bare", "fill", "load"


def write(arch: str, folder: Path) -> list[Path]:
    """The three files of one model."""
    from geomclip.encoders import towers
    from geomclip.encoders.saved import write_safetensors

    state = towers.build(towers.architecture_config(arch), {}, seed=0, where=arch).state_dict()
    whole, trainer, index = folder / "m.safetensors", folder / "epoch_1.pt", folder / "s.safetensors.index.json"
    with whole.open("wb") as out:
        write_safetensors(out, state, {})
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, trainer)
    of = {name: f"s-{number * SHARDS // len(state)}.safetensors" for number, name in enumerate(state)}
    for shard in set(of.values()):
        with (folder / shard).open("wb") as out:
            write_safetensors(out, {name: value for name, value in state.items() if of[name] == shard}, {})
    index.write_text(json.dumps({"weight_map": of}), encoding="utf-8")
    return [whole, index, trainer]


def bare(file: Path) -> list[Tensor]:
    """All tensors, in memory."""
    from safetensors import safe_open

    if file.suffix == ".pt":
        return list(torch.load(file, weights_only=True)["state_dict"].values())
    shards = sorted(set(json.loads(file.read_text("utf-8"))["weight_map"].values())) if file.suffix == ".json" else []
    found = []
    for each in [file.parent / shard for shard in shards] or [file]:
        with safe_open(each, framework="pt") as opened:
            found += [opened.get_tensor(name).clone() for name in opened.keys()]  # noqa: SIM118
    return found


def one(way: str, file: Path, arch: str) -> None:
    """One way in this process: its seconds, the peak above what was held before, and the bytes of the model."""
    from geomclip.encoders import load_encoder, towers
    from geomclip.encoders.weights.contents import read_contents
    from geomclip.encoders.weights.fitting import compare

    config = towers.architecture_config(arch)
    shape = towers.outline(config, where=arch)  # open_clip and what it needs are imported
    size = sum(value.numel() * value.element_size() for value in shape.state_dict().values())
    run: Callable[[], object]
    if way == BARE:
        run = lambda: bare(file)  # noqa: E731
    elif way == LOAD:
        run = lambda: load_encoder(str(file), arch=arch)  # noqa: E731
    else:
        module = towers.build(config, {}, seed=0, where=arch)

        def run() -> object:
            contents = read_contents(file)
            compare(contents, module, arch)
            towers.load_into(module, contents)
            return module

    _, found = measured(run)
    print(json.dumps({**found, "bytes": size}))


def main() -> None:
    """Write, take turns, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="ViT-L-14")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows, goals = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as fresh:
        for file in write(options.arch, Path(fresh)):
            bare(file)  # into the system's cache
            found = {BARE: [], FILL: [], LOAD: []}
            for _ in range(options.turns):
                for way, turns in found.items():
                    turns.append(alone(__file__, "--one", way, file, options.arch))
            seconds = {way: statistics.median(turn["seconds"] for turn in turns) for way, turns in found.items()}
            size = found[LOAD][0]["bytes"] / 2**30
            peak = max(turn["peak_gb"] for turn in found[LOAD])
            name = file.name.partition(".")[2]
            rows.append(
                {"file": name, "GB": size} | {f"{way} s": each for way, each in seconds.items()} | {"peak GB": peak}
            )
            why = f"{options.arch}, {size:.2f} GB: {seconds[FILL]:.2f} s of {seconds[BARE]:.2f} s"
            goals.append(Goal(f"fill from .{name}", seconds[FILL] / seconds[BARE], MOST_OF_READING, why=why))
            why = f"peak of load_encoder over the model's bytes, {options.arch}"
            goals.append(Goal(f"memory, .{name}", peak / size, MOST_MEMORY, why=why))
    report("Weights: filling a model from a file, and bare reading of it", goals, rows, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main()
