"""The inner loops of the folds, compiled: each takes some rows or some columns of a block into a fold's state.

torch needs several passes over a block for a fold, and a temporary for each; a loop needs one and none. numba
compiles the loops once a machine (`cache=True`) and frees the interpreter's lock while they run, so that threads
take blocks side by side. The `update` of each fold is the plain reference of the same result.

A block `s` is float32 (texts, images); an entry of -inf is hidden and adds nothing. `*_rows` are what texts learn
from their scores, `*_columns` what images do; all stand in one file, so that the two can be read side by side. Sums run
in float32 over some dozen entries, then in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from geomclip.machine import loops

Kernel = TypeVar("Kernel", bound=Callable[..., None])

# No NaN ever comes here and the order of a sum is free, which lets the loops be vectorised; infinities do come.
RULES = {"reassoc", "contract", "nsz", "nnan"}

TILE = 32
"""Rows that a float32 sum of a column runs over."""

CHUNK = 64
"""Entries that are looked at together for one that enters the k best."""

LOG2E = np.float32(np.log2(np.e))
LN2_HIGH = np.float32(0.693359375)  # few bits: its product with a whole number up to 127 is exact
LN2_LOW = np.float32(np.log(2) - 0.693359375)
LOWEST = np.float32(-87.0)  # exp of less leaves the normal float32
TAYLOR = tuple(np.float32(1 / k) for k in (5040, 720, 120, 24, 6, 2, 1, 1))
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
NOTHING = np.float32(-np.inf)

BLOCK = types.Array(types.float32, 2, "C", readonly=True)
FLOATS, DOUBLES = types.float32[::1], types.float64[::1]
WHOLE, PLACES = types.int64[::1], types.Array(types.int64, 1, "C", readonly=True)
SINGLES, EXACT = (types.Array(kind, 1, "C", readonly=True) for kind in (types.float32, types.float64))
NUMBER = types.int64


def compiled(*arguments: Any) -> Callable[[Kernel], Kernel]:
    """A decorator: compiled, or read from the cache, when this module is imported, so that nobody waits later."""
    return loops.compiled(*RULES, signature=types.void(*arguments))


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 whose bits are those of an int32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


_float_of: Any = intrinsic(_float_of_bits)  # the context is numba's to give


@njit(inline="always", fastmath=RULES)
def _exp(x: Any) -> Any:
    """Exponential of a float32 up to 88, to 4e-7 of its size; 0 below -87. One that LLVM can vectorise."""
    y = x if x > LOWEST else LOWEST
    power = np.floor(y * LOG2E + HALF)
    rest = (y - power * LN2_HIGH) - power * LN2_LOW  # |rest| <= ln(2)/2: the series ends at 1e-8
    series = TAYLOR[0]
    for k in range(1, 8):
        series = series * rest + TAYLOR[k]
    value = series * _float_of((np.int32(power) + np.int32(127)) << np.int32(23))
    return value if x > LOWEST else ZERO


@compiled(BLOCK, types.float64, DOUBLES)
def gaussian_rows(s: Any, slope: float, total: Any) -> None:
    """Add the sums of exp(slope (s - 1)) along rows to total (texts,)."""
    steep = np.float32(slope)
    for row in range(len(s)):
        line = s[row]
        mass = ZERO
        for column in range(len(line)):
            mass += _exp(steep * (line[column] - ONE))
        total[row] += mass


@compiled(BLOCK, types.float64, DOUBLES)
def gaussian_columns(s: Any, slope: float, total: Any) -> None:
    """Add the sums of exp(slope (s - 1)) along columns to total (images,)."""
    steep = np.float32(slope)
    mass = np.empty(s.shape[1], np.float32)
    for first in range(0, len(s), TILE):
        mass[:] = ZERO
        for row in range(first, min(first + TILE, len(s))):
            line = s[row]
            for column in range(len(mass)):
                mass[column] += _exp(steep * (line[column] - ONE))
        for column in range(len(mass)):
            total[column] += mass[column]


@njit(inline="always", fastmath=RULES)
def _largest(line: Any, lanes: Any) -> Any:
    """The largest entry of a line: `lanes` (CHUNK,) takes the largest of every CHUNK-th, which can be vectorised."""
    lanes[:] = NOTHING
    whole = len(line) // CHUNK * CHUNK
    for begin in range(0, whole, CHUNK):
        for lane in range(CHUNK):
            lanes[lane] = max(lanes[lane], line[begin + lane])
    top = NOTHING
    for lane in range(CHUNK):
        top = max(top, lanes[lane])
    for column in range(whole, len(line)):
        top = max(top, line[column])
    return top


@compiled(BLOCK, FLOATS)
def largest_rows(s: Any, best: Any) -> None:
    """Raise best (texts,) to the largest of each row."""
    lanes = np.empty(CHUNK, np.float32)
    for row in range(len(s)):
        best[row] = max(best[row], _largest(s[row], lanes))


@compiled(BLOCK, FLOATS)
def largest_columns(s: Any, best: Any) -> None:
    """Raise best (images,) to the largest of each column."""
    for row in range(len(s)):
        line = s[row]
        for column in range(len(best)):
            best[column] = max(best[column], line[column])


@njit(inline="always")
def _exact(text: Any, image: Any) -> Any:
    """Score of two rows in float64."""
    score = 0.0
    for k in range(len(text)):
        score += np.float64(text[k]) * np.float64(image[k])
    return score


@compiled(BLOCK, SINGLES, SINGLES, EXACT, BLOCK, BLOCK, WHOLE)
def reached_rows(s: Any, maybe: Any, surely: Any, threshold: Any, text: Any, image: Any, count: Any) -> None:
    """Add to count (texts,) the entries of each row that reach its threshold; of those between `maybe` and `surely`,
    which float32 cannot tell, the score of the rows of text (texts, d) and image (images, d) decides."""
    for row in range(len(s)):
        line, least, most = s[row], maybe[row], surely[row]
        close, sure = np.int32(0), np.int32(0)
        for column in range(len(line)):
            close += np.int32(line[column] >= least)
            sure += np.int32(line[column] >= most)
        count[row] += sure
        if close != sure:
            for column in range(len(line)):
                if least <= line[column] < most:
                    count[row] += _exact(text[row], image[column]) >= threshold[row]


@compiled(BLOCK, SINGLES, SINGLES, EXACT, BLOCK, BLOCK, WHOLE)
def reached_columns(s: Any, maybe: Any, surely: Any, threshold: Any, text: Any, image: Any, count: Any) -> None:
    """The same along columns, thresholds and count (images,); a threshold of -inf is no query and counts anything."""
    close, sure = np.zeros(s.shape[1], np.int32), np.zeros(s.shape[1], np.int32)
    for row in range(len(s)):
        line = s[row]
        for column in range(len(line)):
            close[column] += np.int32(line[column] >= maybe[column])
            sure[column] += np.int32(line[column] >= surely[column])
    for column in range(len(sure)):
        count[column] += sure[column]
        if close[column] != sure[column]:
            for row in range(len(s)):
                if maybe[column] <= s[row, column] < surely[column]:
                    count[column] += _exact(text[row], image[column]) >= threshold[column]


@compiled(BLOCK, types.float64, types.boolean, DOUBLES, DOUBLES, DOUBLES)
def masses_rows(s: Any, scale: float, squares: bool, top: Any, total: Any, square: Any) -> None:
    """Softmax masses along rows relative to the running largest score `top`: total, and square (of p²), (texts,)."""
    slope = np.float32(scale)
    lanes = np.empty(CHUNK, np.float32)
    for row in range(len(s)):
        line = s[row]
        most = max(np.float32(top[row]), _largest(line, lanes))
        if most == NOTHING:
            continue
        shrink = np.exp(scale * (top[row] - most))
        mass, second = ZERO, ZERO
        if squares:
            for column in range(len(line)):
                weight = _exp(slope * (line[column] - most))
                mass += weight
                second += weight * weight
        else:
            for column in range(len(line)):
                mass += _exp(slope * (line[column] - most))
        top[row] = most
        total[row] = total[row] * shrink + mass
        square[row] = square[row] * shrink * shrink + second


@compiled(BLOCK, types.float64, types.boolean, PLACES, DOUBLES, DOUBLES, DOUBLES, DOUBLES)
def masses_columns(
    s: Any, scale: float, squares: bool, group: Any, top: Any, total: Any, square: Any, best: Any
) -> None:
    """The same along columns, where the rows of a group (texts of one image, which are neighbours) are one class;
    best (images,) rises to the logarithm of the largest class, scale * score."""
    width = s.shape[1]
    slope = np.float32(scale)
    most = np.empty(width, np.float32)
    for column in range(width):
        most[column] = top[column]
    largest_columns(s, most)
    for column in range(width):
        if most[column] != NOTHING:
            shrink = np.exp(scale * (top[column] - most[column]))
            total[column] *= shrink
            square[column] *= shrink * shrink
            top[column] = most[column]
        else:
            most[column] = ZERO
    mass, largest = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for row in range(len(s)):
        line = s[row]
        for column in range(width):
            mass[column] += _exp(slope * (line[column] - most[column]))
        if row + 1 == len(s) or group[row + 1] != group[row]:
            for column in range(width):
                total[column] += mass[column]
                largest[column] = max(largest[column], mass[column])
            if squares:
                for column in range(width):
                    square[column] += mass[column] * mass[column]
            mass[:] = ZERO
    for column in range(width):
        if largest[column] > ZERO:
            best[column] = max(best[column], np.log(largest[column]) + scale * most[column])


@njit(inline="always")
def _enter(value: Any, place: int, score: Any, index: Any) -> None:
    """Put a value that is better than the last of the k best, score (k,) best first, where it belongs."""
    rank = len(score) - 1
    while rank > 0 and score[rank - 1] < value:
        score[rank] = score[rank - 1]
        index[rank] = index[rank - 1]
        rank -= 1
    score[rank] = value
    index[rank] = place


@compiled(BLOCK, NUMBER, types.float32[:, ::1], types.int64[:, ::1])
def nearest_rows(s: Any, first: int, score: Any, index: Any) -> None:
    """Keep the k best of each row, score and index (texts, k); the block's columns are first, first + 1, ..."""
    last = score.shape[1] - 1
    whole = s.shape[1] // CHUNK * CHUNK
    for row in range(len(s)):
        line, worst = s[row], score[row, last]
        for begin in range(0, whole, CHUNK):
            better = np.int32(0)
            for column in range(begin, begin + CHUNK):
                better += np.int32(line[column] > worst)
            if better:
                for column in range(begin, begin + CHUNK):
                    if line[column] > worst:
                        _enter(line[column], first + column, score[row], index[row])
                        worst = score[row, last]
        for column in range(whole, len(line)):
            if line[column] > worst:
                _enter(line[column], first + column, score[row], index[row])
                worst = score[row, last]


@compiled(BLOCK, NUMBER, types.float32[:, ::1], types.int64[:, ::1])
def nearest_columns(s: Any, first: int, score: Any, index: Any) -> None:
    """The same along columns, score and index (images, k); the block's rows are first, first + 1, ..."""
    last = score.shape[1] - 1
    worst = score[:, last].copy()
    whole = s.shape[1] // CHUNK * CHUNK
    for row in range(len(s)):
        line = s[row]
        for begin in range(0, whole, CHUNK):
            better = np.int32(0)
            for column in range(begin, begin + CHUNK):
                better += np.int32(line[column] > worst[column])
            if better:
                for column in range(begin, begin + CHUNK):
                    if line[column] > worst[column]:
                        _enter(line[column], first + row, score[column], index[column])
                        worst[column] = score[column, last]
        for column in range(whole, len(line)):
            if line[column] > worst[column]:
                _enter(line[column], first + row, score[column], index[column])
                worst[column] = score[column, last]
