"""Encodes: what an encoder has to have, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image


class Encodes(Protocol):
    """What extraction asks of an encoder; `geomclip.encoders.Encoder` is one.

    `encode_image` and `encode_text` are called from several threads at a time. An encoder whose rows are made
    elsewhere than on the CPU says so in an attribute `device`, as torch names it ("cuda:0").
    """

    @property
    def dim(self) -> int:
        """Dimensions of a row."""

    @property
    def logit_scale(self) -> float:
        """1/temperature, as a factor."""

    @property
    def logit_bias(self) -> float | None:
        """What a SigLIP model adds to its logits."""

    def preprocess(self) -> Callable[[Image], Tensor]:
        """From a picture to pixels (3, h, w); called in worker threads.

        If what is returned has a method `uint8`, that is called instead: its bytes go to `encode_image`.
        """

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens (m, context) and which texts were truncated (m,)."""

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Rows (b, d) on the CPU."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Rows (m, d) on the CPU."""

    def made_from(self) -> Mapping[str, Any]:
        """Everything about the encoder that its rows depend on, and its names."""
