"""Classes: what class data have in place of retrieval: classification by the nearest class text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geomclip.metrics import contributions as parts
from geomclip.metrics.bins import reliability
from geomclip.metrics.calibration_scores import brier_of
from geomclip.metrics.zeroshot import zeroshot_whole
from geomclip.panels.run import Run


def zeroshot(run: Run) -> None:
    """Classification by the nearest class text, and the calibration of its softmax."""
    assert run.classes is not None
    labels, text = run.classes.labels, run.classes.text
    found = run.found
    with run.timed("zero-shot"):
        values, each = zeroshot_whole(run.image, labels, text, logit_scale=run.logit_scale)
        for key, value in values.items():
            run.put(key, float(value))
        found.columns["images"] = torch.ones(run.n, dtype=torch.float64)
        for k in (1, 5):
            found.columns[f"zeroshot_hit@{k}"] = (each["rank"] <= k).double()
        brier = brier_of(each["squares"], each["own"])
        found.columns |= parts.calibration_columns(
            "zeroshot", each["confidence"], each["hit"], each["nll"], brier, torch.arange(run.n), run.n
        )
        found.reliability["zeroshot"] = reliability(each["confidence"], each["hit"])
        found.image_items |= {name: each[name] for name in ("confidence", "hit", "nll", "rank", "prediction")}
        if run.wants("modality_gap"):
            gap_to_classes(run, text)
        if run.wants("zeroshot_mean_per_class_recall"):
            found.resampled["zeroshot_mean_per_class_recall"] = recall_by_class(labels, each["hit"], len(text))


def recall_by_class(labels: Tensor, hit: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """A function from counts of images (b, n) to the mean recall of the classes drawn (b,); never n x c."""

    def recalls(weights: Tensor) -> Tensor:
        right, count = (
            weights.new_zeros(len(weights), classes).index_add_(1, labels, each) for each in (weights * hit, weights)
        )
        return (right / count).nanmean(1)

    return recalls


def gap_to_classes(run: Run, text: Tensor) -> None:
    """The gap between the images and the class texts, which stay as they are when images are resampled."""
    rows, centre = run.image.double(), text.double().mean(0)

    def gaps(weights: Tensor) -> Tensor:
        return (weights @ rows / weights.sum(1, keepdim=True) - centre).norm(dim=1)

    run.put("modality_gap", float(gaps(torch.ones(1, run.n, dtype=torch.float64))))
    run.found.resampled["modality_gap"] = gaps
