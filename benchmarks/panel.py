"""Time and memory of the panel, as ratios to the bare matrix products of the same sizes in the same run.

python benchmarks/panel.py [--images 5000] [--texts-per-image 5] [--dim 512] [--turns 3] [--out FILE.json]

The limit is the blocked products x yᵀ, x xᵀ and y yᵀ, all blocks, nothing done with them. Both run in turn and
the medians are divided. Memory is the peak of a process of its own above its inputs.
"""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from geomclip.embeddings import EmbeddingSet
from geomclip.measurement import measure

GOALS = {"panel": 4.0, "bootstrap": 4.0, "memory_gb": 1.5}
APART = ("nulls", "temperature", "curves")
"""Stages that are timed apart from the panel: cached, or asked for."""


def made(images: int, texts_per_image: int, dim: int) -> EmbeddingSet:
    """Two cones with matched pairs nearer than the rest, as CLIP's are."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(images, dim, generator=generator)
    own = torch.arange(images).repeat_interleave(texts_per_image)
    text = 0.5 * image[own] + torch.randn(len(own), dim, generator=generator)
    cones = [2 * torch.randn(1, dim, generator=generator) for _ in range(2)]
    return EmbeddingSet(image + cones[0], text + cones[1], own, logit_scale=100)


def products(embeddings: EmbeddingSet, rows: int = 1000, columns: int = 2500) -> float:
    """Seconds of the bare blocked products."""
    image, text = embeddings.image, embeddings.text
    assert text is not None
    buffer = torch.empty(rows * columns)
    begin = time.perf_counter()
    for x, y in ((image, text), (image, image), (text, text)):
        for some in x.split(rows):
            for others in y.split(columns):
                torch.mm(some, others.T, out=buffer[: len(some) * len(others)].view(len(some), -1))
    return time.perf_counter() - begin


def panel(embeddings: EmbeddingSet, bootstrap: int) -> tuple[float, dict[str, float]]:
    """Seconds of the panel less the stages timed apart, and the seconds of each stage."""
    begin = time.perf_counter()
    stages = dict(measure(embeddings, bootstrap=bootstrap).seconds)
    return time.perf_counter() - begin - sum(stages.get(name, 0.0) for name in APART), stages


def memory_gb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process; Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 2**20


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
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of making the inputs, is forgotten
        before = memory_gb("VmRSS")
        measure(embeddings, bootstrap=options.memory)
        print(memory_gb("VmHWM") - before)
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
