"""Everything geomclip uses of open_clip: its tables of models, its towers, tokenizers and transforms.

open_clip's factory resolves names, fetches, builds and loads in one call of 21 parameters. Here it only
builds: from a configuration, with no weights, through one `create_model`. Names are ours (names.py), files
come through checkpoint.py and hub.py, so that every failure has one place and one clear message.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from geomclip.encoders import foreign_code
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG_FILE = "open_clip_config.json"
CONTEXT_LENGTH = 77  # of a configuration that names none
MAX_SIDE = 8192  # pixels that a checkpoint may ask for, a side
_LEADS_ASIDE = {"tokenizer_type", "subfolder", "revision", "code_revision", "gguf_file"}  # in settings of a tokenizer
Tokenizer = Callable[..., torch.Tensor]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's remarks about matters that are handled here (random weights, mismatches) off stderr.

    open_clip logs through the root logger; a handler must be there, or `logging.warning` would install one
    for good.
    """
    root, silent = logging.getLogger(), logging.NullHandler()

    def not_open_clip(record: logging.LogRecord) -> bool:
        return f"{os.sep}open_clip{os.sep}" not in record.pathname

    root.addHandler(silent)
    root.addFilter(not_open_clip)
    try:
        yield
    finally:
        root.removeFilter(not_open_clip)
        root.removeHandler(silent)


def version() -> str:
    """The version of open_clip, for manifests."""
    import open_clip

    return str(open_clip.__version__)


@functools.cache
def architectures() -> tuple[str, ...]:
    """The names of open_clip's own configurations."""
    import open_clip

    return tuple(open_clip.list_models())


@functools.cache
def tags() -> Mapping[str, tuple[str, ...]]:
    """The pretrained tags of each architecture that has some."""
    import open_clip

    table: dict[str, tuple[str, ...]] = {}
    for arch, tag in open_clip.list_pretrained():
        table[arch] = (*table.get(arch, ()), tag)
    return table


