"""EmbeddingSet <-> disk: our store folder, clip-retrieval's output, .npz, .npy; nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomclip.embeddings.layouts import UNKNOWN, fields_of_clip_retrieval, fields_of_store, write_store
from geomclip.embeddings.record import STRINGS, EmbeddingSet
from geomclip.embeddings.shards import MANIFEST, read_manifest
from geomclip.machine.array_files import check_rows, npy_chunks, read_npy, read_npz
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_write, make_folder
from geomclip.machine.words import one_line

_IN_JSON = (*(name for name in STRINGS if name != "classes"), "columns", "made_from", "logit_scale_source")
"""The fields that an .npz of ours holds as JSON, beside its arrays."""


def load(path: str | Path, *, dtype: torch.dtype | None = None) -> EmbeddingSet:
    """Embeddings from a store folder, clip-retrieval's output folder, an .npz or an .npy file.

    Parameters
    ----------
    path : str or Path
        A folder that `extract` or `save` wrote; a folder with `img_emb/` and perhaps `text_emb/` and
        `metadata/` as clip-retrieval writes them (row i of one goes with row i of the other); an .npz with
        `image` and `text`, perhaps `image_of_text` (or `text_image_index`) and `logit_scale`, or `image`,
        `labels`, `class_text` and `classes`; an .npy of shape (2, n, d), images first.
    dtype : torch.float32 or torch.float64, optional
        Precision to compute in. Left out: that of the file, at least float32.

    Raises
    ------
    InputError
        If it cannot be read, is unfinished or damaged, or a row has no direction: names the file and the row.
    """
    path = Path(path).expanduser()
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    if path.is_dir():
        fields = _fields_of_folder(path)
    elif not path.exists():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix == ".npz":
        fields = _fields_of_npz(path)
    elif path.suffix == ".npy":
        fields = _fields_of_npy(path)
    else:
        raise InputError(f"{path} is no store folder, .npz or .npy")
    for name in ("image", "text", "class_text"):
        if fields.get(name) is not None:
            fields[name] = torch.from_numpy(_joined(fields[name], dtype))
    return _checked(path, fields)


def save(embeddings: EmbeddingSet, path: str | Path) -> Path:
    """Write embeddings to `path`: an .npz file if it ends so, else a store folder; whole or not at all.

    Raises
    ------
    InputError
        If `path` cannot be written, ends in .npy, or is a folder that holds something.

    Examples
    --------
    >>> import tempfile
    >>> pairs = EmbeddingSet(np.eye(3), np.eye(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(pairs, Path(folder) / "pairs.npz"))
    EmbeddingSet(3 images, 3 texts, 3 dimensions, logit scale 100 (assumed))
    """
    path = Path(path).expanduser()
    if path.suffix == ".npy":
        raise InputError(f"{path}: one array cannot hold a set; name a folder or an .npz")
    if path.suffix == ".npz":
        _save_npz(embeddings, path)
        return path
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists already: name a new folder")
    make_folder(path.parent)
    building = path.with_name(f".{path.name}.{secrets.token_hex(4)}.geomclip-tmp")
    try:
        write_store(make_folder(building), vars(embeddings))
        os.replace(building, path)
    except OSError as problem:
        raise InputError(f"{path} cannot be written ({problem.strerror or problem})") from problem
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return path


def _fields_of_folder(folder: Path) -> dict[str, Any]:
    """Arguments of EmbeddingSet, from whichever folder layout this is; vectors still as lists of arrays."""
    if not (folder / MANIFEST).exists():
        if (folder / "text_metadata").exists():
            raise InputError(f"{folder} has lost its {MANIFEST}: extract it again")
        return fields_of_clip_retrieval(folder)
    manifest = read_manifest(folder)
    if not manifest.get("done"):
        raise InputError(f"{folder} is unfinished: the same `geomclip extract` again finishes it")
    try:
        return fields_of_store(folder, manifest)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as problem:
        # a manifest edited by hand or by somebody: JSON, but not with our fields
        raise InputError(f"{folder / MANIFEST} is malformed ({one_line(problem, 200)})") from problem


def _fields_of_npz(path: Path) -> dict[str, Any]:
    indices = ("image_of_text", "text_image_index", "labels", "truncated")
    scalars = ("logit_scale", "logit_bias")
    arrays = read_npz(path, ("image", "text", "class_text", "geomclip_metadata", *STRINGS, *indices, *scalars))
    if "image" not in arrays:
        raise InputError(f"{path} has no array named image")
    fields: dict[str, Any] = {"made_from": {**UNKNOWN, "file": path.name}}
    if "geomclip_metadata" in arrays:
        fields |= _metadata(arrays.pop("geomclip_metadata"), path)
    for name, array in arrays.items():
        if name in STRINGS:
            fields[name] = _strings(array, f"{path}: {name}")
        elif name in scalars:
            if array.size != 1 or array.dtype.kind not in "fiu":
                raise InputError(f"{path}: {name} must be one number, got {array.dtype} of shape {array.shape}")
            fields[name] = float(array.reshape(()))
        elif name in indices:
            fields["image_of_text" if name == "text_image_index" else name] = array
        else:
            fields[name] = [check_rows(array, f"{path}: {name}")]
    if "logit_scale" in arrays:
        fields.setdefault("logit_scale_source", "file")
    return fields


def _fields_of_npy(path: Path) -> dict[str, Any]:
    array = read_npy(path)
    if array.ndim != 3 or len(array) != 2:
        raise InputError(f"{path} has shape {array.shape}; needed is (2, n, d): image rows, then their text rows")
    image, text = (check_rows(array[i], f"{path}: {name}") for i, name in enumerate(("image", "text")))
    return {"image": [image], "text": [text], "made_from": {**UNKNOWN, "file": path.name}}


def _metadata(array: NDArray[Any], path: Path) -> dict[str, Any]:
    """What `save` put into an .npz beside the numbers, as JSON in bytes."""
    try:
        if array.dtype != np.uint8 or array.ndim != 1:
            raise ValueError(f"dtype {array.dtype}, shape {array.shape}")
        content = json.loads(array.tobytes())
        fields = {name: content[name] for name in _IN_JSON if content.get(name) is not None}
        fields["made_from"] = {**UNKNOWN, **fields["made_from"]}
        for name in STRINGS:
            if not isinstance(fields.get(name, []), list):
                raise ValueError(f"{name} is no list")
        return fields
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise InputError(f"{path}: geomclip_metadata is malformed ({one_line(problem, 200)})") from problem


def _save_npz(embeddings: EmbeddingSet, path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {"logit_scale": np.array(embeddings.logit_scale)}
    for name in ("image", "text", "image_of_text", "truncated", "labels", "class_text", "logit_bias"):
        value = getattr(embeddings, name)
        if value is not None:
            arrays[name] = value.numpy() if isinstance(value, torch.Tensor) else np.array(value)
    if embeddings.classes is not None:
        arrays["classes"] = np.array(embeddings.classes)
    # strings as JSON, not as numpy strings, which take the room of the longest for each
    content = {name: getattr(embeddings, name) for name in _IN_JSON}
    arrays["geomclip_metadata"] = np.frombuffer(json.dumps(content, allow_nan=False).encode(), dtype=np.uint8)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # a ZipInfo made from a name alone carries no time, so the same set gives the same bytes
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                for chunk in npy_chunks(array):
                    member.write(chunk)


def _joined(parts: Sequence[NDArray[Any]], dtype: torch.dtype | None) -> NDArray[Any]:
    """The shards under one another, in the precision requested; half precision becomes float32."""
    if dtype is not None:
        target = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
    else:
        exact = any(part.dtype.kind != "f" or part.dtype.itemsize > 4 for part in parts)
        target = np.dtype(np.float64 if exact else np.float32)
    width = {part.shape[1] for part in parts}
    if len(width) > 1:
        raise InputError(f"shards have different dimensions: {', '.join(map(str, sorted(width)))}")
    joined = np.empty((sum(map(len, parts)), *width), target)
    start = 0
    for part in parts:
        joined[start : start + len(part)] = part
        start += len(part)
    return joined


def _strings(array: NDArray[Any], name: str) -> list[str]:
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, got shape {array.shape}")
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in array.tolist()]
    except UnicodeDecodeError as problem:
        raise InputError(f"{name} is not UTF-8 ({problem})") from problem


def _checked(path: Path, fields: dict[str, Any]) -> EmbeddingSet:
    try:
        return EmbeddingSet(**fields)
    except (ValueError, TypeError, AttributeError) as problem:
        raise InputError(f"{path}: {one_line(problem, 200)}") from problem
