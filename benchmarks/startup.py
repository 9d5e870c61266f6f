"""What a command costs before it does its work: whole processes, in turns, beside those that do less.

python benchmarks/startup.py [--images 1000] [--texts-per-image 5] [--dim 512] [--bootstrap 1000] [--turns 7]
                             [--model demo --data emoji | --no-model] [--cache-dir FOLDER] [--out FILE.json]

Measured are `python -c pass`, `geomclip --help`, `python -c "import torch"`, and `geomclip measure` of a store, of an
.npz, and of a model and data whose embeddings the cache has. A measurement says itself how long its stages took. The
goal counts everything but the sweeps over similarities (and the loading of compiled code, which is named too): so the
halves of the intervals are in it, which with 512 dimensions take most; `around` is what no stage takes: imports,
reading, the table. Nulls are simulated and code is compiled by a first run, which is not counted.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goal import Goal, report
from made import made

from geomclip.embeddings.store import save

HELP, MEASURE = 0.15, 1.5
"""Seconds: `--help` above an empty Python, `measure` above `import torch`, its sweeps left out."""

APART = ("sweep", "compil", "load")
"""What the names of stages hold that the goal leaves out."""


@dataclass(frozen=True)
class Spent:
    """Of one process: seconds, seconds of processors, and what a measurement says of its stages."""

    seconds: float
    cpu: float
    stages: Mapping[str, float]

    @property
    def apart(self) -> float:
        """What the goal leaves out."""
        return sum(took for stage, took in self.stages.items() if any(word in stage for word in APART))


def spent(command: list[str]) -> Spent:
    """Run it to its end; with its own errors where it fails."""
    before, begin = processors(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, cpu = time.perf_counter() - begin, processors() - before
    if done.returncode:
        sys.exit(f"{' '.join(command[2:])}: exit {done.returncode}: {done.stderr.strip()}")
    return Spent(seconds, cpu, json.loads(done.stdout)["seconds"] if "measure" in command else {})


def processors() -> float:
    """Seconds that the processors have worked for processes that are over."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def commands(options: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """Every contestant by its name; the stores that they need are made."""
    embeddings = made(options.images, options.texts_per_image, options.dim)
    for name in ("vectors.npz", "store"):
        save(embeddings, folder / name)
    python, geomclip = [sys.executable, "-c"], [sys.executable, "-m", "geomclip"]
    common = ["--json", "--quiet", "--bootstrap", str(options.bootstrap)]
    common += ["--cache-dir", str(options.cache_dir)] if options.cache_dir else []
    found = {
        "python -c pass": [*python, "pass"],
        "geomclip --help": [*geomclip, "--help"],
        "import torch": [*python, "import torch"],
        "measure a store": [*geomclip, "measure", "--embeddings", str(folder / "store"), *common],
        "measure an .npz": [*geomclip, "measure", "--embeddings", str(folder / "vectors.npz"), *common],
    }
    if not options.no_model:
        of_model = ["measure", "--model", options.model, "--data", options.data]
        found[f"measure {options.model} on {options.data}"] = [*geomclip, *of_model, *common]
    return found


def row(name: str, turns: list[Spent]) -> dict[str, object]:
    """Medians of one contestant; of a measurement also what its stages took, and what is left of it."""

    def middle(of: Callable[[Spent], float]) -> float:
        return statistics.median(map(of, turns))

    told: dict[str, object] = {"command": name, "seconds": middle(lambda turn: turn.seconds)}
    told["cpu s"] = middle(lambda turn: turn.cpu)
    if turns[0].stages:
        told["sweeps"] = middle(lambda turn: turn.apart)
        told["stages"] = middle(lambda turn: sum(turn.stages.values()) - turn.apart)
        told["around"] = middle(lambda turn: turn.seconds - sum(turn.stages.values()))
        told["outside sweeps"] = middle(lambda turn: turn.seconds - turn.apart)
    return told


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Help above Python, and every measurement above torch."""
    of = {row["command"]: row for row in rows}
    empty, torch = of["python -c pass"]["seconds"], of["import torch"]["seconds"]
    found = [Goal("geomclip --help", of["geomclip --help"]["seconds"] - empty, HELP, "s", why="above python -c pass")]
    for name, each in of.items():
        if "outside sweeps" in each:
            found.append(
                Goal(name, each["outside sweeps"] - torch, MEASURE, "s", why="its sweeps left out, above torch")
            )
            why = "imports, reading and the table, above torch"
            found.append(Goal(f"{name}, no stages", each["around"] - torch, MEASURE, "s", why=why))
    return found


def main() -> None:
    """Every contestant once to warm it, then all of them in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--no-model", action="store_true", help="vectors alone: extracting takes half a minute once")
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contestants = commands(options, Path(folder))
        for command in contestants.values():
            spent(command)
        turns: dict[str, list[Spent]] = {name: [] for name in contestants}
        for _ in range(options.turns):
            for name, command in contestants.items():
                turns[name].append(spent(command))
    rows = [row(name, turns[name]) for name in contestants]
    report("Start-up", goals(rows), rows, options.out)


if __name__ == "__main__":
    main()
