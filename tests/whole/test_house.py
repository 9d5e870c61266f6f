"""What must hold of the tracked files as a whole."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

import geomclip

sys.path.insert(0, str(ROOT / "tests"))

import lowest

COMPARISONS = {"approx", "allclose", "array_equal", "isclose", "equal", "array_equiv"}
CHECKERS = ("raises", "warns", "fail", "skip")
# put together here, so that this file does not hold what it looks for
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "op" + "t"]) + r")/")
REGISTRY = re.compile(
    "|".join(["pypi" + r"\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs", r"\bdeb" + r"\.debian"])
)


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def matches(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures, weights
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    return found


def dropped_comparisons(source: str) -> Iterator[int]:
    """Lines where the result of a comparison is thrown away."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and called(node.value) in COMPARISONS:
            yield node.lineno


def idle_tests(source: str) -> Iterator[str]:
    """Names of tests that assert nothing."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test")):
            continue
        asserts = any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
        calls = [called(inner) for inner in ast.walk(node) if isinstance(inner, ast.Call)]
        if not asserts and not any(name in CHECKERS or name.startswith(("assert_", "check_")) for name in calls):
            yield node.name


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_test_checks_something(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert list(dropped_comparisons(source)) == []
    assert list(idle_tests(source)) == []


def test_the_check_for_idle_tests_sees_them() -> None:
    assert list(dropped_comparisons("import pytest\npytest.approx(1, 2)\nassert allclose(1, 1)\n")) == [2]
    assert list(idle_tests("def test_a():\n    x = 1\ndef test_b():\n    assert 1\n")) == ["test_a"]


def test_no_path_of_a_machine_is_tracked() -> None:
    assert MACHINE_PATH.search("cat /" + "work/file")
    assert not MACHINE_PATH.search("a/work/file")
    assert matches(MACHINE_PATH) == []


def test_no_address_of_a_package_registry_is_tracked() -> None:
    assert REGISTRY.search("https://pypi" + ".org/simple")
    assert matches(REGISTRY) == []


def test_the_version_is_one_and_the_changelog_has_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert project["version"] == geomclip.__version__ == cited[1]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(geomclip.__version__)}\b", changes, re.MULTILINE)


KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""The headings of Keep a Changelog."""


def test_the_changelog_has_its_form() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\]( - \d{4}-\d\d-\d\d)?", version) for version in versions[1:])
    for version in re.split(r"^## ", changes, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds], version.splitlines()[0]


def test_make_help_has_every_target_and_no_other() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"make ([\w-]+)", makefile.partition("\nhelp:\n")[2].partition("\n\n")[0])
    assert sorted([*listed, "help"]) == sorted(phony[1].split())
    assert set(phony[1].split()) <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))


def test_pages_name_only_targets_that_make_has() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    for page in [path for path in tracked() if path.suffix == ".md"]:
        named = re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, page.relative_to(ROOT)


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    project = {"name": "mine", "dependencies": ["a>=1.2,<3", "b[x]>=2; python_version < '4'"]}
    assert list(lowest.lowest(project)) == ["a==1.2", "b==2"]
    with pytest.raises(ValueError, match="'c<3' has no lower bound"):
        list(lowest.lowest({"name": "mine", "dependencies": ["c<3"]}))
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(list(lowest.lowest(asked))) > 30


def test_constraints_pin_what_pyproject_asks_for_directly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    # the tests use what `lora` brings, and transformers, which comes with it
    used = ("bench", "browser", "demo", "dev", "hf", "lightning", "lora", "ray", "st", "video", "viz")
    asked = [*project["dependencies"], *(name for extra in used for name in extras[extra])]
    plain = lambda name: re.split(r"[\[<>=!~; ]", name)[0].lower().replace("_", "-")  # noqa: E731
    pinned = {
        plain(line)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    assert {plain(name) for name in asked} - {"geomclip"} == pinned


def test_the_entry_of_continuous_integration_can_be_run() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-s", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if not listed:
        pytest.skip("not a git checkout")
    assert listed.startswith("100755")


def test_the_workflow_runs_that_entry_on_the_oldest_python() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.findall(r"^ *- run: (.+)$", workflow, re.MULTILINE) == [".ci/run"]
    assert re.findall(r'python-version: "(.+)"', workflow) == [project["requires-python"].removeprefix(">=")]
    used = re.findall(r"uses: (.+)$", workflow, re.MULTILINE)
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)


def test_every_extra_that_a_message_tells_to_install_is_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        call.args[2].value
        for file in (ROOT / "geomclip").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "optional"
        if len(call.args) > 2 and isinstance(call.args[2], ast.Constant)
    }
    assert {"st", "hf", "video"} <= named
    assert named <= set(extras)
