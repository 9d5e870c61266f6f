"""The whole panel beside what peers offer of it: the same work on the same vectors, in one run.

python benchmarks/peers.py [--images 5000] [--texts-per-image 5] [--dim 512] [--turns 2] [--out FILE.json]
                           [--large 20000] [--memory-limit-gb 8]

Four peers are asked for what they know: CLIP_benchmark for recall, as its zero-shot retrieval does it and in its
batches of 64; the formulas of Wang and Isola (2020) with torch.pdist, as their package has them; torchmetrics for the
calibration error of the retrieval softmax; scikit-dimension for TwoNN of both clouds. We are asked for the default
panel, whole, with everything that takes time in it. Contestants take turns, each turn in a process of its own that
has used its libraries once on a few rows; medians of seconds, largest peak of memory above the inputs.

Where a peer and we mean the same number they must agree, and the script ends with 1 where they do not. At --large
images, with as many texts an image as before, each contestant may hold --memory-limit-gb above its inputs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from alone import alone, measured, memory_gb
from goal import Goal, report
from made import made, products, warm_up

from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.measurement import measure

FASTER = 10.0
MEMORY_LIMIT_GB = 8.0
PACKAGES = ("clip_benchmark", "torchmetrics", "skdim")
INSTALL = "pip install --constraint constraints.txt --editable '.[bench]'"
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "Unable to allocate")
"""How torch, the system and numpy say it."""

Values = Mapping[str, float | None]


def tensors(vectors: EmbeddingSet) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (n, d), texts (m, d), and the image of each text (m,)."""
    assert vectors.text is not None
    assert vectors.image_of_text is not None
    return vectors.image, vectors.text, vectors.image_of_text


def clip_benchmark(vectors: EmbeddingSet) -> Values:
    """Its evaluation, whole: the model and the loader hand it our rows in batches of 64, as its command has them."""
    from clip_benchmark.metrics.zeroshot_retrieval import evaluate

    image, text, own = tensors(vectors)
    texts: list[list[int]] = [[] for _ in image]
    for row, of in enumerate(own.tolist()):
        texts[of].append(row)
    starts = range(0, len(image), 64)

    class Given:
        def encode_image(self, rows: torch.Tensor) -> torch.Tensor:
            return rows

        def encode_text(self, rows: torch.Tensor) -> torch.Tensor:
            return text[rows]

    loader = [(image[start : start + 64], texts[start : start + 64]) for start in starts]
    found: Values = evaluate(Given(), loader, torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    return found


def align_uniform(vectors: EmbeddingSet) -> Values:
    """Alignment of the pairs, uniformity of either modality. Of both together is left out, in the peer's favour."""
    image, text, own = tensors(vectors)

    def align(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x - y).norm(p=2, dim=1).pow(2).mean())

    def uniform(x: torch.Tensor) -> float:
        return float(torch.pdist(x, p=2).pow(2).mul(-2).exp().mean().log())

    return {
        "alignment": align(image[own], text),
        "uniformity_image": uniform(image),
        "uniformity_text": uniform(text),
    }


