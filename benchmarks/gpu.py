"""What geomclip does on a GPU, in one command of at most six minutes on one that is large.

python benchmarks/gpu.py [--parts sweeps losses extraction step] [--images 118000] [--texts-per-image 5] [--dim 512]
    [--pairs 32768] [--pictures 1000] [--batch-size 256] [--model ViT-B-32] [--turns 3] [--out FILE.json]

sweeps: those of a panel, as a ratio to the bare matrix products of the same sizes on the same device. 118,000 x 590,000
is COCO's training set with five captions. Inputs, products and folds are float32 without tf32, so that close calls mean
what they mean on a processor; the error against float64 is that of 1,000 rows chosen at random.
losses: contrastive losses by tiles, forward and backward, as a ratio to the whole matrix.
extraction and step: `extraction.py` and `finetune.py` in bfloat16 on the device, whose goals are told here; the
pictures are emoji, enlarged to photographs of 640 x 480.

Without a GPU the goals are told as not measured, and `--device cpu` runs the same path at sizes that suit.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from alone import recorded
from blockwise import whole_up_to
from goal import Goal, report
from made import folds, made, multiply, pairings

from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import block_size

Rows = list[dict[str, object]]
Found = tuple[list[float], Rows]
"""What the goals of a part measured, in their order, and its tables."""


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


def sweeps(options: argparse.Namespace, device: torch.device) -> Found:
    """Those of a panel beside the bare products."""
    embeddings = made(options.images, options.texts_per_image, options.dim)
    swept_here = pairings(embeddings, device)
    across = swept_here[0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found = folds(swept_here, device)  # first use of every operation
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    block = block_size(device)
    bare = [seconds(lambda: multiply(across.image, across.text, *block), device) for _ in range(options.turns)]
    swept = [seconds(lambda: folds(swept_here, device), device) for _ in range(options.turns)]
    ratio = statistics.median(own / limit for own, limit in zip(swept, bare, strict=True))
    rows: Rows = [
        {"work": "bare products", "seconds": statistics.median(bare)},
        {"work": "all folds", "seconds": statistics.median(swept), "of the products": ratio},
        {"largest error of a score, against float64": f"{largest_error(across, found):.1e}"},
    ]
    return [ratio, memory], rows


def gradients(loss: Callable[..., torch.Tensor], inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """By images and texts."""
    return torch.autograd.grad(loss(*inputs, temperature=0.02), inputs)


def losses(options: argparse.Namespace, device: torch.device) -> Found:
    """By tiles beside the whole matrix, of the same pairs."""
    from geomclip import losses as functions

    draw = torch.Generator().manual_seed(0)
    image, text = (torch.randn(options.pairs, options.dim, generator=draw).to(device) for _ in range(2))
    inputs = [torch.nn.functional.normalize(each, dim=1).requires_grad_() for each in (image, image + 0.15 * text)]
    rows, ratios = [], []
    for name, loss in (("softmax", functions.contrastive), ("m2-mix", partial(functions.m2_mix, lam=0.3))):
        taken: dict[str, list[float]] = {"whole": [], "tiles": []}
        for _ in range(options.turns + 1):  # the first warms up
            for way, most in (("whole", 10**9), ("tiles", 1)):
                by_way = partial(whole_up_to, most, loss)
                taken[way].append(seconds(partial(gradients, by_way, inputs), device))
        ratios.append(statistics.median(b / a for a, b in list(zip(*taken.values(), strict=True))[1:]))
        rows += [{"loss": name, "by": way, "seconds": statistics.median(each[1:])} for way, each in taken.items()]
    return [max(ratios)], rows


def elsewhere(script: str, kept: Sequence[str], *arguments: object) -> Found:
    """Goals of another script, by the beginning of their names, and its rows."""
    record, said, ended = recorded(Path(__file__).parent / script, *arguments, quiet=True)
    if ended or record is None:
        sys.exit(f"{script} ended with {ended}:\n{said}")
    measured = {goal["name"]: goal["measured"] for goal in record["goals"]}
    return [next(value for name, value in measured.items() if name.startswith(begin)) for begin in kept], record["rows"]


def extraction(options: argparse.Namespace, device: torch.device) -> Found:
    """Images a second in bfloat16, as a share of the bare pass."""
    how = ("--precision", "bf16", "--images", options.pictures, "--photos", 640, 480, "--turns", options.turns)
    return elsewhere("extraction.py", ["extraction, bf16"], "--device", device, "--model", options.model, *how)


def step(options: argparse.Namespace, device: torch.device) -> Found:
    """Of plain fine-tuning beside open_clip's, and of m2mix beside it, in bfloat16."""
    how = ("--precision", "bf16", "--batch-size", options.batch_size, "--turns", options.turns)
    kept = ["ft, decoded before", "m2mix step"]
    return elsewhere("finetune.py", kept, "--device", device, "--model", options.model, *how)


PARTS: dict[str, tuple[Callable[[argparse.Namespace, torch.device], Found], list[Goal]]] = {
    "sweeps": (
        sweeps,
        [
            Goal("sweeps on a GPU", None, 2.0, why="of the bare products in float32"),
            Goal("memory on a GPU", None, 8.0, "GB", why="inputs included"),
        ],
    ),
    "losses": (losses, [Goal("losses by tiles on a GPU", None, 1.4, why="of the whole matrix, the slower of two")]),
    "extraction": (extraction, [Goal("extraction on a GPU, bf16", None, 0.9, "", "higher", "of the bare pass")]),
    "step": (
        step,
        [
            Goal("step of ft on a GPU", None, 1.0, better="higher", why="samples/s over those of open_clip"),
            Goal("step of m2mix on a GPU", None, 1.03, why="of a step of ft"),
        ],
    ),
}


def main() -> None:
    """Print the tables; write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--texts-per-image", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=32_768)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    size = f"{options.images} x {options.images * options.texts_per_image} x {options.dim}"
    title = f"on {options.device}: sweeps of {size}, losses of {options.pairs} pairs, median of {options.turns}"
    device = torch.device(options.device)
    why = ""
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "torch sees no GPU here"
    elif device.type == "cpu":
        why = "rehearsed on the processor"
    goals: list[Goal] = []
    rows: Rows = []
    for name in options.parts:
        run, known = PARTS[name]
        if device.type == "cuda" and why:
            goals += [replace(goal, why=why) for goal in known]
            continue
        begin = time.perf_counter()
        found, more = run(options, device)
        rows += [*more, {"part": name, "s": time.perf_counter() - begin}]
        goals += [
            replace(goal, measured=None, why=why) if why else replace(goal, measured=value)
            for goal, value in zip(known, found, strict=True)
        ]
    report(title, goals, rows, options.out)


if __name__ == "__main__":
    main()
