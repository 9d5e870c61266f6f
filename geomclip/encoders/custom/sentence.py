"""Models of sentence-transformers: CLIP, SigLIP, embedders of text or of text and images; by name, folder or object.

Their own `encode` makes the rows. Code that comes with a model is never run: a folder that asks for any is refused
before the package is told to load it. Its files alone decide what its rows are, and name them in the cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from geomclip.encoders import foreign_code, hub, sizes
from geomclip.encoders.clip import PRECISIONS
from geomclip.encoders.custom.functions import Encode, FunctionEncoder
from geomclip.encoders.protocol import Kind
from geomclip.encoders.reasons import in_one_line
from geomclip.machine import regular
from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.extras import optional

PREFIX = "st:"
PACKAGE = "sentence_transformers"
ORGANISATION = "sentence-transformers"
"""Whose repositories are named by their name alone."""
OLDEST = 6
"""Before this version the package ran code that lies in a folder, whatever it was told."""
MODULES, ROUTER = "modules.json", "router_config.json"
"""The files that name classes of modules."""
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
OTHERS = ("onnx/*", "openvino/*", "*.h5", "*.ot", "*.msgpack", "*.onnx")
"""Files of a repository for other libraries."""


def is_sentence_model(found: Any) -> bool:
    """Whether an object is a SentenceTransformer; the package is not imported to know."""
    package = sys.modules.get(PACKAGE)
    return package is not None and isinstance(found, package.SentenceTransformer)


def encoder(
    model: Any,
    *,
    what: str,
    name: str | None,
    logit_scale: float | None = None,
    made_from: dict[str, Any] | None = None,
) -> FunctionEncoder:
    """The encoder that a SentenceTransformer is; its logit scale and bias where a module of it has them.

    Images and captions are encoded by `encode`, with the model's default prompt if it has one; queries and documents
    by `encode_query` and `encode_document`, which put its prompts before them.
    """
    if model.__class__.__name__ != "SentenceTransformer" and not hasattr(model, "encode_query"):
        raise InputError(f"{what} has no encode_query: sentence-transformers 5 or newer is needed")
    functions: dict[Kind, Encode] = {}
    if not hasattr(model, "supports") or model.supports("text"):
        functions |= {
            "text": partial(_encoded, model.encode),
            "query": partial(_encoded, model.encode_query),
            "document": partial(_encoded, model.encode_document),
        }
    if not hasattr(model, "supports") or model.supports("image"):
        functions["image"] = partial(_encoded, model.encode)
    scale, bias = _logits(model)
    return FunctionEncoder(
        functions,
        model=what,
        name=name,
        logit_scale=scale if logit_scale is None else logit_scale,
        logit_bias=bias,
        made_from={"sentence_transformers": _version(), **(made_from or {})},
    )


def load(
    place: str, *, name: str | None, logit_scale: float | None, device: str, cache_dir: Path | None
) -> FunctionEncoder:
    """The encoder of a folder, or of a name on the hub that is on this machine or can be fetched.

    Raises
    ------
    NotAvailableError
        If the package or the model is not here; how to get it.
    InputError
        If the folder is no such model, or asks for code of its own.
    """
    where, device = f"{PREFIX}{place}", choose_device(device)
    package = optional(PACKAGE, where, "st")
    if int(_version().partition(".")[0]) < OLDEST:
        raise NotAvailableError(
            f"{where}: sentence-transformers {_version()} runs code that lies in a model's folder: "
            "pip install 'geomclip[st]' brings a newer one"
        )
    folder = _folder(place, where, cache_dir)
    _refuse_code(folder)
    digest = _digest(folder)
    with in_one_line(where, PACKAGE), _quietly():
        model = package.SentenceTransformer(str(folder), device=device, trust_remote_code=False, local_files_only=True)
    made = {"weights_sha256": digest, "precision": _precision(model), "device": device}
    return encoder(model, what=where, name=name or digest, logit_scale=logit_scale, made_from=made)


def _folder(place: str, where: str, cache_dir: Path | None) -> Path:
    """The folder with the files of a model: one that is named, else the hub's."""
    folder = Path(place).expanduser()
    if place and folder.is_dir():
        if not (folder / MODULES).is_file():
            raise InputError(f"{where}: the folder has no {MODULES}: sentence-transformers did not write it")
        return folder
    if not place or place.startswith((".", "/", "~")) or place.count("/") > 1:
        raise NotAvailableError(f"{where}: no such folder")
    repo = place if "/" in place else f"{ORGANISATION}/{place}"
    here = hub.cached(repo, (MODULES,), cache_dir) is not None
    try:
        first = hub.get(repo, (MODULES,), cache_dir=cache_dir, what=where)
    except NotAvailableError:
        raise
    except InputError as error:
        raise InputError(
            f"{where}: the repository {repo} has no {MODULES}: it is none of sentence-transformers"
        ) from error
    if not here:
        from huggingface_hub import snapshot_download

        with in_one_line(where, PACKAGE):
            snapshot_download(repo, cache_dir=hub.cache_folder(cache_dir), ignore_patterns=list(OTHERS))
    return first.parent


