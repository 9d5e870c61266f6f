"""Results back from disk: files may come from others, and are judged before they become a panel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine import json_files
from geomclip.machine.errors import InputError
from geomclip.panels.fields import SCHEMA, from_record
from geomclip.panels.files import items_path
from geomclip.panels.items import read_items
from geomclip.panels.record import Panel


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
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(Panel({"alignment": 0.5}, n_images=4, n_texts=4).save(Path(folder) / "r.json"))["alignment"]
    0.5
    """
    path = Path(path).expanduser()
    record = json_files.read_json(path)
    if record.get("schema") != SCHEMA:
        raise InputError(f"{path} is no result of geomclip measure: its schema is not {SCHEMA}")
    try:
        panel = _panel(record)
    except ValueError as problem:
        raise InputError(f"{path} is malformed: {problem}") from problem
    items = items_path(path)
    return panel.replace(items=read_items(items, panel)) if items.exists() else panel


def _panel(record: Mapping[str, Any], inside: str = "") -> Panel:
    """A panel from the object that `Panel.to_dict` gave."""
    attributes = from_record(record, inside)
    groups = json_files.mapped(json_files.mapped(json_files.anything))(record.get("groups", {}), f"{inside}groups")
    if groups and inside:
        raise ValueError(f"{inside}groups: a group has no groups")
    return Panel(
        **attributes,
        groups={name: _panel(group, f"groups.{name[:60]}.") for name, group in groups.items()},
    )
