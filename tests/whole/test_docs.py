"""What docs say of the code is so: numbers and the table of promises, packages and who may import whom, names, files.

Examples in them are run by test_readme.py.
"""

from __future__ import annotations

import ast
import inspect
import re
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers import ROOT, small_set

import geomclip as gc
from geomclip.cli.app import OF_A_SIGNAL, app
from geomclip.machine.errors import GateError, GeomclipError, InputError
from geomclip.metrics import GROUPS, METRICS, Metric
from geomclip.panels.intervals import LEAST
from geomclip.panels.measurement import measure

sys.path.insert(0, str(ROOT / "tests" / "whole"))

import test_architecture as architecture

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
HEADINGS = re.findall(r"^## (.+)$", PROSE, re.M)
FUNCTIONS = [name for name in gc.metrics.__all__ if inspect.isfunction(getattr(gc.metrics, name))]

KEY_LIKE = re.compile(r"[a-z0-9]{2,}(?:_[a-z0-9]+)+(?:@\d+)?")
"""Two words or more joined by underscores; not s_ij, whose first word is a letter."""


def in_backticks(prose: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", prose))


def number(value: float) -> str:
    return f"{value:.7g}".replace("-", "−")


def of_interval(metric: Metric) -> str:
    """How the interval of a metric is made, what it holds, and from how many images there is one; or why none is."""
    if not metric.interval:
        return f"none: {metric.why}"
    return f"{metric.interval}, {metric.target}" + (f", from {metric.least} images" if metric.least > LEAST else "")


def facts(metric: Metric) -> list[str]:
    """Cells of a metric in the table of its group, after its key."""
    between = f"{number(metric.low)} up" if metric.high == float("inf") else f"{number(metric.low)} to {metric.high:g}"
    known = "any" if metric.low == -float("inf") else between
    return [metric.better or "neither", known, of_interval(metric), "yes" if metric.default else "no"]


def section(heading: str) -> str:
    return PROSE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table(prose: str) -> dict[str, list[str]]:
    """Key to its other cells, from the rows of a section that begin with keys."""
    rows = [line.strip("|").split("|") for line in prose.splitlines() if line.startswith("| `")]
    return {key: [cell.strip() for cell in cells] for keys, *cells in rows for key in re.findall(r"`(.+?)`", keys)}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_of_a_group_is_the_table_of_promises(group: str) -> None:
    expected = {key: facts(metric) for key, metric in METRICS.items() if metric.group == group}
    assert table(section(GROUPS[group])) == expected


def test_the_groups_come_in_the_order_of_the_panel() -> None:
    assert [heading for heading in HEADINGS if heading in GROUPS.values()] == list(GROUPS.values())


def test_every_key_and_every_public_function_is_there() -> None:
    assert {*METRICS, *FUNCTIONS} - in_backticks(PROSE) == set()


def test_what_looks_like_a_key_is_one() -> None:
    panel = measure(small_set(), metrics="all", bootstrap=0, paper="oh2023")
    columns = {name for items in panel.items.values() for name in items}
    known = {*METRICS, *panel.keys(), *gc.metrics.__all__, *panel.to_dict(), *columns}
    assert {name for name in in_backticks(PROSE) if KEY_LIKE.fullmatch(name)} - known == set()


def test_every_entry_of_a_group_says_formula_meaning_trap_and_source() -> None:
    for heading in GROUPS.values():
        for entry in section(heading).split("\n### ")[1:]:
            said = re.findall(r"^- (\w+): ", entry, re.M)
            assert said == ["Formula", "Says", "Trap", "Source"], entry.splitlines()[0]


def test_the_links_of_the_page_lead_somewhere() -> None:
    assert re.findall(r"^- \[.+?\]\(#(.+?)\)$", PROSE, re.M) == [slug(heading) for heading in HEADINGS]
    assert set(re.findall(r"\]\(#(.+?)\)", PROSE)) <= {slug(heading) for heading in HEADINGS}


def test_the_checks_see_what_is_wrong() -> None:
    assert [bool(KEY_LIKE.fullmatch(name)) for name in ("modality_gaps", "recall_at@5", "s_ij", "text_*")] == [
        True,
        True,
        False,
        False,
    ]
    assert table("| `a`, `b` | lower | 0 to 1 |\n") == {"a": ["lower", "0 to 1"], "b": ["lower", "0 to 1"]}


# -------------------------------------------------------------------------------------- design, stability, what is not

PACKAGE = ROOT / "geomclip"
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def defined() -> frozenset[str]:
    """Names that the package defines anywhere: modules, packages, functions, classes, fields, constants, parameters."""
    found = {part for file in architecture.FILES for part in Path(file).with_suffix("").parts}
    for source in architecture.FILES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return frozenset(found)


def is_there(name: str) -> bool:
    """Whether what stands in backticks exists: a file, a make target, a command, an option, a name of the package."""
    if name.startswith("make "):
        return f"\n{name.removeprefix('make ')}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    if name.startswith("geomclip "):
        return name.split()[1] in app.commands
    if "/" in name or Path(name).suffix in {".md", ".py", ".toml", ".json"}:
        return (ROOT / name).exists() or (PACKAGE / name).exists()
    return name in defined()


@pytest.mark.parametrize(
    "name", sorted(in_backticks(re.sub(r"^```.*?^```$", "", page("design.md"), flags=re.M | re.S)))
)
def test_design_names_nothing_that_is_not_there(name: str) -> None:
    assert is_there(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("make test", True),
        ("make tests", False),
        ("geomclip measure", True),
        ("geomclip mesure", False),
        ("cli/app.py", True),
        ("docs/", True),
        ("cli/apps.py", False),
        ("CHANGELOG.md", True),
        ("EmbeddingSet", True),
        ("EmbeddingSets", False),
    ],
)
def test_a_name_that_is_not_there_is_seen(name: str, expected: bool) -> None:
    assert is_there(name) is expected


