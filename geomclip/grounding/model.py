"""The model of grounding: clips and sentences to a row for each proposed moment and each sentence, and a score.

Two kinds of heads. `encoder`: the model starts at the encoder's own answer, the cosine of a sentence with the mean of
a moment's clips, and learns what to add to it. `mmn` and `released`: heads drawn at random, as Wang et al. (2022) and
Li et al. (2023) have them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import normalize

from geomclip.grounding.methods import PRESETS
from geomclip.grounding.moments import Proposals, proposals
from geomclip.machine.errors import InputError
from geomclip.machine.words import option

STEEPNESS = 10.0
"""Of the sigmoid over the overlap head's cosine (Wang et al. 2022, released code)."""

RESIDUAL = 0.003
"""Of what is added to the encoder's rows: an optimiser that moves each weight alike would else replace them at once."""

SHARPER = 4.0
"""Times the steepness of the fitted curve: sentences differ in their cosines with all moments, which flattens it."""

RIDGE = 1e-2
"""Keeps a logistic curve finite where cosines tell the targets apart without error."""


@dataclass(frozen=True)
class Architecture:
    """All that the shape of a model depends on; with its weights it is the model."""

    dimensions: int  # of a clip's row
    text_dimensions: int  # of a sentence's row
    clips: int = 16  # T
    levels: tuple[int, ...] | None = None  # of a strided map; None: what `proposals` does
    width: int = 48  # channels of the map
    layers: int = 2
    kernel: int = 3
    joint: int = 256  # of the space of random heads; heads from the encoder stay in the encoder's space
    preset: str = "encoder"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InputError(f"{option('preset')} {self.preset!r}: use one of {', '.join(PRESETS)}")
        for name in ("dimensions", "text_dimensions", "clips", "width", "layers", "joint"):
            if getattr(self, name) < 1:
                raise InputError(f"{option(name)} {getattr(self, name)}: must be at least 1")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError(f"{option('kernel')} {self.kernel}: must be odd, so that a cell has a middle")
        if self.preset == "encoder" and self.dimensions != self.text_dimensions:
            raise InputError(
                f"clips have {self.dimensions} dimensions and sentences {self.text_dimensions}: one encoder did not "
                f"make both, so there is no answer to start at; use {option('preset', 'mmn')}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As config.json has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Architecture:
        """What `to_dict` wrote."""
        levels = kept.get("levels")
        return cls(**{**kept, "levels": None if levels is None else tuple(levels)})


@dataclass(frozen=True, eq=False)
class Rows:
    """What the model makes of a batch: B videos of N moments, Q sentences."""

    moments: Tensor  # (B, N, j), unit rows
    sentences: Tensor  # (Q, j), unit rows
    gates: Tensor  # (Q, N): logits that a moment of the sentence's video is the one
    owner: Tensor  # (Q,) int64: the video of each sentence

    @cached_property
    def own(self) -> Tensor:
        """Cosines of each sentence with the moments of its own video: (Q, N)."""
        return torch.einsum("qj,qnj->qn", self.sentences, self.moments[self.owner])

    def with_gates(self, gates: Tensor) -> Rows:
        """The same rows, whose cosines are not computed again, with other gates (Q, N)."""
        rows = replace(self, gates=gates)
        vars(rows)["own"] = self.own
        return rows

    def cosines(self) -> Tensor:
        """Of each sentence with every moment of every video: (Q, B, N), −1 to 1."""
        return (self.sentences @ self.moments.flatten(0, 1).T).unflatten(1, self.moments.shape[:2])

    def scores(self) -> Tensor:
        """How well each moment of its own video answers a sentence: (Q, N), 0 to 1.

        The root of the cosine brought to 0 … 1, times the predicted overlap (Wang et al. 2022).
        """
        return (0.5 * self.own + 0.5).clamp(min=0).sqrt() * self.gates.sigmoid()


class GroundingModel(nn.Module):
    """Clips and sentences to unit rows of moments and sentences, and to predicted overlaps.

    The clips of each proposal are pooled by their exact maximum and laid out on the 2D map (row its first clip, column
    its last); each convolution's sum is divided by the share of the kernel that is on the map, so that a cell at the
    edge is not dimmer. Cells that are no proposals stay 0.

    Parameters
    ----------
    architecture : Architecture
    generator : torch.Generator
        Of the starting weights.
    """

    weight: Tensor

    def __init__(self, architecture: Architecture, *, generator: torch.Generator) -> None:
        super().__init__()
        self.architecture = architecture
        self.proposals: Proposals = proposals(architecture.clips, architecture.levels)
        width, kernel = architecture.width, architecture.kernel
        self.clip = nn.Linear(architecture.dimensions, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=kernel // 2) for _ in range(architecture.layers)
        )
        published = architecture.preset != "encoder"
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(architecture.layers if published else 0))
        self.heads: EncoderHeads | PublishedHeads = (
            PublishedHeads(architecture) if published else EncoderHeads(architecture)
        )
        self.register_buffer("weight", mask_weight(self.proposals.valid, kernel), persistent=False)
        draw_weights(self, generator)

    def forward(self, clips: Tensor, texts: Tensor, owner: Tensor) -> Rows:
        """Rows and gates of a batch.

        Parameters
        ----------
        clips : Tensor of shape (B, T, d)
        texts : Tensor of shape (Q, d')
        owner : Tensor of shape (Q,), int64
            The video of each sentence.

        Raises
        ------
        ValueError
            If a shape is not the architecture's.
        """
        self._check(clips, texts, owner)
        rows: Rows = self.heads(self.hidden(clips), self._means(clips), texts, owner)
        return rows

    def hidden(self, clips: Tensor) -> Tensor:
        """What the convolutions make of each proposal: (B, T, d) to (B, N, width).

        Random heads see the maximum of a proposal's clips, as published. Those that start at the encoder's answer,
        which has the mean already, see what the maximum has above the mean: 0 where all clips are alike, whatever
        they show, so that few pictures can teach where a moment ends.
        """
        if len(self.norms):
            pooled = self.proposals.maxima(self.clip(clips).relu())
        else:
            rows = self.clip(clips * clips.shape[2] ** 0.5)
            pooled = self.proposals.maxima(rows) - self.proposals.means(rows)
        at = self.proposals.on_map(pooled.transpose(1, 2))  # (B, width, T, T)
        for place, convolution in enumerate(self.convolutions):
            at = convolution(at)
            if len(self.norms):
                at = self.norms[place](at)
            at = at.relu() * self.weight
        return self.proposals.from_map(at).transpose(1, 2)

    def _means(self, clips: Tensor) -> Tensor | None:
        return self.proposals.means(clips) if self.architecture.preset == "encoder" else None

    def _check(self, clips: Tensor, texts: Tensor, owner: Tensor) -> None:
        made = self.architecture
        if clips.ndim != 3 or clips.shape[1:] != (made.clips, made.dimensions):
            raise ValueError(f"clips must be (B, {made.clips}, {made.dimensions}), got {tuple(clips.shape)}")
        if texts.ndim != 2 or texts.shape[1] != made.text_dimensions:
            raise ValueError(f"texts must be (Q, {made.text_dimensions}), got {tuple(texts.shape)}")
        if owner.shape != texts.shape[:1]:
            raise ValueError(f"owner must be ({len(texts)},), got {tuple(owner.shape)}")


