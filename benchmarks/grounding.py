"""What `ground predict` costs beside bare decoding and the bare forward pass, and what memory a longer video takes.

python benchmarks/grounding.py [--minutes 10] [--longer 40] [--size 1280 720] [--model ViT-B-32] [--turns 3]
    [--threads N] [--out FILE.json]

A video of drifting noise and scenes is written by x264 at 25 frames a second, as PyAV does by default. The limit is
the sum of two parts that need each other: PyAV decodes every frame, with the threads that it chooses, and converts
none; the model encodes as many batches of pixels in memory as `ground predict` looks at frames, one at a time over all
threads or a batch a thread, whichever is faster. They and
`encode_video` take turns in one process. The memory is the peak of a process of its own above what it holds with the
model loaded and a short video read.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import alone
import torch
from goal import Goal, report

from geomclip.encoders import Encoder, load_encoder
from geomclip.encoders.extraction.batches import Encoding
from geomclip.grounding.predict import BATCH_SIZE
from geomclip.grounding.videos import encode_video
from geomclip.machine.threads import Workers

LIMIT = 0.8
MORE_MEMORY = 1.15
RATE = 25
WRITTEN = 60
"""Seconds that are encoded; a longer video has their packets over and over, which a decoder cannot know."""
FORWARD = ("bare forward, all threads", "bare forward, a batch a thread")


def write_video(path: Path, seconds: float, size: tuple[int, int]) -> Path:
    """Scenes of seven seconds: smooth noise that drifts, with grain as a camera has."""
    import av
    import numpy as np

    width, height = size
    draw = np.random.default_rng(0)
    grain = draw.normal(0, 4, (8, height, width, 1)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * RATE)):
            if number % (7 * RATE) == 0:
                coarse = draw.uniform(0, 255, (height // 80 + 5, width // 80 + 5, 3)).astype(np.float32)
                scene = coarse.repeat(80, axis=0).repeat(80, axis=1)
            shift = 1 + number % (7 * RATE)
            picture = scene[shift : shift + height, shift : shift + width] + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def bare_decoding(path: Path) -> int:
    """Every frame decoded, none converted; how many there are."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


def contestants(encoder: Encoder, path: Path, frames: int) -> dict[str, Callable[[], object]]:
    """What takes turns, by name."""
    batches = -(-frames // BATCH_SIZE)
    pixels = torch.zeros(BATCH_SIZE, 3, *encoder.preprocessing["size"])

    def one_at_a_time() -> None:
        for _ in range(batches):
            encoder.encode_image(pixels)

    def a_batch_a_thread() -> None:
        with Workers(torch.get_num_threads(), "bare") as workers:
            for call in [workers.add(encoder.encode_image, pixels) for _ in range(batches)]:
                workers.result(call)

    def ours() -> None:
        with Encoding(encoder, batch=BATCH_SIZE) as encoding:
            encode_video(path, encoding)

    return {
        "bare decoding": lambda: bare_decoding(path),
        FORWARD[0]: one_at_a_time,
        FORWARD[1]: a_batch_a_thread,
        "encode_video": ours,
    }


def peak(model: str, short: Path, path: Path) -> dict[str, float]:
    """Peak memory in GB of reading a video, above that of this process with the model and a short one read."""
    encoder = load_encoder(model, pretrained=None if model == "demo" else "random")
    with Encoding(encoder, batch=BATCH_SIZE) as encoding:
        encode_video(short, encoding, thumbnails=True)
        video, used = alone.measured(lambda: encode_video(path, encoding, thumbnails=True))
    return used | {"frames": float(video.frames)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ratios; write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--longer", type=float, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.alone:
        print(json.dumps(peak(options.model, *options.alone)))
        return

    with tempfile.TemporaryDirectory() as folder:
        names = {"short": 1, "whole": options.minutes, "longer": options.longer}
        size = tuple(options.size)
        files = {name: Path(folder) / f"{name}.mp4" for name in names}
        part = write_video(Path(folder) / "part.mp4", min(WRITTEN, 60 * options.minutes), size)
        for name, minutes in names.items():
            repeated(part, files[name], round(60 * minutes / min(WRITTEN, 60 * options.minutes)))
        encoder = load_encoder(options.model, pretrained=None if options.model == "demo" else "random")
        with Encoding(encoder, batch=BATCH_SIZE) as encoding:
            frames = encode_video(files["whole"], encoding).frames
        runs = contestants(encoder, files["whole"], frames)
        turns = [{name: timed(run) for name, run in runs.items()} for _ in range(options.turns)]
        threads = () if options.threads is None else ("--threads", options.threads)
        memory = {
            name: alone.alone(__file__, "--model", options.model, *threads, "--alone", files["short"], files[name])
            for name in ("whole", "longer")
        }
    ratio = statistics.median(
        (turn["bare decoding"] + min(turn[name] for name in FORWARD)) / turn["encode_video"] for turn in turns
    )
    rows: list[dict[str, object]] = [
        {"what": name, "seconds": statistics.median(turn[name] for turn in turns)} for name in runs
    ]
    rows += [
        {"video": f"{names[name]:g} minutes", "frames": int(used["frames"]), "peak, GB": used["peak_gb"]}
        for name, used in memory.items()
    ]
    why = f"bare decoding and the bare forward pass of {frames} frames over encode_video, of {options.turns} turns"
    more = memory["longer"]["peak_gb"] / max(memory["whole"]["peak_gb"], 0.05)
    goals = [
        Goal("decoding and encoding", ratio, LIMIT, "", "higher", why),
        Goal("memory of a longer video", more, MORE_MEMORY, "x", "lower", "peak, of that of the shorter or 0.05 GB"),
    ]
    title = f"Grounding: {options.minutes:g} minutes of {size[0]} x {size[1]}, {options.model}, batches of {BATCH_SIZE}"
    report(title, goals, rows, options.out)


def repeated(path: Path, out: Path, times: int) -> Path:
    """The video several times over, its packets copied."""
    import av

    with av.open(str(out), "w") as target:
        stream, shift = None, 0
        for _ in range(max(1, times)):
            with av.open(str(path)) as source:
                own = source.streams.video[0]
                stream = stream or target.add_stream_from_template(own)
                for packet in source.demux(own):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    target.mux(packet)
                shift += own.duration
    return out


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
