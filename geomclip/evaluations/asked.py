"""Asked: what each task has for options of its own, with defaults and their lines in `--help`; light to import."""

from __future__ import annotations

from dataclasses import dataclass

from geomclip.training.settings import check_settings, setting


@dataclass(frozen=True)
class ZeroShot:
    """How images are named by class texts."""

    def __post_init__(self) -> None:
        check_settings(self)


ASKED: dict[str, type] = {"zeroshot": ZeroShot}
"""Name of each task and its options, in the order in which `evaluate --all` asks them."""

__all__ = ["ASKED", "ZeroShot", "setting"]
