"""Pairing: two clouds of unit rows, and which row of one belongs to which of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two clouds of unit rows and which row of the second belongs to which of the first.

    The texts are kept sorted by their image, so that those of one image are neighbours; `order` leads back.
    A single cloud against itself (`Pairing.within`) is `mirrored`: its matrix is symmetric, so of two different rows
    only the score of the first as text with the second as image comes, and half of the matrix is never computed.

    Parameters
    ----------
    image : Tensor of shape (n, d)
    text : Tensor of shape (m, d)
        In any order.
    image_of_text : Tensor of shape (m,), int64
    """

    image: Tensor
    text: Tensor
    own: Tensor  # (m,) image of each sorted text
    order: Tensor  # (m,) place of each sorted text in the input
    starts: Tensor  # (n + 1,) texts starts[i]:starts[i + 1] describe image i
    mirrored: bool = False  # one cloud against itself

    @classmethod
    def of(cls, image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> Pairing:
        """The pairing of images with their texts (text i with image i if no owner is named)."""
        if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
            raise ValueError(f"image and text must be (n, d) and (m, d), got {tuple(image.shape)}, {tuple(text.shape)}")
        if image_of_text is None:
            if len(image) != len(text):
                raise ValueError(f"{len(text)} texts for {len(image)} images: image_of_text must say which is whose")
            image_of_text = torch.arange(len(image), device=image.device)
        if image_of_text.shape != (len(text),):
            raise ValueError(f"image_of_text must be ({len(text)},), got {tuple(image_of_text.shape)}")
        order = torch.argsort(image_of_text, stable=True)
        own = image_of_text[order]
        if len(own) and (own[0] < 0 or own[-1] >= len(image)):
            raise ValueError(f"image_of_text holds {int(own[0])} to {int(own[-1])} for {len(image)} images")
        counts = torch.bincount(own, minlength=len(image))
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        in_place = bool((order[1:] > order[:-1]).all())
        return cls(image.contiguous(), text.contiguous() if in_place else scratch.rows(text, order), own, order, starts)

    @classmethod
    def within(cls, x: Tensor) -> Pairing:
        """Different rows of one cloud against each other, each pair of rows once."""
        return replace(cls.of(x, x), mirrored=True)

    def to(self, device: str | torch.device) -> Pairing:
        """The same pairing on another device; itself where it lies there."""
        parts = ("image", "text", "own", "order", "starts")
        moved = {name: getattr(self, name).to(device) for name in parts}
        if self.text is self.image:
            moved["text"] = moved["image"]  # one cloud, there once
        if all(moved[name] is getattr(self, name) for name in parts):
            return self
        return replace(self, **moved)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.image)

    @property
    def m(self) -> int:
        """Number of texts."""
        return len(self.text)

    @property
    def scores(self) -> int:
        """Number of scores that a sweep computes, but for some on the diagonal of a cloud against itself."""
        return self.n * (self.n - 1) // 2 if self.mirrored else self.n * self.m

    def first_texts(self) -> tuple[Tensor, Tensor]:
        """The first text of each image that has any (k, d), and which image that is (k,)."""
        described = (self.texts_of_image > 0).nonzero()[:, 0]
        return scratch.rows(self.text, self.starts[described]), described

    @cached_property
    def texts_of_image(self) -> Tensor:
        """(n,) number of texts that describe each image."""
        return self.starts.diff()

    @cached_property
    def matched(self) -> Tensor:
        """(m,) float64: the score of each sorted text with its own image."""
        return exact.matched(self.image, self.text, self.own)

    @cached_property
    def best_matched(self) -> Tensor:
        """(n,) float64: the best score of each image with its own texts; -inf without text."""
        best = self.matched.new_full((self.n,), -torch.inf)
        return best.scatter_reduce(0, self.own, self.matched, "amax")

    def per_image(self, per_text: Tensor) -> Tensor:
        """(n,) sums over the texts of each image of a quantity (m,) in sorted order; float64."""
        sums = per_text.new_zeros(self.n, dtype=torch.float64)
        return sums.index_add_(0, self.own, per_text.double())

    def unsorted(self, per_text: Tensor) -> Tensor:
        """A quantity (m, ...) in sorted order, back in the order of the input."""
        back = torch.empty_like(per_text)
        back[self.order] = per_text
        return back
