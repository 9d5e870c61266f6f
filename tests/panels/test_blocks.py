"""Numbers from blocks: what each is an estimate of, how far its error bar reaches, and what blocks do not give."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_one_line, class_set, random_rows, run_cli, small_set
from hypothesis import given, settings
from hypothesis import strategies as st

from geomclip.embeddings import store
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine import scratch
from geomclip.machine.progress import SILENT
from geomclip.metrics import METRICS
from geomclip.metrics.pairing import Pairing
from geomclip.panels import compare
from geomclip.panels.documents import panel_csv
from geomclip.panels.intervals import student
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure
from geomclip.panels.options import Measuring
from geomclip.panels.planning import plan
from geomclip.panels.record import Panel
from geomclip.panels.run import Run
from geomclip.panels.stages import blocks, sweeps
from geomclip.panels.stages.blocks import NOT_SAMPLED, SAMPLED, Blocks

pytestmark = pytest.mark.numeric

KEYS = tuple(sorted(SAMPLED))
RETRIEVAL = tuple(sorted(key for key in SAMPLED if METRICS[key].group != "alignment"))


@cache
def pairs(n: int = 60, *, seed: int = 3) -> EmbeddingSet:
    """n images of no text to three each, in random order; rows that find their own now and then."""
    draw = np.random.default_rng(seed)
    own = torch.from_numpy(draw.permutation(np.repeat(np.arange(n), draw.integers(0, 4, n))))
    image = random_rows(n, 6, seed=seed)
    return EmbeddingSet(image, image[own] + 0.6 * random_rows(len(own), 6, seed=seed + 1) + 0.2, own, logit_scale=15.0)


@cache
def many(n: int = 4000, *, ordered: bool = False) -> EmbeddingSet:
    """n pairs of one law; `ordered`: in the order of how near an image and its text are."""
    image, noise = random_rows(n, 8, seed=1), random_rows(n, 8, seed=2)
    text = image + torch.linspace(0.2, 1.2, n)[:, None] * noise
    order = torch.arange(n) if ordered else torch.randperm(n, generator=torch.Generator().manual_seed(3))
    return EmbeddingSet(image[order], text[order], logit_scale=15.0)


def sampled(embeddings: EmbeddingSet, count: int, metrics: Any = KEYS, **options: Any) -> Panel:
    return measure(embeddings, sample_blocks=count, metrics=metrics, **options)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few images."""
    monkeypatch.setattr(blocks, "BLOCK", 4)


def by_loops(embeddings: EmbeddingSet, drawn: Blocks) -> dict[str, float]:
    """Each sampled number by its definition from all float64 scores: means over the queries of the images drawn."""
    x, y, own = (each.numpy() for each in (embeddings.image, embeddings.text, embeddings.image_of_text))  # type: ignore[union-attr]
    s, n, scale = x @ y.T, len(x), embeddings.logit_scale
    mine = own[None, :] == np.arange(n)[:, None]
    of_image = np.stack([np.exp(scale * s) @ (own == i) for i in range(n)], 1)  # (n, n) masses of an image's texts
    kernel = [np.exp(4 * each - 4) for each in (x @ x.T, y @ y.T, s)]
    sums: dict[str, float] = {}

    def add(name: str, weight: float, value: float) -> None:
        sums[name] = sums.get(name, 0.0) + weight * value

    for i, weight in zip(drawn.images.tolist(), drawn.weights.tolist(), strict=True):
        texts = np.flatnonzero(mine[i])
        add("gauss_image", weight, kernel[0][i].sum() - 1)
        add("pairs_image", weight, n - 1)
        add("gauss_cross", weight, kernel[2][i][~mine[i]].sum() + kernel[2][:, texts].sum() - kernel[2][i, texts].sum())
        add("pairs_cross", weight, (~mine[i]).sum() + len(texts) * (n - 1))
        add("gauss_matched", weight, kernel[2][i, texts].sum())
        for j in texts:
            logits = scale * s[:, j]
            p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            rank = 1 + (np.delete(s[:, j], i) >= s[i, j] - 1e-9).sum()
            scored(add, "image_retrieval", weight, rank, p, i)
            add("texts", weight, 1)
            add("relative_text", weight, 2 * (np.delete(s[:, j], i).max() - s[i, j]))
            add("gauss_text", weight, kernel[1][j].sum() - 1)
            add("pairs_text", weight, len(y) - 1)
        if len(texts):
            rank = 1 + (s[i][~mine[i]] >= s[i, texts].max() - 1e-9).sum()
            scored(add, "text_retrieval", weight, rank, of_image[i] / of_image[i].sum(), i)
            add("queries", weight, 1)
            add("relative_image", weight, 2 * (s[i][~mine[i]].max() - s[i, texts].mean()))
    return {key: value(sums) for key, value in formulas().items()}


