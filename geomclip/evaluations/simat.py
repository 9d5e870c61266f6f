"""simat: a picture, a caption or a word, and the difference of two words added to it; does it land on what is meant?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations import arithmetic, simat_files
from geomclip.evaluations.asked import Simat
from geomclip.evaluations.result import panel_of
from geomclip.evaluations.simat_files import Queries
from geomclip.evaluations.simat_space import Space, space_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.sums import file_sha256
from geomclip.machine.threads import one_torch_thread
from geomclip.machine.words import option
from geomclip.pairs.source import expanded
from geomclip.panels.record import Panel

SWEEP = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0)
"""The λ over which Oh et al. (2023) take the maximum."""
SHUFFLES = 20
"""Times that pairs are shuffled for the null of words and captions."""
SHUFFLES_OF_IMAGES = 3
"""The same of images, of which each takes seconds."""
FEWEST = 2


@dataclass
class Found:
    """The numbers as they come."""

    values: dict[str, float | None] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)
    influences: dict[str, Tensor] = field(default_factory=dict)
    null: dict[str, list[float]] = field(default_factory=dict)
    sweep: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def shuffle(self, key: str, value: Tensor) -> None:
        """One more value of a key under shuffled pairs."""
        self.null.setdefault(key, []).append(float(value))


def run(subject: Subject, asked: Simat, progress: Progress) -> Panel:
    """The three kinds of arithmetic, as far as there is something for them; raises as `evaluate`."""
    folder = Path(asked.simat).expanduser()
    queries = simat_files.read_queries(folder, asked.domain)
    targets = queries.target_words()
    if len(targets) < FEWEST:
        raise InputError(f"{folder}: domain {asked.domain} has one target word, at least {FEWEST} are needed")
    space, regions, warnings, missing = space_of(subject, asked, folder, queries, progress)
    found = Found()
    with one_torch_thread():
        number = {each: place for place, each in enumerate(targets)}
        of = torch.tensor([number[each] for each in zip(queries.field, queries.target, strict=True)])
        if space.images is not None:
            oscar_file = simat_files.find(folder, simat_files.OSCAR)
            assert oscar_file is not None
            progress.stage("arithmetic", 0, 3, "images")
            captions = int(queries.wanted.max()) + 1
            oscar = simat_files.read_oscar(oscar_file, len(regions), captions)
            _of_images(queries, of, len(targets), space, regions, oscar, asked.lam, subject.seed, found)
        else:
            for key in ("simat_success", "simat_success_max"):
                found.values[key] = None
                found.notes[key] = missing
        if space.captions is not None:
            progress.stage("arithmetic", 1, 3, "captions")
            _of_captions(queries, len(targets), number, space, asked.lam, subject.seed, found)
        progress.stage("arithmetic", 2, 3, "words")
        _of_words(queries, len(targets), number, space, asked.lam, subject.seed, found)
        progress.stage("arithmetic", 3, 3)
    words = queries.words()
    rows = space.words[[words.index(word) for _, word in targets]]
    panel = panel_of(
        "simat",
        EmbeddingSet(
            rows,
            image_id=tuple(f"{kind}: {word}" for kind, word in targets),
            made_from={**space.made_from, "dataset": "SIMAT", "split": asked.domain},
        ),
        found.values,
        means=found.means,
        influences=found.influences,
        params={
            "lam": asked.lam,
            "domain": asked.domain,
            "simat_vectors": asked.simat_vectors,
            "sweep": list(SWEEP),
            **({"simat_heads": file_sha256(expanded(asked.simat_heads))} if asked.simat_heads else {}),
        },
        warnings=warnings,
        notes=found.notes,
        curves={"simat_lambda": {"lambda": list(SWEEP), **found.sweep}},
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )
    shuffled = {key: torch.tensor(each, dtype=torch.float64) for key, each in found.null.items()}
    return replace(
        panel,
        n_texts=len(words),
        null={key: float(each.mean()) for key, each in shuffled.items()},
        null_error={key: float(each.std() / len(each) ** 0.5) for key, each in shuffled.items()},
    )


def _of_images(
    queries: Queries,
    of: Tensor,
    targets: int,
    space: Space,
    regions: Sequence[str],
    oscar: Tensor,
    lam: float,
    seed: int,
    found: Found,
) -> None:
    """OSCAR success at λ, its maximum over the sweep, and at λ with the differences of other queries."""
    assert space.images is not None
    place = {region: number for number, region in enumerate(regions)}
    own = torch.tensor([place[region] for region in queries.region])
    delta = _deltas(queries, space.words)
    how = (space.images, own, delta, queries.wanted, oscar)
    by_lambda = arithmetic.hits(*how, (lam, *SWEEP))
    share = queries.weight / queries.weight.sum()
    along = [float(each @ share) for each in by_lambda]
    found.values["simat_success"], found.sweep["simat_success"] = along[0], along[1:]
    found.values["simat_success_max"] = max(along[1:])
    found.notes["simat_success_max"] = "λ is chosen on the queries that it is judged on: an upper bound"
    moved = share * (by_lambda[0] - along[0])
    found.influences["simat_success"] = (
        moved.new_zeros(targets).index_add_(0, of, moved) * (targets / (targets - 1)) ** 0.5
    )
    generator = torch.Generator().manual_seed(seed)
    kinds = _fields(queries.field)
    for _ in range(SHUFFLES_OF_IMAGES):
        order = arithmetic.shuffled(kinds, generator)
        others = arithmetic.hits(space.images, own, delta[order], queries.wanted, oscar, (lam,))
        found.shuffle("simat_success", others[0] @ share)


def _of_captions(
    queries: Queries,
    targets: int,
    number: Mapping[tuple[str, str], int],
    space: Space,
    lam: float,
    seed: int,
    found: Found,
) -> None:
    """The same with captions for pictures: which caption is nearest to that of the picture, moved."""
    assert space.captions is not None
    steps = zip(
        queries.source.tolist(), queries.wanted.tolist(), queries.field, queries.value, queries.target, strict=True
    )
    chosen = sorted({each for each in steps if each[0] != each[1]})
    source, wanted, kinds, value, target = zip(*chosen, strict=True)
    own, right = torch.tensor(source), torch.tensor(wanted)
    of = torch.tensor([number[each] for each in zip(kinds, target, strict=True)])
    place = {word: row for row, word in enumerate(queries.words())}
    delta = space.words[[place[word] for word in target]] - space.words[[place[word] for word in value]]
    captions, generator, by_field = space.captions, torch.Generator().manual_seed(seed), _fields(kinds)
    step = captions[right] - captions[own]

    def ranks(own_delta: Tensor, at: float) -> Tensor:
        return arithmetic.ranks(captions[own] + at * own_delta, captions, own, right).double()

    def judged(order: Tensor | None) -> dict[str, Tensor]:
        own_delta = delta if order is None else delta[order]
        reached = ranks(own_delta, lam)
        each = {
            "simat_caption_cosine": arithmetic.cosines(own_delta, step),
            "simat_caption_acc1": _first(reached),
            "simat_caption_rank": reached,
        }
        return {key: _by_target(value, of, targets) for key, value in each.items()}

    found.means |= judged(None)
    for _ in range(SHUFFLES):
        for key, each in judged(arithmetic.shuffled(by_field, generator)).items():
            found.shuffle(key, each.nanmean())
    found.sweep["simat_caption_acc1"] = [
        float(_by_target(_first(ranks(delta, at)), of, targets).nanmean()) for at in SWEEP
    ]


def _of_words(
    queries: Queries,
    targets: int,
    number: Mapping[tuple[str, str], int],
    space: Space,
    lam: float,
    seed: int,
    found: Found,
) -> None:
    """The vocabulary alone: a word, and the mean difference with which *other* words become the target.

    With its own difference a word would reach the target by definition.
    """
    chosen = sorted({*zip(queries.field, queries.value, queries.target, strict=True)})
    kinds, value_words, target_words = zip(*chosen, strict=True)
    of = torch.tensor([number[each] for each in zip(kinds, target_words, strict=True)])
    place = {word: row for row, word in enumerate(queries.words())}
    value, target = (torch.tensor([place[word] for word in each]) for each in (value_words, target_words))
    by_field = _fields(kinds)
    generator = torch.Generator().manual_seed(seed)

    def reached(start: Tensor, at: float) -> tuple[Tensor, Tensor]:
        """Ranks among the words of the field and cosines of differences; NaN where there is no other difference."""
        ranks, cosines = space.words.new_full((2, len(start)), torch.nan)
        for each in by_field.unique():
            rows = ((by_field == each) & (start != target)).nonzero()[:, 0]
            if not len(rows):
                continue
            there = torch.cat([value[by_field == each], target[rows]]).unique()
            pairs = start[rows], target[rows], of[rows]
            cosines[rows] = arithmetic.parallel(space.words, *pairs)
            points = space.words[start[rows]] + at * arithmetic.carried(space.words, *pairs)
            can = points.isfinite().all(dim=1)
            own, right = (torch.searchsorted(there, words[can]) for words in pairs[:2])
            ranks[rows[can]] = arithmetic.ranks(points[can], space.words[there], own, right).double()
        return ranks, cosines

    def judged(start: Tensor) -> dict[str, Tensor]:
        ranks, cosines = reached(start, lam)
        each = {"simat_word_cosine": cosines, "simat_word_acc1": _first(ranks), "simat_word_rank": ranks}
        return {key: _by_target(value, of, targets) for key, value in each.items()}

    of_words = judged(value)
    if bool(of_words["simat_word_rank"].isnan().all()):
        reason = "no target has two words that become it"
        found.values |= dict.fromkeys(of_words, None)
        found.notes |= dict.fromkeys(of_words, reason)
        return
    found.means |= of_words
    for _ in range(SHUFFLES):
        for key, each in judged(value[arithmetic.shuffled(by_field, generator)]).items():
            if bool(each.isfinite().any()):
                found.shuffle(key, each.nanmean())
    found.sweep["simat_word_acc1"] = [
        float(_by_target(_first(ranks), of, targets).nanmean()) for ranks, _ in (reached(value, at) for at in SWEEP)
    ]


def _first(ranks: Tensor) -> Tensor:
    """1 for rank 1, 0 for another, NaN for none."""
    return torch.where(ranks.isnan(), torch.nan, (ranks == 1).double())


def _by_target(each: Tensor, of: Tensor, targets: int) -> Tensor:
    """Mean over the pairs of each target (targets,), NaN where there is none."""
    there = each.isfinite()
    total, count = each.new_zeros(targets), each.new_zeros(targets)
    total.index_add_(0, of[there], each[there])
    count.index_add_(0, of[there], torch.ones_like(each[there]))
    return total / count


def _fields(kinds: Sequence[str]) -> Tensor:
    return torch.tensor([simat_files.FIELDS.index(kind) for kind in kinds])


def _deltas(queries: Queries, words: Tensor) -> Tensor:
    place = {word: row for row, word in enumerate(queries.words())}
    value, target = ([place[word] for word in each] for each in (queries.value, queries.target))
    return words[target] - words[value]


def applies(subject: Subject, asked: Simat) -> str:
    """Why it cannot be asked, as far as names tell."""
    if not asked.simat:
        return f"it needs SIMAT's files: name their folder with {option('simat')}"
    if asked.simat_vectors == "model" and not subject.has_encoder:
        return f"{option('embeddings')} are vectors, and this needs an encoder of words: name a model"
    return ""


TASK = Task(
    "simat", "whether the difference of two words, added to an image, finds what the words say", Simat, run, applies
)
