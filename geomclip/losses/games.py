"""The game of sentences and moments in one compiled loop: what each two are worth together beside many coalitions.

torch takes some thirty steps over tables of (coalitions, sentences, moments, moments); here a coalition's tables stay
in the cache of the processor. `geomclip.losses.interaction` has the plain form of the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.loops import compiled

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

SMALLEST = 1e-200
"""A sum of powers below it has lost figures, and its inverse may overflow."""


@compiled()
def _shares(logits: Floats, powers: Floats, row: int, listed: Numbers, count: int, into: Floats) -> float:
    """Softmax of a sentence's logits over the moments that are listed; gives the largest."""
    total = 0.0
    for place in range(count):
        total += powers[row, listed[place]]
    if total > SMALLEST:
        inverse, best = 1.0 / total, 0.0
        for place in range(count):
            share = powers[row, listed[place]] * inverse
            into[row, listed[place]] = share
            best = max(best, share)
        return best
    if count == 0:
        return 0.0
    total, highest = 0.0, -np.inf  # all are so far below the largest of all that nothing is left of them
    for place in range(count):
        highest = max(highest, logits[row, listed[place]])
    for place in range(count):
        into[row, listed[place]] = np.exp(np.float64(logits[row, listed[place]] - highest))
        total += into[row, listed[place]]
    for place in range(count):
        into[row, listed[place]] /= total
    return 1.0 / total


@compiled()
def _worths(
    logits: Floats, powers: Floats, sentences: Flags, moments: Flags, worth: Floats, room: Floats, listed: Numbers
) -> None:
    """Worth (S + 1, M + 1) of a coalition with sentence i and moment j changed; of the last ones nothing changes."""
    s, m = logits.shape
    number = 0
    for sentence in range(s):
        number += sentences[sentence]
    for changed in range(m + 1):
        count = 0
        for moment in range(m):
            if moments[moment] != (moment == changed):
                listed[count] = moment
                count += 1
        total = 0.0  # over the sentences that are in, of the best moment of each
        for sentence in range(s):
            best = _shares(logits, powers, sentence, listed, count, room)
            room[sentence, m] = best
            if sentences[sentence]:
                total += best
        for sentence in range(s + 1):
            worth[sentence, changed] = 0.0
        for place in range(count):
            moment, first, second, which = listed[place], 0.0, 0.0, -1
            for sentence in range(s):
                if sentences[sentence]:
                    share = room[sentence, moment]
                    if share > first:
                        first, second, which = share, first, sentence
                    elif share > second:
                        second = share
            for sentence in range(s):
                if not sentences[sentence]:
                    worth[sentence, changed] += max(first, room[sentence, moment])
                else:
                    worth[sentence, changed] += second if sentence == which else first
            worth[s, changed] += first
        of_moments = 1.0 / max(count, 1)
        for sentence in range(s + 1):
            of_sentences, there = total, number
            if sentence < s:
                sign = -1 if sentences[sentence] else 1
                of_sentences, there = total + sign * room[sentence, m], number + sign
            worth[sentence, changed] = (worth[sentence, changed] * of_moments + of_sentences / max(there, 1)) / 2


@compiled()
def mixed_differences(logits: Floats, sentences: Flags, moments: Flags) -> Floats:
    """v(+i+j) − v(+i−j) − v(−i+j) + v(−i−j) of each sentence i and moment j, beside each coalition.

    Parameters
    ----------
    logits : ndarray of shape (B, S, M)
    sentences : ndarray of shape (K, B, S), bool
        Who is in, of each coalition of each block; K is even.
    moments : ndarray of shape (K, B, M), bool

    Returns
    -------
    ndarray of shape (K / 2, B, S, M), in the type of the logits
        Means over a coalition and the next.
    """
    coalitions, blocks = sentences.shape[:2]
    s, m = logits.shape[1:]
    found = np.zeros((coalitions // 2, blocks, s, m), logits.dtype)
    powers, worth, room = np.empty((s, m)), np.empty((s + 1, m + 1)), np.empty((s, m + 1))
    there, here, listed = np.empty(s, np.bool_), np.empty(m, np.bool_), np.empty(m, np.int64)
    for block in range(blocks):
        of_block = logits[block]
        for sentence in range(s):
            powers[sentence] = np.exp((of_block[sentence] - of_block[sentence].max()).astype(np.float64))
        for coalition in range(coalitions):
            there[:], here[:] = sentences[coalition, block], moments[coalition, block]
            _worths(of_block, powers, there, here, worth, room, listed)
            for one in range(s):
                for other in range(m):
                    change = worth[one, other] - worth[one, m] - worth[s, other] + worth[s, m]
                    if there[one] != here[other]:
                        change = -change
                    found[coalition // 2, block, one, other] += change / 2
    return found
