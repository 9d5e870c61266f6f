"""Results on disk: the panel as JSON with its items beside it, and the nulls that were simulated before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from geomclip.machine import json_files
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import atomic_bytes, atomic_json, cache_dir
from geomclip.panels.items import parquet, read_items
from geomclip.panels.record import SCHEMA, Panel


def save(panel: Panel, path: str | Path) -> Path:
    """Write `path` (JSON) and, beside it, the items of the panel; each whole or not at all.

    The items of `r.json` are `r.items.parquet`: a row an image and a row a text (column `kind`), with ids,
    ranks, confidences, and in `sum.*` what each image adds to every number. Rows of kind `resample` and `half`
    have, in columns named as the numbers, what the draws gave that sums cannot give.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    InputError, GeomclipError
        If the place cannot be written to, or the disk is full.
    """
    path = Path(path)
    if panel.items:
        atomic_bytes(items_path(path), parquet(panel.items))
    atomic_json(path, panel.to_dict())
    if not panel.items:  # those of an older result of this name are not this panel's
        with suppress(OSError):
            items_path(path).unlink(missing_ok=True)
    return path


def load(path: str | Path) -> Panel:
    """The panel that `measure --out` (or `Panel.save`) wrote to `path`, with its items if they lie beside it.

    Files may come from others: sizes are bounded, every field is checked, and the items must give the numbers.

    Raises
    ------
    InputError
        If a file is absent, damaged, no result, or too large, or the items are not those of the result.

    Examples
    --------
    >>> import tempfile
    >>> from geomclip.panels.record import Panel
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(Panel({"alignment": 0.5}, n_images=4, n_texts=4), Path(folder) / "r.json"))["alignment"]
    0.5
    """
    path = Path(path).expanduser()
    told = json_files.read_json(path)
    if told.get("schema") != SCHEMA:
        raise InputError(f"{path} is no result of geomclip measure: its schema is not {SCHEMA}")
    try:
        panel = _panel(told)
    except ValueError as problem:
        raise InputError(f"{path} is malformed: {problem}") from problem
    items = items_path(path)
    return panel.replace(items=read_items(items, panel)) if items.exists() else panel


_NUMBERS = json_files.mapped(json_files.listed(json_files.number_or_none))
_OBJECT = json_files.mapped(json_files.anything)
_FIELDS = {
    "ci": json_files.mapped(json_files.interval),
    "null": json_files.mapped(json_files.number),
    "notes": json_files.mapped(json_files.text),
    "warnings": json_files.listed(json_files.text),
    "reliability": json_files.mapped(json_files.listed(json_files.mapped(json_files.number_or_none))),
    "curves": json_files.mapped(_NUMBERS),
    "params": _OBJECT,
    "seconds": json_files.mapped(json_files.number),
    "env": _OBJECT,
    "n_images": json_files.count,
    "n_texts": json_files.count,
    "dim": json_files.count,
    "logit_scale": json_files.number,
    "logit_scale_source": json_files.text,
    "task": json_files.text,
    "seed": json_files.count,
    "features_sha256": json_files.text,
}
"""Fields of a panel that its JSON has under the same name, and what each must be."""


def _panel(told: Mapping[str, Any], *, inside: str = "") -> Panel:
    """A panel from the object that `Panel.to_dict` gave; ValueError names the field that is not as it should be."""
    values = json_files.mapped(json_files.number_or_none)(told.get("metrics"), f"{inside}metrics")
    made = _OBJECT(told.get("made_from", {}), f"{inside}made_from")
    if told.get("skipped"):
        made["skipped"] = json_files.listed(_OBJECT)(told["skipped"], f"{inside}skipped")
    groups = _OBJECT(told.get("groups", {}), f"{inside}groups")
    if groups and inside:
        raise ValueError(f"{inside}groups: a group has no groups")
    return Panel(
        values=values,
        made_from=made,
        groups={
            name: _panel(_OBJECT(group, f"groups.{name[:60]}"), inside=f"groups.{name[:60]}.")
            for name, group in groups.items()
        },
        **json_files.fields(told, _FIELDS, inside),
    )


def items_path(path: Path) -> Path:
    """Where the items of a result lie: `r.json` has `r.items.parquet`."""
    return path.with_name(f"{path.name.removesuffix('.json')}.items.parquet")


class NullCache(MutableMapping[str, dict[str, float]]):
    """Simulated nulls by size and seed, one small JSON file each under the cache folder.

    A cache that cannot be written to costs time, not results: the nulls are simulated again.
    """

    def __init__(self, explicit: str | Path | None = None) -> None:
        self.folder = cache_dir(explicit) / "nulls"

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def __getitem__(self, key: str) -> dict[str, float]:
        try:
            kept = json.loads(self._file(key).read_text("utf-8"))
            return {str(name): float(value) for name, value in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: dict[str, float]) -> None:
        try:
            atomic_json(self._file(key), value)
        except GeomclipError:
            return

    def __delitem__(self, key: str) -> None:
        try:
            self._file(key).unlink()
        except OSError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in sorted(self.folder.glob("*.json")))

    def __len__(self) -> int:
        return sum(1 for _ in self)
