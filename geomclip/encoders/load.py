"""From the name of a model to an Encoder: built, filled with its weights, checked, in its precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders import hub, names, saved, towers
from geomclip.encoders.clip import PRECISIONS, Encoder, choose_precision
from geomclip.encoders.configuration import CONTEXT_LENGTH
from geomclip.encoders.hf import tokens
from geomclip.encoders.recipes import Recipe, recipe_of
from geomclip.encoders.weights.fitting import check_finite, compare, put_scale, weights_sha256
from geomclip.machine.devices import choose_device

RANDOM_NOTE = "random weights (seed {}): the numbers say nothing about a trained model"


def load_encoder(
    model: str = names.DEMO,
    *,
    pretrained: str | None = None,
    arch: str | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    cache_dir: Path | None = None,
    seed: int = 0,
    logit_scale: float | None = None,
) -> Encoder:
    """The encoder that a name means (README and `geomclip models` list the names), ready to use.

    Parameters
    ----------
    model : str
        A name, a folder or a weights file.
    pretrained : str, optional
        One of open_clip's tags, a weights file, "random" for weights drawn from `seed`, or the base of an adapter.
    arch : str, optional
        The open_clip configuration of a weights file that does not say its own.
    precision : str
        fp32, bf16, fp16 (on a GPU) or auto, the fastest for this machine.
    device : str
        cpu, cuda, cuda:N or auto.
    cache_dir : Path, optional
        Fetched weights go to `weights` in it. Left out: the hub's own cache.
    seed : int
        Of random weights; the global generator is not touched.
    logit_scale : float, optional
        1/temperature, for weights whose own is infinite, NaN or above 10,000; a usable one stays as it is.

    Raises
    ------
    InputError
        If the name means nothing, or a file is damaged, unsafe or of another architecture.
    NotAvailableError
        If weights, a package or a device are not here and cannot be fetched.
    """
    device = choose_device(device)
    precision = choose_precision(precision, device)
    choice = names.resolve(model, pretrained, arch)
    recipe = recipe_of(choice, cache_dir)
    filled = _filled(recipe, choice.model, seed, logit_scale)
    module = filled.module
    tokenizer = tokens.tokenizer(
        recipe.model_cfg,
        source=recipe.tokenizer_source,
        cache_dir=hub.cache_folder(cache_dir),
        where=choice.model,
    )
    encoder = Encoder(
        model=choice.model,
        pretrained=choice.pretrained,
        arch=recipe.arch,
        quick_gelu=bool(recipe.model_cfg.get("quick_gelu", False)),
        dim=int(recipe.model_cfg["embed_dim"]),
        context_length=int(recipe.model_cfg["text_cfg"].get("context_length", CONTEXT_LENGTH)),
        logit_scale=_number(module.logit_scale.exp()),  # type: ignore[operator]
        logit_bias=None if module.logit_bias is None else _number(module.logit_bias),
        weights_sha256=filled.weights_sha256,
        preprocessing=towers.preprocessing(module),
        precision="fp32",
        device="cpu",
        notes=recipe.notes + filled.notes,
        module=module,
        model_cfg=recipe.model_cfg,
        tokenizer=tokenizer,
        tokenizer_source=recipe.tokenizer_source,
        shift=filled.shift,
        finetuned=recipe.own.finetuned if recipe.own is not None else {},
    )
    return _placed(encoder, precision, device)


@dataclass(frozen=True)
class Filled:
    """Towers with their weights in them."""

    module: torch.nn.Module
    weights_sha256: str
    notes: tuple[str, ...] = ()
    shift: Tensor | None = None


def _filled(recipe: Recipe, what: str, seed: int, logit_scale: float | None) -> Filled:
    """Build, check and load; a checkpoint of ours is compared with its architecture before that is built."""
    if recipe.own is not None:
        saved.fits(recipe.own)
    module = towers.build(recipe.model_cfg, recipe.preprocess_cfg, seed=seed, where=what)
    if recipe.own is not None:
        sha256, shift = saved.fill(module, recipe.own)
        return Filled(module, sha256, shift=shift)
    if recipe.contents is None:
        notes: tuple[str, ...] = (RANDOM_NOTE.format(seed),)
    else:
        notes = recipe.contents.notes + compare(recipe.contents, module, recipe.arch)
        towers.load_into(module, recipe.contents)
    where = what if recipe.contents is None else str(recipe.contents.file)
    sha256 = weights_sha256(module.state_dict())  # of the weights as they are in the file
    notes += put_scale(module, where, logit_scale)
    check_finite(module, where)
    return Filled(module, sha256, notes)


def _placed(encoder: Encoder, precision: str, device: str) -> Encoder:
    """The encoder on its device and in its precision, with a note on what a lower precision changes."""
    if (precision, device) == ("fp32", "cpu"):
        return encoder
    on_device = replace(encoder, device=device, module=encoder.module.to(device))
    if precision == "fp32":
        return on_device
    exact = _probe(on_device)
    lower = replace(on_device, precision=precision, module=on_device.module.to(PRECISIONS[precision]))
    drift = float((_probe(lower) - exact).abs().max())
    note = f"{precision}: cosines of a probe of 2 images and 4 texts move by up to {drift:.1e} from fp32"
    return replace(lower, notes=(*encoder.notes, note))


def _probe(encoder: Encoder) -> Tensor:
    """Cosines (2, 4) of two fixed noise images and four fixed texts."""
    pixels = torch.randn(2, 3, *encoder.preprocessing["size"], generator=torch.Generator().manual_seed(0))
    tokens, _ = encoder.tokenize(["a photo of a dog", "two red buses", "a diagram", "rain"])
    image, text = encoder.encode_image(pixels), encoder.encode_text(tokens)
    unit = torch.nn.functional.normalize
    return unit(image, dim=1) @ unit(text, dim=1).T


def _number(value: Any) -> float:
    return float(value.detach().reshape(()))
