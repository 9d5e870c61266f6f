"""Images per second of extraction, as a share of the bare forward pass on pixels already in memory.

python benchmarks/extraction.py --data flickr8k --data-root DIR [--model ViT-B-32] [--images 256] [--workers N ...]

Both run in turn in one process, several times, and the ratio of each turn is taken: on a machine with other
work the rates move, the ratio much less. Texts are left out: they are not decoded.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from geomclip.encode import Encoding
from geomclip.encoders import load_encoder
from geomclip.extract import extract
from geomclip.pairs import load_pairs
from geomclip.pairs.images import decode


def main() -> None:
    """Print the ratio for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--pretrained", default="random")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[None])
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()

    encoder = load_encoder(
        options.model, pretrained=options.pretrained, precision=options.precision, device=options.device
    )
    pairs = load_pairs(options.data, data_root=options.data_root).limited(options.images)
    pairs = replace(pairs, pairs=[replace(pair, captions=(), caption_ids=()) for pair in pairs.pairs])
    preprocess = encoder.preprocess()
    begin = time.perf_counter()
    pixels = torch.stack([preprocess(decode(pair.image.read(), name=pair.image.path)) for pair in pairs.pairs])
    decoding = (time.perf_counter() - begin) / len(pairs)
    print(f"{options.model} {options.precision}, {pairs.name}, {len(pairs)} images, {torch.get_num_threads()} threads")
    print(f"reading, decoding and resizing alone: {1e3 * decoding:.2f} ms an image")

    def bare() -> float:
        begin = time.perf_counter()
        for batch in pixels.split(options.batch_size):
            encoder.encode_image(batch)
        return len(pairs) / (time.perf_counter() - begin)

    def whole(workers: int | None) -> float:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            extract(encoder, pairs, Path(folder) / "store", batch_size=options.batch_size, workers=workers)
            return len(pairs) / (time.perf_counter() - begin)

    bare()
    for workers in options.workers:
        turns = [(bare(), whole(workers), bare()) for _ in range(options.turns)]
        ratios = [2 * rate / (before + after) for before, rate, after in turns]
        used = Encoding(encoder, batch=1, workers=workers).workers
        print(
            f"workers {used}: extraction {statistics.median(rate for _, rate, _ in turns):.1f} images/s, bare "
            f"{statistics.median(before for before, _, _ in turns):.1f}, ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
