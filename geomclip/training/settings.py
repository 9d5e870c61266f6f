"""Settings: everything that decides what a fine-tuning run learns, checked once, the same in every file."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest, one_line, option, speaks_of_flags

MAX_LOGIT_SCALE = 100.0
"""CLIP clamps its learned scale here (Radford et al. 2021, section 2.5)."""


@dataclass(frozen=True)
class Term:
    """A term of a loss. Its value is the function of its name in `geomclip.losses`.

    Parameters of that function are filled in by their names: `temperature` and `bias` of the model, `lam`, `partner`
    and `coalitions` as drawn; and those of `options` from settings.
    """

    weight: float | None = None  # default of its setting; None: its weight is the method's
    beta: str = ""  # of a mixed term: the setting b of its λ ~ Beta(b, b)
    options: Mapping[str, str] = field(default_factory=dict)  # parameter: the setting that it takes


TERMS = {
    # of the mixed ones a new one comes last: the place of each among them is that of its stream of λ
    "contrastive": Term(),
    "m2_mix": Term(0.02, "beta_m2", {"temperature": "temperature_m2"}),
    "v_mix": Term(0.05, "beta_mix"),
    "l_mix": Term(0.05, "beta_mix"),
    "vl_mix": Term(0.1, "beta_vl", {"target": "vl_target"}),
    "hcl": Term(),
    "in_modal_consistency": Term(),
    "cross_modal_consistency": Term(),
    "uniformity": Term(),
    "alignment": Term(),
    "cross_uniformity": Term(),
    "siglip": Term(),
    "geodesic_contrastive": Term(options={"neighbors": "neighbors", "width": "width"}),
    "shapley_alignment": Term(options={"neighbors": "neighbors"}),
}
WEIGHTS = {name: term.weight for name, term in TERMS.items() if term.weight is not None}
"""Default weight of each mixed term where a method has it."""
INSIDE_M3 = {"beta_m2": 0.2}
"""Of m2_mix among the other mixed terms (Oh et al. 2023)."""

PRESERVE = {"embedding": 10.0, "cosine": 10.0, "similarity": 1000.0}
"""What of a base model can be preserved, each with its default weight; the term is KIND_preservation of the losses.

