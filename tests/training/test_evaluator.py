"""GeometryEvaluator: geomclip's panel as an evaluator of sentence-transformers, and what changed between two calls."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import random_rows
from PIL import Image
from sentences import WORDS, columns, sentence_model
from torch import Tensor, nn

import geomclip as gc
from geomclip.machine.errors import InputError

TEXTS = [f"{WORDS[i % 12]} {WORDS[(i + 1 + i // 12) % 12]}" for i in range(24)]
QUERIES = [f"a {text}" for text in TEXTS]


class Encoder(nn.Module):
    """Rows that depend on a seed and on the input; dropout tells whether it is in eval mode."""

    def __init__(self, seed: int = 0, width: int = 16, text_width: int = 16) -> None:
        super().__init__()
        self.width, self.text_width = width, text_width
        self.drop = nn.Dropout(0.5)
        self.logit_scale = nn.Parameter(torch.tensor(20.0).log())
        self.noise = random_rows(24, 16, seed=seed + 50).float()

    def encode(self, inputs: Sequence[Any], *, convert_to_tensor: bool, **how: Any) -> Tensor:
        assert convert_to_tensor
        assert not torch.is_grad_enabled()
        of_text = isinstance(inputs[0], str)
        rows = random_rows(24, 16, seed=7).float() + (self.noise if of_text else 0)
        return self.drop(rows)[: len(inputs), : self.text_width if of_text else self.width]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Any]:
    """Half of them files."""
    found: list[Any] = [Image.new("RGB", (4, 4), (10 * i, 0, 0)) for i in range(24)]
    for i in range(12):
        found[i].save(tmp_path / f"{i}.png")
        found[i] = tmp_path / f"{i}.png"
    return found


def test_the_numbers_are_those_of_the_panel_with_the_name_before_them(pictures: list[Any]) -> None:
    evaluator = gc.GeometryEvaluator(TEXTS, images=pictures, name="dev", bootstrap=0)
    model = Encoder().train()
    found = evaluator(model)
    image, text = (model.eval().noise * 0 + random_rows(24, 16, seed=7).float() + extra for extra in (0, model.noise))
    panel = gc.measure(gc.EmbeddingSet(image, text, logit_scale=20.0, caption=TEXTS), bootstrap=0)
    expected = {f"dev_{key}": value for key, value in panel.values.items() if value is not None}
    assert found == pytest.approx(expected, rel=1e-5)  # the scale of the model, which ECE goes by, is a float32
    assert evaluator.primary_metric == "dev_text_retrieval_recall@1"
    assert evaluator.greater_is_better is True
    assert all(isinstance(value, float) for value in found.values())


def test_the_model_stays_in_the_mode_it_was_in(pictures: list[Any]) -> None:
    model = Encoder().train()
    gc.GeometryEvaluator(TEXTS, images=pictures, bootstrap=0)(model)
    assert model.training
    assert model.drop.training


def test_two_calls_are_compared_with_intervals_and_a_verdict(pictures: list[Any]) -> None:
    evaluator = gc.GeometryEvaluator(TEXTS, images=pictures)
    with pytest.raises(InputError, match="compare needs two calls of the evaluator"):
        evaluator.compare()
    model = Encoder()
    evaluator(model, steps=0, epoch=0)
    model.noise = 0.1 * model.noise
    evaluator(model, steps=10, epoch=1)
    comparison = evaluator.compare()
    assert comparison.paired
    assert comparison.verdict.headline
    assert (comparison.before["name"], comparison.after["name"]) == ("step 0", "step 10")
    assert evaluator.before is not None
    assert evaluator.after is not None
    assert comparison["alignment"].difference == pytest.approx(
        evaluator.after["alignment"] - evaluator.before["alignment"]
    )  # type: ignore[operator]
    assert comparison["alignment"].verdict == "better"


def test_a_folder_gets_a_row_a_call_and_results_that_compare_takes(pictures: list[Any], tmp_path: Path) -> None:
    evaluator = gc.GeometryEvaluator(TEXTS, images=pictures, name="dev", metrics="alignment modality_gap", bootstrap=0)
    for steps, seed in ((10, 0), (20, 1), (30, 2)):
        found = evaluator(Encoder(seed), tmp_path / "eval", epoch=1, steps=steps)
    with (tmp_path / "eval" / "geometry_evaluation_dev_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["10", "20", "30"]
    assert float(rows[-1]["alignment"]) == found["dev_alignment"]
    before, after = (tmp_path / "eval" / f"geometry_evaluation_dev_{side}.json" for side in ("before", "after"))
    assert json.loads(after.read_text())["metrics"]["alignment"] == pytest.approx(found["dev_alignment"])
    assert gc.compare(before, after)["alignment"].difference == pytest.approx(
        float(rows[2]["alignment"]) - float(rows[0]["alignment"])
    )
    other = gc.GeometryEvaluator(TEXTS, images=pictures, name="dev", metrics="alignment", bootstrap=0)
    with pytest.raises(InputError, match=r"dev_results\.csv has other columns: another evaluator's; give name="):
        other(Encoder(), tmp_path / "eval")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "give either images= or queries="),
        ({"images": [1], "queries": ["a"]}, "give either images= or queries="),
        ({"queries": ["a"] * 3}, "3 queries and 24 texts: a text for each, or image_of_text="),
        ({"queries": QUERIES, "primary": "alignmant"}, "primary='alignmant' is not measured, or is neither"),
        ({"queries": QUERIES, "primary": "modality_gap"}, "is neither better nor worse"),
        ({"queries": QUERIES, "metrics": "modality_gap"}, "none of these metrics can be better or worse"),
        ({"queries": QUERIES, "metrics": "alignmant"}, "unknown metric 'alignmant'"),
        ({"queries": "abc"}, "queries= must be a list, got str"),
        ({"queries": 3}, "queries= must be a list, got int"),
        ({"queries": []}, "queries= is empty: there is nothing to measure"),
        ({"queries": ["a", ["b", "c"]]}, r"queries\[1\] must be one string, got list"),
        ({"images": ["a.png", 3]}, r"images\[1\] must be a picture or its file, got int"),
        ({"queries": QUERIES, "image_of_text": [0]}, "image_of_text= has 1 rows for 24 texts"),
        ({"queries": QUERIES, "image_of_text": [24] * 24}, "names row 24, and there are 24 queries: 0 to 23"),
        ({"queries": QUERIES, "name": "dev/set"}, "name='dev/set' becomes part of the names of files: leave / and"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        gc.GeometryEvaluator(TEXTS, **how)
    assert "\n" not in str(caught.value)


def test_texts_are_a_list_of_strings() -> None:
    for texts, message in (([], "texts= is empty"), ("abc", "texts= must be a list"), ([["a"]], r"texts\[0\] must be")):
        with pytest.raises(InputError, match=message):
            gc.GeometryEvaluator(texts, queries=QUERIES)  # type: ignore[arg-type]


def test_other_widths_and_files_that_are_not_there_are_refused(pictures: list[Any]) -> None:
    evaluator = gc.GeometryEvaluator(TEXTS, images=pictures, bootstrap=0)
    with pytest.raises(
        InputError, match=r"encode gives image rows of shape \(24, 16\) and text rows of shape \(24, 8\)"
    ):
        evaluator(Encoder(text_width=8))
    absent = gc.GeometryEvaluator(TEXTS, images=["absent.png", *pictures[1:]], bootstrap=0)
    with pytest.raises(InputError, match=r"absent\.png cannot be read"):
        absent(Encoder())


def test_several_texts_an_image_and_a_key_where_lower_is_better(pictures: list[Any]) -> None:
    evaluator = gc.GeometryEvaluator(
        TEXTS, images=pictures[:12], image_of_text=[i // 2 for i in range(24)], primary="alignment", bootstrap=0
    )
    evaluator(Encoder())
    assert evaluator.greater_is_better is False
    assert evaluator.after is not None
    assert (evaluator.after.n_images, evaluator.after.n_texts) == (12, 24)


def test_without_the_package_it_takes_any_model_with_encode(
    pictures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from geomclip.training.watching import evaluator as module

    module._known_to_sentence_transformers.cache_clear()
    for name in ("sentence_transformers.base.evaluation", "sentence_transformers.evaluation"):
        monkeypatch.setitem(sys.modules, name, None)
    evaluator = gc.GeometryEvaluator(TEXTS, images=pictures, bootstrap=0)
    assert type(evaluator) is gc.GeometryEvaluator
    assert evaluator(Encoder())["alignment"] > 0
    module._known_to_sentence_transformers.cache_clear()


# ------------------------------------------------------------------------------------------------ sentence-transformers


def test_it_is_an_evaluator_of_sentence_transformers_for_queries_and_documents(tmp_path: Path) -> None:
    model = sentence_model(tmp_path / "model")
    from sentence_transformers.sentence_transformer.evaluation import SequentialEvaluator

    evaluator = gc.GeometryEvaluator(TEXTS, queries=QUERIES, name="dev", bootstrap=0)
    assert isinstance(evaluator, gc.GeometryEvaluator)
    both = SequentialEvaluator([evaluator, gc.GeometryEvaluator(TEXTS, queries=TEXTS, bootstrap=0)])(
        model, str(tmp_path)
    )
    assert both["text_retrieval_recall@1"] == 1  # each text is its own query
    assert both["dev_text_retrieval_recall@1"] > 0.1
    with torch.no_grad():
        rows = model.encode(QUERIES, convert_to_tensor=True)
    assert both["dev_uniformity_image"] == pytest.approx(float(gc.metrics.uniformity(rows)), abs=1e-4)
    assert evaluator in model.model_card_data.eval_results_dict


def test_the_trainer_calls_it_logs_it_and_chooses_by_it(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    model = sentence_model(tmp_path / "model")
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    evaluator = gc.GeometryEvaluator(TEXTS, queries=QUERIES, name="dev")
    evaluator(model)
    args = SentenceTransformerTrainingArguments(
        str(tmp_path / "run"), max_steps=4, per_device_train_batch_size=4, report_to=[], disable_tqdm=True,
        use_cpu=True, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2, learning_rate=1e-3,
        load_best_model_at_end=True, metric_for_best_model=f"eval_{evaluator.primary_metric}",
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model, args, train_dataset=columns(), loss=MultipleNegativesRankingLoss(model), evaluator=evaluator
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_dev_alignment" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    assert trainer.state.best_metric == max(entry["eval_dev_text_retrieval_recall@1"] for entry in logged)
    table = (tmp_path / "run" / "eval" / "geometry_evaluation_dev_results.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table[1:]] == ["2", "4"]
    comparison = evaluator.compare()
    assert comparison.paired
    assert comparison.after["name"] == "step 4"
