"""From a choice of model to what it is built from: configuration, weights file, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geomclip.encoders import foreign_code, hub, names, saved, sizes, towers
from geomclip.encoders.configuration import CONFIG_FILE, read_config
from geomclip.encoders.hf import adapters, images, tokens
from geomclip.encoders.hf import config as hf_config
from geomclip.encoders.hf import folder as hf_folder
from geomclip.encoders.hf.names import Row, rows_of
from geomclip.encoders.outside import equal_architecture
from geomclip.encoders.reasons import first_line
from geomclip.encoders.saved import Own
from geomclip.encoders.weights.contents import Contents, read_contents, read_raw
from geomclip.encoders.weights.fitting import candidates
from geomclip.encoders.weights.shards import SUFFIXES, USUAL, usual
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option

_LISTED = "; geomclip models lists them"
_NO_CONFIG = f", or keep the {hf_config.FILE} of transformers beside it"
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
    rows: tuple[Row, ...] = ()  # the names of the weights in transformers, where they are from there


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
    """Configuration and weights of a choice, these under open_clip's names whatever the layout of their file."""
    if choice.adapter is not None:
        return _adapter_recipe(choice, choice.adapter, cache_dir)
    recipe = _as_it_stands(choice, cache_dir)
    contents = recipe.contents
    if contents is None or not hf_folder.is_theirs(contents):
        return recipe
    what = recipe.arch if recipe.arch != "custom" else f"the configuration of {choice.model}"
    if not recipe.rows:
        rows = rows_of(towers.outline(recipe.model_cfg, where=choice.model).state_dict())
        if not rows:
            raise InputError(
                f"{contents.file}: is in the layout of transformers ({min(contents.shapes)}), "
                f"which has no model like {recipe.arch}"
            )
        recipe = replace(recipe, rows=rows)
    return replace(recipe, contents=hf_folder.converted(contents, recipe.rows, recipe.model_cfg, what))


def _as_it_stands(choice: names.Choice, cache_dir: Path | None) -> Recipe:
    """Configuration and weights of a choice; the metadata of the weights, where there are some, go first."""
    contents = None if choice.file is None else read_contents(choice.file)
    if contents is not None and hf_folder.is_theirs(contents):
        contents = replace(contents, metadata={})  # of an export: they describe open_clip's tensors
        if not choice.folder and not choice.repo and (beside := hf_folder.find(contents.file.parent)):
            return _transformers_recipe(choice, beside, contents)
    if contents is not None and contents.metadata:
        return _own_recipe(choice, contents, cache_dir)
    if contents is not None and not choice.folder and not choice.repo and _is_described(contents.file.parent):
        recipe = _folder_recipe(choice, contents.file.parent, contents)
        if not choice.arch or choice.arch == equal_architecture(recipe.model_cfg, first=choice.arch):
            return recipe
        note = f"{contents.file.parent / CONFIG_FILE} says what the model is: used in place of {choice.arch}"
        return replace(recipe, notes=(*recipe.notes, note))
    if choice.folder is not None:
        return _folder_recipe(choice, choice.folder, contents)
    if choice.repo:
        return _hub_recipe(choice, contents, cache_dir)
    if not choice.arch:
        assert contents is not None
        fits = ", ".join(candidates(contents)[:6])
        raise InputError(
            f"{contents.file}: does not say its architecture: give it with {option('arch')}"
            + (f"; its shapes fit {fits}" if fits else _LISTED if not hf_folder.is_theirs(contents) else _NO_CONFIG)
        )
    return _builtin_recipe(choice, contents, cache_dir)


