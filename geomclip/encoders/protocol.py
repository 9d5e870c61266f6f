"""Encodes and EncodesInputs: what an encoder has to have, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from geomclip.pairs import Pairs

Kind: TypeAlias = Literal["image", "text", "query", "document"]
"""What inputs are: an image and its texts, or a query and its documents, which are texts both."""


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
        """Rows (m, d) on the CPU.

        If there is a method `lengths` from tokens to how many of each text decide its row (m,), texts are sorted by
        these, and encoded as tokens of so many places: they must give the same rows. None stands for all.
        """

    def made_from(self) -> Mapping[str, Any]:
        """Everything about the encoder that its rows depend on, and its names."""


@runtime_checkable
class EncodesInputs(Protocol):
    """An encoder that takes pictures and strings as they are and prepares them itself; one thread calls it.

    `geomclip.encoders.custom` makes one of functions, of an object of the caller's and of a SentenceTransformer.
    """

    @property
    def dim(self) -> int:
        """Dimensions of a row, known after `learn`."""

    @property
    def logit_scale(self) -> float | None:
        """1/temperature, as a factor; None where it has none."""

    @property
    def logit_bias(self) -> float | None:
        """What a SigLIP model adds to its logits."""

    @property
    def named(self) -> bool:
        """Whether its rows are known by a name: only then a store of them is kept, and gone on with."""

    @property
    def probes(self) -> Mapping[Kind, Tensor]:
        """A unit row of the first input of each kind, found by `learn`."""

    def learn(self, pairs: Pairs) -> None:
        """Encode the first input of each kind that these pairs have; InputError if that cannot be done."""

    def encode(self, kind: Kind, inputs: Sequence[Any]) -> Tensor:
        """Rows (b, dim), float32 on the CPU, of RGB pictures or of strings."""

    def made_from(self) -> Mapping[str, Any]:
        """As of `Encodes`."""


AnyEncoder: TypeAlias = Encodes | EncodesInputs
"""What extraction takes."""
