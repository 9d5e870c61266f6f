"""missing-modality: what is lost where some of three views are not there, with and without m²-mix while learning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations import signed
from geomclip.evaluations.asked import MissingModality
from geomclip.evaluations.gmc import GMC, Learning, trained
from geomclip.evaluations.result import panel_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.evaluations.views import VIEWS, Views, generated, read_views, subsets
from geomclip.machine.progress import Progress
from geomclip.machine.threads import one_torch_thread
from geomclip.machine.words import option
from geomclip.panels.record import Panel
from geomclip.training.seeds import derived

METHODS = ("gmc", "m2mix")
MISSING = "mean over the six ways in which views are missing"
CONSTANT = "one number is told of every sample: it correlates with nothing"


@dataclass(frozen=True, eq=False)
class Told:
    """The labels that models tell of the test samples: of each method (subsets, repeats, n)."""

    by_method: Mapping[str, Tensor]
    label: Tensor
    of_train: Tensor

    def of(self, rows: Sequence[int]) -> Told:
        """Of some of the subsets."""
        return replace(self, by_method={name: each[list(rows)] for name, each in self.by_method.items()})


def run(subject: Subject, asked: MissingModality, progress: Progress) -> Panel:
    """Numbers of the subsets with something missing, and of each of the seven as a group; raises as `evaluate`."""
    views = read_views(asked.views) if asked.views else generated(subject.seed)
    known = subsets(views.names)
    told: dict[str, list[Tensor]] = {name: [] for name in METHODS}
    codes: Tensor | None = None
    with one_torch_thread():
        for repeat in range(asked.repeats):
            for place, (name, weight) in enumerate(zip(METHODS, (0.0, asked.m2_weight), strict=True)):
                progress.stage("training", len(METHODS) * repeat + place, len(METHODS) * asked.repeats, name)
                how = Learning(asked.gmc_epochs, weight, derived(subject.seed, "missing modality", repeat))
                model = trained(views.train, how)
                told[name].append(_told(model, views, known.values()))
                if codes is None:
                    with torch.no_grad():
                        codes = model.code(views.test.views)
        progress.stage("training", len(METHODS) * asked.repeats, len(METHODS) * asked.repeats)
    assert codes is not None
    found = Told({name: torch.stack(each, dim=1) for name, each in told.items()}, views.test.label, views.train.label)
    params = {"epochs": asked.gmc_epochs, "repeats": asked.repeats, "m2_weight": asked.m2_weight, "by": "views present"}
    embeddings = EmbeddingSet(codes, made_from={"model": "GMC", "dataset": views.name, "split": "test"})

    def panel(rows: Sequence[int], names: int) -> Panel:
        made = _panel(found.of(rows), embeddings, params, subject)
        return replace(made, n_texts=names)

    some = [row for row, present in enumerate(known.values()) if len(present) < VIEWS]
    groups = {name: panel([row], len(present)) for row, (name, present) in enumerate(known.items())}
    whole = panel(some, VIEWS)
    return replace(whole, notes={**whole.notes, "all": MISSING}, groups=groups)


def _told(model: GMC, views: Views, present: Iterable[tuple[str, ...]]) -> Tensor:
    """(subsets, n) labels that a model tells of the test samples, float64."""
    with torch.no_grad():
        return torch.stack([model.predict(views.test.views, some) for some in present]).double()


def _panel(told: Told, embeddings: EmbeddingSet, params: Mapping[str, object], subject: Subject) -> Panel:
    """What is right in the mean over subsets and repeats, beside constant predictions, and what m²-mix adds."""
    label = told.label
    values: dict[str, float | None] = {}
    means: dict[str, Tensor] = {}
    draws: dict[str, Tensor] = {}
    influences: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    for name, predicted in told.by_method.items():
        start = f"missing_modality_{name}_"
        means[f"{start}mae"] = (predicted - label).abs().mean(dim=0)
        for zeros, end in ((True, ""), (False, "_nonzero")):
            means[f"{start}acc{end}"] = signed.hits(predicted, label, zeros=zeros).mean(dim=0)
            of_each = [[signed.weighted_f1(row, label, zeros=zeros) for row in some] for some in predicted]
            drawn = torch.tensor(of_each, dtype=torch.float64).mean(dim=0)
            values[f"{start}f1{end}"], draws[f"{start}f1{end}"] = float(drawn.mean()), drawn
        correlations = [[signed.correlation(row, label) for row in some] for some in predicted]
        flat = [each for some in correlations for each in some]
        if any(each is None for each in flat):
            values[f"{start}corr"], notes[f"{start}corr"] = None, CONSTANT
        else:
            drawn = torch.tensor(correlations, dtype=torch.float64).mean(dim=0)
            values[f"{start}corr"], draws[f"{start}corr"] = float(drawn.mean()), drawn
            moved = [signed.correlation_influence(row, label) for some in predicted for row in some]
            influences[f"{start}corr"] = torch.stack(moved).mean(dim=0)
    for key in ("mae", "acc", "acc_nonzero"):
        better = -1 if key == "mae" else 1
        one, other = (means[f"missing_modality_{name}_{key}"] for name in METHODS)
        means[f"missing_modality_m2mix_gain_{key}"] = better * (other - one)
    _baselines(told, values, means, notes)
    return panel_of(
        "missing-modality",
        embeddings,
        values,
        means=means,
        influences=influences,
        draws=draws,
        params=params,
        notes=notes,
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )


def _baselines(told: Told, values: dict[str, float | None], means: dict[str, Tensor], notes: dict[str, str]) -> None:
    """The mean training label told of every sample, and its more frequent sign."""
    label, of_train = told.label, told.of_train
    start = "missing_modality_"
    means[f"{start}mean_mae"] = (of_train.mean() - label).abs()
    values[f"{start}mean_corr"], notes[f"{start}mean_corr"] = None, CONSTANT
    for zeros, end in ((True, ""), (False, "_nonzero")):
        seen = of_train if zeros else of_train[of_train != 0]
        sign = torch.full_like(label, 1.0 if (seen > 0).double().mean() > 0.5 else -1.0)
        means[f"{start}majority_acc{end}"] = signed.hits(sign, label, zeros=zeros)
        values[f"{start}majority_f1{end}"] = signed.weighted_f1(sign, label, zeros=zeros)


def applies(subject: Subject, asked: MissingModality) -> str:
    """Why it is not asked: unless it is asked for, nothing is trained."""
    return "" if asked.train else f"it trains models of its own: ask for that with {option('train', True)}"


TASK = Task(
    "missing-modality",
    "what models of three views lose where some are not there, with and without m2-mix; it trains them",
    MissingModality,
    run,
    applies,
)
