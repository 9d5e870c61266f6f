"""Results on disk: the panel as JSON with its items beside it, and the nulls that were simulated before."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.cache import atomic_bytes, atomic_json, cache_dir
from geomclip.errors import GeomclipError

if TYPE_CHECKING:
    from geomclip.panel import Panel


def save(panel: Panel, path: str | Path) -> Path:
    """Write `path` (JSON) and, beside it, the items of the panel; each whole or not at all.

    The items of `r.json` are `r.items.parquet`: a row an image and a row a text (column `kind`), with ids,
    ranks, confidences, and in `sum.*` what each image adds to every number.

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
    atomic_bytes(items_path(path), _parquet(panel.items))
    atomic_json(path, panel.to_dict())
    return path


def items_path(path: Path) -> Path:
    """Where the items of a result lie: `r.json` has `r.items.parquet`."""
    return path.with_name(f"{path.name.removesuffix('.json')}.items.parquet")


def _parquet(items: Mapping[str, Mapping[str, Sequence[Any]]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    tables = []
    for kind, columns in items.items():
        if columns:
            table = pyarrow.table({name: list(column) for name, column in columns.items()})
            tables.append(table.add_column(0, "kind", [[kind] * len(table)]))
    joined = pyarrow.concat_tables(tables, promote_options="permissive")
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(joined, buffer, compression="zstd")
    return buffer.getvalue()


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
