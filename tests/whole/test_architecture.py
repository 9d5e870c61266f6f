"""The arrows of the design are a test: who may import whom inside the package, and what never at start."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE = ROOT / "geomclip"
GROUND = {"errors"}  # exception classes only

# layer: the layers that it may import; a layer is a file or a folder of geomclip
ALLOWED: dict[str, set[str]] = {
    # pure: arrays in, numbers out
    "errors": set(),
    "geometry": set(),
    "devices": GROUND,
    "exact": set(),
    "kernels": set(),  # numba, imported where a fold of a large sweep uses it
    "embeddings": {"geometry"},
    "sweep": {"geometry", "embeddings", "exact", "kernels", "workers"},
    "metrics": {"geometry", "embeddings", "sweep", "exact", "kernels"},
    "losses": {"geometry"},
    "intervals": {"geometry", "sweep", "metrics"},
    "halves": {"sweep", "metrics", "intervals", "workers"},
    "run": {"embeddings", "exact", "sweep", "metrics", "intervals", "panel"},
    "stages": {"embeddings", "exact", "sweep", "metrics", "intervals", "halves", "run", "panel"},
    "measurement": {"devices", "embeddings", "sweep", "metrics", "run", "stages", "panel"},
    "details": {"embeddings", "sweep", "metrics"},
    "panel": {"metrics", "results", "tables"},  # how it is kept and shown, imported where it does
    "projections": GROUND | {"geometry", "embeddings", "metrics", "extras"},
    # what touches the world
    "extras": GROUND,
    "cache": GROUND,
    "checks": GROUND,
    "items": GROUND | {"panel", "metrics", "checks"},
    "results": GROUND | {"panel", "cache", "checks", "items"},
    "arrays": GROUND,
    "shards": GROUND | {"arrays", "cache"},
    "store": GROUND | {"embeddings", "geometry", "cache", "arrays", "shards"},
    "pairs": GROUND | {"cache"},
    "encoders": GROUND | {"devices", "embeddings", "geometry", "cache"},
    "workers": set(),
    "encode": GROUND | {"pairs", "encoders", "geometry", "arrays", "workers"},
    "extraction": GROUND | {"pairs", "encode", "shards", "arrays", "cache"},
    "extract": GROUND | {"pairs", "encoders", "encode", "extraction", "store", "embeddings", "cache"},
    "comparison": GROUND
    | {"embeddings", "metrics", "intervals", "panel", "cache", "reading", "tables"}
    | {"reporting"},  # how its page is made, imported where it is saved
    "sides": GROUND
    | {"embeddings", "measurement", "panel", "comparison", "results", "store", "pairs", "encoders", "encode", "extract"}
    | {"console"},
    "api": GROUND | {"embeddings", "measurement", "panel", "results", "comparison", "sides"},
    "training": GROUND
    | {"devices", "embeddings", "geometry", "metrics", "losses", "measurement", "panel", "comparison", "results", "api"}
    | {"pairs", "encoders", "encode", "extract", "cache", "arrays", "console"},
    "exporting": GROUND | {"encoders", "cache"},
    "maps": GROUND
    | {"embeddings", "geometry", "metrics", "projections", "comparison", "sides", "arrays", "cache"}
    | {"console"},
    # what shows
    "reading": {"panel"},
    "console": GROUND,
    "options": {"training"},
    "doctor": GROUND | {"cache", "devices", "encoders"},
    "reporting": GROUND
    | {"embeddings", "metrics", "panel", "results", "comparison", "sides", "details", "maps", "plots"}
    | {"reading", "tables", "pairs", "encode", "training", "cache", "console", "extras"},
    "tables": {"reading", "panel", "metrics", "doctor", "pairs", "encoders"},
    "spheres": GROUND | {"embeddings", "projections", "maps", "plots", "cache", "console", "extras"},
    "drawings": GROUND | {"embeddings", "projections", "maps", "spheres", "plots", "console", "extras"},
    "plots": GROUND | {"extras", "geometry", "maps", "cache"},
}
ANYTHING = {"cli", "__init__", "__main__"}
PURE = {
    *("errors", "geometry", "devices", "exact", "kernels", "workers", "embeddings", "sweep", "metrics", "losses"),
    *("intervals", "halves", "run", "stages", "measurement", "details"),
}
TOUCHES_THE_SCRIPTS = {"analyses", "benchmarks", "tests", "conftest", "helpers"}
TOUCHES_THE_WORLD = {
    "os",
    "io",
    "pathlib",
    "subprocess",
    "socket",
    "urllib",
    "shutil",
    "tempfile",
    "pyarrow",
    "PIL",
}
SCRIPTS = {"analyses", "benchmarks", "tests", "conftest", "helpers"}
HEAVY = ("torch", "torchvision", "open_clip", "pyarrow", "sklearn", "umap", "scipy", "numpy", "PIL", "rich")


def layer_of(path: Path) -> str:
    """File or folder of the package that this file is, or lies in."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(source: str, package: str) -> Iterator[str]:
    """Dotted names of all modules that a source imports, anywhere in it; relative ones made absolute.

    For `from a import b` both `a` and `a.b` are given, since b may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{name.name}" for name in node.names)


def imported_layers(source: str, package: str = "geomclip") -> set[str]:
    """The layers of geomclip that a source imports."""
    names = (name.split(".") for name in imports(source, package))
    layers = {name[1] for name in names if name[0] == "geomclip" and len(name) > 1}
    there = {layer_of(path) for path in PACKAGE.rglob("*.py")}
    return layers & (there | set(ALLOWED))  # `from geomclip import __version__` names no layer


def trespasses(layer: str, source: str, package: str = "geomclip") -> set[str]:
    """Layers that a source of this layer imports and may not."""
    return set() if layer in ANYTHING else imported_layers(source, package) - ALLOWED[layer] - {layer}


def package_of(path: Path) -> str:
    return ".".join(("geomclip", *path.relative_to(PACKAGE).parts[:-1]))


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_layer_imports_only_what_the_design_allows(path: Path) -> None:
    layer = layer_of(path)
    assert layer in ALLOWED or layer in ANYTHING, f"{layer} has no place in the table: give it one"
    assert trespasses(layer, path.read_text(encoding="utf-8"), package_of(path)) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "import geomclip.machine.files",
        "from geomclip import cache",
        "from geomclip.machine.files import Lock",
        "from geomclip.machine.files import (\n    Lock,\n)",
        "from ..cache import Lock",
        "from .. import cache",
        "def late():\n    import geomclip.machine.files as c\n",
    ],
)
def test_a_planted_import_is_seen(planted: str) -> None:
    assert trespasses("metrics", planted, "geomclip.metrics") == {"cache"}


def test_pure_layers_may_import_only_pure_layers_and_the_panel() -> None:
    assert {layer: beyond for layer in PURE if (beyond := ALLOWED[layer] - PURE - {"panel"})} == {}


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) in PURE], ids=lambda path: path.stem)
def test_pure_code_imports_nothing_that_reads_or_writes(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"), package_of(path))}
    assert names & TOUCHES_THE_WORLD == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_never_imports_scripts(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"), package_of(path))}
    assert names & SCRIPTS == set()


def test_the_table_has_no_circle() -> None:
    # a panel and a comparison keep and show themselves by what knows them: the exceptions, imported where they do
    free = {layer: set(allowed) for layer, allowed in ALLOWED.items()}
    free["panel"] -= {"results", "tables"}
    free["comparison"] -= {"reporting"}
    while leaves := [layer for layer, allowed in free.items() if not allowed]:
        for leaf in leaves:
            del free[leaf]
            for allowed in free.values():
                allowed.discard(leaf)
    assert free == {}


def test_a_panel_imports_how_it_is_kept_and_shown_only_when_it_does() -> None:
    assert imported_at_start("panel.py") == set()


def test_a_comparison_imports_how_its_page_is_made_only_when_it_is_saved() -> None:
    assert "reporting" not in imported_at_start("comparison/record.py") | imported_at_start("comparison/tables.py")


def imported_at_start(name: str) -> set[str]:
    """The layers that a file imports outside its functions."""
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imported_layers("\n".join(map(ast.unparse, at_start)))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["measure", "--help"], ["mesure"]])
def test_nothing_heavy_is_loaded_before_a_command_runs(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from geomclip.cli.app import main\n"
        f"main({arguments!r})\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"loaded at start: {done.stderr.splitlines()[-1:]}"
