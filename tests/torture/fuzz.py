"""Mutated files of every kind that geomclip reads: refused in one line, or read; nothing else.

    python tests/torture/fuzz.py                        10,000 of each kind, or 60 minutes in all
    python tests/torture/fuzz.py --minutes 5 npz csv    some kinds alone
    python tests/torture/fuzz.py --again npz:123        one case, with its traceback; --keep FOLDER leaves the files

Verdicts: `read`, `refused` (an error of geomclip's, one line); and what is lost: `raw` (any other exception), `lines`
(an error of several), `hang` (20 s), `memory` (2 GB more than before), `crash` (the interpreter ended) and `silent`
(other content than was written, where a sum would tell).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

sys.path.append(str(Path(__file__).parents[1] / "support"))

from mutate import mutated
from seeds import KINDS, files_of

SECONDS = 20
MEMORY = 2 << 30
MOST = 10_000
BATCH = 250
"""Cases a child."""
SUM = b"sha256"
FINE = ("read", "refused")


class Hang(BaseException):
    """The time of a case is over; no `except Exception` takes it for an error of the file."""


@dataclass
class Row:
    """What was found of one kind."""

    kind: str
    verdicts: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[str, int, str]] = field(default_factory=list)  # verdict, case, what was seen
    seconds: float = 0.0

    def add(self, case: int, verdict: str, seen: str) -> None:
        """One more."""
        self.verdicts[verdict] += 1
        if verdict not in FINE:
            self.lost.append((verdict, case, seen))


class Seed:
    """The files of one kind in a folder, with their content."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.kind, self.folder = name, KINDS[name], folder
        folder.mkdir(parents=True)
        with redirect_stderr(io.StringIO()):  # bars of transformers
            self.kind.make(folder)
        self.content = {name: (folder / name).read_bytes() for name in files_of(self.kind, folder)}
        self.expected = self.kind.read(folder)

    def mutate(self, case: int) -> str:
        """Change one file as this case does; its name."""
        draw = random.Random(f"{self.name} {case}")
        name = draw.choice(list(self.content))
        (self.folder / name).write_bytes(mutated(name, self.content[name], draw))
        return name

    def restore(self) -> None:
        """All files as they were."""
        for name, content in self.content.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)  # what cannot be read may have been put aside
            if not file.is_file() or file.stat().st_size != len(content) or file.read_bytes() != content:
                file.write_bytes(content)

    def judge(self, case: int) -> tuple[str, str]:
        """The verdict on one case, and what was seen."""
        name = self.mutate(case)
        # what has no sum any more is no file with a sum, but one of an earlier version
        without_sum = sums(name, (self.folder / name).read_bytes()) < sums(name, self.content[name])
        try:
            with limited(SECONDS):
                found = self.kind.read(self.folder)
        except BaseException as error:
            return verdict_on(error)
        finally:
            self.restore()
        if self.kind.summed and found not in (self.expected, "") and not without_sum:
            return "silent", f"{name} reads as something else"
        return "read", ""


def sums(name: str, content: bytes) -> int:
    """How many sums a file has; of an object of JSON its own counts where it is looked for alone."""
    from geomclip.machine.sums import sum_in

    with suppress(ValueError, RecursionError):
        if name.endswith(".json") and isinstance(record := json.loads(content), dict) and sum_in(record) is None:
            return 0
    return content.count(SUM)


def verdict_on(error: BaseException) -> tuple[str, str]:
    """What an exception means."""
    from geomclip.machine.errors import GeomclipError

    if isinstance(error, Hang):
        return "hang", where(error)
    if isinstance(error, MemoryError):
        return "memory", where(error)
    if isinstance(error, GeomclipError):
        if "\n" in str(error) or len(str(error)) > 2000:
            return "lines", str(error)[:300]
        return "refused", ""
    if isinstance(error, KeyboardInterrupt):
        raise error
    return "raw", f"{type(error).__name__}: {str(error)[:150]!r} {where(error)}"


def where(error: BaseException) -> str:
    """The last line of geomclip in its traceback."""
    lines = [
        frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}geomclip{os.sep}" in frame.filename
    ]
    return f"at {Path(*Path(lines[-1].filename).parts[-2:])}:{lines[-1].lineno}" if lines else ""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Hang after so many seconds."""

    def end(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def limit_memory() -> None:
    """Two more gigabytes of data for this process."""
    status = Path("/proc/self/status").read_text()
    now = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (now + MEMORY, now + MEMORY))


def batch(seed: Seed, cases: range, out: IO[str]) -> None:
    """In a child: judge cases, a line each; each is named before it is tried."""
    limit_memory()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    warnings.simplefilter("ignore")
    logging.disable()
    for case in cases:
        verdict, seen = seed.judge(case)
        out.write(json.dumps([case, verdict, seen]) + "\n")
        out.flush()


def forked(seed: Seed, cases: range, row: Row) -> int:
    """Judge cases in a child; the first that is still to be tried."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                batch(seed, cases, out)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    following, hangs = cases.start, False
    with os.fdopen(reading, "rb", buffering=0) as answers:
        while True:
            # what hangs in C is not reached by the alarm
            if not select.select([answers], [], [], SECONDS + 5)[0]:
                os.kill(process, signal.SIGKILL)
                hangs = True
                break
            line = answers.readline()
            if not line:
                break
            case, verdict, seen = json.loads(line)
            row.add(case, verdict, seen)
            following = case + 1
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if hangs or code != 0:
        row.add(following, *(("hang", "outside Python") if hangs else ("crash", f"ended with {code}")))
        following += 1
    seed.restore()
    return following


