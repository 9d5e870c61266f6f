"""Work: one call of finetune, from the panel before to the panel after, and the Result that it leaves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders import Encoder, how_to_load, load_encoder, save_checkpoint
from geomclip.encoders.extraction.calls import embed
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT
from geomclip.pairs.record import Pairs
from geomclip.panels import loading, measure
from geomclip.panels.comparison import Comparison, compare
from geomclip.training import folder as runs
from geomclip.training import snapshots
from geomclip.training.batches import Order, PairBatches
from geomclip.training.held_out import HeldOut, deciding
from geomclip.training.loop import Course, course_of, train
from geomclip.training.methods import Method, method_objective
from geomclip.training.parameters import trained
from geomclip.training.pictures import Pictures
from geomclip.training.post_hoc import Sweep, sweep_es, sweep_wise_ft
from geomclip.training.processes import Processes
from geomclip.training.settings import Settings
from geomclip.training.splits import Splits
from geomclip.training.trainer import Trainer
from geomclip.training.watching.journal import Journal
from geomclip.training.watching.probe import Probe

if TYPE_CHECKING:
    from geomclip.machine.progress import Report
    from geomclip.panels.record import Panel


@dataclass(frozen=True)
class Result:
    """What a run left: numbers before and after, their differences, and where the weights are."""

    folder: Path
    settings: Settings
    before: Panel
    after: Panel
    comparison: Comparison
    chosen: Mapping[str, Any] = field(default_factory=dict)  # step or alpha or amount, and its score on val
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> Path:
        """The weights that `after` was measured with."""
        best = self.folder / runs.BEST
        return best if best.is_file() else self.folder / runs.LAST

    def __str__(self) -> str:
        return "\n".join([str(self.comparison), *self.notes])


@dataclass(frozen=True)
class Work:
    """One call of finetune, with everything it resolved."""

    method: Method
    settings: Settings
    base: Encoder
    splits: Splits
    folder: Path
    processes: Processes
    cache_dir: Path | None
    report: Report | None
    panels: dict[str, Any]  # bootstrap and metrics
    call: dict[str, Any]  # names of method, model and data, as they were given
    tuned: Encoder | None = None  # what is interpolated with its base

    def log(self, line: str) -> None:
        """A line for the person who waits."""
        if self.report is not None:
            self.report.log(line)

    def config(self) -> runs.Config:
        """What config.json says."""
        return runs.Config(
            call=self.call,
            settings=self.settings,
            base=dict(self.base.made_from()),
            data=self.data,
        )

    @cached_property
    def data(self) -> dict[str, Any]:
        """What is trained on, chosen by and reported on; looks at every image file, so once a run."""
        return {
            "dataset": self.splits.train.name,
            "splits": {name: getattr(self.splits, name).split for name in ("train", "val", "report")},
            "images": {name: len(getattr(self.splits, name)) for name in ("train", "val", "report")},
            "fingerprints": self.splits.fingerprints(),
        }

    def order(self) -> Order:
        """Which pairs each step shows; InputError if the training split is too small for a batch."""
        settings, train = self.settings, self.splits.train
        return Order(
            [len(pair.captions) for pair in train.pairs],
            size=settings.batch_size * settings.accum_freq * self.processes.count,
            seed=settings.seed,
            every_caption=settings.captions == "all",
            name=train.title,
        )

    def check(self) -> None:
        """InputError, before any long work, for what could not be trained or chosen by."""
        deciding(self.settings.val_metric)
        if self.base.shift is not None:
            raise InputError(f"{self.base.model} is shifted along the gap: train the model it was made from")
        for part, needs in (("train", "training"), ("val", "validation"), ("report", "measuring")):
            pairs = getattr(self.splits, part)
            captioned = sum(bool(pair.captions) for pair in pairs.pairs)
            if captioned < 2:
                raise InputError(f"{pairs.title} has {captioned} images with captions: {needs} needs at least 2")
        if self.method.stage == "train":
            self.order()
            train = self.splits.train
            texts = {caption.strip().casefold() for pair in train.pairs for caption in pair.captions}
            if len(texts) == 1:
                raise InputError(f"{train.title}: every caption is {texts.pop()[:60]!r}: nothing tells images apart")

    def lead(self, kept: runs.Kept, *, sinks: Mapping[str, bool]) -> Result:
        """The work of the process that writes."""
        for note in self.splits.notes:
            self.log(note)
        if kept.finished:
            self.log(f"{self.folder} is finished: nothing to do")
            self.processes.wait()
            return self.result(kept.chosen)
        if not (self.folder / runs.BEFORE).is_file():
            self.measured(self.base).save(self.folder / runs.BEFORE)
        stages: dict[str, Callable[[], Mapping[str, Any]]] = {
            "train": partial(self.trained, kept.snapshot, sinks),
            "after": self.interpolated,
            "without": self.shifted,
        }
        chosen = stages[self.method.stage]()
        after = load_encoder(str(self.folder), cache_dir=self.cache_dir)
        self.measured(after).save(self.folder / runs.AFTER)
        runs.finish(self.folder, chosen)
        self.processes.wait()
        return self.result(chosen)

    def follow(self, *, resume: bool) -> Result:
        """The work of every other process: to train along, and to read what the first one wrote."""
        if self.method.stage != "train":
            raise InputError(f"--method {self.method.name} trains nothing: start it in one process")
        self.processes.wait()
        if runs.read_config(self.folder).get("finished"):
            return self.result(runs.chosen_of(self.folder))
        snapshot = snapshots.newest(self.folder) if resume else None
        self.trained(snapshot, {})
        self.processes.wait()
        return self.result(runs.chosen_of(self.folder))

    def measured(self, encoder: Encoder) -> Panel:
        """The panel of the split that is reported on."""
        embeddings = self.embedded(encoder, self.splits.report)
        progress = SILENT if self.report is None else self.report
        return measure(embeddings, cache_dir=self.cache_dir, seed=self.settings.seed, progress=progress, **self.panels)

    def embedded(self, encoder: Encoder, pairs: Pairs) -> EmbeddingSet:
        """The rows of a split, from the cache where they have been made before."""
        device = self.settings.device
        return embed(
            replace(encoder, device=device, module=encoder.module.to(device)),
            pairs,
            cache_dir=self.cache_dir,
            workers=self.settings.workers,
            progress=SILENT if self.report is None else self.report,
        )

    def result(self, chosen: Mapping[str, Any]) -> Result:
        """Before, after and their difference, as the run folder has them."""
        before, after = (loading.load(self.folder / name) for name in (runs.BEFORE, runs.AFTER))
        difference = compare(before, after, bootstrap=self.panels["bootstrap"], seed=self.settings.seed)
        notes = [self.about(chosen), *self.splits.notes, self.how_to_use()]
        return Result(self.folder, self.settings, before, after, difference, dict(chosen), tuple(filter(None, notes)))

    def about(self, chosen: Mapping[str, Any]) -> str:
        """Which weights `after` are, in one sentence."""
        what = f"step {chosen.get('step')} of {chosen.get('steps')}"
        if "swept" in chosen:
            what = f"{chosen['swept']} {chosen['value']:g}"
        said = f"after: {what}, the best on val by {chosen['metric']}: {chosen['score']:.4g}"
        start = f"the starting weights {chosen['start_score']:.4g}"
        return f"{said}; {start}" if chosen["beats_start"] else f"{said}; but {start}: nothing beat them"

    def how_to_use(self) -> str:
        """The line that says what to do with the weights."""
        best = self.folder / runs.BEST
        weights = best if best.is_file() else self.folder / runs.LAST
        # only a shift makes the model in the folder one that is used in another way than its base
        is_shifted = self.method.stage == "without"
        encoder = load_encoder(str(self.folder), cache_dir=self.cache_dir) if is_shifted else self.base
        return f"use it: geomclip measure --model {self.folder}; {how_to_load(encoder, weights)}"

    # ------------------------------------------------------------------------------------------- training

    def trained(self, snapshot: Path | None, sinks: Mapping[str, bool]) -> Mapping[str, Any]:
        """Train, or go on from a snapshot; the best weights and the last are in the folder then."""
        settings, processes = self.settings, self.processes
        pictures = Pictures(self.splits.train.pairs, self.base.preprocess(), name=self.splits.train.title)
        order = self.order()
        steps = min(order.steps_per_epoch * settings.epochs, settings.steps or 10**12)
        batches = PairBatches(
            pictures,
            self.base.tokenize,
            order,
            process=processes.rank,
            processes=processes.count,
            crop=settings.augment == "crop",
            workers=settings.workers,
            pinned=settings.device.startswith("cuda"),
        )
        trainer = Trainer(
            copy.deepcopy(self.base.module),
            settings=settings,
            objective=method_objective(self.method, settings),
            batches=batches,
            steps=steps,
            processes=processes,
            heads_first=self.method.heads_first,
        )
        course = None
        if snapshot is not None:
            state, known = snapshots.load(snapshot)
            trainer.load(state, done=int(known["step"]))
            course = course_of(known)
        if not processes.first:
            with batches:
                train(trainer, self.folder, validation=None, keep_best=_nothing, journal=None, course=course)
            return {}
        processes.wait()  # the others may look for the snapshot now: the folder is in order
        return self._lead_training(trainer, batches, course, sinks)

    def _lead_training(
        self, trainer: Trainer, batches: PairBatches, course: Course | None, sinks: Mapping[str, bool]
    ) -> Mapping[str, Any]:
        settings = self.settings
        validation = self.validation()
        probe = Probe(self.base, self.splits.val) if settings.probe_every else None
        resumed = trainer.done if course is not None else None
        self.log(str(trained(trainer.module)))
        with (
            batches,
            Journal(
                self.folder,
                resumed_at=resumed,
                total=trainer.steps,
                progress=self.report,
                config=settings.to_dict(),
                **sinks,
            ) as journal,
        ):
            course = train(
                trainer,
                self.folder,
                validation=validation,
                keep_best=partial(self.keep, runs.BEST),
                journal=journal,
                probe=probe,
                course=course,
            )
            for image, reason in batches.pictures.lost.items():
                journal.note(f"not trained on: {self.splits.train.pairs[image].image.path} ({reason})")
        self.keep(runs.LAST, trainer.plain(), trainer.done)
        return {
            "step": course.best_step,
            "steps": trainer.done,
            "metric": settings.val_metric,
            "score": course.best_score,
            "start_score": validation.score(course.start),
            "beats_start": course.better_than_start(validation.score),
        }

    def keep(self, name: str, module: nn.Module, step: int) -> None:
        """Write weights into the folder, with what they were made from."""
        made = {
            "method": self.method.name,
            "step": step,
            "settings": self.settings.to_dict(),
            "data": self.data,
        }
        save_checkpoint(self.base, module.state_dict(), self.folder / name, made=made)

    # --------------------------------------------------------------------------------------- no training

    def interpolated(self) -> Mapping[str, Any]:
        """WiSE-FT: the best mixture of the base and the weights that were fine-tuned from it."""
        assert self.tuned is not None
        validation = self.validation()
        return self.swept(
            sweep_wise_ft(
                self.base,
                self.tuned.module.state_dict(),
                lambda encoder: validation.score(validation.of(encoder)),
                progress=self.progress,
            )
        )

    def shifted(self) -> Mapping[str, Any]:
        """ES: the best shift of both modalities along the gap of the training split."""
        validation = self.validation()
        return self.swept(
            sweep_es(
                self.base,
                self.embedded(self.base, self.splits.train),
                lambda encoder: validation.score(validation.of(encoder)),
                progress=self.progress,
            )
        )

    def swept(self, sweep: Sweep) -> Mapping[str, Any]:
        """Keep the best point of a sweep, and all its scores."""
        made = {
            "method": self.method.name,
            sweep.name: sweep.best,
            "settings": self.settings.to_dict(),
            "data": self.data,
        }
        of_base = replace(self.base, shift=sweep.encoder.shift)  # the base is what the file says it comes from
        save_checkpoint(of_base, sweep.encoder.module.state_dict(), self.folder / runs.LAST, made=made)
        scores = dict(sweep.points)
        return {
            "swept": sweep.name,
            "value": sweep.best,
            "metric": self.settings.val_metric,
            "score": scores[sweep.best],
            "start_score": scores[0.0],
            "beats_start": sweep.gains,
            "points": [list(point) for point in sweep.points],
        }

    def validation(self) -> HeldOut:
        """The split that one chooses by."""
        settings = self.settings
        return HeldOut(self.base, self.splits.val, metric=settings.val_metric, workers=settings.workers)

    def progress(self, done: int, of: int) -> None:
        """Points of a sweep."""
        if self.report is not None:
            self.report.stage(self.method.name, done, of)


def _nothing(module: nn.Module, step: int) -> None:
    """Only the first process keeps weights."""
