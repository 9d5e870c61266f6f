"""The record: a row a number, what changed and whether it is better; and conditions on the rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine.words import near
from geomclip.panels.intervals import LEVEL, Interval

if TYPE_CHECKING:
    import pandas

    from geomclip.panels.measurement import Measured

SCHEMA = "geomclip.compare/1"
VERDICTS = ("better", "worse", "unclear", "same")
CONDITION = re.compile(r"\s*([^\s<>=]+)\s*(?:(<=|>=|<|>)\s*(\S+)|(?<=\s)(better|worse|unclear|same))\s*")


@dataclass(frozen=True)
class Row:
    """One number before and after. `ci` is of the difference; `verdict` is '' where no direction is better."""

    before: float | None
    after: float | None
    difference: float | None = None  # after - before
    ci: Interval | None = None
    verdict: str = ""  # of VERDICTS; "same": difference and interval are exactly 0
    paired: bool = False  # whether the interval is one of paired differences


@dataclass(frozen=True)
class Gate:
    """A condition on one row: its difference against a bound, or its verdict."""

    key: str
    operator: str  # <, <=, >, >=; "" for a verdict
    bound: float = 0.0
    verdict: str = ""

    @classmethod
    def of(cls, condition: str, *, known: Iterable[str] | None = None) -> Gate:
        """The gate that a condition such as 'alignment>0.1' or 'alignment worse' states.

        Raises
        ------
        ValueError
            If it cannot be read, or its key is not among the known ones: the nearest are named.

        Examples
        --------
        >>> Gate.of("modality_gap >= 0.1")
        Gate(key='modality_gap', operator='>=', bound=0.1, verdict='')
        """
        gate = cls._read(condition)
        if known is not None and gate.key not in (keys := list(known)):
            raise ValueError(f"condition {condition!r}: unknown metric {gate.key!r}{_nearest(gate.key, keys)}")
        return gate

    @classmethod
    def _read(cls, condition: str) -> Gate:
        found = CONDITION.fullmatch(condition)
        if found:
            key, operator, bound, verdict = found.groups()
            if verdict:
                return cls(key, "", verdict=verdict)
            try:
                value = float(bound)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                return cls(key, operator, value)
        raise ValueError(
            f"condition {condition!r}: write KEY<NUMBER (or <=, >, >=; it is after - before that is tested), "
            f"or KEY and one of {', '.join(VERDICTS)}"
        )

    def holds(self, row: Row) -> bool:
        """Whether the condition is true of a row that has a difference."""
        difference = row.difference
        assert difference is not None
        if not self.operator:
            return row.verdict == self.verdict
        return {
            "<": difference < self.bound,
            "<=": difference <= self.bound,
            ">": difference > self.bound,
            ">=": difference >= self.bound,
        }[self.operator]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed from one panel to another: a row a key, in the order of the panel.

    Behaves like a mapping from key to `Row` (`comparison["modality_gap"].difference`). Shows as a table in a
    notebook.
    """

    rows: Mapping[str, Row]
    paired: bool = False
    notes: Sequence[str] = ()
    before: Mapping[str, Any] = field(default_factory=dict)  # what was measured: dataset, split, model, counts
    after: Mapping[str, Any] = field(default_factory=dict)
    n_images: int = 0  # that the differences are of
    bootstrap: int = 0
    seed: int = 0
    by: str = ""  # the column that the groups are values of
    groups: Mapping[str, Comparison] = field(default_factory=dict)
    # what it is of, as long as that is in memory: a page shows it, the other files do not have it
    sides: tuple[Measured, Measured] | None = None

    def __getitem__(self, key: str) -> Row:
        try:
            return self.rows[key]
        except KeyError:
            raise KeyError(f"{key} is not in this comparison{_nearest(key, self.rows)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def keys(self) -> list[str]:
        """The keys, in the order of the panel."""
        return list(self.rows)

    def replace(self, **changes: Any) -> Comparison:
        """The same comparison with some fields changed."""
        return replace(self, **changes)

    def fails(self, condition: str) -> bool:
        """Whether a condition holds, as `geomclip compare --fail-if` has them.

        Parameters
        ----------
        condition : str
            'KEY<NUMBER' (or <=, >, >=), of the difference after - before; or 'KEY worse' (or another verdict).

        Raises
        ------
        ValueError
            If the condition cannot be read, no row has its key (the nearest are named), or that row has no
            difference: a gate that cannot be judged must not pass.
        """
        return bool(self.failure(condition))

    def failure(self, condition: str) -> str:
        """A line on a condition that holds, with the difference; '' for one that does not. Raises as `fails`."""
        gate = Gate.of(condition, known=self.rows)
        row = self.rows[gate.key]
        if row.difference is None:
            why = next((f" ({note})" for note in self.notes if gate.key in note), "")
            raise ValueError(f"condition {condition!r}: {gate.key} has no difference here{why}")
        if not gate.holds(row):
            return ""
        between = "" if row.ci is None else f" ({row.ci[0]:.4g} to {row.ci[1]:.4g})"
        return f"{condition!r}: the change of {gate.key} is {row.difference:.6g}{between}"

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `compare --out x.json` writes it: JSON types only."""
        result: dict[str, Any] = {
            "schema": SCHEMA,
            "before": dict(self.before),
            "after": dict(self.after),
            "paired": self.paired,
            "n_images": self.n_images,
            "params": {"bootstrap": self.bootstrap, "level": LEVEL, "seed": self.seed},
            "metrics": {
                key: {**vars(row), "ci": None if row.ci is None else list(row.ci)} for key, row in self.rows.items()
            },
            "notes": list(self.notes),
        }
        if self.groups:
            result |= {"by": self.by, "groups": {name: group.to_dict() for name, group in self.groups.items()}}
        return result

    def save(self, path: str | Path) -> Path:
        """Write PATH whole or not at all: .json, .csv (a row a key) or .md (a table); `geomclip.report` makes a page.

        Parameters
        ----------
        path : path

        Returns
        -------
        Path

        Raises
        ------
        InputError, GeomclipError
            If the name ends in none of these, the place cannot be written to, or the disk is full.
        """
        from geomclip.panels.comparison.tables import save

        return save(self, path)

    def to_pandas(self) -> pandas.DataFrame:
        """A row a key: before, after, difference, the ends of its interval, verdict."""
        import pandas

        rows = {
            key: {
                "before": row.before,
                "after": row.after,
                "difference": row.difference,
                "low": None if row.ci is None else row.ci[0],
                "high": None if row.ci is None else row.ci[1],
                "verdict": row.verdict,
                "paired": row.paired,
            }
            for key, row in self.rows.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

    def __str__(self) -> str:
        from geomclip.panels.comparison.tables import comparison_text

        return comparison_text(self)

    def __repr__(self) -> str:
        paired = "paired" if self.paired else "unpaired"
        return f"Comparison({len(self.rows)} numbers, {paired}, {self.n_images} images)"

    def _repr_html_(self) -> str:
        from geomclip.panels.comparison.tables import comparison_html

        return comparison_html(self)


def _nearest(key: str, known: Iterable[str]) -> str:
    """'; nearest: a, b' with up to three known keys like this one, '' if none is."""
    close = near(key, known)
    return f"; nearest: {', '.join(close)}" if close else ""
