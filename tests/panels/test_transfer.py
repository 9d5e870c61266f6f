"""Transfer: the card of what a run did to the tasks that it keeps, and the results that it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import run_cli

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.panels import sources, stored
from geomclip.panels.comparison import Comparison, Row, compare, transfer
from geomclip.panels.comparison.answer import Answer
from geomclip.panels.comparison.tables import comparison_text
from geomclip.panels.loading import load
from geomclip.panels.record import Panel


def row(moved: float, verdict: str, *, half: float = 0.01, primary: bool = False) -> Row:
    return Row(0.5, 0.5 + moved, moved, (moved - half, moved + half), verdict, True, 0.5, 0.5, primary)


def task(rows: dict[str, Row], headline: str = "mixed", **after: str) -> Comparison:
    return Comparison(rows, after=after, n_images=9, verdict=Answer(headline, headline))


RETRIEVAL = task(
    {
        "text_retrieval_recall@1": row(0.2, "better", primary=True),
        "image_retrieval_recall@1": row(0.0, "same", primary=True),
        "text_retrieval_ece": row(0.03, "worse"),
        "image_retrieval_ece": row(-0.02, "lower"),
    },
    dataset="emoji",
    split="test",
)
ZEROSHOT = task(
    {
        "zeroshot_acc1": row(-0.08, "worse", primary=True),
        "zeroshot_mean_per_class_recall": row(-0.2, "worse", half=0.1),
        "zeroshot_ece": row(-0.3, "better"),
        "zeroshot_nll": row(0.005, "unclear"),
    },
    "worse",
    dataset="cifar10",
)
SHIFT = task({"shift_acc1_mean": row(-0.001, "unclear", primary=True)}, "no difference")
CARD = RETRIEVAL.replace(evaluations={"zeroshot": ZEROSHOT, "shift": SHIFT})


def classes(seed: int, *, turn: float = 0.0, name: str = "c", weights: str = "") -> EmbeddingSet:
    """Images of three classes; a turn takes them away from their texts."""
    rng = np.random.default_rng(seed)
    labels = np.arange(90) % 3
    image = rng.normal(size=(90, 8)) + 2 * np.eye(3, 8)[labels] + turn * np.eye(3, 8)[(labels + 1) % 3]
    made = {"dataset": name, "weights_sha256": weights}
    return EmbeddingSet(
        image, labels=labels, class_text=np.eye(3, 8), classes=("x", "y", "z"), logit_scale=10.0, made_from=made
    )


def run_folder(folder: Path, *, turn: float = 1.5, stale: bool = False, name: str = "zeroshot") -> Path:
    """A finished run with one task, as far as its results go."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "best.safetensors").write_bytes(b"")
    (folder / "model.safetensors").write_bytes(b"")
    place = folder / "evaluations" / name
    for end, by, sha in (("before", 0.0, "a"), ("after", turn, "b")):
        gc.measure(classes(1, turn=by, weights=sha), bootstrap=50).save(folder / f"{end}.json")
        of_task = classes(2, turn=by, name="d", weights="other" if stale else sha)
        gc.evaluate("zeroshot", embeddings=of_task, bootstrap=50).save(place / f"{end}.json")
    return folder


def test_what_got_worse_stands_first_and_the_most_of_it_before_all() -> None:
    card = transfer.transfer_of(CARD)
    assert card is not None
    assert [(each.task, each.key, each.word) for each in card.rows] == [
        ("zeroshot", "zeroshot_acc1", "worse"),  # 8 half widths; the recall below moved by more, and 2
        ("retrieval", "text_retrieval_ece", "worse"),
        ("zeroshot", "zeroshot_mean_per_class_recall", "worse"),
        ("shift", "shift_acc1_mean", "no difference told"),
        ("retrieval", "image_retrieval_ece", "lower, not judged"),
        ("retrieval", "image_retrieval_recall@1", "no change"),
        ("retrieval", "text_retrieval_recall@1", "better"),
        ("zeroshot", "zeroshot_ece", "better"),
    ]
    said = "worse in what counts first, other numbers better: zeroshot; mixed: retrieval; no difference: shift"
    assert card.summary == said
    first = card.rows[0]
    assert (first.before, first.after, first.change, first.interval) == ("50.0 %", "42.0 %", "-8.0 pp", "-9.0 to -7.0")
    assert first.data == "cifar10"


