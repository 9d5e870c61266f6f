"""Settings: everything that decides what a run of grounding learns, checked once, the same in every file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from geomclip.grounding.methods import PRESETS, Options, method_named
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.settings import COUNT, check_settings, setting

if TYPE_CHECKING:
    from geomclip.grounding.model import Architecture


@dataclass(frozen=True)
class GroundingSettings:
    """How to train a model of grounding. A step's batch is some videos with all their sentences."""

    method: str = "base"
    preset: str = setting(
        "encoder",
        "encoder: start at its answer; mmn, released: heads from random, released with its losses.",
        one_of=PRESETS,
    )
    seed: int = setting(0, "Of all that is drawn.", within=(0, 2**63 - 1))
    # how long
    epochs: int = setting(10, "How long.", within=(1, 10**6))
    steps: int | None = setting(None, "End after N steps at the latest.", within=(1, 10**9))
    patience: int = setting(0, "End after N evaluations without gain; 0: never.", within=(0, 10**6))
    batch_size: int = setting(16, "Videos a step, with all their sentences.", within=(1, 10**6))
    # the model
    clips: int = setting(16, "Clips that a video is cut into.", within=(1, 1024))
    width: int = setting(48, "Channels of the map.", within=(1, 10**5))
    layers: int = setting(2, "Convolutions.", within=(1, 100))
    kernel: int = setting(3, "Their size; odd.", within=(1, 99))
    joint: int = setting(256, "Dimensions of the joint space of random heads.", within=(1, 10**5))
    # optimiser
    lr: float = setting(1e-3, "Learning rate, after warm-up.", within=(0, 10), metavar="X")
    weight_decay: float = setting(0.01, "Of all weights.", within=(0, 10), metavar="X")
    warmup: float = setting(0.1, "Of the steps.", within=(0, 1), metavar="SHARE")
    clip_norm: float = setting(1.0, "Of all gradients together; 0: none.", within=(0, math.inf), metavar="X")
    device: str = "cpu"
    # the loss
    temperature: float = setting(Options.temperature, "Of the contrastive terms.", within=(1e-3, 100), metavar="T")
    margin: float = setting(Options.margin, "Off the cosine of what belongs together.", within=(0, 2), metavar="X")
    neighbors: int = setting(Options.neighbors, "Of a moment in the graph of moments.", within=(1, 10**4))
    reach: float = setting(Options.reach, "Radians at which a moment counts 1/e.", within=(1e-6, 100), metavar="X")
    coalitions: int = setting(Options.coalitions, "Drawn for an interaction; even.", within=(4, 10**5))
    # looking
    eval_every: int = setting(1, "Epochs between evaluations; 0: only at the end.", within=(0, 10**6))
    save_every: int = setting(50, "Steps between checkpoints; 0: only at the end.", within=COUNT)
    probe_every: int = 0

    def __post_init__(self) -> None:
        method_named(self.method)
        check_settings(self)
        if self.lr == 0:
            raise InputError(f"{option('lr')} 0 trains nothing: give a positive learning rate")
        if self.coalitions % 2:
            raise InputError(f"{option('coalitions')} {self.coalitions}: must be even, each comes with its complement")

    def options(self) -> Options:
        """The constants of the terms."""
        return Options(
            temperature=self.temperature,
            margin=self.margin,
            neighbors=self.neighbors,
            reach=self.reach,
            coalitions=self.coalitions,
        )

    def architecture(self, dimensions: int, text_dimensions: int) -> Architecture:
        """The model for rows of these widths."""
        from geomclip.grounding.model import Architecture

        return Architecture(
            dimensions,
            text_dimensions,
            clips=self.clips,
            width=self.width,
            layers=self.layers,
            kernel=self.kernel,
            joint=self.joint,
            preset=self.preset,
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings as config.json has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> GroundingSettings:
        """The settings that `to_dict` wrote; InputError for one that this version does not know."""
        unknown = sorted(set(kept) - {each.name for each in fields(cls)})
        if unknown:
            raise InputError(f"unknown settings: {', '.join(unknown)}")
        return cls(**kept)
