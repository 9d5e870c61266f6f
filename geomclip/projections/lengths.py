"""Distances from rows to others of which each has its own, by a loop of numba's: no difference is written to memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from geomclip.machine.loops import compiled


@compiled("reassoc", "contract", "nsz", "nnan")
def lengths_to(rows: Any, among: Any, candidates: Any, out: Any) -> None:
    """Lengths of rows[i] − among[candidates[i, j]], into out (n, c)."""
    for i in range(len(rows)):
        for j in range(candidates.shape[1]):
            other = candidates[i, j]
            total = rows[i, 0] - rows[i, 0]  # 0 of their type
            for axis in range(rows.shape[1]):
                difference = among[other, axis] - rows[i, axis]
                total += difference * difference
            out[i, j] = np.sqrt(total)
