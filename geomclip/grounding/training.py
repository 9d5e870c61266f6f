"""`geomclip ground train`: from annotations and clips to a run folder, gone on with after a kill to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.encoders import load_encoder
from geomclip.encoders.extraction.batches import Encoding
from geomclip.encoders.protocol import Encodes
from geomclip.grounding.annotations import load_queries
from geomclip.grounding.features import load_features
from geomclip.grounding.model import Architecture, GroundingModel
from geomclip.grounding.objective import merged
from geomclip.grounding.record import Clips, Query
from geomclip.grounding.scores import Scores
from geomclip.grounding.settings import GroundingSettings
from geomclip.grounding.trainer import Annotated, GroundingTrainer, HeldOutVideos, annotated
from geomclip.grounding.videos import encode_video
from geomclip.grounding.weights import load_weights, save_weights
from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError
from geomclip.machine.files import clear_leftovers
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import write_sealed
from geomclip.machine.words import option
from geomclip.pairs.parsing import inside, shorten
from geomclip.training import snapshots
from geomclip.training.folder import (
    AFTER,
    BEFORE,
    BEST,
    CONFIG,
    LAST,
    Config,
    Kept,
    RunFolder,
    begin,
    best_weights,
    call_of,
    completed,
    finish,
    read_config,
)
from geomclip.training.loop import Course, course_of
from geomclip.training.loop import train as step_through
from geomclip.training.seeds import generator
from geomclip.training.watching.journal import Journal

SCHEMA = "geomclip.grounding/1"
COMMAND = "ground train"
BATCH = 64
"""Sentences that an encoder sees at a time."""

DEFAULTS: dict[str, Any] = {"model": "demo", "holdout": 0.1}
"""What a call means where it says nothing."""


@dataclass(frozen=True, eq=False)
class GroundingResult:
    """What a run left: scores of held-out videos before and after, and where the weights are."""

    folder: Path
    settings: GroundingSettings
    before: Scores
    after: Scores
    chosen: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it but the scores of each query."""
        return {
            "folder": str(self.folder),
            "method": self.settings.method,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "chosen": dict(self.chosen),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        return "\n".join([table({"before": self.before, "after": self.after}), *self.notes])


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model of grounding, and the encoder whose rows it takes."""

    model: GroundingModel
    settings: GroundingSettings
    encoder: Mapping[str, Any]  # what `geomclip.encoders.load_encoder` takes, of the sentences
    own_clips: bool  # whether clips come from that encoder too, and not from features of others

    def for_videos(self) -> GroundingModel:
        """The model, if it takes what its encoder makes of a video.

        Raises
        ------
        InputError
            If it was trained on features of another width than the encoder's.
        """
        made = self.model.architecture
        if not self.own_clips and made.dimensions != made.text_dimensions:
            raise InputError(
                f"the run was trained on features of {made.dimensions} dimensions, which {self.encoder['model']} does "
                f"not make of a video: score such features with geomclip ground score"
            )
        return self.model


def train(
    annotations: str | Path | Sequence[Query],
    features: str | Path | Sequence[Clips] | None = None,
    *,
    out: str | Path,
    videos: str | Path | None = None,
    val: str | Path | Sequence[Query] | None = None,
    val_features: str | Path | Sequence[Clips] | None = None,
    holdout: float | None = None,
    format: str | None = None,
    durations: str | Path | None = None,
    model: str | Encodes | None = None,
    pretrained: str | None = None,
    arch: str | None = None,
    cache_dir: Path | None = None,
    resume: bool = False,
    override: bool = False,
    progress: Progress = SILENT,
    **settings: Any,
) -> GroundingResult:
    """Train a model of grounding on annotated videos, and score it on held-out ones before and after.

    Parameters
    ----------
    annotations : path, or sequence of Query
        As `load_queries` takes it, with `format` and `durations`.
    features : path, or sequence of Clips, optional
        Rows of the videos, as `load_features` takes them. Left out: `videos`.
    out : path
        The run folder.
    videos : path, optional
        A folder with a video file, or a folder of frames, for each annotated video; the encoder makes their clips.
    val : path, or sequence of Query, optional
        Annotations that choose the best weights by mIoU and that are scored. Left out: a share of the videos.
    val_features : path, or sequence of Clips, optional
        Left out: `features`.
    holdout : float, optional
        That share, above 0 and below 1; default 0.1.
    model, pretrained, arch, cache_dir
        The encoder of the sentences, and of `videos`: see `geomclip.encoders.load_encoder`. Default demo.
    resume, override : bool
        Go on from the newest checkpoint of `out`; although settings differ.
    progress : Progress, optional
    **settings
        Fields of `geomclip.grounding.settings.GroundingSettings`: method, epochs, lr, ...

    Raises
    ------
    InputError
        If a file, a row or a setting cannot be used; if `out` is not empty and `resume` is not given.
    GeomclipError
        If the loss is not finite, or the disk is full.
    """
    place = RunFolder(Path(out).expanduser(), resume, override, cache_dir=cache_dir)
    began = place.began_with(SCHEMA)
    named = {"model": model if isinstance(model, str) else None, "pretrained": pretrained, "arch": arch}
    place.refuse_forgotten(named, began)
    call = completed({**named, "holdout": holdout}, began, DEFAULTS)
    share = float(call["holdout"])
    if not 0 < share < 1:
        raise InputError(f"{option('holdout')} {share:g}: must be above 0 and below 1")
    own = {**({} if began is None else began["settings"]), **{k: v for k, v in settings.items() if v is not None}}
    if own.get("preset") == "released":
        own.setdefault("method", "released")
    if own.get("device"):
        own["device"] = choose_device(own["device"])
    chosen = GroundingSettings.from_dict(own)
    if isinstance(model, str | None):
        names = {name: call[name] for name in ("pretrained", "arch")}
        encoder: Encodes = load_encoder(call["model"], **names, cache_dir=cache_dir, seed=chosen.seed)
    else:
        encoder = model
    with Encoding(encoder, batch=BATCH) as encoding:
        source = Sources(encoding, chosen.clips, videos, progress)
        learned, held = queries_of(annotations, format, durations), None
        if val is None:
            learned, held = split(learned, share, seed=chosen.seed)
            val_features = features
        else:
            held = queries_of(val, format, durations)
            val_features = features if val_features is None else val_features
        training = source.annotated(merged(learned), features)
        validation = source.annotated(held, val_features)
    chosen, notes = possible(chosen, training)
    base = {key: value for key, value in encoder.made_from().items() if key != "notes"}
    data = {
        "own_clips": features is None,
        "videos": {"train": len(training), "val": len(validation)},
        "queries": {"train": len(training.queries), "val": len(validation.queries)},
        "fingerprints": {"train": training.fingerprint(), "val": validation.fingerprint()},
        "architecture": chosen.architecture(training.clips.shape[2], training.texts.shape[1]).to_dict(),
    }
    config = Config(call, chosen, base, data, schema=SCHEMA, command=COMMAND)
    for note in notes:
        progress.log(note)
    with Lock(place.path):
        kept = begin(place, config, progress=progress)
        clear_leftovers(place.path)
        return Work(place.path, chosen, training, validation, notes, progress).done(kept)


def load_run(folder: str | Path, cache_dir: Path | None = None) -> Run:
    """The model that a run chose, in eval mode.

    Raises
    ------
    InputError
        If the folder is no finished run of `ground train`.
    """
    folder = Path(folder).expanduser()
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} is no run of geomclip {COMMAND}: it has no {CONFIG}")
    config = read_config(folder, SCHEMA)
    if not config.get("finished"):
        raise InputError(f"{folder} is not finished: go on with it by geomclip {COMMAND} and {option('resume', True)}")
    settings = GroundingSettings.from_dict(config["settings"])
    model = GroundingModel(Architecture.from_dict(config["data"]["architecture"]), generator=torch.Generator())
    model.load_state_dict(load_weights(best_weights(folder)))
    call = call_of(config, cache_dir)
    encoder = {name: call.get(name) for name in ("model", "pretrained", "arch")}
    return Run(model.eval(), settings, encoder, bool(config["data"]["own_clips"]))


def split(queries: Sequence[Query], share: float, *, seed: int) -> tuple[list[Query], list[Query]]:
    """Queries to learn from and to choose by: that share of the videos, at least one, is drawn for the second."""
    videos = list(dict.fromkeys(query.video for query in queries))
    if len(videos) < 2:
        raise InputError(
            f"{len(videos)} annotated video: none is left to choose by; name another file by {option('val')}"
        )
    order = torch.randperm(len(videos), generator=generator(seed, "holdout")).tolist()
    held = {videos[place] for place in order[: max(1, round(share * len(videos)))]}
    return [query for query in queries if query.video not in held], [query for query in queries if query.video in held]


def possible(settings: GroundingSettings, data: Annotated) -> tuple[GroundingSettings, tuple[str, ...]]:
    """The settings, with random heads where there is no answer to start at, and the line that says so."""
    d, d_text = data.clips.shape[2], data.texts.shape[1]
    if settings.preset != "encoder" or d == d_text:
        return settings, ()
    note = f"clips have {d} dimensions and sentences {d_text}: no zero-shot answer to start at, heads begin at random"
    return replace(settings, preset="mmn"), (note,)


@dataclass(frozen=True)
class Sources:
    """Where clips and rows of sentences come from."""

    encoding: Encoding
    clips: int
    videos: str | Path | None
    progress: Progress

    def annotated(self, queries: Sequence[Query], features: str | Path | Sequence[Clips] | None) -> Annotated:
        """Queries with their rows and those of their videos."""
        if not queries:
            raise InputError("no query: there is nothing to learn or to score")
        return annotated(queries, self._clips(queries, features), self.sentences([query.text for query in queries]))

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Unit rows, one a sentence."""
        different = list(dict.fromkeys(texts))
        encoded = self.encoding.finished(self.encoding.texts(different), lambda *_: None)
        for place, reason in encoded.reasons.items():
            raise InputError(f"the sentence {shorten(different[place])} cannot be used: {reason}")
        place_of = {text: place for place, text in enumerate(different)}
        return encoded.rows[torch.tensor([place_of[text] for text in texts])]

    def _clips(self, queries: Sequence[Query], features: str | Path | Sequence[Clips] | None) -> Iterable[Clips]:
        seconds = {query.video: query.duration for query in queries}
        if isinstance(features, str | Path):
            return load_features(features, list(seconds), seconds, clips=self.clips)
        if features is not None:
            return features
        if self.videos is None:
            raise InputError(f"name {option('features')}, or a folder of {option('videos')} to encode")
        return (self._encoded(Path(self.videos), video) for video in seconds)

    def _encoded(self, folder: Path, video: str) -> Clips:
        """The clips of a video file, or a folder of frames, of that name."""
        place = inside(folder, video, entry=f"video {shorten(video)}")
        found = [place] if place.is_dir() else sorted(place.parent.glob(f"{_literal(place.name)}.*"))
        if not found and place.is_file():
            found = [place]
        if not found:
            raise InputError(f"{folder} has no video {shorten(video)}")
        made = encode_video(found[0], self.encoding, clips=self.clips, progress=self.progress).clips
        return Clips(video, made.rows, made.duration)


def _literal(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def queries_of(source: str | Path | Sequence[Query], format: str | None, durations: str | Path | None) -> list[Query]:
    """Queries that have a moment."""
    if isinstance(source, str | Path):
        read = load_queries(source, format=format, durations=durations)
        found = [query for query in read.queries if query.windows]
        if not found:
            raise InputError(f"{source} names no moments: nothing can be learned from it, or scored by it")
        return found
    found = [query for query in source if query.windows]
    if not found:
        raise InputError("no query with a moment: there is nothing to learn or to score")
    return found


@dataclass(frozen=True)
class Work:
    """The work of a run whose folder is locked."""

    folder: Path
    settings: GroundingSettings
    training: Annotated
    validation: Annotated
    notes: tuple[str, ...]
    progress: Progress

    def done(self, kept: Kept) -> GroundingResult:
        """What the folder holds in the end."""
        held = HeldOutVideos(self.validation)
        trainer = self.trainer()
        before = held.scores(trainer.plain())
        if kept.finished:
            self.progress.log(f"{self.folder} is finished: nothing to do")
        else:
            write_sealed(self.folder / BEFORE, before.to_dict())
            chosen = self.trained(trainer, held, kept.snapshot)
            after = held.scores(self._best(trainer.model))
            write_sealed(self.folder / AFTER, after.to_dict())
            finish(self.folder, chosen, SCHEMA)
        chosen = read_config(self.folder, SCHEMA).get("chosen", {})
        after = held.scores(self._best(trainer.model))
        return GroundingResult(self.folder, self.settings, before, after, chosen, (*self.notes, about(chosen)))

    def trainer(self) -> GroundingTrainer:
        """The model at its start."""
        d, d_text = self.training.clips.shape[2], self.training.texts.shape[1]
        model = GroundingModel(
            self.settings.architecture(d, d_text), generator=generator(self.settings.seed, "weights")
        )
        return GroundingTrainer(model, settings=self.settings, data=self.training)

    def trained(self, trainer: GroundingTrainer, held: HeldOutVideos, snapshot: Path | None) -> Mapping[str, Any]:
        """Step to the end, or go on from a snapshot; the best weights and the last are in the folder then."""
        course: Course | None = None
        if snapshot is not None:
            state, known = snapshots.load(snapshot)
            trainer.load(state, done=int(known["step"]))
            course = course_of(known)
        with Journal(
            self.folder,
            resumed_at=trainer.done if course is not None else None,
            total=trainer.steps,
            progress=self.progress,
            config=self.settings.to_dict(),
        ) as journal:
            course = step_through(
                trainer, self.folder, validation=held, keep_best=self._keeping(BEST), journal=journal, course=course
            )
        self._keeping(LAST)(trainer.plain(), trainer.done)
        return {
            "step": course.best_step,
            "steps": trainer.done,
            "metric": "mIoU",
            "score": course.best_score,
            "start_score": held.score(course.start),
            "beats_start": course.better_than_start(held.score),
        }

    def _keeping(self, name: str) -> Callable[[nn.Module, int], None]:
        """A function that writes the weights of a module under this name."""

        def keep(module: nn.Module, step: int) -> None:
            save_weights(self.folder / name, module)

        return keep

    def _best(self, model: GroundingModel) -> GroundingModel:
        model.load_state_dict(load_weights(best_weights(self.folder)))
        return model.eval()


def about(chosen: Mapping[str, Any]) -> str:
    """Which weights `after` are, in one sentence."""
    best = f"after: step {chosen['step']} of {chosen['steps']}, the best on val by mIoU: {chosen['score']:.4g}"
    start = f"the starting weights {chosen['start_score']:.4g}"
    return f"{best}; {start}" if chosen["beats_start"] else f"{best}; but {start}: nothing beat them"


def table(rows: Mapping[str, Scores]) -> str:
    """Scores of several answers to the same queries in percent, a line each; intervals below their numbers."""
    keys = list(next(iter(rows.values())).by_query)
    wide = max(map(len, rows))
    lines = [" ".join([" " * wide, *(f"{key:>12}" for key in keys)])]
    for name, scores in rows.items():
        values, ends = scores.values, scores.intervals
        lines.append(" ".join([f"{name:<{wide}}", *(f"{100 * values[key]:>12.1f}" for key in keys)]))
        if ends:
            shown = (f"{100 * ends[key][0]:.1f}-{100 * ends[key][1]:.1f}" for key in keys)
            lines.append(" ".join([" " * wide, *(f"{each:>12}" for each in shown)]))
    return "\n".join(lines)
