"""The record: a row a number, what changed and whether it is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.panels.comparison.answer import Answer
from geomclip.panels.gates import change_failure, nearest_keys
from geomclip.panels.intervals import LEVEL, Interval
from geomclip.panels.lines import Printed

if TYPE_CHECKING:
    import pandas

    from geomclip.panels.measurement import Measured

SCHEMA = "geomclip.compare/1"
VERDICTS = ("better", "worse", "unclear", "same", "lower")
RESAMPLED = ("gallery", "queries")
"""What intervals of differences are over: other images as queries and gallery, or as queries alone."""


@dataclass(frozen=True)
class Row:
    """One number before and after.

    `ci` is of the difference, `p` two-sided that of no difference. `q` is that p corrected for all that are judged,
    so that a verdict may be given: for primary keys (named before looking) by Holm among them, for others by
    Benjamini and Hochberg among those.
    """

    before: float | None
    after: float | None
    difference: float | None = None  # after - before
    ci: Interval | None = None
    # of VERDICTS; "same": difference and interval are exactly 0; "lower": a calibration error that may not be called
    # better; "": no direction is better, or nothing says how sure it is
    verdict: str = ""
    paired: bool = False  # whether the interval is one of paired differences
    p: float | None = None
    q: float | None = None
    primary: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed from one panel to another: a row a key, in the order of the panel.

    Behaves like a mapping from key to `Row` (`comparison["modality_gap"].difference`). Shows as a table of ten numbers
    in a notebook; `table(full=True)` has all.
    """

    rows: Mapping[str, Row]
    paired: bool = False
    notes: Sequence[str] = ()
    before: Mapping[str, Any] = field(default_factory=dict)  # what was measured: dataset, split, model, counts
    after: Mapping[str, Any] = field(default_factory=dict)
    n_images: int = 0  # that the differences are of
    bootstrap: int = 0
    seed: int = 0
    resample: str = ""  # of RESAMPLED, or FOLDS: what intervals are over; "" where there are none
    by: str = ""  # the column that the groups are values of
    groups: Mapping[str, Comparison] = field(default_factory=dict)
    others: Mapping[str, Comparison] = field(default_factory=dict)  # of the same sides on other data, by name
    evaluations: Mapping[str, Comparison] = field(default_factory=dict)  # tasks that the sides keep, by name
    verdict: Answer = field(default_factory=Answer)  # what it comes to
    written: Mapping[str, Any] = field(default_factory=dict)  # when: what differs between two runs alike
    # what it is of, as long as that is in memory: a page shows it, the other files do not have it
    sides: tuple[Measured, Measured] | None = None

    def __getitem__(self, key: str) -> Row:
        try:
            return self.rows[key]
        except KeyError:
            raise KeyError(f"{key} is not in this comparison{nearest_keys(key, self.rows)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def keys(self) -> list[str]:
        """The keys, in the order of the panel."""
        return list(self.rows)

    @property
    def primary(self) -> tuple[str, ...]:
        """The keys that were named before looking, in the order of the panel."""
        return tuple(key for key, row in self.rows.items() if row.primary)

    def replace(self, **changes: Any) -> Comparison:
        """The same comparison with some fields changed."""
        return replace(self, **changes)

    def fails(self, condition: str) -> bool:
        """Whether a condition holds, as `geomclip compare --fail-if` has them.

        Parameters
        ----------
        condition : str
            'KEY<NUMBER' (or <=, >, >=), of the difference after - before; or 'KEY worse' (or another verdict) of a
            primary key. 'and q<0.05' may follow; with it 'worse' and 'better' may be of any key that is judged.

        Raises
        ------
        ValueError
            If the condition cannot be read, no row has its key (the nearest are named), that row has no
            difference, or no q where the condition is on it: a gate that cannot be judged must not pass.
        """
        return bool(self.failure(condition))

    def failure(self, condition: str) -> str:
        """A line on a condition that holds, with the difference; '' for one that does not. Raises as `fails`."""
        return change_failure(condition, self.rows, primary=self.primary, notes=self.notes)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `compare --out x.json` writes it: JSON types only."""
        result: dict[str, Any] = {
            "schema": SCHEMA,
            "before": dict(self.before),
            "after": dict(self.after),
            "paired": self.paired,
            "n_images": self.n_images,
            "params": {
                "bootstrap": self.bootstrap,
                "level": LEVEL,
                "seed": self.seed,
                "resample": self.resample,
                "primary": list(self.primary),
            },
            "metrics": {
                key: {**vars(row), "ci": None if row.ci is None else list(row.ci)} for key, row in self.rows.items()
            },
            "notes": list(self.notes),
            "written": dict(self.written),
        }
        if self.verdict.headline:
            result["verdict"] = self.verdict.to_dict()
        if self.others:
            result["others"] = {name: other.to_dict() for name, other in self.others.items()}
        if self.evaluations:
            result["evaluations"] = {name: each.to_dict() for name, each in self.evaluations.items()}
        if self.groups:
            result |= {"by": self.by, "groups": {name: group.to_dict() for name, group in self.groups.items()}}
        return result

    def save(self, path: str | Path) -> Path:
        """Write PATH whole or not at all: .json, .csv (a row a key), .md or .tex; `geomclip.report` makes a page.

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

    def to_latex(
        self, keys: str | Sequence[str] | None = None, *, interval: str | None = "±", caption: str = "", label: str = ""
    ) -> str:
        """Before, after and change as a LaTeX table that needs the package booktabs; what is better is in bold.

        Parameters
        ----------
        keys : str or sequence of str, optional
            In their order; "all" for every number. Left out: the primary ones, and up to ten that answer most.
        interval : "±", "range" or None
            Half the width of the 95 % interval behind each change, its ends in brackets, or none.
        caption, label : str
            With one of them the table floats.

        Raises
        ------
        ValueError
            If a key is unknown, or `interval` is another.
        """
        from geomclip.panels.naming import side_of
        from geomclip.panels.papers.table import of_changes

        names = [side_of(side, which) for which, side in (("before", self.before), ("after", self.after))]
        return of_changes(self.rows, names, keys, interval=interval).to_latex(caption, label)

    def to_pandas(self) -> pandas.DataFrame:
        """A row a key: before, after, difference, the ends of its interval, verdict, p and q."""
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
                "p": row.p,
                "q": row.q,
                "primary": row.primary,
            }
            for key, row in self.rows.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

    def table(self, *, full: bool = False) -> Printed:
        """The table that print and notebooks show: ten numbers that answer, or all of them.

        Parameters
        ----------
        full : bool

        Returns
        -------
        Printed
            Text to print, and HTML in a notebook.
        """
        from geomclip.panels.comparison.tables import comparison_html, comparison_text

        return Printed(comparison_text(self, full=full), comparison_html(self, full=full))

    def __str__(self) -> str:
        from geomclip.panels.comparison.tables import comparison_text

        return comparison_text(self)

    def __repr__(self) -> str:
        paired = "paired" if self.paired else "unpaired"
        return f"Comparison({len(self.rows)} numbers, {paired}, {self.n_images} images)"

    def _repr_html_(self) -> str:
        from geomclip.panels.comparison.tables import comparison_html

        return comparison_html(self)
