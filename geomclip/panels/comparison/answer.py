"""Answer: what a comparison comes to, in a headline and a finding on each subject; and its block of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from geomclip.metrics.evaluated import TASKS

LABEL = 13
"""Characters of the subject before the sentence of a line; more where one is longer."""
MOST = 8
"""Lines of a block."""
NARROW = 70
"""Columns of a terminal that are too few for lines of one finding."""
EVALUATIONS = tuple(name.replace("_", "-") for name in TASKS)
"""Tasks that a comparison may be of, each a subject."""
AT_MOST = {"verdict": 2, "retrieval": 2, "classes": 2, "other data": 2, **dict.fromkeys(EVALUATIONS, 2)}
"""Lines of a subject that may take more than one."""
SPARED = ("gap", "numbers", "other data")
"""Subjects that a block which is too long leaves out, or cuts to one line; the first of them first."""


@dataclass(frozen=True)
class Finding:
    """What is said of one subject: a word, and the sentence that begins with it."""

    about: str  # retrieval, classes, primary or the name of a task, space, gap, calibration, other data, numbers
    word: str
    sentence: str


@dataclass(frozen=True)
class Answer:
    """What a comparison comes to. `headline` is one word; `str()` gives the block of at most eight lines.

    `geomclip.panels.comparison.rules` has the rules, `docs/verdicts.md` says them.
    """

    headline: str = ""  # of rules.HEADLINES; "" where nothing was compared
    sentence: str = ""
    lines: Sequence[Finding] = ()

    def word(self, about: str) -> str:
        """The word on a subject; '' where nothing is said of it."""
        return next((line.word for line in self.lines if line.about == about), "")

    @property
    def is_muted(self) -> bool:
        """Whether both sides are at chance, so that no number of them is to be judged."""
        return self.headline == "at chance"

    def paragraphs(self) -> list[tuple[str, str]]:
        """Subjects and their sentences, the headline first; several findings on one subject are one paragraph."""
        if not self.headline:
            return []
        found = {"verdict": [self.sentence]}
        for line in self.lines:
            found.setdefault(line.about, []).append(line.sentence)
        return [(about, "; ".join(sentences)) for about, sentences in found.items()]

    def block(self, width: int = 80) -> list[str]:
        """The block: a line or two on each subject; the first begins with the word `verdict`."""
        sentences = dict(self.paragraphs())
        room = max(LABEL, *(len(about) + 1 for about in sentences), 0)
        if width < NARROW:  # nothing is cut where lines are short
            return [line for about, each in sentences.items() for line in _wrapped(about, each, room, width, len(each))]
        found = {about: _wrapped(about, each, room, width, AT_MOST.get(about, 1)) for about, each in sentences.items()}
        for about in SPARED:
            if about in found and sum(map(len, found.values())) > MOST:
                found[about] = [] if about not in AT_MOST else _wrapped(about, sentences[about], room, width, 1)
        return [line for lines in found.values() for line in lines]

    def to_dict(self) -> dict[str, Any]:
        """JSON types: the headline's word, its sentence, and the findings."""
        return {
            "headline": self.headline,
            "sentence": self.sentence,
            "lines": [dict(vars(each)) for each in self.lines],
        }

    def __str__(self) -> str:
        return "\n".join(self.block())


def _wrapped(about: str, sentence: str, room: int, width: int, most: int) -> list[str]:
    """A labelled paragraph in at most so many lines; what is cut ends in dots."""
    return wrap(
        sentence,
        width,
        initial_indent=f"{about:<{room}}",
        subsequent_indent=" " * room,
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
    )
