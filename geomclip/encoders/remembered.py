"""Encoders that were loaded before: what was found out then is kept, and a model is built only to encode.

A store in the cache is named by the fingerprint of the weights, and to know that the weights have to be read and
the towers built, which takes seconds even where nothing is left to encode. What an encoder says of itself is
therefore kept, a small file a request under `encoders` in the cache, and believed as long as every file that it was
read from is the same by size and times.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomclip.encoders import hub, names, towers
from geomclip.encoders.hf import folder as hf_folder
from geomclip.encoders.load import load_encoder
from geomclip.encoders.weights.shards import is_index
from geomclip.machine.errors import DamagedError, GeomclipError
from geomclip.machine.files import cache_dir as default_cache
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import read_sealed, write_sealed
from geomclip.machine.version import __version__

if TYPE_CHECKING:
    from geomclip.encoders.clip import Encoder, Preprocess

SCHEMA = "geomclip.encoder/1"

Stamps = dict[str, list[int]]
"""Size and times in nanoseconds, by the name of the file."""

SETTLED = 2.0
"""Seconds that a file must have been left alone: younger ones may change once more within one tick of its clock."""


class RememberedEncoder:
    """An encoder as it was when it was last loaded; the model itself is loaded when something is to be encoded."""

    def __init__(self, description: Mapping[str, Any], load: Callable[[], Encoder]) -> None:
        self.dim = int(description["dim"])
        self.logit_scale = float(description["logit_scale"])
        self.logit_bias = None if description["logit_bias"] is None else float(description["logit_bias"])
        self._made_from = dict(description["made_from"])
        self._description = dict(description)
        self._load = load
        self._encoder: Encoder | None = None
        self._loading = threading.Lock()  # the threads of an extraction encode side by side

    def made_from(self) -> dict[str, Any]:
        """What a manifest says of the encoder."""
        return copy.deepcopy(self._made_from)

    def preprocess(self) -> Preprocess:
        """As `Encoder.preprocess`."""
        return self._loaded().preprocess()

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """As `Encoder.tokenize`."""
        return self._loaded().tokenize(texts)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """As `Encoder.encode_image`."""
        return self._loaded().encode_image(pixels)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """As `Encoder.encode_text`."""
        return self._loaded().encode_text(tokens)

    def lengths(self, tokens: Tensor) -> Tensor | None:
        """As `Encoder.lengths`."""
        return self._loaded().lengths(tokens)

    def _loaded(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                encoder = self._load()
                # the store is named by what was remembered, its scale too: no other rows may come into it
                if _description(encoder) != self._description:
                    raise GeomclipError(
                        f"{encoder.model} is another model than it was: the same command again takes it"
                    )
                self._encoder = encoder
            return self._encoder


def remembered(
    model: str = names.DEMO,
    *,
    pretrained: str | None = None,
    arch: str | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    cache_dir: Path | None = None,
    seed: int = 0,
    logit_scale: float | None = None,
    progress: Progress = SILENT,
) -> Encoder | RememberedEncoder:
    """The encoder that a name means: as it is remembered, else loaded, and remembered for the next time.

    Parameters
    ----------
    model, pretrained, arch, precision, device, cache_dir, seed, logit_scale
        As `load_encoder` takes them. With `auto` the machine decides anew: nothing is remembered.
    progress : Progress, optional
        Takes a line where what was remembered is damaged, and the model is loaded for that.

    Raises
    ------
    InputError, NotAvailableError
        As `load_encoder`, where it has to be loaded.
    """
    request = _request(model, pretrained, arch, precision, device, cache_dir, seed)
    if logit_scale is not None:
        request["logit_scale"] = logit_scale  # only then: what was kept without one is found again
    file = default_cache(cache_dir) / "encoders" / f"{_digest(request)}.json"

    def load() -> Encoder:
        options: dict[str, Any] = {"precision": precision, "device": device, "cache_dir": cache_dir, "seed": seed}
        options["logit_scale"] = logit_scale
        choice = names.resolve(model, pretrained, arch)
        began, found = time.time(), _found(choice, cache_dir)
        encoder = load_encoder(model, pretrained=pretrained, arch=arch, **options)
        settled = all(_youngest(stamps) < began - SETTLED for stamps in found.values())
        same = found == _found(choice, cache_dir) and bool(found or choice.random)
        if settled and same and "auto" not in (precision, device):
            with suppress(GeomclipError):  # a cache that cannot be written to costs time, not results
                write_sealed(file, {"request": request, "places": found, "description": _description(encoder)})
        return encoder

    description = _recalled(file, request, progress)
    return load() if description is None else RememberedEncoder(description, load)


def _request(
    model: str,
    pretrained: str | None,
    arch: str | None,
    precision: str,
    device: str,
    cache_dir: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Everything that decides which files are read, and what is made of them."""
    return {
        "schema": SCHEMA,
        "model": [model, *_where(model)],
        "pretrained": [pretrained or "", *_where(pretrained)],
        "arch": arch or "",
        "precision": precision,
        "device": device,
        "seed": seed,
        "hub": str(hub.cache_folder(cache_dir)),
        "host": socket.gethostname(),  # a lower precision is noted with the drift that this machine has
        "geomclip": __version__,
        "torch": str(torch.__version__),
        "open_clip": version("open_clip_torch"),
        "transformers": _version_of("transformers"),  # which cuts texts into tokens where it is there
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _where(name: str | None) -> list[str]:
    """The place that a name means as a file or folder; none if nothing is there."""
    path = Path((name or "").removeprefix("local-dir:")).expanduser()
    with suppress(OSError, ValueError):  # names too long or with a null byte are no places
        if name and path.exists():
            return [str(path.resolve())]
    return []


def _digest(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]


def _description(encoder: Encoder) -> dict[str, Any]:
    """What an encoder says of itself, as it comes back from JSON."""
    description = {
        "dim": encoder.dim,
        "logit_scale": encoder.logit_scale,
        "logit_bias": encoder.logit_bias,
        "made_from": encoder.made_from(),
    }
    return dict(json.loads(json.dumps(description)))


def _recalled(file: Path, request: Mapping[str, Any], progress: Progress) -> dict[str, Any] | None:
    """The description kept under this request, if the files that it was read from are what they were."""
    try:
        kept = read_sealed(file)
        if kept["request"] != request or any(_stamps(place) != was for place, was in kept["places"].items()):
            return None
        description = kept["description"]
        RememberedEncoder(description, _never)  # all is there, and of its type
        return dict(description)
    except DamagedError as problem:
        progress.log(f"{problem}; the model is loaded again")
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _never() -> Encoder:
    raise AssertionError


def _found(choice: names.Choice, cache_dir: Path | None) -> dict[str, Stamps | None]:
    """Files, and folders for all files in them, by which it is decided what the encoder is; None for absent ones."""
    # of an adapter there are none: its base may be anywhere, and it is merged anew each time
    places = [] if choice.file is None else [choice.file, *hf_folder.beside(choice.file)]
    if choice.file is not None and (choice.searched or is_index(choice.file)):
        places.append(choice.file.parent)  # weights taken by their name from those that are there, or shards
    if choice.folder is not None:
        places += [choice.folder, choice.folder.parent / hf_folder.MODULES]
    tag = towers.tag_config(choice.arch, choice.tag) if choice.tag else {}
    if repo := choice.repo or "/".join(tag.get("hf_hub", "").split("/")[:2]):
        folder = hub.repository_folder(repo, cache_dir)
        newest = folder / "refs" / "main"
        places += [folder, newest]
        with suppress(OSError):
            places.append(folder / "snapshots" / newest.read_text("utf-8").strip())
    elif tag.get("url"):
        places.append(hub.cache_folder(cache_dir) / Path(tag["url"]).name)
    return {str(place.absolute()): _stamps(str(place.absolute())) for place in places}


def _stamps(place: str) -> Stamps | None:
    """Of a file, or of those in a folder, not below; None where nothing is."""
    try:
        if not os.path.isdir(place):
            return {"": _stamp(os.stat(place))}
        with os.scandir(place) as entries:
            return {entry.name: _stamp(entry.stat()) for entry in entries if entry.is_file()}
    except OSError:
        return None


def _stamp(stat: os.stat_result) -> list[int]:
    # the second time is that of the entry, which no program sets: a file put in place of another has its own
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _youngest(stamps: Stamps | None) -> float:
    """When a file of a place was last changed, in seconds since 1970."""
    return max((max(stamp[1:]) for stamp in (stamps or {}).values()), default=0) / 1e9
