"""The vectors that the benchmarks measure, and the bare matrix products that are the limit of whatever compares all."""

from __future__ import annotations

import time

import torch

from geomclip.embeddings import EmbeddingSet
from geomclip.measurement import measure


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
    image, text = embeddings.image, embeddings.text
    assert text is not None
    buffer = torch.empty(rows * columns)
    begin = time.perf_counter()
    for x, y in ((image, text), (image, image), (text, text)):
        for some in x.split(rows):
            for others in y.split(columns):
                torch.mm(some, others.T, out=buffer[: len(some) * len(others)].view(len(some), -1))
    return time.perf_counter() - begin


def warm_up() -> None:
    """First use of every library, and of the loops that a large sweep compiles or loads."""
    measure(made(2600, 5, 16), bootstrap=20)
