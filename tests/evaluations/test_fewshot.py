"""fewshot: the protocol by hand, its draws, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_one_line, run_cli
from sklearn.linear_model import LogisticRegression

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations import asked, fewshot
from geomclip.evaluations.asked import FewShot
from geomclip.machine.errors import InputError
from geomclip.metrics.evaluated import SHOTS

CLASSES = ("ant", "bee", "cat", "dog")


def toy(n: int, seed: int, *, scale: float = 20.0, apart: float = 1.0) -> EmbeddingSet:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(4, 24))
    labels = np.arange(n) % 4
    image = apart * centres[labels] + 1.5 * rng.normal(size=(n, 24))
    text = centres + np.random.default_rng(98).normal(size=(4, 24))
    return EmbeddingSet(image, labels=labels, class_text=text, classes=CLASSES, logit_scale=scale)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("fewshot")
    return gc.save(toy(80, 1), folder / "train.npz"), gc.save(toy(120, 2), folder / "test.npz")


def evaluated(files: tuple[Path, Path], **options: object) -> gc.Panel:
    return gc.evaluate("fewshot", embeddings=files[1], train_embeddings=str(files[0]), **options)


def test_draws_hold_shots_of_each_class_and_validation_images_beside_them() -> None:
    labels = torch.arange(80) % 4
    picked = fewshot.draw(labels, 4, 8, draws=3, seed=0)
    assert picked.shots.shape == (3, 32)
    assert picked.validation.shape == (3, 16)
    for shots, checked in zip(picked.shots, picked.validation, strict=True):
        assert torch.bincount(labels[shots]).tolist() == [8] * 4
        assert torch.bincount(labels[checked]).tolist() == [4] * 4
        assert not set(shots.tolist()) & set(checked.tolist())
    fewer = fewshot.draw(labels, 4, 2, draws=3, seed=0)
    assert all(set(one.tolist()) <= set(more.tolist()) for one, more in zip(fewer.shots, picked.shots, strict=True))
    assert not torch.equal(picked.shots[0], picked.shots[1])


def test_a_class_with_fewer_images_than_shots_gives_all_of_them_and_is_named(tmp_path: Path) -> None:
    train = toy(40, 1)
    rows = torch.tensor([i for i in range(40) if i % 4 or i < 12])  # three ants
    few = gc.save(train.select_images(rows), tmp_path / "few.npz")
    test = gc.save(toy(60, 2), tmp_path / "test.npz")
    panel = gc.evaluate("fewshot", embeddings=test, train_embeddings=str(few), shots="4", draws=2)
    assert "classes with fewer images than shots give all of them: ant (3)" in panel.warnings
    labels = train.select_images(rows).labels
    assert torch.bincount(labels[fewshot.draw(labels, 4, 4, 1, 0).shots[0]]).tolist() == [3, 4, 4, 4]


def test_prototypes_are_the_nearest_mean(files: tuple[Path, Path]) -> None:
    panel = evaluated(files, shots="2", draws=3)
    train, test = gc.load(files[0]), gc.load(files[1])
    shares = []
    for shots in fewshot.draw(train.labels, 4, 2, 3, 0).shots:
        own = train.labels[shots]
        centres = torch.stack([train.image[shots[own == each]].double().mean(0) for each in range(4)])
        centres /= centres.norm(dim=1, keepdim=True)
        shares.append(float(((test.image.double() @ centres.T).argmax(1) == test.labels).double().mean()))
    assert panel["fewshot_prototypes_acc1@2"] == pytest.approx(np.mean(shares))
    assert panel.draws["fewshot_prototypes_acc1@2"] == pytest.approx(shares)


def test_the_probe_at_its_c_is_that_of_scikit_learn(files: tuple[Path, Path]) -> None:
    panel = evaluated(files, shots="4", draws=3)
    train, test = gc.load(files[0]), gc.load(files[1])
    for number, shots in enumerate(fewshot.draw(train.labels, 4, 4, 3, 0).shots):
        c = panel.params["c"]["fewshot_probe@4"][number]
        theirs = LogisticRegression(C=c, tol=1e-10, max_iter=20_000)
        theirs.fit(train.image[shots].double().numpy(), train.labels[shots].numpy())
        share = theirs.score(test.image.double().numpy(), test.labels.numpy())
        assert panel.draws["fewshot_probe_acc1@4"][number] == pytest.approx(share, abs=1 / 120 + 1e-9)


def test_c_is_at_least_as_good_on_the_validation_images_as_each_of_the_grid(files: tuple[Path, Path]) -> None:
    train = gc.load(files[0])
    picked = fewshot.draw(train.labels.long(), 4, 4, 4, 0)
    found, c = fewshot.probed(train, picked, offset=None)

    def right(fits: object, draw: int) -> float:
        rows = train.image.double()[picked.validation[draw]]
        return float((fits.logits(rows, draw).argmax(1) == train.labels[picked.validation[draw]]).double().mean())

    from geomclip.evaluations.logistic import fit

    rows, own = train.image.double()[picked.shots], train.labels[picked.shots]
    for value in fewshot.GRID:
        of_grid = fit(rows, own, 4, torch.full((4,), value, dtype=torch.float64))
        assert all(right(found, draw) >= right(of_grid, draw) for draw in range(4))
    assert all(1e-7 <= each <= 1e7 for each in c.tolist())


def test_a_strong_penalty_leaves_the_class_texts_as_they_are() -> None:
    train, test = toy(80, 1), toy(120, 2)
    picked = fewshot.draw(train.labels.long(), 4, 4, 2, 0)
    text = train.class_text.double()
    from geomclip.evaluations.logistic import fit

    rows, own = train.image.double()[picked.shots], train.labels[picked.shots]
    strong = fit(rows, own, 4, torch.full((2,), 1e-9, dtype=torch.float64), offset=20 * rows @ text.T)
    assert float(strong.weight.abs().max()) < 1e-6
    zero = 20 * test.image.double() @ text.T
    torch.testing.assert_close(zero + strong.logits(test.image.double(), 0), zero + strong.bias[0], atol=1e-5, rtol=0)


def test_more_shots_are_worth_more_and_a_run_is_repeated_bit_for_bit(files: tuple[Path, Path]) -> None:
    panel, again = evaluated(files, draws=4), evaluated(files, draws=4)
    assert dict(panel.values) == dict(again.values)
    assert panel["fewshot_probe_acc1@16"] > panel["fewshot_probe_acc1@1"]
    low, high = panel.ci["fewshot_probe_acc1@16"]
    assert low < panel["fewshot_probe_acc1@16"] < high


def test_vectors_of_one_file_are_parted_by_class(files: tuple[Path, Path]) -> None:
    panel = gc.evaluate("fewshot", embeddings=files[1], shots="2", draws=2)
    assert panel.params["holdout"] == 0.5
    assert panel.n_images == 60
    fewer = gc.evaluate("fewshot", embeddings=files[1], shots="2", draws=2, holdout=0.2)
    assert fewer.n_images == 96


def test_classes_that_differ_are_named_on_both_sides(tmp_path: Path) -> None:
    other = toy(40, 1).replace(classes=("ant", "bee", "cat", "eel"))
    paths = gc.save(other, tmp_path / "a.npz"), gc.save(toy(40, 2), tmp_path / "b.npz")
    with pytest.raises(InputError, match="other classes: eel of the shots alone; dog of the test images alone"):
        evaluated(paths, shots="1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shots", "3"], "numbers out of 1, 2, 4, 8, 16 are meant"),
        (["--shots", ""], "numbers out of"),
        (["--draws", "0"], "--draws"),
        (["--holdout", "0.5", "--train-embeddings", "x.npz"], "both say what is drawn from"),
        (["--label-column", "group", "--train-split", "trian"], "trian"),
    ],
)
def test_what_cannot_be_asked_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    done = run_cli(capsys, "evaluate", "--task", "fewshot", *arguments)
    assert done.code == 2
    assert said in done.err


def test_an_option_of_another_task_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_cli(capsys, "evaluate", "--task", "zeroshot", "--label-column", "group", "--shots", "1")
    assert_one_line(done, 2, "--shots is of --task fewshot: leave it out")


def test_the_shots_that_can_be_asked_are_those_that_have_keys() -> None:
    assert asked.SHOTS == SHOTS


def test_the_options_have_the_defaults_that_the_help_says() -> None:
    assert FewShot().counts() == (1, 2, 4, 8, 16)
    assert FewShot().draws == 10
