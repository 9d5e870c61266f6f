"""Folds: statistics of a similarity matrix that take it block by block, and what a block is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from geomclip.metrics.pairing import Pairing


@dataclass(eq=False)
class Block:
    """Similarities of some consecutive texts (rows) with some consecutive images (columns).

    `s` is shared by all folds: none may write to it. `scratch` is a buffer of its shape that any fold may
    write to and none may keep. All texts of an image lie in the same blocks. What is found for an axis that is not
    among `axes` is thrown away: folds may pass it over.
    """

    pairing: Pairing
    s: Tensor  # (t, i)
    scratch: Tensor  # (t, i)
    texts: slice
    images: slice
    groups: Tensor  # (t,) 0, 0, 1, ...: which of the block's groups each text belongs to
    group_images: slice  # images whose texts are the rows of this block
    axes: tuple[str, ...] = ("text", "image")  # whose queries are answered

    def exact(self, texts: Tensor | slice, images: Tensor | slice) -> Tensor:
        """The same scores as float64 products, of these rows and columns (of the whole pairing)."""
        return self.pairing.text[texts].double() @ self.pairing.image[images].double().T


State = TypeVar("State")
Result_co = TypeVar("Result_co", covariant=True)


class Fold(Protocol[State, Result_co]):
    """A statistic of all blocks: start, take each block, merge states of different blocks, finish.

    `unmatched` folds see matched entries as -inf; the others see all entries. Of a cloud against itself all folds are
    `unmatched`, and entries on and below the diagonal are -inf.
    """

    @property
    def unmatched(self) -> bool:
        """Whether matched entries are hidden from this fold."""

    def start(self, pairing: Pairing) -> State:
        """The state before any block."""

    def update(self, state: State, block: Block) -> None:
        """Take one block into the state."""

    def merge(self, first: State, second: State) -> State:
        """The state after the blocks of both."""

    def finish(self, state: State, pairing: Pairing) -> Result_co:
        """What the fold is for."""


@runtime_checkable
class CompiledFold(Protocol):
    """What a fold also has where its update is compiled."""

    def take(self, state: Any, block: Block) -> None:
        """As `update`, of a float32 block on the CPU; it touches only what is of the block's texts and images."""


def merge_by(self: Any, first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """The merge of folds whose state is a dictionary of tensors: `self.rules` has one rule for each."""
    return {key: rule(first[key], second[key]) for key, rule in self.rules.items()}
