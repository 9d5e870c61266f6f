"""What geodesics and interactions add to a step, on one thread: of grounding, and of fine-tuning on pairs.

python benchmarks/terms.py [--videos 16] [--queries 2] [--clips 16] [--dim 512] [--batch-size 128] [--turns 15]
                           [--out FILE.json]

The terms stand alone, with their gradients by the rows: graph, shortest paths and weights for the geodesic one,
players, coalitions and their game for the interaction. The processor's time is counted, which other work on the
machine moves less than the clock's. Of grounding, what they add to the same contrast without them is told in
milliseconds, beside a step of about 50 ms and more; of fine-tuning as a multiple of the plain loss, which is itself a
thousandth of a step.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from goal import Goal, report
from torch import Tensor

from geomclip import losses
from geomclip.embeddings.graphs import geodesic_distances
from geomclip.grounding.moments import proposals
from geomclip.losses.geodesic import NEIGHBORS
from geomclip.training.methods import METHODS
from geomclip.training.objective import Features, draws, objective
from geomclip.training.seeds import generator
from geomclip.training.settings import Settings

LIMIT = 25.0
"""Milliseconds that a term may add to a step of 16 videos."""
SEGMENTS = 5
FINE_TUNING = ("ft", "geodesic", "g2l")


class Videos:
    """A batch whose videos show a few things after each other, and sentences that name one of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        draw = generator(0, "benchmark")
        every, videos = proposals(options.clips), options.videos
        things = torch.randn(videos, SEGMENTS, options.dim, generator=draw)
        shown = torch.arange(options.clips) * SEGMENTS // options.clips
        clips = things[:, shown] + 0.5 * torch.randn(videos, options.clips, options.dim, generator=draw)
        self.owner = torch.arange(videos).repeat_interleave(options.queries)
        self.best = torch.randint(len(every), self.owner.shape, generator=draw)
        self.moments = F.normalize(every.means(clips), dim=-1).requires_grad_()
        self.queries = F.normalize(torch.randn(len(self.owner), options.dim, generator=draw), dim=1).requires_grad_()
        self.overlaps = torch.rand(len(self.owner), len(every), generator=draw).scatter(1, self.best[:, None], 1.0)

    def contrast(self, weights: Tensor | None = None) -> Tensor:
        """Of each sentence with the moments of all videos."""
        named = self.owner, self.best, self.overlaps
        return losses.moment_contrastive(self.moments, self.queries, *named, weights).mean()

    def distances(self) -> Tensor:
        """From what each sentence names, along the graph of its video."""
        per_video = len(self.owner) // len(self.moments)
        sources = self.best.view(len(self.moments), per_video)
        return geodesic_distances(self.moments, k=NEIGHBORS, sources=sources).flatten(0, 1)

    def geodesic(self) -> Tensor:
        """The contrast with near moments as positives."""
        return self.contrast(losses.geodesic_weights(self.distances()))

    def interaction(self, *, sampled: bool) -> Tensor:
        """The plain contrast, and the alignment with interactions."""
        played = losses.moment_alignment(
            self.moments,
            self.queries,
            self.owner,
            self.distances(),
            generator=generator(0, "coalitions") if sampled else None,
        )
        return self.contrast() + played

    def both(self) -> Tensor:
        """One graph for both terms."""
        distances = self.distances()
        rows = self.moments, self.queries, self.owner, distances
        played = losses.moment_alignment(*rows, generator=generator(0, "coalitions"))
        return self.contrast(losses.geodesic_weights(distances)) + played

    def gradients(self, term: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        """Of a term by the rows."""
        return torch.autograd.grad(term(), [self.moments, self.queries])


def fine_tuning(method: str, image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    """The loss of a method on a batch of pairs, with its draws, and the gradients by the rows."""
    settings = Settings(method=method)
    drawn = draws(METHODS[method], len(image), generator(0, "mixing"), settings)
    total, _ = objective(METHODS[method], Features(image, text, scale), drawn, settings, 0)
    return torch.autograd.grad(total, [image, text, scale])


def milliseconds(steps: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Of the processor, in each turn; the order rotates."""
    names = list(steps)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        steps[name]()
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.process_time()
            steps[name]()
            taken[name].append(1e3 * (time.process_time() - began))
    return taken


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--queries", type=int, default=2, help="of a video")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    videos = Videos(options)
    grounding: dict[str, Callable[[], Tensor]] = {
        "contrast": videos.contrast,
        "+ geodesic": videos.geodesic,
        "+ interaction": partial(videos.interaction, sampled=True),
        "+ both": videos.both,
        "+ pair removal": partial(videos.interaction, sampled=False),
    }
    rows = torch.randn(2, options.batch_size, options.dim, generator=generator(0, "rows"))
    image, text = (F.normalize(each, dim=1).requires_grad_() for each in rows)
    scale = torch.tensor(100.0, requires_grad=True)
    taken = milliseconds(
        {
            **{name: partial(videos.gradients, term) for name, term in grounding.items()},
            **{method: partial(fine_tuning, method, image, text, scale) for method in FINE_TUNING},
        },
        options.turns,
    )
    torch.set_num_threads(threads)
    medians = {name: statistics.median(each) for name, each in taken.items()}
    lines: list[dict[str, object]] = [
        {"of grounding": name, "ms": medians[name], "adds, ms": medians[name] - medians["contrast"]}
        for name in grounding
    ]
    lines += [
        {"loss of": method, "ms": medians[method], "over ft": medians[method] / medians["ft"]} for method in FINE_TUNING
    ]
    size = f"{options.videos} videos, {len(videos.moments[0])} moments, {options.queries} sentences each"
    goals = [
        Goal(f"{name[2:]} in a step of grounding", medians[name] - medians["contrast"], LIMIT, "ms", why=size)
        for name in ("+ geodesic", "+ interaction", "+ both")
    ]
    report("Geodesics and interactions in a step", goals, lines, options.out)


if __name__ == "__main__":
    main()
