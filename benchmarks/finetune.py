"""Cost of a fine-tuning step: of plain fine-tuning against an open_clip loop, and of the mixed methods against it.

python benchmarks/finetune.py [--model ViT-B-32] [--batch-size 128] [--precision fp32] [--turns 3] [--device cuda]
                              [--data emoji] [--data-root DIR] [--compile] [--whole] [--profile] [--out FILE.json]

Plain fine-tuning and the open_clip loop take turns in one process, in an order that rotates, on the same batch,
already decoded and on the device. A third contestant reads and decodes its batches in workers meanwhile. The ratio of
each turn is taken, then the median, and the spread is told: on a machine with other work the times move, the ratios
much less.

A mixed method differs from plain fine-tuning by its loss alone: a few small products in a step of seconds, far below
what steps differ from turn to turn. So the losses are timed without the towers, and their difference is added to the
step; --whole lets whole steps of the mixed methods take turns too. With --compile the towers are compiled as well. The
peak is that of a matrix product of this device and precision. --profile tells instead where a step goes.
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from goal import Goal, report
from parts import Parts, operators
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from geomclip.encoders import Encoder, load_encoder
from geomclip.pairs import Source, load_pairs
from geomclip.training.batches import Batch, Batches, Order, PairBatches
from geomclip.training.methods import METHODS
from geomclip.training.objective import Features, draws, method_objective, objective
from geomclip.training.pictures import Pictures
from geomclip.training.precision import choose_training_precision
from geomclip.training.seeds import generator
from geomclip.training.settings import Settings
from geomclip.training.trainer import Trainer
from geomclip.training.watching.probe import Probe

LIMITS = {"m2mix": 1.03, "m3mix": 1.08}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FEW = 8
"""Rows of the step that warms everything up."""
PROBED_EVERY = Settings().probe_every
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


def under(trainer: Trainer, batches: Batches, method: str, options: argparse.Namespace) -> Step:
    """A step of a trainer with the objective of a method and batches from elsewhere: same weights, same memory."""
    wanted = method_objective(METHODS[method], settings_of(method, options))

    def step() -> None:
        trainer.objective, trainer.batches = wanted, batches
        trainer.step()

    return step


def plain_loop(encoder: Encoder, precision: str, settings: Settings) -> Callable[[Batch], None]:
    """A step as open_clip's own training has it: its loss, AdamW, autocast for bf16, gradients clipped."""
    module: nn.Module = copy.deepcopy(encoder.module).float().to(settings.device).requires_grad_(True).train()
    loss_of = open_clip.ClipLoss()
    few = [p for p in module.parameters() if p.ndim < 2]
    many = [p for p in module.parameters() if p.ndim >= 2]
    groups = [{"params": few, "weight_decay": 0.0}, {"params": many, "weight_decay": settings.weight_decay}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        with torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=precision == "bf16"):
            image, text, scale = module(batch.pixels, batch.tokens)[:3]
            loss = loss_of(image, text, scale)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
        optimizer.step()
        with torch.no_grad():
            module.get_parameter("logit_scale").clamp_(0, math.log(100))
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


def losses_alone(options: argparse.Namespace, dim: int, times: int = 30) -> dict[str, float]:
    """Median seconds of each method's loss and its gradient by the rows, with the draws, without any tower."""
    rows = torch.randn(2, options.batch_size, dim, generator=generator(0, "rows")).to(options.device)
    image, text = (F.normalize(each, dim=1).requires_grad_() for each in rows)
    scale = torch.tensor(100.0, device=options.device, requires_grad=True)

    def step(method: str) -> tuple[Tensor, ...]:
        settings = settings_of(method, options)
        drawn = draws(METHODS[method], options.batch_size, generator(0, "mixing"), settings)
        total, _ = objective(METHODS[method], Features(image, text, scale), drawn, settings, 0)
        return torch.autograd.grad(total, [image, text, scale])

    steps: dict[str, Step] = {method: partial(step, method) for method in ("ft", *LIMITS)}
    for alone in steps.values():
        alone()
    return {name: statistics.median(taken) for name, taken in contest(steps, times, options.device).items()}


