"""What geomclip uses of open_clip: its tables of models, its towers, tokenizers and transforms.

open_clip's factory resolves names, fetches, builds and loads in one call of 21 parameters. Here it only
builds: from a configuration, with no weights, through one `create_model`. Names are ours (names.py), files
come through weights/ and hub.py, so that every failure has one place and one clear message.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from geomclip.encoders import foreign_code, hub, sizes, trunks
from geomclip.encoders.configuration import CONFIG_FILE, CONTEXT_LENGTH, UNCLEANED
from geomclip.encoders.hf.names import Renamed
from geomclip.encoders.reasons import in_one_line
from geomclip.machine import limits
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError

if TYPE_CHECKING:
    from PIL.Image import Image

    from geomclip.encoders.weights.contents import Contents

Tokenizer = Callable[..., torch.Tensor]

MOBILECLIP = "image_encoder.model."
"""How the names begin in Apple's own files of MobileCLIP."""
_EPOCH = re.compile(r"[_-]e(?:poch)?[_-]?(\d+)(?![0-9a-z])")


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


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """Keep what transformers remarks on configurations off stderr: they are read for their tokenizer alone."""
    theirs = importlib.import_module("transformers.utils.logging")
    before = theirs.get_verbosity()
    theirs.set_verbosity(max(before, logging.ERROR))
    try:
        yield
    finally:
        theirs.set_verbosity(before)


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
    """What open_clip knows of one tag: `hf_hub`, `url`, `quick_gelu` and its preprocessing.

    A hub repository that is named for another epoch than the tag holds other weights (open_clip 3.3 sends
    ViT-B-16-plus-240:laion400m_e32 to that of epoch 31), so it is left out where there is an address beside it.
    """
    import open_clip

    config = dict(open_clip.get_pretrained_cfg(arch, tag))
    epochs = [_EPOCH.search(name) for name in (tag, config.get("hf_hub", ""))]
    if config.get("url") and all(epochs) and len({match[1] for match in epochs if match}) > 1:
        config["hf_hub"] = ""
    return config


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

    limits.check("weights", sizes.weights(outline(model_cfg, where=where)), where)
    with (
        _as_folder(model_cfg, preprocess_cfg, where) as folder,
        quiet(),
        torch.random.fork_rng(devices=[]),
        _ZeroedMemory(),
        in_one_line(where),
    ):
        torch.manual_seed(seed)
        module = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_image=False, pretrained_text=False
        )
    trunks.finish(module, model_cfg)
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
        in_one_line(where),
        torch.device("meta"),
    ):
        return open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_image=False, pretrained_text=False, device="meta"
        )


def layout(names: Iterable[str], expected: Container[str]) -> dict[str, str]:
    """The name in a file by the name that the model has for it: text towers have stood at the top, and below `text.`.

    Examples
    --------
    >>> layout(["visual.proj", "text_projection", "positional_embedding"], {"text.positional_embedding"})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'visual.proj': 'visual.proj', 'text.text_projection': 'text_projection',
     'text.positional_embedding': 'positional_embedding'}
    """
    same = {name: name for name in names}
    if "positional_embedding" not in same or "positional_embedding" in expected:
        return same
    from open_clip.model import convert_to_custom_text_state_dict

    return dict(convert_to_custom_text_state_dict(same))


def load_into(module: torch.nn.Module, contents: Contents) -> None:
    """Fill the module, a tensor at a time, with what a weights file holds; it was compared with the module before.

    Raises
    ------
    InputError
        If a tensor cannot be used: whole numbers in the place of weights, as of quantised models.
    """
    with quiet(), in_one_line(str(contents.file)), torch.no_grad():
        tensors = _of_open_clip(module, contents.tensors())
        places = module.state_dict()
        stored = layout(tensors, places)
        for name, place in places.items():
            if name == "logit_bias" and name not in stored:
                place.zero_()
                continue
            pieces = tensors.pieces(stored[name]) if isinstance(tensors, Renamed) else [tensors[stored[name]]]
            if len(pieces) == 1:
                pieces = [_adapted(name, pieces[0], module, place)]
            parts = place.split([len(piece) for piece in pieces]) if len(pieces) > 1 else [place]
            for part, piece in zip(parts, pieces, strict=True):
                if part.is_floating_point() and not piece.is_floating_point():
                    kind = str(piece.dtype).removeprefix("torch.")
                    raise InputError(f"{contents.file}: {name} is {kind}, as of a quantised model: save it in float32")
                part.copy_(piece)


