"""What the benchmarks share: a goal and whether it is met, the machine, and the report that each script ends with."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from textwrap import wrap

WIDTH = 80
MARKS = {True: "met", False: "MISSED", None: "not measured here"}


@dataclass(frozen=True)
class Goal:
    """A number that a script measures, beside its limit."""

    name: str
    measured: float | None
    """None where it cannot be measured here; `why` says what is missing."""
    limit: float
    unit: str = "x"
    better: str = "lower"
    """`lower`: the limit is the most; `higher`: the least."""
    why: str = ""
    """What the number is of, or why it was not measured."""

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher"):
            raise ValueError(f"goal {self.name!r}: better must be lower or higher, got {self.better!r}")
        if self.measured is None and not self.why:
            raise ValueError(f"goal {self.name!r} was not measured: say in `why` what is missing")
        if self.measured is not None and not math.isfinite(self.measured):
            raise ValueError(f"goal {self.name!r}: measured {self.measured}")

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.limit if self.better == "lower" else self.measured >= self.limit


def machine() -> dict[str, object]:
    """What the numbers were measured on; `load` is how many processes wanted a core in the last minute."""
    import torch

    described: dict[str, object] = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    described |= {name: installed(name) for name in ("torch", "numba", "numpy")}
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described


def processor() -> str:
    """Its name, and the widest vectors that it has where the system tells."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    widest = [label for label, flag in (("AVX-512", "avx512f"), ("AMX", "amx_tile")) if re.search(rf"\b{flag}\b", told)]
    return " ".join([name[1] if name else platform.machine(), *widest])


def installed(package: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def report(
    title: str, goals: Sequence[Goal], rows: Sequence[Mapping[str, object]] = (), out: Path | None = None
) -> None:
    """Print what was measured and the goals, 80 columns wide; write both as JSON where asked.

    `rows` are tables: a mapping a line, its keys the heads of the columns; a row may lack some. A row whose first
    key is another begins a table of its own.
    """
    described = machine()
    print(f"\n{title}")
    for line in wrap(", ".join(f"{name} {value}" for name, value in described.items() if value is not None), WIDTH):
        print(line)
    for _, alike in groupby(rows, key=lambda row: next(iter(row))):
        print("\n".join(table(list(alike))))
    print("\n".join(goal_lines(goals)))
    if out is not None:
        marked = [asdict(goal) | {"met": goal.met} for goal in goals]
        record = {"title": title, "machine": described, "goals": marked, "rows": [dict(row) for row in rows]}
        out.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def goal_lines(goals: Sequence[Goal]) -> Iterator[str]:
    """A line a goal, and below it what its number is of."""
    if not goals:
        return
    yield ""
    yield f"{'goal':36}{'measured':>12}  {'limit':>8}"
    for goal in goals:
        found = "-" if goal.measured is None else shown(goal.measured) + suffix(goal.unit)
        limit = f"{'<=' if goal.better == 'lower' else '>='} {goal.limit:g}"
        yield f"{goal.name:36}{found:>12}  {limit:>8}  {MARKS[goal.met]}"
        yield from wrap(goal.why, WIDTH, initial_indent="    ", subsequent_indent="    ")


def suffix(unit: str) -> str:
    """A unit as it stands after its number."""
    return unit if unit == "x" else f" {unit}" if unit else ""


def table(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Rows under their heads; columns beyond the width come below, after the first one again."""
    heads = list(dict.fromkeys(head for row in rows for head in row))
    if not heads:
        return
    cells = {head: [head, *(shown(row.get(head, "")) for row in rows)] for head in heads}
    widths = {head: max(map(len, column)) for head, column in cells.items()}
    first, rest = heads[0], heads[1:]
    while True:
        taken, used = [first], widths[first]
        while rest and (len(taken) == 1 or used + 2 + widths[rest[0]] <= WIDTH):
            used += 2 + widths[rest[0]]
            taken.append(rest.pop(0))
        yield ""
        for line in zip(*(cells[head] for head in taken), strict=True):
            padded = [cell.rjust(widths[head]) for cell, head in zip(line, taken, strict=True)]
            yield "  ".join([line[0].ljust(widths[first]), *padded[1:]]).rstrip()
        if not rest:
            return


def shown(value: object) -> str:
    """A cell: three figures of a float, thousands of an integer set apart."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"
