"""One tortured command: a process with all modules loaded that forks a child a run, and judges what each leaves.

    python worker.py COMMAND FOLDER

runs the command undisturbed, prints what it does as a line of JSON, then takes cases (a line of JSON each) from stdin
and prints a verdict a line. The library of shim.c must be preloaded, and tests/support be
among the places of modules.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import select
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import power
from commands import COMMANDS, call, prepare, serve
from shim import COUNT, FAIL, FAULTS, Fault, Operation, arm, read_log

PATIENCE = 60
"""Seconds after which a child hangs."""
OURS = re.compile(r"\.geomclip\.lock|\..*\.geomclip-tmp")
VARIES = {
    "written",
    "since",
    "seconds",
    "time",
    "started",
    "ended",
    "created",
    "elapsed",
    "wall",
    "rate",
    "took",
    "images_per_second",
    "peak_memory",
    "content_sha256",  # of all of these too
}
"""Keys whose values tell the time."""


@dataclass
class Ended:
    """How a run ended."""

    code: int  # of exit; -N: by signal N
    err: str
    operations: list[Operation] = field(default_factory=list)

    def raw(self) -> str:
        """What a person would see of an exception that is no sentence; '' if there is none."""
        lines = self.err.splitlines()
        if "Traceback (most recent call last)" in self.err:
            return f"traceback: {lines[-1] if lines else ''}"
        if self.code > 0 and not (lines and lines[-1].startswith("geomclip: error: ")):
            return f"exit {self.code} without a line: {self.err[-300:]}"
        return lines[-1] if lines and lines[-1].endswith("(--debug shows where)") else ""


WARM = ("torch", "open_clip", "pyarrow.parquet", "helpers", "geomclip.cli.app", "geomclip.training.finetune")
"""What is imported before the first child, so that it need not be in each; what a command needs besides is seen."""


class Tortured:
    """A command in its folder, and what it does undisturbed."""

    def __init__(self, name: str, folder: Path) -> None:
        self.command, self.folder = COMMANDS[name], folder
        self.root, self.template, self.log = folder / "case", folder / "template", folder / "log"
        self.address: str | None = None
        self.server = 0
        if self.command.served:
            self.server, self.address = serve()
        for module in WARM:
            importlib.import_module(module)
        from geomclip.encoders import load_encoder

        self.template.mkdir(parents=True)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.child(lambda: prepare(self.root) or 0, expected=0)
        for typed in self.command.needs:
            self.child(lambda typed=typed: call(typed), expected=0)
        shutil.rmtree(self.root / "cache", ignore_errors=True)
        shutil.rmtree(self.template)
        self.root.rename(self.template)
        self.reset()
        self.run(expected=0)  # loads what it needs
        self.load()
        if (tiny := self.template / "in/tiny").is_dir():
            load_encoder(f"local-dir:{tiny}")  # its tokenizer is kept, and takes longest of all
        gc.freeze()  # so that a child copies none of it
        self.reset()
        self.points = self.run(expected=0).operations
        self.whole, self.there = self.results(), set(self.files())
        again = self.run()
        self.repeats = again.code == 0
        self.reset()
        self.reads = [
            operation for operation in self.run(reads=True, expected=0).operations if operation.kind == "read"
        ]
        if self.results() != self.whole:
            raise SystemExit(f"{name} gives other results each time: {differing(self.whole, self.results())}")

    def close(self) -> None:
        """End the server."""
        if self.server:
            os.kill(self.server, signal.SIGKILL)
            os.waitpid(self.server, 0)

    def reset(self) -> None:
        """The folder as it was before the first run."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root, symlinks=True)

    def load(self) -> None:
        """Import here what the child imported, so that the next ones need not."""
        for name in (self.folder / "modules").read_text().split():
            if name not in sys.modules and name.split(".")[0] != "__main__":
                with suppress(Exception):
                    importlib.import_module(name)

    def run(
        self,
        *,
        k: int = 0,
        fault: Fault = Fault(COUNT),  # noqa: B008  # frozen
        with_data: bool = False,
        reads: bool = False,
        expected: int | None = None,
    ) -> Ended:
        """The command, in a child, with a fault at operation k."""

        def armed() -> int:
            arm(self.root, k=k, fault=fault, log=self.log, with_data=with_data, reads=reads)
            return call(self.command.typed, self.address)

        ended = self.child(armed, expected=expected)
        ended.operations = read_log(self.log)
        return ended

    def child(self, does: Callable[[], int], *, expected: int | None = None) -> Ended:
        """Fork, do, and wait."""
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            self._be_child(does)
        watched = os.pidfd_open(process)
        hangs = not select.select([watched], [], [], PATIENCE)[0]
        if hangs:
            os.kill(process, signal.SIGKILL)
        os.close(watched)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        err = (self.folder / "err").read_text("utf-8", "replace")
        if expected is not None and code != expected:
            raise SystemExit(f"the undisturbed command ended with {code}: {err}")
        return Ended(code, f"hangs after {PATIENCE} s" if hangs else err)

    def _be_child(self, does: Callable[[], int]) -> None:
        code = 99
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(self.root)
            for descriptor, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "out", 0), (2, "err", 0)):
                place = name if name == os.devnull else str(self.folder / name)
                os.dup2(os.open(place, flags or os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
            code = does()
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = 130
            traceback.print_exc()
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stderr.flush()
                (self.folder / "modules").write_text("\n".join(sys.modules))
            os._exit(code)

    def files(self) -> Iterable[str]:
        """Every file and folder below the root, but what lies in the cache under names of its own."""
        for place, folders, files in os.walk(self.root):
            below = os.path.relpath(place, self.root)
            for name in (*folders, *files):
                path = os.path.normpath(os.path.join(below, name))
                if path.split(os.sep)[0] != "cache" or OURS.fullmatch(name):
                    yield path

    def results(self) -> dict[str, object]:
        """What it leaves: file -> content, without times."""
        found: dict[str, object] = {}
        for name in self.command.leaves:
            place = self.root / name
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file() and not OURS.fullmatch(path.name):
                    found[str(path.relative_to(self.root))] = timeless(path)
        return found

    def case(self, k: int, name: str, reads: bool = False) -> dict[str, Any]:
        """Disturb once, run the same again, and judge."""
        self.reset()
        first = self.run(k=k, fault=FAULTS[name], reads=reads)
        return {"k": k, "fault": name, **asdict(self.judge(first, failed=FAULTS[name].mode == FAIL))}

    def judge(self, first: Ended, *, failed: bool = False) -> Verdict:
        """What the first run left, and what the second makes of it.

        An operation that failed may have been one of removing: what still lies there is litter if the second run does
        not remove it, and no other result.
        """
        verdict = Verdict()
        if first.code >= 0:
            verdict.lost += [f"first run: {raw}"] if (raw := first.raw()) else []
        if first.err.startswith("hangs"):
            verdict.lost.append(f"first run {first.err}")
        after = self.results()
        beside = {name: content for name, content in after.items() if not failed or name in self.whole}
        if first.code == 0 and beside != self.whole:
            verdict.lost.append(f"exit 0 with another result: {differing(self.whole, after)}")
        kept = finished(self.root)
        second = self.run()
        if second.code != 0 and not (after == self.whole and not self.repeats):
            verdict.lost.append(f"second run ends with {second.code}: {second.err.strip()[-300:]}")
        elif (found := self.results()) != self.whole:
            verdict.lost.append(f"second run gives another result: {differing(self.whole, found)}")
        again = sorted({made for made in renamed(second.operations) if is_done(made, kept)})
        if again:
            verdict.lost.append(f"done again: {', '.join(os.path.relpath(path, self.root) for path in again[:3])}")
        verdict.litter = sorted(set(self.files()) - self.there)[:5]
        return verdict

    def power_cut(self, seed: int) -> dict[str, Any]:
        """Lose the power somewhere, with any unsynced operations missing; run again, and judge."""
        if not hasattr(self, "recorded"):
            self.reset()
            self.recorded = self.run(with_data=True, expected=0).operations
        shutil.rmtree(self.root, ignore_errors=True)
        at, missing = power.replay(self.recorded, self.template, self.root, seed)
        judged = self.judge(Ended(-9, ""))
        # what lay on no disk yet may be done again
        judged.lost = [line for line in judged.lost if not line.startswith("done again")]
        return {"k": at, "fault": "power", "missing": missing, "seed": seed, **asdict(judged)}


@dataclass
class Verdict:
    """What was found of one case."""

    lost: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)


def timeless(path: Path) -> object:
    """The content of a file, without what tells the time in JSON."""
    content = path.read_bytes()
    if path.suffix not in (".json", ".jsonl"):
        return content
    try:
        records = [json.loads(line) for line in (content.splitlines() if path.suffix == ".jsonl" else [content])]
    except ValueError:
        return content
    # a run that was gone on with says so in its log
    return [without_times(record) for record in records if set(record) != {"resumed"}]


def without_times(value: Any) -> Any:
    """JSON without the keys that vary."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in VARIES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    """Names of what is not equal."""
    return ", ".join(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))[:4])


def finished(root: Path) -> set[str]:
    """What must not be made again: shards that a manifest vouches for, snapshots up to the newest."""
    kept: set[str] = set()
    for manifest in root.rglob("manifest.json"):
        with suppress(ValueError, KeyError, TypeError):
            content = json.loads(manifest.read_bytes())
            kept |= {str(manifest.parent / name) for shard in content["shards"] for name in shard["files"]}
    kept |= {str(state.parent) for state in root.rglob("checkpoints/step-*/state.json")}
    return {place for place in kept if os.path.relpath(place, root).split(os.sep)[0] != "in"}


def renamed(operations: Iterable[Operation]) -> Iterable[str]:
    """Where something was put."""
    return (operation.other for operation in operations if operation.kind == "rename" and operation.result == 0)


def is_done(made: str, kept: set[str]) -> bool:
    """Whether what was put there had been finished: that very file, or a snapshot of no later step."""
    folder, _, step = made.rpartition("step-")
    return made in kept or (bool(step.isdecimal()) and any(old.startswith(folder) and old >= made for old in kept))


def main() -> None:
    """Serve cases from stdin."""
    tortured = Tortured(sys.argv[1], Path(sys.argv[2]))
    points = [
        (point.number, point.kind, point.flags, os.path.relpath(point.path, tortured.root)) for point in tortured.points
    ]
    reads = [operation.number for operation in tortured.reads]
    print(json.dumps({"points": points, "reads": reads}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        judged = (
            tortured.power_cut(wanted["seed"])
            if wanted["fault"] == "power"
            else tortured.case(wanted["k"], wanted["fault"], wanted.get("reads", False))
        )
        print(json.dumps(judged), flush=True)
    tortured.close()


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # without what libraries say when the interpreter ends
