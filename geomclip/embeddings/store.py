"""EmbeddingSet <-> disk: our store folder, clip-retrieval's output, .npz, .npy; nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.shards import (
    MANIFEST,
    SCHEMA,
    UNKNOWN,
    column_name,
    fields_of_store,
    image_fields,
    read_manifest,
    read_table,
    write_part,
)
from geomclip.machine.array_files import check_rows, npy_chunks, read_npy, read_npz
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_json, atomic_write, make_folder
from geomclip.machine.words import one_line

_TOLD = ("image_id", "image_path", "caption_id", "caption", "columns", "made_from", "logit_scale_source")
"""What an .npz of ours says in JSON, beside its arrays."""


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
        _save_folder(embeddings, make_folder(building))
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
        return _fields_of_clip_retrieval(folder)
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


def _fields_of_clip_retrieval(folder: Path) -> dict[str, Any]:
    """Row i of img_emb, of text_emb and of metadata belong together, shard by shard."""
    images = _numbered(folder / "img_emb", r"img_emb_(\d+)\.npy")
    if not images:
        raise InputError(f"{folder} is no embedding store: it has neither {MANIFEST} nor img_emb/img_emb_0.npy")
    texts = _numbered(folder / "text_emb", r"text_emb_(\d+)\.npy")
    tables = _numbered(folder / "metadata", r"metadata_(\d+)\.parquet")
    vectors: dict[str, list[NDArray[Any]]] = {"image": [], "text": []}
    columns: dict[str, list[str]] = {}
    for other, name in ((texts, "text_emb"), (tables, "metadata")):
        if other and other.keys() != images.keys():
            number = min(other.keys() ^ images.keys())
            raise InputError(f"{folder}: img_emb and {name} do not both have a shard {number}")
    for number, path in images.items():
        vectors["image"].append(check_rows(read_npy(path), str(path)))
        rows = len(vectors["image"][-1])
        if texts:
            vectors["text"].append(check_rows(read_npy(texts[number]), str(texts[number])))
            if len(vectors["text"][-1]) != rows:
                raise InputError(f"{texts[number]} has {len(vectors['text'][-1])} rows, {path.name} has {rows}")
        if tables:
            table = read_table(tables[number])
            for column, values in table.items():
                if len(values) != rows:
                    raise InputError(f"{tables[number]} has {len(values)} rows, {path.name} has {rows}")
                columns.setdefault(column, []).extend("" if value is None else str(value) for value in values)
    whole = {column: values for column, values in columns.items() if len(values) == sum(map(len, vectors["image"]))}
    fields = image_fields(whole)
    paths = whole.get("image_path", [])
    if "image_id" not in whole and paths and len(set(paths)) == len(paths):
        fields["image_id"] = paths
    if texts:
        fields |= {"text": vectors["text"], "caption": whole.get("caption")}
    return fields | {"image": vectors["image"], "made_from": {**UNKNOWN, "file": folder.name}}


def _fields_of_npz(path: Path) -> dict[str, Any]:
    strings = ("image_id", "image_path", "caption_id", "caption", "classes")
    indices = ("image_of_text", "text_image_index", "labels", "truncated")
    scalars = ("logit_scale", "logit_bias")
    arrays = read_npz(path, ("image", "text", "class_text", "geomclip_metadata", *strings, *indices, *scalars))
    if "image" not in arrays:
        raise InputError(f"{path} has no array named image")
    fields: dict[str, Any] = {"made_from": {**UNKNOWN, "file": path.name}}
    if "geomclip_metadata" in arrays:
        fields |= _metadata(arrays.pop("geomclip_metadata"), path)
    for name, array in arrays.items():
        if name in strings:
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
        told = json.loads(array.tobytes())
        fields = {name: told[name] for name in _TOLD if told.get(name) is not None}
        fields["made_from"] = {**UNKNOWN, **fields["made_from"]}
        for name in ("image_id", "image_path", "caption_id", "caption", "classes"):
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
    # strings as JSON, not as numpy strings, which take the longest caption's room for every caption
    told = {name: getattr(embeddings, name) for name in _TOLD}
    arrays["geomclip_metadata"] = np.frombuffer(json.dumps(told, allow_nan=False).encode(), dtype=np.uint8)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # a ZipInfo made from a name alone carries no time, so the same set gives the same bytes
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                for chunk in npy_chunks(array):
                    member.write(chunk)


def _save_folder(embeddings: EmbeddingSet, folder: Path) -> None:
    n = len(embeddings.image)
    first: dict[int, str] = {}
    if embeddings.image_of_text is not None and embeddings.caption is not None:
        for row, caption in zip(embeddings.image_of_text.tolist(), embeddings.caption, strict=True):
            first.setdefault(row, caption)
    columns = dict(embeddings.columns)
    labels = columns.pop("label", ("",) * n)
    images: dict[str, Any] = {
        "image_path": embeddings.image_path or ("",) * n,
        "image_id": embeddings.image_id,
        "label": labels,
        "caption": [first.get(row, "") for row in range(n)],
        **{column_name(name): column for name, column in columns.items()},
    }
    files: dict[str, Any] = {}
    classes = []
    if embeddings.labels is not None and embeddings.class_text is not None:
        images["class_index"] = embeddings.labels.tolist()
        names = embeddings.classes or [str(i) for i in range(len(embeddings.class_text))]
        part = write_part(folder, "class", "0000", embeddings.class_text.numpy(), {"class_name": names})
        classes.append({"files": part})
    files |= write_part(folder, "img", "0000", embeddings.image.numpy(), images)
    if embeddings.text is not None and embeddings.image_of_text is not None:
        texts: dict[str, Any] = {
            "caption": embeddings.caption or ("",) * len(embeddings.text),
            "caption_id": embeddings.caption_id,
            "image_row": embeddings.image_of_text.tolist(),
        }
        if embeddings.truncated is not None:
            texts["truncated"] = embeddings.truncated.tolist()
        files |= write_part(folder, "text", "0000", embeddings.text.numpy(), texts)
    manifest = {
        "schema": SCHEMA,
        "done": True,
        "dtype": str(embeddings.image.dtype).removeprefix("torch."),
        "normalised": True,
        "shard_rows": n,
        "logit_scale": embeddings.logit_scale,
        "logit_bias": embeddings.logit_bias,
        "logit_scale_source": embeddings.logit_scale_source,
        "made_from": dict(embeddings.made_from),
        "class_shards": classes,
        "shards": [{"number": 0, "first_row": 0, "image_rows": n, "files": files}],
    }
    atomic_json(folder / MANIFEST, manifest)


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files whose whole name fits the pattern, by the number in it: 2 comes before 10."""
    if not folder.is_dir():
        return {}
    found = ((re.fullmatch(pattern, path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _joined(parts: Sequence[NDArray[Any]], dtype: torch.dtype | None) -> NDArray[Any]:
    """The shards under one another, in the precision asked for; half precision becomes float32."""
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
