"""What the terms of grounding add to a step of training, and what memory they take.

python benchmarks/grounding_step.py [--dim 512] [--width 48] [--batch-size 16] [--clips 16] [--turns 40]
    [--out FILE.json]

Whole steps of `GroundingTrainer` on one thread: batch, forward pass, loss, gradients, update. Methods take turns, and
each turn gives a ratio to the base step beside it; medians of those are compared. Seconds are those of the processor,
which other work on the machine moves less than those of the clock. Videos are of scenes, a row of noise each, two of
them named by sentences. The memory is the peak of a process of its own above what it holds before its first step.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import alone
import torch
from goal import Goal, report

from geomclip.grounding.model import GroundingModel
from geomclip.grounding.record import Clips, Query
from geomclip.grounding.settings import GroundingSettings
from geomclip.grounding.trainer import Annotated, GroundingTrainer, annotated
from geomclip.training.seeds import generator

METHODS = ("base", "geodesic", "shapley", "g2l", "pair-removal")
LIMITS = {"geodesic": 0.25, "shapley": 0.25, "g2l": 0.40}
SCENES = 5
NOISE = 0.5
"""Length of what is added to a clip's row of length 1."""


def videos(options: argparse.Namespace) -> Annotated:
    """Four batches of videos."""
    draw, dim, clips = generator(0, "videos"), options.dim, options.clips
    made, queries, texts = [], [], []
    for number in range(4 * options.batch_size):
        shown = torch.nn.functional.normalize(torch.randn(SCENES, dim, generator=draw), dim=1)
        cuts = [0, *sorted((torch.randperm(clips - 1, generator=draw)[: SCENES - 1] + 1).tolist()), clips]
        rows = torch.cat([shown[i].expand(cuts[i + 1] - cuts[i], -1) for i in range(len(cuts) - 1)])
        rows = rows + NOISE / dim**0.5 * torch.randn(rows.shape, generator=draw)
        made.append(Clips(f"v{number}", torch.nn.functional.normalize(rows, dim=1), float(clips)))
        for scene in (0, 2):
            queries.append(Query(f"v{number}", f"{number} {scene}", ((cuts[scene], cuts[scene + 1]),), float(clips)))
            texts.append(shown[scene])
    return annotated(queries, made, torch.stack(texts))


def trainer(method: str, data: Annotated, options: argparse.Namespace) -> GroundingTrainer:
    """A run at its start."""
    settings = GroundingSettings(
        method=method, clips=options.clips, width=options.width, batch_size=options.batch_size, epochs=10**6
    )
    model = GroundingModel(settings.architecture(options.dim, options.dim), generator=generator(0, "weights"))
    return GroundingTrainer(model, settings=settings, data=data)


def ratios(data: Annotated, options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Median milliseconds of each method, and the median of its ratios to base; the order rotates."""
    trainers = {method: trainer(method, data, options) for method in METHODS}
    taken: dict[str, list[float]] = {method: [] for method in METHODS}
    for each in trainers.values():
        for _ in range(2):
            each.step()
    for turn in range(options.turns):
        first = turn % len(METHODS)
        for method in METHODS[first:] + METHODS[:first]:
            began = time.process_time()
            trainers[method].step()
            taken[method].append(1e3 * (time.process_time() - began))
    median = {method: statistics.median(each) for method, each in taken.items()}
    over = {
        method: statistics.median(a / b for a, b in zip(each, taken["base"], strict=True))
        for method, each in taken.items()
    }
    return median, over


def peak_mb(method: str, options: argparse.Namespace) -> float:
    """Memory of some steps, in a process of its own."""
    data = videos(options)
    run = trainer(method, data, options)
    run.step()  # what is loaded and compiled once
    _, held = alone.measured(lambda: [run.step() for _ in range(4)])
    return held["peak_gb"] * 1024


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512, help="of a clip's row")
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=16, help="videos, of two sentences each")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if options.memory_of:
        print(json.dumps({"peak_mb": peak_mb(options.memory_of, options)}))
        return
    sizes = [str(each) for name in ("dim", "width", "batch_size", "clips") for each in _flag(name, options)]
    memory = {method: alone.alone(__file__, *sizes, "--memory-of", method)["peak_mb"] for method in METHODS}
    median, over = ratios(videos(options), options)
    torch.set_num_threads(threads)
    rows = [
        {
            "method": method,
            "ms": median[method],
            "over base": over[method],
            "peak MB": memory[method],
        }
        for method in METHODS
    ]
    size = f"width {options.width}, {options.batch_size} videos, {options.clips} clips of {options.dim} dimensions"
    goals = [
        Goal(f"{method} adds to a step", over[method] - 1, limit, "", why=f"share of the base step: {size}")
        for method, limit in LIMITS.items()
    ]
    graph = over["g2l"] - over["geodesic"]
    goals.append(Goal("interaction where a graph is there", graph, 0.25, "", why="g2l less geodesic, share of base"))
    report("What terms add to a step of grounding", goals, rows, options.out)


def _flag(name: str, options: argparse.Namespace) -> tuple[str, object]:
    return "--" + name.replace("_", "-"), getattr(options, name)


if __name__ == "__main__":
    main()
