"""Nulls that were simulated before, kept on disk by size."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from geomclip.machine import regular
from geomclip.machine.errors import GeomclipError
from geomclip.machine.files import atomic_json, cache_dir
from geomclip.metrics.null_draws import Means


class NullCache(MutableMapping[str, Means]):
    """Simulated nulls by size, one small JSON file each under the cache folder: key to mean and error.

    A cache that cannot be written to costs time, not results: the nulls are simulated again.
    """

    def __init__(self, explicit: str | Path | None = None) -> None:
        self.folder = cache_dir(explicit) / "nulls"

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def __getitem__(self, key: str) -> Means:
        try:
            kept = json.loads(regular.read(self._file(key), "json-bytes"))
            return {str(name): (float(mean), float(error)) for name, (mean, error) in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Means) -> None:
        try:
            atomic_json(self._file(key), {name: list(pair) for name, pair in value.items()})
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
