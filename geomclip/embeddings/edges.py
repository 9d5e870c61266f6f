"""Edges of graphs of nearest neighbours of many small clouds, in one compiled loop.

torch makes a mask, a list and two gathered tables of rows on the way, which cost more than the products themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.loops import compiled


@compiled("reassoc", "contract", "nsz")
def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The squared distance of two rows; its sums in any order, so that they are vectorised."""
    total = one[0] * 0
    for place in range(len(one)):
        difference = one[place] - other[place]
        total += difference * difference
    return total


@compiled()
def _least_kept(cosines: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """The k-th largest number of each row: (n,)."""
    n = len(cosines)
    least = np.empty(n, cosines.dtype)
    best = np.empty(k, cosines.dtype)
    for row in range(n):
        best[:] = -np.inf
        for column in range(n):
            value = cosines[row, column]
            if value > best[0]:  # the smallest so far
                place = 0
                while place + 1 < k and best[place + 1] < value:
                    best[place] = best[place + 1]
                    place += 1
                best[place] = value
        least[row] = best[0]
    return least


@compiled()
def _longer(array: NDArray[np.generic], room: int) -> NDArray[np.generic]:
    longer = np.empty(room, array.dtype)
    longer[: len(array)] = array
    return longer


@compiled()
def joined(
    rows: NDArray[np.float32], cosines: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Which rows of each cloud are joined, each pair once, and the angle between them.

    Two are joined if the cosine of one with the other is at least its k-th largest.

    Parameters
    ----------
    rows : ndarray of shape (B, n, d)
    cosines : ndarray of shape (B, n, n)
        With −∞ on the diagonals.
    k : int
        At most n − 1.

    Returns
    -------
    two ndarrays of shape (edges,), and one of angles
        Row i of cloud b is number b · n + i.
    """
    clouds, n = rows.shape[:2]
    room = clouds * n * k
    first, second, angles = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float64)
    count = 0
    for cloud in range(clouds):
        least = _least_kept(cosines[cloud], k)
        turned = cosines[cloud].T.copy()
        for one in range(n):
            if count + n > room:  # of equally near ones all are joined: more than k a row
                room = 2 * room + n
                first, second, angles = _longer(first, room), _longer(second, room), _longer(angles, room)
            there, back = cosines[cloud, one], turned[one]
            for other in range(one + 1, n):
                if (there[other] >= least[one]) | (back[other] >= least[other]):
                    first[count], second[count] = cloud * n + one, cloud * n + other
                    count += 1
    flat = rows.reshape(clouds * n, rows.shape[2])
    for edge in range(count):
        half = np.sqrt(np.float64(_apart(flat[first[edge]], flat[second[edge]]))) / 2
        angles[edge] = 2 * np.arcsin(min(half, 1.0))  # of the chord: exact for near ones, as acos is not
    return first[:count], second[:count], angles[:count]