@pytest.mark.parametrize(
    ("headline", "verdicts", "said"),
    [
        ("no difference", ("unclear", "unclear"), "no difference"),
        ("no difference", ("unclear", "better"), "no difference in what counts first, other numbers better"),
        ("unclear", ("better", "worse"), "unclear in what counts first, other numbers worse and better"),
        ("better", ("better", "unclear"), "better"),
        ("better", ("better", "worse"), "better in what counts first, other numbers worse"),
        ("worse", ("worse", "better"), "worse in what counts first, other numbers better"),
        ("mixed", ("worse", "better"), "mixed"),
        ("narrowed", ("unclear", "better"), "narrowed, other numbers better"),
        ("at chance", ("better", "unclear"), "at chance, other numbers better"),
        ("", ("", ""), "nothing compared"),
    ],
)
def test_what_a_task_comes_to_agrees_with_its_rows(headline: str, verdicts: tuple[str, str], said: str) -> None:
    rows = {"zeroshot_acc1": row(0.01, verdicts[0], primary=True), "zeroshot_nll": row(-0.1, verdicts[1])}
    card = transfer.transfer_of(RETRIEVAL.replace(evaluations={"zeroshot": task(rows, headline)}))
    assert card is not None
    parts = [each.split(": ") for each in card.summary.split("; ")]
    told = {name: word for word, names in parts for name in names.split(", ")}
    assert told["zeroshot"] == said
    marked = {each.verdict for each in card.rows if each.task == "zeroshot"} & {"better", "worse"}
    assert all(word in said or said == "mixed" for word in marked)


def test_a_task_whose_other_numbers_are_worse_is_not_among_the_last_of_the_headline() -> None:
    rows = {"zeroshot_acc1": row(0.01, "unclear", primary=True), "zeroshot_nll": row(0.1, "worse")}
    tasks = {"zeroshot": task(rows, "no difference"), "shift": SHIFT, "fewshot": task({}, "better")}
    card = transfer.transfer_of(RETRIEVAL.replace(evaluations=tasks))
    assert card is not None
    assert card.summary == (
        "mixed: retrieval; no difference in what counts first, other numbers worse: zeroshot; no difference: shift; "
        "better: fewshot"
    )


def test_a_number_that_several_tasks_have_stands_once_and_names_them() -> None:
    accuracy = {"zeroshot_acc1": row(-0.08, "worse", primary=True)}
    zeroshot = task(accuracy | {"zeroshot_nll": row(0.01, "unclear")}, "worse", dataset="cifar10")
    fewshot = task(accuracy | {"fewshot_probe_acc1@16": row(0.3, "better", primary=True)}, dataset="cifar10")
    elsewhere = task(accuracy, "worse", dataset="pets")
    some = {"fewshot": fewshot, "shift": elsewhere, "zeroshot": zeroshot}
    card = transfer.transfer_of(RETRIEVAL.replace(evaluations=some))
    assert card is not None
    there = [(each.task, each.also, each.shown, each.data) for each in card.rows if each.key == "zeroshot_acc1"]
    assert there == [("zeroshot", ("fewshot",), "zeroshot, fewshot", "cifar10"), ("shift", (), "shift", "pets")]
    text = comparison_text(RETRIEVAL.replace(evaluations=some), 80)
    block = text[text.index("fewshot (9 images)") :].partition("\n\n")[0]
    assert "linear probe, 16 a class" in block
    assert "Accuracy@1: as of zeroshot" in block
    unlike = fewshot.replace(rows={**fewshot.rows, "zeroshot_acc1": row(-0.07, "worse", primary=True)})
    card = transfer.transfer_of(RETRIEVAL.replace(evaluations={**some, "fewshot": unlike}))
    assert card is not None
    assert [each.task for each in card.rows if each.key == "zeroshot_acc1"] == ["zeroshot", "shift", "fewshot"]


def test_tasks_that_were_not_asked_are_named_and_nothing_is_said_of_them() -> None:
    card = transfer.transfer_of(CARD)
    assert card is not None
    assert "Not asked, so nothing is known: fewshot, simat, captioning, missing-modality, interpolation." in card.notes
    assert {each.task for each in card.rows} == {"retrieval", "zeroshot", "shift"}


def test_without_a_stored_evaluation_there_is_no_card() -> None:
    assert transfer.transfer_of(RETRIEVAL) is None
    assert transfer.TITLE not in str(RETRIEVAL)
    assert "evaluations" not in RETRIEVAL.to_dict()
    assert transfer.TITLE in str(CARD)
    assert set(CARD.to_dict()["evaluations"]) == {"zeroshot", "shift"}


