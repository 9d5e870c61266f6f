"""The table of spheres: what is committed keeps what `angles` promises, and the script makes such a table."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

import helpers
import pytest
from helpers import ROOT

pytestmark = pytest.mark.numeric

OFF = 0.05


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return helpers.script("study_of_spheres", "analyses/sphere.py")


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["set"], row["map"]): row for row in csv.DictReader(file)}


def check(rows: dict[tuple[str, str], dict[str, str]]) -> None:
    for name in {name for name, _ in rows}:
        held, free = rows[name, "angles"], rows[name, "angles, not constrained"]
        assert float(held["worst"]) < OFF / 100
        assert float(held["angle_error"]) <= 1.25 * float(free["angle_error"])
        assert float(held["trustworthiness"]) >= float(free["trustworthiness"]) - 0.05


def test_the_committed_table_holds_what_the_map_promises() -> None:
    rows = rows_of(ROOT / "figures" / "sphere.csv")
    assert {name for name, _ in rows} >= {"emoji", "collapsed", "shifted"}
    assert len(rows) == 16
    check(rows)
    assert float(rows["collapsed", "dosnes"]["worst"]) > 10 * OFF  # a collapse that DOSNES does not show


def test_a_small_table_has_a_row_a_set_and_map(study: ModuleType, tmp_path: Path) -> None:
    study.main(["--limit", "20", "--out", str(tmp_path)])
    rows = rows_of(tmp_path / "sphere.csv")
    assert {name for name, _ in rows} == {"emoji", "collapsed", "shifted"}
    assert {method for _, method in rows} == set(study.MAPS)
    check(rows)
    text = (tmp_path / "sphere.md").read_text(encoding="utf-8")
    assert text.count("\n| ") == 1 + len(rows)
    assert "`python analyses/sphere.py --limit 20`" in text
