"""Results of other programs: what CLIP_benchmark and MTEB write is read where a number of theirs is one of ours."""

from __future__ import annotations

import csv
import json
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from clip_benchmark.cli import main_build
from helpers import small_set

import geomclip as gc
from geomclip.machine.errors import InputError
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

RETRIEVAL = {"image_retrieval_recall@5": 0.8346, "text_retrieval_recall@5": 0.949}
CLASSES = {"acc1": 0.6346, "acc5": float("nan"), "mean_per_class_recall": 0.6}
LINEAR_PROBE = {"lp_acc1": 0.7, "lp_acc5": 0.9, "lp_mean_per_class_recall": 0.7, "weight_decay": 0.1, "fewshot_k": 8}


def clip_benchmark(file: Path, metrics: dict[str, Any], **others: Any) -> Path:
    """A result as CLIP_benchmark dumps it: by Python's JSON, so with NaN for the acc5 of fewer than five classes."""
    record = {"dataset": "flickr30k", "model": "ViT-B-32", "pretrained": "openai", "task": "zeroshot_retrieval"}
    file.write_text(json.dumps({**record, "metrics": metrics, "language": "en", **others}))
    return file


def built(file: Path, *results: Path) -> Path:
    """The table that its own `build` makes of results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the files open
        main_build(Namespace(files=[str(result) for result in results], output=str(file)))
    return file


def mteb(file: Path, task: str, numbers: dict[str, Any], **record: Any) -> Path:
    """A result of a task as MTEB 2 writes it."""
    each = {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.5, **numbers}
    whole = {"dataset_revision": "e26f", "task_name": task, "mteb_version": "2.26.24", "scores": {"test": [each]}}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**whole, "evaluation_time": 1.0, "kg_co2_emissions": None, **record}))
    return file


def of_mteb(**at_one: float) -> dict[str, Any]:
    """Scores of retrieval, of which a recall is the share of relevant texts, and a hit rate whether there is any."""
    return {"ndcg_at_10": 0.8, "recall_at_1": 0.16333, "mrr_at_1": 0.81667, "nauc_map_at_1_max": float("nan"), **at_one}


def assert_refused(side: str | Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load(side)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    for part in parts:
        assert part in message


# --- CLIP_benchmark


def test_its_build_makes_a_row_of_our_result_and_the_row_is_read_back_with_every_number(tmp_path: Path) -> None:
    panel = measure(small_set(60, 2), bootstrap=0)
    table = built(tmp_path / "all.csv", clip_benchmark(tmp_path / "a.json", RETRIEVAL), panel.save(tmp_path / "r.json"))
    with table.open(newline="") as file:
        row = list(csv.DictReader(file))[1]
    assert row["model_fullname"] == "none "
    assert float(row["image_retrieval_recall@5"]) == panel["image_retrieval_recall@5"]
    back = load(f"{table}:2")
    assert back.values == panel.values
    assert (back.n_images, back.n_texts) == (60, 120)


def test_its_recalls_are_ours_under_their_own_names_and_without_intervals(tmp_path: Path) -> None:
    panel = load(clip_benchmark(tmp_path / "a.json", {**RETRIEVAL, "image_retrieval_recall@3": 0.5}))
    assert panel.values == {"text_retrieval_recall@5": 0.949, "image_retrieval_recall@5": 0.8346}
    assert panel.ci == {}
    assert panel.task == "retrieval"
    assert panel.made_from["model"] == "ViT-B-32"
    text = str(panel)
    assert "numbers of CLIP_benchmark, without intervals" in text
    assert "1 of its numbers left out, without a counterpart here: image_retrieval_recall@3" in " ".join(text.split())
    assert "images not counted" in text
    assert "dimensions" not in text


def test_its_accuracies_are_ours_and_nan_for_few_classes_is_no_number(tmp_path: Path) -> None:
    panel = load(clip_benchmark(tmp_path / "a.json", CLASSES, task="zeroshot_classification"))
    assert panel.values == {"zeroshot_acc1": 0.6346, "zeroshot_acc5": None, "zeroshot_mean_per_class_recall": 0.6}
    assert panel.task == "classification"
    assert panel.notes == {"zeroshot_acc5": "CLIP_benchmark has no number"}


def test_what_its_json_and_the_row_of_its_table_give_is_the_same(tmp_path: Path) -> None:
    results = [clip_benchmark(tmp_path / "a.json", RETRIEVAL), clip_benchmark(tmp_path / "b.json", CLASSES)]
    table = built(tmp_path / "all.csv", *results)
    for place, result in enumerate(results, 1):
        row, one = load(f"{table}:{place}"), load(result)
        assert (row.values, row.notes, row.warnings) == (one.values, one.notes, one.warnings)
        assert {name: text for name, text in row.made_from.items() if text} == one.made_from


def test_a_table_of_one_row_needs_no_number_of_it(tmp_path: Path) -> None:
    table = built(tmp_path / "one.csv", clip_benchmark(tmp_path / "a.json", RETRIEVAL))
    assert load(table).values == load(f"{table}:1").values


def test_a_comparison_with_it_has_differences_and_neither_intervals_nor_verdicts(tmp_path: Path) -> None:
    panel = measure(small_set(60, 2), bootstrap=20)
    peer = clip_benchmark(tmp_path / "a.json", RETRIEVAL)
    found = gc.compare(panel, peer)
    assert found.keys() == ["text_retrieval_recall@5", "image_retrieval_recall@5"]
    row = found["image_retrieval_recall@5"]
    assert row.difference == 0.8346 - panel["image_retrieval_recall@5"]  # type: ignore[operator]
    assert (row.ci, row.p, row.q, row.verdict) == (None, None, None, "")
    assert not found.paired
    notes = " ".join(found.notes)
    left = len(panel.values) - 2
    assert f"{left} numbers of before left out: the other side has none" in notes
    assert "after: no intervals, so differences have none" in notes
    for of_ours_alone in ("logit scale", "seed", "below", "captions"):
        assert of_ours_alone not in notes


def test_two_of_its_results_are_compared_and_images_are_not_counted(tmp_path: Path) -> None:
    sides = [clip_benchmark(tmp_path / f"{name}.json", RETRIEVAL, model=name) for name in ("a", "b")]
    text = str(gc.compare(*sides))
    assert "images not counted · no intervals" in text
    assert "0 images" not in text


def test_it_stands_in_a_table_beside_ours(tmp_path: Path) -> None:
    peer = clip_benchmark(tmp_path / "a.json", RETRIEVAL)
    text = str(gc.table([measure(small_set(60, 2), bootstrap=0), peer], keys="image_retrieval_recall@5"))
    assert "ViT-B-32, openai" in text
    assert "83.5" in text


def test_its_result_makes_a_page(tmp_path: Path) -> None:
    gc.report(clip_benchmark(tmp_path / "a.json", RETRIEVAL), tmp_path / "page.html")
    assert "numbers of CLIP_benchmark, without intervals" in (tmp_path / "page.html").read_text()


# --- MTEB


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("Flickr30kI2TRetrieval", "text_retrieval_recall"),
        ("WITI2TRetrieval", "text_retrieval_recall"),
        ("MSCOCOT2IRetrieval", "image_retrieval_recall"),
        ("WITT2IRetrieval", "image_retrieval_recall"),
    ],
)
@pytest.mark.parametrize("name", ["hit_rate", "cv_recall"])
def test_a_hit_rate_is_a_recall_of_what_the_name_of_the_task_says(
    tmp_path: Path, task: str, key: str, name: str
) -> None:
    panel = load(mteb(tmp_path / "t.json", task, of_mteb(**{f"{name}_at_1": 0.81667, f"{name}_at_10": 0.98})))
    assert panel.values == {f"{key}@1": 0.81667, f"{key}@10": 0.98}
    assert panel.warnings[1].startswith("4 of its numbers left out, without a counterpart here: ndcg_at_10")


@pytest.mark.parametrize("task", ["CIRRIT2IRetrieval", "BLINKIT2TRetrieval", "XModBenchAT2IReranking", "NQ"])
def test_a_task_that_is_no_retrieval_between_one_image_and_one_text_has_no_counterpart(
    tmp_path: Path, task: str
) -> None:
    assert_refused(mteb(tmp_path / "t.json", task, of_mteb(hit_rate_at_1=0.5)), "t.json is of MTEB", "counterpart")


def test_the_accuracy_of_a_zero_shot_task_is_ours_and_that_of_a_linear_probe_is_not(tmp_path: Path) -> None:
    scores = {"accuracy": 0.7, "f1": 0.68, "recall": 0.69}
    panel = load(mteb(tmp_path / "z.json", "CIFAR10ZeroShot", scores))
    assert panel.values == {"zeroshot_acc1": 0.7, "zeroshot_mean_per_class_recall": 0.69}
    assert panel.task == "classification"
    assert_refused(mteb(tmp_path / "c.json", "CIFAR10", scores), "none of its 3 numbers (accuracy, f1, recall)")


def test_the_model_is_that_of_the_file_beside(tmp_path: Path) -> None:
    file = mteb(tmp_path / "org__m" / "abc" / "t.json", "MSCOCOT2IRetrieval", of_mteb(hit_rate_at_1=0.5))
    assert load(file).made_from["model"] == ""
    (file.parent / "model_meta.json").write_text(json.dumps({"name": "org/m", "revision": "abc"}))
    assert load(file).made_from["model"] == "org/m"


def test_subsets_are_averaged_and_other_splits_named(tmp_path: Path) -> None:
    scores = {
        "dev": [{"hf_subset": "de", "hit_rate_at_1": 0.1}],
        "test": [{"hf_subset": "de", "hit_rate_at_1": 0.25}, {"hf_subset": "ja", "hit_rate_at_1": 0.75}],
    }
    panel = load(mteb(tmp_path / "t.json", "XFlickr30kCoT2IRetrieval", {}, scores=scores))
    assert panel["image_retrieval_recall@1"] == 0.5
    assert panel.warnings[1:] == ["mean of 2 subsets: de, ja", "of split test; not read: dev"]


# --- what cannot be read


def share(value: object) -> dict[str, object]:
    return {"image_retrieval_recall@5": value}


@pytest.mark.parametrize(
    ("metrics", "others", "parts"),
    [
        (share(83.46), {}, ["metrics.image_retrieval_recall@5 is 83.46, and a share is from 0 to 1"]),
        (share("high"), {}, ["metrics.image_retrieval_recall@5 is no finite number"]),
        (share(True), {}, ["metrics.image_retrieval_recall@5 is no finite number"]),
        ([1], {}, ["metrics is no object"]),
        (share(0.5), {"model": 3}, ["model is no text"]),
        (LINEAR_PROBE, {}, ["none of its 5 numbers (lp_acc1, lp_acc5, lp_mean_per_class_recall, weight_decay and 1"]),
        ({}, {}, ["none of its 0 numbers has a counterpart here"]),
    ],
)
def test_a_malformed_result_of_it_is_refused_with_the_field(
    tmp_path: Path, metrics: Any, others: dict[str, Any], parts: list[str]
) -> None:
    assert_refused(clip_benchmark(tmp_path / "bad.json", metrics, **others), "bad.json", *parts)


def test_infinity_and_nan_in_a_result_of_ours_are_still_refused(tmp_path: Path) -> None:
    assert_refused(clip_benchmark(tmp_path / "a.json", share(float("inf"))), "Infinity is no JSON")
    assert_refused(clip_benchmark(tmp_path / "b.json", CLASSES, schema="geomclip.measure/1"), "NaN is no JSON")


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"scores": {}}, ["scores: none of any split"]),
        ({"scores": {"test": []}}, ["scores: none of any split"]),
        ({"scores": []}, ["scores is no object"]),
        ({"scores": {"test": {"default": {}}}}, ["scores.test is no list"]),
        ({"task_name": 3}, ["task_name is no text"]),
        ({"scores": {"test": [{"hit_rate_at_1": "x"}]}}, ["scores.test.hit_rate_at_1 is no finite number"]),
        ({"task_results": []}, ["is a list of results of MTEB: name the file of one task"]),
    ],
)
def test_a_malformed_result_of_mteb_is_refused_with_the_field(
    tmp_path: Path, record: dict[str, Any], parts: list[str]
) -> None:
    assert_refused(mteb(tmp_path / "bad.json", "MSCOCOT2IRetrieval", of_mteb(), **record), "bad.json", *parts)


def test_a_table_of_several_rows_asks_for_one_and_names_them(tmp_path: Path) -> None:
    results = [clip_benchmark(tmp_path / f"{name}.json", RETRIEVAL, model=name) for name in ("a", "b")]
    table = built(tmp_path / "all.csv", *results)
    assert_refused(table, f"all.csv has 2 rows: name one, as {table}:1 (1 a openai flickr30k; 2 b openai flickr30k)")
    assert_refused(f"{table}:3", "all.csv:3: the table has rows 1 to 2")
    assert_refused(f"{table}:0", "all.csv:0: the table has rows 1 to 2")


HEAD = "dataset,model,pretrained,task,acc1"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["is no table of CLIP_benchmark's build: it has no rows"]),
        (HEAD.encode(), ["is no table of CLIP_benchmark's build: it has no rows"]),
        (b"group,metric,value\n,alignment,0.5\n", ["it has no columns dataset, model, pretrained and task"]),
        (f"{HEAD}\nd,m,p,t\n".encode(), ["its rows are not all as long as its first"]),
        (f"{HEAD}\nd,m,p,t,0.5,0.6\n".encode(), ["its rows are not all as long as its first"]),
        (f"{HEAD}\nd,m,p,t,half\n".encode(), ["row 1: metrics.acc1 is no finite number"]),
        (f'{HEAD}\nd,m,p,t,"0.5\n'.encode(), ["is not readable as a table with commas"]),
        (b"\xff\xfe\x00", ["is not readable as a table with commas"]),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert_refused(tmp_path / "t.csv", "t.csv", *parts)


def test_an_absent_table_and_an_unknown_json_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.csv", "none.csv cannot be read (No such file or directory)")
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert_refused(tmp_path / "x.json", "is no result of geomclip measure", "none of CLIP_benchmark or MTEB")


def test_results_that_share_no_number_are_not_compared(tmp_path: Path) -> None:
    one = mteb(tmp_path / "i.json", "MSCOCOI2TRetrieval", of_mteb(hit_rate_at_1=0.5))
    other = mteb(tmp_path / "t.json", "MSCOCOT2IRetrieval", of_mteb(hit_rate_at_1=0.5))
    with pytest.raises(ValueError, match=r"share no number: text_retrieval_recall@1 before, image_retrieval_recall@1"):
        gc.compare(one, other)


def test_a_text_of_a_stranger_prints_no_escape(tmp_path: Path) -> None:
    panel: Panel = load(clip_benchmark(tmp_path / "a.json", RETRIEVAL, model="\x1b[31mred"))
    assert "\x1b" not in str(panel)
    table = built(tmp_path / "t.csv", clip_benchmark(tmp_path / "a.json", RETRIEVAL, model="\x1b[31mred"))
    assert "\x1b" not in str(load(table))