def _is_described(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file()


def _own_recipe(choice: names.Choice, contents: Contents, cache_dir: Path | None = None) -> Recipe:
    own = saved.read_own(contents, cache_dir)
    notes: tuple[str, ...] = ()
    if choice.arch and choice.arch != own.arch:
        notes = (f"{contents.file.name} says it is {own.arch}: used in place of {choice.arch}",)
    return Recipe(own.model_cfg, own.preprocess_cfg, own.arch, own.tokenizer, own.contents, notes, own)


def _folder_recipe(choice: names.Choice, folder: Path, contents: Contents | None) -> Recipe:
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        if choice.model == names.DEMO:
            raise NotAvailableError(f"the demo model is not part of this installation ({folder} is absent)")
        if hf_folder.find(folder) is not None:
            return _transformers_recipe(choice, folder, contents)
        raise NotAvailableError(f"{config_file}: no such file")
    model_cfg, preprocess_cfg = read_config(config_file)
    if contents is None and not choice.random:
        contents = read_contents(_weights_in(folder))
        if contents.metadata:
            recipe = _own_recipe(choice, contents)
            named = recipe.model_cfg["text_cfg"].get("hf_tokenizer_name")
            return replace(recipe, tokenizer_source=str(folder) if named else "")
    arch = names.DEMO if choice.model == names.DEMO else "custom"
    source = str(folder) if model_cfg["text_cfg"].get("hf_tokenizer_name") else ""
    return Recipe(model_cfg, preprocess_cfg, arch, source, contents)


def _transformers_recipe(
    choice: names.Choice, folder: Path, contents: Contents | None, *, tokenizer: str = ""
) -> Recipe:
    """Of a folder of transformers; `arch` is open_clip's name where one of its configurations is equal."""
    found = hf_folder.read(folder, tokenizer=tokenizer)
    if contents is None and not choice.random:
        contents = replace(read_contents(hf_folder.weights_in(folder)), metadata={})
    equal = equal_architecture(found.model_cfg)
    arch, notes = equal or "custom", found.notes
    if choice.arch and choice.arch != arch:
        notes += (f"{hf_config.FILE} says what the model is: used in place of {choice.arch}",)
    source = str(folder) if found.model_cfg["text_cfg"].get("hf_tokenizer_name") else ""
    # in open_clip's own words where it has some, so that equal models have equal fingerprints
    model_cfg = towers.architecture_config(equal) if equal else found.model_cfg
    if settings := found.model_cfg["text_cfg"].get("tokenizer_kwargs"):
        model_cfg = {**model_cfg, "text_cfg": {**model_cfg["text_cfg"], "tokenizer_kwargs": settings}}
    return Recipe(model_cfg, found.preprocess_cfg, arch, source, contents, notes, rows=found.model.rows)


def _adapter_recipe(choice: names.Choice, folder: Path, cache_dir: Path | None) -> Recipe:
    """Of an adapter: its base, with the updates of the adapter in the weights."""
    adapter = adapters.read(folder)
    file = adapters.weights_of(folder)
    base = choice.base or adapter.base
    if not base:
        raise InputError(
            f"{adapter.file}: is an adapter that does not name its base: name it with {option('pretrained', 'FOLDER')}"
        )
    of = _base_choice(base, folder, cache_dir)
    if of.adapter is not None:
        raise InputError(f"{folder}: is an adapter of {base}, which is one itself: merge that first, with PEFT")
    try:
        recipe = _without_tokenizer(of, cache_dir)
    except NotAvailableError as error:
        raise NotAvailableError(
            f"{folder}: its base {base} is not here ({error}): name a copy of it for the adapter with "
            f"{option('pretrained', 'FOLDER')}"
        ) from error
    assert recipe.contents is not None  # no base is random
    if recipe.own is not None and recipe.own.shift_sha256:
        raise InputError(
            f"{folder}: is an adapter, and its base {base} moves its rows (method es), which is not merged"
        )
    contents = adapters.into(recipe.contents, recipe.rows, adapter, read_raw(file), base)
    return replace(recipe, contents=contents, own=None)


def _hub_recipe(choice: names.Choice, contents: Contents | None, cache_dir: Path | None) -> Recipe:
    config_file = hub.get(choice.repo, hub.CONFIG, cache_dir=cache_dir, what=choice.model)
    if config_file.name == hf_config.FILE:
        hf_config.read(config_file)  # before anything else is fetched
        folder = _fetched(choice, config_file.parent, contents is None and not choice.random, cache_dir)
        return _transformers_recipe(choice, folder, contents, tokenizer=choice.repo)
    model_cfg, preprocess_cfg = read_config(config_file)
    notes: tuple[str, ...] = ()
    if contents is None and not choice.random:
        file = hub.get(choice.repo, hub.WEIGHTS, cache_dir=cache_dir, what=choice.model)
        contents = read_contents(file)
        if names.needs_quick_gelu(choice) and not model_cfg.get("quick_gelu"):
            model_cfg["quick_gelu"] = True
            notes = (f"{choice.repo} was trained with QuickGELU, which its configuration does not say: used",)
    return Recipe(model_cfg, preprocess_cfg, "custom", "", contents, notes)


def _fetched(choice: names.Choice, folder: Path, weights: bool, cache_dir: Path | None) -> Path:
    """The folder of a repository of transformers with all in it that is read, fetched where it is not here."""
    wanted = (*images.FILES, *tokens.FILES, *tokens.SETTINGS)
    files = hub.those_there(choice.repo, wanted, cache_dir=cache_dir)
    if weights:
        file = hub.get(choice.repo, hf_folder.WEIGHTS, cache_dir=cache_dir, what=choice.model)
        files.append(file)
        if file.suffix == ".json":
            shards = hf_folder.shards(file)
            files += [hub.get(choice.repo, (name,), cache_dir=cache_dir, what=choice.model) for name in shards]
    apart = next((file for file in files if file.parent != folder), None)
    if apart is not None:
        raise InputError(f"{choice.model}: {apart} is of another revision than {folder}: fetch the repository anew")
    return folder


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):  # too long, a null byte
        return False


