"""The benchmarks: each runs at toy size, a goal is met or missed, peers must agree, the table is what was measured."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import alone
import goals
import made
import peers
import scaling
from goal import MARKS, WIDTH, Goal, goal_lines, report, table

from geomclip.cli.app import main
from geomclip.panels.measurement import measure

FOLDER = ROOT / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


def as_script(name: str, *arguments: object) -> str:
    """What a script prints, run in this process."""
    before, sys.argv = sys.argv, [f"{name}.py", *map(str, arguments)]
    places, sys.path = sys.path, [str(FOLDER), *sys.path]  # other folders of scripts have the same names
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    finally:
        sys.argv, sys.path = before, places
    return printed.getvalue()


def in_this_process(script: str, *arguments: object, tree: Path | None = None) -> Any:
    """`alone` without a process of its own, which takes seconds to load torch."""
    return json.loads(as_script(Path(script).stem, *arguments).splitlines()[-1])


def run_here(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a script, of `python -c` or of `python -m geomclip`, without a process of its own."""
    if command[1].endswith(".py"):
        return subprocess.CompletedProcess(command, 0, as_script(Path(command[1]).stem, *command[2:]), "")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main(command[3:]) if command[1] == "-m" else exec(command[2], {}) or 0
    return subprocess.CompletedProcess(command, code, printed.getvalue(), "")


class AnyAngles:
    """A stand-in for umap.UMAP, which compiles for many seconds what its map does not need here."""

    def __init__(self, **_: object) -> None:
        self.draw = np.random.default_rng(0)

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        return self.draw.uniform(0, np.pi, (len(x), 2))


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, int]]]:
    """What scripts run in processes of their own runs in this one; limits of memory that they would set are kept."""
    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(alone, "alone", in_this_process)
    monkeypatch.setattr(subprocess, "run", run_here)
    monkeypatch.setattr(made, "warm_up", lambda: None)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=AnyAngles, __version__="a stand-in"))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: asked.append((which, pair)))
    return asked


def peers_or_skip() -> None:
    for package in peers.PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed: {peers.INSTALL}")


@pytest.mark.parametrize("name", goals.SCRIPTS)
def test_a_script_runs_at_toy_size_and_reports_its_goals(name: str, tmp_path: Path, limits: list[Any]) -> None:
    if name == "peers":
        peers_or_skip()
    out = tmp_path / "out.json"
    printed = as_script(name, *goals.SCRIPTS[name].toy, "--out", out)
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["title"] in printed
    assert record["machine"]["cores"] >= 1
    assert len(record["rows"]) > 0
    found = goals.goals_of(record)
    assert [goal.met for goal in found] == [each["met"] for each in record["goals"]] != []
    assert all(f"{goal.name:36}" in printed and MARKS[goal.met] in printed for goal in found)
    assert (len(limits) > 0) == (name in ("peers", "stores"))


def test_the_list_has_every_script() -> None:
    reporting = {path.stem for path in FOLDER.glob("*.py") if "report(" in path.read_text(encoding="utf-8")}
    assert reporting - {"goal"} == set(goals.SCRIPTS)
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in goals.SCRIPTS if f"| `{name}.py` |" not in told] == []