def scored(add: Any, prefix: str, weight: float, rank: int, p: Any, own: int) -> None:
    add(f"{prefix}_mean_rank", weight, rank)
    for k in (1, 5, 10):
        add(f"{prefix}_recall@{k}", weight, rank <= k)
    add(f"{prefix}_nll", weight, -np.log(p[own]))
    add(f"{prefix}_brier", weight, (p**2).sum() - 2 * p[own] + 1)


def formulas() -> dict[str, Any]:
    """Key to its number from the sums."""

    def ratio(top: str, bottom: str) -> Any:
        return lambda sums: sums[top] / sums[bottom]

    def joint(sums: dict[str, float]) -> float:
        top = sums["gauss_image"] + sums["gauss_text"] + sums["gauss_cross"] + 2 * sums["gauss_matched"]
        return float(np.log(top / (sums["pairs_image"] + sums["pairs_text"] + sums["pairs_cross"] + 2 * sums["texts"])))

    found = {key: ratio(key, "queries" if key.startswith("text") else "texts") for key in RETRIEVAL}
    for cloud in ("image", "text", "cross"):
        found[f"uniformity_{cloud}"] = lambda sums, c=cloud: float(np.log(sums[f"gauss_{c}"] / sums[f"pairs_{c}"]))
    return found | {
        "uniformity_joint": joint,
        "relative_alignment_text_to_image": ratio("relative_text", "texts"),
        "relative_alignment_image_to_text": ratio("relative_image", "queries"),
    }


# --- the blocks


