"""LoRA: low-rank adapters (Hu et al. 2021) on the linear layers of both towers, made by peft, merged at the end.

peft adapts modules that are called. Attention often is not: `nn.MultiheadAttention` and open_clip's own keep the
projections of query, key and value in one bare parameter, and these, the attention pooling of the OpenAI ResNets,
BEiT and EVA hand the *weight* of their linear layers to a function. peft's wrapper for `nn.MultiheadAttention`
replaces its weights in every forward pass and takes the change off again afterwards, which moves the frozen
weights by a rounding error each time, puts the parameters in another order, and leaves the other cases without
gradient. So a packed parameter is first given a linear layer of its own, and an adapter here answers for its
weight too: base plus low-rank product, whoever asks. The base is never written to.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option
from geomclip.training.parameters import JOINT, head_names, tower_of

PACKED = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""Bare parameters of attention modules that are the weight of a linear layer."""
ADAPTER = "default"  # peft's name for the only one


def adapt(module: nn.Module, rank: int, alpha: float = 0.0, seed: int = 0, *, with_heads: bool = False) -> nn.Module:
    """A copy of open_clip's towers with adapters, that gives the same rows until it is trained.

    Every linear layer of both towers gets one, except the projections to the joint space: attention and MLP of
    transformers of all kinds. Convolutions get none: of an OpenAI ResNet that leaves query, key and value of its
    attention pooling, of a ConvNeXt the MLPs, of some timm networks nothing (`trained` tells how much). Adapters
    and, where they learned before, the logit scale and bias learn; the rest is frozen and shares its memory with
    `module`, which stays as it is.

    Parameters
    ----------
    module : nn.Module
    rank : int
        Of the update of each layer, at least 1.
    alpha : float
        Updates are scaled by alpha / rank; 0: twice the rank.
    seed : int
        Of the adapters' first factors (the second are zero); the global generator is left alone.
    with_heads : bool
        Let the projections to the joint space learn too, as LP-FT needs.

    Raises
    ------
    NotAvailableError
        If peft is not installed.
    InputError
        If neither tower has a linear layer to adapt.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    peft = _peft()
    own = {*JOINT, *(head_names(module) if with_heads else ())}
    adapted = _twin(module, own)
    for attention in list(adapted.modules()):
        _unpack(attention)
    names = adaptable(adapted)
    if not names:
        raise InputError(f"{option('lora')}: neither tower of this model has a linear layer to adapt")
    # one pattern that matches whole names: a list would match every name that ends so
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules="|".join(map(re.escape, names)),
    )
    config._register_custom_module({nn.Linear: adapter_class()})  # peft's documented way to bring a layer of one's own
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # adapters are drawn on the CPU
        peft.inject_adapter_in_model(config, adapted, adapter_name=ADAPTER)
    del adapted.peft_config
    for name, parameter in module.named_parameters():
        if name in own:
            adapted.get_parameter(name).requires_grad_(parameter.requires_grad)
    return adapted


def merged(module: nn.Module) -> nn.Module:
    """The adapted module as a plain one: the names, the order and the classes of the module it was made from.

    In eval mode and frozen, as models are loaded. What is frozen in `module` shares its memory with it; `module`
    stays as it is.
    """
    plain = _twin(module, {name for name, each in module.named_parameters() if each.requires_grad})
    for parent, name, adapter in list(_adapters(plain)):
        base = adapter.get_base_layer()
        base.weight = nn.Parameter(adapter.weight.detach())
        setattr(parent, name, base)
    for attention in list(plain.modules()):
        _pack(attention)
    return plain.eval().requires_grad_(False)


def adaptable(module: nn.Module) -> list[str]:
    """Names of the linear layers of both towers that are no projection to the joint space."""
    heads = {name.rpartition(".")[0] for name in head_names(module)}
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and tower_of(f"{name}.weight") and name not in heads
    ]


def _peft() -> Any:
    """The package, which takes seconds to import and is optional."""
    try:
        import peft
        import peft.tuners.lora
    except ModuleNotFoundError as error:
        if error.name == "peft":
            raise NotAvailableError(f"{option('lora')} needs the peft package: pip install 'geomclip[lora]'") from error
        raise
    except ImportError as error:  # peft and transformers of different times
        raise NotAvailableError(f"{option('lora')}: {error}: pip install --upgrade 'geomclip[lora]'") from error
    return peft


def _twin(module: nn.Module, own: Collection[str]) -> nn.Module:
    """A copy with modules, buffers and these parameters of its own; the others share their memory."""
    shared = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for name, parameter in module.named_parameters()
        if name not in own
    }
    return copy.deepcopy(module, shared)


def _adapters(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Every adapter, with its parent and its name there."""
    kind = adapter_class()
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, kind):
                yield parent, name, child


@functools.cache
def adapter_class() -> type[nn.Module]:
    """The class of the adapters; made when peft is first needed."""
    lora = _peft().tuners.lora

    class Adapter(lora.Linear):  # type: ignore[misc,name-defined]
        """peft's adapter of a linear layer, whose weight can be used as well as the layer be called."""

        @property
        def weight(self) -> Tensor:
            """Base plus update, differentiable by the adapter's factors."""
            update: Tensor = self.lora_B[ADAPTER].weight @ self.lora_A[ADAPTER].weight
            return self.get_base_layer().weight + self.scaling[ADAPTER] * update

    return Adapter


def _unpack(attention: nn.Module) -> None:
    """Move packed weights into linear layers, which the module's own code keeps reading under the old names."""
    names = tuple(name for name in PACKED if attention._parameters.get(name) is not None)
    for name in names:
        weight = attention._parameters[name]
        assert weight is not None
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = weight
        attention._parameters[name] = None  # its place in the order of names is kept
        attention.add_module(_layer_of(name), layer)
    if names:
        attention.__class__ = _unpacked_class(type(attention), names)  # type: ignore[arg-type]  # a class is hashable


def _pack(attention: nn.Module) -> None:
    """Undo `_unpack`."""
    if isinstance(attention, _Unpacked):
        for name in attention.unpacked:
            layer = attention._modules.pop(_layer_of(name))
            assert layer is not None
            attention._parameters[name] = layer._parameters["weight"]
        attention.__class__ = type(attention).__mro__[2]


class _Unpacked:
    """Marks an attention module that reads its packed weights from linear layers."""

    unpacked: tuple[str, ...] = ()


@functools.cache
def _unpacked_class(original: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    def weight_of(layer: str) -> property:
        return property(lambda self: self._modules[layer].weight)

    members: dict[str, Any] = {name: weight_of(_layer_of(name)) for name in names}
    return type(f"Unpacked{original.__name__}", (_Unpacked, original), {**members, "unpacked": names})


def _layer_of(packed: str) -> str:
    """The name of the linear layer that holds a packed weight."""
    return packed.removesuffix("_weight")
