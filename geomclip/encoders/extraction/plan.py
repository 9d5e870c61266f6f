"""One extraction: what is encoded with what, how far its store is, and how it goes on from there.

One class and one file, since all its steps share the manifest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geomclip.embeddings.layouts import column_name, data_sha256
from geomclip.embeddings.shards import (
    KINDS,
    MANIFEST,
    SCHEMA,
    Record,
    read_manifest,
    verify,
    write_manifest,
    write_part,
)
from geomclip.encoders.extraction.batches import Coming, Encoding, unit_rows
from geomclip.encoders.extraction.digests import Digests, Stamp
from geomclip.encoders.extraction.healing import clear_place, clear_unusable
from geomclip.encoders.extraction.inputs import encoding_of
from geomclip.encoders.extraction.refusals import (
    class_index,
    named,
    recorded_images,
    refuse_another,
    refuse_foreign,
    refuse_losses,
    refuse_other_images,
    refuse_other_rows,
    refuse_unnamed,
)
from geomclip.encoders.protocol import AnyEncoder, EncodesInputs
from geomclip.machine.errors import InputError
from geomclip.machine.files import cache_dir, clear_leftovers
from geomclip.machine.lock import Lock
from geomclip.machine.places import host
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.signals import interruption, number_of
from geomclip.machine.version import __version__
from geomclip.machine.words import option
from geomclip.pairs.record import Pair, Pairs

BATCH_SIZE = 64
"""Images that the model sees at once."""
SHARD_ROWS = 1024
"""Images a shard."""


@dataclass(frozen=True)
class Begun:
    """A shard that is being encoded."""

    start: int  # its first input
    pairs: Sequence[Pair]
    texts: Sequence[tuple[int, str, str]]  # place of the image, id, caption
    stamps: Sequence[Stamp | None]  # of the images, before they are read
    images: Coming
    coming_texts: Coming


class Extraction:
    """What is encoded with what (`head`), and how far it is (`manifest`); arguments as of `extract`."""

    def __init__(
        self,
        encoder: AnyEncoder,
        pairs: Pairs,
        *,
        batch_size: int = BATCH_SIZE,
        shard_rows: int = SHARD_ROWS,
        raw: bool = False,
        logit_scale: float | None = None,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> None:
        if not len(pairs):
            raise InputError(f"{pairs.name or 'the data set'} ({pairs.split or 'no split'}) has no images")
        if batch_size < 1 or shard_rows < 1:
            sizes = f"{option('batch_size')} and {option('shard_rows')}"
            raise InputError(f"{sizes} must be at least 1, got {batch_size} and {shard_rows}")
        if isinstance(encoder, EncodesInputs):
            encoder.learn(pairs)  # how wide its rows are
        self.encoder, self.pairs, self.raw, self.shard_rows = encoder, pairs, raw, shard_rows
        self.what = "queries" if pairs.of_texts else "images"
        self.logit_scale = logit_scale
        self.batch = min(batch_size, shard_rows, len(pairs))
        self.progress = progress
        self.digests = Digests([pair.image for pair in pairs.pairs], cache_dir(cache), progress=progress)
        self.texts_sha256 = pairs.fingerprint([""] * len(pairs))
        self.columns = list(dict.fromkeys(name for pair in pairs.pairs for name, _ in pair.columns))
        self.class_index = class_index(pairs)
        self.n_prompts = sum(map(len, pairs.class_prompts or ()))
        self.n_texts = 0 if pairs.classes is not None else sum(len(pair.captions) for pair in pairs.pairs)
        self.shards = range(-(-len(pairs) // shard_rows))
        self.head = self._head()
        self.manifest: dict[str, Any] = {}
        self.done = 0

    def key(self) -> str:
        """Names this extraction in a cache, whatever the images: alike for the same texts, encoder and settings."""
        known = json.dumps([self.head, self.texts_sha256], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()[:32]

    def into(self, folder: Path, *, workers: int | None = None, in_cache: bool = False) -> Path:
        """Fill the folder, alone, from wherever it is; see `extract`.

        One `in_cache` is waited for where another fills it now, and emptied where what is in it cannot be used.
        """
        if workers is not None and workers < 0:
            raise InputError(f"{option('workers')} must be 0 or more, got {workers}")
        (clear_place if in_cache else refuse_foreign)(folder)
        with Lock(folder, wait=in_cache):
            if in_cache:
                clear_unusable(folder, self.head, self.pairs, self.texts_sha256, self.progress)
            self._begin(folder)
            if self.manifest["done"]:
                self.progress.log(f"{folder} is finished: nothing to do")
                return folder
            try:
                how: dict[str, Any] = {"batch": self.batch, "workers": workers, "raw": self.raw}
                with encoding_of(self.encoder, of_texts=self.pairs.of_texts, **how) as encoding:
                    self._fill(folder, encoding)
            except KeyboardInterrupt as stop:
                finished = f"{len(self.manifest['shards'])} of {len(self.shards)} shards"
                message = f"{finished} are in {folder}; the same command continues"
                raise interruption(number_of(stop), message) from None
        return folder

    def _head(self) -> dict[str, Any]:
        """What must agree before a begun store is continued, in the form it has after a trip through JSON."""
        encoder, pairs = dict(self.encoder.made_from()), self.pairs
        data: dict[str, Any] = {
            "dataset": pairs.name,
            "split": pairs.split,
            "language": pairs.language,
            "licence": pairs.licence,
        }
        if pairs.of_texts:
            data["sides"] = ["query", "document"]
        scale = self.encoder.logit_scale if self.logit_scale is None else self.logit_scale
        head = {
            "schema": SCHEMA,
            "inputs": len(pairs),
            "shard_rows": self.shard_rows,
            "batch_size": self.batch,
            "dtype": "float32",
            "normalised": not self.raw,
            "dim": self.encoder.dim,
            "logit_scale": scale,
            "logit_bias": self.encoder.logit_bias,
            "logit_scale_source": "asked" if self.logit_scale is not None else "" if scale is None else "model",
            "made_from": {**data, **encoder, "notes": [*pairs.notes, *encoder.get("notes", ())]},
        }
        return dict(json.loads(json.dumps(head)))

    def _begin(self, folder: Path) -> None:
        """A new manifest; or the one that is there, without the shards that have been damaged since."""
        self.done = 0
        clear_leftovers(folder, *(f"{kind}_emb" for kind in KINDS), *KINDS.values())
        if not (folder / MANIFEST).exists():
            # whatever differs between machines and days is in `written`, and only there
            written = {
                **host(),
                "started": _now(),
                "geomclip": __version__,
                "torch": str(torch.__version__),
                "texts_sha256": self.texts_sha256,
            }
            self.manifest = {**self.head, "done": False, "class_shards": [], "shards": [], "skipped": []}
            self.manifest |= {"read": self.pairs.read.to_dict(), "written": written}
            write_manifest(folder, self.manifest)
            return
        self.manifest = read_manifest(folder)
        if isinstance(self.encoder, EncodesInputs):
            refuse_unnamed(folder, self.encoder)
        refuse_another(folder, self.manifest, self.head, self.pairs, self.texts_sha256)
        recorded = recorded_images(folder, self.manifest, len(self.pairs), self.shard_rows)
        refuse_other_images(folder, recorded, self.digests.sha256(list(recorded)), self.pairs)
        if self.manifest.get("read", {}) != self.pairs.read.to_dict():  # a file that is none of the data came or went
            self.manifest["read"] = self.pairs.read.to_dict()
            write_manifest(folder, self.manifest)
        for group in ("class_shards", "shards"):
            sound = [record for record in self.manifest[group] if self._is_sound(folder, record)]
            self.manifest["done"] &= len(sound) == len(self.manifest[group])
            self.manifest[group] = sound
        if isinstance(self.encoder, EncodesInputs):
            refuse_other_rows(folder, self.manifest, self.encoder)
        if not self.manifest["done"]:
            again = len(self.manifest["shards"])
            self.progress.log(f"continuing {folder}: {again} of {len(self.shards)} shards are finished and used again")

    def _is_sound(self, folder: Path, record: Mapping[str, Any]) -> bool:
        try:
            for name, entry in record["files"].items():
                verify(folder, name, entry)
        except InputError as problem:
            self.progress.log(f"made again: {problem}")
            return False
        return True

    def _fill(self, folder: Path, encoding: Encoding) -> None:
        """Make what is missing, shard after shard, the manifest renewed after each."""
        if self.class_index:
            if not self.manifest["class_shards"]:
                self.manifest["class_shards"] = [{"files": self._class_part(folder, encoding)}]
            else:
                self._advance(self.n_prompts)
        finished = {record["number"]: record for record in self.manifest["shards"]}
        missing = [number for number in self.shards if number not in finished]
        begun: dict[int, Begun] = {}
        first_row = 0
        for number in self.shards:
            start, stop = number * self.shard_rows, (number + 1) * self.shard_rows
            pairs = self.pairs.pairs[start:stop]
            record = finished.get(number)
            # image rows count over all shards: if one made again has changed its length, the later ones move
            if record is None or record["first_row"] != first_row:
                # what an earlier try at this shard skipped is forgotten
                others = [entry for entry in self.manifest["skipped"] if not start <= entry["input"] < stop]
                self.manifest["skipped"] = others
                missing = [other for other in missing if other > number]
                for wanted in [number, *missing[:1]]:  # the next is begun before this one ends
                    if wanted not in begun:
                        begun[wanted] = self._begun(wanted, encoding)
                record, lost = self._shard(folder, number, first_row, encoding, begun.pop(number))
                finished[number] = record
                self.manifest["skipped"] = sorted([*others, *lost], key=lambda entry: entry["input"])
                self.manifest["shards"] = [finished[key] for key in sorted(finished)]
                self.manifest["done"] = False
                write_manifest(folder, self.manifest)
            else:
                self._advance(len(pairs) + (sum(len(pair.captions) for pair in pairs) if self.n_texts else 0))
            first_row += record["image_rows"]
        self._finish(folder)

    def _begun(self, number: int, encoding: Encoding) -> Begun:
        """A shard with its images and texts on their way; of images that will be skipped too, and dropped then."""
        start = number * self.shard_rows
        pairs = self.pairs.pairs[start : start + self.shard_rows]
        stamps = self.digests.stamps(range(start, start + len(pairs)))
        texts = (
            [(place, *text) for place, pair in enumerate(pairs) for text in pair.named_captions()]
            if self.n_texts
            else []
        )
        captions = [caption for _, _, caption in texts]
        return Begun(start, pairs, texts, stamps, encoding.images(pairs), encoding.texts(captions))

    def _shard(
        self, folder: Path, number: int, first_row: int, encoding: Encoding, begun: Begun
    ) -> tuple[Record, list[Record]]:
        """Encode and write one shard; its record for the manifest, and what was skipped."""
        start, pairs, name = begun.start, begun.pairs, self._file_number(number)

        def tick(done: int, reasons: Mapping[int, str]) -> None:
            now = [_skip(start + i, pairs[i], why) for i, why in reasons.items()]
            lost = [*self._skipped_images(), *now]
            refuse_losses(lost, self.what, of=len(self.pairs), data=self.pairs.name, root=self.pairs.root)
            self._advance(done, len(lost))

        images = encoding.finished(begun.images, tick)
        lost = [_skip(start + i, pairs[i], why) for i, why in images.reasons.items()]
        self.digests.keep(begun.stamps, [images.sha256[i] for i in range(len(pairs))])
        table = self._image_table([pairs[i] for i in images.kept], [images.sha256[i] for i in images.kept])
        record = {
            "number": number,
            "inputs": [start, start + len(pairs)],
            "first_row": first_row,
            "image_rows": len(images.kept),
            "skipped_sha256": {str(start + i): images.sha256[i] for i in sorted(images.reasons)},
            "files": write_part(folder, "img", name, images.rows.numpy(), table),
        }
        if images.twelve_bits:
            record["twelve_bit_images"] = images.twelve_bits
        if self.n_texts:
            row_of = {place: first_row + i for i, place in enumerate(images.kept)}
            texts, lost_texts = self._text_part(folder, number, row_of, encoding, begun)
            record |= texts | {"files": record["files"] | texts["files"]}
            lost += lost_texts
        return record, lost

    def _text_part(
        self, folder: Path, number: int, row_of: Mapping[int, int], encoding: Encoding, begun: Begun
    ) -> tuple[Record, list[Record]]:
        """The texts of a shard's images, without those of images that were skipped."""
        start, pairs, texts = begun.start, begun.pairs, begun.texts
        skipped = len(self._skipped_images()) + len(pairs) - len(row_of)
        encoded = encoding.finished(begun.coming_texts, lambda done, _: self._advance(done, skipped))
        lost = [
            _skip(start + texts[i][0], pairs[texts[i][0]], why) | {"caption_id": texts[i][1]}
            for i, why in encoded.reasons.items()
        ]
        earlier = [entry for entry in self.manifest["skipped"] if "caption_id" in entry]
        refuse_losses([*earlier, *lost], "texts", of=self.n_texts, data=self.pairs.name)
        chosen = [i for i, j in enumerate(encoded.kept) if texts[j][0] in row_of]  # rows of `encoded`
        kept = [texts[encoded.kept[i]] for i in chosen]
        table: dict[str, Any] = {
            "caption": [caption for _, _, caption in kept],
            "caption_id": [caption_id for _, caption_id, _ in kept],
            "image_row": [row_of[place] for place, _, _ in kept],
        }
        if not isinstance(self.encoder, EncodesInputs):  # which does not say what it cuts
            table["truncated"] = [encoded.kept[i] in encoded.truncated for i in chosen]
        record = {
            "text_rows": len(kept),
            "truncated_texts": sum(table.get("truncated", ())),
            "files": write_part(folder, "text", self._file_number(number), encoded.rows[chosen].numpy(), table),
        }
        return record, lost

    def _image_table(self, pairs: Sequence[Pair], sha256: Sequence[str]) -> dict[str, list[Any]]:
        known = [dict(pair.columns) for pair in pairs]
        table: dict[str, list[Any]] = {
            "image_path": [pair.image.path for pair in pairs],
            "image_id": [pair.image_id for pair in pairs],
            "label": [pair.label for pair in pairs],
            "caption": [pair.captions[0] if pair.captions else "" for pair in pairs],
            **{column_name(name): [columns.get(name, "") for columns in known] for name in self.columns},
            "image_sha256": list(sha256),
        }
        if self.class_index:
            table["class_index"] = [self.class_index[pair.label] for pair in pairs]
        return table

    def _class_part(self, folder: Path, encoding: Encoding) -> Record:
        """One row a class: the mean of the unit rows of its prompts, at length 1 unless raw."""
        prompts = self.pairs.class_prompts or ()
        flat = [prompt for own in prompts for prompt in own]
        encoded = encoding.finished(encoding.texts(flat), lambda done, _: self._advance(done))
        if encoded.reasons:
            place, why = next(iter(encoded.reasons.items()))
            raise InputError(f"the prompt {flat[place]!r} cannot be used: {why}")
        parts = torch.split(unit_rows(encoded.rows).double(), [len(own) for own in prompts])
        means = torch.stack([part.mean(dim=0) for part in parts])
        table = {"class_name": list(self.class_index), "prompts": [json.dumps(own) for own in prompts]}
        rows = means.float() if self.raw else unit_rows(means)
        return write_part(folder, "class", self._file_number(0), rows.numpy(), table)

    def _finish(self, folder: Path) -> None:
        shards, skipped = self.manifest["shards"], self.manifest["skipped"]
        self.manifest |= {
            "n_images": sum(record["image_rows"] for record in shards),
            "n_texts": sum(record.get("text_rows", 0) for record in shards),
            "truncated_texts": sum(record.get("truncated_texts", 0) for record in shards),
            "data_sha256": data_sha256(folder, self.manifest),
            "done": True,
        }
        if twelve_bits := sum(record.get("twelve_bit_images", 0) for record in shards):
            self.manifest["twelve_bit_images"] = twelve_bits
        self.manifest["written"]["finished"] = _now()
        write_manifest(folder, self.manifest)
        if skipped:
            texts = sum("caption_id" in entry for entry in skipped)
            counts = {self.what: len(skipped) - texts, "documents" if self.pairs.of_texts else "texts": texts}
            one = {"images": "image", "queries": "query", "texts": "text", "documents": "document"}
            shown = " and ".join(
                f"{count} {one[what] if count == 1 else what}" for what, count in counts.items() if count
            )
            self.progress.log(f"{shown} skipped, named in {folder / MANIFEST}; first: {named(skipped[:1])}")

    def _advance(self, done: int, skipped: int | None = None) -> None:
        self.done += done
        total = len(self.pairs) + self.n_texts + self.n_prompts
        skipped = len(self._skipped_images()) if skipped is None else skipped
        self.progress.stage("encoding", self.done, total, f"{skipped} skipped" if skipped else "")

    def _skipped_images(self) -> list[Record]:
        return [entry for entry in self.manifest["skipped"] if "caption_id" not in entry]

    def _file_number(self, number: int) -> str:
        # zeros in front, because other readers take the files in the order of their names
        return str(number).zfill(max(4, len(str(len(self.shards) - 1))))


def _skip(place: int, pair: Pair, reason: str) -> Record:
    return {"input": place, "image_id": pair.image_id, "path": pair.image.path, "reason": reason}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