@pytest.mark.parametrize(
    ("measured", "better", "met"),
    [(1.0, "lower", True), (1.5, "lower", False), (1.0, "higher", True), (0.5, "higher", False), (None, "lower", None)],
)
def test_a_goal_is_met_at_its_limit_and_on_its_better_side(
    measured: float | None, better: str, met: bool | None
) -> None:
    goal = Goal("a ratio", measured, 1.0, better=better, why="no GPU here")
    assert goal.met is met
    assert MARKS[met] in next(line for line in goal_lines([goal]) if line.startswith("a ratio"))


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (lambda: Goal("a ratio", None, 1), "was not measured: say in `why`"),
        (lambda: Goal("a ratio", float("nan"), 1), "measured nan"),
        (lambda: Goal("a ratio", 1, 1, better="more"), "lower or higher, got 'more'"),
    ],
)
def test_a_goal_that_says_nothing_is_refused(refused: Callable[[], Goal], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        refused()


def test_a_report_is_80_columns_wide_and_a_table_of_its_own_where_the_first_key_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = {"contestant": "somebody", **{f"a column {i}": 123456.789 for i in range(12)}}
    report("Toy", [Goal("a goal", 2.0, 1.0, why="of what " * 30)], [wide, wide, {"at": "large", "s": 1}])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= WIDTH
    assert printed.count("1.23e+05") == 24
    assert "\nat     s\nlarge  1\n" in printed
    assert list(table([])) == []


def test_a_number_that_differs_from_a_peers_ends_with_1(
    tmp_path: Path, limits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"alignment": 1.0, "text_retrieval_recall@1": 0.5}

    def told(_: str, *arguments: object) -> dict[str, Any]:
        theirs = {"alignment": 1.0 + 2e-6} if "align_uniform" in arguments else {"text_retrieval_recall@1": 0.51}
        values = ours if "geomclip" in arguments else theirs
        return {"seconds": 1.0, "cpu_seconds": 1.0, "peak_gb": 0.1, "values": values}

    monkeypatch.setattr(alone, "alone", told)
    peers_or_skip()
    with pytest.raises(SystemExit, match="differs from a peer's"):
        as_script("peers", "--images", 100, "--turns", 1, "--large", 0, "--out", tmp_path / "out.json")
    rows = [row for row in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"] if "agree" in row]
    # two queries of 100 may differ, the alignment by 1e-6
    assert {row["number"]: row["agree"] for row in rows} == {"alignment": "NO", "text_retrieval_recall@1": "yes"}


def test_without_a_peers_package_the_script_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "skdim" else object())
    with pytest.raises(SystemExit, match="2"):
        as_script("peers")
    assert capsys.readouterr().err == f"peers.py needs skdim, not installed here: {peers.INSTALL}\n"


AGREEMENT = ("agreement", "--images", 60, "--dim", 16, "--classes", 6)


def test_numbers_agree_with_other_packages_to_the_digit() -> None:
    peers_or_skip()
    rows = [line.split("|") for line in as_script(*AGREEMENT).splitlines() if line.count("`") > 2]
    assert {row[1].strip() for row in rows} >= {"CLIP_benchmark", "torchmetrics", "scikit-learn", "scikit-dimension"}
    assert all(float(row[4]) <= 1e-6 for row in rows)


def test_a_number_that_no_longer_agrees_with_another_package_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    peers_or_skip()

    def moved(*arguments: Any, **how: Any) -> Any:
        panel = measure(*arguments, **how)
        return panel.replace(values={key: (value or 0.0) + 1e-8 for key, value in panel.values.items()})

    monkeypatch.setattr("geomclip.panels.measurement.measure", moved)
    with pytest.raises(SystemExit, match=r"more than their arithmetic can: .*twonn_image"):
        as_script(*AGREEMENT)


def test_a_peer_that_its_memory_does_not_suffice_is_told_so() -> None:
    asked = ["--contestant", "align_uniform", "--images", 4000, "--texts-per-image", 5, "--dim", 2]
    peers_or_skip()
    # 20,000 texts have distances of 0.75 GB
    assert alone.alone(str(FOLDER / "peers.py"), *asked, "--memory-limit-gb", 0.5) == {"stopped": "out of memory"}


def test_a_peer_is_too_large_from_where_it_must_hold_more_than_the_limit() -> None:
    options = peers.argparse.Namespace(memory_limit_gb=8.0, texts_per_image=5)
    # 5 bytes x m x m/5 passes 2**33 between 92,000 and 93,000 texts
    assert peers.too_large_from("CLIP_benchmark", options) == 93_000


def test_the_slope_of_what_grows_with_the_product_of_the_sizes_is_1() -> None:
    rows = [{"texts": m, "images": m / 5, "s": 7 * m * m} for m in (1000.0, 4000.0, 64000.0)]
    assert scaling.slope(rows, "s", 512) == pytest.approx(1)


def test_only_the_scripts_that_were_asked_run_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    record = {"title": "t", "machine": {"processor": "P", "load": 9}, "rows": [{"a": 1}]}
    record["goals"] = [{**vars(Goal("a goal", 1.0, 2.0)), "met": True}]
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"b": record}), encoding="utf-8")
    code = f"import sys\nopen(sys.argv[-1], 'w').write({json.dumps(record)!r})\nsys.exit(3 * ('--fail' in sys.argv))\n"
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(goals, "FOLDER", tmp_path)
    monkeypatch.setattr(goals, "SCRIPTS", {"a": goals.Script("A?", toy=("--fail",)), "b": goals.Script("B?")})
    monkeypatch.setattr(sys, "argv", ["goals.py", "--only", "a", "--results", str(results)])
    goals.main()
    assert list(json.loads(results.read_text(encoding="utf-8"))) == ["a", "b"]
    printed = capfd.readouterr().out
    assert "== a: A?" in printed
    assert "== b: B?" not in printed
    assert printed.count("a goal") == 2
    monkeypatch.setattr(sys, "argv", ["goals.py", "--quick"])
    with pytest.raises(SystemExit, match=r"a\.py ended with 3"):
        goals.main()


def test_the_page_has_the_table_of_what_was_measured() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    if not goals.RESULTS.exists():
        pytest.skip("nothing was measured yet: `make bench`")
    kept = json.loads(goals.RESULTS.read_text(encoding="utf-8"))
    assert goals.put_between_marks(page, goals.markdown(kept)) == page


def test_a_page_without_its_marks_is_refused() -> None:
    assert goals.put_between_marks(f"a\n{goals.BEGIN}\nold\n{goals.END}\nb", "new") == (
        f"a\n{goals.BEGIN}\nnew\n{goals.END}\nb"
    )
    for page in ("", goals.BEGIN, f"{goals.END}{goals.BEGIN}", f"{goals.BEGIN}{goals.END}{goals.BEGIN}"):
        with pytest.raises(ValueError, match="the page needs"):
            goals.put_between_marks(page, "new")
