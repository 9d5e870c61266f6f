"""What a watch costs: of a training step of a CLIP model, the numbers of its batch and a look at a probe of one batch.

python benchmarks/watch.py [--model ViT-B-32] [--batch-size 64] [--every 100] [--turns 5] [--device cuda]
                           [--out FILE.json]

A plain loop with random weights trains on one batch; in each turn a step, the numbers of its batch, another step, and
a look at a probe of as many pairs are timed one after the other. What is added to a step is its numbers and the share
of a look that falls on it: steps of seconds differ by more than a hundredth from one to the next on any machine, so
their own difference would tell nothing. The ratio of each turn is taken, then the median.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from goal import Goal, report
from torch import Tensor, nn

from geomclip.encoders import load_encoder
from geomclip.training.watching.calls import watch

LIMIT = 1.01
"""Of a step without a watch."""


def seconds(work: Callable[[], object], device: str) -> float:
    """How long it takes, with what it leaves to a GPU."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    wait()
    begin = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begin


class Loop:
    """The plainest loop: one batch, again and again."""

    def __init__(self, name: str, rows: int, device: str) -> None:
        encoder = load_encoder(name, pretrained=None if name == "demo" else "random")
        size = encoder.preprocessing["size"]
        height, width = (size, size) if isinstance(size, int) else size
        tokens = encoder.tokenize([f"a picture of thing number {i}" for i in range(rows)])[0].to(device)
        self.batch = torch.randn(rows, 3, height, width, device=device), tokens
        self.model: nn.Module = encoder.module.to(device).train().requires_grad_()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)
        self.image = self.text = torch.zeros(0)

    def scale(self) -> Tensor:
        """1/temperature."""
        return self.model.logit_scale.exp()  # type: ignore[operator, union-attr]

    def step(self) -> None:
        """An update, whose rows are kept."""
        images, texts = self.batch
        image, text = (F.normalize(rows, dim=1) for rows in (self.encode("image", images), self.encode("text", texts)))
        logits = self.scale() * image @ text.T
        target = torch.arange(len(logits), device=logits.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.image, self.text = image, text

    def encode(self, side: str, batch: Tensor) -> Tensor:
        """Rows of one tower."""
        return getattr(self.model, f"encode_{side}")(batch)


def main() -> None:
    """Take turns, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    loop = Loop(options.model, options.batch_size, options.device)
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        watch(loop.batch, encode=loop.model, every=2, out=Path(folder, "log.jsonl")) as watched,
    ):

        def told() -> None:
            watched.step(loop.image, loop.text, logit_scale=loop.scale())

        for turn in range(options.turns + 1):  # the first one warms
            steps, told_in = [], []
            for _ in range(2):  # the watch looks at every second
                steps.append(seconds(loop.step, options.device))
                told_in.append(seconds(told, options.device))
            step, look = statistics.mean(steps), max(0.0, told_in[1] - told_in[0])
            ratio = (step + told_in[0] + look / options.every) / step
            if turn:
                numbers = {"batch ms": 1000 * told_in[0], "look s": look, "watched / bare": ratio}
                rows.append({"turn": turn, "step s": step, **numbers})
    middle = statistics.median(float(row["watched / bare"]) for row in rows)  # type: ignore[arg-type]
    why = f"a step of {options.model}, random weights, batch {options.batch_size}, every={options.every}"
    why += f", probe of one batch; {options.device}, of {options.turns} turns"
    report("The cost of a watch", [Goal("a watched step", middle, LIMIT, why=why)], rows, options.out)


if __name__ == "__main__":
    main()
