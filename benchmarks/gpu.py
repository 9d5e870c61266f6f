"""The sweeps of a panel on a GPU, as a ratio to the bare matrix products of the same sizes on the same device.

python benchmarks/gpu.py [--images 118000] [--texts-per-image 5] [--dim 512] [--turns 3] [--out FILE.json]

118,000 x 590,000 is COCO's training set with five captions. Inputs, products and folds are float32 without tf32, so
that close calls mean what they mean on a processor; the error against float64 is that of 1,000 rows chosen at random.
Without a GPU the goals are told as not measured, and `--device cpu` runs the same path at sizes that suit.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from goal import Goal, report
from made import folds, made, multiply, pairings

from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import CPU_BLOCK, GPU_BLOCK

LIMIT, MEMORY = 2.0, 8.0
NAMES = ("sweeps on a GPU", "memory on a GPU")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call, to the end of what it started on the device."""
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def largest_error(pairing: Pairing, found: dict[str, torch.Tensor], rows: int = 1000) -> float:
    """Of the k best scores of some texts, against float64."""
    some = torch.randperm(pairing.m, generator=torch.Generator().manual_seed(0))[:rows].to(pairing.text.device)
    images = pairing.image[found["text_index"][some]].double()
    exact = (images * pairing.text[some, None].double()).sum(2)
    return float((exact - found["text_score"][some].double()).abs().max())


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    size = f"{options.images} x {options.images * options.texts_per_image} x {options.dim}"
    title = f"sweeps on {options.device}: {size}, median of {options.turns}"
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "torch sees no GPU here"
        goals = [Goal(NAMES[0], None, LIMIT, why=why), Goal(NAMES[1], None, MEMORY, "GB", why=why)]
        report(title, goals, out=options.out)
        return

    embeddings = made(options.images, options.texts_per_image, options.dim)
    swept_here = pairings(embeddings, device)
    across = swept_here[0]
    block = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found = folds(swept_here, device)  # first use of every operation
    bare = [seconds(lambda: multiply(across.image, across.text, *block), device) for _ in range(options.turns)]
    swept = [seconds(lambda: folds(swept_here, device), device) for _ in range(options.turns)]
    ratio = statistics.median(own / limit for own, limit in zip(swept, bare, strict=True))
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    rows: list[dict[str, object]] = [
        {"work": "bare products", "seconds": statistics.median(bare)},
        {"work": "all folds", "seconds": statistics.median(swept), "of the products": ratio},
    ]
    error = largest_error(across, found)
    rows.append({"largest error of a score, against float64": f"{error:.1e}"})
    rehearsal = "rehearsed on the processor" if device.type == "cpu" else ""
    goals = [
        Goal(NAMES[0], None if rehearsal else ratio, LIMIT, why=rehearsal or "of the bare products in float32"),
        Goal(NAMES[1], memory, MEMORY, "GB", why=rehearsal or "inputs included"),
    ]
    report(title, goals, rows, options.out)


if __name__ == "__main__":
    main()
