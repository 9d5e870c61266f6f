"""A fine-tuned model for other tools: a folder of open_clip, or one of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from geomclip.encoders import Encoder, load_encoder
from geomclip.encoders.configuration import CONFIG_FILE, TIMM_ARGUMENTS, complete, without_cleaning
from geomclip.encoders.hf.images import RESAMPLE
from geomclip.encoders.hf.names import Renamed, rows_of
from geomclip.encoders.hf.tokens import VOCABULARY, write_openai
from geomclip.encoders.saved import SHIFT, metadata_of, write_safetensors
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_folder, atomic_json, atomic_write
from geomclip.machine.places import shown
from geomclip.machine.words import option

FORMATS = ("openclip", "hf")
OPEN_CLIP_WEIGHTS, OWN_WEIGHTS = "open_clip_model.safetensors", "model.safetensors"
_RESAMPLE = {**{name: number for number, name in RESAMPLE.items()}, "random": 3}  # open_clip draws none at inference


def export(model: str, to: str, out: str | Path, *, arch: str | None = None, cache_dir: Path | None = None) -> str:
    """Write a model as a folder that another library loads; the line of Python that loads it is returned.

    Parameters
    ----------
    model : str
        A checkpoint, a run folder, or any other name of a model.
    to : str
        "openclip": a folder for `open_clip.create_model_and_transforms("local-dir:OUT")`, of any model.
        "hf": a folder for `transformers.CLIPModel.from_pretrained(OUT)`, of the towers that class has (OpenAI's
        ViT), or of `SiglipModel` for a model that was read from one. Same encodings of the same pixels and tokens,
        up to rounding; texts are cleaned in transformers' own way, and images
        resized so unless its PIL backend is used.
    out : path
        A new or empty folder; it is written whole or not at all.
    arch, cache_dir
        As `geomclip.encoders.load_encoder` takes them.

    Raises
    ------
    InputError
        If the model cannot be loaded or cannot be expressed there, or `out` holds something.
    """
    if to not in FORMATS:
        raise InputError(f"{option('to')} {to!r}: use one of {', '.join(FORMATS)}")
    out = Path(out).expanduser()
    if out.is_dir() and any(out.iterdir()):  # before the work; atomic_folder has the last word
        raise InputError(f"{out} is there already: name a new or empty folder")
    encoder = load_encoder(model, arch=arch, cache_dir=cache_dir)
    if encoder.shift is not None:
        raise InputError(
            f"{model}: moves its rows along the gap after encoding (method es), which neither open_clip nor "
            "transformers can do: use it through geomclip, or export the model it was made from"
        )
    write = {"openclip": _write_openclip, "hf": _write_hf}[to]
    write(encoder, out)
    if to == "openclip":
        return f"open_clip.create_model_and_transforms({f'local-dir:{out}'!r})"
    return f"transformers.{_class_of(encoder)}.from_pretrained({str(out)!r})"


def _class_of(encoder: Encoder) -> str:
    """The class of transformers: SigLIP models that came from there go back there."""
    return "SiglipModel" if TIMM_ARGUMENTS in encoder.model_cfg["vision_cfg"] else "CLIPModel"


def _write_openclip(encoder: Encoder, out: Path) -> None:
    """The layout that open_clip reads from a folder and from the hub."""
    if TIMM_ARGUMENTS in encoder.model_cfg["vision_cfg"]:
        raise InputError(
            f"{encoder.model}: has an image tower of SigLIP as transformers builds it, to which open_clip has no name: "
            f"use {option('to', 'hf')}"
        )
    with atomic_folder(out) as folder:
        model_cfg = {**encoder.model_cfg, "text_cfg": without_cleaning(encoder.model_cfg["text_cfg"])}
        config = {"model_cfg": _written(model_cfg), "preprocess_cfg": dict(encoder.preprocessing)}
        atomic_json(folder / CONFIG_FILE, config)
        _write_weights(folder / OPEN_CLIP_WEIGHTS, encoder.module.state_dict(), metadata_of(encoder))
        if encoder.model_cfg["text_cfg"].get("hf_tokenizer_name"):
            encoder.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]  # open_clip's HFTokenizer


def _written(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the place of its tokenizer, which is written beside it; open_clip needs all others."""
    text = dict(model_cfg["text_cfg"])
    if text.get("hf_tokenizer_name"):
        text["hf_tokenizer_name"] = shown(text["hf_tokenizer_name"])
    return {**model_cfg, "text_cfg": text}