@given(n=st.integers(1, 400), strata=st.integers(1, 60), size=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_blocks_are_rising_and_of_one_stratum_each_and_stand_for_all_images(
    n: int, strata: int, size: int, seed: int
) -> None:
    strata = min(n, strata)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        drawn = Blocks.drawn(n, strata, seed=seed)
        images = drawn.images
    assert bool((images.diff() > 0).all())
    assert all(one.stop < other.start for one, other in zip(drawn.runs, drawn.runs[1:], strict=False))
    assert torch.bincount(drawn.of_image, minlength=strata).tolist() == [
        min(size, length) for length in drawn.starts.diff().tolist()
    ]
    assert drawn.starts.diff().max() - drawn.starts.diff().min() <= 1
    assert float(drawn.weights.sum()) == pytest.approx(n, rel=1e-12)  # sums of quotients


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_each_image_is_drawn_as_often_as_any_other(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", size)
    starts, often = torch.tensor([0, 7, 14]), torch.zeros(14)
    for offset in range(7):
        often[Blocks(14, starts, torch.tensor([offset, offset])).images] += 1
    assert often.tolist() == [min(size, 7)] * 14


# --- the numbers


@pytest.mark.parametrize("strata", [2, 7, 60])
def test_each_number_is_the_mean_over_the_queries_drawn_each_against_the_whole_gallery(
    strata: int, small: None
) -> None:
    panel = sampled(pairs(), strata, dtype="float64")
    expected = by_loops(pairs(), Blocks.drawn(60, strata, seed=0))
    assert expected.keys() == SAMPLED == panel.sampled.keys()
    for key, value in expected.items():
        assert panel[key] == pytest.approx(value, rel=1e-9, abs=1e-9), key  # roundings of float64


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_blocks_that_hold_all_images_give_the_exact_numbers_without_error(dtype: str) -> None:
    exact = measure(pairs(), metrics=KEYS, bootstrap=0, dtype=dtype)
    for strata in (2, 7, 60):  # strata of fewer images than a block
        panel = sampled(pairs(), strata, dtype=dtype)
        for key, value in exact.values.items():
            near = 1e-12 if dtype == "float64" else 1e-5  # sums in another order
            assert panel[key] == pytest.approx(value, rel=near, abs=near), key
            assert panel.sampled[key] == (panel[key], panel[key])


def test_what_is_a_sum_over_rows_has_the_bits_of_the_whole_panel(small: None) -> None:
    exact, panel = measure(pairs(), metrics="all", bootstrap=0), sampled(pairs(), 5, "all")
    rest = exact.values.keys() - SAMPLED - NOT_SAMPLED
    assert {"alignment", "modality_gap", "mean_cosine_unmatched", "effective_rank_text", "linear_cka"} < rest
    assert all(panel.values[key] == exact.values[key] for key in rest)
    assert panel.null["modality_gap"] == exact.null["modality_gap"]


def test_the_seed_draws_and_nothing_else_does(small: None) -> None:
    one, again, other = (sampled(pairs(), 5, seed=seed) for seed in (1, 1, 2))
    assert one.to_dict() | {"seconds": 0, "written": 0} == again.to_dict() | {"seconds": 0, "written": 0}
    assert one.values != other.values


def test_rows_in_files_give_the_same_bits(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.save(many(), tmp_path / "store")
    held = sampled(store.load(place), 20)
    monkeypatch.setattr(scratch, "LEAST", 0)
    monkeypatch.setattr(scratch, "memory_left", lambda: 0.0)
    monkeypatch.setenv("GEOMCLIP_CACHE", str(tmp_path))
    assert sampled(store.load(place), 20).values == held.values


def test_copies_are_counted_and_no_recall_without_them_is_made_up(small: None) -> None:
    image = random_rows(40, 6, seed=1)
    image[20] = image[3]
    panel = sampled(EmbeddingSet(image, image + 0.1), 5)
    assert "1 of 40 image rows are copies of others: they count as images of their own" in panel.warnings


# --- the error bars


Estimates = dict[str, tuple[float, float, float]]
"""Key to value, low and high."""


def of_seeds(embeddings: EmbeddingSet, count: int, seeds: int, keys: list[str]) -> tuple[Panel, list[Estimates]]:
    """All of a set, and what so many draws of blocks estimate, from the answers of all queries, found once."""
    n, text = len(embeddings.image), embeddings.text
    assert text is not None
    options = Measuring(sample_blocks=count, bootstrap=0)
    run = Run(embeddings.image, Pairing.of(embeddings.image, text), None, 15.0, frozenset(keys), options, {}, SILENT)
    sweeps.every_pair(replace(run, wanted=frozenset()))
    everything = Blocks.drawn(n, n, seed=0)
    columns = run.found.columns | dict(blocks.added(run, everything))
    found = []
    for seed in range(seeds):
        drawn = Blocks.drawn(n, count, seed=seed)
        blocks.estimate(run, drawn, {name: each[drawn.images] for name, each in columns.items()})
        found.append({key: (run.found.values[key], *run.found.sampled[key]) for key in keys})
    return measure(embeddings, metrics=keys, bootstrap=0), found


def test_the_mean_over_seeds_is_the_exact_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within four standard errors of 200 draws: of 18 numbers one is further off in 1 of 900 such tests."""
    monkeypatch.setattr(blocks, "BLOCK", 10)
    exact, drawn = of_seeds(many(2000), 20, 200, list(KEYS))
    for key in KEYS:
        values = np.array([each[key][0] for each in drawn])
        assert abs(values.mean() - (exact[key] or 0)) < 4 * values.std(ddof=1) / len(values) ** 0.5, key


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("count", [8, 40])
def test_error_bars_hold_the_exact_number_as_often_as_they_say(
    count: int, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 draws 95 % hold it within four standard errors, 0.062; in an ordered set more do, as strata are unlike."""
    monkeypatch.setattr(blocks, "BLOCK", 10)
    exact, drawn = of_seeds(many(ordered=ordered), count, 200, list(KEYS))
    for key in KEYS:
        value = exact[key] or 0.0
        ends = np.array([each[key][1:] for each in drawn])
        inside = np.mean((ends[:, 0] <= value) & (value <= ends[:, 1]))
        assert inside > 0.95 - 0.062, (key, inside)
        if not ordered:
            spread = np.std([each[key][0] for each in drawn], ddof=1)
            reach = student(count - 1) * 1.3  # 1.05 as blocks of a tenth of the set vary less, and what draws err
            assert np.median(ends[:, 1] - ends[:, 0]) / 2 < reach * spread, key


def test_a_share_of_no_query_drawn_may_be_above_0(small: None) -> None:
    image = torch.eye(40)
    panel = sampled(EmbeddingSet(image, image.roll(1, 0)), 4)
    assert panel["image_retrieval_recall@1"] == 0
    low, high = panel.sampled["image_retrieval_recall@1"]
    assert (low, high) == (0, pytest.approx(3 / 16))  # the rule of three, of 16 images


# --- what is said


def test_what_blocks_do_not_give_has_no_value_and_a_reason(small: None) -> None:
    panel = sampled(pairs(), 5, "all")
    needed = {key for key, metric in METRICS.items() if metric.folds and metric.group != "zeroshot"}
    assert needed <= SAMPLED | NOT_SAMPLED
    assert not SAMPLED & NOT_SAMPLED
    for key in NOT_SAMPLED:
        assert panel.values[key] is None
        assert panel.notes[key].startswith("not measured from blocks: ")
    assert not panel.ci
    assert not panel.no_interval


def test_a_number_at_one_size_is_measured_beside_blocks() -> None:
    keys = ("text_hubness", "text_hubness@500")
    for n in (500, 600):
        whole = measure(many(n), metrics=keys, bootstrap=0)
        panel = sampled(many(n), 5, keys)
        assert panel["text_hubness"] is None
        assert panel["text_hubness@500"] == whole["text_hubness@500"]


def test_tables_and_files_say_which_numbers_are_sampled(small: None, tmp_path: Path) -> None:
    panel = sampled(pairs(), 5, "default")
    key = "image_retrieval_mean_rank"
    (low, high), value = panel.sampled[key], panel[key]
    lines = {line.split()[0]: line for line in str(panel.table(full=True)).splitlines() if line.strip()}
    assert f"±{max(high - value, value - low):.4f} sampled" in lines[key]
    assert "sampled" not in lines["alignment"]
    assert "20 of 60 images, in 5 blocks" in " ".join(str(panel).split())
    assert load(panel.save(tmp_path / "r.json")).sampled == panel.sampled
    assert json.loads((tmp_path / "r.json").read_text())["sampled"][key] == [low, high]
    rows = panel.to_pandas()
    assert rows.loc[key, "sampled_low"] == low
    assert f",{low!r},{high!r}\n" in panel_csv(panel)
    assert "sampled: " in panel.to_latex()
    assert "sampled" not in panel_csv(measure(pairs(), bootstrap=0))


def test_neither_gates_nor_plans_nor_comparisons_take_an_estimate_for_a_number(small: None) -> None:
    panel = sampled(pairs(), 5, "default")
    assert panel.fails("alignment<4")
    with pytest.raises(ValueError, match="image_retrieval_recall@1 is estimated from blocks of the set"):
        panel.fails("image_retrieval_recall@1<2")
    with pytest.raises(ValueError, match="no intervals to plan from: it was measured with sample_blocks"):
        plan(panel, 0.1)
    with pytest.raises(ValueError, match="after is estimated from blocks of its set"):
        compare(measure(pairs(), bootstrap=0), panel)


# --- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_blocks": 1}, "sample_blocks must be 2 or more, for an error bar between blocks, got 1"),
        ({"sample_blocks": 61}, "sample_blocks must be at most the 60 images of this set, got 61"),
        ({"bootstrap": 100}, "sample_blocks has intervals of its own"),
        ({"engine": "process"}, "engine is of whole sweeps: leave it out, or sample_blocks"),
        ({"curves": True}, "curves needs whole sweeps"),
        ({"paper": "oh2023"}, "paper needs whole sweeps"),
    ],
)
def test_what_blocks_do_not_go_with_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure(pairs(), **{"sample_blocks": 5, **options})


def test_groups_are_refused_beside_blocks() -> None:
    with pytest.raises(ValueError, match="by needs whole sweeps: leave it out, or sample_blocks"):
        measure(small_set(), sample_blocks=5, by="source")


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [(class_set(), "classes in place of texts"), (EmbeddingSet(random_rows(9, 4, seed=0)), "this set has no texts")],
)
def test_a_set_without_pairs_is_refused(embeddings: EmbeddingSet, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure(embeddings, sample_blocks=3)


def test_the_command_line_measures_a_store_from_blocks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = store.save(many(3000), tmp_path / "store")
    done = run_cli(capsys, "measure", "--embeddings", place, "--sample-blocks", 4, "--full")
    assert done.code == 0, done.err
    assert "1,000 of 3,000 images, in 4 blocks" in " ".join(done.out.split())
    assert "--metrics KEY@500 has it at 500 images" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sample-blocks", "4"], "--sample-blocks is of vectors: geomclip extract makes a store"),
        (["--embeddings", "store", "--sample-blocks", "1"], "--sample-blocks"),
        (["--embeddings", "store", "--sample-blocks", "99"], "--sample-blocks must be at most the 60 images"),
        (["--embeddings", "store", "--sample-blocks", "4", "--bootstrap", "9"], "leave --bootstrap out"),
        (["--embeddings", "store", "--sample-blocks", "4", "--engine", "process"], "--engine is of whole sweeps"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.save(pairs(), tmp_path / "store")
    assert_one_line(run_cli(capsys, "measure", *words), 2, said)
