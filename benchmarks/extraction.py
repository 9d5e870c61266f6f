"""Images per second of extraction, as a share of the bare forward pass on pixels that are in memory already.

python benchmarks/extraction.py --data flickr8k --data-root DIR [--model ViT-B-32] [--precision fp32 bf16]
    [--device cpu] [--images 256] [--workers N] [--photos WIDTH HEIGHT] [--turns 3] [--out FILE.json]

Extraction reads, decodes, resizes, encodes and writes a store. The limit is the faster of two bare forward passes:
one batch at a time over all threads, and a batch a thread. The three take turns in one process, the ratio of each
turn is taken, then the median; the time that the cores worked is told beside it, since that moves less on a machine
with other work. `--photos` enlarges the pictures and makes JPEGs of them, as cameras do, where those at hand are
small. Texts are left out: they are not decoded. On a GPU the pixels of the bare pass lie on the GPU.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from goal import Goal, report

from geomclip.encoders import Encoder, load_encoder
from geomclip.encoders.clip import PRECISIONS
from geomclip.encoders.extraction.batches import ON_A_GPU, Encoding
from geomclip.encoders.extraction.calls import extract
from geomclip.machine.threads import Workers
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.images import decode
from geomclip.pairs.record import Pair, Pairs

LIMITS = {"cpu fp32": 0.95, "cpu bf16": 0.92, "cuda": 0.90}


@dataclass(frozen=True)
class Photo:
    """A JPEG in memory, in the place of a file."""

    path: str
    content: bytes

    def read(self) -> bytes:
        """Its bytes."""
        return self.content

    def identity(self) -> str:
        """Nothing that changes."""
        return str(len(self.content))


def enlarged(pair: Pair, size: tuple[int, int]) -> Pair:
    """The pair with its picture as a camera's JPEG of this size: grain, quality 90."""
    from PIL import Image

    picture = decode(pair.image.read(), name=pair.image.path).resize(size, Image.Resampling.LANCZOS)
    grain = Image.effect_noise(size, 12).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(picture, grain, 0.15).save(buffer, "JPEG", quality=90)
    return replace(pair, image=Photo(pair.image.path, buffer.getvalue()))


def images_of(options: argparse.Namespace) -> Pairs:
    """The pairs without their texts."""
    pairs = load_pairs(Source(options.data, data_root=options.data_root, limit=options.images))
    some = [replace(pair, captions=(), caption_ids=()) for pair in pairs.pairs]
    return replace(pairs, pairs=[enlarged(pair, tuple(options.photos)) for pair in some] if options.photos else some)


def contestants(encoder: Encoder, pairs: Pairs, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """What takes turns, by name."""
    prepare = encoder.preprocess()
    decoded = [prepare(decode(pair.image.read(), name=pair.image.path)) for pair in pairs.pairs]
    pixels = torch.stack(decoded).to(encoder.device, PRECISIONS[encoder.precision]).split(options.batch_size)

    def one_at_a_time() -> None:
        for batch in pixels:
            encoder.encode_image(batch)

    def a_batch_a_thread() -> None:
        with Workers(torch.get_num_threads() if encoder.device == "cpu" else ON_A_GPU, "bare") as workers:
            for call in [workers.add(encoder.encode_image, batch) for batch in pixels]:
                workers.result(call)

    def extraction() -> None:
        with tempfile.TemporaryDirectory() as folder:
            extract(encoder, pairs, Path(folder) / "store", batch_size=options.batch_size, workers=options.workers)

    return {"bare, all threads": one_at_a_time, "bare, a batch a thread": a_batch_a_thread, "extraction": extraction}


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds that the cores worked."""
    begin, worked = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - begin, time.process_time() - worked


def preparing_ms(pairs: Pairs, encoder: Encoder) -> float:
    """Milliseconds of one core for reading, decoding and resizing one image."""
    prepare = encoder.preprocess().uint8
    begin = time.thread_time()
    for pair in pairs.pairs:
        prepare(decode(pair.image.read(), name=pair.image.path))
    return 1e3 * (time.thread_time() - begin) / len(pairs)


def compared(encoder: Encoder, pairs: Pairs, options: argparse.Namespace) -> tuple[list[dict[str, object]], Goal]:
    """A row for each contestant, and the goal for this precision."""
    runs = contestants(encoder, pairs, options)
    for run in runs.values():
        run()
    turns = [{name: timed(run) for name, run in runs.items()} for _ in range(options.turns)]
    bare = [name for name in runs if name != "extraction"]
    rows: list[dict[str, object]] = []
    for name in runs:
        seconds, worked = (statistics.median(turn[name][i] for turn in turns) for i in (0, 1))
        rows.append(
            {
                "precision": encoder.precision,
                "what": name,
                "img/s": len(pairs) / seconds,
                "cpu ms/img": 1e3 * worked / len(pairs),
            }
        )
    ratio = statistics.median(min(turn[name][0] for name in bare) / turn["extraction"][0] for turn in turns)
    cpu = statistics.median(min(turn[name][1] for name in bare) / turn["extraction"][1] for turn in turns)
    kind = torch.device(encoder.device).type
    limit = LIMITS["cuda"] if kind == "cuda" else LIMITS[f"cpu {encoder.precision}"]
    why = f"the faster bare pass over extraction, of {options.turns} turns; in time that the cores worked {cpu:.3f}"
    return rows, Goal(f"extraction, {encoder.precision}, {kind}", ratio, limit, "", "higher", why)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ratios; write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--pretrained", default="random")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=sorted(PRECISIONS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--photos", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)

    pairs = images_of(options)
    rows: list[dict[str, object]] = []
    goals: list[Goal] = []
    preparing, used = 0.0, 0
    for precision in options.precision:
        encoder = load_encoder(
            options.model,
            pretrained=options.pretrained,
            precision=precision,
            device=options.device,
        )
        preparing = preparing_ms(pairs, encoder)
        used = Encoding(encoder, batch=1, workers=options.workers).workers
        more, goal = compared(encoder, pairs, options)
        rows += more
        goals.append(goal)
    if not options.device.startswith("cuda"):
        limit = LIMITS["cuda"]
        goals.append(Goal("extraction, cuda", None, limit, "", "higher", "no GPU asked for: --device cuda"))
    size = "x".join(map(str, options.photos)) if options.photos else "as they are"
    title = (
        f"Extraction: {options.model}, {len(pairs)} images of {pairs.name} ({size}), batches of {options.batch_size}, "
        f"{used} workers; reading, decoding and resizing take {preparing:.2f} ms of a core an image"
    )
    report(title, goals, rows, options.out)


if __name__ == "__main__":
    main()
