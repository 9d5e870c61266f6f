"""Populations of paired embeddings to draw samples from, for `coverage.py`: made here, or real vectors resampled.

Each gives, for n images, their rows, the rows of their texts, whose each text is, and a logit scale, as two encoders
see them: of the same images, with noise of one law (or, for the power of verdicts, the second with more of it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Sample = tuple[Rows, Rows, NDArray[np.int64], float]
"""Image rows (n, d), text rows (m, d), image of each text (m,), logit scale."""


class Population(Protocol):
    """What samples are drawn from."""

    @property
    def name(self) -> str:
        """As the tables call it."""

    def draw(self, n: int, generator: np.random.Generator, *, worse: float = 0.0) -> tuple[Sample, Sample]:
        """n images as two encoders see them; the noise of the second is larger by this share."""


def unit(rows: Rows) -> Rows:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def decaying(d: int, power: float, generator: np.random.Generator) -> Rows:
    """A random rotation (d, d) whose directions have standard deviations (1 + k)^−power."""
    turn, _ = np.linalg.qr(generator.standard_normal((d, d)))
    return turn * (1.0 + np.arange(d)) ** -power


def two_encoders(
    image: Rows, text: Rows, own: NDArray[np.int64], scale: float, noises: Iterator[tuple[Rows, Rows]]
) -> tuple[Sample, Sample]:
    """The same images with the noise of two encoders."""
    first, second = ((unit(image + x), unit(text + y), own, scale) for x, y in noises)
    return first, second


@dataclass(frozen=True)
class Cones:
    """Two cones with a gap: 1 to 5 captions an image, topics, pairs of heavy-tailed quality, generic captions.

    Some images are described well and some badly; one caption in 30 fits many images and is often word for word the
    same, so there are hubs and exact duplicates among the texts.
    """

    d: int = 64

    @property
    def name(self) -> str:
        """With its dimensions."""
        return f"cones {self.d}"

    def draw(self, n: int, generator: np.random.Generator, *, worse: float = 0.0) -> tuple[Sample, Sample]:
        """See `Population`."""
        fixed = np.random.default_rng(11)  # the population
        d = self.d
        centre_x, centre_y = unit(fixed.standard_normal((2, d)))
        centre_y = unit((0.3 * centre_x + 0.95 * centre_y)[None])[0]
        shape, noise_shape = decaying(d, 0.5, fixed), decaying(d, 0.5, fixed)
        topics = 0.5 * fixed.standard_normal((30, d))
        weights = 1 / (1 + np.arange(30.0))
        generic = 1.2 * centre_y + 0.06 * fixed.standard_normal((4, d)) @ shape.T

        captions = generator.integers(1, 6, n)
        own = np.repeat(np.arange(n), captions)
        m = len(own)
        meaning = topics[generator.choice(30, n, p=weights / weights.sum())] + generator.standard_normal((n, d))
        quality = np.exp(0.8 * generator.standard_t(4, n)).clip(0.05, 8)[own] * np.exp(generator.normal(0, 0.5, m))
        image = centre_x + 0.35 * meaning @ shape.T + 0.1 * generator.standard_normal((n, d)) @ noise_shape.T
        text = centre_y + 0.35 * meaning[own] @ shape.T
        text += 0.12 * quality[:, None] * (generator.standard_normal((m, d)) @ noise_shape.T)
        is_generic, the_same = generator.random(m) < 0.03, generator.random(m) < 0.6
        text[is_generic] = generic[generator.integers(0, 4, int(is_generic.sum()))]

        def noises() -> Iterator[tuple[Rows, Rows]]:
            for size in (0.25, 0.25 * (1 + worse)):
                x = size * generator.standard_normal((n, d)) @ noise_shape.T
                y = size * generator.standard_normal((m, d)) @ noise_shape.T
                y[is_generic & the_same] = 0
                yield x, y

        return two_encoders(image, text, own, 20.0, noises())


@dataclass(frozen=True)
class Hubs:
    """A gap, two captions an image; images and texts that lean towards the other cloud are near to many: hubs."""

    d: int = 64

    @property
    def name(self) -> str:
        """With its dimensions."""
        return f"hubs {self.d}"

    def draw(self, n: int, generator: np.random.Generator, *, worse: float = 0.0) -> tuple[Sample, Sample]:
        """See `Population`."""
        fixed = np.random.default_rng(12)
        d = self.d
        centre_x, centre_y = unit(fixed.standard_normal((2, d)))
        shape = decaying(d, 0.35, fixed) * (64 / d) ** 0.15
        apart = 0.3 * (d / 64) ** 0.6

        own = np.repeat(np.arange(n), 2)
        m = len(own)
        meaning = generator.standard_normal((n, d))
        lean_x, lean_y = (
            np.exp(0.3 * generator.standard_normal((n, 1))),
            np.exp(0.3 * generator.standard_normal((m, 1))),
        )
        image = 0.8 * centre_x + 0.3 * meaning @ shape.T + 0.25 * lean_x * centre_y
        text = 0.9 * centre_y + 0.3 * meaning[own] @ shape.T + 0.2 * lean_y * centre_x
        text += apart * generator.standard_normal((m, d)) @ shape.T

        def noises() -> Iterator[tuple[Rows, Rows]]:
            for size in (0.12, 0.12 * (1 + worse)):
                x = size * generator.standard_normal((n, d)) @ shape.T
                yield x, size * generator.standard_normal((m, d)) @ shape.T

        return two_encoders(image, text, own, 40.0, noises())


@dataclass(frozen=True)
class Overlap:
    """Nearly no gap, 1 to 3 captions an image, and every coordinate heavy-tailed."""

    d: int = 64

    @property
    def name(self) -> str:
        """With its dimensions."""
        return f"overlap {self.d}"

    def draw(self, n: int, generator: np.random.Generator, *, worse: float = 0.0) -> tuple[Sample, Sample]:
        """See `Population`."""
        fixed = np.random.default_rng(13)
        d = self.d
        shape = decaying(d, 0.4, fixed)
        centre = 1.2 * shape[:, 0]
        captions = generator.integers(1, 4, n)
        own = np.repeat(np.arange(n), captions)
        m = len(own)
        meaning = generator.standard_t(3, (n, d))
        apart = generator.standard_t(3, (m, d))
        image = centre + meaning @ shape.T
        text = 1.05 * centre + (0.45 * meaning[own] + 0.75 * (d / 64) ** 0.35 * apart) @ shape.T

        def noises() -> Iterator[tuple[Rows, Rows]]:
            for size in (0.3, 0.3 * (1 + worse)):
                yield (
                    size * generator.standard_normal((n, d)) @ shape.T,
                    size * generator.standard_normal((m, d)) @ shape.T,
                )

        return two_encoders(image, text, own, 30.0, noises())


@dataclass(frozen=True, eq=False)
class Resampled:
    """Real vectors, drawn with replacement and moved within their cones.

    A row moves by a normal mixture of all rows less their mean: noise with the covariance of the cloud itself, of
    `within` of its size. Part of it is shared by an image and its captions, as far as the captions of the set are
    mixed by the same numbers. Encoders add noise of the same shape.
    """

    image: Rows  # (n, d), unit
    text: Rows  # (n, captions, d), unit
    scale: float
    within: float = 0.7
    encoder: float = 0.15
    captions: int = 3

    @classmethod
    def read(cls, path: Path) -> Resampled:
        """From a .npz with `image`, `text` and `image_of_text` (or `text_image_index`), as many texts of each image."""
        with np.load(path, allow_pickle=False) as file:
            image, text = file["image"].astype(float), file["text"].astype(float)
            own = file["text_image_index" if "text_image_index" in file else "image_of_text"]
            scale = float(file["logit_scale"]) if "logit_scale" in file else 100.0
        each = np.bincount(own, minlength=len(image))
        if each.min() != each.max():
            raise SystemExit(f"{path}: its images have {each.min()} to {each.max()} texts; as many of each are needed")
        order = np.argsort(own, kind="stable")
        return cls(unit(image), unit(text[order]).reshape(len(image), -1, text.shape[1]), scale)

    @property
    def d(self) -> int:
        """Dimensions."""
        return self.image.shape[1]

    @property
    def name(self) -> str:
        """With its dimensions."""
        return f"real {self.d}"

    def draw(self, n: int, generator: np.random.Generator, *, worse: float = 0.0) -> tuple[Sample, Sample]:
        """See `Population`."""
        base, each, d = self.text.shape
        of_image = (self.image - self.image.mean(0)) / base**0.5
        of_text = (self.text.reshape(-1, d) - self.text.mean((0, 1))) / (base * each) ** 0.5
        shared = (self.text.mean(1) - self.text.mean((0, 1))) / base**0.5
        own = np.repeat(np.arange(n), self.captions)
        m = len(own)
        which, caption = generator.integers(0, base, n), generator.integers(0, each, m)
        mixture = generator.standard_normal((n, base))
        image = self.image[which] + self.within * mixture @ of_image
        text = self.text[which[own], caption] + self.within * mixture[own] @ shared
        text += self.within / 2 * generator.standard_normal((m, base * each)) @ of_text

        def noises() -> Iterator[tuple[Rows, Rows]]:
            for size in (self.encoder, self.encoder * (1 + worse)):
                yield (
                    size * generator.standard_normal((n, base)) @ of_image,
                    size * generator.standard_normal((m, base * each)) @ of_text,
                )

        return two_encoders(image, text, own, self.scale, noises())


def populations(dimensions: list[int], vectors: Path | None) -> list[Population]:
    """Those made here at each number of dimensions, and that of a file of vectors."""
    made: list[Population] = [kind(d) for d in dimensions for kind in (Cones, Hubs, Overlap)]
    return made if vectors is None else [*made, Resampled.read(vectors)]
