"""Who may import whom, as one table with a row a package; and no circle of files. `docs/design.md` has the picture.

Every import counts: at the top of a file, inside a function, for types only, and by name: strings that
`import_module` is given, and registries of "module:class" strings.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest
from helpers import ROOT

PACKAGE = ROOT / "geomclip"

# package: the packages that it may import, beside itself, `machine` and (all but machine and pairs) `embeddings`
ALLOWED: dict[str, set[str]] = {
    "machine": set(),
    "pairs": set(),
    "embeddings": set(),
    "metrics": set(),
    "losses": set(),
    "encoders": {"pairs"},
    "projections": {"metrics"},
    "panels": {"metrics"},
    "plots": {"metrics", "projections", "panels"},
    "training": {"encoders", "pairs", "losses", "panels", "metrics"},
    "grounding": {"training", "encoders", "pairs", "losses", "panels", "metrics", "projections"},
    "evaluations": {"training", "encoders", "pairs", "losses", "panels", "metrics", "projections"},
    "reproduction": {"training", "encoders", "pairs", "panels"},
    "reports": {
        "encoders",
        "panels",
        "metrics",
        "plots",
        "projections",
        "pairs",
        "training",
        "grounding",
    },
}
OPEN = {"machine": set(), "pairs": {"machine"}, "embeddings": {"machine"}}
# the one file of a package that reaches further: a source is a name that becomes vectors
DOORS = {"panels/sources.py": {"encoders", "pairs"}}
DOOR = "cli"
MOST_FLOORS = 8

PURE = {"metrics", "losses"}
TOUCHES_THE_WORLD = {"os", "io", "pathlib", "subprocess", "socket", "urllib", "shutil", "tempfile", "pyarrow", "PIL"}
SCRIPTS = {"analyses", "benchmarks", "tests", "conftest", "helpers"}
HEAVY = (
    "torch",
    "torchvision",
    "open_clip",
    "pyarrow",
    "sklearn",
    "umap",
    "scipy",
    "numpy",
    "PIL",
    "rich",
    "av",
    "h5py",
    "ray",
)

FILES = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(file: str) -> str:
    """`metrics/gap.py` is geomclip.metrics.gap, `metrics/__init__.py` geomclip.metrics."""
    parts = ["geomclip", *file.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def package_of(file: str) -> str:
    """The package below geomclip that a file lies in; "" for the two files at the top."""
    return file.partition("/")[0] if "/" in file else ""


def imports(source: str, file: str) -> Iterator[str]:
    """Dotted names that a source imports, anywhere in it and in any way; relative ones made absolute.

    For `from a import b` that is `a.b`, a module or not: `file_of` cuts what is none.
    """
    folder = ["geomclip", *file.split("/")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from named(node.value, ".".join(folder))


def named(text: str, folder: str) -> Iterator[str]:
    """The module that a string names: `geomclip.a.b`, or `b:Class` of a registry beside or below it."""
    if text in MODULES and text != "geomclip":  # the name alone stands in titles and results
        yield text
    elif found := re.fullmatch(r"([a-z_]\w*(?:\.\w+)*):[A-Za-z_]\w*", text):
        yield f"{folder}.{found[1]}"


def file_of(name: str) -> str | None:
    """The file of geomclip that a dotted name is, or is something of; None for other packages."""
    while name.startswith("geomclip"):
        if name in MODULES:
            return MODULES[name]
        name = name.rpartition(".")[0]
    return None


def arrows(files: Mapping[str, str] = FILES) -> dict[str, set[str]]:
    """file: the other files of geomclip that it imports."""
    found = {}
    for file, source in files.items():
        others = {file_of(name) for name in imports(source, file)}
        found[file] = {other for other in others if other is not None} - {file}
    return found


def trespasses(file: str, source: str) -> set[str]:
    """Packages that a file imports and may not; "geomclip" for the face of the whole."""
    package = package_of(file)
    if package == DOOR or file in ("__init__.py", "__main__.py"):
        return set()
    allowed = ALLOWED[package] | OPEN.get(package, {"machine", "embeddings"}) | DOORS.get(file, set()) | {package}
    if package == "machine":
        allowed = {"machine"}
    reached = {package_of(other) or "geomclip" for other in arrows({file: source})[file]}
    return reached - allowed


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of files that reach each other."""
    reach: dict[str, set[str]] = {}
    for file in graph:
        seen, ahead = set(), [file]
        while ahead:
            for other in graph.get(ahead.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    ahead.append(other)
        reach[file] = seen
    found = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in graph if a in reach[a]}
    return [set(each) for each in found]


