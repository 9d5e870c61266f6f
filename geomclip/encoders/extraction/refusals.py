"""What an extraction refuses: data without a meaning, losses beyond a tenth, folders that hold something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomclip.embeddings.shards import MANIFEST, Record
from geomclip.encoders.extraction.batches import MOST_SKIPPED
from geomclip.machine.errors import InputError
from geomclip.machine.files import is_ours
from geomclip.pairs.record import Pairs


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


def refuse_losses(lost: Sequence[Record], what: str, *, of: int, data: str) -> None:
    """InputError as soon as it is certain that more than a tenth will be missing."""
    if len(lost) > MOST_SKIPPED * of:
        raise InputError(
            f"{data}: {len(lost)} of {of} {what} cannot be used, more than a tenth; first: {named(lost[:3])}"
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


def refuse_another(folder: Path, there: Mapping[str, Any], head: Mapping[str, Any], fingerprint: str) -> None:
    """InputError, with what differs, unless the manifest that is there is of this head and of these data."""
    try:
        before, now = {**there, **there["made_from"]}, {**head, **head["made_from"]}
        differing = [
            f"{key}: {before.get(key)!s:.60} there, {value!s:.60} here"
            for key, value in now.items()
            if key != "made_from" and before.get(key) != value
        ]
        if not differing and there["written"]["data_fingerprint"] != fingerprint:
            differing = ["the data: its ids, captions, or the size or time of an image file"]
    except (KeyError, TypeError) as problem:
        raise InputError(f"{folder / MANIFEST} is no manifest of an extraction: name a new folder") from problem
    if differing:
        raise InputError(f"{folder} holds another extraction ({'; '.join(differing[:3])}): name a new folder")
