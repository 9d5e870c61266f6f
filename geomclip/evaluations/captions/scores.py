"""Scores of captions against references: BLEU, ROUGE-L and CIDEr-D as the COCO caption server has them, in float64.

A caption and a reference are lists of words, as `tokens` makes them; each image has a caption, and a reference or more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = Sequence[str]
NGram = tuple[str, ...]
Array = NDArray[np.float64]

LONGEST = 4
"""Words of the longest n-grams that are counted."""
BETA = 1.2
"""How much more recall weighs than precision in ROUGE-L, as COCO has it."""
SIGMA = 6.0
"""Words by which a caption may be longer or shorter before CIDEr-D falls to 0.61 of itself."""
TINY, SMALL = 1e-15, 1e-9
"""What COCO's code adds above and below, so that nothing is divided by 0."""


@dataclass(frozen=True)
class Bleu:
    """BLEU-1 to BLEU-4 of all captions together, and what each caption moves them by.

    Papineni et al. (2002), "BLEU: a method for automatic evaluation of machine translation": the geometric mean of the
    shares of n-grams that are in a reference, times exp(1 - r/c) where the captions' c words are fewer than the r of
    the references nearest in length.
    """

    values: tuple[float, ...]
    influences: tuple[Array, ...]  # each (n,): its squares add up to the variance
    matched: tuple[int, ...]  # n-grams that are in a reference, by their length


def ngrams(words: Words, longest: int = LONGEST) -> Counter[NGram]:
    """How often each run of 1 to `longest` words is there."""
    return Counter(
        tuple(words[start : start + size]) for size in range(1, longest + 1) for start in range(len(words) - size + 1)
    )


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Bleu:
    """BLEU-1 to BLEU-4 of the captions together.

    Examples
    --------
    >>> round(bleu([["a", "dog", "runs"]], [[["a", "dog", "sits"]]]).values[0], 6)
    0.666667
    """
    rows = np.array([_counted(*each) for each in zip(captions, references, strict=True)], dtype=np.float64)
    right, there, length, nearest = rows[:, :LONGEST], rows[:, LONGEST : 2 * LONGEST], rows[:, -2], rows[:, -1]
    sums, of_all = right.sum(axis=0) + TINY, there.sum(axis=0) + SMALL
    c, r = length.sum() + TINY, nearest.sum() + SMALL
    brevity = min(1.0, math.exp(1 - r / c))
    values, influences = [], []
    moved = np.zeros(len(rows))  # of the logarithm of the product of precisions
    for size in range(LONGEST):
        moved = moved + right[:, size] / sums[size] - there[:, size] / of_all[size]
        value = float(np.prod(sums[: size + 1] / of_all[: size + 1])) ** (1 / (size + 1)) * brevity
        short = (length * r / c - nearest) / c if c < r else 0.0
        values.append(value)
        influences.append(value * (moved / (size + 1) + short) * _without_bias(len(rows)))
    return Bleu(tuple(values), tuple(influences), tuple(int(each) for each in right.sum(axis=0)))


def _counted(caption: Words, references: Sequence[Words]) -> list[int]:
    """Of a caption: n-grams that are in a reference (at most as often), n-grams, words, words of the nearest length."""
    most: Counter[NGram] = Counter()
    for reference in references:
        most |= ngrams(reference)
    right = [0] * LONGEST
    for ngram, count in ngrams(caption).items():
        right[len(ngram) - 1] += min(count, most[ngram])
    there = [max(0, len(caption) - size) for size in range(LONGEST)]
    nearest = min((abs(len(each) - len(caption)), len(each)) for each in references)[1]
    return [*right, *there, len(caption), nearest]


def _without_bias(n: int) -> float:
    return math.sqrt(n / max(n - 1, 1))


def rouge_l(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Array:
    """ROUGE-L of each caption (n,): F of the longest common sequence, best precision and recall over references.

    Lin (2004), "ROUGE: a package for automatic evaluation of summaries", with beta 1.2.

    Examples
    --------
    >>> [round(float(each), 6) for each in rouge_l([["a", "dog", "runs"]], [[["a", "dog", "sits"]]])]
    [0.666667]
    """
    return np.array([_rouge_l(*each) for each in zip(captions, references, strict=True)], dtype=np.float64)


def _rouge_l(caption: Words, references: Sequence[Words]) -> float:
    common = [(longest_common(caption, each), len(each)) for each in references]
    precision = max(length / max(len(caption), 1) for length, _ in common)
    recall = max(length / max(words, 1) for length, words in common)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(one: Words, other: Words) -> int:
    """Words of the longest sequence that both have in this order, gaps allowed.

    Examples
    --------
    >>> longest_common("a b c d".split(), "b x d".split())
    2
    """
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for place, each in enumerate(other):
            row.append(before[place] + 1 if word == each else max(row[place], before[place + 1]))
    return row[-1]


class CiderD:
    """CIDEr-D against the references of a set, whose n-grams are weighed by in how many images' references they are.

    Vedantam et al. (2015), "CIDEr: consensus-based image description evaluation": 10 times the mean over n-gram lengths
    and references of the cosine of tf-idf vectors, counts clipped at the reference's, times
    exp(-(difference of lengths)² / 2σ²). Of one image the weight log(1/1) of every n-gram is 0: undefined.

    Parameters
    ----------
    references : sequence of sequences of words
        Of at least two images.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """

    def __init__(self, references: Sequence[Sequence[Words]]) -> None:
        if len(references) < 2:
            raise ValueError("CIDEr-D is undefined of fewer than two images: every n-gram would weigh nothing")
        self._log_n = math.log(len(references))
        counted = [[ngrams(each) for each in of_image] for of_image in references]
        self.frequency: Counter[NGram] = Counter()
        for of_image in counted:
            self.frequency.update(set().union(*of_image))
        self._references = [[self._weighed(each) for each in of_image] for of_image in counted]

    def __call__(self, captions: Sequence[Words]) -> Array:
        """The score of a caption of each image (n,), 0 to 10."""
        found = []
        for caption, references in zip(captions, self._references, strict=True):
            own = self._weighed(ngrams(caption))
            found.append(float(np.mean([self._similarity(own, each) for each in references])))
        return 10 * np.array(found, dtype=np.float64)

    def _weighed(self, counts: Counter[NGram]) -> tuple[list[dict[NGram, float]], list[float], int]:
        """Weights by length of n-gram, their norms, and the number of bigrams, COCO's length of a caption."""
        weights: list[dict[NGram, float]] = [{} for _ in range(LONGEST)]
        for ngram, count in counts.items():
            weights[len(ngram) - 1][ngram] = count * (self._log_n - math.log(max(1, self.frequency[ngram])))
        norms = [math.sqrt(sum(weight**2 for weight in each.values())) for each in weights]
        return weights, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2)

    @staticmethod
    def _similarity(
        own: tuple[list[dict[NGram, float]], list[float], int], other: tuple[list[dict[NGram, float]], list[float], int]
    ) -> float:
        total = 0.0
        for one, two, of_one, of_two in zip(own[0], other[0], own[1], other[1], strict=True):
            if of_one and of_two:
                shared = sum(min(weight, two[ngram]) * two[ngram] for ngram, weight in one.items() if ngram in two)
                total += shared / (of_one * of_two)
        return total / LONGEST * math.exp(-((own[2] - other[2]) ** 2) / (2 * SIGMA**2))
