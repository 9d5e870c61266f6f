"""`geomclip ground score`: predictions, or a run's own, against annotations, beside what is free."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geomclip.encoders import load_encoder
from geomclip.encoders.extraction.batches import Encoding
from geomclip.grounding.moments import proposals
from geomclip.grounding.record import Moment, Query
from geomclip.grounding.scores import Scores, best_fixed, blind, map_oracle, random_proposal, score
from geomclip.grounding.trainer import answers
from geomclip.grounding.training import BATCH, Run, Sources, load_run, queries_of, split, table
from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_json
from geomclip.machine.json_files import is_number
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import one_line, option
from geomclip.pairs.parsing import shorten
from geomclip.training.seeds import generator

CLIPS = 16
"""Of the guesses, where no run says another number."""

Found = list[tuple[Moment, ...]]


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of answers to the same queries, by the name of who gave them."""

    rows: Mapping[str, Scores]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Means and intervals of each."""
        return {"scores": {name: each.to_dict() for name, each in self.rows.items()}, "notes": list(self.notes)}

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=2)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all."""
        atomic_json(Path(path), self.to_dict())
        return Path(path)

    def __str__(self) -> str:
        return "\n".join([table(self.rows), *self.notes])


def score_files(
    annotations: str | Path | Sequence[Query],
    features: str | Path | None = None,
    *,
    run: str | Path | None = None,
    predictions: str | Path | None = None,
    train: str | Path | Sequence[Query] | None = None,
    videos: str | Path | None = None,
    format: str | None = None,
    durations: str | Path | None = None,
    model: str | None = None,
    pretrained: str | None = None,
    arch: str | None = None,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Scored:
    """Score a run, or predictions of others, against annotations.

    Beside it: a random proposal, the best fixed one, what the sentence alone tells (`blind`) and the map's oracle.
    Guesses are made from `train`, or else from half of the videos for the other half and the reverse.

    Parameters
    ----------
    annotations : path, or sequence of Query
        As `load_queries` takes it, with `format` and `durations`.
    features, videos
        Of a run: where clips come from, as in `geomclip.grounding.training.train`.
    run : path, optional
        A finished run.
    predictions : path, optional
        JSON: a mapping from ids of queries, or a list in their order, to moments [start, end] or [start, end, score],
        best first (or of any order where all have scores).
    train : path, or sequence of Query, optional
    model, pretrained, arch, cache_dir
        The encoder of the sentences, by which `blind` tells them apart; of a run its own.
    seed : int
        Of the random proposals.
    """
    queries = queries_of(annotations, format, durations)
    learned = None if train is None else queries_of(train, None, durations)
    trained = None if run is None else load_run(run, cache_dir)
    if predictions is not None:
        found = read_predictions(Path(predictions), queries)
    named: dict[str, Any] = {"model": model or "demo", "pretrained": pretrained, "arch": arch}
    encoder = load_encoder(**(dict(trained.encoder) if trained else named), cache_dir=cache_dir, seed=seed)
    every = trained.model.proposals if trained else proposals(CLIPS)
    rows: dict[str, Scores] = {}
    with Encoding(encoder, batch=BATCH) as encoding:
        source = Sources(encoding, every.clips, videos, progress)
        texts = source.sentences([query.text for query in queries])
        if trained is not None:
            rows["run"] = score(_of_run(trained, source, queries, features), queries)
        if predictions is not None:
            rows["predictions"] = score(found, queries)
        if learned is not None:
            learned_texts = source.sentences([query.text for query in learned])
    rows["random proposal"] = score(random_proposal(queries, every, generator=generator(seed, "proposals")), queries)
    notes = []
    if learned is not None:
        rows["best fixed"] = score(best_fixed(learned, queries, every), queries)
        rows["blind"] = score(blind(learned, learned_texts, queries, texts, every), queries)
    elif len({query.video for query in queries}) > 1:
        fixed, guessed = _crossed(queries, texts, every, seed)
        rows["best fixed"], rows["blind"] = score(fixed, queries), score(guessed, queries)
        notes.append(f"best fixed and blind guess from the other half of these videos; {option('train')} names others")
    rows["map's oracle"] = score(map_oracle(queries, every), queries)
    return Scored(rows, tuple(notes))


def read_predictions(path: Path, queries: Sequence[Query]) -> Found:
    """Moments of each query, the best first.

    Raises
    ------
    InputError
        If the file cannot be read, or does not have three numbers, or two, a moment, and an entry for each query.
    """
    try:
        held = json.loads(regular.read(path, "score-bytes"))
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {one_line(error, 200)}") from error
    if isinstance(held, list):
        if len(held) != len(queries):
            raise InputError(f"{path} has {len(held)} entries for {len(queries)} queries")
        entries = dict(enumerate(held))
        return [_moments(entries[place], f"{path} entry {place + 1}") for place in range(len(queries))]
    if not isinstance(held, dict):
        raise InputError(f"{path}: must be a list, or a mapping from ids of queries")
    absent = [query.id for query in queries if query.id not in held]
    if absent:
        raise InputError(
            f"{path} has no moments for {len(absent)} of {len(queries)} queries: {shorten(absent[0])}, ..."
        )
    return [_moments(held[query.id], f"{path} {shorten(query.id)}") for query in queries]


def _moments(entry: Any, where: str) -> tuple[Moment, ...]:
    if not isinstance(entry, list):
        raise InputError(f"{where}: must be a list of moments [start, end, score]")
    found = []
    for place, each in enumerate(entry, 1):
        numbers = each if isinstance(each, list) else []
        if len(numbers) not in (2, 3) or not all(map(is_number, numbers)):
            raise InputError(
                f"{where} moment {place}: must be [start, end] or [start, end, score], got {shorten(str(each))}"
            )
        start, end, *rest = (float(value) for value in numbers)
        if not (-1e9 < start < end < 1e9) or any(value != value for value in rest):
            raise InputError(f"{where} moment {place}: must begin before it ends, got {start:g} to {end:g}")
        found.append(Moment(start, end, rest[0] if rest else -float(place)))
    return tuple(sorted(found, key=lambda moment: -moment.score))


def _of_run(run: Run, source: Sources, queries: Sequence[Query], features: str | Path | None) -> Found:
    data = source.annotated(queries, features)
    made = run.model.architecture
    widths = data.clips.shape[2], data.texts.shape[1]
    if widths != (made.dimensions, made.text_dimensions):
        raise InputError(
            f"the run takes clips of {made.dimensions} and sentences of {made.text_dimensions} dimensions, "
            f"these have {widths[0]} and {widths[1]}"
        )
    return answers(run.model, data)


def _crossed(queries: Sequence[Query], texts: torch.Tensor, every: Any, seed: int) -> tuple[Found, Found]:
    """The best fixed and the blind guess of each query, from queries of the other half of the videos."""
    first = {id(query) for query in split(queries, 0.5, seed=seed)[0]}
    half = torch.tensor([id(query) in first for query in queries])
    fixed: list[Any] = [()] * len(queries)
    guessed: list[Any] = [()] * len(queries)
    for asked in (half, ~half):
        places, others = asked.nonzero()[:, 0].tolist(), (~asked).nonzero()[:, 0].tolist()
        here, there = [queries[place] for place in places], [queries[place] for place in others]
        for place, one, other in zip(
            places,
            best_fixed(there, here, every),
            blind(there, texts[others], here, texts[places], every),
            strict=True,
        ):
            fixed[place], guessed[place] = one, other
    return fixed, guessed
