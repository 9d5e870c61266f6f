"""The table of the benchmark: rows at each dose, differences from base, and the interaction of dose and method."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.grounding.bench.estimates import Estimate, over_seeds, two_way
from geomclip.grounding.bench.rows import COMPARED, ROWS
from geomclip.machine.files import atomic_bytes
from geomclip.machine.words import markdown

SHOWN = ("R1@0.3", "R1@0.5", "R1@0.7", "R5@0.5", "mIoU")
CLAIMED = ("R1@0.7", "mIoU")
"""What the interaction is judged by."""
DIGITS = 5
JSON_FILE, CSV_FILE, MARKDOWN_FILE = "table.json", "table.csv", "table.md"
_KEYS = ("kind", "row", "metric", "dose")
Runs = Mapping[tuple[str, float], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class Table:
    """What was found.

    Attributes
    ----------
    made_from : mapping
        Source, sizes, seeds.
    lines : tuple of dict
        Each with `kind` ("row", "difference" from base at the same dose, "interaction": the difference at a dose
        minus that at the first, "space", "graph"), `row`, `dose`, `metric`, and the fields of an `Estimate`.
    """

    made_from: Mapping[str, Any]
    lines: tuple[dict[str, Any], ...]

    def find(self, kind: str, row: str, metric: str, dose: float) -> dict[str, Any] | None:
        """One line; rows that no dose changes have theirs at the first dose. None if there is none."""
        if kind == "row" and not ROWS[row].has_doses:
            dose = self.doses[0]
        wanted = (kind, row, metric, dose)
        return next((each for each in self.lines if tuple(map(each.get, _KEYS)) == wanted), None)

    @property
    def doses(self) -> list[float]:
        """All doses, the one that others are compared with first."""
        return [float(dose) for dose in self.made_from["doses"]]

    def save(self, folder: Path) -> None:
        """Write table.json, table.csv and table.md."""
        atomic_bytes(folder / JSON_FILE, self.as_json().encode("ascii"))
        atomic_bytes(folder / CSV_FILE, self.as_csv().encode())
        atomic_bytes(folder / MARKDOWN_FILE, self.as_markdown().encode())

    def to_dict(self) -> dict[str, Any]:
        """As table.json has it."""
        return {"made_from": dict(self.made_from), "lines": list(self.lines)}

    def as_json(self) -> str:
        """`to_dict` with an estimate a line."""
        lines = ",\n".join(json.dumps(each, allow_nan=False) for each in self.lines)
        return f'{{"made_from": {json.dumps(dict(self.made_from), allow_nan=False)},\n"lines": [\n{lines}\n]}}\n'

    def as_csv(self) -> str:
        """A line an estimate."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self.lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.lines)
        return buffer.getvalue()

    def as_markdown(self) -> str:
        """The table to read: rows, differences and interactions in points, space, graph."""
        parts = [self._heading(), *(self._of_rows(dose) for dose in self.doses), self._interactions()]
        parts += [self._of_space(), self._of_graph()]
        return "\n".join(part for part in parts if part)

    def _heading(self) -> str:
        made, sizes = self.made_from, self.made_from["sizes"]
        return (
            f"# Composed videos from {markdown(made['source'])}{_encoder(made)}\n\n"
            f"{sizes['train']} train, {sizes['val']} val and {sizes['test']} test videos of {sizes['clips']} clips, "
            f"two queries each; {sizes['steps']} steps of {sizes['batch_size']}; {made['seeds']} seeds. Intervals "
            f"(95 %) are over seeds and test {made['unit']}s. All in %, differences in points.\n"
        )

    def _of_rows(self, dose: float) -> str:
        lines = [f"## Dose {dose:g}\n", _head("row", *SHOWN, *(f"{metric} − base" for metric in CLAIMED))]
        for name in self._rows():
            cells = [self.find("row", name, metric, dose) for metric in SHOWN]
            more = [self.find("difference", name, metric, dose) for metric in CLAIMED]
            lines.append(_line(ROWS[name].title, *map(_value, cells), *map(_signed, more)))
        return "\n".join(lines) + "\n"

    def _rows(self) -> list[str]:
        there = {each["row"] for each in self.lines if each["kind"] == "row"}
        return [name for name in ROWS if name in there]

    def _interactions(self) -> str:
        lines = []
        for dose in self.doses[1:]:
            lines += [
                f"## Interaction: what dose {dose:g} adds to the difference from base at dose {self.doses[0]:g}\n"
            ]
            lines += [_head("row", *(part for metric in CLAIMED for part in (metric, "found with 80 %")))]
            for name in self._rows():
                cells = [self.find("interaction", name, metric, dose) for metric in CLAIMED]
                if all(cells):
                    shown = [part for cell in cells for part in (_signed(cell), f"{100 * cell['detectable']:.1f}")]  # type: ignore[index]
                    lines.append(_line(ROWS[name].title, *shown))
        return "\n".join(lines) + "\n" if lines else ""

    def _of_space(self) -> str:
        own = [each for each in self.lines if each["kind"] == "space"]
        metrics = list(dict.fromkeys(each["metric"] for each in own))
        if not own:
            return ""
        lines = ["## Space of the true moments and queries of test\n", _head("row", "dose", *metrics)]
        for row, dose in dict.fromkeys((each["row"], each["dose"]) for each in own):
            cells = [self.find("space", row, metric, dose) for metric in metrics]
            lines.append(_line(ROWS[row].title, f"{dose:g}", *(f"{cell['value']:.3f}" for cell in cells if cell)))
        return "\n".join(lines) + "\n"

    def _of_graph(self) -> str:
        own = [each for each in self.lines if each["kind"] == "graph"]
        if not own:
            return ""
        metrics = list(dict.fromkeys(each["metric"] for each in own))
        lines = ["## Neighbours of the true moment in train, on the encoder's rows\n", _head("dose", *metrics)]
        for dose in dict.fromkeys(each["dose"] for each in own):
            cells = [self.find("graph", "graph", metric, dose) for metric in metrics]
            shown = [f"{c['value']:.0f}" if c["metric"] == "queries" else f"{100 * c['value']:.1f}" for c in cells if c]
            lines.append(_line(f"{dose:g}", *shown))
        return "\n".join(lines) + "\n"


