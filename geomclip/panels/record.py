"""Panel: the numbers of one set, with their intervals, nulls, notes, and what they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.panels.fields import as_record
from geomclip.panels.files import save
from geomclip.panels.gates import value_failure
from geomclip.panels.items import Items
from geomclip.panels.lines import Printed
from geomclip.panels.shown import SAMPLED_ENDS

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Panel:
    """All numbers of one set of embeddings.

    `geomclip.panels.fields` says how each field is written to a result file, and read back.

    Behaves like a mapping from key to value (`panel["modality_gap"]`); a key that is undefined for this set is
    None, with its reason in `notes`. Shows as a table of ten numbers in a notebook; `table(full=True)` has all.
    """

    values: Mapping[str, float | None]
    ci: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sampled: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of sampling this set, not of the images
    no_interval: Mapping[str, str] = field(default_factory=dict)  # key to the reason why it has none
    null: Mapping[str, float] = field(default_factory=dict)
    null_error: Mapping[str, float] = field(default_factory=dict)  # Monte-Carlo error of those that are simulated
    p: Mapping[str, float] = field(default_factory=dict)  # how often honest confidences err as much
    notes: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    reliability: Mapping[str, list[dict[str, float | None]]] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)
    draws: Mapping[str, Sequence[float]] = field(default_factory=dict)  # key to its value in each draw of an evaluation
    items: Items = field(default_factory=dict)  # "image", "text", "pair": columns
    params: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)  # when: what differs between two runs alike, as seconds do
    made_from: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    n_images: int = 0
    n_texts: int = 0
    dim: int = 0
    logit_scale: float = 100.0
    logit_scale_source: str = ""
    task: str = "retrieval"
    seed: int = 0
    features_sha256: str = ""
    groups: Mapping[str, Panel] = field(default_factory=dict)
    name: str = ""  # what tables and pages call it, in place of its model

    def __getitem__(self, key: str) -> float | None:
        try:
            return self.values[key]
        except KeyError:
            reason = self.notes.get(key)
            raise KeyError(f"{key}: {reason}" if reason else f"{key} is not in this panel") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, key: object) -> bool:
        return key in self.values

    def keys(self) -> list[str]:
        """The keys, in the order of the panel."""
        return list(self.values)

    def replace(self, **changes: Any) -> Panel:
        """The same panel with some fields changed."""
        return replace(self, **changes)

    def fails(self, condition: str) -> bool:
        """Whether a condition on a value holds, as `geomclip measure --fail-if` has them.

        Parameters
        ----------
        condition : str
            'KEY<NUMBER' (or <=, >, >=).

        Raises
        ------
        ValueError
            If the condition cannot be read, is of changes alone ('KEY worse', 'and q<0.05'), or its key is not in this
            panel (the nearest are named) or has no value: a gate that cannot be judged must not pass.

        Examples
        --------
        >>> Panel({"image_retrieval_recall@1": 0.25}).fails("image_retrieval_recall@1 < 0.3")
        True
        """
        return bool(self.failure(condition))

    def failure(self, condition: str) -> str:
        """A line on a condition that holds, with the value; '' for one that does not. Raises as `fails`."""
        return value_failure(condition, self.values, ci=self.ci, sampled=self.sampled, notes=self.notes)

    def to_dict(self) -> dict[str, Any]:
        """The result as `measure --out` writes it: JSON types only, a superset of CLIP_benchmark's."""
        result = as_record(self)
        if self.groups:
            result["groups"] = {name: group.to_dict() for name, group in self.groups.items()}
        return result

    def save(self, path: str | Path) -> Path:
        """Write PATH, whole or not at all: .csv (a row a key), .md, .tex (tables), else JSON and its `.items.parquet`.

        Parameters
        ----------
        path : path

        Returns
        -------
        Path

        Raises
        ------
        InputError, GeomclipError
            If the place cannot be written to, or the disk is full.
        """
        if Path(path).suffix in (".csv", ".md", ".tex"):
            from geomclip.panels import documents

            return documents.save(self, Path(path))
        return save(self.to_dict(), self.items, path)

    def to_latex(
        self, keys: str | Sequence[str] | None = None, *, interval: str | None = "±", caption: str = "", label: str = ""
    ) -> str:
        """The numbers as a LaTeX table that needs the package booktabs; `geomclip.table` puts several side by side.

        Parameters
        ----------
        keys : str or sequence of str, optional
            In their order; "all" for every number. Left out: ten that answer most.
        interval : "±", "range" or None
            Half the width of the 95 % interval behind each number, its ends in brackets, or none.
        caption, label : str
            With one of them the table floats.

        Raises
        ------
        ValueError
            If a key is unknown, or `interval` is another.
        """
        from geomclip.panels.naming import name_of
        from geomclip.panels.papers.table import of_panels

        table = of_panels([self], [name_of(self.made_from, self.name)], keys, interval=interval)
        return table.to_latex(caption, label)

    def to_pandas(self) -> pandas.DataFrame:
        """A row a key: value, interval, null, its error where it is simulated, p, direction, note.

        Of a panel from blocks also `sampled_low` and `sampled_high`, between which the number of the whole set lies.
        """
        import pandas

        from geomclip.metrics.evaluated import KNOWN

        rows = {
            key: {
                "value": value,
                "low": self.ci.get(key, (None, None))[0],
                "high": self.ci.get(key, (None, None))[1],
                "null": self.null.get(key),
                "null_error": self.null_error.get(key),
                "p": self.p.get(key),
                "better": KNOWN[key].better if key in KNOWN else "",
                "note": self.notes.get(key, ""),
            }
            | ({} if not self.sampled else dict(zip(SAMPLED_ENDS, self.sampled.get(key, (None, None)), strict=True)))
            for key, value in self.values.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

    def table(self, *, full: bool = False) -> Printed:
        """The table that print and notebooks show: ten numbers that answer, or all of them with a sentence a group.

        Parameters
        ----------
        full : bool

        Returns
        -------
        Printed
            Text to print, and HTML in a notebook.
        """
        from geomclip.panels.tables import panel_html, panel_text

        return Printed(panel_text(self, full=full), panel_html(self, full=full))

    def __str__(self) -> str:
        from geomclip.panels.tables import panel_text

        return panel_text(self)

    def __repr__(self) -> str:
        return f"Panel({len(self.values)} numbers of {self.n_images} images and {self.n_texts} texts)"

    def _repr_html_(self) -> str:
        from geomclip.panels.tables import panel_html

        return panel_html(self)