def _refuse_code(folder: Path) -> None:
    """InputError if a file of settings asks for a class that is not the package's own, for code of the model's, or for
    more than the limits let in."""
    try:
        modules = json.loads(regular.read(folder / MODULES, "config-bytes"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder / MODULES}: is no JSON ({type(error).__name__}): fetch or write it again") from error
    if not isinstance(modules, list) or not modules:
        raise InputError(f"{folder / MODULES}: is no list of modules: fetch or write it again")
    types = [entry.get("type") if isinstance(entry, dict) else None for entry in modules]
    for file in sorted(folder.rglob("*.json")):
        sizes.check_tokenizer(file.parent)
        if file.name not in (*foreign_code.SETTINGS, *PROCESSORS, ROUTER):
            continue
        settings = foreign_code.read(file)
        if file.name == "config.json":
            sizes.check_tower(settings, str(file))
        own = settings.get("types")
        if isinstance(own, dict) and (file.name == ROUTER or (file.name == "config.json" and file.parent != folder)):
            types += own.values()
    for each in types:
        if not isinstance(each, str) or not each.startswith(f"{PACKAGE}."):
            raise InputError(
                f"{folder}: a module is of the class {str(each)[:60]!r}, which is not of sentence-transformers: "
                "refused, code that comes with a model is never run"
            )


def _digest(folder: Path) -> str:
    """sha256 over the names and bytes of all files that can decide what a row is."""
    digest = hashlib.sha256()
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = file.relative_to(folder).as_posix()
        if not name.startswith(".") and file.suffix != ".md":
            with file.open("rb") as content:
                digest.update(f"{name}:{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _precision(model: Any) -> str:
    """What the weights are in, by the name that `--precision` has for it."""
    first = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    return {dtype: name for name, dtype in PRECISIONS.items()}.get(first, str(first).removeprefix("torch."))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars of transformers, which would stand among ours."""
    logging: Any = import_module("transformers.utils.logging")

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _version() -> str:
    return version("sentence-transformers")


def _encoded(encode: Callable[..., Any], inputs: list[Any]) -> Any:
    """Rows of one batch by a method of the model."""
    return encode(inputs, batch_size=max(1, len(inputs)), convert_to_tensor=True, show_progress_bar=False)


def _logits(model: Any) -> tuple[float | None, float | None]:
    """The logit scale, as a factor, and bias of the first module that has one; both are logits of CLIP and SigLIP."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if "logit_scale" in own and own["logit_scale"].numel() == 1:
            scale = math.exp(float(own["logit_scale"].detach()))
            bias = own.get("logit_bias")
            return scale, None if bias is None else float(bias.detach())
    return None, None