class EncoderHeads(nn.Module):
    """Residuals on the encoder's own rows, all zero at the start: then the scores rank as the encoder does.

    A moment's row is the mean of its clips plus what its cell adds, a sentence's its own plus a linear map of it. The
    gate is a logistic curve of their cosine, rising, plus what the cell says by itself. The convolutions learn from
    the gate alone: what the rows add is read off them, since contrast would teach them the pictures by heart.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        d, width = architecture.dimensions, architecture.width
        self.moment = nn.Linear(width, d)
        self.sentence = nn.Linear(d, d, bias=False)
        self.gate = nn.Linear(width, 1)
        self.steepness, self.center = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def start(self) -> None:
        """The residuals and the gate are set to zero."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def calibrate(self, cosines: Tensor, targets: Tensor) -> None:
        """Start the logistic curve about where it fits targets 0 to 1 best; it rises, so the ranking stays.

        Parameters
        ----------
        cosines, targets : Tensor of shape (n,)
            Of sentences with moments of their videos, and how much those are what is meant.
        """
        steepness, center = logistic_curve(cosines.double(), targets.double())
        with torch.no_grad():
            self.steepness.fill_(SHARPER * max(steepness, 1.0))
            self.center.fill_(center)

    def forward(self, hidden: Tensor, means: Tensor, texts: Tensor, owner: Tensor) -> Rows:
        """Rows in the encoder's space."""
        moments = normalize(means + RESIDUAL * self.moment(hidden.detach()), dim=-1)
        sentences = normalize(texts + RESIDUAL * self.sentence(texts), dim=-1)
        rows = Rows(moments, sentences, self.gate(hidden).squeeze(2)[owner], owner)
        return rows.with_gates(rows.gates + self.steepness * (rows.own - self.center))