def _write_hf(encoder: Encoder, out: Path) -> None:
    config = siglip_config(encoder) if _class_of(encoder) == "SiglipModel" else hf_config(encoder)
    processor = hf_processor(encoder)
    with atomic_folder(out) as folder:
        atomic_json(folder / "config.json", config)
        # transformers refuses a file that does not name its framework
        _write_weights(folder / "model.safetensors", hf_state(encoder), {"format": "pt", **metadata_of(encoder)})
        atomic_json(folder / "preprocessor_config.json", processor)
        if encoder.model_cfg["text_cfg"].get("hf_tokenizer_name"):
            encoder.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]  # open_clip's HFTokenizer
        else:
            write_openai(folder, encoder.context_length)


def file_on_the_hub(encoder: Encoder) -> str:
    """What `write_for_hub` calls the file of the weights."""
    return OPEN_CLIP_WEIGHTS if encoder.shift is None else OWN_WEIGHTS


def write_for_hub(encoder: Encoder, out: Path) -> None:
    """Write the weights of an encoder as a new folder in open_clip's layout; one with a shift as a checkpoint of ours.

    The metadata say what the encoder does: an encoder without a `finetuned` has none.
    """
    if encoder.shift is None:
        _write_openclip(encoder, out)
        return
    with atomic_folder(out) as folder:
        state = {**encoder.module.state_dict(), SHIFT: encoder.shift.float()}
        _write_weights(folder / OWN_WEIGHTS, state, metadata_of(encoder))