def design_table() -> Iterator[tuple[str, int, set[str]]]:
    """Package, floor and what it may import, from the table of design.md."""
    for line in page("design.md").splitlines():
        if row := re.fullmatch(r"\| (\d+) \| `(\w+)` \| .+ \| (.*) ?\|", line):
            yield row[2], int(row[1]), in_backticks(row[3])


def test_the_packages_of_design_are_those_of_the_architecture() -> None:
    door = {architecture.DOOR: set()}
    further = {architecture.package_of(file): reached for file, reached in architecture.DOORS.items()}
    assert {package: imports for package, _, imports in design_table()} == architecture.ALLOWED | door
    assert {package: floor for package, floor, _ in design_table()} == architecture.floors()
    assert further == {"panels": {"encoders", "pairs"}}  # what the page says of panels/sources.py
    assert set(architecture.DOORS) <= in_backticks(page("design.md"))


def steps(prose: str) -> dict[str, list[str]]:
    """The numbered steps under each heading of the third level."""
    parts = re.split(r"^### (.+)$", prose, flags=re.M)
    return {
        heading: re.findall(r"^(\d)\. ", text, re.M) for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_each_thing_is_added_in_at_most_five_steps() -> None:
    found = steps(page("design.md"))
    assert list(found) == ["A metric", "A loss", "A data format", "A projection", "A command"]
    for heading, numbers in found.items():
        assert numbers == [str(i + 1) for i in range(len(numbers))], heading
        assert 3 <= len(numbers) <= 5, heading


def test_stability_has_every_schema_that_is_written() -> None:
    written = {
        found for source in architecture.FILES.values() for found in re.findall(r'"(geomclip\.\w+/\d+)"', source)
    }
    assert set(re.findall(r"`(geomclip\.\w+/\d+)`", page("stability.md"))) == written


def test_stability_has_the_exit_codes() -> None:
    codes = [int(code) for code in re.findall(r"^  \| (\d+) \|", page("stability.md"), re.M)]
    assert codes == [0, GeomclipError.exit_code, InputError.exit_code, GateError.exit_code, OF_A_SIGNAL + signal.SIGINT]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_files(path: Path) -> None:
    links = {link.partition("#")[0] for link in LINK.findall(path.read_text(encoding="utf-8"))}
    assert [link for link in links if link and ":" not in link and not (path.parent / link).exists()] == []
