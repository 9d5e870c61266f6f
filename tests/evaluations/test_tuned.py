"""Fine-tuning on shots: batches, the budget, what is judged, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from helpers import assert_one_line, run_cli
from tiny_models import tiny_model
from toy_pairs import SHAPES, toy_csv

import geomclip as gc
from geomclip.encoders.saved import with_weights
from geomclip.evaluations import fewshot, tuned
from geomclip.evaluations.asked import FewShot
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT
from geomclip.metrics.evaluated import FINETUNED, KNOWN
from geomclip.pairs import ImageFile, Pair
from geomclip.training.methods import METHODS

ASKED = {"label_column": "shape", "shots": "1,16", "draws": 4, "train": True}


def with_shapes(name: str) -> str:
    """Toy pairs with a column that says the shape."""
    file = Path(name.removeprefix("csv:"))
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        row["shape"] = SHAPES[(int(row["filepath"].removesuffix(".png")) // 8) % len(SHAPES)]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return name


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """A model, data and a cache."""
    folder = tmp_path_factory.mktemp("tuned")
    data = with_shapes(toy_csv(folder / "toy", splits={"train": 96, "test": 64}))
    return f"local-dir:{tiny_model(folder / 'tiny')}", data, folder / "cache"


def tuning(toy: tuple[str, str, Path], **options: object) -> tuple[tuned.Tuning, torch.Tensor]:
    """What is fine-tuned, and one draw of 4 shots a class."""
    subject = Subject(toy[0], toy[1], label_column="shape", cache_dir=toy[2])
    asked = FewShot(train=True, **{"train_steps": 4, **options})
    pool, test, how = fewshot.pool_and_test(subject, asked, SILENT)
    found = tuned.Tuning.of(subject, asked, pool, test, how["train_split"])
    return found, fewshot.draw(pool.labels.long(), 4, 4, 1, 0).shots[0]


def test_every_training_method_has_its_keys() -> None:
    trained = [method.name.replace("-", "_") for method in METHODS.values() if method.stage == "train"]
    assert list(FINETUNED) == trained
    assert "fewshot_finetuned_lp_ft_acc1@16" in KNOWN


def test_a_batch_has_no_two_images_of_a_class_and_an_epoch_shows_every_shot() -> None:
    pairs = [Pair(str(i), ImageFile(Path("x")), ("one", "two")) for i in range(40)]
    labels = torch.arange(40) % 5
    shots = torch.tensor([0, 5, 10, 1, 6, 11, 2, 7, 12, 3, 8, 13, 4])  # one class has a single shot
    order = tuned.OfClasses(pairs, shots, labels[shots], size=4, seed=3)
    assert order.steps_per_epoch == 6  # three rounds of five classes, each in two batches
    shown = [order.places(step) for step in range(order.steps_per_epoch)]
    for places in shown:
        classes = [int(labels[image]) for image, _ in places]
        assert len(set(classes)) == len(classes) >= 2
    images = [image for places in shown for image, _ in places]
    assert set(images) == set(shots.tolist())
    assert images.count(4) == 3
    assert {caption for places in shown for _, caption in places} == {0, 1}
    assert shown == [tuned.OfClasses(pairs, shots, labels[shots], size=4, seed=3).places(step) for step in range(6)]
    other = tuned.OfClasses(pairs, shots, labels[shots], size=4, seed=4)
    assert shown != [other.places(step) for step in range(6)]


def test_a_model_before_training_is_judged_as_zero_shot(toy: tuple[str, str, Path]) -> None:
    found, _ = tuning(toy)
    hit, error = found.judged(found.encoder)
    direct = gc.evaluate("zeroshot", toy[0], toy[1], label_column="shape", cache_dir=toy[2])
    assert float(hit.mean()) == direct["zeroshot_acc1"]
    assert float(error) == pytest.approx(direct["zeroshot_ece"], abs=1e-6)


def test_a_tuned_model_is_judged_as_an_encoder_of_its_weights_and_the_first_stays(toy: tuple[str, str, Path]) -> None:
    found, shots = tuning(toy, train_lr=1e-2)
    before = {name: value.clone() for name, value in found.encoder.module.state_dict().items()}
    changed = found.tuned("ft", shots, 0)
    assert all(torch.equal(value, found.encoder.module.state_dict()[name]) for name, value in before.items())
    hit, error = found.judged(changed)
    own = with_weights(found.encoder, changed.module.state_dict())
    assert own.logit_scale == pytest.approx(changed.logit_scale)
    direct = gc.evaluate("zeroshot", own, toy[1], label_column="shape", cache_dir=toy[2])
    assert float(hit.mean()) == direct["zeroshot_acc1"]
    assert float(error) == pytest.approx(direct["zeroshot_ece"], abs=1e-6)
    again = found.tuned("ft", shots, 0).module.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in changed.module.state_dict().items())


def test_more_shots_help_and_the_same_draws_and_budget_serve_all_methods(
    toy: tuple[str, str, Path], tmp_path: Path
) -> None:
    cache = set(toy[2].rglob("*"))
    panel = gc.evaluate(
        "fewshot",
        *toy[:2],
        **ASKED,
        train_methods="ft,lp-ft",
        train_lr=2e-3,
        train_steps=120,
        train_draws=2,
        cache_dir=toy[2],
    )
    for method in ("ft", "lp_ft"):
        few, many = (panel[f"fewshot_finetuned_{method}_acc1@{n}"] for n in (1, 16))
        assert many > few + (0.1 if method == "ft" else 0)
        low, high = panel.ci[f"fewshot_finetuned_{method}_acc1@16"]
        assert low < many < high
        assert len(panel.draws[f"fewshot_finetuned_{method}_acc1@16"]) == 2
    assert panel.params["train"]["steps"] == 120
    assert panel.params["train"]["draws"] == 2
    assert "2 of 4 draws" in panel.notes["fine-tuned"]
    assert len(panel.draws["fewshot_probe_acc1@16"]) == 4
    weights = sum(each.numel() for each in tuning(toy)[0].encoder.module.parameters())
    assert all(file.stat().st_size < weights for file in set(toy[2].rglob("*")) - cache if file.is_file())
    shown = str(panel)
    assert "tuned by ft, 16 a class" in shown
    assert json.loads(panel.save(tmp_path / "r.json").read_text())["params"]["train"]["methods"] == ["ft", "lp-ft"]


def test_one_step_and_one_draw_are_one(toy: tuple[str, str, Path]) -> None:
    how = {"label_column": "shape", "shots": "1", "draws": 1, "train": True, "train_methods": "ft", "bootstrap": 0}
    panel = gc.evaluate("fewshot", *toy[:2], **how, train_steps=1, train_draws=1, cache_dir=toy[2])
    said = "1 step each, in batches of at most one image a class, 1 of 1 draw"
    assert panel.notes["fine-tuned"] == said


def test_without_train_no_model_is_loaded_to_be_trained(
    toy: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an encoder is trained")

    monkeypatch.setattr(tuned.Tuning, "of", refuse)
    panel = gc.evaluate("fewshot", toy[0], toy[1], label_column="shape", shots="1", draws=2, cache_dir=toy[2])
    assert not [key for key in panel.values if "finetuned" in key]
    with pytest.raises(AssertionError, match="an encoder is trained"):
        gc.evaluate("fewshot", toy[0], toy[1], label_column="shape", shots="1", draws=2, cache_dir=toy[2], train=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "--train-methods", "ft,m2mixx"], "--train-methods: unknown method 'm2mixx'; did you mean m2mix"),
        (["--train", "--train-methods", "soup"], "--train-methods: soup trains nothing: use ft, m2mix"),
        (["--train", "--train-methods", ","], "name one, as ft"),
        (["--train", "--train-steps", "0"], "--train-steps"),
        (["--train-steps", "9"], "--train-steps is of fine-tuning on shots: add --train"),
        (["--train", "--embeddings", "x.npz"], "--train needs images and a model, and --embeddings are vectors"),
        (["--train", "--train-embeddings", "x.npz"], "and --train-embeddings are vectors: leave it out"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    label = [] if "--embeddings" in arguments else ["--label-column", "group"]
    done = run_cli(capsys, "evaluate", "--task", "fewshot", *label, *arguments)
    assert_one_line(done, 2, message)


def test_what_only_encodes_and_shots_of_one_class_are_refused(toy: tuple[str, str, Path]) -> None:
    class Own:
        def encode_image(self, pictures: list[object]) -> torch.Tensor:
            return torch.eye(16)[[number % 16 for number in range(len(pictures))]]

        encode_text = encode_image

    with pytest.raises(InputError, match="needs the weights of a model, and this one only encodes"):
        gc.evaluate("fewshot", Own(), toy[1], **{**ASKED, "shots": "1"})
    found, shots = tuning(toy)
    with pytest.raises(InputError, match="train_methods ft: shots of two classes are needed"):
        found.tuned("ft", shots[found.label[shots] == 1], 0)


@pytest.mark.parametrize("method", [method.name for method in METHODS.values() if method.stage == "train"])
def test_every_method_trains_on_shots_of_two_classes(method: str, toy: tuple[str, str, Path]) -> None:
    found, shots = tuning(toy, train_steps=1)
    two = shots[found.label[shots] < 2]
    changed = found.tuned(method, two, 0).module.state_dict()
    assert any(not torch.equal(value, changed[name]) for name, value in found.encoder.module.state_dict().items())
