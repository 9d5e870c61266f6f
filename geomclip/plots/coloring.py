"""What colours a map has when a column of its images gives them: groups by name, or numbers on a scale."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest, one_line, option

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#b8478f", "#a07d00", "#7d64d9", "#d0424f", "#2b8ea8", "#5e8a2e"),
    *("#9c6743", "#7c6b85", "#8a919c"),
)
"""At least 3:1 against the papers of both modes, as what a picture is read by should have (WCAG 2.1)."""
SCALE = ("#4a5fc1", "#8f57bd", "#c4528f", "#dd6350", "#db8a1e")
"""From the lowest number to the highest, ever lighter."""
ABSENT = "#8a919c"
"""Of what has no value."""
MOST_GROUPS = len(PALETTE)
OTHER = "other"
LONGEST_NAME = 60
"""Characters of a group's name in a key."""


@dataclass(frozen=True, eq=False)
class Coloring:
    """Which colour each image and text has, and what the colours mean.

    `groups` are names of colours, most images first, and `image`, `text` the number of a group; or there are none, and
    both are numbers between `low` and `high`. −1 or NaN: no value.
    """

    column: str
    image: NDArray[np.float64]
    text: NDArray[np.float64]
    groups: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def palette(self) -> list[tuple[str, str]]:
        """Name and colour of each group, and of what has no value if something has none."""
        named = list(zip(self.groups, PALETTE, strict=False))
        if self.groups and self.groups[-1] == OTHER:
            named[-1] = (OTHER, ABSENT)
        return [*named, *([("no value", ABSENT)] if self.absent() else [])]

    def absent(self) -> bool:
        """Whether an image or text has no value."""
        both = np.concatenate([self.image, self.text])
        return bool((np.isnan(both) | (both < 0)).any()) if self.groups else bool(np.isnan(both).any())

    def colors(self, modality: str) -> NDArray[np.str_]:
        """The colour of each "image" or "text", as #rrggbb."""
        values = self.image if modality == "image" else self.text
        if self.groups:
            known = np.array([*(color for _, color in self.palette()[: len(self.groups)]), ABSENT])
            return known[values.astype(np.int64)]  # −1 is the last
        spread = (values - self.low) / ((self.high - self.low) or 1.0)
        stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in SCALE], dtype=np.float64)
        at = np.linspace(0, 1, len(stops))
        # 64 steps: a page names each colour once
        place = np.round(np.nan_to_num(spread) * 63) / 63
        mixed = np.stack([np.interp(place, at, stops[:, part]) for part in range(3)], axis=1).round().astype(int)
        found = np.array([f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed], dtype="<U7")
        return np.where(np.isnan(values), ABSENT, found)


def check_column(column: str | None, attributes: Mapping[str, Sequence[str]]) -> None:
    """Refuse a column that pictures cannot be coloured by, before any long work.

    Raises
    ------
    InputError
        If there is no such column, or it is of words of which most images have one of their own.
    """
    if column is None:
        return
    if column not in attributes:
        there = ", ".join(attributes) or "none"
        raise InputError(
            f"{option('color', column)}: no such column{nearest(column, attributes)}; columns of this set: {there}"
        )
    values = attributes[column]
    known = {value for value in values if value}
    if _numbers(known) is None and len(known) > max(MOST_GROUPS, len(values) / 2):
        raise InputError(
            f"{option('color', column)} has {len(known):,} different texts for {len(values):,} images: "
            "colours tell some ten groups apart, or numbers"
        )


def coloring_of(map: Map, column: str | None) -> Coloring | None:
    """The colours that a column of its images gives a map: a text has that of its image, a class that of its name.

    Numbers are on a scale, unless they are at most a dozen different whole ones; all else are groups, the most
    frequent by name and the rest together. None without a column.

    Raises
    ------
    InputError
        As `check_column`.
    """
    if column is None:
        return None
    check_column(column, map.attributes)
    own = list(map.attributes[column])
    texts = _of_texts(map, column, own)
    known = {value for value in own if value}
    numbers = _numbers(known)
    if numbers is not None and not (len(known) <= MOST_GROUPS and all(each.is_integer() for each in numbers.values())):
        finite = list(numbers.values())
        image, text = (np.array([numbers.get(value, math.nan) for value in part]) for part in (own, texts))
        return Coloring(column, image, text, low=min(finite), high=max(finite))
    ranked = sorted(Counter(value for value in own if value).items(), key=lambda each: (-each[1], each[0]))
    many = len(ranked) > MOST_GROUPS
    place = {name: min(number, MOST_GROUPS - 1) for number, (name, _) in enumerate(ranked)}
    names = [one_line(name, LONGEST_NAME) for name, _ in ranked[: MOST_GROUPS - many]]
    image, text = (np.array([place.get(value, -1) for value in part], dtype=np.float64) for part in (own, texts))
    return Coloring(column, image, text, (*names, *([OTHER] if many else [])))


def _of_texts(map: Map, column: str, own: Sequence[str]) -> list[str]:
    if map.text is None:
        return []
    if map.image_of_text is not None:
        return [own[row] for row in map.image_of_text.tolist()]
    # the names of classes: a label is one of them, nothing else is known of a class
    return list(map.text_id) if column == "label" else [""] * len(map.text)


def _numbers(known: set[str]) -> dict[str, float] | None:
    """The values as numbers; None where one is none, or there is no value."""
    found = {}
    for value in known:
        try:
            found[value] = float(value)
        except ValueError:
            return None
    finite = {value: number for value, number in found.items() if math.isfinite(number)}
    return finite or None
