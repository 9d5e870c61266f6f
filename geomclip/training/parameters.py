"""Parameters: which tower each belongs to, which are trained, and how fast each group of them moves."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.settings import Settings

JOINT = ("logit_scale", "logit_bias")
"""What both towers share."""
DECODER = "text_decoder."
"""How the names of CoCa's caption decoder begin."""

HEADS = re.compile(
    r"""
      visual\.proj                            # OpenAI-style image transformers
    | visual\.attnpool\.c_proj\..+            # OpenAI-style ResNets
    | visual\.head\.(?:pool\.)?proj\..+       # timm trunks, where open_clip adds the projection ...
    | visual\.head\.mlp\..+                   # ... of two layers
    | (?:text\.)?text_projection(?:\..+)?     # open_clip's text transformers
    | text\.proj\..+                          # text towers of transformers
    """,
    re.VERBOSE,
)
BLOCK = re.compile(r"(?:^|\.)(resblocks|layers|block|layer|layer[1-4])\.(\d+)\.")
"""Where the number of a block stands; ResNets count anew in each of `layer1` to `layer4`."""
BEFORE_BLOCKS = re.compile(
    r"""
      visual\.(?:conv\d|bn\d|class_embedding|positional_embedding|ln_pre)(?:\.|$)
    | (?:text\.)?(?:token_embedding|positional_embedding|cls_emb)(?:\.|$)
    | text\.transformer\.(?:embeddings|embed_tokens|embed_positions|layernorm_embedding|shared)\.
    """,
    re.VERBOSE,
)
TRUNK = "visual.trunk."  # a timm model, which knows its own order


def tower_of(name: str) -> str:
    """The tower of a parameter of open_clip's models: "image", "text", or "" for neither.

    Neither are the logit scale and bias, and CoCa's caption decoder, which rows do not pass through.

    Examples
    --------
    >>> tower_of("visual.conv1.weight"), tower_of("token_embedding.weight"), tower_of("logit_scale")
    ('image', 'text', '')
    """
    if name in JOINT or name.startswith(DECODER):
        return ""
    return "image" if name.startswith("visual.") else "text"


def unfreeze(module: nn.Module, *, decoder: bool = False) -> None:
    """Let every parameter learn that a row depends on, logit scale and bias included, and CoCa's `decoder` on request.

    What no row depends on (CoCa's caption decoder) and fixed tables (the sine and cosine positions of CLIPA)
    stay frozen otherwise: a model is loaded with nothing trainable, so what its makers meant is decided here.
    """
    for name, parameter in module.named_parameters():
        fixed = name == "visual.positional_embedding" and _is_sine_table(parameter)
        learns = bool(tower_of(name)) or name in JOINT or (decoder and name.startswith(DECODER))
        parameter.requires_grad_(learns and not fixed)


def lock(module: nn.Module, which: str) -> None:
    """Freeze one tower: "image" or "text". Before every step `freeze_statistics` keeps its mode so."""
    if which not in ("image", "text"):
        raise ValueError(f"lock must be image or text, got {which!r}")
    for name, parameter in module.named_parameters():
        if tower_of(name) == which:
            parameter.requires_grad_(False)