def peak_flops(precision: str, device: str) -> float:
    """Floating-point operations a second of a large matrix product."""
    n = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(n, n, device=device).to(DTYPES[precision]) for _ in range(2))
    taken = [seconds(lambda: a @ b, device) for _ in range(8)]
    return 2 * n**3 / min(taken)


@contextmanager
def reading(encoder: Encoder, options: argparse.Namespace) -> Iterator[PairBatches]:
    """Batches of a data set's training split, read and decoded in workers."""
    pairs = load_pairs(Source(options.data, split="train", data_root=options.data_root))
    order = Order(pairs.text_counts(), size=options.batch_size, seed=0, every_caption=False, name=pairs.name)
    # nothing is kept: each step reads and decodes a batch, as the first epoch does
    pictures = Pictures(pairs.pairs, encoder.preprocess(), name=pairs.name, kept_bytes=0)
    pinned = options.device.startswith("cuda")
    with PairBatches(pictures, encoder.tokenize, order, workers=options.workers, pinned=pinned) as batches:
        yield batches


def contest(steps: dict[str, Step], turns: int, device: str) -> dict[str, list[float]]:
    """Seconds of each contestant in each turn, in an order that rotates."""
    names = list(steps)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            taken[name].append(seconds(steps[name], device))
    return taken


def speed(taken: dict[str, list[float]], name: str, other: str) -> tuple[float, str]:
    """How much faster one is than another: median over the turns, and the spread in words."""
    ratios = [two / one for one, two in zip(taken[name], taken[other], strict=True)]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} turns"
    return statistics.median(ratios), f"samples/s of {name} over those of {other}; {spread}"


def compared(encoder: Encoder, options: argparse.Namespace) -> tuple[list[Goal], list[dict[str, object]]]:
    """Goals and rows."""
    one, few = (OneBatch(encoder, rows, options.device) for rows in (options.batch_size, FEW))
    trainer = trainer_of(encoder, one, options)
    precision = choose_training_precision(trainer.settings)
    plain = plain_loop(encoder, precision, trainer.settings)
    with FlopCounterMode(display=False) as counted:
        under(trainer, few, "ft", options)()
    plain(few.held)  # either made its optimiser's state now, and every library is loaded
    with ExitStack() as open_until_the_end:
        batches = open_until_the_end.enter_context(reading(encoder, options))
        steps: dict[str, Step] = {
            "ft": under(trainer, one, "ft", options),
            "open_clip": lambda: plain(one.held),
            "ft decoding": under(trainer, batches, "ft", options),
        }
        batches.batch(0)  # the next ones are read from now on, as in the middle of a run
        if options.whole:
            steps |= {name: under(trainer, one, name, options) for name in LIMITS}
        if options.compile:
            compiled = trainer_of(encoder, one, options, compile=True)
            steps["ft compiled"] = compiled.step
            compiled.step()
        taken = contest(steps, options.turns, options.device)
    medians = {name: statistics.median(spent) for name, spent in taken.items()}
    alone = losses_alone(options, encoder.dim)
    peak = peak_flops(precision, options.device)
    flops = counted.get_total_flops() * options.batch_size / FEW
    rows: list[dict[str, object]] = [
        {
            "step of": name,
            "seconds": spent,
            "samples/s": options.batch_size / spent,
            "over ft": statistics.median(a / b for a, b in zip(taken[name], taken["ft"], strict=True)),
            "of the peak": flops / spent / peak,
        }
        for name, spent in medians.items()
    ]
    rows += [{"step of": f"loss of {name} alone", "seconds": spent} for name, spent in alone.items()]
    return list(goals(taken, alone, medians["ft"])), rows


