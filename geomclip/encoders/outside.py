"""How an encoder is had outside geomclip: its names there, and the line that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.encoders import names, towers
from geomclip.encoders.clip import Encoder
from geomclip.encoders.configuration import TIMM_ARGUMENTS, complete, usual_preprocessing
from geomclip.machine.errors import GeomclipError
from geomclip.machine.words import option


def open_clip_name(encoder: Encoder) -> str | None:
    """The ARCH with which `open_clip.create_model(ARCH, pretrained=FILE)` builds this encoder from its file.

    None where open_clip has no configuration of its own that is equal in every setting, activation and context
    length included, or the encoder has a shift, which open_clip cannot apply.
    """
    if encoder.shift is not None:
        return None
    return equal_architecture(encoder.model_cfg, first=encoder.arch)


def equal_architecture(model_cfg: Mapping[str, Any], first: str = "") -> str | None:
    """The name of the configuration of open_clip's own that is equal in every setting; `first` is tried first."""
    own = complete(model_cfg)
    known = towers.architectures()
    for arch in [*([first] if first in known else []), *known]:
        settings = towers.architecture_config(arch)
        if settings["embed_dim"] == own["embed_dim"] and complete(settings) == own:
            return arch
    return None


def how_to_load(encoder: Encoder, file: Path) -> str:
    """One line: how to use a checkpoint outside geomclip.

    For an architecture that open_clip has, the call that loads the file, with the preprocessing where it is not
    open_clip's default; for others, the export that makes a folder of it.
    """
    if encoder.shift is not None:
        return f"the shift of method es is applied by geomclip alone: {option('model', str(file))}"
    if TIMM_ARGUMENTS in encoder.model_cfg["vision_cfg"]:  # a tower to which open_clip has no name
        return f"for transformers: geomclip export {file} --to hf --out FOLDER"
    arch, usual = open_clip_name(encoder), usual_preprocessing()
    padded = encoder.preprocessing["resize_mode"] == "longest"
    if arch is None or (padded and encoder.preprocessing["fill_color"] != usual["fill_color"]):
        # the colour of padding is the one setting that open_clip takes from a folder and from no argument
        return f"for open_clip: geomclip export {file} --to openclip --out FOLDER"
    flags = {"mean": "image_mean", "std": "image_std", "interpolation": "image_interpolation"}
    flags["resize_mode"] = "image_resize_mode"
    own = {key: tuple(v) if isinstance(v, list) else v for key, v in encoder.preprocessing.items()}
    more = "".join(f", {flag}={own[key]!r}" for key, flag in flags.items() if own[key] != usual[key])
    return f"in open_clip: open_clip.create_model_and_transforms({arch!r}, pretrained={str(file)!r}{more})"


def base_repository(made: Mapping[str, Any]) -> str:
    """The hub repository of the published weights that an encoder is or came from; "" where there is none.

    Parameters
    ----------
    made : mapping
        What `Encoder.made_from` gives, of which "model", "pretrained" and "finetuned" are read.

    Examples
    --------
    >>> base_repository({"model": "ViT-B/32"}), base_repository({"model": "hf-hub:org/repo"})
    ('openai/clip-vit-base-patch32', 'org/repo')
    >>> base = {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    >>> base_repository({"model": "run", "finetuned": {"base": base}})
    'laion/CLIP-ViT-B-32-laion2B-s34B-b79K'
    """
    history = made.get("finetuned")
    if isinstance(history, Mapping):
        base = history.get("base")
        return base_repository(base) if isinstance(base, Mapping) else ""
    try:
        choice = names.resolve(str(made.get("model") or ""), str(made.get("pretrained") or "") or None)
    except GeomclipError:  # a file or folder that is not here any more, or a name that means nothing
        return ""
    if choice.repo or choice.random or not choice.tag:
        return "" if choice.random else choice.repo
    twins = {twin: name for name, twin in names.TWINS.items()}
    plain = choice.arch.removesuffix(names.QUICK)
    known = str(towers.tag_config(choice.arch, choice.tag).get("hf_hub", "")).strip("/")
    return twins.get(f"{plain}:{choice.tag}") or "/".join(known.split("/")[:2])