def _base_choice(base: str, adapter: Path, cache_dir: Path | None) -> names.Choice:
    """What the base of an adapter means: a place here, a repository that is on this machine, or a name."""
    marks = (CONFIG_FILE, adapters.FILE, hf_config.FILE, "best.safetensors", "model.safetensors")
    for place in (Path(base).expanduser(), adapter / base):
        if any(map(_is_file, (place, *(place / mark for mark in marks)))):
            return names.resolve(str(place.resolve()))
    if base.count("/") == 1 and hub.cached(base, hf_folder.WEIGHTS, cache_dir) is not None:
        return names.resolve(f"hf-hub:{base}")  # what it was trained on is here, in the layout of transformers
    try:
        return names.resolve(base)
    except InputError as error:
        if base.count("/") == 1 and "unknown model" in str(error):
            return names.resolve(f"hf-hub:{base}")
        raise InputError(
            f"{adapter}: is an adapter of {base!r}, which means no model here: name its base with "
            f"{option('pretrained', 'FOLDER')} ({error})"
        ) from error


def _builtin_recipe(choice: names.Choice, contents: Contents | None, cache_dir: Path | None) -> Recipe:
    model_cfg = towers.architecture_config(choice.arch)
    notes: tuple[str, ...] = ()
    if choice.tag:
        preprocess_cfg = towers.tag_config(choice.arch, choice.tag)
        if names.needs_quick_gelu(choice):
            model_cfg["quick_gelu"] = True
        contents = read_contents(tag_file(choice, preprocess_cfg, cache_dir))
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
    except (OSError, RuntimeError, NotAvailableError) as error:
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
        sizes.check_tokenizer(Path(recipe.tokenizer_source))
        settings = [Path(recipe.tokenizer_source) / name for name in foreign_code.SETTINGS]
    else:
        settings = hub.those_there(tokenizer, foreign_code.SETTINGS, cache_dir=cache_dir)
    for file in settings:
        foreign_code.refuse(file)
        sizes.check_tokenizer(file.parent)
    return recipe
