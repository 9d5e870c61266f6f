"""A sample of `make fuzz`, and that its verdicts are what they say."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import fuzz
import pytest
from fuzz import Hang, Row, Seed, limited, line, shown, verdict_on
from mutate import STRUCTURED, mutated
from seeds import KINDS

from geomclip.machine.errors import InputError

SLOW = [name for name, kind in KINDS.items() if kind.costs > 10]


def test_mutated_files_are_read_or_refused_in_one_line() -> None:
    kinds = [name for name in KINDS if name not in SLOW]
    command = [sys.executable, fuzz.__file__, "--count", "25", "--minutes", "1", *kinds]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n| ") == len(kinds) + 1  # the last is of all


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_read_as_it_is_made(name: str, tmp_path: Path) -> None:
    seed = Seed(name, tmp_path / "seed")
    assert seed.content
    assert seed.kind.read(seed.folder) == seed.expected


@pytest.mark.parametrize("ending", STRUCTURED)
def test_a_mutation_changes_the_content_and_a_draw_is_made_again(ending: str, tmp_path: Path) -> None:
    content = next(filter(None, (_content(name, ending, tmp_path / name) for name in KINDS)))
    found = [mutated(f"a{ending}", content, random.Random(i)) for i in range(60)]
    assert found == [mutated(f"a{ending}", content, random.Random(i)) for i in range(60)]
    assert len(set(found)) > 30
    assert sum(each == content for each in found) < 15


def _content(kind: str, ending: str, folder: Path) -> bytes:
    """A file of this ending, if the kind has one."""
    folder.mkdir()
    KINDS[kind].make(folder)
    return next((file.read_bytes() for file in sorted(folder.rglob(f"*{ending}"))), b"")


def raised(error: BaseException) -> tuple[str, str]:
    try:
        raise error
    except BaseException as caught:
        return verdict_on(caught)


def test_a_verdict_tells_a_refusal_from_what_is_lost() -> None:
    assert raised(InputError("a.csv: row 3 is no row")) == ("refused", "")
    assert raised(InputError("two\nlines"))[0] == "lines"
    assert raised(ValueError("bad"))[0] == "raw"
    assert raised(MemoryError())[0] == "memory"
    with pytest.raises(Hang), limited(1):
        time.sleep(5)


BAD = {
    "raw": "raise KeyError('x')",
    "hang": "while True: pass",
    "memory": "return bytearray(5 << 30)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "silent": "return 'another'",
}


@pytest.mark.parametrize("verdict", BAD)
def test_a_reader_that_fails_so_is_seen(verdict: str, tmp_path: Path) -> None:
    # in a process of its own: limits of time and memory hold for all of a process
    script = f"""
import sys
sys.path[:0] = {[str(Path(fuzz.__file__).parent), str(Path(fuzz.__file__).parents[1] / "support")]!r}
import json, fuzz, seeds
fuzz.SECONDS = 1
def read(folder):
    if (folder / "file").read_bytes() == b"as it was":
        return "as it was"
    {BAD[verdict]}
fuzz.KINDS["bad"] = seeds.Kind(lambda folder: (folder / "file").write_bytes(b"as it was"), read, summed=True)
row = fuzz.fuzz("bad", __import__("pathlib").Path(sys.argv[1]) / "seed", most=2)
print(json.dumps(row.verdicts))
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == {verdict: 2}, done.stderr


def test_a_table_and_the_cases_that_were_lost_are_printed() -> None:
    row = Row("npz")
    for case, verdict in enumerate(("read", "refused", "raw", "raw")):
        row.add(case, verdict, "KeyError: 'x' at store.py:7" if verdict == "raw" else "")
    assert line(row) == "| npz | 4 | 1 | 1 | 2 | 2 raw |"
    assert list(shown(row)) == ["npz:2 raw, 2 so: KeyError: 'x' at store.py:7"]
