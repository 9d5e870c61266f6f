"""From a choice of model to an Encoder: configuration, weights, checks, precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders import checkpoint, foreign_code, hub, names, saved, towers
from geomclip.encoders.checkpoint import Contents
from geomclip.encoders.clip import PRECISIONS, Encoder, choose_precision
from geomclip.encoders.saved import Own
from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError, NotAvailableError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json")
RANDOM_NOTE = "random weights (seed {}): the numbers say nothing about a trained model"


@dataclass(frozen=True)
class Recipe:
    """What an encoder is built from."""

    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any]
    arch: str
    tokenizer_source: str = ""
    contents: Contents | None = None  # None: random weights
    notes: tuple[str, ...] = ()
    own: Own | None = None  # of a checkpoint of geomclip


def load_encoder(
    model: str = names.DEMO,
    *,
    pretrained: str | None = None,
    arch: str | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    cache_dir: Path | None = None,
    seed: int = 0,
) -> Encoder:
    """The encoder that a name means (README and `geomclip models` list the names), ready to use.

    Parameters
    ----------
    model : str
        A name, a folder or a weights file.
    pretrained : str, optional
        One of open_clip's tags, a weights file, or "random" for weights drawn from `seed`.
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
    recipe = _with_parts(_recipe(choice, cache_dir), cache_dir, choice.model)
    filled = _filled(recipe, choice.model, seed)
    module = filled.module
    tokenizer = towers.tokenizer(
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
        context_length=int(recipe.model_cfg["text_cfg"].get("context_length", towers.CONTEXT_LENGTH)),
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


def _filled(recipe: Recipe, what: str, seed: int) -> Filled:
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
        notes = checkpoint.compare(recipe.contents, module, recipe.arch)
        towers.load_into(module, recipe.contents.file)
        checkpoint.check_finite(module, str(recipe.contents.file))
    return Filled(module, checkpoint.weights_sha256(module.state_dict()), notes)


def _recipe(choice: names.Choice, cache_dir: Path | None) -> Recipe:
    """Configuration and weights of a choice; the metadata of the weights, where there are some, go first."""
    contents = None if choice.file is None else checkpoint.read_contents(choice.file)
    if contents is not None and contents.metadata:
        return _own_recipe(choice, contents)
    if choice.folder is not None:
        return _folder_recipe(choice, choice.folder, contents)
    if choice.repo:
        return _hub_recipe(choice, contents, cache_dir)
    if not choice.arch:
        assert contents is not None
        fits = ", ".join(checkpoint.candidates(contents)[:6])
        raise InputError(
            f"{contents.file}: does not say its architecture: give it with --arch"
            + (f"; its shapes fit {fits}" if fits else "; geomclip models lists them")
        )
    return _builtin_recipe(choice, contents, cache_dir)


def _with_parts(recipe: Recipe, cache_dir: Path | None, what: str) -> Recipe:
    """Make sure of a tokenizer of transformers, whose own failures take minutes offline, and that it runs no code."""
    tokenizer = recipe.model_cfg["text_cfg"].get("hf_tokenizer_name")
    if not tokenizer:
        return recipe
    if not recipe.tokenizer_source:
        file = hub.get(tokenizer, TOKENIZER_FILES, cache_dir=cache_dir, what=f"the tokenizer of {what}")
        if hub.placed_by_hand(file, tokenizer, cache_dir):
            recipe = replace(recipe, tokenizer_source=str(file.parent))
    if recipe.tokenizer_source:
        settings = [Path(recipe.tokenizer_source) / name for name in foreign_code.SETTINGS]
    else:
        settings = hub.those_there(tokenizer, foreign_code.SETTINGS, cache_dir=cache_dir)
    for file in settings:
        foreign_code.refuse(file)
    return recipe


def _own_recipe(choice: names.Choice, contents: Contents) -> Recipe:
    own = saved.read_own(contents)
    notes: tuple[str, ...] = ()
    if choice.arch and choice.arch != own.arch:
        notes = (f"{contents.file.name} says it is {own.arch}: used in place of {choice.arch}",)
    return Recipe(own.model_cfg, own.preprocess_cfg, own.arch, own.tokenizer, own.contents, notes, own)


def _folder_recipe(choice: names.Choice, folder: Path, contents: Contents | None) -> Recipe:
    config_file = folder / towers.CONFIG_FILE
    if not config_file.is_file():
        if choice.model == names.DEMO:
            raise NotAvailableError(f"the demo model is not part of this installation ({folder} is absent)")
        raise NotAvailableError(f"{config_file}: no such file")
    model_cfg, preprocess_cfg = _read_config(config_file)
    if contents is None and not choice.random:
        contents = checkpoint.read_contents(_weights_in(folder))
        if contents.metadata:
            recipe = _own_recipe(choice, contents)
            named = recipe.model_cfg["text_cfg"].get("hf_tokenizer_name")
            return replace(recipe, tokenizer_source=str(folder) if named else "")
    arch = names.DEMO if choice.model == names.DEMO else "custom"
    source = str(folder) if model_cfg["text_cfg"].get("hf_tokenizer_name") else ""
    return Recipe(model_cfg, preprocess_cfg, arch, source, contents)


def _hub_recipe(choice: names.Choice, contents: Contents | None, cache_dir: Path | None) -> Recipe:
    config_file = hub.get(choice.repo, hub.CONFIG, cache_dir=cache_dir, what=choice.model)
    model_cfg, preprocess_cfg = _read_config(config_file)
    notes: tuple[str, ...] = ()
    if contents is None and not choice.random:
        file = hub.get(choice.repo, hub.WEIGHTS, cache_dir=cache_dir, what=choice.model)
        contents = checkpoint.read_contents(file)
        if names.needs_quick_gelu(choice) and not model_cfg.get("quick_gelu"):
            model_cfg["quick_gelu"] = True
            notes = (f"{choice.repo} was trained with QuickGELU, which its configuration does not say: used",)
    return Recipe(model_cfg, preprocess_cfg, "custom", "", contents, notes)


def _builtin_recipe(choice: names.Choice, contents: Contents | None, cache_dir: Path | None) -> Recipe:
    model_cfg = towers.architecture_config(choice.arch)
    notes: tuple[str, ...] = ()
    if choice.tag:
        preprocess_cfg = towers.tag_config(choice.arch, choice.tag)
        if names.needs_quick_gelu(choice):
            model_cfg["quick_gelu"] = True
        contents = checkpoint.read_contents(_tag_file(choice, preprocess_cfg, cache_dir))
    else:
        preprocess_cfg, notes = _usual_preprocessing(choice.arch)
        if contents is not None and choice.arch + names.QUICK in towers.architectures():
            notes += (
                f"{contents.file.name} does not say its activation, GELU is assumed: if it was trained from "
                f"OpenAI's weights, name {choice.arch}{names.QUICK}",
            )
    return Recipe(model_cfg, preprocess_cfg, choice.arch, "", contents, notes)


def _tag_file(choice: names.Choice, tag_config: Mapping[str, Any], cache_dir: Path | None) -> Path:
    what = f"the weights of {choice.model}:{choice.tag}"
    if tag_config.get("hf_hub"):
        organisation, repository, *path = tag_config["hf_hub"].split("/")
        file = "/".join(path)
        # a pickle is asked for under the name of its safe twin first, as open_clip does
        wanted = (str(Path(file).with_suffix(".safetensors")), file) if file else hub.WEIGHTS
        return hub.get(f"{organisation}/{repository}", wanted, cache_dir=cache_dir, what=what)
    url = tag_config["url"]
    folder = hub.cache_folder(cache_dir)
    try:
        return towers.fetch_url(url, folder)
    except (OSError, RuntimeError) as error:
        raise NotAvailableError(
            f"{what}: cannot be fetched ({towers.first_line(error, 120)}): download {url} elsewhere and "
            f"place it at {folder / Path(url).name}, or give the file with --pretrained FILE"
        ) from error


def _usual_preprocessing(arch: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the tags of an architecture agree on, for weights that do not say how they want their images."""
    keys = ("mean", "std", "interpolation", "resize_mode")
    known = [{k: towers.tag_config(arch, tag)[k] for k in keys} for tag in towers.tags().get(arch, ())]
    if not known or all(settings == known[0] for settings in known):
        return (known[0] if known else {}), ()
    return {}, (f"how {arch} wants its images differs between its weights: OpenAI's mean and std are assumed",)


def _read_config(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {towers.first_line(error, 100)}") from error
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise InputError(f"{file}: has no 'model_cfg': it is not an open_clip configuration")
    preprocess_cfg = config.get("preprocess_cfg") or {}
    if not isinstance(preprocess_cfg, dict):
        raise InputError(f"{file}: its 'preprocess_cfg' is not an object")
    return towers.checked_config(config["model_cfg"], str(file)), preprocess_cfg


def _weights_in(folder: Path) -> Path:
    preferred = [
        *hub.WEIGHTS,
        "open_clip_pytorch_model.safetensors",
        "model.safetensors",
        "pytorch_model.bin",
    ]
    for name in preferred:
        if (folder / name).is_file():
            return folder / name
    found = sorted(f for f in folder.iterdir() if f.suffix in checkpoint.SUFFIXES)
    if len(found) != 1:
        seen = f"several weights files ({', '.join(f.name for f in found[:4])})" if found else "no weights file"
        raise NotAvailableError(f"{folder}: has {seen}: name one of them {preferred[0]}, or give --pretrained FILE")
    return found[0]


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
