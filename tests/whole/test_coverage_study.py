"""The study of coverage: it runs, its table has every key with an interval, and a thin slice of it has no failure."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import helpers
import numpy as np
import pytest
from helpers import ROOT

from geomclip.metrics import METRICS

pytestmark = pytest.mark.numeric

KEYS = (
    "alignment", "relative_alignment_text_to_image", "uniformity_text", "modality_gap", "modality_gap_debiased",
    "mean_cosine_image", "text_retrieval_recall@1", "image_retrieval_recall@5", "image_retrieval_ece",
    "image_retrieval_nll", "effective_rank_image", "effective_rank_centered_text",
)  # fmt: skip


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """The script, under another name than `coverage`, which is a package that numba looks for."""
    sys.path.insert(0, str(ROOT / "analyses"))
    return helpers.script("study_of_coverage", "analyses/coverage.py")


def cells_of(study: ModuleType, **options: Any) -> Sequence[Any]:
    asked = {"only": [], "seed": 0, "vectors": None, "samples": None, "out": None, **options}
    with ThreadPoolExecutor(1) as pool:
        found: Sequence[Any] = study.coverage(argparse.Namespace(**asked), pool)
    return found


@pytest.mark.usefixtures("threads")
def test_it_runs_and_its_table_has_every_key_that_has_an_interval(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "LARGE", 300)
    populations = study.populations
    monkeypatch.setattr(study, "populations", lambda d, vectors: populations(d, vectors)[:1])
    cells = cells_of(study, n=[24], d=[8], samples=20)
    with_interval = {
        key
        for key, metric in METRICS.items()
        if metric.interval and (metric.default or key in study.EXTRA) and not key.startswith("zeroshot")
    }
    assert {each.key for each in cells} == with_interval
    assert {(each.population, each.n) for each in cells} == {("cones 8", 24)}
    assert [each.name for each in populations([8], None)] == ["cones 8", "hubs 8", "overlap 8"]
    table = study.table(cells)
    assert all(f"| `{key}` | {METRICS[key].target} |" in table for key in with_interval)
    for each in cells:
        assert each.samples <= 20
        assert each.printed == (METRICS[each.key].least <= 24), each.key
        assert not each.printed or 0 <= each.coverage <= 1


def test_verdicts_of_some_keys_are_of_the_primary_ones_too(study: ModuleType) -> None:
    assert study.keys_compared(["alignment"]) == ("alignment", *study.PRIMARY)
    every = study.keys_compared([])
    assert {*study.PRIMARY, "text_robin_hood"} <= set(every)
    assert not any(key.startswith("zeroshot") for key in every)


def test_a_module_named_coverage_is_refused() -> None:
    spec = importlib.util.spec_from_file_location("coverage", ROOT / "analyses" / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match="not the package coverage"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def measured(values: Sequence[float], reach: float) -> np.ndarray:
    each = np.asarray(values)
    return np.stack([each, each - reach, each + reach], 1)


def test_a_cell_fails_whose_intervals_miss_their_target_or_are_too_narrow_or_wide(study: ModuleType) -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 400) - 2  # uniformity, in the middle of its range

    def cell(reach: float, target: float | None = None) -> Any:
        return study.cell("toy 8", 60, "uniformity_image", measured(values, reach), target)

    right = cell(0.196)
    assert not right.failed
    assert right.coverage == pytest.approx(0.95, abs=0.03)
    assert right.width == pytest.approx(1, abs=0.1)
    assert cell(0.12).failed
    assert cell(0.6).failed
    assert cell(0.196, target=-1.9).failed
    missing = measured(values, 0.196)
    missing[:, 1:] = math.nan
    bare = study.cell("toy 8", 60, "uniformity_image", missing, None)
    assert not bare.failed
    assert study.shown(bare) == "none"
    assert study.shown(cell(0.12)).endswith("!")


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_in_a_thin_slice_no_cell_fails(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    populations = study.populations
    monkeypatch.setattr(study, "populations", lambda d, vectors: populations(d, vectors)[:2])
    cells = cells_of(study, n=[60], d=[64], samples=100, only=KEYS)
    assert len(cells) == 2 * len(KEYS)
    assert all(each.printed == 1 for each in cells)
    assert [study.shown(each) + " " + each.population + " " + each.key for each in cells if each.failed] == []
