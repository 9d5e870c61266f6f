"""GMC: codes of single views and of all together, made alike, so that those that are there stand for the others.

Poklukar et al. (2022), "Geometric multimodal contrastive representation learning", ICML; with perceptrons in place of
recurrent encoders and of the joint transformer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from geomclip.evaluations.views import Part
from geomclip.losses.mixup import m2_mix
from geomclip.training.seeds import derived, generator

CODE = 60
"""Dimensions of a code, as of Poklukar et al."""
HIDDEN = 64
TEMPERATURE = 0.3
LEARNING_RATE = 1e-3
BATCH = 64
BETA = 0.5
"""λ of m²-mix is drawn from Beta(BETA, BETA), as of Oh et al. (2023)."""


class GMC(nn.Module):
    """An encoder a view, one of all views, a projector that they share, and a head that tells the label of a code."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.single = nn.ModuleDict({f"view {name}": _encoder(width) for name, width in widths.items()})
        self.joint = _encoder(sum(widths.values()))
        self.projector = nn.Linear(CODE, CODE)
        self.head = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def code(self, views: Mapping[str, Tensor], name: str = "") -> Tensor:
        """Unit rows (n, CODE): of one view, or of all."""
        raw = self.single[f"view {name}"](views[name]) if name else self.joint(torch.cat([*views.values()], dim=1))
        return functional.normalize(self.projector(raw), dim=1)

    def label(self, code: Tensor) -> Tensor:
        """What the head makes of codes: (n,)."""
        return self.head(code)[:, 0]

    def predict(self, views: Mapping[str, Tensor], present: Sequence[str]) -> Tensor:
        """Labels (n,) from the views that are there: of all the joint code, of fewer the mean of theirs."""
        if len(present) == len(views):
            return self.label(self.code(views))
        return self.label(torch.stack([self.code(views, name) for name in present]).mean(dim=0))


def _encoder(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE), nn.ReLU())


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding the partner of each of 2n rows, a_i of b_i and back, among the 2n − 1 others.

    Parameters
    ----------
    a, b : Tensor of shape (n, d)
        Unit rows.
    temperature : float

    Examples
    --------
    >>> round(nt_xent(torch.eye(2), torch.eye(2), 1.0).item(), 4)  # log(e + 2) - 1
    0.5514
    """
    rows = torch.cat([a, b])
    n = len(a)
    logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    return functional.cross_entropy(logits, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


@dataclass(frozen=True)
class Learning:
    """How a model is trained; `m2_weight` 0 leaves m²-mix out."""

    epochs: int
    m2_weight: float
    seed: int


def objective(model: GMC, views: Mapping[str, Tensor], label: Tensor, m2_weight: float, lam: float) -> Tensor:
    """L1 of the head on the joint code, and of each view NT-Xent and m²-mix between joint and single code.

    In m²-mix the negatives of a code are mixtures of the joint and the single code of another sample.
    """
    joint = model.code(views)
    loss = (model.label(joint) - label).abs().mean()
    for name in views:
        code = model.code(views, name)
        loss = loss + nt_xent(joint, code, TEMPERATURE)
        if m2_weight:
            loss = loss + m2_weight * m2_mix(joint, code, lam, TEMPERATURE)
    return loss


def trained(part: Part, how: Learning) -> GMC:
    """A model that has learned from these samples; of one seed start and batches are the same for any `m2_weight`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived(how.seed, "gmc weights"))
        model = GMC({name: rows.shape[1] for name, rows in part.views.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    label = part.label.float()
    beta = torch.distributions.Beta(BETA, BETA)
    for epoch in range(how.epochs):
        order = torch.randperm(len(part), generator=generator(how.seed, "gmc order", epoch))
        batches = [rows for rows in order.split(BATCH) if len(rows) > 1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived(how.seed, "gmc lambda", epoch))
            lambdas = beta.sample((len(batches),)).tolist()
        for rows, lam in zip(batches, lambdas, strict=True):
            views = {name: each[rows] for name, each in part.views.items()}
            loss = objective(model, views, label[rows], how.m2_weight, lam)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()
