"""Captions that lie beside an image: lines of a .txt, `caption` of a .json, and which of the two decides.

Tools that fetch images from the web (img2dataset) write the alternative text as it is into a .txt, line breaks and
all, and once more into the .json; others (CLIP_benchmark) write a caption a line. So a .json with the same words as the
.txt says how many captions they are; where it has other words, or is absent, each line is a caption.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import captions_by_line, need, unbroken

RULES = (
    "Each line of a .txt that is not empty is a caption.",
    "A .json beside it with the same words in `caption` decides how many captions they are: a text is one, line "
    "breaks and all; a list is several. With other words the .txt is read.",
    "Without a .txt, `caption` of the .json is read.",
)


def captions_of_record(record: dict[str, Any], *, entry: str) -> tuple[str, ...]:
    """The captions that a .json has: none, one or several; line breaks inside one become spaces."""
    value = record.get("caption")
    values = value if isinstance(value, list) else [] if value is None else [value]
    texts = (unbroken(need(each, str, entry=f"{entry}: caption")) for each in values)
    return tuple(text for text in texts if text)


class Beside:
    """Chooses between the two, and says to a tally how often it had to."""

    def __init__(self) -> None:
        self._lines = self._joined = self._unlike = 0

    def captions(self, text: str | None, record: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """The captions of one image, from its .txt and its .json, either of which may be absent.

        `record` gives those of the .json, and is called only where it matters: where the .txt has not one line.
        """
        lines = captions_by_line(text) if text is not None else ()
        if len(lines) == 1:
            return lines
        of_record = record()
        if not lines or not of_record or lines == of_record:
            chosen = lines or of_record
        elif _words(lines) == _words(of_record):
            chosen = of_record
            self._joined += 1
        else:
            chosen = lines
            self._unlike += 1
        self._lines += chosen is lines and len(lines) > 1
        return chosen

    def tell(self, tally: Tally) -> None:
        """How the texts were understood, where there was a choice."""
        if self._lines:
            tally.understood(f"each line of a .txt is a caption ({self._lines} have more than one)")
        if self._joined:
            tally.understood(f"lines of a .txt are the captions that its .json has ({self._joined} are one, or fewer)")
        if self._unlike:
            tally.understood(f"the .txt is read where its .json has other words ({self._unlike} do)")


def _words(texts: tuple[str, ...]) -> list[str]:
    return " ".join(texts).split()
