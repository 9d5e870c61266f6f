"""Methods of grounding: one table, one line a method, and the constants of their terms; nothing heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest

PRESETS = ("encoder", "mmn", "released")
"""How a model starts: at the encoder's answer, or with heads drawn at random."""

CONTRAST = 0.1
"""Weight of the contrastive terms beside the overlap (Wang et al. 2022; Li et al. 2023, released configurations)."""

INTERACTION = 0.05
"""Weight of the terms of interaction: of the size of the contrastive ones at the start, and ours."""


@dataclass(frozen=True)
class Method:
    """What is minimised: terms with their weights."""

    name: str
    title: str
    source: str
    terms: Mapping[str, float]


BASE = {"overlap": 1.0, "to_sentences": CONTRAST}
WANG, LI, OURS = "Wang et al. 2022", "Li et al. 2023, released code", "after Li et al. 2023; the formula is ours"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("base", "overlap and contrast both ways", WANG, {**BASE, "to_moments": CONTRAST}),
        Method("geodesic", "moments near the true one are positives", OURS, {**BASE, "geodesic": CONTRAST}),
        Method(
            "shapley",
            "base, cosines agree with sampled interactions",
            OURS,
            {**BASE, "to_moments": CONTRAST, "interaction": INTERACTION},
        ),
        Method("g2l", "geodesic and shapley", OURS, {**BASE, "geodesic": CONTRAST, "interaction": INTERACTION}),
        Method(
            "pair-removal",
            "base, cosines agree with the removal of pairs",
            OURS,
            {**BASE, "to_moments": CONTRAST, "pair_removal": INTERACTION},
        ),
        Method(
            "released",
            "as the code of G2L was released, with its signs and masks",
            LI,
            {"overlap": 1.0, "released_contrast": CONTRAST, "released_interaction": 5e-4},
        ),
    )
}


def method_named(name: str) -> Method:
    """A method of the table.

    Raises
    ------
    InputError
        If there is none of this name; the message has the nearest.

    Examples
    --------
    >>> list(method_named("base").terms)
    ['overlap', 'to_sentences', 'to_moments']
    """
    if name not in METHODS:
        hint = nearest(name, list(METHODS)) or f"; the methods are {', '.join(METHODS)}"
        raise InputError(f"unknown method {name!r}{hint}")
    return METHODS[name]


@dataclass(frozen=True)
class Options:
    """Constants of the terms."""

    temperature: float = 0.1
    margin: float = 0.3  # taken off the cosine of what belongs together (0.4 and 0.1 for Charades-STA and TACoS)
    least: float = 0.5  # overlap from which a moment begins to count, and below which it is a negative
    most: float = 1.0  # overlap from which it counts in full
    neighbors: int = 5  # of a moment in the graph that geodesic distances are taken along
    reach: float = 0.35  # radians: a moment at that distance weighs 1/e
    positives: int = 5  # moments that count as positives, the true one included
    players: int = 4  # moments that a sentence brings into the game: the nearest to its own
    coalitions: int = 64  # that are drawn
