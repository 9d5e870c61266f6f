"""About the nearest other points of every point, of very many: each looks into the clusters nearest to it.

As many clusters as a sample of the points, compared with all, needs to find nearly all of its neighbours. Products of
blocks do the work, each by one thread of torch, so that no bit depends on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.machine.threads import Workers, free_threads, one_torch_thread

FOUND = 0.99
"""Of the neighbours of the sample, what the clusters looked into must hold."""

SAMPLE = 256
"""Points that are compared with all others."""

MOST = 50_000
"""Others that a point is compared with, on average, at most: with more a graph of neighbours is walked sooner, the
compiling of that walk, which every process does anew, included."""

ROUNDS, TAUGHT = 6, 32
"""Rounds of k-means, and points a cluster that take part in them."""

ROWS = 4_096
"""Points whose clusters are looked for at a time."""

SCORES = 1 << 21
"""Scores held by a thread: 8 MB."""


@dataclass(frozen=True)
class Clusters:
    """Points in clusters of no more than `width`; one that would be larger is several, at the same place."""

    centres: Tensor
    """(c, d)."""
    members: Tensor
    """All points, those of a cluster together."""
    start: Tensor
    """(c + 1,), where the members of each cluster begin."""

    @property
    def sizes(self) -> Tensor:
        """(c,)."""
        return self.start.diff()

    @property
    def width(self) -> int:
        """The size of the largest."""
        return int(self.sizes.max())

    def homes(self) -> Tensor:
        """(n,), the cluster of each point."""
        homes = torch.empty_like(self.members)
        homes[self.members] = torch.arange(len(self.centres)).repeat_interleave(self.sizes)
        return homes


def nearest_by_clusters(x: Tensor, k: int, count: int, seed: int | None) -> Tensor | None:
    """`count` others of every row of x (n, d), nearest first as far as products of rows tell: (n, count).

    Among them are at least 0.99 of the k nearest, if those of a sample speak for all. None where that takes more than
    50,000 comparisons a row.

    Parameters
    ----------
    x : Tensor of shape (n, d), float32 or float64
        Centred, or unit rows: large means drown differences.
    k, count : int
        k at most count, below n.
    seed : int or None
        Of the sample and of the clusters.

    References
    ----------
    Sivic and Zisserman (2003), "Video Google", ICCV (lists of the points of each cluster); Jégou, Douze and Schmid
    (2011), "Product quantization for nearest neighbor search", TPAMI (several of them looked into).
    """
    draw = torch.Generator()
    draw.manual_seed(seed) if seed is not None else draw.seed()
    with one_torch_thread():
        order = torch.randperm(len(x), generator=draw)
        clusters = clustered(x, order)
        probes = _probes_needed(x, clusters, order[-min(SAMPLE, len(x)) :], k)
        while probes * len(x) <= MOST * len(clusters.centres):
            near = _nearest_centres(x, clusters.centres, min(probes, len(clusters.centres)))
            if int(clusters.sizes[near].sum(dim=1).min()) > count:
                return _looked_up(x, clusters, near, count)
            probes *= 2  # some row looks into small clusters alone
        return None


def clustered(x: Tensor, order: Tensor) -> Clusters:
    """2 √n clusters of the rows of x (n, d) by k-means, taught by the first rows of an order drawn by lot."""
    n = len(x)
    count = max(1, int(2 * n**0.5))
    taught = x[order[: TAUGHT * count]]
    centres = taught[:count].clone()
    for _ in range(ROUNDS):
        homes = _nearest_centres(taught, centres, 1)[:, 0]
        sizes = torch.bincount(homes, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, homes, taught)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    homes = _nearest_centres(x, centres, 1)[:, 0]
    members, sizes = homes.argsort(stable=True), torch.bincount(homes, minlength=count)
    # none larger than twice the mean: what is held for a cluster is as wide as the largest
    parts = (sizes * count / (2 * n)).ceil().long()
    width = (sizes / parts.clamp(min=1)).ceil().long()
    each = zip(sizes.tolist(), width.tolist(), strict=True)
    kept = [min(most, size - first) for size, most in each for first in range(0, size, max(1, most))]
    start = torch.cat([torch.zeros(1, dtype=torch.long), torch.tensor(kept).cumsum(0)])
    centres = centres[homes[members[start[:-1]]]]
    return Clusters(centres, members, start)


def _nearest_centres(x: Tensor, centres: Tensor, count: int) -> Tensor:
    """The nearest clusters of each row: (n, count)."""
    half = centres.square().sum(dim=1) / 2
    workers = free_threads()
    with Workers(workers if workers > 1 else 0, "centres") as crew:

        def nearest(rows: Tensor) -> Tensor:
            scores = torch.addmm(-half, rows, centres.T)
            return scores.argmax(dim=1, keepdim=True) if count == 1 else scores.topk(count, dim=1).indices

        calls = [crew.add(nearest, rows) for rows in x.split(ROWS)]
        return torch.cat([crew.result(call) for call in calls])


def _probes_needed(x: Tensor, clusters: Clusters, sample: Tensor, k: int) -> int:
    """How many of its nearest clusters a row must look into."""
    half = x.square().sum(dim=1) / 2
    homes, ranks = clusters.homes(), []
    step = max(1, SCORES // len(x))
    for rows in sample.split(step):
        scores = torch.addmm(-half, x[rows], x.T)
        scores[torch.arange(len(rows)), rows] = -torch.inf
        nearest = scores.topk(k, dim=1).indices
        order = _nearest_centres(x[rows], clusters.centres, len(clusters.centres))
        ranks.append(order.argsort(dim=1).gather(1, homes[nearest]).flatten())
    ranked = torch.cat(ranks).sort().values
    return 1 + int(ranked[min(len(ranked) - 1, int(FOUND * len(ranked)))])


def _looked_up(x: Tensor, clusters: Clusters, near: Tensor, count: int) -> Tensor:
    """The `count` best of what each row finds in the clusters near it (n, probes)."""
    half = x.square().sum(dim=1) / 2
    found = torch.empty((len(x), count), dtype=torch.int32)
    step = max(1, SCORES // (near.shape[1] * clusters.width))
    workers = free_threads()
    with Workers(workers if workers > 1 else 0, "neighbours") as crew:

        def look(rows: Tensor) -> None:
            found[rows] = _best(x, half, clusters, rows, near[rows], count)

        # rows of a cluster look into the same ones
        for call in [crew.add(look, rows) for rows in clusters.members.split(step)]:
            crew.result(call)
    return found


def _best(x: Tensor, half: Tensor, clusters: Clusters, rows: Tensor, near: Tensor, count: int) -> Tensor:
    """The `count` best of the members of clusters near (b, probes) for these rows (b,)."""
    probes, width = near.shape[1], clusters.width
    scores = x.new_full((len(rows) * probes, width), -torch.inf)
    others = torch.zeros((len(rows) * probes, width), dtype=torch.int32)
    # which places of the table look into each cluster
    asked, place = near.flatten().sort(stable=True)
    which, times = asked.unique_consecutive(return_counts=True)
    for cluster, places in zip(which.tolist(), place.split(times.tolist()), strict=True):
        members = clusters.members[clusters.start[cluster] : clusters.start[cluster + 1]]
        askers = rows[places // probes]
        block = torch.addmm(-half[members], x[askers], x[members].T)
        block[askers[:, None] == members] = -torch.inf  # the row itself
        scores[places, : len(members)] = block
        others[places, : len(members)] = members.int()
    best = scores.view(len(rows), -1).topk(count, dim=1).indices
    return others.view(len(rows), -1).gather(1, best)