def train_only(module: nn.Module, names: Collection[str]) -> None:
    """Let these parameters learn and no others."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in names)


def freeze_statistics(module: nn.Module) -> None:
    """Put every part none of whose weights learns into eval mode; call it after `module.train()`.

    Such a part is then as it is in use: batch normalisation keeps its statistics (they are weights of a kind)
    and dropout is off. It holds for a locked tower, for the base under low-rank adapters, and for all but the
    heads while those alone are trained.
    """
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(each.requires_grad for each in parameters):
            part.eval()


def has_moving_statistics(module: nn.Module) -> bool:
    """Whether batch normalisation that learns is in the module: in train mode a row depends on its whole batch."""
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    own = [list(each.parameters()) for each in norms]
    return any(not parameters or any(each.requires_grad for each in parameters) for parameters in own)


def head_names(module: nn.Module) -> set[str]:
    """The projections to the joint space, logit scale and bias: what LP-FT trains first.

    A tower without a projection (SigLIP's image towers, which end in their attention pooling) has none here.
    """
    classifier = {id(each) for each in _classifier_of_trunk(module)}
    return {
        name
        for name, parameter in module.named_parameters()
        if name in JOINT or HEADS.fullmatch(name) or id(parameter) in classifier
    }


def depths(module: nn.Module) -> dict[str, int]:
    """For every parameter the number of blocks between it and the output of its tower.

    0 is what follows the last block, 1 the last block; embeddings and stem, before the first block, have one
    more than the blocks of their tower.

    Raises
    ------
    InputError
        If a timm trunk does not tell the order of its layers.
    """
    names = [name for name, _ in module.named_parameters()]
    found = dict.fromkeys(names, 0)
    for tower in ("image", "text"):
        own = [name for name in names if tower_of(name) == tower and not name.startswith(TRUNK)]
        blocks = {name: (match[1], int(match[2])) for name in own if (match := BLOCK.search(name))}
        order = {block: place for place, block in enumerate(sorted(set(blocks.values())))}
        for name in own:
            if name in blocks:
                found[name] = len(order) - order[blocks[name]]
            elif BEFORE_BLOCKS.match(name):
                found[name] = len(order) + 1
    return found | _depths_of_trunk(module)


def parameter_groups(module: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """What is trained, in groups for AdamW: `params`, `names`, `weight_decay` and `lr_factor`.

    Biases, gains and other parameters of fewer than two dimensions, logit scales and logit biases do not decay
    (Radford et al. 2021, section 2.5). `lr_factor` is `layer_decay ** depth` (Bao et al. 2022, "BEiT", appendix).

    Raises
    ------
    InputError
        If nothing is trained, or with a layer decay for a model whose layers have no known order.
    """
    depth = depths(module) if settings.layer_decay != 1 else {}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim >= 2 and name.rpartition(".")[2] not in JOINT
        weight_decay = settings.weight_decay if decays else 0.0
        factor = settings.layer_decay ** depth.get(name, 0)
        new = {"params": [], "names": [], "weight_decay": weight_decay, "lr_factor": factor}
        group = groups.setdefault((weight_decay, factor), new)
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise InputError("nothing is left to train: every weight is frozen")
    return list(groups.values())


@dataclass(frozen=True)
class Trained:
    """How many numbers learn, where, and of how many.

    Examples
    --------
    >>> print(Trained(image=1200, text=800, joint=1, total=400_000))
    2,001 of 400,000 parameters are trained (0.5 %): image tower 1,200, text tower 800
    """

    image: int
    text: int
    joint: int  # logit scale and bias
    total: int
    decoder: int = 0  # of captions

    @property
    def count(self) -> int:
        """All that learn."""
        return self.image + self.text + self.joint + self.decoder

    def __str__(self) -> str:
        share = 100 * self.count / self.total
        return (
            f"{self.count:,} of {self.total:,} parameters are trained ({share:.3g} %): "
            f"image tower {self.image:,}, text tower {self.text:,}"
            f"{f', caption decoder {self.decoder:,}' if self.decoder else ''}"
        )


def trained(module: nn.Module) -> Trained:
    """How many numbers of a module learn."""
    counts = {"image": 0, "text": 0, "": 0, DECODER: 0}
    total = 0
    for name, parameter in module.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            counts[DECODER if name.startswith(DECODER) else tower_of(name)] += parameter.numel()
    return Trained(image=counts["image"], text=counts["text"], joint=counts[""], total=total, decoder=counts[DECODER])


def _classifier_of_trunk(module: nn.Module) -> list[Tensor]:
    """Where open_clip adds no projection, the timm model's own classifier is one (empty where it has none)."""
    trunk = getattr(getattr(module, "visual", None), "trunk", None)
    if trunk is None:
        return []
    classifier = trunk.get_classifier()
    parts = classifier if isinstance(classifier, tuple) else (classifier,)
    return [parameter for part in parts for parameter in part.parameters()]


def _depths_of_trunk(module: nn.Module) -> dict[str, int]:
    trunk = getattr(getattr(module, "visual", None), "trunk", None)
    if trunk is None:
        return {}
    from timm.models import group_parameters

    if not hasattr(trunk, "group_matcher"):
        raise InputError(
            f"{option('layer_decay')}: {type(trunk).__name__} of timm does not tell the order of its layers"
        )
    # what timm knows no place for comes last: one such name more, and the last block is never the last group
    named = [*trunk.named_parameters(), ("", None)]
    listed = SimpleNamespace(named_parameters=lambda: named)
    place: dict[str, int] = group_parameters(listed, trunk.group_matcher(), reverse=True)
    return {TRUNK + name: place[""] - layer for name, layer in place.items() if name}


def _is_sine_table(positions: Tensor) -> bool:
    """Whether the rows, after that of the class token, are sines and cosines of the same angles."""
    quarter = positions.shape[1] // 4
    with torch.no_grad():
        sine, cosine = positions[1:, :quarter], positions[1:, quarter : 2 * quarter]
        circle = sine.square() + cosine.square()
        return (
            quarter > 0 and not positions[0].any() and torch.allclose(circle, torch.ones_like(circle), atol=1e-2)
        )  # float16 files
