"""Work: one call of finetune, from the panel before to the panel after, and the Result that it leaves."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from geomclip.encoders import Encoder, load_encoder, save_checkpoint
from geomclip.encoders.extraction.calls import embed
from geomclip.machine.errors import InputError
from geomclip.machine.memory import peak_memory
from geomclip.machine.places import shown_in
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.pairs.record import Pairs
from geomclip.panels import loading, measure
from geomclip.panels.comparison import compare
from geomclip.panels.record import Panel
from geomclip.training import snapshots
from geomclip.training.batches import Order, PairBatches
from geomclip.training.between import described as models_between
from geomclip.training.between import short_names
from geomclip.training.captions import captioned, check_captioned
from geomclip.training.folder import (
    AFTER,
    BEFORE,
    BEST,
    LAST,
    Config,
    Kept,
    RunFolder,
    also_measured,
    chosen_of,
    finish,
    read_config,
)
from geomclip.training.held_out import HeldOut, deciding
from geomclip.training.loop import Course, course_of, train
from geomclip.training.memory import check_fits, check_passes_fit
from geomclip.training.methods import Method
from geomclip.training.objective import Objective, method_objective
from geomclip.training.others import after_of, before_of, described
from geomclip.training.parameters import trained
from geomclip.training.pictures import Pictures
from geomclip.training.post_hoc import sweep_es, sweep_wise_ft
from geomclip.training.preservation import preserving
from geomclip.training.processes import Processes
from geomclip.training.result import Result, about, compared, how_to_use
from geomclip.training.settings import Settings
from geomclip.training.soups import sweep_soup
from geomclip.training.splits import Splits
from geomclip.training.trainer import Trainer
from geomclip.training.watching.journal import Journal
from geomclip.training.watching.probe import Probe


@dataclass(frozen=True)
class Work:
    """One call of finetune, with everything it resolved."""

    method: Method
    settings: Settings
    base: Encoder
    splits: Splits
    place: RunFolder
    processes: Processes
    measuring: Mapping[str, Any]  # bootstrap and metrics of the panels before and after
    call: Mapping[str, Any]  # names of method, model and data, for config.json
    mixed: tuple[Encoder, ...] = ()  # what the weights of the base are mixed with
    others: Mapping[str, Pairs] = field(default_factory=dict)  # measured too, and not trained on
    cache_dir: Path | None = None
    progress: Progress = SILENT

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.place.path

    def config(self) -> Config:
        """What config.json says."""
        return Config(
            call=self.call,
            settings=self.settings,
            base=dict(self.base.made_from()),
            data=self.data,
            also=described(self.others),
            between=self.between,
        )

    @property
    def between(self) -> list[dict[str, str]]:
        """The models that were named to be mixed; none of a run that is interpolated with its base."""
        names = self.call.get("between")
        return models_between(names, (self.base, *self.mixed)) if names else []

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
            train.text_counts(),
            size=settings.batch_size * settings.accum_freq * self.processes.count,
            seed=settings.seed,
            every_caption=settings.captions == "all",
            name=train.title,
        )

    def objective(self) -> Objective:
        """What is minimised: the method's terms, what is preserved of the base, and captions where asked."""
        settings, found = self.settings, method_objective(self.method, self.settings)
        found = preserving(found, settings.preserve) if settings.preserve else found
        return captioned(found, settings.caption_weight) if settings.caption_weight else found

    def check(self) -> None:
        """InputError, before any long work, for what could not be trained or chosen by."""
        deciding(self.settings.val_metric)
        if self.base.shift is not None:
            raise InputError(f"{self.base.model} is shifted along the gap: train the model it was made from")
        is_trained = self.method.stage == "train"
        self.splits.check(trained=is_trained)
        if is_trained:
            check_captioned(self.base.module, self.settings)
            held = [f"{kind}_preservation" for kind in self.settings.preserve]
            check_fits([*self.method.terms, *held], self.order().size, device=self.settings.device)
        elif self.settings.preserve:
            kinds = ",".join(self.settings.preserve)
            name = self.method.name
            raise InputError(f"{option('preserve', kinds)}: {option('method', name)} trains nothing: leave it out")

    def lead(self, kept: Kept) -> Result:
        """The work of the process that writes."""
        for note in self.splits.notes:
            self.progress.log(note)
        if kept.finished:
            self.measure_new_others()
            self.processes.wait()
            return self.result(kept.chosen)
        for name in self.lacking(self.measured_before):
            self.measured(self.base, self.measured_before[name]).save(self.folder / name)
        chosen = self.trained(kept.snapshot) if self.method.stage == "train" else self.swept()
        after = load_encoder(str(self.folder), cache_dir=self.cache_dir)
        for name, pairs in self.measured_after.items():
            self.measured(after, pairs).save(self.folder / name)
        finish(self.folder, chosen)
        self.processes.wait()
        return self.result(chosen)

    def follow(self) -> Result:
        """The work of every other process: to train along, and to read what the first one wrote."""
        if self.method.stage != "train":
            raise InputError(f"{option('method', self.method.name)} trains nothing: start it in one process")
        self.processes.wait()
        if read_config(self.folder).get("finished"):
            return self.result(chosen_of(self.folder))
        snapshot = snapshots.newest(self.folder) if self.place.resume else None
        self.trained(snapshot)
        self.processes.wait()
        return self.result(chosen_of(self.folder))

    @property
    def measured_before(self) -> dict[str, Pairs]:
        """File of each panel of the model before: the split that is reported on, and other data."""
        return {BEFORE: self.splits.report} | {before_of(name): pairs for name, pairs in self.others.items()}

    @property
    def measured_after(self) -> dict[str, Pairs]:
        """The same after."""
        return {AFTER: self.splits.report} | {after_of(name): pairs for name, pairs in self.others.items()}

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Those of these panels that the folder has not, or not as they were written, which a line says of each."""
        found = []
        for name in names:
            try:
                if (self.folder / name).is_file():
                    loading.load(self.folder / name)
                    continue
            except InputError as problem:
                self.progress.log(f"{problem}; {name} is measured again")
            found.append(name)
        return found

    def measure_new_others(self) -> None:
        """Of a finished run: the panels that it has not, of other data or damaged since, and nothing else."""
        files = self.measured_before | self.measured_after
        new = {name: files[name] for name in self.lacking(files)}
        if not new:
            self.progress.log(f"{self.folder} is finished: nothing to do")
            return
        self.progress.log(
            f"{self.folder} is finished: measuring {', '.join(dict.fromkeys(pairs.title for pairs in new.values()))}"
        )
        for name, pairs in self.measured_before.items():
            if name in new:
                self.measured(self.base, pairs).save(self.folder / name)
        after = load_encoder(str(self.folder), cache_dir=self.cache_dir)
        for name, pairs in self.measured_after.items():
            if name in new:
                self.measured(after, pairs).save(self.folder / name)
        also_measured(self.folder, self.call, described(self.others), self.cache_dir)

    def measured(self, encoder: Encoder, pairs: Pairs) -> Panel:
        """The panel of these pairs."""
        return measure(
            embed(self.placed(encoder), pairs, **self.embedding),
            **self.measuring,
            seed=self.settings.seed,
            cache_dir=self.cache_dir,
            progress=self.progress,
        )

    def placed(self, encoder: Encoder) -> Encoder:
        """The encoder on the device of the run."""
        device = self.settings.device
        return replace(encoder, device=device, module=encoder.module.to(device))

    @property
    def embedding(self) -> dict[str, Any]:
        """How the rows of a split are made, or taken from the cache where they have been made before."""
        return {"cache_dir": self.cache_dir, "workers": self.settings.workers, "progress": self.progress}

    def result(self, chosen: Mapping[str, Any]) -> Result:
        """Before, after and their difference, as the run folder has them."""
        how: dict[str, Any] = {"bootstrap": self.measuring["bootstrap"], "seed": self.settings.seed}
        also = {name: compare(*self.kept(before_of(name), after_of(name)), **how) for name in self.others}
        before, after = self.kept(BEFORE, AFTER)
        difference = compare(before, after, **how, others=also)
        # only a shift makes the model in the folder one that is used in another way than its base
        is_shifted = self.method.stage == "without"
        encoder = load_encoder(str(self.folder), cache_dir=self.cache_dir) if is_shifted else self.base
        notes = (about(chosen), *compared(chosen), *self.splits.notes, how_to_use(self.folder, encoder))
        return Result(self.folder, self.settings, before, after, difference, dict(chosen), notes, also)

    def kept(self, before: str, after: str) -> tuple[Panel, Panel]:
        """Two panels of the folder."""
        return loading.load(self.folder / before), loading.load(self.folder / after)

    # ------------------------------------------------------------------------------------------- training

    def trained(self, snapshot: Path | None) -> Mapping[str, Any]:
        """Train, or go on from a snapshot; the best weights and the last are in the folder then."""
        settings, processes = self.settings, self.processes
        pictures = Pictures(self.splits.train.pairs, self.base.preprocess(), name=self.splits.train.title)
        order = self.order()
        steps = min(order.steps_per_epoch * settings.epochs, settings.steps or 10**12)
        batches = PairBatches(
            pictures,
            self.base.tokenize,
            order,
            processes=processes,
            crop=settings.augment == "crop",
            workers=settings.workers,
            pinned=settings.device.startswith("cuda"),
        )
        trainer = Trainer(
            copy.deepcopy(self.base.module),
            settings=settings,
            objective=self.objective(),
            batches=batches,
            steps=steps,
            processes=processes,
            heads_first=self.method.heads_first,
        )
        self.check_passes(trainer, pictures)
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
        return self._lead_training(trainer, batches, course)

    def check_passes(self, trainer: Trainer, pictures: Pictures) -> None:
        """InputError for a batch whose pixels and passes surely do not fit into memory."""
        first = (pictures.whole(image) for image, _ in self.order().places(0))
        pixels = next((each for each in first if each is not None), None)
        if pixels is not None:
            tokens, _ = self.base.tokenize(["a"])
            check_passes_fit(trainer.kept_of_a_pair(pixels, tokens), pixels.nbytes, self.settings)

    def _lead_training(self, trainer: Trainer, batches: PairBatches, course: Course | None) -> Mapping[str, Any]:
        settings = self.settings
        validation = self.validation()
        probe = Probe(self.base, self.splits.val) if settings.probe_every else None
        resumed = trainer.done if course is not None else None
        self.progress.log(str(trained(trainer.module)))
        with (
            batches,
            Journal(
                self.folder,
                resumed_at=resumed,
                total=trainer.steps,
                progress=self.progress,
                config=settings.to_dict(),
                tensorboard=self.place.tensorboard,
                wandb=self.place.wandb,
            ) as journal,
        ):
            course = train(
                trainer,
                self.folder,
                validation=validation,
                keep_best=partial(self.keep_module, BEST),
                journal=journal,
                probe=probe,
                course=course,
            )
            for image, reason in batches.pictures.lost.items():
                journal.note(f"not trained on: {self.splits.train.pairs[image].image.path} ({reason})")
            journal.memory(peak_memory(settings.device))
        self.keep_module(LAST, trainer.plain(), trainer.done)
        return {
            "step": course.best_step,
            "steps": trainer.done,
            "metric": settings.val_metric,
            "score": course.best_score,
            "start_score": validation.score(course.start),
            "beats_start": course.better_than_start(validation.score),
        }

    def keep_module(self, name: str, module: nn.Module, step: int) -> None:
        """Write the weights of a step into the folder."""
        self.keep(name, self.base, module.state_dict(), step=step)

    def keep(self, name: str, base: Encoder, state: Mapping[str, Tensor], **point: Any) -> None:
        """Write weights into the folder, with what they were made from and at which step, alpha or amount."""
        made = {"method": self.method.name, **point, "settings": self.settings.to_dict(), "data": self.data}
        made |= {"between": shown_in(self.between)} if self.between else {}
        save_checkpoint(base, state, self.folder / name, made=made, cache_dir=self.cache_dir)

    # --------------------------------------------------------------------------------------- no training

    def swept(self) -> Mapping[str, Any]:
        """The best point of a sweep is kept: a mixture of models, or a shift."""
        validation = self.validation()

        def score(encoder: Encoder) -> float:
            return validation.score(validation.of(encoder))

        metric = self.settings.val_metric
        if self.method.name == "soup":
            soup, names = sweep_soup((self.base, *self.mixed), score, progress=self.progress), short_names(self.between)
            members = [names[place] for place in soup.best.members]
            self.keep(LAST, self.base, soup.encoder.module.state_dict(), recipe=soup.best.recipe, members=members)
            return soup.described(metric, names)
        if self.mixed:  # WiSE-FT
            sweep = sweep_wise_ft(self.base, self.mixed[0].module.state_dict(), score, progress=self.progress)
        else:  # ES, along the gap of the training split
            rows = embed(self.placed(self.base), self.splits.train, **self.embedding)
            sweep = sweep_es(self.base, rows, score, progress=self.progress)
        of_base = replace(self.base, shift=sweep.encoder.shift)  # the base is what the file says it comes from
        self.keep(LAST, of_base, sweep.encoder.module.state_dict(), **{sweep.name: sweep.best})
        return sweep.described(metric)

    def validation(self) -> HeldOut:
        """The split that one chooses by."""
        settings = self.settings
        return HeldOut(self.base, self.splits.val, metric=settings.val_metric, workers=settings.workers)


def _nothing(module: nn.Module, step: int) -> None:
    """Only the first process keeps weights."""