def test_a_table_for_a_pull_request_has_the_card_and_escapes_what_is_from_outside(tmp_path: Path) -> None:
    evil = RETRIEVAL.replace(evaluations={"<b>|x": task(dict(ZEROSHOT.rows), dataset="[a](http://b)|c")})
    page = evil.save(tmp_path / "changes.md").read_text()
    assert transfer.TITLE in page
    assert "<b>" not in page
    assert "[a](http" not in page
    lines = [line for line in page.splitlines() if "Accuracy@1" in line]
    assert len(lines) == 1
    assert lines[0].replace("\\|", "").count("|") == 8


def test_a_card_has_at_most_so_many_rows_and_says_how_many_are_left_out() -> None:
    many = RETRIEVAL.replace(
        evaluations={f"t{i}": task(dict(ZEROSHOT.rows), "worse", dataset=f"d{i}") for i in range(20)}
    )
    card = transfer.transfer_of(many)
    assert card is not None
    assert len(card.rows) == transfer.LINES
    assert card.rows[0].word == "worse"
    assert any(note.startswith(f"{4 + 20 * 3 - transfer.LINES} rows are left out") for note in card.notes)


@pytest.mark.parametrize("width", [60, 80])
def test_lines_of_a_terminal_fit(width: int) -> None:
    lines = comparison_text(CARD, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("accuracy@1" if width < 80 else "Accuracy@1") for line in lines)


def test_a_run_named_twice_is_what_it_was_and_what_it_became(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path / "run")
    found = gc.compare(run, run, bootstrap=50)
    by_hand = compare(load(run / "before.json"), load(run / "after.json"), bootstrap=50)
    assert {key: vars(each) for key, each in found.rows.items()} == {
        key: vars(each) for key, each in by_hand.rows.items()
    }
    place = run / "evaluations" / "zeroshot"
    of_task = compare(load(place / "before.json"), load(place / "after.json"), bootstrap=50)
    assert found.evaluations["zeroshot"]["zeroshot_acc1"] == of_task["zeroshot_acc1"]
    assert of_task["zeroshot_acc1"].verdict == "worse"
    done = run_cli(capsys, "compare", run, run, "--bootstrap", "50", "--out", tmp_path / "c.json")
    assert done.code == 0, done.err
    assert transfer.TITLE in done.out
    assert "evaluations" in json.loads((tmp_path / "c.json").read_text())


def test_of_two_runs_the_tasks_that_both_keep_are_compared_and_others_named(tmp_path: Path) -> None:
    one, other = run_folder(tmp_path / "one", turn=0.2), run_folder(tmp_path / "two", turn=1.5)
    third = run_folder(tmp_path / "three", name="shift")
    found, notes = stored.evaluations(one, other, bootstrap=50)
    ends = [load(run / "evaluations" / "zeroshot" / "after.json") for run in (one, other)]
    assert found["zeroshot"]["zeroshot_acc1"] == compare(*ends, bootstrap=50)["zeroshot_acc1"]
    assert not notes
    found, notes = stored.evaluations(one, third, bootstrap=0)
    assert not found
    assert notes == [f"evaluation left out: {name}: kept by one of the two runs" for name in ("shift", "zeroshot")]
    assert stored.evaluations("demo", one) == ({}, [])


def test_an_evaluation_of_other_weights_is_left_out_with_a_line(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", stale=True)
    found = stored.changed(run, bootstrap=0)
    assert not found.evaluations
    assert transfer.transfer_of(found) is None
    assert stored.left_out(found) == [
        f"evaluation left out: zeroshot: of other weights than {run} has now; evaluate it again"
    ]


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "evaluations" / "zeroshot" / "after.json").write_text("{")
    with pytest.raises(InputError, match=r"evaluations/zeroshot/after\.json"):
        stored.changed(run)


def test_a_run_folder_is_a_model_though_items_of_its_results_lie_in_it(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    assert (run / "before.items.parquet").is_file()
    assert sources.kind(run) == "model"
    for name in ("model.safetensors", "best.safetensors", "config.json"):
        (run / name).unlink()
    assert sources.kind(run) == "vectors"


def test_a_name_that_is_no_folder_is_no_run() -> None:
    assert stored.run_of("demo") is None
    assert stored.run_of("x" * 5000) is None
    assert stored.run_of(Panel({"alignment": 1.0})) is None
    sides: tuple[Any, Any] = ("demo", "demo")
    assert stored.of_itself(*sides) == sides