def floors() -> dict[str, int]:
    """The floor of each package: one above the highest that it may import."""
    height: dict[str, int] = {}

    def of(package: str) -> int:
        below = ALLOWED[package] | OPEN.get(package, {"machine", "embeddings"})
        for file, further in DOORS.items():
            below |= further if package_of(file) == package else set()
        height[package] = 1 + max((of(other) for other in below - {package} if package != "machine"), default=0)
        return height[package]

    for package in ALLOWED:
        of(package)
    return height | {DOOR: 1 + max(height.values())}


@pytest.mark.parametrize("file", FILES)
def test_a_package_imports_only_what_the_table_allows(file: str) -> None:
    assert package_of(file) in {*ALLOWED, DOOR, ""}, f"{file} has no row in the table: give it one"
    assert trespasses(file, FILES[file]) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "import geomclip.pairs.table",
        "from geomclip import pairs",
        "from geomclip.pairs.table import table_pairs",
        "from geomclip.pairs import (\n    load_pairs,\n)",
        "from ..pairs import table",
        "from .. import pairs",
        "def late():\n    import geomclip.pairs.table as t\n",
        "if TYPE_CHECKING:\n    from geomclip.pairs.record import Pair\n",
        "import_module('geomclip.pairs.table')",
        "TABLE = {'a': 'geomclip.pairs.table'}",
    ],
)
def test_a_planted_import_is_seen(planted: str) -> None:
    assert trespasses("metrics/gap.py", planted) == {"pairs"}


def test_a_planted_import_of_the_face_is_seen() -> None:
    assert trespasses("metrics/gap.py", "from geomclip import __version__") == {"geomclip"}
    assert trespasses("metrics/gap.py", "import geomclip as gc") == {"geomclip"}


def test_a_registry_of_names_is_read_as_imports() -> None:
    assert arrows({"projections/x.py": "A = 'linear:SVD'"}) == {"projections/x.py": {"projections/linear.py"}}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []


@pytest.mark.parametrize(
    "back",
    [
        "from geomclip.metrics.gap import modality_gap",
        "def late():\n    from geomclip.metrics import gap",
        "if TYPE_CHECKING:\n    from geomclip.metrics.gap import owners",
        "import_module('geomclip.metrics.gap')",
    ],
)
def test_a_planted_circle_is_seen(back: str) -> None:
    graph = arrows({**FILES, "metrics/spectrum.py": FILES["metrics/spectrum.py"] + back})
    assert {"metrics/gap.py", "metrics/spectrum.py"} in circles(graph)


def test_there_are_few_floors_with_the_machine_at_the_bottom_and_the_commands_at_the_top() -> None:
    height = floors()
    assert min(height, key=height.__getitem__) == "machine"
    assert max(height, key=height.__getitem__) == DOOR
    assert height[DOOR] <= MOST_FLOORS


def test_the_table_has_a_row_for_each_package_and_no_other() -> None:
    there = {package_of(file) for file in FILES} - {""}
    assert there == {*ALLOWED, DOOR}


def test_the_package_has_at_most_sixteen_names_at_its_top() -> None:
    # one is to come: remedies
    names = {file.partition("/")[0] for file in FILES} - {"__init__.py", "__main__.py"}
    assert len(names) <= 15


@pytest.mark.parametrize("file", [file for file in FILES if package_of(file) in PURE])
def test_pure_code_imports_nothing_that_reads_or_writes(file: str) -> None:
    names = {name.split(".")[0] for name in imports(FILES[file], file)}
    assert names & TOUCHES_THE_WORLD == set()


@pytest.mark.parametrize("file", FILES)
def test_the_package_never_imports_scripts(file: str) -> None:
    names = {name.split(".")[0] for name in imports(FILES[file], file)}
    assert names & SCRIPTS == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["measure", "--help"],
        ["mesure"],
        ["ground", "predict", "--help"],
        ["ground", "predikt"],
    ],
)
def test_nothing_heavy_is_loaded_before_a_command_runs(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from geomclip.cli.app import main\n"
        f"main({arguments!r})\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"loaded at start: {done.stderr.splitlines()[-1:]}"
