"""Settings: everything that decides what a fine-tuning run learns, checked once, the same in every file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from geomclip.machine.errors import InputError

MAX_LOGIT_SCALE = 100.0
"""CLIP clamps its learned scale here (Radford et al. 2021, section 2.5)."""

WEIGHTS = {"m2_mix": 0.02, "v_mix": 0.05, "l_mix": 0.05, "vl_mix": 0.1}
"""Default weight of each mixed term where a method has it."""


@dataclass(frozen=True)
class Settings:
    """How to train. Defaults are those of a stock CLIP; `DEMO` and `PRESETS` change them.

    One *joint batch* is what a step's loss is computed of: batch_size pairs x accum_freq x processes.
    """

    method: str = "m2mix"
    seed: int = 0
    # how long
    epochs: int = 5
    steps: int | None = None  # end after so many steps, whatever the epochs; the schedule ends there too
    patience: int = 0  # end when the val metric has not improved for so many evaluations; 0: never
    # batches
    batch_size: int = 128  # pairs a forward pass of one process
    accum_freq: int = 1  # forward passes a step; the gradients are those of the joint batch
    captions: str = "one"  # "one": each epoch shows an image once, with a caption drawn; "all": with every caption
    augment: str = "none"  # "none": as the model sees them when it is used; "crop": random crops of 90 to 100 %
    workers: int | None = None
    # optimiser
    lr: float = 1e-5
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    warmup: float = 0.1  # share of the steps
    clip_norm: float = 1.0  # of all gradients together; 0: none
    layer_decay: float = 1.0  # factor on the learning rate a layer further from the output
    ema: float = 0.0  # decay of averaged weights, which are then what is evaluated and saved; 0: none
    # what is trained, and in what
    lock: str = ""  # "", "image" or "text": that tower stays as it is
    lora: int = 0  # rank of low-rank adapters, merged at the end; 0: all weights are trained
    lora_alpha: float = 0.0  # their scale; 0: twice the rank
    mode: str = "train"  # "eval": dropout and batch statistics off, as Oh et al. train
    precision: str = "auto"  # of the forward and backward pass; weights and optimiser are float32
    device: str = "cpu"
    compile: bool = False
    grad_checkpointing: bool = False
    # the loss
    temperature: float | None = None  # tau at the start; None: the model's own
    learn_temperature: bool = True
    temperature_m2: float = 0.07  # tau_2 of m2_mix
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    beta_m2: float = 0.5  # lambda ~ Beta(b, b) of m2_mix
    beta_mix: float = 0.5  # of v_mix and l_mix
    beta_vl: float = 0.5  # of vl_mix
    per_sample: bool = False  # one lambda a row in place of one a batch and term
    partner: str = "derangement"  # "flip": the batch reversed
    vl_target: str = "identity"  # "both": identity plus partner, as the code of Oh et al. has it
    decay: str = "epoch"  # of the mixed terms: "epoch": 1/(epoch + 1); "none": 1
    # looking
    val_metric: str = "text_retrieval_recall@1,image_retrieval_recall@1"  # several: their mean
    eval_every: int = 1  # epochs; 0: only at the end
    save_every: int = 50  # steps between checkpoints
    probe_every: int = 10  # steps between looks at the probe set; 0: never
    preset: str = ""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                shown = ", ".join(choice or "none" for choice in allowed)
                raise InputError(f"{flag(name)} {value!r}: use one of {shown}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                upper = "" if math.isinf(high) else f" and at most {high:g}"
                raise InputError(f"{flag(name)} {value:g}: must be finite, at least {low:g}{upper}")
        if self.lr == 0:
            raise InputError("--lr 0 trains nothing: give a positive learning rate")
        if self.temperature == 0:
            raise InputError("--temperature 0: must be positive")
        if self.precision == "fp16":
            raise InputError("--precision fp16 underflows in training: use bf16, fp32 or auto")
        unknown = sorted(set(self.weights) - set(WEIGHTS))
        if unknown or any(not (math.isfinite(value) and value >= 0) for value in self.weights.values()):
            raise InputError(f"weights: {', '.join(WEIGHTS)} can have one, finite and at least 0; got {self.weights}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as config.json has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Settings:
        """The settings that `to_dict` wrote; InputError for one that this version does not know."""
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(kept) - known)
        if unknown:
            raise InputError(f"unknown settings: {', '.join(unknown)}")
        values = dict(kept)
        if "betas" in values:
            values["betas"] = tuple(values["betas"])
        return cls(**values)


CHOICES: dict[str, tuple[str, ...]] = {
    "captions": ("one", "all"),
    "augment": ("none", "crop"),
    "lock": ("", "image", "text"),
    "mode": ("train", "eval"),
    "partner": ("derangement", "flip"),
    "vl_target": ("identity", "both"),
    "decay": ("epoch", "none"),
    "preset": ("", "oh2023"),
}
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "epochs": (1, 10**6),
    "steps": (1, 10**9),
    "patience": (0, 10**6),
    "batch_size": (2, 10**6),
    "accum_freq": (1, 10**6),
    "workers": (0, 1024),
    "lr": (0, 10),
    "weight_decay": (0, 10),
    "eps": (0, 1),
    "warmup": (0, 1),
    "clip_norm": (0, math.inf),
    "layer_decay": (0, 1),
    "ema": (0, 1),
    "lora": (0, 4096),
    "lora_alpha": (0, math.inf),
    "temperature": (0, 100),
    "temperature_m2": (1e-4, 100),
    "beta_m2": (1e-3, 1000),
    "beta_mix": (1e-3, 1000),
    "beta_vl": (1e-3, 1000),
    "eval_every": (0, 10**6),
    "save_every": (0, 10**9),
    "probe_every": (0, 10**9),
}

DEMO: dict[str, Any] = {"epochs": 4, "lr": 1e-4}
"""What differs for the demo model, which is twenty times smaller than the smallest stock CLIP."""

PRESETS: dict[str, dict[str, Any]] = {
    # the code of Oh et al. (2023): fixed temperatures, one Beta for m2 alone and another inside m3, eval mode
    "oh2023": {
        "epochs": 9,
        "batch_size": 128,
        "lr": 1e-5,
        "weight_decay": 0.2,
        "warmup": 0.1,
        "clip_norm": 0.0,
        "mode": "eval",
        "temperature": 0.01,
        "learn_temperature": False,
        "temperature_m2": 0.07,
        "weights": {"m2_mix": 0.02, "v_mix": 0.05, "l_mix": 0.05, "vl_mix": 0.1},
        "beta_m2": 0.5,
        "beta_mix": 0.5,
        "beta_vl": 0.5,
        "partner": "flip",
        "vl_target": "both",
        "decay": "epoch",
    }
}


def flag(name: str) -> str:
    """The command line's word for a setting.

    Examples
    --------
    >>> flag("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def preset(name: str, method: str) -> dict[str, Any]:
    """What a preset sets for a method; explicit settings go before it."""
    if name not in CHOICES["preset"]:
        raise InputError(f"--preset {name!r}: use one of {', '.join(filter(None, CHOICES['preset']))}")
    if not name:
        return {}
    values = {**PRESETS[name], "preset": name}
    if method == "m3mix":
        values["beta_m2"] = 0.2
    if method in ("imix", "unmix"):
        values["decay"] = "none"  # what sets them apart
    return values


def differences(there: Settings, here: Settings, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """What differs, a line each: `--lr 1e-05 there, 0.001 here`.

    Examples
    --------
    >>> differences(Settings(lr=1e-5), Settings(lr=1e-3))
    ['--lr 1e-05 there, 0.001 here']
    """
    return [
        f"{flag(each.name)} {getattr(there, each.name)} there, {getattr(here, each.name)} here"
        for each in fields(Settings)
        if each.name not in ignore and getattr(there, each.name) != getattr(here, each.name)
    ]