class PublishedHeads(nn.Module):
    """Two joint spaces, one for contrast and one for overlap, both drawn at random (Wang et al. 2022)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, joint = architecture.width, architecture.joint
        self.moment, self.moment_overlap = nn.Linear(width, joint), nn.Linear(width, joint)
        self.norm = nn.LayerNorm(architecture.text_dimensions)
        self.sentence = nn.Linear(architecture.text_dimensions, joint)
        self.sentence_overlap = nn.Linear(architecture.text_dimensions, joint)

    def start(self) -> None:
        """They start as drawn."""

    def forward(self, hidden: Tensor, means: Tensor | None, texts: Tensor, owner: Tensor) -> Rows:
        """Rows in the joint space."""
        texts = self.norm(texts)
        overlap = normalize(self.moment_overlap(hidden), dim=-1)
        wanted = normalize(self.sentence_overlap(texts), dim=-1)
        gates = STEEPNESS * torch.einsum("qj,qnj->qn", wanted, overlap[owner])
        return Rows(normalize(self.moment(hidden), dim=-1), normalize(self.sentence(texts), dim=-1), gates, owner)


def logistic_curve(x: Tensor, targets: Tensor) -> tuple[float, float]:
    """Steepness a and centre c of the logistic curve sigmoid(a (x − c)) nearest to targets in cross-entropy.

    By Newton's method, which is exact to rounding after a few steps. Where x does not vary: (0, 0).
    """
    scale, middle = float(x.std()) if len(x) > 1 else 0.0, x.mean()
    if not scale > 0:
        return 0.0, 0.0
    columns = torch.stack([(x - middle) / scale, torch.ones_like(x)], dim=1)  # (n, 2)
    at = torch.zeros(2, dtype=x.dtype)
    for _ in range(25):
        expected = (columns @ at).sigmoid()
        slope = columns.T @ (targets - expected) - RIDGE * at
        curvature = columns.T @ (columns * (expected * (1 - expected))[:, None]) + RIDGE * torch.eye(2, dtype=x.dtype)
        at = at + torch.linalg.solve(curvature, slope).clamp(-2, 2)
    steepness = float(at[0]) / scale
    return steepness, float(middle - at[1] / steepness) if steepness else 0.0


def mask_weight(valid: Tensor, kernel: int) -> Tensor:
    """What a convolution's sum at each cell is multiplied by: (T, T), 0 where nothing is proposed.

    The size of the kernel over the count of valid cells that it covers there (Zhang et al. 2020 have 1 over the count:
    the same up to the scale of the weights, which then shrink a map more with every layer).
    """
    cells = valid.float()
    covered = functional.conv2d(cells[None, None], torch.ones(1, 1, kernel, kernel), padding=kernel // 2)[0, 0]
    return torch.where(valid, kernel**2 / covered.clamp(min=1), 0.0)


def draw_weights(model: GroundingModel, generator: torch.Generator) -> None:
    """Weights from a generator of one's own: of random heads uniform as torch draws them, else normal.

    Normal ones have the variance that keeps the size of what passes: 1/inputs, and 2/inputs before a ReLU.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            inputs = module.weight[0].numel()
            if len(model.norms):
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
                continue
            gain = 2 if isinstance(module, nn.Conv2d) else 1
            nn.init.normal_(module.weight, std=math.sqrt(gain / inputs), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    model.heads.start()