def torchmetrics(vectors: EmbeddingSet) -> Values:
    """Calibration error of the softmax over images of each text, and over texts, added up by image, of each image."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    image, text, own = tensors(vectors)
    n = len(image)

    def error(probability: torch.Tensor, target: torch.Tensor) -> float:
        return float(multiclass_calibration_error(probability, target, num_classes=n, n_bins=15))

    of_texts = error((vectors.logit_scale * text @ image.T).softmax(1), own)
    by_image = torch.zeros(n, n).index_add_(1, own, (vectors.logit_scale * image @ text.T).softmax(1))
    # a sum that rounds to more than 1 would be taken for a logit
    of_images = error(by_image.clamp_(max=1), torch.arange(n))
    return {"image_retrieval_ece": of_texts, "text_retrieval_ece": of_images}


def scikit_dimension(vectors: EmbeddingSet) -> Values:
    """TwoNN of either modality."""
    from skdim.id import TwoNN

    image, text, _ = tensors(vectors)
    return {
        f"twonn_{name}": float(TwoNN().fit(rows.numpy()).dimension_)
        for name, rows in (("image", image), ("text", text))
    }


def panel(vectors: EmbeddingSet) -> Values:
    """All of ours, without intervals."""
    return measure(vectors, bootstrap=0).values


def panel_with_intervals(vectors: EmbeddingSet) -> Values:
    """All of ours, with the default resamples."""
    return measure(vectors).values


def bare_products(vectors: EmbeddingSet) -> Values:
    """The limit."""
    products(vectors)
    return {}


PEERS: dict[str, Callable[[EmbeddingSet], Values]] = {
    "CLIP_benchmark": clip_benchmark,
    "align_uniform": align_uniform,
    "torchmetrics": torchmetrics,
    "scikit-dimension": scikit_dimension,
}
HELD: dict[str, Callable[[int, int], float]] = {
    "CLIP_benchmark": lambda n, m: (4 + 1) * n * m,  # scores, and which are of a pair
    "align_uniform": lambda n, m: 2 * 4 * m * (m - 1) / 2,  # distances, and their squares
    "torchmetrics": lambda n, m: 2 * 4 * n * m,  # logits, and their softmax
}
"""Bytes that a peer holds at once for n images and m texts, at least. scikit-dimension works in pieces of 1 GB."""
OURS: dict[str, Callable[[EmbeddingSet], Values]] = {
    "geomclip": panel,
    "geomclip, intervals": panel_with_intervals,
    "bare products": bare_products,
}
CONTESTANTS = PEERS | OURS


ALLOWED = {"alignment": 1e-6, "uniformity_image": 1e-6, "uniformity_text": 1e-6}
ALLOWED |= {"twonn_image": 1e-4, "twonn_text": 1e-4}
ALLOWED |= {"image_retrieval_ece": 1e-5, "text_retrieval_ece": 1e-5}
"""What a number may differ by: their sums are float32; torchmetrics closes its bins on the other side."""
QUERIES = 2
"""So many queries may rank differently in a recall: float32 cannot tell all scores apart."""


def perform(name: str, vectors: EmbeddingSet, limit_gb: float | None) -> dict[str, Any]:
    """What a contestant found and used in this process, or that its memory did not suffice."""
    CONTESTANTS[name](made(32, 2, 32))  # first use of its libraries
    if name in OURS:
        warm_up()
    if limit_gb is not None:
        most = int((memory_gb("VmSize") + limit_gb) * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        values, used = measured(lambda: CONTESTANTS[name](vectors))
    except (MemoryError, RuntimeError) as stopped:
        if isinstance(stopped, RuntimeError) and not any(said in str(stopped) for said in NO_MEMORY):
            raise
        return {"stopped": "out of memory"}
    return used | {"values": dict(values)}


def turn(name: str, images: int, options: argparse.Namespace, *, limit_gb: float | None = None) -> dict[str, Any]:
    """A contestant in a process of its own."""
    arguments = ["--contestant", name, "--images", images, "--dim", options.dim]
    arguments += ["--texts-per-image", options.texts_per_image]
    if limit_gb is not None:
        arguments += ["--memory-limit-gb", limit_gb]
    return alone(__file__, *arguments)


def compared(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Medians of all turns, in an order that rotates."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for start in range(options.turns):
        for place in range(len(CONTESTANTS)):
            name = [*CONTESTANTS][(start + place) % len(CONTESTANTS)]
            turns[name].append(turn(name, options.images, options))
    return {
        name: {
            **{key: statistics.median(each[key] for each in taken) for key in ("seconds", "cpu_seconds")},
            "peak_gb": max(each["peak_gb"] for each in taken),
            "values": taken[0]["values"],
        }
        for name, taken in turns.items()
    }


def differences(results: Mapping[str, Mapping[str, Any]], images: int) -> list[dict[str, object]]:
    """A row for each number that a peer and we both have."""
    rows: list[dict[str, object]] = []
    ours = results["geomclip"]["values"]
    for peer in PEERS:
        for key, theirs in results[peer]["values"].items():
            allowed = QUERIES / images if "_recall@" in key else ALLOWED[key]
            apart = abs(ours[key] - theirs)
            row = {"number": key, "peer": peer, "ours": f"{ours[key]:.6f}", "theirs": f"{theirs:.6f}"}
            rows.append(row | {"apart": apart, "allowed": allowed, "agree": "yes" if apart <= allowed else "NO"})
    return rows


def at_the_large_size(options: argparse.Namespace) -> list[dict[str, object]]:
    """How those whose memory grows with the product of the sizes fare at the large one, and we, within the limit."""
    rows: list[dict[str, object]] = []
    for name in [*HELD, "geomclip"]:
        done = turn(name, options.large, options, limit_gb=options.memory_limit_gb)
        row: dict[str, object] = {"at the large size": name}
        if name in HELD:
            row["must hold GB"] = HELD[name](options.large, options.large * options.texts_per_image) / 2**30
            row["too large from texts"] = too_large_from(name, options)
        row |= {"outcome": done.get("stopped", "ran"), "seconds": done.get("seconds"), "peak GB": done.get("peak_gb")}
        rows.append(row)
    return rows


def too_large_from(name: str, options: argparse.Namespace) -> int:
    """The least texts, to a thousand, with which a peer must hold more than the limit."""
    most = options.memory_limit_gb * 2**30
    sizes = itertools.count(1000, 1000)
    return next(m for m in sizes if HELD[name](m // options.texts_per_image, m) > most)


def goals_of(
    options: argparse.Namespace,
    results: Mapping[str, Mapping[str, Any]],
    apart: Sequence[Mapping[str, object]],
    large: Sequence[Mapping[str, object]],
) -> list[Goal]:
    """Speed, agreement, and the size that we alone measure."""
    total = sum(results[name]["seconds"] for name in PEERS)
    shown = f"{options.images:,} x {options.images * options.texts_per_image:,} x {options.dim}"
    goals = [
        Goal(
            "peers' sum over our whole panel",
            total / results["geomclip"]["seconds"],
            FASTER,
            better="higher",
            why=f"{total:.1f} s of the four against {results['geomclip']['seconds']:.2f} s, {shown}",
        ),
        Goal(
            "numbers that differ from a peer's",
            sum(row["agree"] == "NO" for row in apart),
            0,
            unit="",
            why=f"of {len(apart)}; the table has how far each may be apart",
        ),
    ]
    if large:
        size = f"{options.large:,} x {options.large * options.texts_per_image:,}"
        fared = "; ".join(f"{row['at the large size']} {row['outcome']}" for row in large)
        alone_there = [row["at the large size"] for row in large if row["outcome"] == "ran"] == ["geomclip"]
        why = f"{size}, each allowed {options.memory_limit_gb:g} GB above its inputs: {fared}"
        goals.append(Goal("we alone measure the large size", int(alone_there), 1, unit="", better="higher", why=why))
    return goals


def main() -> None:
    """Print the tables; write them as JSON where asked; end with 1 where a number differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--large", type=int, default=20_000, help="images of the size beyond the peers; 0 for none")
    parser.add_argument("--memory-limit-gb", type=float)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        print(f"peers.py needs {', '.join(missing)}, not installed here: {INSTALL}", file=sys.stderr)
        sys.exit(2)
    if options.contestant is not None:
        vectors = made(options.images, options.texts_per_image, options.dim)
        print(json.dumps(perform(options.contestant, vectors, options.memory_limit_gb)))
        return

    options.memory_limit_gb = options.memory_limit_gb or MEMORY_LIMIT_GB
    results = compared(options)
    limit = results["bare products"]["seconds"]
    rows: list[dict[str, object]] = [
        {
            "contestant": name,
            "seconds": result["seconds"],
            "CPU s": result["cpu_seconds"],
            "x bare products": result["seconds"] / limit,
            "peak GB": result["peak_gb"],
        }
        for name, result in results.items()
    ]
    apart = differences(results, options.images)
    large = at_the_large_size(options) if options.large else []
    report(__doc__.splitlines()[0], goals_of(options, results, apart, large), [*rows, *apart, *large], options.out)
    if any(row["agree"] == "NO" for row in apart):
        sys.exit("a number differs from a peer's by more than it may: see the table")


if __name__ == "__main__":
    main()
