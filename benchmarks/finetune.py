"""Cost of a fine-tuning step: of the mixed methods against plain fine-tuning, and of that against an open_clip loop.

python benchmarks/finetune.py [--model ViT-B-32] [--batch-size 128] [--turns 3] [--device cuda] [--compile]
                              [--data flickr8k --data-root DIR] [--out FILE.json]

All take turns in one process, in an order that rotates, on the same batch, already decoded and on the device; the
ratio of each turn is taken, then the median: on a machine with other work the times move, the ratios much less. A
mixed method adds a few small products to a step of seconds, so what its loss costs by itself is timed apart too,
as a share of the step. With --data the batches are read and decoded in workers while the model trains, and with
--compile the towers are compiled; both are further contestants. The peak is that of a matrix product of this
device and precision.
"""

import argparse
import copy
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from geomclip.encoders import Encoder, load_encoder
from geomclip.pairs import load_pairs
from geomclip.training.batches import Batch, Batches, Order, PairBatches
from geomclip.training.methods import METHODS, Features, draws, method_objective, objective
from geomclip.training.pictures import Pictures
from geomclip.training.seeds import generator
from geomclip.training.settings import Settings
from geomclip.training.trainer import Trainer, choose_training_precision

GOALS = {"m2mix": 1.03, "m3mix": 1.08}
MIXED = tuple(GOALS)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Step = Callable[[], object]


class OneBatch:
    """The same noise and texts at every step, on the device."""

    steps_per_epoch = 10**6

    def __init__(self, encoder: Encoder, rows: int, device: str) -> None:
        draw = generator(0, "benchmark")
        size = encoder.preprocessing["size"]
        height, width = (size, size) if isinstance(size, int) else size
        tokens, _ = encoder.tokenize([f"a picture of thing number {i}, seen from the side" for i in range(rows)])
        self.held = Batch(torch.randn(rows, 3, height, width, generator=draw).to(device), tokens.to(device))

    def batch(self, step: int) -> Batch:
        """The one there is."""
        return self.held


def settings_of(method: str, options: argparse.Namespace, **changes: object) -> Settings:
    """The defaults of a method at this size."""
    given = {"batch_size": options.batch_size, "device": options.device, "precision": options.precision, **changes}
    return Settings(**{**METHODS[method].defaults, **given, "method": method})


def trainer_of(encoder: Encoder, batches: Batches, options: argparse.Namespace, **changes: object) -> Trainer:
    """A trainer of plain fine-tuning with weights of its own."""
    settings = settings_of("ft", options, **changes)
    return Trainer(
        copy.deepcopy(encoder.module),
        settings=settings,
        objective=method_objective(METHODS["ft"], settings),
        batches=batches,
        steps=10**6,
    )


def under(trainer: Trainer, method: str, options: argparse.Namespace) -> Step:
    """A step of a trainer with the objective of another method: same weights, same memory."""
    wanted = method_objective(METHODS[method], settings_of(method, options))

    def step() -> None:
        trainer.objective = wanted
        trainer.step()

    return step


def plain_loop(encoder: Encoder, batch: Batch, precision: str, settings: Settings) -> Step:
    """A step as open_clip's own training has it: its loss, AdamW, autocast for bf16, gradients clipped."""
    module: nn.Module = copy.deepcopy(encoder.module).float().to(settings.device).requires_grad_(True).train()
    loss_of = open_clip.ClipLoss()
    few = [p for p in module.parameters() if p.ndim < 2]
    many = [p for p in module.parameters() if p.ndim >= 2]
    groups = [{"params": few, "weight_decay": 0.0}, {"params": many, "weight_decay": settings.weight_decay}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=precision == "bf16"):
            image, text, scale = module(batch.pixels, batch.tokens)[:3]
            loss = loss_of(image, text, scale)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
        optimizer.step()
        with torch.no_grad():
            module.logit_scale.clamp_(0, math.log(100))
        loss.item()

    return step


