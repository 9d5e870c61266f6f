"""EmbeddingSet <-> disk: our store folder, clip-retrieval's output, files of arrays; nothing is ever unpickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.embeddings.fetched import brought
from geomclip.embeddings.files.gather import columns_of, gathered, texts_of
from geomclip.embeddings.files.settle import check_logit_scale, settled
from geomclip.embeddings.layouts import UNKNOWN, fields_of_clip_retrieval, fields_of_store, write_store
from geomclip.embeddings.record import STRINGS, EmbeddingSet
from geomclip.embeddings.shards import MANIFEST, read_manifest
from geomclip.machine import scratch
from geomclip.machine.addresses import plain
from geomclip.machine.array_files import check_rows, npy_chunks, npz_headers, read_npz
from geomclip.machine.errors import DamagedError, InputError, naming
from geomclip.machine.files import atomic_folder, atomic_write
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import check_sum, sealed
from geomclip.machine.tally import Tally
from geomclip.machine.words import one_line

METADATA = "geomclip_metadata"
"""The array of an .npz of ours that holds JSON."""
_IN_JSON = (*(name for name in STRINGS if name != "classes"), "columns", "made_from", "logit_scale_source")
"""The fields that an .npz of ours holds as JSON, beside its arrays."""


def load(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    columns: Mapping[str, str] | str | None = None,
    logit_scale: float | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress = SILENT,
) -> EmbeddingSet:
    """Embeddings from a store, clip-retrieval's output, or files of arrays: .npz, .npy, .parquet, .pt, HDF5, ...

    Parameters
    ----------
    path : str or Path
        A folder that `extract` or `save` wrote; a folder with `img_emb/` and perhaps `text_emb/` and
        `metadata/` as clip-retrieval writes them (row i of one goes with row i of the other); a file with arrays
        `image` and `text`, or other names that say the same (docs/formats.md), perhaps `image_of_text` (or
        `text_image_index`) and `logit_scale`, or `image`, `labels`, `class_text` and `classes`; rows (n, d) alone,
        which are one cloud; an array of shape (2, n, d), images first; "image=A,text=B", a file each; a glob, or a
        folder, of shards. A store or file may lie at an address too (https://, s3://, ...; docs/remote.md): it is
        fetched into the cache.
    dtype : torch.float32 or torch.float64, optional
        Precision to compute in. Left out: that of the file, at least float32.
    columns : mapping of role to name, or "ROLE=NAME,ROLE=NAME", optional
        Which array or column is `image`, which `text`, `caption`, `labels`, ..., where names do not say it.
    logit_scale : float, optional
        In place of what the file holds.
    cache_dir : path, optional
        Where what lies at an address is kept. Left out: see `geomclip.machine.files.cache_dir`.
    progress : Progress, optional
        Is told how much of it has come.

    Raises
    ------
    InputError
        If it cannot be read, is unfinished or damaged, could be taken in two ways, or a row has no direction: names
        the file and the row.
    """
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    if (text := str(path)) != (here := brought(text, folder=cache_dir, progress=progress)):
        with naming(plain(text)):
            try:
                return load(here, dtype=dtype, columns=columns, logit_scale=logit_scale)
            except DamagedError as problem:
                raise DamagedError(f"{problem}: delete it to have it fetched again") from problem
    fields = _fields_at(path, columns_of(columns))
    if logit_scale is not None:
        fields |= {"logit_scale": logit_scale, "logit_scale_source": "given"}
    check_logit_scale(fields.get("logit_scale"), Path(path))
    for name in ("image", "text", "class_text"):
        if fields.get(name) is not None:
            fields[name] = _joined(fields[name], dtype)
    return _checked(Path(path), fields)


def _fields_at(path: str | Path, columns: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of EmbeddingSet, from whatever this is; vectors still as lists of arrays."""
    place = Path(path).expanduser()
    if place.is_dir() and (place / MANIFEST).exists():
        return _fields_of_store(place)
    if place.suffix == ".npz" and place.exists() and METADATA in npz_headers(place):
        return _fields_of_npz(place)
    if place.is_dir() and any((place / name).exists() for name in ("img_emb", "text_metadata")):
        fields, tally = _fields_of_others(place), Tally()
    else:
        fields, tally = gathered(path, columns)
    fields = settled(fields, tally, place)
    return {**fields, "made_from": {**UNKNOWN, "file": place.name, "read": tally.read().to_dict()}}


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
    with atomic_folder(path) as building:
        write_store(building, vars(embeddings))
    return path


def _fields_of_others(folder: Path) -> dict[str, Any]:
    """Arguments of EmbeddingSet, from clip-retrieval's layout."""
    if (folder / "text_metadata").exists():
        raise InputError(f"{folder} has lost its {MANIFEST}: extract it again")
    return fields_of_clip_retrieval(folder)


def _fields_of_store(folder: Path) -> dict[str, Any]:
    """Arguments of EmbeddingSet, from a store; vectors still as lists of arrays."""
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
    """Arguments of EmbeddingSet, from a file that `save` wrote."""
    indices = ("image_of_text", "text_image_index", "labels", "truncated")
    scalars = ("logit_scale", "logit_bias")
    arrays = read_npz(path, ("image", "text", "class_text", METADATA, *STRINGS, *indices, *scalars))
    if "image" not in arrays:
        raise InputError(f"{path} has no array named image")
    fields: dict[str, Any] = {"made_from": {**UNKNOWN, "file": path.name}}
    fields |= _metadata(arrays.pop(METADATA), path, arrays)
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


def _metadata(array: NDArray[Any], path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What `save` put into an .npz beside the numbers, as JSON in bytes; the arrays must be those that it names."""
    try:
        if array.dtype != np.uint8 or array.ndim != 1:
            raise ValueError(f"dtype {array.dtype}, shape {array.shape}")
        content = json.loads(array.tobytes())
        fields = {name: content[name] for name in _IN_JSON if content.get(name) is not None}
        fields["made_from"] = {**UNKNOWN, **fields["made_from"]}
        for name in STRINGS:
            if not isinstance(fields.get(name, []), list):
                raise ValueError(f"{name} is no list")
        if differing := set(content.get("arrays", arrays)) ^ set(arrays):
            raise DamagedError(f"{path} is damaged: it has not the arrays that it was saved with ({min(differing)})")
        check_sum(content, path, "save the set again")
        return fields
    except DamagedError:
        raise
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
    content = sealed({name: getattr(embeddings, name) for name in _IN_JSON} | {"arrays": sorted(arrays)})
    arrays[METADATA] = np.frombuffer(json.dumps(content, allow_nan=False).encode(), dtype=np.uint8)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # a ZipInfo made from a name alone carries no time, so the same set gives the same bytes
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                for chunk in npy_chunks(array):
                    member.write(chunk)


def _joined(parts: Sequence[NDArray[Any]], dtype: torch.dtype | None) -> Tensor:
    """The shards under one another, in the precision requested; half precision becomes float32."""
    if dtype is None:
        exact = any(part.dtype.kind != "f" or part.dtype.itemsize > 4 for part in parts)
        dtype = torch.float64 if exact else torch.float32
    width = {part.shape[1] for part in parts}
    if len(width) > 1:
        raise InputError(f"shards have different dimensions: {', '.join(map(str, sorted(width)))}")
    joined = scratch.empty(sum(map(len, parts)), *width, dtype=dtype)
    rows, start = joined.numpy(), 0
    for part in parts:
        rows[start : start + len(part)] = part
        start += len(part)
    return joined


def _strings(array: NDArray[Any], name: str) -> list[str]:
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, got shape {array.shape}")
    return texts_of(array, name)


def _checked(path: Path, fields: dict[str, Any]) -> EmbeddingSet:
    try:
        return EmbeddingSet(**fields)
    except (ValueError, TypeError, AttributeError) as problem:
        raise InputError(f"{path}: {one_line(problem, 200)}") from problem
