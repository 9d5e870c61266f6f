"""Shards made by the workers of an engine: each has the encoder, and writes whole shards; this process keeps the store.

A worker writes into a folder of its own beside the store's files, and never among them: only the process that holds
the store's lock moves them there. So a worker that outlives its store, or that was taken for dead, spoils nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from geomclip.embeddings.shards import Record, verify
from geomclip.encoders.extraction.digests import Stamp
from geomclip.encoders.extraction.inputs import encoding_of
from geomclip.encoders.extraction.plan import Extraction
from geomclip.encoders.extraction.writing import Columns, ShardWriter, Task, Written, tells_truncated
from geomclip.encoders.protocol import AnyEncoder, EncodesInputs
from geomclip.machine.crews import crew_of
from geomclip.machine.engines import Crew, count_of, map_in_order, payload_of
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import explained, make_folder, refuse_links, sync_folder
from geomclip.machine.leftovers import begun, clear_dead
from geomclip.machine.threads import processors
from geomclip.machine.words import option, typed
from geomclip.pairs.record import Pairs

Load = Callable[[], AnyEncoder]


@dataclass(frozen=True)
class Proof:
    """A shard that was made with the whole batch: what a smaller one must give the same rows of."""

    task: Task  # its first inputs, a batch
    folder: Path
    files: Sequence[str]  # its vectors


@dataclass(frozen=True)
class Order:
    """A shard for a worker: where to write it, and with how much at a time."""

    task: Task
    first_row: int  # by what is known when it is given; what turns out otherwise moves its rows later
    folder: Path
    batch: int
    workers: int | None
    proof: Proof | None = None

    def __str__(self) -> str:
        return str(self.task)


@dataclass(frozen=True)
class Delivered:
    """A shard that a worker has written into a folder of its own."""

    folder: Path
    written: Written


@dataclass(frozen=True)
class Making:
    """What a worker has to know once: called, it loads the encoder and gives the function that makes shards."""

    load: Load
    made_from: str
    sample: Pairs  # with a first image and text, by which an encoder of the caller's own is tried
    columns: Columns
    raw: bool
    torch_threads: int

    def __call__(self) -> Callable[[Order], Delivered]:
        """The function from an order to what was delivered.

        Raises
        ------
        InputError
            If the encoder cannot be loaded, or is another one than that of the process that asks.
        """
        torch.set_num_threads(self.torch_threads)  # on which rows of an encoder of the caller's own may depend
        encoder = self.load()
        if isinstance(encoder, EncodesInputs):
            encoder.learn(self.sample)
        if described(encoder) != self.made_from:
            theirs, ours = json.loads(described(encoder)), json.loads(self.made_from)
            differing = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
            raise InputError(
                f"a worker has another encoder ({', '.join(differing)} differ): give all machines the same weights "
                "and versions"
            )
        return partial(_deliver, self, encoder)


def described(encoder: AnyEncoder) -> str:
    """All that the rows of an encoder depend on, as one string."""
    return json.dumps(encoder.made_from(), sort_keys=True)


def _deliver(making: Making, encoder: AnyEncoder, order: Order) -> Delivered:
    if not order.folder.is_dir():
        raise InputError(f"{order.folder.parent} is not on this machine: every worker must see the store's folder")
    if order.proof is not None:
        _prove(making, encoder, order, order.proof)
    folder = _new_folder(order)
    return Delivered(folder, _write(making, encoder, order, order.task, folder, order.first_row))


def _new_folder(order: Order) -> Path:
    return make_folder(order.folder / f"{order.task.name}-{secrets.token_hex(4)}")


def _write(making: Making, encoder: AnyEncoder, order: Order, task: Task, folder: Path, first_row: int) -> Written:
    how: dict[str, Any] = {"batch": order.batch, "workers": order.workers, "raw": making.raw}
    with encoding_of(encoder, of_texts=making.sample.of_texts, **how) as encoding:
        writer = ShardWriter(encoding, making.columns, tells_truncated=tells_truncated(encoder))
        return writer.write(folder, writer.begin(task), first_row)


def _prove(making: Making, encoder: AnyEncoder, order: Order, proof: Proof) -> None:
    """See that the smaller batch gives the very rows that the whole one gave; InputError if it does not."""
    folder = _new_folder(order)
    written = _write(making, encoder, order, proof.task, folder, 0)
    for name in written.record["files"]:
        if name in proof.files:
            rows = np.load(folder / name, allow_pickle=False)
            if not np.array_equal(rows, np.load(proof.folder / name, mmap_mode="r", allow_pickle=False)[: len(rows)]):
                raise too_large(order, "rows of a smaller batch differ in their last digits")
    shutil.rmtree(folder, ignore_errors=True)


def too_large(order: Order, why: str) -> GeomclipError:
    """The error for a shard that fits into memory with a smaller batch only, which the store may not have."""
    smaller = typed("--batch-size", "batch_size")
    return GeomclipError(
        f"{order}: memory ran out, and {why}: a new folder and a smaller {smaller} than {order.batch}, or fewer "
        f"{option('processes')}"
    )


class Elsewhere:
    """An extraction whose shards are made by an engine.

    Parameters
    ----------
    run : Extraction
    engine : str
        One of `geomclip.machine.engines.ENGINES`.
    processes : int, optional
        Workers; left out: see `geomclip.machine.engines.count_of`.
    workers : int, optional
        Threads of each; left out: those of this process, shared out.
    load : callable, optional
        Gives each worker its encoder; left out: the encoder itself is sent.
    """

    def __init__(
        self, run: Extraction, engine: str, *, processes: int | None, workers: int | None, load: Load | None
    ) -> None:
        self.processes = count_of(engine, processes)
        self.run, self.engine, self.load = run, engine, load
        self.torch_threads = torch.get_num_threads()
        self.gpus = torch.cuda.device_count() if str(getattr(run.encoder, "device", "cpu")) == "cuda" else 0
        self.workers = self._shared_out() if workers is None else workers

    def _shared_out(self) -> int | None:
        if isinstance(self.run.encoder, EncodesInputs):
            return None
        return max(1, (processors() if self.gpus else self.torch_threads) // self.processes)

    def made(self, folder: Path) -> Generator[Written, None, None]:
        """The missing shards in their order, each with its files in the store."""
        missing = self.run.missing()
        if not missing:
            return
        crew = self._crew(min(self.processes, len(missing)))
        stamps: dict[int, Sequence[Stamp | None]] = {}
        parts = folder / "parts"
        try:
            with begun(parts, make_folder) as place:
                orders = self._orders(missing, place.resolve(), stamps)
                lighter = partial(self._lighter, folder)
                with closing(map_in_order(crew, orders, lighter=lighter)) as results:
                    for delivered in results:
                        written = self._take(folder, delivered)
                        number = written.record["number"]
                        self.run.digests.keep(stamps.pop(number), written.sha256)
                        skipped = len(self.run.skipped_images()) + sum(
                            "caption_id" not in lost for lost in written.lost
                        )
                        self.run.advance(self.run.inputs_of(self.run.task(number)), skipped)
                        yield written
        finally:
            clear_dead(parts)

    def _crew(self, count: int) -> Crew:
        run = self.run
        load = _Same(run.encoder) if self.load is None else self.load
        sample = replace(run.pairs, pairs=())
        if isinstance(run.encoder, EncodesInputs):
            sample = replace(run.pairs, pairs=_first(run.pairs))
        making = Making(load, described(run.encoder), sample, run.columns, run.raw, self.torch_threads)
        way = typed("--encoder MODULE:NAME", "load")
        payload = payload_of(making, f"this encoder (a function that makes it can: {way})")
        return crew_of(self.engine, payload, count, gpus=self.gpus)

    def _orders(
        self, missing: Sequence[int], place: Path, stamps: dict[int, Sequence[Stamp | None]]
    ) -> Iterator[Order]:
        for number in missing:
            task = self.run.task(number)
            stamps[number] = self.run.stamps(task)
            skipped = sum(entry["input"] < task.start for entry in self.run.skipped_images())
            yield Order(task, task.start - skipped, place, self.run.batch, self.workers)

    def _lighter(self, folder: Path, order: Order, memory: bool) -> Order | None:
        """The same shard with fewer threads, which changes no bit; then with half the batch, if that changes none."""
        if order.workers is None or order.workers > 1:
            return replace(order, workers=1 if order.workers is None else order.workers // 2)
        if not memory or order.batch == 1:  # a death has many causes, and none of them may end in a refusal
            return None
        made = [record for record in self.run.manifest["shards"] if record["image_rows"]]
        if not made:
            return None
        task = self.run.task(made[0]["number"])
        task = replace(task, pairs=task.pairs[: self.run.batch])
        vectors = [name for name in made[0]["files"] if name.endswith(".npy")]
        return replace(order, batch=order.batch // 2, proof=Proof(task, folder.resolve(), vectors))

    def _take(self, folder: Path, delivered: Delivered) -> Written:
        """Move the files of a shard into the store, once they are as the worker says that it wrote them."""
        files: dict[str, Record] = delivered.written.record["files"]
        for name, record in files.items():
            source = verify(delivered.folder, name, record)
            refuse_links(folder, str(PurePosixPath(name).parent))
            target = folder / name
            make_folder(target.parent)
            try:
                os.replace(source, target)
            except OSError as problem:
                raise explained(target, problem) from problem
            sync_folder(target.parent)
        shutil.rmtree(delivered.folder, ignore_errors=True)
        return delivered.written


@dataclass(frozen=True)
class _Same:
    """Gives the encoder that it was sent with."""

    encoder: AnyEncoder

    def __call__(self) -> AnyEncoder:
        return self.encoder


def _first(pairs: Pairs) -> Sequence[Any]:
    """The pairs up to the first of which the encoder can have an image and a text."""
    from geomclip.pairs.reading import value_or_reason

    def readable(pair: Any) -> bool:
        return not isinstance(value_or_reason(pair.image.read, name=pair.image.path), str)

    image = next((place for place, pair in enumerate(pairs.pairs) if readable(pair)), 0)
    text = next((place for place, pair in enumerate(pairs.pairs) if pair.captions), 0)
    return pairs.pairs[: max(image, text) + 1]
