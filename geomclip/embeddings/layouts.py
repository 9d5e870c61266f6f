"""What the folders of embeddings hold, as fields of an EmbeddingSet, and how a set is laid down in one."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.shards import KINDS, MANIFEST, SCHEMA, read_table, verify, write_manifest, write_part
from geomclip.machine.array_files import check_rows, read_npy
from geomclip.machine.errors import InputError

RESERVED = ("image_path", "image_id", "label", "caption", "image_sha256", "class_index")
"""Columns of metadata with a meaning of their own; every other one is a column of the data set's."""

UNKNOWN: Mapping[str, Any] = {
    "dataset": "",
    "split": "",
    "model": "",
    "pretrained": "",
    "language": "",
    "precision": "",
    "licence": "",
    "weights_sha256": "",
    "preprocessing": {},
    "data_sha256": "",
    "skipped": [],
    "read": {},
    "notes": [],
}
"""What `made_from` says of a file that does not say what it was made from."""


def fields_of_store(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of EmbeddingSet, every file verified; vectors as one array a shard, not yet joined."""
    vectors: dict[str, list[NDArray[Any]]] = {kind: [] for kind in KINDS}
    tables: dict[str, dict[str, list[Any]]] = {kind: {} for kind in KINDS}
    kind_of = {f"{kind}_emb": kind for kind in KINDS} | {table: kind for kind, table in KINDS.items()}
    for shard in [*manifest["shards"], *manifest.get("class_shards", [])]:
        for name, record in shard["files"].items():
            path = verify(folder, name, record)
            kind = kind_of[PurePosixPath(name).parts[0]]
            if path.suffix == ".npy":
                vectors[kind].append(check_rows(read_npy(path), str(path)))
                found = len(vectors[kind][-1])
            else:
                table = read_table(path)
                found = len(next(iter(table.values()), ()))
                for column, values in table.items():
                    tables[kind].setdefault(column, []).extend(values)
            if found != record["rows"]:
                raise InputError(f"{path} has {found} rows, the manifest says {record['rows']}")
    images, texts, classes = tables["img"], tables["text"], tables["class"]
    counted = ("skipped", "truncated_texts", "twelve_bit_images", "data_sha256", "read")
    known = {key: manifest[key] for key in counted if key in manifest}
    fields = image_fields(images) | {
        "image": vectors["img"],
        "logit_scale": manifest["logit_scale"],
        "logit_bias": manifest.get("logit_bias"),
        "logit_scale_source": manifest.get("logit_scale_source", ""),
        "made_from": {**UNKNOWN, **manifest["made_from"], **known},
    }
    if copies := copied_files(images.get("image_sha256", ())):
        fields["made_from"]["notes"] = [*fields["made_from"]["notes"], copies]
    if vectors["text"]:
        fields |= {"text": vectors["text"], "image_of_text": np.array(texts["image_row"], dtype=np.int64)}
        fields["caption_id"] = texts["caption_id"]
        if any(texts["caption"]):
            fields["caption"] = texts["caption"]
        if "truncated" in texts:
            fields["truncated"] = np.array(texts["truncated"], dtype=np.bool_)
    if vectors["class"]:
        fields |= {"class_text": vectors["class"], "classes": classes["class_name"]}
        fields["labels"] = np.array(images["class_index"], dtype=np.int64)
    return fields


def fields_of_clip_retrieval(folder: Path) -> dict[str, Any]:
    """As `fields_of_store`, of clip-retrieval's output folder.

    Row i of img_emb, of text_emb and of metadata belong together, shard by shard.
    """
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


def image_fields(table: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """What the metadata table says of the images, as arguments of EmbeddingSet."""
    columns = {name: values for name, values in table.items() if name not in RESERVED}
    if any(table.get("label", ())):
        columns["label"] = table["label"]
    fields: dict[str, Any] = {"columns": columns}
    for name in ("image_id", "image_path"):
        if any(table.get(name, ())):
            fields[name] = table[name]
    return fields


def copied_files(sha256: Sequence[str]) -> str:
    """How many images have a copy by file, as a line; "" if none has.

    Examples
    --------
    >>> copied_files(["a", "b", "a", "c"])
    '2 of 4 images have a copy by file: the same bytes under another name'
    """
    count = Counter(sha256)
    copied = sum(each for digest, each in count.items() if digest and each > 1)
    return f"{copied} of {len(sha256)} images have a copy by file: the same bytes under another name" if copied else ""


def column_name(name: str) -> str:
    """What a column of the data set's is called in the table: its own name, unless that has another meaning.

    Examples
    --------
    >>> column_name("source"), column_name("label")
    ('source', 'label_')
    """
    return f"{name}_" if name in RESERVED else name


def write_store(folder: Path, fields: Mapping[str, Any]) -> None:
    """A store folder of one shard from the fields of an EmbeddingSet: `fields_of_store` reads them back."""
    n = len(fields["image"])
    first: dict[int, str] = {}
    if fields["image_of_text"] is not None and fields["caption"] is not None:
        for row, caption in zip(fields["image_of_text"].tolist(), fields["caption"], strict=True):
            first.setdefault(row, caption)
    columns = dict(fields["columns"])
    labels = columns.pop("label", ("",) * n)
    images: dict[str, Any] = {
        "image_path": fields["image_path"] or ("",) * n,
        "image_id": fields["image_id"],
        "label": labels,
        "caption": [first.get(row, "") for row in range(n)],
        **{column_name(name): column for name, column in columns.items()},
    }
    files: dict[str, Any] = {}
    classes = []
    if fields["labels"] is not None and fields["class_text"] is not None:
        images["class_index"] = fields["labels"].tolist()
        names = fields["classes"] or [str(i) for i in range(len(fields["class_text"]))]
        part = write_part(folder, "class", "0000", fields["class_text"].numpy(), {"class_name": names})
        classes.append({"files": part})
    files |= write_part(folder, "img", "0000", fields["image"].numpy(), images)
    if fields["text"] is not None and fields["image_of_text"] is not None:
        texts: dict[str, Any] = {
            "caption": fields["caption"] or ("",) * len(fields["text"]),
            "caption_id": fields["caption_id"],
            "image_row": fields["image_of_text"].tolist(),
        }
        if fields["truncated"] is not None:
            texts["truncated"] = fields["truncated"].tolist()
        files |= write_part(folder, "text", "0000", fields["text"].numpy(), texts)
    manifest = {
        "schema": SCHEMA,
        "done": True,
        "dtype": str(fields["image"].dtype).removeprefix("torch."),
        "normalised": True,
        "shard_rows": n,
        "logit_scale": fields["logit_scale"],
        "logit_bias": fields["logit_bias"],
        "logit_scale_source": fields["logit_scale_source"],
        "made_from": dict(fields["made_from"]),
        "class_shards": classes,
        "shards": [{"number": 0, "first_row": 0, "image_rows": n, "files": files}],
    }
    write_manifest(folder, manifest)


def data_sha256(folder: Path, manifest: Mapping[str, Any]) -> str:
    """sha256 over ids, labels, captions and image bytes of all that was encoded, whatever the shards."""
    digest = hashlib.sha256()
    for record in [*manifest["class_shards"], *manifest["shards"]]:
        tables = {name.split("/")[0]: read_table(folder / name) for name in record["files"] if name.endswith("parquet")}
        if "class_metadata" in tables:
            digest.update(json.dumps(tables["class_metadata"]).encode())
            continue
        images, texts = tables["metadata"], tables.get("text_metadata", {})
        captions: dict[int, list[list[str]]] = {}
        for row, *text in zip(*(texts.get(name, ()) for name in ("image_row", "caption_id", "caption")), strict=True):
            captions.setdefault(row, []).append(text)
        columns = (images["image_id"], images["image_sha256"], images["label"])
        for row, image in enumerate(zip(*columns, strict=True), start=record["first_row"]):
            digest.update(json.dumps([*image, captions.get(row, [])]).encode())
    return digest.hexdigest()


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files whose whole name fits the pattern, by the number in it: 2 comes before 10."""
    if not folder.is_dir():
        return {}
    found = ((re.fullmatch(pattern, path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in found if match))
