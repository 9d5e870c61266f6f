"""From a choice of model to what it is built from: configuration, weights file, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geomclip.encoders import foreign_code, hub, names, saved, towers
from geomclip.encoders.configuration import CONFIG_FILE, read_config
from geomclip.encoders.reasons import first_line
from geomclip.encoders.saved import Own
from geomclip.encoders.weights.contents import Contents, read_contents
from geomclip.encoders.weights.fitting import candidates
from geomclip.encoders.weights.shards import SUFFIXES, USUAL, usual
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json")


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


def recipe_of(choice: names.Choice, cache_dir: Path | None) -> Recipe:
    """Configuration, weights and tokenizer of a choice, fetched where they are not here; nothing is built.

    Raises
    ------
    InputError
        If a file is damaged or unsafe, or a weights file does not say its architecture.
    NotAvailableError
        If something is not here and cannot be fetched.
    """
    return _with_tokenizer(_without_tokenizer(choice, cache_dir), cache_dir, choice.model)


def _without_tokenizer(choice: names.Choice, cache_dir: Path | None) -> Recipe:
    """Configuration and weights of a choice; the metadata of the weights, where there are some, go first."""
    contents = None if choice.file is None else _contents(choice.file)
    if contents is not None and contents.metadata:
        return _own_recipe(choice, contents)
    if choice.folder is not None:
        return _folder_recipe(choice, choice.folder, contents)
    if choice.repo:
        return _hub_recipe(choice, contents, cache_dir)
    if not choice.arch:
        assert contents is not None
        fits = ", ".join(candidates(contents)[:6])
        raise InputError(
            f"{contents.file}: does not say its architecture: give it with {option('arch')}"
            + (f"; its shapes fit {fits}" if fits else "; geomclip models lists them")
        )
    return _builtin_recipe(choice, contents, cache_dir)


def _contents(file: Path) -> Contents:
    """What a weights file holds, in open_clip's layout."""
    contents = read_contents(file)
    if any(name.startswith(("vision_model.", "text_model.")) for name in contents.shapes):
        raise InputError(
            f"{file}: is in the layout of transformers, not of open_clip (it holds {min(contents.shapes)}): "
            "use the open_clip weights of the same model (geomclip models)"
        )
    return contents


def _own_recipe(choice: names.Choice, contents: Contents) -> Recipe:
    own = saved.read_own(contents)
    notes: tuple[str, ...] = ()
    if choice.arch and choice.arch != own.arch:
        notes = (f"{contents.file.name} says it is {own.arch}: used in place of {choice.arch}",)
    return Recipe(own.model_cfg, own.preprocess_cfg, own.arch, own.tokenizer, own.contents, notes, own)


def _folder_recipe(choice: names.Choice, folder: Path, contents: Contents | None) -> Recipe:
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        if choice.model == names.DEMO:
            raise NotAvailableError(f"the demo model is not part of this installation ({folder} is absent)")
        raise NotAvailableError(f"{config_file}: no such file")
    model_cfg, preprocess_cfg = read_config(config_file)
    if contents is None and not choice.random:
        contents = _contents(_weights_in(folder))
        if contents.metadata:
            recipe = _own_recipe(choice, contents)
            named = recipe.model_cfg["text_cfg"].get("hf_tokenizer_name")
            return replace(recipe, tokenizer_source=str(folder) if named else "")
    arch = names.DEMO if choice.model == names.DEMO else "custom"
    source = str(folder) if model_cfg["text_cfg"].get("hf_tokenizer_name") else ""
    return Recipe(model_cfg, preprocess_cfg, arch, source, contents)


def _hub_recipe(choice: names.Choice, contents: Contents | None, cache_dir: Path | None) -> Recipe:
    config_file = hub.get(choice.repo, hub.CONFIG, cache_dir=cache_dir, what=choice.model)
    model_cfg, preprocess_cfg = read_config(config_file)
    notes: tuple[str, ...] = ()
    if contents is None and not choice.random:
        file = hub.get(choice.repo, hub.WEIGHTS, cache_dir=cache_dir, what=choice.model)
        contents = _contents(file)
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
        contents = _contents(tag_file(choice, preprocess_cfg, cache_dir))
    else:
        preprocess_cfg, notes = _usual_preprocessing(choice.arch)
        if contents is not None and choice.arch + names.QUICK in towers.architectures():
            notes += (
                f"{contents.file.name} does not say its activation, GELU is assumed: if it was trained from "
                f"OpenAI's weights, name {choice.arch}{names.QUICK}",
            )
    return Recipe(model_cfg, preprocess_cfg, choice.arch, "", contents, notes)


def tag_file(choice: names.Choice, tag_config: Mapping[str, Any], cache_dir: Path | None) -> Path:
    """The weights file of one of open_clip's tags, fetched if it is not on this machine."""
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
            f"{what}: cannot be fetched ({first_line(error, 120)}): download {url} elsewhere and "
            f"place it at {folder / Path(url).name}, or give the file with {option('pretrained', 'FILE')}"
        ) from error


def _usual_preprocessing(arch: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the tags of an architecture agree on, for weights that do not say how they want their images."""
    keys = ("mean", "std", "interpolation", "resize_mode")
    known = [{k: towers.tag_config(arch, tag)[k] for k in keys} for tag in towers.tags().get(arch, ())]
    if not known or all(settings == known[0] for settings in known):
        return (known[0] if known else {}), ()
    return {}, (f"how {arch} wants its images differs between its weights: OpenAI's mean and std are assumed",)


def _weights_in(folder: Path) -> Path:
    preferred = usual(folder)
    if preferred is not None:
        return preferred
    found = sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES)
    if len(found) != 1:
        seen = f"several weights files ({', '.join(f.name for f in found[:4])})" if found else "no weights file"
        raise NotAvailableError(
            f"{folder}: has {seen}: name one of them {USUAL[0]}, or give {option('pretrained', 'FILE')}"
        )
    return found[0]


def _with_tokenizer(recipe: Recipe, cache_dir: Path | None, what: str) -> Recipe:
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
