"""zeroshot: prompts of files, the spread over templates, a fitted temperature, confusions, permuted names."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import COLOURS, Eye, row, write
from helpers import assert_one_line, class_set, run_cli
from PIL import Image
from scipy.optimize import minimize_scalar

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations.confusions import confusion, most_confused, permuted
from geomclip.evaluations.templates import choose
from geomclip.evaluations.zeroshot import fitted
from geomclip.machine.errors import InputError
from geomclip.plots import static

TEMPLATES = ("a {} thing", "some {}", "{c}!")


def noisy(n: int, seed: int = 0) -> EmbeddingSet:
    """Four classes that are confused now and then."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    image = np.eye(4, 12)[labels] + 0.6 * rng.normal(size=(n, 12))
    return EmbeddingSet(image, labels=labels, class_text=np.eye(4, 12), classes=("a", "b", "c", "d"), logit_scale=20.0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zeroshot")
    write(root / "data" / "test", seed=1)
    write(root / "data" / "val", seed=2)
    (root / "t.txt").write_text("\n".join(TEMPLATES))
    return root


def asked(data: Path, **options: Any) -> gc.Panel:
    return gc.evaluate("zeroshot", Eye(), f"imagenet-folder:{data / 'data'}", bootstrap=50, **options)


def by_hand(data: Path, split: str = "test") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit rows of the images of a split, their labels, and unit rows (t, c, d) of each template and class."""
    files = sorted(
        (data / "data" / split).rglob("*.png"), key=lambda file: (list(COLOURS).index(file.parent.name), file)
    )
    files = sorted(files, key=lambda file: (file.parent.name, file.name))
    names = sorted(COLOURS)
    images = unit(Eye().encode_image([Image.open(file) for file in files]).astype(np.float64))
    labels = np.array([names.index(file.parent.name) for file in files])
    text = np.stack([[row(t.replace("{c}", n).replace("{}", n)) for n in names] for t in TEMPLATES])
    return images, labels, unit(text.astype(np.float32).astype(np.float64))


def test_the_ensemble_and_the_spread_over_templates_are_those_of_a_double_loop(data: Path) -> None:
    panel = asked(data, templates=str(data / "t.txt"))
    images, labels, text = by_hand(data)
    own = [np.mean((images @ each.T).argmax(1) == labels) for each in text]
    assert len(set(own)) > 1
    assert panel["zeroshot_acc1"] == pytest.approx(np.mean((images @ unit(text.mean(0)).T).argmax(1) == labels))
    assert panel["zeroshot_template_acc1_mean"] == pytest.approx(np.mean(own))
    assert panel["zeroshot_template_acc1_min"] == pytest.approx(min(own))
    assert panel["zeroshot_template_acc1_max"] == pytest.approx(max(own))
    assert panel["zeroshot_template_acc1_sd"] == pytest.approx(np.std(own, ddof=1))
    assert panel.params["templates"]["count"] == 3
    assert panel.params["prompts"]["count"] == 9
    assert panel.params["prompts"]["first"] == ["blue", "a blue thing"]
    assert "zeroshot_template_acc1_mean" in panel.ci


def test_the_hash_of_the_prompts_changes_with_a_prompt_or_a_class_alone(data: Path, tmp_path: Path) -> None:
    one, same = (asked(data, templates=str(data / "t.txt")).params["prompts"]["sha256"] for _ in range(2))
    (tmp_path / "t.txt").write_text("\n".join((*TEMPLATES[:2], "{c}!!")))
    other = asked(data, templates=str(tmp_path / "t.txt")).params["prompts"]["sha256"]
    assert one == same != other


def test_templates_are_chosen_on_the_images_held_out_alone(data: Path) -> None:
    panel = asked(data, templates=str(data / "t.txt"), val_split="val", choose_templates=True)
    images, labels, text = by_hand(data, "val")
    kept = choose(torch.tensor(images), torch.tensor(labels), torch.tensor(text))
    shown = [each.replace("{c}", "blue").replace("{}", "blue") for each in TEMPLATES]
    assert panel.params["templates"]["chosen"] == [shown[place] for place in kept]
    images, labels, _ = by_hand(data)
    right = (images @ unit(text[kept].mean(0)).T).argmax(1) == labels
    assert panel["zeroshot_chosen_acc1"] == pytest.approx(right.mean())


def test_templates_are_added_while_accuracy_rises() -> None:
    rng = np.random.default_rng(0)
    image, labels = torch.tensor(unit(rng.normal(size=(60, 8)))), torch.arange(60) % 3
    single = torch.tensor(unit(rng.normal(size=(5, 3, 8))))

    def accuracy(places: list[int]) -> float:
        return float(((image @ single[places].mean(0).T).argmax(1) == labels).double().mean())

    kept = choose(image, labels, single)
    assert accuracy(kept[:1]) == max(accuracy([place]) for place in range(5))
    steps = [accuracy(kept[: count + 1]) for count in range(len(kept))]
    assert steps == sorted(set(steps))
    assert all(accuracy([*kept, place]) <= steps[-1] for place in range(5) if place not in kept)


def test_a_temperature_is_fitted_on_images_held_out_and_carried_to_others(data: Path, tmp_path: Path) -> None:
    vectors = noisy(320)
    panel = gc.evaluate("zeroshot", embeddings=vectors, val_share=0.5, bootstrap=0)
    assert panel.n_images == 160
    scale = panel.params["fitted_logit_scale"]
    assert panel["zeroshot_temperature_fitted"] == pytest.approx(1 / scale)
    assert panel["zeroshot_nll_fitted"] <= panel["zeroshot_nll"]
    file = panel.save(tmp_path / "r.json")
    other = noisy(200, seed=1)
    carried = gc.evaluate("zeroshot", embeddings=other, temperature_from=str(file), bootstrap=0)
    measured = gc.measure(other.replace(logit_scale=scale), bootstrap=0)
    assert carried["zeroshot_ece_fitted"] == pytest.approx(measured["zeroshot_ece"])
    assert carried["zeroshot_nll_fitted"] == pytest.approx(measured["zeroshot_nll"])
    assert carried["zeroshot_ece"] == gc.measure(other, bootstrap=0)["zeroshot_ece"]


def test_the_fitted_scale_is_that_of_scipy() -> None:
    vectors = noisy(200)
    logits = (vectors.image.double() @ vectors.class_text.double().T).numpy()

    def nll(log: float) -> float:
        scaled = np.exp(log) * logits
        own = scaled[np.arange(200), vectors.labels.numpy()]
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - own))

    best = minimize_scalar(nll, bracket=(0.0, 2.0), tol=1e-12).x
    assert fitted(vectors) == pytest.approx(np.exp(best), rel=1e-5)


def test_where_no_temperature_is_best_that_is_a_note_and_no_number() -> None:
    perfect = EmbeddingSet(torch.eye(4).repeat(10, 1), labels=torch.arange(40) % 4, class_text=torch.eye(4))
    panel = gc.evaluate("zeroshot", embeddings=perfect, val_share=0.5, bootstrap=0)
    assert panel["zeroshot_ece_fitted"] is None
    assert "every query is right" in panel.notes["zeroshot_ece_fitted"]


def test_confusions_are_counted_and_the_most_frequent_named_first() -> None:
    labels, called = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 0, 2, 1, 2])
    table = confusion(labels, called, 3)
    assert table.tolist() == [[1, 2, 0], [0, 1, 1], [0, 0, 1]]
    assert most_confused(table, ["a", "b", "c"]) == [
        {"right": "a", "called": "b", "count": 2, "share": pytest.approx(2 / 3)},
        {"right": "b", "called": "c", "count": 1, "share": 0.5},
    ]
    panel = gc.evaluate("zeroshot", embeddings=noisy(100), bootstrap=0)
    wrong = 1 - panel["zeroshot_acc1"]
    assert sum(each["count"] for each in panel.params["confusions"]) == pytest.approx(100 * wrong, abs=2)
    counts = np.array(panel.params["confusion"]["counts"])
    assert counts.sum(axis=1).tolist() == [25] * 4
    assert counts.trace() == pytest.approx(100 * (1 - wrong))
    names = panel.params["confusion"]["classes"]
    assert static.heat_map(counts / 25, rows=names, columns=names, x="called", y="is", of="share").axes
    shown = [
        f"{each['right']} → {each['called']} ({each['count']} image{'s' * (each['count'] != 1)}, "
        f"{100 * each['share']:.0f} %)"  # in the order of the count, which is shown
        for each in panel.params["confusions"][:3]
    ]
    assert panel.notes["confused"] == f"most often {', '.join(shown)}"
    assert [each["count"] for each in panel.params["confusions"]] == sorted(
        (each["count"] for each in panel.params["confusions"]), reverse=True
    )


def test_names_in_another_order_are_warned_of_and_chance_is_not() -> None:
    labels = torch.arange(300) % 10
    called = (labels + 3) % 10
    names = [str(number) for number in range(10)]
    line = permuted(labels, called, names, 0)
    assert "accuracy is 0 %, and 100 % under another matching (images of 0 are called 3)" in line
    rng = np.random.default_rng(0)
    assert permuted(labels, torch.tensor(rng.integers(0, 10, 300)), names, 0) == ""
    # one image a class: some matching is right for most of any predictions
    assert permuted(torch.arange(10), torch.tensor(rng.permutation(10)), names, 0) == ""
    assert permuted(labels, labels, names, 0) == ""


def test_crossed_names_are_warned_of_in_the_panel(data: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("red\nblue\ngreen\n")  # the folders are n0, n1, n2: red, green, blue
    write(tmp_path / "d", ("n0", "n1", "n2"), count=20)
    right = tmp_path / "right.txt"
    right.write_text("red\ngreen\nblue\n")
    source = f"imagenet-folder:{tmp_path / 'd'}"
    panel = gc.evaluate("zeroshot", Eye(), source, classnames=str(tmp_path / "names.txt"), bootstrap=0)
    assert any("in other orders" in line for line in panel.warnings)
    panel = gc.evaluate("zeroshot", Eye(), source, classnames=str(right), bootstrap=0)
    assert not any("in other orders" in line for line in panel.warnings)
    assert panel["zeroshot_acc1"] > 0.9
    assert panel.params["prompts"]["last"] == ["blue", "a photo of a blue."]


def test_prompts_of_two_classes_of_one_name_have_the_name_alone(tmp_path: Path) -> None:
    ids = ("n02012849", "n03126707", "n03126708")
    write(tmp_path / "d", ids)
    index = {"0": [ids[0], "red_crane"], "1": [ids[1], "crane"], "2": [ids[2], "crane"]}
    (tmp_path / "i.json").write_text(json.dumps(index))
    (tmp_path / "t.txt").write_text("a {}\nthe {}\n")
    for templates, prompt in (("", "a photo of a crane."), (str(tmp_path / "t.txt"), "a crane")):
        how = {"classnames": str(tmp_path / "i.json"), "templates": templates, "bootstrap": 0}
        panel = gc.evaluate("zeroshot", Eye(), f"imagenet-folder:{tmp_path / 'd'}", **how)
        assert panel.params["prompts"]["last"] == [f"crane ({ids[2]})", prompt]
        same = f"2 classes share all prompts with another, as crane ({ids[1]}) and crane ({ids[2]})"
        assert f"{same}: none of their images is right" in panel.warnings
        of_class = zip(panel.items["image"]["image_id"], panel.items["image"]["hit"], strict=True)
        assert not any(hit for name, hit in of_class if not name.startswith(ids[0]))


def test_accuracy_among_five_of_fewer_classes_is_undefined_with_a_note() -> None:
    panel = gc.evaluate("zeroshot", embeddings=class_set(), bootstrap=50)
    assert panel["zeroshot_acc5"] is None
    assert panel.notes["zeroshot_acc5"] == "undefined for fewer than 5 classes (4)"
    assert "zeroshot_acc5" not in panel.ci
    assert gc.evaluate("zeroshot", embeddings=class_set(classes=5), bootstrap=0)["zeroshot_acc5"] == 1


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one class only: two are needed"):
        gc.evaluate("zeroshot", embeddings=EmbeddingSet(torch.eye(3), labels=[0, 0, 0], class_text=torch.eye(3)[:1]))
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "1.png").write_bytes(picture.getvalue())
    with pytest.raises(InputError, match=r"imagenet-folder:.* has one class only"):
        gc.evaluate("zeroshot", Eye(), f"imagenet-folder:{tmp_path}")


def test_labels_out_of_range_are_refused_with_the_row(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", image=np.eye(3), labels=[0, 2, 1], class_text=np.eye(3)[:2])
    with pytest.raises(InputError, match="labels entry 1 is 2, outside the 2 class_text rows"):
        gc.evaluate("zeroshot", embeddings=tmp_path / "v.npz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--choose-templates"], "--choose-templates needs images that are not tested on"),
        (["--val-split", "val", "--val-share", "0.5"], "--val-split and --val-share both say"),
        (["--val-split", "test"], "--val-split test is what is tested on"),
        (["--val-split", "vall"], "no split 'vall'"),
        (["--temperature-from", "r.json", "--val-share", "0.5"], "has a temperature already: leave out --val-share"),
        (["--templates", "none.txt"], "none.txt: no such file"),
    ],
)
def test_what_cannot_be_asked_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    done = run_cli(capsys, "evaluate", "--task", "zeroshot", "--label-column", "group", *arguments)
    assert_one_line(done, 2, said)


def test_files_of_prompts_are_not_of_vectors_and_a_result_must_have_a_temperature(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vectors = gc.save(class_set(), tmp_path / "v.npz")
    asked = ("evaluate", "--task", "zeroshot", "--embeddings", vectors)
    assert_one_line(run_cli(capsys, *asked, "--templates", "t.txt"), 2, "--templates needs an encoder")
    assert_one_line(run_cli(capsys, *asked, "--val-split", "val"), 2, "--val-split is of data")
    (tmp_path / "r.json").write_text(json.dumps({"params": {}}))
    done = run_cli(capsys, *asked, "--temperature-from", tmp_path / "r.json")
    assert_one_line(done, 2, "r.json has no fitted temperature")