def _of_open_clip(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The tensors under open_clip's names, where a file is of the makers of MobileCLIP."""
    if not any(name.startswith(MOBILECLIP) for name in tensors):
        return tensors
    from open_clip.convert import convert_state_dict

    return dict(convert_state_dict(module, dict(tensors)))


def _adapted(name: str, value: torch.Tensor, module: torch.nn.Module, place: torch.Tensor) -> torch.Tensor:
    """A tensor in the shape of its place: of the two scalars, and of positions at another size, by open_clip."""
    if value.shape == place.shape:
        return value
    if name in ("logit_scale", "logit_bias"):
        return value.reshape(place.shape)
    from open_clip.model import resize_pos_embed, resize_text_pos_embed

    one = {name: value.float()}
    (resize_pos_embed if name.startswith("visual.") else resize_text_pos_embed)(one, module)
    return one[name]


def preprocessing(module: torch.nn.Module) -> dict[str, Any]:
    """How the model wants its images: size [h, w], mean, std, interpolation, resize_mode, fill_color."""
    plain: dict[str, Any] = json.loads(json.dumps(module.visual.preprocess_cfg))  # type: ignore[union-attr]
    for key, count in (("size", 2), ("mean", 3), ("std", 3)):  # open_clip takes one number for all
        if isinstance(plain[key], int | float):
            plain[key] = [plain[key]] * count
    return plain


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
    """The tokenizer that a configuration asks for; one of transformers is read from `source` where that names a folder.

    No code of the source's is run; `foreign_code.refuse` finds out beforehand where it asks for some.
    """
    from open_clip.tokenizer import HFTokenizer

    text_cfg = model_cfg["text_cfg"]
    name = text_cfg.get("hf_tokenizer_name")
    if name and importlib.util.find_spec("transformers") is None:
        raise NotAvailableError(f"{where}: its tokenizer needs the transformers package: pip install transformers")
    length = text_cfg.get("context_length", CONTEXT_LENGTH)
    settings = {k: v for k, v in (text_cfg.get("tokenizer_kwargs") or {}).items() if k != "trust_remote_code"}
    if not name:
        with quiet(), in_one_line(f"{where}: its tokenizer"):
            return _simple_tokenizer(length, json.dumps(settings, sort_keys=True))
    uncleaned = settings.get("clean") == UNCLEANED["clean"]
    settings = {k: v for k, v in settings.items() if not (uncleaned and k == "clean")}
    with quiet(), transformers_quiet(), in_one_line(f"{where}: its tokenizer"):
        made = HFTokenizer(
            source or name,
            context_length=length,
            cache_dir=str(cache_dir) if cache_dir else None,
            tokenizer_mode=text_cfg.get("tokenizer_mode"),
            trust_remote_code=False,
            **settings,
        )
    if uncleaned:
        made.clean_fn = str
    return made


@functools.lru_cache(maxsize=4)
def _simple_tokenizer(length: int, settings: str) -> Tokenizer:
    """OpenAI's tokenizer, one for all encoders that want the same: to unpack its words takes longer than a small CLIP.

    It holds no state but the words that it has split so far.
    """
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=length, **json.loads(settings))


def fetch_url(url: str, cache_dir: Path) -> Path:
    """The weights file behind one of open_clip's plain addresses; checksum verified where it is known."""
    import open_clip

    from geomclip.pairs.download import download

    if not (cache_dir / Path(url).name).exists():
        download(url, cache_dir / Path(url).name)
    return Path(open_clip.download_pretrained_from_url(url, cache_dir=str(cache_dir)))  # which knows the sums


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
        kept = trunks.described(kept, Path(folder) / "vision")
        text = json.dumps({"model_cfg": kept, "preprocess_cfg": dict(preprocess_cfg)})
        (Path(folder) / CONFIG_FILE).write_text(text, encoding="utf-8")
        yield Path(folder)


def _with_checked_tower(model_cfg: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """The configuration with its text tower of transformers read from `folder`, which gets the checked config.json.

    open_clip passes no `trust_remote_code` on: so that it reads what was checked and no other file, whatever the
    tower's own folder or repository holds.
    """
    text_cfg = model_cfg["text_cfg"]
    name = text_cfg.get("hf_model_name")
    if not name:
        return dict(model_cfg)
    if importlib.util.find_spec("transformers") is None:
        raise NotAvailableError(f"{where}: its text tower needs the transformers package: pip install transformers")
    name = str(name)
    here = Path(name) / "config.json"
    file = (
        here if Path(name).is_dir() else hub.get(name, (here.name,), cache_dir=None, what=f"the text tower of {where}")
    )
    content = foreign_code.checked_tower(file)
    folder.mkdir()
    (folder / here.name).write_bytes(content)
    return {**model_cfg, "text_cfg": {**text_cfg, "hf_model_name": str(folder)}}