def seconds(step: Step, device: str) -> float:
    """Of one call."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begin = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def loss_alone(method: str, options: argparse.Namespace, dim: int, times: int = 30) -> float:
    """Median seconds of a method's loss and its gradient by the rows, with the draws, without any tower."""
    settings = settings_of(method, options)
    rows = torch.randn(2, options.batch_size, dim, generator=generator(0, "rows")).to(options.device)
    image, text = (F.normalize(each, dim=1).requires_grad_() for each in rows)
    scale = torch.tensor(100.0, device=options.device, requires_grad=True)

    def step() -> tuple[Tensor, ...]:
        drawn = draws(METHODS[method], options.batch_size, generator(0, "mixing"), settings)
        total, _ = objective(METHODS[method], Features(image, text, scale), drawn, settings, 0)
        return torch.autograd.grad(total, [image, text, scale])

    return statistics.median([seconds(step, options.device) for _ in range(times)][times // 3 :])


def peak_flops(precision: str, device: str) -> float:
    """Floating-point operations a second of a large matrix product."""
    n = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(n, n, device=device).to(DTYPES[precision]) for _ in range(2))
    taken = [seconds(lambda: a @ b, device) for _ in range(8)]
    return 2 * n**3 / min(taken)


def reading(encoder: Encoder, options: argparse.Namespace) -> PairBatches:
    """Batches of a data set's training split, read and decoded in workers."""
    pairs = load_pairs(options.data, split="train", data_root=options.data_root)
    order = Order(
        [len(pair.captions) for pair in pairs.pairs],
        size=options.batch_size,
        seed=0,
        every_caption=False,
        name=pairs.name,
    )
    return PairBatches(
        Pictures(pairs.pairs, encoder.preprocess(), name=pairs.name), encoder.tokenize, order, workers=options.workers
    )


def contest(steps: dict[str, Step], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each contestant in each turn, after a turn that does not count."""
    names = list(steps)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(options.turns + 1):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            spent = seconds(steps[name], options.device)
            if turn:
                taken[name].append(spent)
    return taken


def against(taken: dict[str, list[float]], name: str, other: str) -> float:
    """Median over the turns of how often as long one takes as another."""
    return statistics.median(one / two for one, two in zip(taken[name], taken[other], strict=True))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--pretrained", default="random")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=[*DTYPES, "auto"], default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Print the table; write it as JSON where asked."""
    options = parsed()
    encoder = load_encoder(options.model, pretrained=options.pretrained)
    one = OneBatch(encoder, options.batch_size, options.device)
    trainer = trainer_of(encoder, one, options)
    precision = choose_training_precision(trainer.settings)
    with FlopCounterMode(display=False) as counted:
        trainer.step()
    with ExitStack() as open_until_the_end:
        steps: dict[str, Step] = {name: under(trainer, name, options) for name in ("ft", *MIXED)}
        steps["open_clip"] = plain_loop(encoder, one.held, precision, trainer.settings)
        if options.compile:
            steps["ft compiled"] = trainer_of(encoder, one, options, compile=True).step
        if options.data:
            batches = open_until_the_end.enter_context(reading(encoder, options))
            steps["ft decoding"] = trainer_of(encoder, batches, options).step
        taken = contest(steps, options)
    alone = {name: loss_alone(name, options, encoder.dim) for name in ("ft", *MIXED)}
    medians = {name: statistics.median(spent) for name, spent in taken.items()}
    peak = peak_flops(precision, options.device)
    name_of = torch.cuda.get_device_name if options.device.startswith("cuda") else platform.processor
    result = {
        "model": options.model,
        "batch_size": options.batch_size,
        "precision": precision,
        "machine": f"{name_of() or platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "turns": options.turns,
        "step_s": medians,
        "samples_per_s": {name: options.batch_size / spent for name, spent in medians.items()},
        "step_over_ft": {name: against(taken, name, "ft") for name in taken},
        "speed_over_open_clip": against(taken, "open_clip", "ft"),
        "loss_alone_s": alone,
        "added_share": {name: (alone[name] - alone["ft"]) / medians["ft"] for name in MIXED},
        "peak_tflops": peak / 1e12,
        "share_of_peak": {name: counted.get_total_flops() / spent / peak for name, spent in medians.items()},
    }
    show(result)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def show(result: dict) -> None:
    """The result as a table."""
    print(f"{result['model']}, batch {result['batch_size']}, {result['precision']}, {result['machine']}")
    print(f"torch {result['torch']}, open_clip {result['open_clip']}, median of {result['turns']} turns")
    print(f"peak of a matrix product {result['peak_tflops']:.2f} Tflop/s")
    for name, spent in result["step_s"].items():
        over = f"{result['step_over_ft'][name]:6.3f}x ft"
        goal = f"   goal {GOALS[name]}x" if name in GOALS else ""
        share = f"{100 * result['share_of_peak'][name]:5.1f} % of the peak"
        print(f"{name:14} {spent:9.4f} s {result['samples_per_s'][name]:9.1f} samples/s {share} {over}{goal}")
    for name, spent in result["loss_alone_s"].items():
        added = f"   adds {100 * result['added_share'][name]:.3f} % to a step" if name in GOALS else ""
        print(f"loss of {name:8} {1e3 * spent:7.2f} ms alone{added}")
    print(f"ft against the open_clip loop: {result['speed_over_open_clip']:.3f}x its samples/s   goal 1.0x")


if __name__ == "__main__":
    main()
