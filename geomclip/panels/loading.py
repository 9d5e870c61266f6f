"""Results back from disk: files may come from others, and are judged before they become a panel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine import json_files
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import DamagedError, InputError
from geomclip.machine.sums import check_sum, file_sha256, unsealed
from geomclip.panels import peers
from geomclip.panels.fields import SCHEMA, from_record
from geomclip.panels.files import ITEMS_SUM, items_path
from geomclip.panels.items import read_items
from geomclip.panels.record import Panel

EARLIER = "its intervals are those of an earlier version, and too narrow for some numbers: measure again"
TURNED = "turned ends, earlier version"


def load(path: str | Path) -> Panel:
    """The panel that `measure --out` (or `Panel.save`) wrote to `path`, with its items if they lie beside it.

    Files may come from others: sizes are bounded, every field is checked, and the items must give the numbers. A
    result of a version that made intervals in other ways is read with a warning, without those whose ends are turned.
    What the sums in it say is compared; one without sums, of an earlier version or another tool, is read too.

    A result of CLIP_benchmark, a row of the table of its `build` (`FILE.csv`, or `FILE.csv:ROW` of several) and a
    result of a task of MTEB give the numbers that have a counterpart here, without intervals.

    Raises
    ------
    InputError
        If a file is absent, damaged (a DamagedError where a sum says so), no result, or too large, or the items are
        not those of the result.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(Panel({"alignment": 0.5}, n_images=4, n_texts=4).save(Path(folder) / "r.json"))["alignment"]
    0.5
    """
    if peers.is_table(path):
        return peers.read_table(path)
    path = Path(path).expanduser()
    record = json_files.read_json(path, may_have_nan=peers.is_peers)
    if peers.is_peers(record):
        return peers.read_record(record, path)
    if record.get("schema") != SCHEMA:
        others = "and it is none of CLIP_benchmark or MTEB"
        raise InputError(f"{path} is no result of geomclip measure: its schema is not {SCHEMA}, {others}")
    try:
        panel = _panel(unsealed(record))
    except ValueError as problem:
        raise InputError(f"{path} is malformed: {problem}") from problem
    items = items_path(path)
    if items.exists():
        panel = panel.replace(items=read_items(items, panel))
        _check_items(record, items)
    # last: what a field says of itself is worth more than that some field was changed
    check_sum(record, path, "measure again, or put back a copy")
    return panel


def _check_items(record: Mapping[str, Any], items: Path) -> None:
    """DamagedError if the items are not the bytes that the result was written with."""
    try:
        if ITEMS_SUM not in record or file_sha256(items) == record[ITEMS_SUM]:
            return
    except OSError as problem:
        raise unreadable(items, problem) from problem
    raise DamagedError(
        f"{items} is damaged, or of another result: its sha256 is not the one in the JSON: measure again, or take it "
        "away to go without items"
    )


def _panel(record: Mapping[str, Any], inside: str = "") -> Panel:
    """A panel from the object that `Panel.to_dict` gave."""
    earlier = _is_earlier(record)
    attributes = from_record(_without_turned(record) if earlier else record, inside)
    if earlier and not inside:
        attributes["warnings"] = [*attributes.get("warnings", ()), EARLIER]
    groups = json_files.mapped(json_files.mapped(json_files.anything))(record.get("groups", {}), f"{inside}groups")
    if groups and inside:
        raise ValueError(f"{inside}groups: a group has no groups")
    return Panel(
        **attributes,
        groups={name: _panel(group, f"groups.{name[:60]}.") for name, group in groups.items()},
    )


def _is_earlier(record: Mapping[str, Any]) -> bool:
    """Whether a record has intervals and does not say how they were made, as every version now does."""
    params = record.get("params", {})
    return bool(record.get("ci")) and isinstance(params, dict) and "intervals" not in params


def _without_turned(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record without intervals whose ends are turned, which say so; what is no interval stays, to be refused."""
    ci, reasons = record["ci"], record.get("no_interval", {})
    if not isinstance(ci, dict) or not isinstance(reasons, dict):
        return record
    turned = [key for key, ends in ci.items() if _is_turned(ends)]
    kept = {key: ends for key, ends in ci.items() if key not in turned}
    return {**record, "ci": kept, "no_interval": {**reasons, **dict.fromkeys(turned, TURNED)}}


def _is_turned(ends: Any) -> bool:
    if not isinstance(ends, list) or len(ends) != 2 or not all(type(end) in (int, float) for end in ends):
        return False
    return bool(ends[0] > ends[1])
