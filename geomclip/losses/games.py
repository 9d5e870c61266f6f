"""The game of sentences and moments in one compiled loop: what each two are worth together beside many coalitions.

torch takes some thirty steps over tables of (coalitions, sentences, moments, moments); here a coalition's tables stay
in the cache of the processor. `geomclip.losses.interaction` has the plain form of the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]


@njit(cache=True, nogil=True)
def _shares(logits: Floats, present: Flags, powers: Floats, into: Floats) -> None:
    """Softmax of a sentence's logits over the moments that are present; 0 of the others."""
    total = 0.0
    for moment in range(len(logits)):
        into[moment] = powers[moment] if present[moment] else 0.0
        total += into[moment]
    if total == 0.0:  # nobody, or all so far below the largest that nothing is left of them
        highest = -np.inf
        for moment in range(len(logits)):
            if present[moment]:
                highest = max(highest, logits[moment])
        for moment in range(len(logits)):
            if present[moment]:
                into[moment] = np.exp(np.float64(logits[moment] - highest))
                total += into[moment]
    if total > 0.0:
        for moment in range(len(logits)):
            into[moment] /= total


@njit(cache=True, nogil=True)
def _worths(logits: Floats, powers: Floats, sentences: Flags, moments: Flags, worth: Floats, room: Floats) -> None:
    """Worth (S + 1, M + 1) of a coalition with sentence i and moment j changed; of the last ones nothing changes."""
    s, m = logits.shape
    with_sentences = 0
    for sentence in range(s):
        with_sentences += sentences[sentence]
    with_moments = 0
    for moment in range(m):
        with_moments += moments[moment]
    for changed in range(m + 1):
        if changed < m:
            moments[changed] = not moments[changed]
            count = with_moments + (1 if moments[changed] else -1)
        else:
            count = with_moments
        total = 0.0  # over the sentences that are in, of the best moment of each
        for sentence in range(s):
            _shares(logits[sentence], moments, powers[sentence], room[sentence])
            best = 0.0
            for moment in range(m):
                best = max(best, room[sentence, moment])
            room[sentence, m] = best
            if sentences[sentence]:
                total += best
        for sentence in range(s + 1):
            worth[sentence, changed] = 0.0
        for moment in range(m):
            first, second, which = 0.0, 0.0, -1
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
        for sentence in range(s + 1):
            of_sentences, number = total, with_sentences
            if sentence < s:
                sign = -1 if sentences[sentence] else 1
                of_sentences, number = total + sign * room[sentence, m], with_sentences + sign
            of_moments = worth[sentence, changed] / max(count, 1)
            worth[sentence, changed] = (of_moments + of_sentences / max(number, 1)) / 2
        if changed < m:
            moments[changed] = not moments[changed]


@njit(cache=True, nogil=True)
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
    there, here = np.empty(s, np.bool_), np.empty(m, np.bool_)
    for block in range(blocks):
        of_block = logits[block]
        for sentence in range(s):
            powers[sentence] = np.exp((of_block[sentence] - of_block[sentence].max()).astype(np.float64))
        for coalition in range(coalitions):
            there[:], here[:] = sentences[coalition, block], moments[coalition, block]
            _worths(of_block, powers, there, here, worth, room)
            for one in range(s):
                for other in range(m):
                    change = worth[one, other] - worth[one, m] - worth[s, other] + worth[s, m]
                    if there[one] != here[other]:
                        change = -change
                    found[coalition // 2, block, one, other] += change / 2
    return found
