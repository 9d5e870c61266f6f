"""Measuring: how a set is measured, with the default of each option. Light to import: the command line reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from geomclip.machine.words import option

CHOICES: dict[str, tuple[str | None, ...]] = {
    "captions": ("all", "first"),
    "paper": (None, "oh2023"),
    "dtype": ("float32", "float64"),
}
"""Options that take one of a few words."""


@dataclass(frozen=True)
class Measuring:
    """How a set is measured.

    Parameters
    ----------
    metrics : str or sequence of str
        "default", "all", or keys of `geomclip.metrics.METRICS`.
    bootstrap : int
        0 for no 95 % intervals. Else all are made, and this is the number of draws where one is made of draws: those
        of ECE, and those of comparisons over resampled queries.
    seed : int
        Of draws and folds. The same seed and set give the same panel.
    curves : bool
        Also the gap-shift and gap-ablation curves.
    captions : str
        "all", or "first" for the one-caption protocol.
    paper : str, optional
        "oh2023" adds two numbers as the code of Oh et al. computes them.
    by : str, optional
        A column of the set: a panel of each of its values too.
    logit_scale : float, optional
        In place of the set's own.
    dtype : str
        "float32" or "float64": the precision of the similarities; sums are float64 in both.
    sample_blocks : int, optional
        Of a set too large for whole sweeps: so many blocks of images, drawn in strata, are asked against the whole
        gallery, and what sweeps give is estimated from them. No intervals over images then, and no `by`, `curves` or
        `paper`.
    device : str
        "cpu", "cuda" ("cuda:1"), or "auto", the GPU if there is one: where the similarities of all pairs are computed
        and swept. What is not a sweep runs on the CPU.

    Raises
    ------
    ValueError
        If `bootstrap` is below 0, a word is none of those allowed, or blocks are fewer than 2 or do not go together
        with another option.

    Examples
    --------
    >>> Measuring(dtype="float64").seed
    0
    """

    metrics: str | Sequence[str] = "default"
    bootstrap: int = 1000
    seed: int = 0
    curves: bool = False
    captions: str = "all"
    paper: str | None = None
    by: str | None = None
    logit_scale: float | None = None
    dtype: str = "float32"
    sample_blocks: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.bootstrap < 0:
            raise ValueError(f"bootstrap must be 0 (none) or more, got {self.bootstrap}")
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        if self.sample_blocks is not None:
            self._check_blocks(self.sample_blocks)

    def _check_blocks(self, count: int) -> None:
        flag = option("sample_blocks")
        if count < 2:
            raise ValueError(f"{flag} must be 2 or more, for an error bar between blocks, got {count}")
        if self.bootstrap:
            raise ValueError(
                f"{flag} has intervals of its own, over blocks: leave {option('bootstrap')} out, or {flag}"
            )
        for name in ("by", "curves", "paper"):
            if getattr(self, name):
                raise ValueError(f"{option(name)} needs whole sweeps: leave it out, or {flag}")

    def params(self) -> dict[str, Any]:
        """What a panel keeps of how it was measured; resamples, seed and logit scale have fields of their own."""
        kept = {name: getattr(self, name) for name in ("metrics", "captions", "paper", "dtype", "device", "by")}
        return kept if isinstance(self.metrics, str) else kept | {"metrics": list(self.metrics)}


NAMES = tuple(field.name for field in fields(Measuring))
"""The options, in their order."""
