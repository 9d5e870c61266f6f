"""Tuned: models fine-tuned on shots, by the methods, batches and steps of `finetune`, and what they then get right."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.clip import Encoder
from geomclip.evaluations.asked import FewShot
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError, naming
from geomclip.machine.threads import default_workers
from geomclip.machine.words import option
from geomclip.metrics.calibration_scores import ece
from geomclip.metrics.zeroshot import zeroshot_queries
from geomclip.pairs import Pair, Pairs
from geomclip.training.batches import Order, PairBatches, Place
from geomclip.training.finetune import resolved_settings
from geomclip.training.held_out import image_rows
from geomclip.training.loop import train
from geomclip.training.methods import method_named
from geomclip.training.objective import method_objective
from geomclip.training.pictures import Pictures
from geomclip.training.seeds import derived, generator
from geomclip.training.settings import Settings
from geomclip.training.trainer import Trainer

BATCH = 64
"""Images and prompts that are encoded at a time."""


class OfClasses(Order):
    """Batches without two images of one class, whose prompts would be each other's false negatives.

    An epoch shows the class with most shots once, and every other class as often: its shots come again.

    Parameters
    ----------
    pairs : sequence of Pair
        Whose captions are the prompts of their classes, one of which is drawn each time.
    shots : Tensor of shape (n,)
        Which of them are learned from.
    labels : Tensor of shape (n,)
        Their classes, at least two.
    size : int
        Of a batch at most: with more classes an epoch goes round them in batches of like size.
    """

    def __init__(self, pairs: Sequence[Pair], shots: Tensor, labels: Tensor, *, size: int, seed: int) -> None:
        self.own = [shots[labels == each] for each in labels.unique().tolist()]
        counts = [len(pair.captions) for pair in pairs]
        super().__init__(counts, size=min(size, len(self.own)), seed=seed, every_caption=False, name="the shots")
        self.parts = max(1, min(-(-len(self.own) // self.size), len(self.own) // 2))
        self.rounds = max(map(len, self.own))
        self.steps_per_epoch = self.rounds * self.parts

    def _of_epoch(self, epoch: int) -> list[list[Place]]:
        draw = generator(self.seed, "order", epoch)
        turned = [own[torch.randperm(len(own), generator=draw)] for own in self.own]
        joint: list[list[Place]] = []
        for turn in range(self.rounds):
            order = torch.randperm(len(turned), generator=draw)
            images = torch.stack([turned[each][turn % len(turned[each])] for each in order.tolist()])
            chosen = (torch.rand(len(images), generator=draw) * self.captions[images]).long()
            places = list(zip(images.tolist(), chosen.tolist(), strict=True))
            joint += [[places[each] for each in some.tolist()] for some in torch.arange(len(places)).chunk(self.parts)]
        return joint


@dataclass(frozen=True, eq=False)
class Tuning:
    """What is fine-tuned, on which images, and how it is judged; pictures and prompts are prepared once for all fits.

    Parameters
    ----------
    encoder : Encoder
        The model before, which stays as it is.
    shots : Pictures
        Of the images that shots are drawn from; their captions are the prompts of their classes.
    label : Tensor of shape (n,)
        Their classes.
    test : Pictures
    test_label : Tensor of shape (m,)
    prompts : Tensor
        Tokens of the prompts of all classes, one class after the other.
    counts : list of int
        How many prompts each class has.
    asked : FewShot
    settings : mapping
        Of training, but for what a method sets.
    """

    encoder: Encoder
    model: str
    shots: Pictures
    label: Tensor
    test: Pictures
    test_label: Tensor
    prompts: Tensor
    counts: list[int]
    asked: FewShot
    settings: dict[str, Any]

    @classmethod
    def of(cls, subject: Subject, asked: FewShot, pool: EmbeddingSet, test: EmbeddingSet, split: str | None) -> Tuning:
        """What is needed to fine-tune on the pool (of that split, or of the test images' own) and to judge.

        Raises
        ------
        InputError
            If there is no model whose weights can be trained, or it is one with moved rows.
        """
        encoder = trainable(subject)
        own = subject.pairs()
        there = own if split is None else subject.on(split=split).pairs()
        assert pool.labels is not None
        assert test.labels is not None
        prompts = dict(zip(there.classes or (), there.class_prompts or (), strict=True))
        wanted = [prompts[name] for name in pool.classes or ()]
        pairs = [
            replace(pair, captions=wanted[label], caption_ids=())
            for pair, label in zip(_of_rows(there, pool), pool.labels.tolist(), strict=True)
        ]
        tokens, _ = encoder.tokenize([text for each in wanted for text in each])
        return cls(
            encoder,
            subject.model if isinstance(subject.model, str) else "",
            Pictures(pairs, encoder.preprocess(), name=there.title),
            pool.labels.long(),
            Pictures(_of_rows(own, test), encoder.preprocess(), name=own.title),
            test.labels.long(),
            tokens,
            [len(each) for each in wanted],
            asked,
            {"device": subject.device, "workers": subject.workers},
        )

    def settings_of(self, method: str, seed: int) -> Settings:
        """Those of finetune, but for a stated number of steps and weights of mixed terms that do not fade.

        An epoch of one shot is a single step, so that they would fade at once.
        """
        own = {"steps": self.asked.train_steps, "lr": self.asked.train_lr, "decay": "none", "seed": seed}
        return resolved_settings(method_named(method), self.model, {**self.settings, **own, "precision": "fp32"})

    def tuned(self, method: str, shots: Tensor, seed: int) -> Encoder:
        """The encoder, fine-tuned in memory on the images of these rows.

        Raises
        ------
        InputError
            If there are shots of one class alone.
        GeomclipError
            If the loss is not finite.
        """
        settings = self.settings_of(method, seed)
        chosen = method_named(method)
        with naming(f"{option('train_methods')} {method}"):
            if len(self.label[shots].unique()) < 2:
                raise InputError("shots of two classes are needed")
            order = OfClasses(self.shots.pairs, shots, self.label[shots], size=settings.batch_size, seed=settings.seed)
            batches = PairBatches(self.shots, self.encoder.tokenize, order, workers=settings.workers)
            trainer = Trainer(
                copy.deepcopy(self.encoder.module),
                settings=settings,
                objective=method_objective(chosen, settings),
                batches=batches,
                steps=self.asked.train_steps,
                heads_first=chosen.heads_first,
            )
            with batches:
                train(trainer, None, validation=None, keep_best=_nowhere, journal=None)
        module = trainer.plain().requires_grad_(False)
        return replace(self.encoder, module=module, device=settings.device, logit_scale=trainer.logit_scale())

    def judged(self, encoder: Encoder) -> tuple[Tensor, Tensor]:
        """Whether each test image (m,) is nearest to the prompts of its class, and ECE at the encoder's temperature."""
        workers = self.settings["workers"]
        kept, rows = image_rows(
            encoder, self.test, batch_size=BATCH, workers=default_workers() if workers is None else workers
        )
        if len(kept) < len(self.test_label):
            lost = self.test.pairs[next(iter(self.test.lost))].image.path
            raise InputError(f"{lost} could be read before, and cannot now: evaluate again")
        texts = torch.cat([encoder.encode_text(part) for part in self.prompts.split(BATCH)])
        unit = normalize(texts.double())[0].split(self.counts)
        classes = normalize(torch.stack([each.mean(dim=0) for each in unit]))[0]
        image = normalize(rows.double())[0]
        found = zeroshot_queries(image, self.test_label, classes, logit_scale=encoder.logit_scale)
        return found["hit"], ece(found["confidence"], found["hit"])

    def accuracy(self, method: str, shots: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """What `judged` says after fine-tuning on each draw of shots (draws, n): (draws, m) and (draws,).

        A draw is trained from a seed of its own, the same for all methods.
        """
        each = [
            self.judged(self.tuned(method, own, derived(seed, "shots", number))) for number, own in enumerate(shots)
        ]
        return torch.stack([hit for hit, _ in each]), torch.stack([error for _, error in each])


def trainable(subject: Subject) -> Encoder:
    """The encoder, if its weights can be trained; InputError where not."""
    encoder = replace(subject, precision="fp32").encoder()
    if not isinstance(encoder, Encoder):
        raise InputError(f"{option('train', True)} needs the weights of a model, and this one only encodes")
    if encoder.precision != "fp32":
        raise InputError(f"{option('train', True)} needs weights in fp32, and those at hand are {encoder.precision}")
    if encoder.shift is not None:
        raise InputError(f"{encoder.model} is shifted along the gap: train the model it was made from")
    return encoder


def _of_rows(pairs: Pairs, found: EmbeddingSet) -> list[Pair]:
    """The pair of each image row."""
    known = {pair.image_id: pair for pair in pairs.pairs}
    return [known[name] for name in found.image_id]


def _nowhere(module: nn.Module, step: int) -> None:
    """Nothing is chosen: there is no validation split of shots."""
