"""What an encoder is described by, in open_clip's words: its configuration and its preprocessing, read and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geomclip.encoders import sizes
from geomclip.encoders.reasons import first_line
from geomclip.machine import limits, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.json_files import is_number

CONFIG_FILE = "open_clip_config.json"
CONTEXT_LENGTH = 77  # of a configuration that names none
TIMM_ARGUMENTS = "timm_model_args"  # in vision_cfg, ours: the sizes of a tower of timm, where open_clip has only names
UNCLEANED = {"clean": "none"}
"""Settings of a tokenizer to which texts go as they are: of models of transformers, which cleans none beforehand."""
_LEADS_ASIDE = {"tokenizer_type", "subfolder", "revision", "code_revision", "gguf_file"}  # in settings of a tokenizer


def read_config(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two parts of an open_clip_config.json: the model's configuration, checked, and its preprocessing.

    Raises
    ------
    InputError
        If it cannot be read, a part is absent or of another type, or a size is beyond its limit.
    """
    try:
        config = json.loads(regular.read(file, "config-bytes"))
    except InputError:
        raise
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {first_line(error, 100)}") from error
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise InputError(f"{file}: has no 'model_cfg': it is not an open_clip configuration")
    preprocess_cfg = config.get("preprocess_cfg") or {}
    if not isinstance(preprocess_cfg, dict):
        raise InputError(f"{file}: its 'preprocess_cfg' is not an object")
    model_cfg = checked_config(config["model_cfg"], str(file))
    sizes.check(model_cfg, str(file))
    return model_cfg, preprocess_cfg


def checked_config(model_cfg: Any, where: str) -> dict[str, Any]:
    """A copy of a configuration that can be handed to open_clip: the parts are there, and none runs code.

    Raises
    ------
    InputError
        If a part is absent or of another type, or the tokenizer's settings ask transformers to run code.
    """
    if not isinstance(model_cfg, dict):
        raise InputError(f"{where}: its 'model_cfg' is not an object")
    for key, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(model_cfg.get(key), kind):
            raise InputError(f"{where}: its 'model_cfg' has no {key!r} of type {kind.__name__}")
    settings = model_cfg["text_cfg"].get("tokenizer_kwargs") or {}
    if not isinstance(settings, dict) or settings.get("trust_remote_code"):
        raise InputError(f"{where}: its 'tokenizer_kwargs' ask to run code (trust_remote_code): refused")
    if aside := sorted(_LEADS_ASIDE & settings.keys()):
        raise InputError(f"{where}: its 'tokenizer_kwargs' lead to other files than are checked ({aside[0]}): refused")
    if ":" in str(model_cfg["vision_cfg"].get("timm_model_name") or ""):  # timm would read it from a folder or the hub
        raise InputError(f"{where}: its 'timm_model_name' leads to another folder or repository: refused")
    _check_timm_arguments(model_cfg["vision_cfg"].get(TIMM_ARGUMENTS, {}), where)
    return dict(model_cfg)


def _check_timm_arguments(arguments: Any, where: str) -> None:
    counts = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
    sound: dict[str, Callable[[Any], bool]] = {
        **{key: lambda v: type(v) is int and v > 0 for key in counts},
        "mlp_ratio": lambda v: is_number(v) and v > 0,
        "act_layer": lambda v: v in ("gelu", "gelu_tanh"),
        "norm_eps": lambda v: type(v) in (int, float) and 0 < v < 1,
    }
    if not isinstance(arguments, dict) or (arguments and arguments.keys() != sound.keys()):
        raise InputError(f"{where}: its {TIMM_ARGUMENTS!r} are not {', '.join(sound)}")
    for key, value in arguments.items():
        if not sound[key](value):
            raise InputError(f"{where}: its {TIMM_ARGUMENTS!r} have no sound {key!r}: {value!r:.60}")


def checked_preprocessing(settings: Any, where: str) -> dict[str, Any]:
    """A copy of preprocessing settings that are complete and in range, as `preprocessing` gives them.

    Raises
    ------
    InputError
        Naming the setting.
    """
    if not isinstance(settings, dict):
        raise InputError(f"{where}: its 'preprocess_cfg' is not an object")
    sound: dict[str, Callable[[Any], bool]] = {
        "size": lambda v: _numbers(v, 2) and all(isinstance(n, int) and 0 < n <= limits.most("image-side") for n in v),
        "mean": lambda v: _numbers(v, 3),
        "std": lambda v: _numbers(v, 3) and min(v) > 0,
        "interpolation": lambda v: v in ("bicubic", "bilinear", "random"),
        "resize_mode": lambda v: v in ("shortest", "longest", "squash"),
        "fill_color": lambda v: isinstance(v, int) and 0 <= v <= 255,
        "mode": lambda v: v == "RGB",
    }
    for key, test in sound.items():
        if key not in settings or not test(settings[key]):
            raise InputError(f"{where}: its 'preprocess_cfg' has no sound {key!r}: {settings.get(key)!r:.60}")
    return {key: settings[key] for key in sound}


def complete(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with every setting that it leaves to open_clip's defaults written out.

    Settings that decide no row of a model in use (whether a tower starts from weights of its own, patch
    dropout) are left out: two configurations are one model exactly where these are equal.
    """
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    own = dict(model_cfg["vision_cfg"])
    arguments = own.pop(TIMM_ARGUMENTS, None)
    vision = asdict(CLIPVisionCfg(**own)) | ({TIMM_ARGUMENTS: arguments} if arguments else {})
    text = asdict(CLIPTextCfg(**without_cleaning(model_cfg["text_cfg"])))
    for key in ("timm_model_pretrained", "patch_dropout", "timm_drop", "timm_drop_path"):
        del vision[key]
    del text["hf_model_pretrained"]
    settings = {"quick_gelu": False, "custom_text": False, "nonscalar_logit_scale": False, **model_cfg}
    biased = settings.pop("init_logit_bias", None) is not None
    settings.pop("init_logit_scale", None)
    return {**settings, "logit_bias": biased, "vision_cfg": vision, "text_cfg": text}


def without_cleaning(text_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a text tower without `UNCLEANED`, which open_clip has not and which is of no weights."""
    settings = text_cfg.get("tokenizer_kwargs") or {}
    if settings.get("clean") != UNCLEANED["clean"]:
        return dict(text_cfg)
    rest = {key: value for key, value in settings.items() if key != "clean"}
    plain = {key: value for key, value in text_cfg.items() if key != "tokenizer_kwargs"}
    return {**plain, "tokenizer_kwargs": rest} if rest else plain


def usual_preprocessing() -> dict[str, Any]:
    """What open_clip takes for weights that do not say how they want their images."""
    from open_clip.transform import PreprocessCfg

    return asdict(PreprocessCfg())


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(is_number, value))
