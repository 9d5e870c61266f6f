"""The vectors that the benchmarks measure, and the bare matrix products that are the limit of whatever compares all."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics.alignment import Hardest
from geomclip.metrics.calibration import Masses
from geomclip.metrics.folds import Fold
from geomclip.metrics.nearest import Nearest
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.sweep import sweep
from geomclip.metrics.uniformity import GaussianSums
from geomclip.panels.measurement import measure


def made(images: int, texts_per_image: int, dim: int) -> EmbeddingSet:
    """Two cones with matched pairs nearer than the rest, as CLIP's are."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(images, dim, generator=generator)
    own = torch.arange(images).repeat_interleave(texts_per_image)
    text = 0.5 * image[own] + torch.randn(len(own), dim, generator=generator)
    cones = [2 * torch.randn(1, dim, generator=generator) for _ in range(2)]
    return EmbeddingSet(image + cones[0], text + cones[1], own, logit_scale=100)


def products(embeddings: EmbeddingSet, rows: int = 1000, columns: int = 2500) -> float:
    """Seconds of the bare blocked products x yᵀ, x xᵀ and y yᵀ: all blocks, nothing done with them."""
    assert embeddings.text is not None
    begin = time.perf_counter()
    multiply(embeddings.image, embeddings.text, rows, columns)
    return time.perf_counter() - begin


def multiply(image: Tensor, text: Tensor, rows: int, columns: int) -> None:
    """The products themselves, on the device of the rows."""
    buffer = image.new_empty(rows * columns)
    for x, y in ((image, text), (image, image), (text, text)):
        for some in x.split(rows):
            for others in y.split(columns):
                torch.mm(some, others.T, out=buffer[: len(some) * len(others)].view(len(some), -1))


def pairings(embeddings: EmbeddingSet, device: str | torch.device = "cpu") -> list[Pairing]:
    """What a panel sweeps, on a device: images against texts, then each of both against itself."""
    assert embeddings.text is not None
    across = Pairing.of(embeddings.image, embeddings.text, embeddings.image_of_text).to(device)
    return [across, Pairing.within(across.image), Pairing.within(across.text)]


def folds(pairings: list[Pairing], device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Every fold of the default panel without resamples, in its three sweeps; the nearest across both modalities."""
    across: list[Fold[Any, Any]] = [Hardest(), GaussianSums(), Ranks(), Masses(100.0), Nearest(11)]
    within: list[Fold[Any, Any]] = [GaussianSums(), Nearest(4, unmatched=True)]
    found = sweep(pairings[0], across, device=device)
    for cloud in pairings[1:]:
        sweep(cloud, within, device=device)
    nearest: dict[str, Tensor] = found[-1]
    return nearest


def warm_up() -> None:
    """First use of every library, and of the loops that a large sweep compiles or loads."""
    measure(made(2600, 5, 16), bootstrap=20)