def table_of(made_from: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Table:
    """The table of the results of all runs."""
    runs: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=lambda each: each["seed"]):
        runs.setdefault((result["row"], result["dose"]), []).append(result)
    doses = list(dict.fromkeys(result["dose"] for result in results))
    lines: list[dict[str, Any]] = []
    for (row, dose), own in runs.items():
        for metric in own[0].get("test", {}):
            lines.append(_record("row", row, dose, metric, _estimate(_stack(own, metric), own)))
        for kind in ("space", "graph"):
            for metric in own[0].get(kind, {}):
                values = torch.tensor([each[kind][metric] for each in own], dtype=torch.float64)
                lines.append(_record(kind, row, dose, metric, over_seeds(values)))
    for row in ROWS:
        lines += _against_base(row, runs, doses)
    first = next(result for result in results if "test" in result)
    many = {result["seed"] for result in results}
    unit = "video" if len(set(first["unit"])) == made_from["sizes"]["test"] else "picture"
    return Table({**made_from, "doses": doses, "seeds": len(many), "unit": unit}, tuple(lines))


def _against_base(row: str, runs: Runs, doses: Sequence[float]) -> list[dict[str, Any]]:
    lines = []
    differences: dict[tuple[float, str], Tensor] = {}
    for dose in doses:
        # zero-shot is the same at every dose, base is not
        own, base = runs.get((row, dose if row != "zero-shot" else doses[0])), runs.get(("base", dose))
        if own is None or base is None or row == "base" or (ROWS[row].free and row != "zero-shot"):
            continue
        for metric in SHOWN:
            moved = differences[dose, metric] = _stack(own, metric) - _stack(base, metric)
            lines.append(_record("difference", row, dose, metric, _estimate(moved, own)))
            before = differences.get((doses[0], metric))
            if row in COMPARED and dose != doses[0] and before is not None:
                lines.append(_record("interaction", row, dose, metric, _estimate(moved - before, own)))
    return lines


def _stack(own: Sequence[Mapping[str, Any]], metric: str) -> Tensor:
    """Of each seed and query: (s, q)."""
    return torch.tensor([each["test"][metric] for each in own], dtype=torch.float64)


def _estimate(values: Tensor, own: Sequence[Mapping[str, Any]]) -> Estimate:
    return two_way(values, torch.tensor(own[0]["unit"]))


def _record(kind: str, row: str, dose: float, metric: str, found: Estimate) -> dict[str, Any]:
    numbers = {name: round(value, DIGITS) for name, value in asdict(found).items()}
    detectable = round(found.detectable, DIGITS) if kind in ("difference", "interaction") else None
    return {"kind": kind, "row": row, "dose": dose, "metric": metric, **numbers, "detectable": detectable}


def _encoder(made: Mapping[str, Any]) -> str:
    model = made["made_from"].get("model")
    return f", encoded by {markdown(model)}" if model else ""


def _value(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{100 * found['value']:.1f}"


def _signed(found: Mapping[str, Any] | None) -> str:
    """Points with their interval; in bold where it leaves out 0."""
    if found is None:
        return ""
    text = f"{100 * found['value']:+.1f} ({100 * found['low']:+.1f} … {100 * found['high']:+.1f})"
    return f"**{text}**" if found["low"] > 0 or found["high"] < 0 else text


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> str:
    return f"{_line(*cells)}\n|{' --- |' * len(cells)}"
