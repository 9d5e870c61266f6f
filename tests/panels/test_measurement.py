"""measure: known answers of real vectors, what is undefined and why, groups, options, and bytes on disk."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow.parquet
import pytest
import torch
from helpers import class_set, random_rows, shared, small_set
from recorder import Recorder

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine import words
from geomclip.metrics import METRICS, null_draws
from geomclip.metrics.honest import honest_errors
from geomclip.panels.files import items_path
from geomclip.panels.measurement import measure
from geomclip.panels.nulls import NullCache

pytestmark = pytest.mark.numeric

# Real CLIP ViT-B/32 vectors of 100 Flickr8k photos x 5 captions, logit scale 100
FLICKR = {
    "alignment": 1.3494413, "relative_alignment_text_to_image": -0.0672101111,
    "relative_alignment_image_to_text": -0.0300933026, "uniformity_image": -1.70888021,
    "uniformity_text": -1.88734466, "uniformity_joint": -2.11464626, "uniformity_cross": -3.28193781,
    "modality_gap": 0.843016913, "mean_cosine_image": 0.555786581, "mean_cosine_text": 0.502678316,
    "mean_cosine_matched": 0.325279348, "mean_cosine_unmatched": 0.17511039,
    "relative_modality_gap": 0.589024531, "text_retrieval_recall@1": 0.93, "image_retrieval_recall@1": 0.832,
    "text_retrieval_recall@5": 1, "image_retrieval_recall@5": 0.99, "text_retrieval_recall@10": 1,
    "image_retrieval_recall@10": 0.998, "text_retrieval_median_rank": 1, "image_retrieval_median_rank": 1,
    "text_retrieval_ece": 0.0772053458, "image_retrieval_ece": 0.0387490441,
    "effective_rank_image": 71.7547344, "effective_rank_text": 227.189853,
    "participation_ratio_image": 3.0896223, "participation_ratio_text": 3.75055676,
    "text_hubness": 1.98101993, "image_hubness": 1.25043296,
}  # fmt: skip
# open_clip ViT-B-32 laion2b vectors of 848 CIFAR-10 images and 10 class texts, logit scale 100
CIFAR = {
    "zeroshot_acc1": 0.702830189, "zeroshot_mean_per_class_recall": 0.715946847, "zeroshot_ece": 0.150584535,
    "zeroshot_nll": 0.780539335, "modality_gap": 0.936438881,
}  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-5)])
@pytest.mark.parametrize(
    ("file", "known"),
    [("flickr8k_100x5_vitb32", FLICKR), ("cifar10_848_vitb32_laion2b", CIFAR)],
    ids=["flickr8k", "cifar10"],
)
def test_known_answers_of_real_vectors(file, known, dtype, tolerance):
    embeddings = gc.load(shared(f"data/embeddings/{file}/embeddings.npz"), dtype=getattr(torch, dtype))
    panel = measure(embeddings, bootstrap=0, dtype=dtype, logit_scale=100)
    for key, value in known.items():
        half_a_digit = 0.5 * 10.0 ** -(9 - len(str(int(abs(value)))) if abs(value) >= 1 else 9)
        allowed = tolerance * max(1, abs(value)) + half_a_digit
        assert panel[key] == pytest.approx(value, abs=allowed), key


def test_all_values_are_numbers_with_a_null_or_a_reason():
    panel = measure(small_set(20, 2), metrics="all", bootstrap=20)
    for key, value in panel.values.items():
        assert value is not None or panel.notes[key]
    assert all(value is None or np.isfinite(value) for value in panel.values.values())


def test_the_panel_has_the_values_of_the_functions():
    made = small_set(14, 3, seed=2)
    x, y, own = made.image, made.text, made.image_of_text
    panel = measure(made, metrics="all", bootstrap=0, dtype="float64")
    functions = gc.metrics
    alone = {
        "alignment": functions.alignment(x, y, own),
        "relative_alignment_text_to_image": functions.relative_alignment_text_to_image(x, y, own),
        "relative_alignment_image_to_text": functions.relative_alignment_image_to_text(x, y, own),
        "uniformity_image": functions.uniformity(x),
        "uniformity_text": functions.uniformity(y),
        "uniformity_joint": functions.uniformity_joint(x, y),
        "uniformity_cross": functions.uniformity_cross(x, y, own),
        "modality_gap": functions.modality_gap(x, y),
        "relative_modality_gap": functions.relative_modality_gap(x, y, own),
        "linear_separability": functions.linear_separability(x, y, own, seed=0),
        "gap_after_centering": functions.gap_after_centering(x, y),
        "mean_cosine_image": functions.mean_cosine(x),
        "mean_cosine_text": functions.mean_cosine(y),
        "mean_cosine_matched": functions.mean_cosine_matched(x, y, own),
        "mean_cosine_unmatched": functions.mean_cosine_unmatched(x, y, own),
        **functions.retrieval(x, y, own),
        "twonn_image": functions.twonn(x),
        "twonn_text": functions.twonn(y),
        "text_hubness": functions.hubness(functions.k_occurrence(x, y)),
        "image_hubness": functions.hubness(functions.k_occurrence(y, x)),
        "effective_rank_text": functions.effective_rank(y),
        "participation_ratio_image": functions.participation_ratio(x),
    }
    for key, value in alone.items():
        assert panel[key] == pytest.approx(float(value), rel=1e-9, abs=1e-12), key


def test_class_data_give_zero_shot_numbers_and_say_why_retrieval_is_absent():
    panel = measure(class_set(), bootstrap=20)
    assert panel.task == "classification"
    assert {"zeroshot_acc1", "modality_gap", "uniformity_image"} <= set(panel)
    assert "image_retrieval_recall@1" not in panel
    assert "classes" in panel.notes["image_retrieval_recall@1"]
    with pytest.raises(KeyError, match="image-text pairs"):
        panel["image_retrieval_recall@1"]


def test_images_without_text_are_candidates_and_are_told():
    made = small_set(10, 2)
    kept = (made.image_of_text < 9).nonzero()[:, 0]
    panel = measure(made.select_texts(kept), bootstrap=20)
    assert any("1 of 10 images have no text" in line for line in panel.warnings)
    assert panel["text_retrieval_recall@10"] <= 1


def test_two_images_are_enough_and_what_they_cannot_tell_is_null_with_a_reason():
    panel = measure(EmbeddingSet(torch.eye(4)[:2], torch.eye(4)[2:], logit_scale=1), bootstrap=20)
    assert panel["modality_gap"] == pytest.approx(1)
    assert panel["twonn_image"] is None
    assert "3" in panel.notes["twonn_image"]
    assert panel["linear_separability"] is None
    assert panel["text_hubness"] is None
    assert json.dumps(panel.to_dict(), allow_nan=False)


def test_rows_that_are_all_one_point_give_no_nan():
    same = torch.ones(12, 5)
    panel = measure(EmbeddingSet(same, same, logit_scale=10), metrics="all", bootstrap=20)
    assert json.dumps(panel.to_dict(), allow_nan=False)
    assert panel["image_retrieval_recall@1"] == 0
    assert panel["effective_rank_image"] == pytest.approx(1)


def test_the_first_caption_protocol_is_the_measure_of_first_captions():
    made = small_set(15, 3)
    assert measure(made, captions="first", bootstrap=0).values == measure(made.first_texts(), bootstrap=0).values


def test_groups_are_panels_of_their_own_images():
    made = small_set(20, 2)
    panel = measure(made, by="source", bootstrap=0)
    assert list(panel.groups) == ["a", "b"]
    rows = torch.tensor([i for i in range(20) if made.columns["source"][i] == "a"])
    alone = measure(made.select_images(rows), bootstrap=0)
    for key, value in panel.groups["a"].values.items():  # float32 rows made unit twice
        assert value == (None if alone[key] is None else pytest.approx(alone[key], rel=1e-6, abs=1e-6)), key


def test_a_group_of_one_image_says_why_it_has_no_numbers():
    made = small_set(5, 2).replace(columns={"source": ("a", "a", "a", "a", "b")})
    assert "at least 2 images" in measure(made, by="source", bootstrap=0).groups["b"].notes["group"]


def test_the_papers_code_is_reproduced_only_where_it_is_asked_for():
    made = small_set(12, 2)
    panel = measure(made, paper="oh2023", bootstrap=0, dtype="float64")
    doubled = torch.cat([made.image, made.image])
    distances = torch.pdist(doubled).square()
    assert panel["oh2023_uniformity"] == pytest.approx(float((-2 * distances).exp().mean().log()), abs=1e-12)
    assert not any(key.startswith("oh2023") for key in measure(made, bootstrap=0))


def test_curves_without_a_direction_are_told_and_end_nothing():
    panel = measure(EmbeddingSet(torch.eye(3), torch.eye(3).flip(0)), curves=True, bootstrap=0)
    assert "gap_shift_curve" not in panel.curves
    assert panel.notes["gap_shift_curve"].startswith("the mean of x is the mean of y")
    assert panel["modality_gap"] == pytest.approx(0, abs=1e-7)


def test_curves_start_at_the_panels_own_numbers():
    made = small_set(15, 2)
    panel = measure(made, curves=True, bootstrap=0)
    shift, cut = panel.curves["gap_shift_curve"], panel.curves["gap_ablation_curve"]
    at = shift["shift"].index(0.0)
    assert shift["modality_gap"][at] == pytest.approx(panel["modality_gap"], abs=1e-5)
    assert cut["image_retrieval_recall@1"][0] == pytest.approx(panel["image_retrieval_recall@1"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"metrics": "modality_gep"}, "unknown metric 'modality_gep'; nearest: modality_gap"),
        ({"metrics": []}, "no metric is named"),
        ({"by": "sauce"}, "no column 'sauce'.*source"),
        ({"captions": "second"}, "captions must be one of all, first"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64"),
        ({"paper": "oh2024"}, "paper must be one of"),
        ({"bootstrap": -1}, "bootstrap must be 0"),
        ({"logit_scale": -3.0}, "logit_scale must be positive"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        measure(small_set(), **options)


def test_lengths_far_from_one_are_told():
    panel = measure(EmbeddingSet(3 * random_rows(5, 4, seed=0), random_rows(5, 4, seed=1), logit_scale=1), bootstrap=0)
    assert any("image rows came with lengths of 3 to 3" in line for line in panel.warnings)


def test_an_assumed_logit_scale_is_told():
    panel = measure(EmbeddingSet(torch.eye(5), torch.eye(5)), bootstrap=0)
    assert panel.logit_scale_source == "assumed"
    assert any("100 is assumed" in line for line in panel.warnings)
    assert measure(EmbeddingSet(torch.eye(5), torch.eye(5)), bootstrap=0, logit_scale=7).logit_scale == 7


def test_a_warning_names_the_option_as_the_caller_writes_it():
    vectors = EmbeddingSet(torch.eye(5), torch.eye(5))
    assert any("(logit_scale sets it)" in line for line in measure(vectors, bootstrap=0).warnings)
    words.speak_of_flags()
    try:
        assert any("(--logit-scale sets it)" in line for line in measure(vectors, bootstrap=0).warnings)
    finally:
        words.speak_of_flags(False)


def test_only_the_folds_that_a_metric_names_are_computed():
    items = measure(small_set(), metrics=["effective_rank_image"], bootstrap=0).items
    assert items["image"].keys() >= {"matched_cosine"}
    assert not {"rank", "hardest_cosine", "confidence", "k_occurrence"} & set(items["image"])
    assert "rank" in measure(small_set(), metrics=["text_retrieval_mean_rank"], bootstrap=0).items["image"]


def test_progress_gets_each_sweep_as_a_stage():
    seen = Recorder()
    measure(small_set(6, 2), bootstrap=0, progress=seen)
    assert seen.stages == [("image sweep", 6, 6, ""), ("text sweep", 12, 12, ""), ("image-text sweep", 12, 12, "")]
    assert seen.lines == []


def test_texts_under_several_images_are_counted():
    made = small_set(4, 2).replace(caption=("a", "b", "a", "c", "d", "d", "e", "f"))
    assert measure(made, bootstrap=0)["duplicate_text_share"] == 2 / 8  # "a"; "d" twice under one image is none


def test_without_captions_equal_rows_are_one_text():
    made = small_set(4, 2)
    made = made.replace(text=made.text[[0, 1, 0, 3, 4, 4, 6, 7]])
    assert measure(made, metrics=["duplicate_text_share"], bootstrap=0)["duplicate_text_share"] == 2 / 8


def test_texts_cut_at_the_context_length_are_told_above_one_percent():
    made = small_set(4, 2).replace(truncated=[True, True, False, True, False, False, False, False])
    panel = measure(made, bootstrap=0)
    assert panel["truncated_text_share"] == 3 / 8
    assert measure(made.first_texts(), bootstrap=0)["truncated_text_share"] == 1 / 4
    assert "truncated_text_share" not in measure(small_set(4, 2), bootstrap=0)
    assert any("37.5% of the texts were cut" in line for line in panel.warnings)


@pytest.mark.parametrize("place", ["set.npz", "store"])
def test_which_texts_were_cut_survives_the_disk(tmp_path, place):
    made = small_set(2, 2).replace(truncated=[True, False, False, True])
    gc.save(made, tmp_path / place)
    assert gc.load(tmp_path / place).truncated.tolist() == [True, False, False, True]
    assert gc.load(tmp_path / place).caption is None  # a set without captions does not come back with empty ones


def test_a_saved_panel_is_json_of_the_schema_with_items_beside_it(tmp_path):
    made = small_set(6, 2)
    made = made.replace(image_path=tuple(f"{i}.jpg" for i in range(6)))
    panel = measure(made, bootstrap=20)
    panel.save(tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["schema"] == "geomclip.measure/1"
    for key in ("dataset", "model", "pretrained", "language"):
        assert isinstance(result[key], str)
    assert result["metrics"].keys() == panel.values.keys()
    assert result["n_texts"] == 12
    assert re.fullmatch("[0-9a-f]{64}", result["features_sha256"])
    items = pyarrow.parquet.read_table(items_path(tmp_path / "r.json")).to_pylist()
    assert [row["kind"] for row in items] == ["image"] * 6 + ["text"] * 12
    assert items[0]["image_path"] == "0.jpg"
    ranks = [row["rank"] for row in items if row["kind"] == "text"]
    assert np.mean(np.array(ranks) <= 1) == panel["image_retrieval_recall@1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.items.parquet", "r.json"]


def test_a_result_becomes_a_row_as_clip_benchmark_builds_its_table(tmp_path):
    """Its `build` flattens `metrics`, lays the other fields over them and joins model and pretrained."""
    import pandas

    measure(small_set(6, 2), bootstrap=0).save(tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text())
    row = {**data["metrics"], **data}
    del row["metrics"]
    row["model_fullname"] = data["model"] + " " + data["pretrained"]
    table = pandas.DataFrame([row])
    assert table["image_retrieval_recall@5"][0] == data["metrics"]["image_retrieval_recall@5"]
    assert "image_retrieval_recall@5" in table.to_csv(index=False)


def test_items_are_in_the_order_of_the_set(tmp_path):
    made = small_set(6, 2)
    shuffled = made.select_texts(torch.randperm(12, generator=torch.Generator().manual_seed(0)))
    straight, mixed = (measure(each, bootstrap=0).items["text"] for each in (made, shuffled))
    by_id = dict(zip(straight["caption_id"], straight["rank"], strict=True))
    assert [by_id[each] for each in mixed["caption_id"]] == mixed["rank"]


def test_nulls_are_simulated_once_and_kept(tmp_path, monkeypatch):
    cache = NullCache(tmp_path)
    first = measure(small_set(), bootstrap=0, null_cache=cache)
    assert len(cache) == 4  # shapes, neighbourhoods, and the dimension of each cloud
    for name in ("shapes", "dimension", "neighborhoods"):
        monkeypatch.setattr(null_draws, name, lambda *_, **__: pytest.fail("simulated again"))
    again = measure(small_set(), bootstrap=0, null_cache=cache)
    assert (again.null, again.null_error) == (first.null, first.null_error)


@pytest.mark.parametrize("content", ["[1, 2", "[1, 2]", '{"twonn": 3}', '{"twonn": [1]}'])
def test_a_damaged_null_file_is_simulated_again(tmp_path, content):
    cache = NullCache(tmp_path)
    first = measure(small_set(), bootstrap=0, null_cache=cache)
    for file in (tmp_path / "nulls").iterdir():
        file.write_text(content)
    assert measure(small_set(), bootstrap=0, null_cache=cache).null == first.null


def test_nulls_are_the_same_for_every_seed():
    first, other = (measure(small_set(), metrics="all", bootstrap=0, seed=seed) for seed in (0, 1))
    assert (first.null, first.null_error, first.p) == (other.null, other.null_error, other.p)


def test_a_simulated_null_has_an_error_and_no_other_has_one():
    panel = measure(small_set(20, 2), metrics="all", bootstrap=0)
    simulated = {"twonn_image", "effective_rank_text", "text_robin_hood", "gap_after_centering", "image_retrieval_ece"}
    assert simulated <= set(panel.null_error) <= set(panel.null)
    exact = {"modality_gap", "relative_alignment_text_to_image", "alignment", "image_retrieval_recall@1"}
    assert not exact & set(panel.null_error)
    large = measure(small_set(120, 1), metrics="all", bootstrap=0)
    assert "participation_ratio_image" in set(large.null) - set(large.null_error)
    assert set(panel.p) == {f"{what}_retrieval_{kind}" for what in ("text", "image") for kind in ("ece", "mce")}


def test_texts_of_one_image_share_their_luck_in_any_order():
    made = small_set(30, 3)
    made = made.select_texts(torch.randperm(90, generator=torch.Generator().manual_seed(0)))
    panel = measure(made, bootstrap=0)
    confidence, hit = (torch.tensor(panel.items["text"][name], dtype=torch.float64) for name in ("confidence", "hit"))
    expected = honest_errors(confidence, hit, made.image_of_text)["ece"]
    assert honest_errors(confidence, hit)["ece"].mean < 0.97 * expected.mean
    assert (panel.p["image_retrieval_ece"], panel.null["image_retrieval_ece"]) == (expected.p, expected.mean)


def test_a_null_that_cannot_be_simulated_is_absent_and_says_why(monkeypatch):
    line = measure(EmbeddingSet(torch.tensor([[1.0], [-1.0], [1.0]]), torch.ones(3, 1), logit_scale=1), bootstrap=0)
    assert "effective_rank_image" not in line.null
    assert line.notes["effective_rank_image"] == "no null: rows of one dimension are two points"
    assert line.null["relative_alignment_text_to_image"] == 1.0  # of two others one is at 1 in three of four cases

    # that many rows take minutes: the limits are lowered in their place
    monkeypatch.setattr(null_draws, "AFFORDABLE", 12 * 16 * 12)
    monkeypatch.setattr(null_draws, "SCORES", 100)
    null_draws.shapes.cache_clear()
    some = measure(small_set(12, 3), bootstrap=0)
    null_draws.shapes.cache_clear()
    assert "effective_rank_image" in some.null
    assert not {"effective_rank_text", "gap_after_centering", "text_hubness"} & set(some.null)
    assert some.notes["effective_rank_text"] == "no null: 36 text rows of 16 dimensions are too many to simulate"
    assert "12 and 36 rows of 16 dimensions are too many" in some.notes["image_hubness"]
    assert "effective_rank_text" in str(some.table(full=True))
    assert json.dumps(some.to_dict(), allow_nan=False)


def test_one_image_with_texts_has_no_null_of_the_gap():
    rows = torch.eye(4)
    panel = measure(EmbeddingSet(rows, rows, torch.zeros(4, dtype=torch.long), logit_scale=1), bootstrap=0)
    assert "modality_gap" not in panel.null
    assert "at least 2 images" in panel.notes["modality_gap"]


def test_the_null_of_a_class_set_is_that_of_guesses_and_of_honest_answers():
    panel = measure(class_set(), metrics="all", bootstrap=0)
    assert panel.null["zeroshot_acc1"] == panel.null["zeroshot_mean_per_class_recall"] == 0.25
    assert panel.null["zeroshot_nll"] == pytest.approx(np.log(4))
    assert set(panel.p) == {"zeroshot_ece", "zeroshot_mce"}
    assert 0 < panel.null["modality_gap"] < (1 / 40 + 1 / 4) ** 0.5 * 1.1


def test_a_panel_shows_as_a_table_everywhere():
    panel = measure(small_set(), bootstrap=20)
    assert "Modality gap" in str(panel)
    assert "<table" in panel._repr_html_()
    frame = panel.to_pandas()
    assert frame.loc["modality_gap", "value"] == panel["modality_gap"]
    assert frame.loc["twonn_image", "null_error"] == panel.null_error["twonn_image"]
    assert frame.loc["image_retrieval_ece", "p"] == panel.p["image_retrieval_ece"]
    assert set(frame.index) == set(panel)


def test_a_temperature_that_no_scale_is_best_for_is_null_with_a_reason():
    panel = measure(small_set(apart=0.0), metrics=["text_retrieval_temperature"], bootstrap=0)
    assert panel["text_retrieval_temperature"] is None
    assert "every query is right" in panel.notes["text_retrieval_temperature"]


def test_names_of_metrics_narrow_the_panel():
    panel = measure(small_set(), metrics="modality_gap,text_hubness", bootstrap=20)
    assert list(panel) == ["modality_gap", "text_hubness"]
    assert set(panel) <= set(METRICS)
