"""What an extraction refuses: data without a meaning, losses beyond a tenth, folders that hold something else."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.shards import KINDS, MANIFEST, Record, read_table, verify
from geomclip.encoders.extraction.batches import MOST_SKIPPED
from geomclip.encoders.protocol import EncodesInputs
from geomclip.machine.errors import InputError
from geomclip.machine.files import is_ours
from geomclip.machine.places import keep_paths, shown_in
from geomclip.machine.words import one_line, option, typed
from geomclip.pairs.record import Pairs

ALIKE = 0.999
"""Cosine of two rows of one input by one encoder at least, whatever else is in its batch."""


class OtherImagesError(InputError):
    """A store holds features of images with other bytes."""


def class_index(pairs: Pairs) -> dict[str, int]:
    """Name of each class -> its row; empty where there are no classes."""
    if pairs.classes is None:
        return {}
    index = {name: i for i, name in enumerate(pairs.classes)}
    if len(index) < len(pairs.classes):
        twice = next(name for i, name in enumerate(pairs.classes) if index[name] != i)
        raise InputError(f"{pairs.name}: the class name {twice!r} stands twice; labels could mean either")
    prompts = pairs.class_prompts or ()
    if len(prompts) != len(index) or not all(prompts):
        raise InputError(f"{pairs.name}: every one of the {len(index)} classes needs a prompt")
    for pair in pairs.pairs:
        if pair.label not in index:
            raise InputError(f"{pairs.name}: image {pair.image_id} has the label {pair.label!r}, which is no class")
    return index


def refuse_losses(lost: Sequence[Record], what: str, *, of: int, data: str, root: Path | None = None) -> None:
    """InputError as soon as it is certain that more than a tenth will be missing; `root` is where they should be."""
    if len(lost) > MOST_SKIPPED * of:
        absent = any(entry["reason"] == os.strerror(errno.ENOENT) for entry in lost)
        # a set by its name has no other folder: its photos are placed there
        way_out = f", {option('image_root')} names another folder" if ":" in data else ", place them there"
        where = f"; looked for in {root}{way_out}" if root and absent else ""
        raise InputError(
            f"{data}: {len(lost)} of {of} {what} cannot be used, more than a tenth; first: {named(lost[:3])}{where}"
        )


def named(entries: Sequence[Record]) -> str:
    """What was skipped, each with its reason."""
    return ", ".join(f"{entry['path'] or entry['image_id']} ({entry['reason']})" for entry in entries)


def refuse_foreign(folder: Path) -> None:
    """InputError if the folder is a file, or holds something and no manifest."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder")
    others = sorted(entry.name for entry in folder.iterdir() if not is_ours(entry.name))
    if others and not (folder / MANIFEST).exists():  # looked for last: another may begin the store at this moment
        raise InputError(f"{folder} is not empty ({others[0]}) and no embedding store: name a new folder")


def refuse_another(folder: Path, there: Mapping[str, Any], head: Mapping[str, Any], pairs: Pairs, texts: str) -> None:
    """InputError, with what differs, unless the manifest that is there is of this head and of these ids and texts."""
    try:
        with keep_paths(False):  # a store begun from another folder, or with paths kept, is of the same model
            before, now = ({**each, **shown_in(each["made_from"])} for each in (there, head))
        differing = [
            f"{key}: {before.get(key)!s:.60} there, {value!s:.60} here"
            for key, value in now.items()
            if key != "made_from" and before.get(key) != value
        ]
        if not differing and "texts_sha256" in there["written"]:
            if there["written"]["texts_sha256"] != texts:
                differing = ["the data: its ids, captions, labels or columns"]
        elif not differing and there["written"]["data_fingerprint"] != pairs.fingerprint():
            # of an earlier version, which knew nothing better of the images
            differing = ["the data: its ids, captions, or the size or time of an image file"]
    except (KeyError, TypeError) as problem:
        raise InputError(f"{folder / MANIFEST} is no manifest of an extraction: name a new folder") from problem
    if differing:
        raise InputError(f"{folder} holds another extraction ({'; '.join(differing[:3])}): name a new folder")


def refuse_unnamed(folder: Path, encoder: EncodesInputs) -> None:
    """InputError if nothing tells whether a store that was begun is of this encoder."""
    if not encoder.named:
        way = typed("--encoder-name", "name")
        raise InputError(
            f"{folder} was begun before, and an encoder of your own that has no name may be another now: say which "
            f"version it is by {way}, or name a new folder"
        )


def refuse_other_rows(folder: Path, there: Mapping[str, Any], encoder: EncodesInputs) -> None:
    """InputError if an encoder gives other rows for the first inputs than the sound shards of a store have."""
    for kind, probe in encoder.probes.items():
        row = _first_row(folder, there, "img_emb" if kind in ("image", "query") else "text_emb")
        if row is None or not torch.isfinite(probe).all():
            continue
        if row.shape != probe.shape or float(normalize(row[None])[0][0] @ probe) < ALIKE:
            name = there.get("made_from", {}).get("encoder_name", "")
            raise InputError(
                f"{folder} has other rows of the same input under the name {name!r} than this encoder gives: "
                "it is another one, give it another name"
            )


def _first_row(folder: Path, manifest: Mapping[str, Any], kind: str) -> Tensor | None:
    """The first row in a store, of images or texts, in float64; None where there is none yet."""
    for shard in manifest.get("shards", ())[:1]:
        for name in shard.get("files", {}):
            if name.startswith(f"{kind}/"):
                with suppress(OSError, ValueError):  # a damaged file is found, and made again, after this
                    rows = np.load(folder / name, mmap_mode="r", allow_pickle=False)
                    if len(rows) and rows.ndim == 2:
                        return torch.from_numpy(np.array(rows[0], dtype=np.float64))
    return None


def refuse_other_images(folder: Path, there: Mapping[int, str], here: Sequence[str], pairs: Pairs) -> None:
    """OtherImagesError, with how many differ, unless the images (place -> sha256 there) have the same bytes here."""
    pairs_of = zip(there.items(), here, strict=True)
    differing = [place for (place, before), now in pairs_of if before != now]
    if differing:
        raise OtherImagesError(
            f"{folder} holds another extraction (the bytes of {len(differing)} of {len(there)} images are others now; "
            f"first: {one_line(pairs.pairs[differing[0]].image.path, 80)}): name a new folder"
        )


def recorded_images(folder: Path, manifest: Mapping[str, Any], of: int, shard_rows: int) -> dict[int, str]:
    """Place of each image of the finished shards -> sha256 of its bytes then, "" if it could not be read.

    Without shards whose table is damaged, which are made again, and without skipped images of which an earlier
    version wrote no sha256.
    """
    skipped = {entry["input"] for entry in manifest["skipped"] if "caption_id" not in entry}
    recorded: dict[int, str] = {}
    for shard in manifest["shards"]:
        start = shard["number"] * shard_rows
        names = [name for name in shard["files"] if name.startswith(f"{KINDS['img']}/")]
        try:
            tables = [read_table(verify(folder, name, shard["files"][name])) for name in names]
            digests = [digest for table in tables for digest in table["image_sha256"]]
            unread = dict(shard.get("skipped_sha256", {}))
        except (InputError, KeyError, TypeError, ValueError):
            continue
        places = range(start, min(start + shard_rows, of))
        kept = [place for place in places if place not in skipped]
        if len(kept) == len(digests):
            recorded |= dict(zip(kept, digests, strict=True))
            recorded |= {place: unread[str(place)] for place in places if place in skipped and str(place) in unread}
    return recorded