def goals(taken: dict[str, list[float]], alone: dict[str, float], step: float) -> Iterator[Goal]:
    """What was measured beside its limit."""
    for rival, name in (("ft", "ft, decoded before"), ("ft decoding", "ft, decoding in workers")):
        ratio, why = speed(taken, rival, "open_clip")
        yield Goal(f"{name}, over open_clip", ratio, 1.0, better="higher", why=why)
    for method, limit in LIMITS.items():
        added = alone[method] - alone["ft"]
        why = f"1 + what its loss takes longer ({1e3 * added:.2f} ms) over a step of ft ({1e3 * step:.0f} ms)"
        yield Goal(f"{method} step over ft step", 1 + added / step, limit, why=why)


def profiled(encoder: Encoder, options: argparse.Namespace) -> Iterator[tuple[str, Sequence[dict[str, object]]]]:
    """Tables: the parts of a step, its operators, and what is done beside the steps."""
    with reading(encoder, options) as batches:
        trainer = trainer_of(encoder, batches, options)
        for _ in range(2):
            trainer.step()
        parts = Parts()
        with timed_parts(parts, trainer):
            for _ in range(options.turns):
                trainer.step()
        yield "Parts of a step", parts.rows(options.turns)
        yield "Operators of a step", operators(trainer.step)
    probe = Probe(encoder, load_pairs(Source(options.data, split="val", data_root=options.data_root)))
    steps = PROBED_EVERY * sum(parts.seconds.values()) / options.turns
    looks = {"in the precision of the step": trainer.glimpse, "in float32": trainer.plain}
    yield (
        f"Looks at {len(probe)} pairs, one every {PROBED_EVERY} steps",
        [
            {"a look": name, "seconds": spent, "of these steps, %": 100 * spent / steps}
            for name, look in looks.items()
            for spent in [seconds(partial(looked, probe, look, options.device), options.device)]
        ],
    )


def looked(probe: Probe, look: Callable[[], nn.Module], device: str) -> object:
    """A look at the probe set."""
    return probe.measure(look(), device)


@contextmanager
def timed_parts(parts: Parts, trainer: Trainer) -> Iterator[None]:
    """While the block runs, what a step consists of is timed apart."""
    of_step = {
        "step": "the rest",
        "_prepare": "modes, rate, copy for bf16",
        "objective": "loss, forward",
        "_reduce": "gradients to float32, their norm",
        "_after": "after the update",
    }
    towers = trainer.encode
    trainer.encode = [
        parts.timed(name, each) for name, each in zip(("images, forward", "texts, forward"), towers, strict=True)
    ]
    with parts.of(
        (trainer, of_step),
        (trainer.batches, {"batch": "waiting for the batch"}),
        (trainer.optimizer, {"step": "AdamW", "zero_grad": "gradients freed"}),
        (torch.autograd, {"backward": "backward"}),
        (nn.utils, {"clip_grads_with_norm_": "gradients clipped"}),
    ):
        yield
    trainer.encode = towers


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--pretrained", help="left out: random weights, or those of the demo model")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=[*DTYPES, "auto"], default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--whole", action="store_true", help="whole steps of the mixed methods too")
    parser.add_argument("--profile", action="store_true", help="tell where a step goes, and compare nothing")
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Print the table; write it as JSON where asked."""
    options = parsed()
    pretrained = options.pretrained or (None if options.model == "demo" else "random")
    encoder = load_encoder(options.model, pretrained=pretrained)
    what = f"{options.model}, batch {options.batch_size}, {options.precision}, open_clip {open_clip.__version__}"
    if options.profile:
        for title, rows in profiled(encoder, options):
            report(f"{title}: {what}", [], rows)
        return
    goals_met, rows = compared(encoder, options)
    report(f"A step of fine-tuning: {what}", goals_met, rows, options.out)


if __name__ == "__main__":
    main()
