"""Numbers from blocks of a set: how often the exact ones lie where their error bars say, and what they cost.

python benchmarks/sampled.py [--images 100000] [--texts-per-image 1] [--dim 64] [--blocks 40] [--seeds 10]
                             [--large 5000000] [--large-blocks 8] [--folder DIR] [--out FILE.json]

Made vectors are written to a store, and measured in processes of their own: once whole, and once a seed from --blocks
blocks of 250 images. The first goal is the share of all sampled numbers, over the seeds, whose exact value lies inside
their 95 % interval; numbers of one seed share their blocks, so that the share wanders more than one of as many
independent intervals does. Time is processor seconds of the sampled over those of the exact, memory the most that
VmData grew by. At --large images (0: none) only blocks are measured, which is the size that they are for. The stores
lie in a temporary folder of --folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from alone import alone
from goal import Goal, report
from stores import watched

METRICS = "default " + " ".join(f"{way}_retrieval_{key}" for way in ("text", "image") for key in ("nll", "brier"))
INSIDE, SHARE, MEMORY = 0.9, 0.5, 1.1
"""The least share of numbers inside, the most seconds and memory as parts of the exact."""


def one(store: str, blocks: int, seed: int) -> None:
    """Measure a store in this process, whole (0) or from so many blocks."""
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # or it sets a GB of addresses aside
    import pyarrow.parquet  # noqa: F401  (one of the imports)

    from geomclip.embeddings.store import load
    from geomclip.metrics.sweep import load_kernels
    from geomclip.panels.measurement import measure

    load_kernels()
    how: dict[str, Any] = {"sample_blocks": blocks, "seed": seed} if blocks else {"bootstrap": 0}
    with watched() as found:
        panel = measure(load(store), metrics=METRICS, **how)
    found |= {"values": dict(panel.values), "sampled": dict(panel.sampled), "stages": dict(panel.seconds)}
    print(json.dumps(found))


def main() -> None:
    """Make the stores, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--texts-per-image", type=int, default=1)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--large", type=int, default=5_000_000)
    parser.add_argument("--large-blocks", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:

        def measured(name: str, store: Path, images: int, blocks: int, seed: int = 0) -> dict[str, Any]:
            found = alone(__file__, "--one", store, blocks, seed)
            rows = images * (1 + options.texts_per_image) * options.dim * 4 / 1e9
            size = {"what": name, "images": images, "blocks": blocks or None, "rows GB": rows}
            table.append(size | {"peak GB": found["peak_gb"], "s": found["seconds"], "CPU s": found["worked"]})
            return found

        store = Path(folder) / "store"
        alone(__file__, "--make", options.images, options.texts_per_image, options.dim, store)
        exact = measured("exact", store, options.images, 0)
        drawn = [measured(f"seed {n}", store, options.images, options.blocks, n) for n in range(options.seeds)]
        if options.large:
            large = Path(folder) / "large"
            alone(__file__, "--make", options.large, options.texts_per_image, options.dim, large)
            ends = measured("large", large, options.large, options.large_blocks)
    rows = [of_key(key, exact["values"][key], drawn) for key in drawn[0]["sampled"]]
    if options.large:
        for row in rows:
            low, high = ends["sampled"][row["number"]]
            row["large"], row["± large"] = ends["values"][row["number"]], (high - low) / 2
    inside = sum(row["inside"] for row in rows) / (len(rows) * len(drawn))
    why = f"{options.blocks} blocks of {options.images:,} images, {options.seeds} seeds, {len(rows)} numbers"
    seconds, memory = (median(each[name] for each in drawn) / exact[name] for name in ("worked", "peak_gb"))
    goals = [
        Goal("exact numbers inside", inside, INSIDE, unit="", better="higher", why=f"share of 95 % intervals; {why}"),
        Goal("processor time of blocks", seconds, SHARE, why="of the exact"),
        Goal("memory of blocks", memory, MEMORY, why="of the exact, the most that VmData grew by"),
    ]
    report("Numbers from blocks", goals, [*table, *rows], options.out)


def of_key(key: str, exact: float, drawn: list[dict[str, Any]]) -> dict[str, Any]:
    """A number: exact, how often it lies inside, and the middle error and half width."""
    ends = [each["sampled"][key] for each in drawn]
    return {
        "number": key,
        "exact": exact,
        "inside": sum(low <= exact <= high for low, high in ends),
        "error": median(abs(each["values"][key] - exact) for each in drawn),
        "±": median((high - low) / 2 for low, high in ends),
    }


def make(images: int, texts_per_image: int, dim: int, place: str) -> None:
    """Write made vectors to a store."""
    from made import made

    from geomclip.embeddings.store import save

    save(made(images, texts_per_image, dim), place)
    print("{}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], *map(int, sys.argv[3:]))
    elif sys.argv[1:2] == ["--make"]:
        make(*map(int, sys.argv[2:5]), sys.argv[5])
    else:
        main()