A change of cosines by 0.03, three temperatures of a CLIP, then counts like a nat of the contrastive term.
"""

SHOWN = 100
"""Characters of a value in a message."""
COUNT = (0, 10**9)
BETA = (1e-3, 1000)


def setting(
    default: Any,
    help: str = "",
    *,
    within: tuple[float, float] | None = None,
    one_of: tuple[str, ...] | None = None,
    metavar: str = "",
) -> Any:
    """A field of Settings: its default, which values it can have, and its line in `geomclip finetune --help`.

    Without a line it is no option of the command. `metavar` stands in the help for the value.
    """
    metadata = {"help": help, "within": within, "one_of": one_of, "metavar": metavar}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """How to train. Defaults are those of a stock CLIP; `DEMO` and `PRESETS` change them.

    One *joint batch* is what a step's loss is computed of: batch_size pairs x accum_freq x processes.
    """

    method: str = "m2mix"
    seed: int = setting(0, "Of all that is drawn.", within=(0, 2**63 - 1))
    # how long
    epochs: int = setting(5, "How long; for demo 4.", within=(1, 10**6))
    # whatever the epochs; the schedule ends there too
    steps: int | None = setting(None, "End after N steps at the latest.", within=(1, 10**9))
    patience: int = setting(0, "End after N evaluations without gain; 0: never.", within=(0, 10**6))
    # batches
    batch_size: int = setting(128, "Pairs a forward pass.", within=(2, 10**6))  # of one process
    # the gradients are those of the joint batch
    accum_freq: int = setting(1, "Forward passes a step; same gradients as one.", within=(1, 10**6))
    captions: str = setting("one", "Per image and epoch: one drawn, or each in turn.", one_of=("one", "all"))
    # "none": as the model sees them when it is used
    augment: str = setting("none", "crop: random parts of 90 to 100 %.", one_of=("none", "crop"))
    workers: int | None = setting(None, "Threads that decode images; default: as many as pay.", within=(0, 1024))
    # optimiser
    lr: float = setting(1e-5, "Learning rate, after warm-up; for demo 1e-4.", within=(0, 10), metavar="X")
    weight_decay: float = setting(0.1, "Of matrices; gains and biases have none.", within=(0, 10), metavar="X")
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = setting(1e-6, within=(0, 1))
    warmup: float = setting(0.1, "Of the steps.", within=(0, 1), metavar="SHARE")
    clip_norm: float = setting(1.0, "Of all gradients together; 0: none.", within=(0, math.inf), metavar="X")
    layer_decay: float = setting(
        1.0, "Factor on the learning rate a layer further from the output.", within=(0, 1), metavar="X"
    )
    ema: float = setting(
        0.0, "Decay of averaged weights, which are then evaluated and kept.", within=(0, 1), metavar="X"
    )
    # what is trained, and in what
    lock: str = setting("", "Leave this tower as it is.", one_of=("", "image", "text"))
    lora: int = setting(0, "Rank of low-rank adapters, merged at the end.", within=(0, 4096))  # 0: all weights train
    lora_alpha: float = setting(0.0, "Their scale; default twice the rank.", within=(0, math.inf), metavar="X")
    # "eval" is how Oh et al. train
    mode: str = setting("train", "eval: dropout and batch statistics off.", one_of=("train", "eval"))
    precision: str = setting("auto", "Of the passes; weights are float32.", one_of=("fp32", "bf16", "auto"))
    device: str = setting("cpu", "cpu, cuda, cuda:N, or auto: the GPU if there is one.", metavar="NAME")
    compile: bool = setting(False, "Compile the towers: a minute at the start, faster steps.")
    grad_checkpointing: bool = setting(False, "Less memory, more time.")
    # the loss
    temperature: float | None = setting(
        None, "At the start, in place of the model's own.", within=(0, 100), metavar="T"
    )
    learn_temperature: bool = setting(True, "Default learn.")
    temperature_m2: float = setting(0.07, "Of m2-mix.", within=(1e-4, 100), metavar="T")
    weights: Mapping[str, float] = setting(WEIGHTS, "m2_mix, v_mix, l_mix or vl_mix.", metavar="TERM=X")
    beta_m2: float = setting(0.5, "Lambda of m2-mix is drawn from Beta(B, B).", within=BETA, metavar="B")
    beta_mix: float = setting(0.5, "Lambda of v-mix and l-mix.", within=BETA, metavar="B")
    beta_vl: float = setting(0.5, "Lambda of vl-mix.", within=BETA, metavar="B")
    caption_weight: float = setting(
        0.0, "Of the caption loss of a CoCa; 0 leaves its decoder as it is.", within=(0, 1000), metavar="X"
    )
    preserve: Mapping[str, float] = setting(
        {}, "Hold embedding, cosine or similarity to the base's; a forward pass of it a step.", metavar="KIND[=X]"
    )
    per_sample: bool = setting(False, "One lambda a row, not one a batch.")
    partner: str = setting("derangement", "flip: the batch reversed.", one_of=("derangement", "flip"))
    vl_target: str = setting("identity", "both: as the code of Oh et al. has it.", one_of=("identity", "both"))
    neighbors: int = setting(5, "Of each image in the graph of geodesic and g2l.", within=(1, 10**6))
    width: float = setting(
        0.35, "Radians along it at which an image has 1/e of the weight of the own.", within=(1e-6, 100), metavar="X"
    )
    players: int = setting(5, "Pairs in a block of g2l.", within=(2, 64))
    coalitions: int = setting(64, "Drawn a step by g2l; even.", within=(4, 10**5))
    decay: str = setting("epoch", "Of the mixed terms: 1/(epoch + 1), or none.", one_of=("epoch", "none"))
    # looking
    val_metric: str = setting(
        "text_retrieval_recall@1,image_retrieval_recall@1",
        "Chooses the best weights; the mean of several.",
        metavar="KEYS",
    )
    eval_every: int = setting(1, "Epochs between evaluations; 0: only at the end.", within=(0, 10**6))
    save_every: int = setting(50, "Steps between checkpoints; 0: only at the end.", within=COUNT)
    probe_every: int = setting(10, "Steps between looks at a fixed probe set; 0: never.", within=COUNT)
    preset: str = setting("", "The settings of that paper; other options go before it.", one_of=("", "oh2023"))

    def __post_init__(self) -> None:
        if self.precision == "fp16":
            raise InputError(f"{option('precision')} fp16 underflows in training: use bf16, fp32 or auto")
        check_settings(self)
        object.__setattr__(self, "preserve", preserve_weights(self.preserve))
        if self.lr == 0:
            raise InputError(f"{option('lr')} 0 trains nothing: give a positive learning rate")
        if self.temperature == 0:
            raise InputError(f"{option('temperature')} 0: must be positive")
        if self.coalitions % 2:
            raise InputError(f"{option('coalitions')} {self.coalitions}: must be even, each has its complement")
        weights = self.weights
        if (
            not isinstance(weights, Mapping)
            or not weights.keys() <= WEIGHTS.keys()
            or not all(_is_within(value, 0, math.inf) for value in weights.values())
        ):
            raise InputError(
                f"weights: {', '.join(WEIGHTS)} can have one, finite and at least 0; got {one_line(weights, SHOWN)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as config.json has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Settings:
        """The settings that `to_dict` wrote; InputError for one that this version does not know."""
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(kept) - known)
        if unknown:
            raise InputError(f"unknown settings: {one_line(', '.join(unknown), SHOWN)}")
        values = dict(kept)
        if isinstance(values.get("betas"), list):
            values["betas"] = tuple(values["betas"])
        return cls(**values)


def preserve_weights(kinds: Mapping[str, float] | Sequence[str] | str) -> dict[str, float]:
    """What is preserved with its weights, from a mapping or from words KIND or KIND=X, which may have commas between.

    Examples
    --------
    >>> preserve_weights("cosine, similarity=2")
    {'cosine': 10.0, 'similarity': 2.0}
    """
    if isinstance(kinds, Mapping):
        named = [(str(kind), value) for kind, value in kinds.items()]
    elif isinstance(kinds, str) or (isinstance(kinds, Sequence) and all(isinstance(each, str) for each in kinds)):
        words = (kinds if isinstance(kinds, str) else ",".join(kinds)).split(",")
        named = [_kind_and_weight(word.strip()) for word in words if word.strip()]
        if not named and (kinds == "" or len(kinds)):
            raise InputError(f"{option('preserve')} '' names nothing: use {', '.join(PRESERVE)}, or leave it out")
    else:
        raise InputError(f"{option('preserve')} {one_line(kinds, SHOWN)}: write KIND or KIND=X, as cosine=2")
    found: dict[str, float] = {}
    for kind, weight in named:
        if kind not in PRESERVE:
            close = nearest(kind, list(PRESERVE)) or f": use {', '.join(PRESERVE)}"
            raise InputError(f"{option('preserve', one_line(kind, SHOWN))} is none of what can be preserved{close}")
        if kind in found:
            raise InputError(f"{option('preserve', kind)} is given twice: once, with one weight")
        if not _is_within(weight, 0, math.inf) or not weight:
            raise InputError(f"{option('preserve', f'{kind}={_shown(weight)}')}: a weight is positive and finite")
        found[kind] = float(weight)
    return found


def _kind_and_weight(word: str) -> tuple[str, float]:
    """One word, and the weight it names or the default of its kind."""
    kind, equals, value = (part.strip() for part in word.partition("="))
    if not equals:
        return kind, PRESERVE.get(kind, 1.0)
    try:
        return kind, float(value)
    except ValueError:
        message = f"{option('preserve', one_line(word, SHOWN))}: write KIND or KIND=X, as cosine=2"
        raise InputError(message) from None


def check_settings(settings: Any) -> None:
    """InputError unless each setting has one of its values."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        if value is not None or each.default is not None:
            _check(each.name, value, each.metadata)


