"""One shard: encoded, and written with its tables; the same by whichever process it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geomclip.embeddings.layouts import column_name
from geomclip.embeddings.shards import KINDS, Record, read_table, write_part, write_table
from geomclip.encoders.extraction.batches import Coming, Encoding
from geomclip.encoders.protocol import EncodesInputs
from geomclip.pairs.record import Pair

Tick = Callable[[int, Mapping[int, str]], None]
"""Told after each batch how many were done in it, and place -> why of what is lost so far; may raise to stop."""


@dataclass(frozen=True)
class Task:
    """A shard that is to be made, with all that its files depend on beside the encoder and `Columns`."""

    number: int
    name: str  # the number with zeros in front: other readers take the files in the order of their names
    start: int  # its first input
    pairs: Sequence[Pair]

    def __str__(self) -> str:
        return f"shard {self.name}"


@dataclass(frozen=True)
class Columns:
    """What the tables of all shards of a store have."""

    names: Sequence[str]  # of the columns of the data
    class_index: Mapping[str, int]
    texts: bool


@dataclass(frozen=True)
class Begun:
    """A shard that is being encoded."""

    task: Task
    texts: Sequence[tuple[int, str, str]]  # place of the image, id, caption
    images: Coming
    coming_texts: Coming


@dataclass
class Written:
    """A shard whose files are there: its record for the manifest, and what was skipped."""

    record: Record
    lost: list[Record]
    sha256: Sequence[str] = field(default_factory=list)  # of each image, kept or not


def _no_tick(done: int, reasons: Mapping[int, str]) -> None:
    pass


class ShardWriter:
    """Makes shards with an encoding that is entered; several may be begun before the first is written."""

    def __init__(self, encoding: Encoding, columns: Columns, *, tells_truncated: bool) -> None:
        self.encoding, self.columns, self.tells_truncated = encoding, columns, tells_truncated

    def begin(self, task: Task) -> Begun:
        """A shard with its images and texts on their way; of images that will be skipped too, and dropped then."""
        texts = (
            [(place, *text) for place, pair in enumerate(task.pairs) for text in pair.named_captions()]
            if self.columns.texts
            else []
        )
        captions = [caption for _, _, caption in texts]
        return Begun(task, texts, self.encoding.images(task.pairs), self.encoding.texts(captions))

    def write(
        self, folder: Path, begun: Begun, first_row: int, images_tick: Tick = _no_tick, texts_tick: Tick = _no_tick
    ) -> Written:
        """Wait for the rows of a shard and write its files; its image rows count from `first_row`."""
        task = begun.task
        start, pairs = task.start, task.pairs
        images = self.encoding.finished(begun.images, images_tick)
        lost = [skip(start + i, pairs[i], why) for i, why in images.reasons.items()]
        table = self._image_table([pairs[i] for i in images.kept], [images.sha256[i] for i in images.kept])
        record = {
            "number": task.number,
            "inputs": [start, start + len(pairs)],
            "first_row": first_row,
            "image_rows": len(images.kept),
            "skipped_sha256": {str(start + i): images.sha256[i] for i in sorted(images.reasons)},
            "files": write_part(folder, "img", task.name, images.rows.numpy(), table),
        }
        if images.twelve_bits:
            record["twelve_bit_images"] = images.twelve_bits
        if self.columns.texts:
            row_of = {place: first_row + i for i, place in enumerate(images.kept)}
            texts, lost_texts = self._texts(folder, begun, row_of, texts_tick)
            record |= texts | {"files": record["files"] | texts["files"]}
            lost += lost_texts
        return Written(record, lost, [images.sha256[i] for i in range(len(pairs))])

    def _texts(self, folder: Path, begun: Begun, row_of: Mapping[int, int], tick: Tick) -> tuple[Record, list[Record]]:
        """The texts of a shard's images, without those of images that were skipped."""
        task, texts = begun.task, begun.texts
        encoded = self.encoding.finished(begun.coming_texts, tick)
        lost = [
            skip(task.start + texts[i][0], task.pairs[texts[i][0]], why) | {"caption_id": texts[i][1]}
            for i, why in encoded.reasons.items()
        ]
        chosen = [i for i, j in enumerate(encoded.kept) if texts[j][0] in row_of]  # rows of `encoded`
        kept = [texts[encoded.kept[i]] for i in chosen]
        table: dict[str, Any] = {
            "caption": [caption for _, _, caption in kept],
            "caption_id": [caption_id for _, caption_id, _ in kept],
            "image_row": [row_of[place] for place, _, _ in kept],
        }
        if self.tells_truncated:
            table["truncated"] = [encoded.kept[i] in encoded.truncated for i in chosen]
        record = {
            "text_rows": len(kept),
            "truncated_texts": sum(table.get("truncated", ())),
            "files": write_part(folder, "text", task.name, encoded.rows[chosen].numpy(), table),
        }
        return record, lost

    def _image_table(self, pairs: Sequence[Pair], sha256: Sequence[str]) -> dict[str, list[Any]]:
        known = [dict(pair.columns) for pair in pairs]
        table: dict[str, list[Any]] = {
            "image_path": [pair.image.path for pair in pairs],
            "image_id": [pair.image_id for pair in pairs],
            "label": [pair.label for pair in pairs],
            "caption": [pair.captions[0] if pair.captions else "" for pair in pairs],
            **{column_name(name): [columns.get(name, "") for columns in known] for name in self.columns.names},
            "image_sha256": list(sha256),
        }
        if self.columns.class_index:
            table["class_index"] = [self.columns.class_index[pair.label] for pair in pairs]
        return table


def tells_truncated(encoder: object) -> bool:
    """Whether an encoder says which texts it cuts: one that prepares its inputs itself does not."""
    return not isinstance(encoder, EncodesInputs)


def moved(folder: Path, record: Record, name: str, first_row: int) -> Record:
    """The record of a shard whose image rows count from another row now; its table of texts is written anew."""
    by = first_row - record["first_row"]
    record = {**record, "first_row": first_row}
    place = f"{KINDS['text']}/{KINDS['text']}_{name}.parquet"
    if place in record["files"]:
        table = read_table(folder / place)
        table["image_row"] = [row + by for row in table["image_row"]]
        record["files"] = {**record["files"], **write_table(folder, "text", name, table)}
    return record


def skip(place: int, pair: Pair, reason: str) -> Record:
    """What a manifest says of an input that was skipped."""
    return {"input": place, "image_id": pair.image_id, "path": pair.image.path, "reason": reason}
