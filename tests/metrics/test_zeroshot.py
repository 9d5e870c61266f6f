"""Zero-shot classification: pencil values, torchmetrics, ties, known answers of real class vectors, refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from helpers import class_set, on_circle, random_rows, shared

from geomclip.metrics.calibration_scores import classwise_ece
from geomclip.metrics.gap import modality_gap
from geomclip.metrics.zeroshot import zeroshot, zeroshot_queries

pytestmark = pytest.mark.numeric


def values(image, labels, class_text, logit_scale=10.0):
    found = zeroshot(image, labels, class_text, logit_scale=logit_scale)
    return {key.removeprefix("zeroshot_"): float(value) for key, value in found.items()}


def test_four_points_on_a_circle_are_pencil():
    # classes at 0° and 90°; the third image, at 60°, is nearer to the wrong class
    found = values(on_circle(10, 80, 60), torch.tensor([0, 1, 0]), on_circle(0, 90))
    assert found["acc1"] == pytest.approx(2 / 3)
    assert found["mean_per_class_recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["acc5"] == 1


def test_accuracy_and_calibration_are_those_of_torchmetrics():
    data = class_set(n=300, classes=7)
    x, labels, y = data.image, data.labels, data.class_text
    logits = 10 * x @ y.T
    found = values(x, labels, y)
    assert found["acc1"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    top5 = (logits.topk(5, dim=1).indices == labels[:, None]).any(1).double().mean().item()
    assert found["acc5"] == pytest.approx(top5)
    for key, norm in (("ece", "l1"), ("mce", "max")):
        theirs = tm.multiclass_calibration_error(logits.softmax(1), labels, 7, n_bins=15, norm=norm)
        assert found[key] == pytest.approx(theirs.item(), abs=1e-6)
    assert found["nll"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    one_hot = torch.nn.functional.one_hot(labels, 7)
    assert found["brier"] == pytest.approx((logits.softmax(1) - one_hot).square().sum(1).mean().item())


def test_per_class_recall_leaves_classes_without_images_out():
    found = values(on_circle(0, 1, 90), torch.tensor([0, 0, 1]), on_circle(0, 90, 180))
    assert found["mean_per_class_recall"] == 1


def test_two_classes_with_one_text_count_against_the_image():
    found = values(on_circle(5), torch.tensor([1]), on_circle(0, 0, 90))
    assert found["acc1"] == 0
    rank = zeroshot_queries(on_circle(5), torch.tensor([1]), on_circle(0, 0, 90), logit_scale=1.0)["rank"]
    assert rank.tolist() == [2]


def test_the_order_of_images_and_of_classes_changes_nothing():
    data = class_set(n=60, classes=7)
    x, labels, y = data.image, data.labels, data.class_text
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    turn = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    place = turn.argsort()
    assert values(x[rows], place[labels[rows]], y[turn]) == pytest.approx(values(x, labels, y), abs=1e-12)


def test_blocks_of_images_change_nothing(monkeypatch):
    data = class_set(n=50, classes=7)
    whole = values(data.image, data.labels, data.class_text)
    assert whole["classwise_ece"] == pytest.approx(
        classwise_ece((10 * data.image @ data.class_text.T).softmax(1), data.labels).item()
    )
    monkeypatch.setattr(sys.modules[zeroshot_queries.__module__], "CELLS", 20)
    assert values(data.image, data.labels, data.class_text) == pytest.approx(whole, abs=1e-12)


def test_huge_scales_stay_finite():
    data = class_set(n=30)
    found = values(data.image, data.labels, data.class_text, logit_scale=1e5)
    assert all(np.isfinite(value) for value in found.values())


def test_one_image_and_half_precision_and_numpy_are_taken():
    x, y = random_rows(1, 4, seed=0).numpy(), random_rows(3, 4, seed=1).numpy()
    found = zeroshot(x.astype(np.float16), np.array([2]), y.astype(np.float16), logit_scale=5.0)
    assert isinstance(found["zeroshot_nll"], np.floating)
    exact = zeroshot(x, np.array([2]), y, logit_scale=5.0)
    assert found["zeroshot_nll"] == pytest.approx(exact["zeroshot_nll"], abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 3])}, "label 1 is 3, outside the 3 classes"),
        ({"labels": torch.tensor([0, -1])}, "label 1 is -1"),
        ({"labels": torch.tensor([0])}, r"\(1,\) for 2 images"),
        ({"class_text": torch.eye(4)}, r"share d, got \(2, 3\) and \(4, 4\)"),
        ({"class_text": torch.eye(3)[:1]}, "2 classes at least, got 2 and 1"),
        ({"logit_scale": 0.0}, "positive and finite, got 0"),
        ({"logit_scale": float("inf")}, "positive and finite, got inf"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"image": torch.eye(3)[:2], "labels": torch.tensor([0, 1]), "class_text": torch.eye(3)}
    scale = change.pop("logit_scale", 1.0)
    given |= change
    with pytest.raises(ValueError, match=message):
        zeroshot(given["image"], given["labels"], given["class_text"], logit_scale=scale)


def test_real_class_vectors_give_the_known_answers():
    data = np.load(shared("data/embeddings/cifar10_848_vitb32_laion2b/embeddings.npz"))
    x, labels, y = data["image"].astype(float), data["labels"], data["class_text"].astype(float)
    found = values(x, labels, y, logit_scale=100.0)
    known = {
        "acc1": 0.702830189,
        "mean_per_class_recall": 0.715946847,
        "ece": 0.150584535,
        "nll": 0.780539335,
    }
    for key, expected in known.items():
        assert found[key] == pytest.approx(expected, abs=6e-10), key  # nine digits are printed
    assert modality_gap(x, y) == pytest.approx(0.936438881, abs=6e-10)


def test_the_fifth_best_class_counts_for_acc5_and_the_sixth_does_not():
    # classes at 0°, 10°, ..., 70°: seen from 0° they rank in that order
    image, classes = on_circle(0, 0), on_circle(*range(0, 80, 10))
    assert values(image, torch.tensor([4, 5]), classes)["acc5"] == 0.5
