"""Contrastive losses by tiles beside the whole matrix: time, memory and the error of the gradients.

python benchmarks/blockwise.py [--pairs 16384] [--large 65536] [--dim 512] [--turns 3] [--out FILE.json]

Each contestant makes a loss and its gradients by images, texts and the logit scale, in a process of its own, in turns,
on one thread and on all: geomclip by tiles and as a whole matrix (the same functions below and above the size at which
tiles take over), open_clip's ClipLoss and SigLipLoss, and torch's linear_cross_entropy both ways, which takes chunks.
The median of the turns counts. At --pairs the whole matrix still fits; at --large only the memory of the tiles is
asked, and their time on all threads. Gradients are compared with float64 of the whole matrix at 4,096 pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from alone import alone, measured
from goal import Goal, report
from torch import Tensor

ONE_THREAD, MORE_THREADS, MEMORY_GB, ERROR = 1.0, 1.4, 1.0, 3e-6
CHECKED = 4096
LAM = 0.3
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def rows(pairs: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows of a batch that is half learned, and a logit scale."""
    draw = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(pairs, dim, generator=draw), dim=1)
    text = F.normalize(image + 0.15 * torch.randn(pairs, dim, generator=draw), dim=1)
    return image, text, torch.tensor(50.0)


def torch_chunks(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Both directions by torch's linear_cross_entropy."""
    own = torch.arange(len(image))
    one = F.linear_cross_entropy(scale * image, text, own)
    return (one + F.linear_cross_entropy(scale * text, image, own)) / 2


def losses_of(way: str) -> dict[str, Loss]:
    """Name of a loss to what makes it."""
    from open_clip.loss import ClipLoss, SigLipLoss

    from geomclip import losses

    bias = torch.tensor(-5.0)
    if way == "open_clip":
        return {"softmax": ClipLoss(), "siglip": lambda x, y, scale: SigLipLoss()(x, y, scale, bias)}
    if way == "torch":
        return {"softmax": torch_chunks}
    ours: dict[str, Loss] = {
        "softmax": lambda x, y, scale: losses.contrastive(x, y, 1 / scale),
        "m2-mix": lambda x, y, scale: losses.m2_mix(x, y, LAM, 1 / scale),
        "siglip": lambda x, y, scale: losses.siglip(x, y, 1 / scale, bias.to(x.dtype)),
    }
    most = 1 if way == "tiles" else 10**9
    return {name: partial(whole_up_to, most, loss) for name, loss in ours.items()}


def whole_up_to(most: int, loss: Callable[..., Tensor], *inputs: Tensor, **options: float) -> Tensor:
    """The loss, from the whole matrix up to so many pairs and by tiles above."""
    from geomclip.losses import blockwise

    kept, blockwise.DENSE_UP_TO = blockwise.DENSE_UP_TO, most
    try:
        return loss(*inputs, **options)
    finally:
        blockwise.DENSE_UP_TO = kept


def gradients(loss: Loss, *inputs: Tensor) -> list[Tensor]:
    """By images, texts and the logit scale."""
    own = [each.clone().requires_grad_() for each in inputs]
    loss(*own).backward()
    return [each.grad for each in own if each.grad is not None]


def one(way: str, name: str, pairs: int, dim: int, threads: int) -> None:
    """One contestant in this process: seconds and the peak above rows and gradients."""
    torch.set_num_threads(threads)
    loss = losses_of(way)[name]
    gradients(loss, *rows(64, dim))  # what is loaded at first use
    own = [each.requires_grad_() for each in rows(pairs, dim)]
    for each in own:
        each.grad = torch.zeros_like(each)
    _, found = measured(lambda: loss(*own).backward())
    print(json.dumps(found))


def errors(dim: int) -> dict[str, float]:
    """Of each loss, the largest error of a gradient over the largest gradient, against float64."""
    found = {}
    given = rows(CHECKED, dim)
    for name, loss in losses_of("tiles").items():
        tiles = gradients(loss, *given)[:2]
        exact = gradients(losses_of("whole")[name], *(each.double() for each in given))[:2]
        found[name] = max(
            float((near - true).abs().max() / true.abs().max()) for near, true in zip(tiles, exact, strict=True)
        )
    return found


def main() -> None:
    """Take turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16_384)
    parser.add_argument("--large", type=int, default=65_536)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    every = torch.get_num_threads()
    contestants = [(way, name) for way in ("tiles", "whole", "open_clip", "torch") for name in losses_of(way)]
    table: dict[tuple[str, str], dict[str, object]] = {each: {"loss": each[1], "by": each[0]} for each in contestants}
    counts = sorted({1, every})
    seconds: dict[tuple[str, str, int], float] = {}
    for threads in counts:
        turns: dict[tuple[str, str], list[dict[str, float]]] = {each: [] for each in contestants}
        for turn in range(options.turns):
            for each in contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]:
                turns[each].append(alone(__file__, "--one", *each, options.pairs, options.dim, threads))
        for each, found in turns.items():
            seconds[*each, threads] = statistics.median(turn["seconds"] for turn in found)
            table[each] |= {f"s, threads {threads}": seconds[*each, threads]}
            table[each]["GB"] = max(turn["peak_gb"] for turn in found)
    goals = []
    for name, error in errors(options.dim).items():
        for threads in counts:
            limit = ONE_THREAD if threads == 1 else MORE_THREADS
            ratio = seconds["tiles", name, threads] / seconds["whole", name, threads]
            why = f"of the whole matrix, {options.pairs:,} pairs, dimension {options.dim}"
            goals.append(Goal(f"{name} by tiles, threads {threads}", ratio, limit, why=why))
        why = f"of the largest gradient, against float64 at {CHECKED:,} pairs"
        goals.append(Goal(f"{name}, error of gradients", error, ERROR, unit="", why=why))
        large = alone(__file__, "--one", "tiles", name, options.large, options.dim, every)
        table["tiles", name] |= {f"GB, {options.large:,}": large["peak_gb"], f"s, {options.large:,}": large["seconds"]}
        why = f"above rows and gradients; the matrix alone has {4 * options.large**2 / 2**30:.0f} GB"
        goals.append(Goal(f"{name}, memory of {options.large:,}", large["peak_gb"], MEMORY_GB, unit="GB", why=why))
    report("Contrastive losses by tiles", goals, list(table.values()), options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:7]))
    else:
        main()
