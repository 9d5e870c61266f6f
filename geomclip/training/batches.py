"""Batches: which pair stands at which place of which step, read and tokenised before the step asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from geomclip.machine.errors import InputError
from geomclip.machine.threads import default_workers, use_one_torch_thread
from geomclip.machine.words import option
from geomclip.training.pictures import Pictures
from geomclip.training.processes import Processes
from geomclip.training.seeds import generator

Place = tuple[int, int]
"""An image of the training split, and which of its captions."""

AHEAD = 2
"""Steps whose images are read before they are needed."""


@dataclass(frozen=True)
class Batch:
    """One process's part of a joint batch.

    `tokens` may have several rows an image (its images repeated in order, one round after the other), for an
    objective that knows it; `extra` is whatever else the objective needs.
    """

    pixels: Tensor  # (b, 3, h, w) float32
    tokens: Tensor  # (b, context), or a multiple of b rows
    places: tuple[Place, ...] = ()
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pixels)


class Batches(Protocol):
    """Where a trainer's batches come from. The same step gives the same batch, whatever was asked before."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every image was shown once (or with every caption)."""

    def batch(self, step: int) -> Batch:
        """The batch of one step, counted from 0."""


class Order:
    """The places of every joint batch, from the seed alone.

    With captions "one" an epoch shows every image once, with a caption drawn for this epoch. With "all" an epoch
    goes round once for every caption: the first round shows each image with one of its captions, the second with
    another, and so on. In neither does a batch hold two captions of one image, which would be each other's false
    negatives. An incomplete batch at the end of a round is left out; the next epoch draws anew what that is.

    Parameters
    ----------
    captions : sequence of int
        Number of captions of each image; images without one are not trained on.
    size : int
        Pairs of a joint batch.
    """

    def __init__(self, captions: Sequence[int], *, size: int, seed: int, every_caption: bool, name: str) -> None:
        self.captions = torch.tensor(captions)
        self.size, self.seed = size, seed
        count = int((self.captions > 0).sum())
        if size > count:
            raise InputError(
                f"a batch of {size} pairs is larger than {name}, which has {count} images with captions: "
                f"use {option('batch_size', count)} or less (times {option('accum_freq')} and processes)"
            )
        self.rounds = int(self.captions.max()) if every_caption else 1
        sizes = [int((self.captions > turn).sum()) for turn in range(self.rounds)]
        self.steps_per_epoch = sum(images // size for images in sizes)
        self._epoch, self._places = -1, list[list[Place]]()

    def places(self, step: int) -> list[Place]:
        """The pairs of a step's joint batch."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._places = epoch, self._of_epoch(epoch)
        return self._places[within]

    def _of_epoch(self, epoch: int) -> list[list[Place]]:
        draw = generator(self.seed, "order", epoch)
        # where each image's captions start in this epoch: round r shows caption (start + r) mod its number
        start = (torch.rand(len(self.captions), generator=draw) * self.captions).long()
        joint: list[list[Place]] = []
        for turn in range(self.rounds):
            images = (self.captions > turn).nonzero()[:, 0]
            images = images[torch.randperm(len(images), generator=draw)]
            chosen = (start[images] + turn) % self.captions[images]
            places = list(zip(images.tolist(), chosen.tolist(), strict=True))
            joint += [places[first : first + self.size] for first in range(0, len(places) - self.size + 1, self.size)]
        return joint


class PairBatches:
    """Batches of image-text pairs: `with PairBatches(...) as batches: batches.batch(step)`.

    An image that cannot be read leaves its batch one pair shorter; `pictures.lost` names it.

    Parameters
    ----------
    pictures : Pictures
        Of the training split.
    tokenize : callable
        From texts to (tokens, which were cut).
    order : Order
    processes : Processes, optional
        Which part of each joint batch is this process's. Left out: all.
    crop : bool
        Show random parts of the images.
    workers : int, optional
        Threads that read and decode; 0: none. Left out: one a processor, 4 at most.
    pinned : bool
        Put batches into page-locked memory, from which a GPU copies while the host goes on.
    """

    def __init__(
        self,
        pictures: Pictures,
        tokenize: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        order: Order,
        *,
        processes: Processes | None = None,
        crop: bool = False,
        workers: int | None = None,
        pinned: bool = False,
    ) -> None:
        self.pictures, self.tokenize, self.order, self.crop = pictures, tokenize, order, crop
        self.pinned = pinned
        self.processes = processes or Processes()
        self.workers = default_workers() if workers is None else workers
        self.steps_per_epoch = order.steps_per_epoch
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[int, tuple[list[Place], list[Future[Tensor | None]]]] = {}

    def __enter__(self) -> PairBatches:
        if self.workers:
            # one torch thread in each worker, or they would fight the model for the processor
            threads = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(self.workers, "decode", initializer=use_one_torch_thread)
            self._threads = threads
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            # set_num_threads in a worker is its own, except for the default of threads yet to come
            torch.set_num_threads(self._threads)
        self._ahead.clear()

    def batch(self, step: int) -> Batch:
        """This process's part of a step."""
        if self._pool is None:
            places = self._own(step)
            pixels = [self._pixels(step, image) for image, _ in places]
        else:
            for later in range(step, step + AHEAD + 1):
                self._begin(later)
            places, waiting = self._ahead.pop(step)
            pixels = [each.result() for each in waiting]
            for stale in [known for known in self._ahead if known < step]:
                del self._ahead[stale]
        read = [(place, each) for place, each in zip(places, pixels, strict=True) if each is not None]
        if self.processes.count > 1 and len(read) < len(places):
            image = next(place[0] for place, each in zip(places, pixels, strict=True) if each is None)
            raise InputError(
                f"{self.pictures.name}: {self.pictures.pairs[image].image.path} cannot be read "
                f"({self.pictures.lost[image]}): several processes need batches of one size; take it out of the data"
            )
        if len(read) < 2:
            raise InputError(f"{self.pictures.name}: step {step} has {len(read)} readable images, fewer than 2")
        kept = tuple(place for place, _ in read)
        texts = [self.pictures.pairs[image].captions[caption] for image, caption in kept]
        joint = torch.empty(len(read), *read[0][1].shape, pin_memory=self.pinned)
        torch.stack([each for _, each in read], out=joint)
        tokens = self.tokenize(texts)[0]
        return Batch(joint, tokens.pin_memory() if self.pinned else tokens, kept)

    def _own(self, step: int) -> list[Place]:
        places = self.order.places(step)
        share = len(places) // self.processes.count
        return places[self.processes.rank * share : (self.processes.rank + 1) * share]

    def _begin(self, step: int) -> None:
        if step not in self._ahead:
            assert self._pool is not None
            places = self._own(step)
            self._ahead[step] = places, [self._pool.submit(self._pixels, step, image) for image, _ in places]

    def _pixels(self, step: int, image: int) -> Tensor | None:
        if not self.crop:
            return self.pictures.whole(image)
        return self.pictures.cropped(image, generator(self.order.seed, "crop", step, image))
