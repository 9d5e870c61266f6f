"""Cross every file operation of every command with every fault, and print what held as a table of Markdown.

    python tests/torture/torture.py                    all of it: an hour or more of two cores
    python tests/torture/torture.py --share 0.1        a tenth, drawn by --seed
    python tests/torture/torture.py extract download   some commands alone

A case runs a command with one fault at one operation, and the same command again without. It held if the first run
ended by the fault or with one line, and the second with the result of an undisturbed one, without making again what was
finished; litter is what lies there then and did not after an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import COMMANDS
from shim import FAULTS, Operation, build

HERE = Path(__file__).parent
POWER_CUTS = 200
"""Drawn states after a power cut, a command."""
MEMORY = Path("/dev/shm")
"""Where files are, if there is such a place: what a disk had lost is computed, so none need be waited for."""


@dataclass
class Row:
    """What was found of one command."""

    command: str
    points: int = 0
    reads: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    lost: list[dict[str, Any]] = field(default_factory=list)
    litter: list[dict[str, Any]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Cases in which nothing was lost."""
        return self.tried.total() - len(self.lost)


class Worker:
    """A process of worker.py and its pipe."""

    def __init__(self, command: str, folder: Path, library: Path) -> None:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("GEOMCLIP_")},
            **{"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            **{
                "PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[1], HERE.parents[1] / "tests/support"))),
                "HOME": str(folder),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        }
        folder.mkdir(exist_ok=True)
        self.err = folder / f"{command}.err"
        err = self.err.open("w")
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py", command, folder / command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env=environment,
            cwd=folder,
        )
        err.close()
        self.found = self._answer()

    def ask(self, case: dict[str, Any]) -> dict[str, Any]:
        """The verdict on one case."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.err.read_text()[-2000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end."""
        self.process.communicate()


def cases_of(found: dict[str, Any], *, power: int = POWER_CUTS) -> Iterator[dict[str, Any]]:
    """Each operation with each fault that can befall it; errors of reading; power cuts."""
    for number, kind, flags, path in found["points"]:
        operation = Operation(number, 0, kind, 0, 0, flags, path, "", b"")
        for name, fault in FAULTS.items():
            if operation.takes(fault):
                yield {"k": number, "fault": name}
    yield from ({"k": number, "fault": "EIO", "reads": True} for number in found["reads"])
    yield from ({"k": 0, "fault": "power", "seed": seed} for seed in range(power))


def torture(
    command: str,
    folder: Path,
    library: Path,
    *,
    share: float = 1.0,
    seed: int = 0,
    most: int | None = None,
    processes: int = 2,
    until: float = float("inf"),
) -> Row:
    """One command, in some processes at a time; cases are drawn where not all are wanted."""
    with ThreadPoolExecutor(processes) as pool:
        workers = list(pool.map(lambda i: Worker(command, folder / str(i), library), range(processes)))
        found = workers[0].found
        row = Row(command, len(found["points"]), len(found["reads"]))
        row.names = {number: f"{kind} {path}" for number, kind, _, path in found["points"]}
        draw = random.Random(f"{command} {seed}")
        cases = [case for case in cases_of(found) if share >= 1 or draw.random() < share]
        draw.shuffle(cases)
        cases = cases[:most]

        def work(i: int) -> list[dict[str, Any]]:
            answers = []
            for case in cases[i::processes]:
                if time.monotonic() > until:
                    break
                answers.append({**case, **workers[i].ask(case)})
            workers[i].close()
            return answers

        for answer in (answer for answers in pool.map(work, range(processes)) for answer in answers):
            row.tried[answer["fault"]] += 1
            row.lost += [answer] if answer["lost"] else []
            row.litter += [answer] if answer["litter"] else []
    return row


HEAD = "| command | operations | faults tried | held | lost | litter |\n|---|---:|---:|---:|---:|---:|"


def line(row: Row) -> str:
    """A row of the table."""
    numbers = (row.points, row.tried.total(), row.held, len(row.lost), len(row.litter))
    return f"| {row.command} | " + " | ".join(f"{number:,}" for number in numbers) + " |"


def shown(row: Row, most: int = 12) -> Iterator[str]:
    """What did not hold, each kind once, with the first case of it."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for answer in (*row.lost, *row.litter):
        said = "; ".join((*answer["lost"], *(f"litter {path}" for path in answer["litter"][:2])))
        kinds.setdefault(f"{answer['fault']}: {said[:60]}", []).append({**answer, "said": said})
    for cases in sorted(kinds.values(), key=len, reverse=True)[:most]:
        one = cases[0]
        where = f"seed {one['seed']}" if "seed" in one else f"operation {one['k']}"
        what = "a read" if one.get("reads") else row.names.get(one["k"], "")
        yield f"{row.command}, {one['fault']} at {where} ({what}), {len(cases)} so: {one['said'][:300]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], metavar="COMMAND")
    parser.add_argument("--share", type=float, default=1.0, help="of all cases")
    parser.add_argument("--most", type=int, help="cases of a command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of a command")
    options = parser.parse_args(arguments)
    rows = []
    print(HEAD, flush=True)
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="geomclip-torture-", dir=where) as place:
        library = build(Path(place))
        for command in options.commands or COMMANDS:
            row = torture(
                command,
                Path(place),
                library,
                share=options.share,
                seed=options.seed,
                most=options.most,
                until=time.monotonic() + 60 * options.minutes,
            )
            rows.append(row)
            print(line(row), flush=True)
            for said in shown(row):
                print(said, file=sys.stderr, flush=True)
    return int(any(row.lost or row.litter for row in rows))


if __name__ == "__main__":
    sys.exit(main())