def fuzz(name: str, folder: Path, *, most: int = MOST, until: float = float("inf"), first: int = 0) -> Row:
    """One kind: `most` cases, or as many as there is time for."""
    row, started = Row(name), time.monotonic()
    seed = Seed(name, folder)
    case = first
    while case < first + most and time.monotonic() < until:
        size = max(10, int(BATCH / seed.kind.costs))
        case = forked(seed, range(case, min(case + size, first + most)), row)
    row.seconds = time.monotonic() - started
    return row


def work(kinds: Sequence[str], folder: Path, most: int, end: float, out: IO[str]) -> None:
    """Several kinds one after another; each gets its share, by what it costs, of the time that is left."""
    for i, name in enumerate(kinds):
        left = [KINDS[other].costs ** 0.5 for other in kinds[i:]]
        until = time.monotonic() + (end - time.monotonic()) * left[0] / sum(left)
        number = max(1, int(most / KINDS[name].costs)) if most < MOST else most
        row = fuzz(name, folder / name, most=number, until=until)
        out.write(json.dumps([row.kind, row.verdicts, row.lost, row.seconds]) + "\n")
        out.flush()


def warm() -> None:
    """Import once what every child needs."""
    import open_clip  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch

    import geomclip.encoders
    import geomclip.pairs
    import geomclip.panels
    import geomclip.training.folder  # noqa: F401

    torch.set_num_threads(1)


def run(kinds: Sequence[str], folder: Path, *, most: int, seconds: float, processes: int = 2) -> Iterator[Row]:
    """All kinds, in some processes at a time."""
    end, pipes = time.monotonic() + seconds, []
    for i in range(processes):
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            code = 1
            try:
                with os.fdopen(writing, "w") as out:
                    work(kinds[i::processes], folder / str(i), most, end, out)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writing)
        pipes.append((process, os.fdopen(reading, "rb", buffering=0)))
    open_pipes = {pipe: process for process, pipe in pipes}
    try:
        while open_pipes:
            for pipe in select.select(list(open_pipes), [], [])[0]:
                line = pipe.readline()
                if line:
                    name, verdicts, lost, took = json.loads(line)
                    yield Row(name, Counter(verdicts), [tuple(each) for each in lost], took)
                else:
                    pipe.close()
                    if os.waitpid(open_pipes.pop(pipe), 0)[1]:
                        raise RuntimeError("a process of the fuzz ended: see above")
    finally:
        for process in open_pipes.values():
            os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)


HEAD = "| kind | cases | read | refused | lost | of these |\n|---|---:|---:|---:|---:|---|"


def line(row: Row) -> str:
    """A row of the table."""
    kinds = ", ".join(f"{count} {name}" for name, count in row.verdicts.items() if name not in FINE)
    numbers = (row.verdicts.total(), row.verdicts["read"], row.verdicts["refused"], len(row.lost))
    return f"| {row.kind} | " + " | ".join(f"{number:,}" for number in numbers) + f" | {kinds} |"


def shown(row: Row, most: int = 10) -> Iterator[str]:
    """What was lost, each kind once, with the case that makes it again."""
    kinds: dict[str, list[tuple[str, int, str]]] = {}
    for lost in row.lost:
        place = lost[2].rpartition(" at ")[2] if " at " in lost[2] else lost[2][:40]
        kinds.setdefault(f"{lost[0]} {lost[2][:20]} {place}", []).append(lost)
    for cases in sorted(kinds.values(), key=len, reverse=True)[:most]:
        verdict, case, seen = cases[0]
        yield f"{row.kind}:{case} {verdict}, {len(cases)} so: {seen[:300]}"


def again(name: str, case: int, folder: Path) -> None:
    """One case in this process, with what it raises."""
    seed = Seed(name, folder)
    changed = seed.mutate(case)
    print(f"{folder / changed} is changed", file=sys.stderr)
    with limited(SECONDS):
        found = seed.kind.read(folder)
    print("as before" if found == seed.expected else f"{found!r}, not {seed.expected!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--minutes", type=float, default=60.0, help="in all")
    parser.add_argument("--count", type=int, default=MOST, help="of a kind")
    parser.add_argument("--again", metavar="KIND:CASE")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the files of --again are left")
    options = parser.parse_args(arguments)
    if unknown := set(options.kinds) - KINDS.keys():
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    warm()
    with tempfile.TemporaryDirectory(prefix="geomclip-fuzz-") as place:
        if options.again:
            name, _, case = options.again.rpartition(":")
            again(name, int(case), (options.keep or Path(place)) / name)
            return 0
        print(HEAD, flush=True)
        rows = []
        kinds = options.kinds or list(KINDS)
        for row in run(kinds, Path(place), most=options.count, seconds=60 * options.minutes):
            rows.append(row)
            print(line(row), flush=True)
            for said in shown(row):
                print(said, file=sys.stderr, flush=True)
    total = Row("all", sum((row.verdicts for row in rows), Counter()), [lost for row in rows for lost in row.lost])
    print(line(total))
    return int(bool(total.lost))


if __name__ == "__main__":
    sys.exit(main())