def _write_weights(file: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    with atomic_write(file) as out:
        write_safetensors(out, state, metadata)


def hf_config(encoder: Encoder) -> dict[str, Any]:
    """The `config.json` of transformers' CLIPModel for this encoder.

    Raises
    ------
    InputError
        If a setting of the encoder has no counterpart there; the message names it.
    """
    settings = complete(encoder.model_cfg)
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    _refuse_what_clip_model_lacks(encoder, settings)
    activation = "quick_gelu" if settings["quick_gelu"] else "gelu"

    def tower(part: Mapping[str, Any], heads: int) -> dict[str, Any]:
        return {
            "hidden_size": part["width"],
            "intermediate_size": int(part["width"] * part["mlp_ratio"]),
            "num_hidden_layers": part["layers"],
            "num_attention_heads": heads,
            "hidden_act": activation,
            "layer_norm_eps": (part["norm_kwargs"] or {}).get("eps", 1e-5),
            "projection_dim": encoder.dim,
        }

    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": encoder.dim,
        "logit_scale_init_value": math.log(encoder.logit_scale),
        "torch_dtype": "float32",
        "vision_config": {
            "model_type": "clip_vision_model",
            **tower(vision, vision["width"] // vision["head_width"]),
            "image_size": encoder.preprocessing["size"][0],
            "patch_size": vision["patch_size"],
        },
        "text_config": {
            "model_type": "clip_text_model",
            **tower(text, text["heads"]),
            "max_position_embeddings": encoder.context_length,
            "vocab_size": VOCABULARY,
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
            "pad_token_id": VOCABULARY - 1,
        },
    }


def siglip_config(encoder: Encoder) -> dict[str, Any]:
    """The `config.json` of transformers' SiglipModel for an encoder that was read from one."""
    text = complete(encoder.model_cfg)["text_cfg"]
    arguments = encoder.model_cfg["vision_cfg"][TIMM_ARGUMENTS]

    def tower(width: int, ratio: float, layers: int, heads: int, eps: float, tanh: bool) -> dict[str, Any]:
        return {
            "hidden_size": width,
            "intermediate_size": int(width * ratio),
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "layer_norm_eps": eps,
            "hidden_act": "gelu_pytorch_tanh" if tanh else "gelu",
        }

    eps = (text["norm_kwargs"] or {}).get("eps", 1e-5)
    return {
        "architectures": ["SiglipModel"],
        "model_type": "siglip",
        "torch_dtype": "float32",
        "vision_config": {
            "model_type": "siglip_vision_model",
            **tower(
                arguments["embed_dim"],
                arguments["mlp_ratio"],
                arguments["depth"],
                arguments["num_heads"],
                arguments["norm_eps"],
                arguments["act_layer"] == "gelu_tanh",
            ),
            "image_size": arguments["img_size"],
            "patch_size": arguments["patch_size"],
        },
        "text_config": {
            "model_type": "siglip_text_model",
            **tower(text["width"], text["mlp_ratio"], text["layers"], text["heads"], eps, bool(text["act_kwargs"])),
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "projection_size": encoder.dim,
        },
    }


def _refuse_what_clip_model_lacks(encoder: Encoder, settings: Mapping[str, Any]) -> None:
    """Every setting must be one that CLIPModel has too, or have the value that CLIPModel is built for."""
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    square = len(set(encoder.preprocessing["size"])) == 1
    blocks = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
    plain: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        **{name: lambda part, name=name: not part[name] for name in blocks},  # type: ignore[misc]
        "block_type": lambda part: part["block_type"] in (None, "default"),
        "ls_init_value": lambda part: part["ls_init_value"] is None,
        "act_kwargs": lambda part: not part["act_kwargs"],
        "norm_kwargs": lambda part: set(part["norm_kwargs"] or ()) <= {"eps"},
        "output_tokens": lambda part: not part["output_tokens"],
    }
    found = {
        "a tower of timm": bool(vision["timm_model_name"]),
        "a residual network": isinstance(vision["layers"], list | tuple),
        "a text tower of transformers": bool(text["hf_model_name"]),
        "a caption decoder": "multimodal_cfg" in settings,
        "a logit bias": settings["logit_bias"],
        "an image that is not square": not square,
        "attentional pooling": bool(vision["attentional_pool"]),
        "no norm before the transformer": vision["no_ln_pre"],
        f"image pooling {vision['pool_type']!r}": vision["pool_type"] != "tok",
        f"text pooling {text['pool_type']!r}": text["pool_type"] != "argmax"
        and (text["pool_type"], text["eos_id"]) != ("eos", VOCABULARY - 1),
        "a text class token": text["embed_cls"],
        "a text tower that looks ahead": text["no_causal_mask"],
        "another text projection": text["proj_type"] != "linear" or text["proj_bias"],
        "a tokenizer of its own": bool(text["hf_tokenizer_name"] or text["tokenizer_kwargs"] or text["tokenizer_mode"])
        or text["vocab_size"] != VOCABULARY,
        **{f"{name} {part[name]!r}": not test(part) for part in (vision, text) for name, test in plain.items()},
    }
    lacking = [what for what, has in found.items() if has]
    if lacking:
        raise InputError(
            f"{encoder.model}: has {lacking[0]}, which transformers' CLIPModel has not: use {option('to', 'openclip')}"
        )


def hf_processor(encoder: Encoder) -> dict[str, Any]:
    """The `preprocessor_config.json` of transformers for this encoder's preprocessing."""
    own = encoder.preprocessing
    side = own["size"][0]
    if own["resize_mode"] == "longest":
        raise InputError(
            f"{encoder.model}: pads its images to a square, which transformers' CLIPImageProcessor cannot: "
            f"use {option('to', 'openclip')}"
        )
    square = {"height": side, "width": side}
    crop = own["resize_mode"] == "shortest"
    return {
        "image_processor_type": f"{_class_of(encoder).removesuffix('Model')}ImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side} if crop else square,
        "resample": _RESAMPLE[own["interpolation"]],
        "do_center_crop": crop,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(own["mean"]),
        "image_std": list(own["std"]),
    }


def hf_state(encoder: Encoder) -> Mapping[str, Tensor]:
    """The weights under the names and in the shapes of transformers, each made when it is taken."""
    state = encoder.module.state_dict()
    return Renamed(state, rows_of(state), to="transformers")