def _check(name: str, value: Any, allowed: Mapping[str, Any]) -> None:
    """InputError unless a setting has one of its values; None is one where it is the default."""
    if allowed.get("one_of") and value not in allowed["one_of"]:
        shown = ", ".join(choice or "none" for choice in allowed["one_of"])
        raise InputError(f"{option(name)} {one_line(repr(value), SHOWN)}: use one of {shown}")
    if allowed.get("within"):
        low, high = allowed["within"]
        if not _is_within(value, low, high):
            upper = "" if math.isinf(high) else f" and at most {high:g}"
            raise InputError(f"{option(name)} {_shown(value)}: must be finite, at least {low:g}{upper}")


def _is_within(value: Any, low: float, high: float) -> bool:
    """Whether it is a finite number between two others; one from a file may be anything."""
    if not isinstance(value, Real):
        return False
    number: Any = value  # Real has no comparison with float for a type checker
    return bool(low <= number <= high and abs(number) <= sys.float_info.max)


def _shown(value: object) -> str:
    """A number as messages have it, short whatever it is."""
    return f"{value:g}" if isinstance(value, float | int) and abs(value) < 1e300 else one_line(repr(value), SHOWN)


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


def preset(name: str, method: str) -> dict[str, Any]:
    """What a preset sets for a method; explicit settings go before it."""
    if not name:
        return {}
    if name not in PRESETS:
        raise InputError(f"{option('preset')} {name!r}: use one of {', '.join(PRESETS)}")
    values = {**PRESETS[name], "preset": name}
    if method == "m3mix":
        values |= INSIDE_M3
    if method in ("imix", "unmix"):
        values["decay"] = "none"  # what sets them apart
    return values


def differences(there: Any, here: Any, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """What differs, a line each: `lr 1e-05 there, 0.001 here`.

    Examples
    --------
    >>> differences(Settings(lr=1e-5), Settings(lr=1e-3))
    ['lr 1e-05 there, 0.001 here']
    """
    return [
        f"{_named(each.name, getattr(there, each.name))} there, {_value(each.name, getattr(here, each.name))} here"
        for each in fields(there)
        if each.name not in ignore and getattr(there, each.name) != getattr(here, each.name)
    ]


def _named(name: str, value: Any) -> str:
    """A setting with its value, as who called types it."""
    shown = _value(name, value)
    return shown if shown.startswith("--") else f"{option(name)} {shown}"


def _value(name: str, value: Any) -> str:
    """The value alone; of a mapping on the command line its words, each after the flag that takes one."""
    if not isinstance(value, Mapping) or not speaks_of_flags():
        return str(value)
    flag = option(name.removesuffix("s"))
    return " ".join(f"{flag} {key}={_shown(each)}" for key, each in value.items()) or "none"
