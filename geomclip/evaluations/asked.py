"""Asked: what each task has for options of its own, with defaults and their lines in `--help`; light to import."""

from __future__ import annotations

from dataclasses import dataclass

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.settings import check_settings, setting

SHOTS = (1, 2, 4, 8, 16)
"""Images a class that few-shot classification may learn from."""


@dataclass(frozen=True)
class ZeroShot:
    """How images are named by class texts."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class FewShot:
    """What is learned from, and how often it is drawn."""

    shots: str = setting("1,2,4,8,16", "Images a class to learn from, with commas between.", metavar="N,N,...")
    draws: int = setting(10, "Times that they are drawn; all methods get the same.", within=(1, 1000))
    train_split: str = setting("train", "Of the data: where shots are drawn from.", metavar="NAME")
    train_embeddings: str = setting("", "Vectors that shots are drawn from, beside --embeddings.", metavar="PATH")
    holdout: float = setting(
        0.0, "In place of a split: that much of each class can be drawn; 0.5 of vectors.", within=(0, 0.99), metavar="X"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        self.counts()
        if self.holdout and self.train_embeddings:
            both = f"{option('holdout')} and {option('train_embeddings')}"
            raise InputError(f"{both} both say what is drawn from: give one")

    def counts(self) -> tuple[int, ...]:
        """The numbers of shots, rising; InputError for what is none of them."""
        words = self.shots.replace(",", " ").split()
        if not words or not all(word.isascii() and word.isdigit() and int(word) in SHOTS for word in words):
            known = ", ".join(map(str, SHOTS))
            raise InputError(f"{option('shots', self.shots)}: numbers out of {known} are meant, with commas between")
        return tuple(sorted({int(word) for word in words}))


@dataclass(frozen=True)
class Captioning:
    """Whose captions, and how they are written."""

    captions: str = setting("", "JSON of image id to caption, of any model, in place of a CoCa's own.", metavar="FILE")
    beams: int = setting(4, "Beginnings of a caption that are followed; 1: greedy.", within=(1, 64))
    max_tokens: int = setting(30, "Of a caption, its end included.", within=(2, 10**4))

    def __post_init__(self) -> None:
        check_settings(self)


ASKED: dict[str, type] = {"zeroshot": ZeroShot, "fewshot": FewShot, "captioning": Captioning}
"""Name of each task and its options, in the order in which `evaluate --all` asks them."""

__all__ = ["ASKED", "Captioning", "ZeroShot", "setting"]
