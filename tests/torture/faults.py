"""Every file that geomclip reads, with every fault of the machine at every opening and reading of it.

    python tests/torture/faults.py              all kinds of files of seeds.py
    python tests/torture/faults.py npz store    some alone
    python tests/torture/faults.py --again npz:7:EIO    one case, with its traceback

A case fails one operation of one reader by an error that says nothing of the file (EIO, ESTALE, EMFILE, ...). It held
if the reader ended with an error of the machine (exit 1, one line), or with the content that is there, since it could
do without. What is lost: an error of the input or of a damaged file, a raw exception, other content.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "tests/support"), str(HERE)]

from seeds import KINDS
from shim import COUNT, FAIL, Fault, Operation, arm, build, read_log

READING = ("EIO", "ESTALE", "ENOMEM", "ETIMEDOUT")
OPENING = (*READING, "EMFILE", "ENFILE", "EACCES")


@dataclass
class Row:
    """What was found of one kind."""

    kind: str
    operations: int = 0
    tried: int = 0
    lost: list[str] = field(default_factory=list)


class Reader:
    """One kind of files, and its reader under the shim."""

    def __init__(self, name: str, folder: Path) -> None:
        self.kind, self.folder, self.log = KINDS[name], folder / "files", folder / "log"
        self.folder.mkdir(parents=True)
        with redirect_stderr(StringIO()):  # bars of transformers
            self.kind.make(self.folder)
            self.expected = self.kind.read(self.folder)
        self.content = {
            path.relative_to(self.folder): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }

    def operations(self) -> list[Operation]:
        """Openings and readings of an undisturbed run."""
        self.disturbed(0, Fault(COUNT))
        return [each for each in read_log(self.log) if each.kind in ("open", "read")]

    def disturbed(self, k: int, fault: Fault) -> object:
        """What reading gives with one operation disturbed."""
        for path, content in self.content.items():  # what healed was made anew
            file = self.folder / path
            if not file.is_file() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        arm(self.folder, k=k, fault=fault, log=self.log, reads=True)
        try:
            return self.kind.read(self.folder)
        finally:
            arm(self.folder / "nowhere", k=0, fault=Fault(COUNT), log=None)

    def verdict(self, k: int, name: str) -> str:
        """'' if it held, else what was seen."""
        from geomclip.machine.errors import GeomclipError

        try:
            found = self.disturbed(k, Fault(FAIL, getattr(errno, name)))
        except GeomclipError as error:
            if "\n" in str(error):
                return f"several lines: {str(error)[:200]!r}"
            return "" if error.exit_code == 1 else f"exit {error.exit_code}, {type(error).__name__}: {str(error)[:200]}"
        except MemoryError as error:  # the command line makes a sentence of it
            return "" if name == "ENOMEM" else f"MemoryError: {error}"
        except OSError as error:  # as it is, which the command line makes a sentence of
            return "" if error.errno == getattr(errno, name) else f"OSError: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]} {_where(error)}"
        return "" if found == self.expected else "other content"


def _where(error: BaseException) -> str:
    frames = [
        each for each in traceback.extract_tb(error.__traceback__) if f"{os.sep}geomclip{os.sep}" in each.filename
    ]
    return f"at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def cases_of(operations: Sequence[Operation]) -> Iterator[tuple[int, str, str]]:
    """Each opening and reading with each error that it can have: number, error, what it is."""
    for each in operations:
        if each.kind == "read":
            errors = READING
        else:  # a place that may not be written is the caller's to choose
            errors = OPENING if each.flags & os.O_ACCMODE == os.O_RDONLY else OPENING[:-1]
        for name in errors:
            yield each.number, name, f"{each.kind} {Path(each.path).name}"


def look(kind: str, folder: Path) -> Row:
    """All cases of one kind."""
    reader = Reader(kind, folder)
    operations = reader.operations()
    row = Row(kind, len(operations))
    for k, name, what in cases_of(operations):
        row.tried += 1
        if seen := reader.verdict(k, name):
            row.lost.append(f"{kind}:{k}:{name} ({what}): {seen}")
    return row


def under_shim(arguments: Sequence[str]) -> int:
    """Run this script again with the library before the C library."""
    with tempfile.TemporaryDirectory(prefix="geomclip-faults-") as place:
        environment = {**os.environ, "LD_PRELOAD": str(build(Path(place))), "GEOMCLIP_FAULTS": place}
        return subprocess.run([sys.executable, __file__, *arguments], env=environment, check=False).returncode


def main() -> int:
    """Print a table; 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
    parser.add_argument("--again", metavar="KIND:OPERATION:ERROR", help="one case, with its traceback")
    options = parser.parse_args()
    place = os.environ.get("GEOMCLIP_FAULTS")
    if place is None:
        return under_shim(sys.argv[1:])
    warnings.simplefilter("ignore")
    logging.disable()
    if options.again:
        kind, k, name = options.again.split(":")
        reader = Reader(kind, Path(place) / kind)
        print(reader.disturbed(int(k), Fault(FAIL, getattr(errno, name))))
        return 0
    print("| kind | operations | faults tried | held | lost |\n|---|---:|---:|---:|---:|", flush=True)
    lost = 0
    for kind in options.kinds or KINDS:
        row = look(kind, Path(place) / kind)
        lost += len(row.lost)
        print(
            f"| {kind} | {row.operations:,} | {row.tried:,} | {row.tried - len(row.lost):,} | {len(row.lost):,} |",
            flush=True,
        )
        for seen in row.lost:
            print(seen, file=sys.stderr, flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
