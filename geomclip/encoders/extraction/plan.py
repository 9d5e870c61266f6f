"""One extraction: what is encoded with what, how far its store is, and how it goes on from there.

One class and one file, since all its steps share the manifest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import torch

from geomclip.embeddings.layouts import data_sha256
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
from geomclip.encoders.extraction.batches import Encoding, unit_rows
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
from geomclip.encoders.extraction.writing import (
    Begun,
    Columns,
    ShardWriter,
    Task,
    Tick,
    Written,
    moved,
    skip,
    tells_truncated,
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
from geomclip.pairs.record import Pairs

BATCH_SIZE = 64
"""Images that the model sees at once."""
SHARD_ROWS = 1024
"""Images a shard."""


class Maker(Protocol):
    """What makes the shards of an extraction in place of the process that asks for them."""

    def made(self, folder: Path) -> Generator[Written, None, None]:
        """The missing shards in their order, each with its files in the store."""


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
        self.class_index = class_index(pairs)
        self.n_prompts = sum(map(len, pairs.class_prompts or ()))
        self.n_texts = 0 if pairs.classes is not None else sum(len(pair.captions) for pair in pairs.pairs)
        names = list(dict.fromkeys(name for pair in pairs.pairs for name, _ in pair.columns))
        self.columns = Columns(names, self.class_index, texts=self.n_texts > 0)
        self.shards = range(-(-len(pairs) // shard_rows))
        self.head = self._head()
        self.manifest: dict[str, Any] = {}
        self.done = 0
        self.first_row = 0  # of the shard that is made next

    def key(self) -> str:
        """Names this extraction in a cache, whatever the images: alike for the same texts, encoder and settings."""
        known = json.dumps([self.head, self.texts_sha256], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()[:32]

    def into(
        self, folder: Path, *, workers: int | None = None, in_cache: bool = False, maker: Maker | None = None
    ) -> Path:
        """Fill the folder, alone, from wherever it is; see `extract`.

        One `in_cache` is waited for where another fills it now, and emptied where what is in it cannot be used. A
        `maker` makes the shards in place of this process.
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
                    self._classes(folder, encoding)
                    made = self._made_here(folder, encoding) if maker is None else maker.made(folder)
                    with closing(made):
                        self._fill(folder, made)
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

    def _classes(self, folder: Path, encoding: Encoding) -> None:
        """Make the rows of the classes, if there are any and they are missing."""
        if not self.class_index:
            return
        if not self.manifest["class_shards"]:
            self.manifest["class_shards"] = [{"files": self._class_part(folder, encoding)}]
        else:
            self.advance(self.n_prompts)

    def _fill(self, folder: Path, made: Iterator[Written]) -> None:
        """Take what is missing as it is made, shard after shard, the manifest renewed after each."""
        finished = {record["number"]: record for record in self.manifest["shards"]}
        self.first_row = 0
        for number in self.shards:
            known = finished.get(number)
            if known is None:
                written = next(made)
                record = written.record
                self._keep_skipped(number, written.lost)
            else:
                record = known
                self.advance(self.inputs_of(self.task(number)))
            # image rows count over all shards: if one has another length than was known, the later ones move
            if record["first_row"] != self.first_row:
                record = moved(folder, record, self._file_number(number), self.first_row)
            if record is not known:
                finished[number] = record
                self.manifest["shards"] = [finished[key] for key in sorted(finished)]
                self.manifest["done"] = False
                write_manifest(folder, self.manifest)
            self.first_row += record["image_rows"]
        self._finish(folder)

    def _keep_skipped(self, number: int, lost: Sequence[Record]) -> None:
        """What was skipped in a shard; what an earlier try at it skipped is forgotten."""
        skipped = [*self._skipped_elsewhere(number), *lost]
        self.manifest["skipped"] = sorted(skipped, key=lambda entry: entry["input"])
        of_texts = [entry for entry in self.manifest["skipped"] if "caption_id" in entry]
        self._refuse_losses(self.skipped_images())
        refuse_losses(of_texts, "texts", of=self.n_texts, data=self.pairs.name)

    def _skipped_elsewhere(self, number: int) -> list[Record]:
        start, stop = number * self.shard_rows, (number + 1) * self.shard_rows
        return [entry for entry in self.manifest["skipped"] if not start <= entry["input"] < stop]

    def _refuse_losses(self, lost: Sequence[Record]) -> None:
        refuse_losses(lost, self.what, of=len(self.pairs), data=self.pairs.name, root=self.pairs.root)

    def missing(self) -> list[int]:
        """Numbers of the shards that are not made yet."""
        there = {record["number"] for record in self.manifest["shards"]}
        return [number for number in self.shards if number not in there]

    def task(self, number: int) -> Task:
        """A shard, as what is to be made."""
        start = number * self.shard_rows
        return Task(number, self._file_number(number), start, self.pairs.pairs[start : start + self.shard_rows])

    def inputs_of(self, task: Task) -> int:
        """Images and texts of a shard."""
        return len(task.pairs) + (sum(len(pair.captions) for pair in task.pairs) if self.n_texts else 0)

    def stamps(self, task: Task) -> Sequence[Stamp | None]:
        """What digests of the images of a shard are kept by, if they are read from now on."""
        return self.digests.stamps(range(task.start, task.start + len(task.pairs)))

    def _made_here(self, folder: Path, encoding: Encoding) -> Generator[Written, None, None]:
        """The missing shards, made by this process; the next is begun before one ends."""
        writer = ShardWriter(encoding, self.columns, tells_truncated=tells_truncated(self.encoder))
        missing, begun = self.missing(), dict[int, Begun]()
        stamps: dict[int, Sequence[Stamp | None]] = {}
        for place, number in enumerate(missing):
            for wanted in missing[place : place + 2]:
                if wanted not in begun:
                    task = self.task(wanted)
                    stamps[wanted] = self.stamps(task)
                    begun[wanted] = writer.begin(task)
            shard = begun.pop(number)
            written = writer.write(folder, shard, self.first_row, *self._ticks(shard.task))
            self.digests.keep(stamps.pop(number), written.sha256)
            yield written

    def _ticks(self, task: Task) -> tuple[Tick, Tick]:
        """For the images and the texts of a shard: refuse too many losses, and tell how far it is."""
        before = [entry for entry in self._skipped_elsewhere(task.number) if "caption_id" not in entry]
        skipped = len(before)

        def images(done: int, reasons: Mapping[int, str]) -> None:
            nonlocal skipped
            lost = [*before, *(skip(task.start + i, task.pairs[i], why) for i, why in reasons.items())]
            self._refuse_losses(lost)
            skipped = len(lost)
            self.advance(done, skipped)

        return images, lambda done, _: self.advance(done, skipped)

    def _class_part(self, folder: Path, encoding: Encoding) -> Record:
        """One row a class: the mean of the unit rows of its prompts, at length 1 unless raw."""
        prompts = self.pairs.class_prompts or ()
        flat = [prompt for own in prompts for prompt in own]
        encoded = encoding.finished(encoding.texts(flat), lambda done, _: self.advance(done))
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

    def advance(self, done: int, skipped: int | None = None) -> None:
        """Tell the progress that so many more inputs are done."""
        self.done += done
        total = len(self.pairs) + self.n_texts + self.n_prompts
        skipped = len(self.skipped_images()) if skipped is None else skipped
        self.progress.stage("encoding", self.done, total, f"{skipped} skipped" if skipped else "")

    def skipped_images(self) -> list[Record]:
        """What the manifest says of the images that were skipped so far."""
        return [entry for entry in self.manifest["skipped"] if "caption_id" not in entry]

    def _file_number(self, number: int) -> str:
        # zeros in front, because other readers take the files in the order of their names
        return str(number).zfill(max(4, len(str(len(self.shards) - 1))))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
