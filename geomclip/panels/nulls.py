"""Nulls that were simulated before, kept on disk by size."""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from geomclip.machine.errors import DamagedError, GeomclipError
from geomclip.machine.files import cache_dir
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import read_sealed, write_sealed
from geomclip.metrics.null_draws import Means


class NullCache(MutableMapping[str, Means]):
    """Simulated nulls by size, one small JSON file each under the cache folder: key to mean and error.

    A file says which key it is of, and has a sum; one that is damaged, of another key, or holds what is no finite
    number is simulated again, which a line of `progress` says. A cache that cannot be written to costs time, not
    results.
    """

    def __init__(self, explicit: str | Path | None = None, *, progress: Progress = SILENT) -> None:
        self.folder = cache_dir(explicit) / "nulls"
        self.progress = progress

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def __getitem__(self, key: str) -> Means:
        try:
            kept = read_sealed(self._file(key))
            if kept.get("key") != key:
                raise DamagedError(f"{self._file(key)} is of {str(kept.get('key'))[:60]}")
            return {str(name): (float(mean), float(error)) for name, (mean, error) in kept["nulls"].items()}
        except (DamagedError, ValueError, TypeError, KeyError, AttributeError) as problem:
            reason = problem if isinstance(problem, DamagedError) else f"{self._file(key)} holds no nulls"
            self.progress.log(f"{reason}; simulated again")
            raise KeyError(key) from None
        except OSError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Means) -> None:
        if not all(map(math.isfinite, (number for pair in value.values() for number in pair))):
            return
        try:
            write_sealed(self._file(key), {"key": key, "nulls": {name: list(pair) for name, pair in value.items()}})
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