def tag_config(arch: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of one tag: `hf_hub`, `url`, `quick_gelu` and its preprocessing."""
    import open_clip

    return dict(open_clip.get_pretrained_cfg(arch, tag))


def architecture_config(arch: str) -> dict[str, Any]:
    """A copy of the configuration (embed_dim, vision_cfg, text_cfg, ...) of one of `architectures()`."""
    import open_clip

    return dict(open_clip.get_model_config(arch))


def build(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], *, seed: int, where: str) -> torch.nn.Module:
    """The towers of a configuration with fresh random weights, float32, in eval mode.

    The global random generator is left as it was; the same seed gives the same weights.

    Raises
    ------
    InputError, NotAvailableError
        If open_clip cannot build it (`where` opens the message), a package or file it needs is absent, or its text
        tower asks to run code.
    """
    import open_clip

    with (
        _as_folder(model_cfg, preprocess_cfg, where) as folder,
        quiet(),
        torch.random.fork_rng(devices=[]),
        _ZeroedMemory(),
        _said_in_one_line(where),
    ):
        torch.manual_seed(seed)
        module = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_image=False, pretrained_text=False
        )
    return module.eval().requires_grad_(False)


def outline(model_cfg: Mapping[str, Any], *, where: str) -> torch.nn.Module:
    """The towers of a configuration with shapes and no memory: what a file that is not trusted is compared with.

    Raises
    ------
    InputError, NotAvailableError
        As `build`.
    """
    import open_clip

    with (
        _as_folder(model_cfg, {}, where) as folder,
        quiet(),
        torch.random.fork_rng(devices=[]),
        _said_in_one_line(where),
        torch.device("meta"),
    ):
        return open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_image=False, pretrained_text=False, device="meta"
        )


def complete(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with every setting that it leaves to open_clip's defaults written out.

    Settings that decide no row of a model in use (whether a tower starts from weights of its own, patch
    dropout) are left out: two configurations are one model exactly where these are equal.
    """
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    vision = asdict(CLIPVisionCfg(**model_cfg["vision_cfg"]))
    text = asdict(CLIPTextCfg(**model_cfg["text_cfg"]))
    for key in ("timm_model_pretrained", "patch_dropout", "timm_drop", "timm_drop_path"):
        del vision[key]
    del text["hf_model_pretrained"]
    settings = {"quick_gelu": False, "custom_text": False, "nonscalar_logit_scale": False, **model_cfg}
    biased = settings.pop("init_logit_bias", None) is not None
    settings.pop("init_logit_scale", None)
    return {**settings, "logit_bias": biased, "vision_cfg": vision, "text_cfg": text}


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
    asked = model_cfg["text_cfg"].get("tokenizer_kwargs") or {}
    if not isinstance(asked, dict) or asked.get("trust_remote_code"):
        raise InputError(f"{where}: its 'tokenizer_kwargs' ask to run code (trust_remote_code): refused")
    if aside := sorted(_LEADS_ASIDE & asked.keys()):
        raise InputError(f"{where}: its 'tokenizer_kwargs' lead to other files than are checked ({aside[0]}): refused")
    return dict(model_cfg)


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
        "size": lambda v: _numbers(v, 2) and all(isinstance(n, int) and 0 < n <= MAX_SIDE for n in v),
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


def _numbers(value: Any, count: int) -> bool:
    kinds = isinstance(value, list) and len(value) == count and all(type(n) in (int, float) for n in value)
    return kinds and all(math.isfinite(n) for n in value)


def load_into(module: torch.nn.Module, file: Path) -> None:
    """Fill the module from a weights file, with open_clip's own conversions of prefixes and old layouts."""
    import open_clip

    with quiet(), _said_in_one_line(str(file)):
        # the file was read once already with weights_only=True and its names and shapes compared
        open_clip.load_checkpoint(module, str(file), strict=True, weights_only=True)


def preprocessing(module: torch.nn.Module) -> dict[str, Any]:
    """How the model wants its images: size [h, w], mean, std, interpolation, resize_mode, fill_color."""
    plain: dict[str, Any] = json.loads(json.dumps(module.visual.preprocess_cfg))  # type: ignore[union-attr]
    for key, count in (("size", 2), ("mean", 3), ("std", 3)):  # open_clip takes one number for all
        if isinstance(plain[key], int | float):
            plain[key] = [plain[key]] * count
    return plain


def usual_preprocessing() -> dict[str, Any]:
    """What open_clip takes for weights that do not say how they want their images."""
    from open_clip.transform import PreprocessCfg

    return asdict(PreprocessCfg())


def image_transform(
    preprocess_cfg: Mapping[str, Any],
) -> tuple[Callable[[Any], torch.Tensor], Callable[[Any], Image]]:
    """open_clip's inference transform for these settings, and the part of it that gives an RGB image of the size."""
    from open_clip.transform import MaybeToTensor, PreprocessCfg, image_transform_v2
    from torchvision.transforms import Compose, Normalize

    sequences = {key: tuple(v) if isinstance(v, list) else v for key, v in preprocess_cfg.items()}
    transform = image_transform_v2(PreprocessCfg(**sequences), is_train=False)
    *shape, to_tensor, normalize = transform.transforms
    if not (isinstance(to_tensor, MaybeToTensor) and isinstance(normalize, Normalize)):
        raise GeomclipError(f"open_clip {version()} prepares images in other steps than geomclip knows: {transform}")
    return transform, Compose(shape)


def tokenizer(model_cfg: Mapping[str, Any], *, source: str, cache_dir: Path | None, where: str) -> Tokenizer:
    """The tokenizer that a configuration asks for; one of transformers is read from `source` if given.

    No code of the source's is run; `foreign_code.refuse` says beforehand where it asks for some.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text_cfg = model_cfg["text_cfg"]
    name = text_cfg.get("hf_tokenizer_name")
    if name and importlib.util.find_spec("transformers") is None:
        raise NotAvailableError(f"{where}: its tokenizer needs the transformers package: pip install transformers")
    length = text_cfg.get("context_length", CONTEXT_LENGTH)
    settings = {k: v for k, v in (text_cfg.get("tokenizer_kwargs") or {}).items() if k != "trust_remote_code"}
    with quiet(), _said_in_one_line(f"{where}: its tokenizer"):
        if not name:
            return SimpleTokenizer(context_length=length, **settings)
        return HFTokenizer(
            source or name,
            context_length=length,
            cache_dir=str(cache_dir) if cache_dir else None,
            tokenizer_mode=text_cfg.get("tokenizer_mode"),
            trust_remote_code=False,
            **settings,
        )


def fetch_url(url: str, cache_dir: Path | None) -> Path:
    """The weights file behind one of open_clip's plain addresses; checksum verified where it is known."""
    import open_clip

    return Path(open_clip.download_pretrained_from_url(url, cache_dir=str(cache_dir) if cache_dir else None))


class _ZeroedMemory(TorchFunctionMode):
    """Zeros where open_clip allocates a weight and never fills it (CoCa's text_decoder.text_projection)."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # torch's
        result = func(*args, **(kwargs or {}))
        return result.zero_() if func in (torch.empty, torch.empty_like) else result


@contextmanager
def _as_folder(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], where: str) -> Iterator[Path]:
    """A folder in open_clip's local-dir layout: the one public way to build from a configuration in hand."""
    with tempfile.TemporaryDirectory(prefix="geomclip-") as folder:
        kept = _with_checked_tower(model_cfg, Path(folder) / "text", where)
        text = json.dumps({"model_cfg": kept, "preprocess_cfg": dict(preprocess_cfg)})
        (Path(folder) / CONFIG_FILE).write_text(text, encoding="utf-8")
        yield Path(folder)


def _with_checked_tower(model_cfg: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """The configuration with its text tower of transformers read from `folder`, which is given the checked config.json.

    open_clip passes no `trust_remote_code` on: so that it reads what was checked and no other file, whatever the
    tower's own folder or repository holds.
    """
    text_cfg = model_cfg["text_cfg"]
    name = text_cfg.get("hf_model_name")
    if not name:
        return dict(model_cfg)
    if importlib.util.find_spec("transformers") is None:
        raise NotAvailableError(f"{where}: its text tower needs the transformers package: pip install transformers")
    from geomclip.encoders import hub  # which imports this module

    name = str(name)
    here = Path(name) / "config.json"
    file = (
        here if Path(name).is_dir() else hub.get(name, (here.name,), cache_dir=None, what=f"the text tower of {where}")
    )
    content = foreign_code.checked_tower(file)
    folder.mkdir()
    (folder / here.name).write_bytes(content)
    return {**model_cfg, "text_cfg": {**text_cfg, "hf_model_name": str(folder)}}


@contextmanager
def _said_in_one_line(where: str) -> Iterator[None]:
    try:
        yield
    except (InputError, NotAvailableError, MemoryError):
        raise
    except ImportError as error:
        raise NotAvailableError(f"{where}: a package is missing: {first_line(error)}") from error
    except Exception as error:  # open_clip, timm and transformers raise whatever they like on bad settings
        if "Please `pip install transformers`" in str(error):
            raise NotAvailableError(
                f"{where}: its text tower needs the transformers package: pip install transformers"
            ) from error
        if "trust_remote_code" in str(error):
            raise InputError(f"{where}: asks to run code of its own (trust_remote_code): refused") from error
        if isinstance(error, OSError):
            raise NotAvailableError(f"{where}: something it needs cannot be had: {first_line(error)}") from error
        raise InputError(f"{where}: open_clip cannot use it: {type(error).__name__}: {first_line(error)}") from error


def first_line(error: BaseException, limit: int = 200) -> str:
    """What an exception says, on one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
