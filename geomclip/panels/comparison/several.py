"""Comparisons: several runs, each against the first, with verdicts that are corrected over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine.words import nearest
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.lines import Printed

if TYPE_CHECKING:
    import pandas

SCHEMA = "geomclip.comparisons/1"


@dataclass(frozen=True, eq=False)
class Comparisons:
    """What changed from one run, the reference, to each of several others.

    Behaves like a mapping from the name of a run to its `Comparison`. Primary keys are corrected by Holm over all
    runs, the others by Benjamini and Hochberg; groups each by itself. Shows as one table of ten numbers.
    """

    reference: str  # the name of the run that all are compared with
    comparisons: Mapping[str, Comparison]

    def __getitem__(self, name: str) -> Comparison:
        try:
            return self.comparisons[name]
        except KeyError:
            known = nearest(name, self.comparisons) or f"; the runs are {', '.join(self.comparisons)}"
            raise KeyError(f"no run {name!r} is compared{known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.comparisons)

    def __len__(self) -> int:
        return len(self.comparisons)

    def __contains__(self, name: object) -> bool:
        return name in self.comparisons

    def keys(self) -> list[str]:
        """The names of the runs, without that of the reference."""
        return list(self.comparisons)

    def fails(self, condition: str) -> bool:
        """Whether a condition holds for any run; as `Comparison.fails`, and refuses what that refuses."""
        return bool(self.failure(condition))

    def failure(self, condition: str) -> str:
        """A line on the runs for which a condition holds, with the difference of each; '' if for none."""
        found = {name: comparison.failure(condition) for name, comparison in self.comparisons.items()}
        return "; ".join(f"{name}: {line}" for name, line in found.items() if line)

    def to_dict(self) -> dict[str, Any]:
        """The comparisons as `compare --out x.json` writes them: JSON types only."""
        runs = {name: comparison.to_dict() for name, comparison in self.comparisons.items()}
        return {"schema": SCHEMA, "reference": self.reference, "comparisons": runs}

    def save(self, path: str | Path) -> Path:
        """Write PATH whole or not at all: .json, .csv (a row a run and key) or .md (a table of ten, and all of each).

        Raises
        ------
        InputError, GeomclipError
            If the name ends in none of these, the place cannot be written to, or the disk is full.
        """
        from geomclip.panels.comparison.side_by_side import save

        return save(self, path)

    def to_pandas(self) -> pandas.DataFrame:
        """A row a run and key, as `Comparison.to_pandas` has them."""
        import pandas

        frames = {name: comparison.to_pandas() for name, comparison in self.comparisons.items()}
        return pandas.concat(frames, names=["run"])

    def table(self, *, full: bool = False) -> Printed:
        """The table that print and notebooks show: ten numbers of each run that answer, or all of them."""
        from geomclip.panels.comparison.side_by_side import several_html, several_text

        return Printed(several_text(self, full=full), several_html(self, full=full))

    def __str__(self) -> str:
        return self.table().text

    def __repr__(self) -> str:
        return f"Comparisons({', '.join(self.comparisons)} with {self.reference})"

    def _repr_html_(self) -> str:
        return self.table().html
