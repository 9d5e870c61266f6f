"""The gallery: what each image adds to a sum over queries by being there to be found.

A sum over queries is no sum of independent parts: an image asks, and it is also a candidate of all other queries. Its
effect as a candidate is the sum as it stands less the sum without it. For intervals only: the sums themselves come from
the sweeps, exact; the effects come from a second look at some queries, in the precision of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.machine.threads import Workers, free_threads
from geomclip.metrics.bins import BINS, bin_of
from geomclip.metrics.calibration import Posterior, log_sums
from geomclip.metrics.effects import Effects
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import TIE

CELLS = 2**21
"""Scores looked at together: 8 MB in float32."""

WIDE = 64
"""Queries are looked at by a multiple of so many, where there is room: a product of a few more takes a third longer."""

ASKING = 1000
"""Images whose queries are looked at again; of more a random choice, and its effects are scaled up."""

RECALLS = (1, 5, 10)


@dataclass(frozen=True, eq=False)
class Answers:
    """What the sweeps found of the queries of one direction, in their order; None where it was not wanted."""

    rank: Tensor | None = None  # (q,) int64
    posterior: Posterior | None = None


@dataclass(frozen=True, eq=False)
class _Look:
    """Some queries and their scores with all items, those of the own image at −inf."""

    queries: Tensor  # (q,) which of all queries of their direction
    asking: Tensor  # (q,) image of each
    scores: Tensor  # (items, q)
    texts_of_image: Tensor | None  # (n,) where the items are texts, sorted by their image
    each: int | None = None  # texts of every image, where the items are texts and it is one number: half of the time

    def _by_image(self, of_items: Tensor, how: str) -> Tensor:
        if self.each is not None:
            parted = of_items.view(-1, self.each, of_items.shape[1])
            of_items = parted.amax(1) if how == "max" else parted.sum(1)
        elif self.texts_of_image is not None:
            of_items = torch.segment_reduce(of_items, how, lengths=self.texts_of_image, axis=0)
        return of_items.T.contiguous()

    def reaching(self, threshold: Tensor) -> Tensor:
        """How many items of each image score at least the threshold (q,) of each query: (q, n)."""
        return self._by_image((self.scores >= threshold.to(self.scores.dtype)).to(self.scores.dtype), "sum")

    def best(self) -> Tensor:
        """The best score of each query with the items of each image: (q, n); −inf for the own image."""
        return self._by_image(self.scores, "max")

    def masses(self, logit_scale: float, total: Tensor) -> Tensor:
        """Probability of each image, `total` (q,) the logarithm of the sum over all items: (q, n); 0 of the own."""
        return self._by_image(torch.exp(logit_scale * self.scores - total.to(self.scores.dtype)), "sum")


def _parts(pairing: Pairing, axis: str, asking: Tensor) -> Iterable[Tensor]:
    """The images that ask, as many at a time as their queries have about CELLS scores; at least one."""
    items = pairing.image if axis == "text" else pairing.text
    counts = pairing.texts_of_image[asking] if axis == "text" else torch.ones_like(asking)
    together = max(1, CELLS // len(items))
    together -= together % WIDE if together > WIDE else 0
    block = (counts.cumsum(0) - 1) // together  # of the last query of each image: images are never parted
    return asking.split(block.unique_consecutive(return_counts=True)[1].tolist())


def _look(pairing: Pairing, axis: str, images: Tensor) -> _Look:
    """All queries of some images."""
    if axis == "text":
        ranges = [torch.arange(int(pairing.starts[i]), int(pairing.starts[i + 1])) for i in images.tolist()]
        queries = torch.cat(ranges)
        own = pairing.own[queries]
        scores = (pairing.text[queries] @ pairing.image.T).T  # (items, q), those of a query side by side
        scores[own, torch.arange(len(own))] = -torch.inf
        return _Look(queries, own, scores, None)
    scores = pairing.text @ pairing.image[images].T
    for place, image in enumerate(images.tolist()):
        scores[int(pairing.starts[image]) : int(pairing.starts[image + 1]), place] = -torch.inf
    counts = pairing.texts_of_image
    return _Look(images, images, scores, counts, int(counts[0]) if bool((counts == counts[0]).all()) else None)


@dataclass(frozen=True)
class _Direction:
    """Names of the columns of the queries along one axis."""

    axis: str  # of the queries
    found: str  # what they look for

    @property
    def prefix(self) -> str:
        return f"{self.found}_retrieval"

    @property
    def hardest(self) -> str:
        return f"relative_{self.axis}"

    @property
    def rank(self) -> str:
        return f"{self.found}_rank"

    def hit(self, k: int) -> str:
        return f"{self.found}_hit@{k}"

    def over(self, place: int) -> str:
        return f"{self.prefix}_over_{place:02d}"


DIRECTIONS = (_Direction("text", "image"), _Direction("image", "text"))
HITS = frozenset(names.hit(k) for names in DIRECTIONS for k in RECALLS)
"""Columns in which few candidates have an effect on a query: only those without which it finds its own."""


def gallery_effects(
    pairing: Pairing, answers: Mapping[str, Answers], logit_scale: float, columns: Set[str], *, seed: int
) -> Effects:
    """What each image adds as a candidate to the sums of some columns of `geomclip.metrics.contributions`.

    Parameters
    ----------
    pairing : Pairing
    answers : mapping of "text", "image" to Answers
        Of the text queries, in sorted order, and of the image queries.
    logit_scale : float
    columns : set of str
        Those that are wanted; names that are no sums over queries are passed over.
    seed : int
        Of the images that ask, where there are more than `ASKING`.

    Returns
    -------
    Effects
        By column; those of a hit (`HITS`) are all pair by pair.
    """
    described = (pairing.texts_of_image > 0).nonzero()[:, 0]
    asking = described
    if len(described) > ASKING:
        order = torch.randperm(len(described), generator=torch.Generator().manual_seed(seed))
        asking = described[order[:ASKING]].sort().values
    scale = len(described) / max(1, len(asking))

    def of(names: _Direction, own: Tensor, images: Tensor) -> Effects:
        effects = Effects(pairing.n, scale)
        look = _look(pairing, names.axis, images)
        _of_ranks(effects, pairing, answers[names.axis], names, columns, look)
        _of_masses(effects, own, answers[names.axis], names, columns, look, logit_scale)
        return effects

    effects = Effects(pairing.n, scale)
    with Workers(free_threads(), "gallery") as workers:
        calls = []
        for names in DIRECTIONS:
            if columns.isdisjoint(_columns(names)):
                continue
            logits = logit_scale * pairing.matched
            own = logits if names.axis == "text" else log_sums(logits, pairing)
            calls += [workers.add(of, names, own, images) for images in _parts(pairing, names.axis, asking)]
        for call in calls:
            effects.merge(workers.result(call))  # in one order, for any number of threads
    effects.found = {name: effect for name, effect in effects.found.items() if name in columns}
    return effects


def _columns(names: _Direction) -> set[str]:
    return {
        names.hardest,
        names.rank,
        *map(names.hit, RECALLS),
        *map(names.over, range(BINS)),
        f"{names.prefix}_nll",
        f"{names.prefix}_brier",
    }


def _of_ranks(
    effects: Effects, pairing: Pairing, answers: Answers, names: _Direction, columns: Set[str], look: _Look
) -> None:
    """Effects on relative alignment, ranks and hits."""
    if names.hardest in columns:
        best, item = look.best().topk(min(2, pairing.n), dim=1)
        lost = 2 * (best[:, 0] - best[:, -1]).double()
        kept = lost.isfinite()
        effects.add_pairs(names.hardest, look.asking[kept], item[kept, 0], lost[kept])
    if answers.rank is None or columns.isdisjoint({names.rank, *map(names.hit, RECALLS)}):
        return
    rank = answers.rank[look.queries]
    least = (pairing.matched if names.axis == "text" else pairing.best_matched)[look.queries] - TIE
    behind = (rank > 1).nonzero()[:, 0]  # a first rank is settled exactly: nothing is before it
    before = look.reaching(least)[behind]
    if names.rank in columns:
        effects.add(names.rank, _together(before, look.asking[behind]))
    for k in RECALLS:
        if names.hit(k) in columns:
            missed = (rank[behind] > k).nonzero()[:, 0]
            query, item = ((before[missed] > 0) & (rank[behind][missed, None] - before[missed] <= k)).nonzero(
                as_tuple=True
            )
            asking = look.asking[behind][missed][query]
            effects.add_pairs(names.hit(k), asking, item, torch.full((len(item),), -1.0))


def _of_masses(
    effects: Effects,
    logits: Tensor,
    answers: Answers,
    names: _Direction,
    columns: Set[str],
    look: _Look,
    logit_scale: float,
) -> None:
    """Effects on likelihood, Brier score and the bins of calibration; `logits` are those of all right answers."""
    nll, brier = f"{names.prefix}_nll", f"{names.prefix}_brier"
    binned = names.over(0) in columns
    if answers.posterior is None or not (binned or nll in columns or brier in columns):
        return
    here = answers.posterior.of(look.queries)
    mass = look.masses(logit_scale, logits[look.queries] - here.own)  # (q, n)
    top, item = mass.topk(min(2, mass.shape[1]), dim=1)
    q, right = torch.arange(len(mass)), here.own.exp()
    mass[q, item[:, 0]] = 0
    left = (mass.sum(1).double() + right).clamp(min=1e-300)  # 1 − the largest, with its digits
    if nll in columns:
        effect = -torch.log1p(-mass)
        effect[q, item[:, 0]] = -left.log().to(mass.dtype)
        effects.add(nll, _together(effect, look.asking))
    odds = mass / (1 - mass)
    if brier in columns:
        squares = here.squares
        # S − (S − p²)/(1 − p)² − 2r (1 − 1/(1 − p)) of the sum of squares S and the right answer r, by the odds of p
        flat, steep = (each[:, None].to(mass.dtype) for each in (2 * (right - squares), 1 - squares))
        effect = torch.addcmul(flat, odds, steep).mul_(odds)
        rest = mass.square().sum(1).double() + right.square()  # of the squares, without the largest
        first = squares - rest / left.square()
        effect[q, item[:, 0]] = (first - 2 * right * (1 - 1 / left)).to(mass.dtype)
        effect[q, look.asking] = 0
        effects.add(brier, _together(effect, look.asking))
    if not binned:
        return
    confidence = here.confidence
    place = bin_of(confidence)
    wrong = (here.hit(logit_scale) == 0).nonzero()[:, 0]
    effect = odds
    effect[q, item[:, 0]] = (top[:, 0].double() / left).to(mass.dtype)
    effect[wrong, item[wrong, 0]] = 0  # the answer itself goes: below
    effect *= confidence[:, None].to(mass.dtype)
    group, of_query = (look.asking * BINS + place).unique(return_inverse=True)
    of_groups = _added(effect, of_query, len(group))
    for b in (group % BINS).unique().tolist():
        effects.add(names.over(b), of_groups[group % BINS == b])
    # without the wrong answer that it gave, the query gives the next best: it may be right, and leaves its bin
    second = top[wrong, 1].double() if top.shape[1] > 1 else torch.zeros(len(wrong), dtype=torch.float64)
    now = torch.maximum(second, right[wrong]) / left[wrong]
    then = (right[wrong] > second * math.exp(logit_scale * TIE)).double()  # a tie counts against it, as everywhere
    for places, change in ((place[wrong], -confidence[wrong]), (bin_of(now.clamp(max=1)), now - then)):
        for b in places.unique().tolist():
            here = places == b
            effects.add_pairs(names.over(b), look.asking[wrong][here], item[wrong, 0][here], change[here])


def _together(of_queries: Tensor, asking: Tensor) -> Tensor:
    """The rows (q, n) of queries of one image, which lie side by side, added up: (images, n)."""
    images, of_query = asking.unique_consecutive(return_inverse=True)
    return of_queries if len(images) == len(asking) else _added(of_queries, of_query, len(images))


def _added(rows: Tensor, group: Tensor, count: int) -> Tensor:
    """The rows (q, n) of each group added up: (count, n)."""
    return rows.new_zeros(count, rows.shape[1]).index_add_(0, group, rows)
