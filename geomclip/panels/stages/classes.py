"""Classes: what class data have in place of retrieval: classification by the nearest class text."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics import contributions as parts
from geomclip.metrics.bins import reliability
from geomclip.metrics.calibration_scores import brier_of
from geomclip.metrics.squared_length import squared_length
from geomclip.metrics.zeroshot import zeroshot_whole
from geomclip.panels.intervals import as_influence
from geomclip.panels.run import Run
from geomclip.panels.stages import clouds, sweeps


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
        sweeps.debiased(run, "zeroshot")
        found.reliability["zeroshot"] = reliability(each["confidence"], each["hit"])
        found.image_items |= {name: each[name] for name in ("confidence", "hit", "nll", "rank", "prediction")}
        if run.wants(*clouds.GAPS):
            gap_to_classes(run, text)
        if run.intervals and run.has("zeroshot_mean_per_class_recall"):
            without = recalls_without(labels, each["hit"], len(text))
            found.influence["zeroshot_mean_per_class_recall"] = as_influence(without)


def recalls_without(labels: Tensor, hit: Tensor, classes: int) -> Tensor:
    """The mean recall of the classes that have images, without each image: (n,)."""
    right, count = (
        torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, each)
        for each in (hit.double(), torch.ones(len(labels), dtype=torch.float64))
    )
    some = count > 0
    recall = torch.where(some, right / count.clamp(min=1), 0.0)
    others, alone = recall.sum() - recall[labels], count[labels] == 1
    changed = (right[labels] - hit) / (count[labels] - 1).clamp(min=1)
    return torch.where(alone, others / (some.sum() - 1), (others + changed) / some.sum())


def gap_to_classes(run: Run, text: Tensor) -> None:
    """The gap between the images and the class texts, which stay as they are whatever images are drawn."""
    centre = exact.total(run.image) / run.n
    deviations = (run.image.double() - centre) / run.n
    clouds.put_gaps(run, squared_length(centre - exact.total(text) / len(text), deviations, run.found.units))
