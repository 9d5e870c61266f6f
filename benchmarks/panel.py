"""Time and memory of the panel, as ratios to the bare matrix products of the same sizes in the same run.

python benchmarks/panel.py [--images 5000] [--texts-per-image 5] [--dim 512] [--turns 3] [--out FILE.json]

The limit is the blocked products x yᵀ, x xᵀ and y yᵀ, all blocks, nothing done with them. Both run in turn and
the medians are divided. Memory is the peak of a process of its own above its inputs.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from alone import measured
from made import made, products

from geomclip.embeddings import EmbeddingSet
from geomclip.measurement import measure

GOALS = {"panel": 4.0, "bootstrap": 4.0, "memory_gb": 1.5}
APART = ("nulls", "temperature", "curves")
"""Stages that are timed apart from the panel: cached, or asked for."""


def panel(embeddings: EmbeddingSet, bootstrap: int) -> tuple[float, dict[str, float]]:
    """Seconds of the panel less the stages timed apart, and the seconds of each stage."""
    begin = time.perf_counter()
    stages = dict(measure(embeddings, bootstrap=bootstrap).seconds)
    return time.perf_counter() - begin - sum(stages.get(name, 0.0) for name in APART), stages


def peak_gb(options: argparse.Namespace, bootstrap: int) -> float:
    """Peak memory of a fresh process that measures, above what it held before it measures."""
    command = [sys.executable, __file__, "--memory", str(bootstrap)]
    for name in ("images", "texts_per_image", "dim"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    embeddings = made(options.images, options.texts_per_image, options.dim)
    if options.memory is not None:
        _, used = measured(lambda: measure(embeddings, bootstrap=options.memory))
        print(used["peak_gb"])
        return

    panel(made(200, 2, 64), 20)  # first use of every library
    bare, plain, full = [], [], []
    stages: dict[str, float] = {}
    for _ in range(options.turns):
        bare.append(products(embeddings))
        plain.append(panel(embeddings, 0)[0])
        seconds, stages = panel(embeddings, 1000)
        full.append(seconds)
    limit, without, added = statistics.median(bare), statistics.median(plain), statistics.median(full)
    added -= without
    texts = options.images * options.texts_per_image
    result = {
        "size": f"{options.images} x {texts} x {options.dim}",
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "bare_products_s": limit,
        "panel_s": without,
        "bootstrap_s": added,
        "ratios": {"panel": without / limit, "bootstrap": added / limit},
        "memory_gb": {"panel": peak_gb(options, 0), "with_bootstrap": peak_gb(options, 1000)},
        "stages_s": stages,
    }
    print(f"{result['size']}, {result['machine']}, torch {torch.__version__}, median of {options.turns}")
    print(f"bare products            {limit:8.2f} s")
    print(f"panel, no bootstrap      {without:8.2f} s   {without / limit:5.2f}x   goal {GOALS['panel']}x")
    print(f"1,000 resamples add      {added:8.2f} s   {added / limit:5.2f}x   goal {GOALS['bootstrap']}x")
    for name, peak in result["memory_gb"].items():
        print(f"peak above the inputs    {peak:8.2f} GB  ({name}, goal {GOALS['memory_gb']} GB)")
    for name, seconds in stages.items():
        print(f"  {name:24} {seconds:8.2f} s{'   (apart)' if name in APART else ''}")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
