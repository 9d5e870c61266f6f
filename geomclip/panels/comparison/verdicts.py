"""Verdicts: which differences are called better or worse, so that a table of two equal sides rarely has such a word.

A few primary keys are named before anyone looks, and their p-values are corrected among themselves (Holm 1979).
The other keys that may be judged share the correction of Benjamini and Hochberg (1995).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from geomclip.machine.words import near, option
from geomclip.metrics import evaluated
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.comparison.record import Row
from geomclip.panels.gates import SURE
from geomclip.panels.record import Panel

PRIMARY = ("text_retrieval_recall@1", "image_retrieval_recall@1", "zeroshot_acc1", *evaluated.PRIMARY)
"""The primary keys of whoever names none: of pairs the first two, of classes the third, then of evaluations."""
HITS = {
    "text_retrieval": "text_retrieval_recall@1",
    "image_retrieval": "image_retrieval_recall@1",
    "zeroshot": "zeroshot_acc1",
}
"""Of each kind of queries: the share that is answered right."""
CALIBRATION_ERRORS = ("ece", "mce", "ace", "smece", "ece_debiased", "ece_calibrated", "classwise_ece")
"""Distances of confidence and accuracy: small too for an encoder that knows nothing and says so."""


def is_judged(key: str) -> bool:
    """Whether a change of this key can be better or worse."""
    return key in KNOWN and KNOWN[key].judged


def primary_keys(primary: str | Sequence[str] | None, *, known: Iterable[str] | None = None) -> tuple[str, ...]:
    """The primary keys: those named, as a list or with commas between, else the usual ones, as far as known.

    Parameters
    ----------
    primary : str or sequence of str, optional
    known : keys, optional
        What there is to compare; left out: any key.

    Raises
    ------
    ValueError
        If one that is named is not known (the nearest are named), or can be neither better nor worse.

    Examples
    --------
    >>> primary_keys("alignment, zeroshot_acc1"), primary_keys(None, known=["alignment", "zeroshot_acc1"])
    (('alignment', 'zeroshot_acc1'), ('zeroshot_acc1',))
    """
    there = list(KNOWN if known is None else known)
    if not primary:
        return tuple(key for key in PRIMARY if key in there)
    words = [primary] if isinstance(primary, str) else primary
    keys = tuple(dict.fromkeys(key for word in words for key in word.replace(",", " ").split()))
    if not keys:
        raise ValueError(f"{option('primary')} names no key; left out it is {', '.join(PRIMARY)}")
    for key in keys:
        if key not in there:
            close = near(key, filter(is_judged, there))
            nearest = f"; nearest: {', '.join(close)}" if close else ""
            raise ValueError(f"{option('primary', key)}: not among the numbers compared{nearest}")
        if not is_judged(key):
            raise ValueError(f"{option('primary', key)}: a change of it is neither better nor worse, so no verdict")
    return keys


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: below 0.05 for any that is true with a probability of at most 0.05, however many there are.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    raised = accumulate((min(1.0, (len(p) - place) * p[each]) for place, each in enumerate(order)), max)
    return _placed(order, raised)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """q-values: of those below 0.05 at most 5 % are expected to be false.

    References
    ----------
    Benjamini and Hochberg (1995), "Controlling the false discovery rate: a practical and powerful approach to
    multiple testing", Journal of the Royal Statistical Society B 57(1).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    order = sorted(range(len(p)), key=p.__getitem__, reverse=True)
    lowered = accumulate((min(1.0, len(p) / (len(p) - place) * p[each]) for place, each in enumerate(order)), min)
    return _placed(order, lowered)


def _placed(order: Sequence[int], values: Iterable[float]) -> list[float]:
    """Values in the order that their places give."""
    return [value for _, value in sorted(zip(order, values, strict=True))]


def corrected(tables: Sequence[Mapping[str, Row]], primary: Sequence[Collection[str]]) -> list[dict[str, float]]:
    """Of each table of rows the q of its keys, corrected over all tables: primary keys by Holm, the others by BH.

    Examples
    --------
    >>> rows = {"alignment": Row(1, 2, 1, p=0.01), "text_retrieval_recall@1": Row(1, 2, 1, p=0.04)}
    >>> corrected([rows], [["alignment"]]), corrected([rows, rows], [["alignment"], ["alignment"]])[1]["alignment"]
    ([{'alignment': 0.01, 'text_retrieval_recall@1': 0.04}], 0.02)
    """
    found: list[dict[str, float]] = [{} for _ in tables]
    families: tuple[dict[tuple[int, str], float], dict[tuple[int, str], float]] = ({}, {})
    for place, (rows, first) in enumerate(zip(tables, primary, strict=True)):
        for key, row in rows.items():
            if row.p is not None and (key in first or is_judged(key)):
                families[key not in first][place, key] = row.p
    for p, correct in zip(families, (holm, benjamini_hochberg), strict=True):
        for (place, key), q in zip(p, correct(list(p.values())), strict=True):
            found[place][key] = q
    return found


def judged(
    rows: Mapping[str, Row],
    primary: Iterable[str],
    *,
    withheld: Collection[str] = (),
    alike: Collection[str] = (),
    q: Mapping[str, float] | None = None,
) -> dict[str, Row]:
    """The rows with q and verdict.

    Parameters
    ----------
    rows : mapping of key to Row
    primary : keys
        Those that are not among the rows are passed over.
    withheld : keys
        Those that may not be called better.
    alike : keys
        Those that moved alike with every image, so that nothing says how sure their change is.
    q : mapping of key to q, optional
        Left out: those of `corrected` over these rows alone.
    """
    first = [key for key in primary if key in rows]
    sure = corrected([rows], [first])[0] if q is None else q
    found = {}
    for key, row in rows.items():
        row = replace(row, q=sure.get(key), primary=key in first)
        better = KNOWN[key].better if is_judged(key) else ""
        word = "" if row.difference is None else verdict(row.difference, row.q, better, row.ci)
        if word == "better" and key in withheld:
            word = "lower"
        elif not word and better and key in alike:
            word = "unclear"
        found[key] = replace(row, verdict=word)
    return found


def verdict(difference: float, q: float | None, better: str, ci: tuple[float, float] | None = None) -> str:
    """'same', 'better', 'worse', 'unclear', or '' where no direction is better or nothing says how sure it is.

    Examples
    --------
    >>> verdict(-0.1, 0.01, "lower"), verdict(0.1, 0.2, "higher"), verdict(0.1, 0.01, ""), verdict(0.1, None, "lower")
    ('better', 'unclear', '', '')
    >>> verdict(0.0, 1.0, "lower", (0.0, 0.0)), verdict(0.0, 1.0, "lower", (-0.1, 0.1))
    ('same', 'unclear')
    """
    if difference == 0 and ci in (None, (0.0, 0.0)):
        return "same"
    if not better or q is None:
        return ""
    if q >= SURE:
        return "unclear"
    return "better" if (difference > 0) == (better == "higher") else "worse"


def withheld(rows: Mapping[str, Row], before: Panel, after: Panel) -> dict[str, str]:
    """The numbers that may not be called better, with the reason.

    A calibration error also falls where answers get more uncertain and worse alike, and says little of guesses.
    Alignment falls wherever all rows draw together, as in a collapse.
    """
    found = {}
    fell = [row.difference < 0 for hits in HITS.values() if (row := rows.get(hits)) and row.difference is not None]
    if "alignment" in rows and fell and all(fell):
        found["alignment"] = "every recall fell too"
    for key in rows:
        hits = _hits_of(key)
        if hits and (reason := _doubt(hits, rows.get(hits), before, after)):
            found[key] = reason
    return found


def _hits_of(key: str) -> str:
    """The recall of the queries that a calibration error is of; '' for other keys."""
    for queries, hits in HITS.items():
        if key.partition("@")[0].removeprefix(f"{queries}_") in CALIBRATION_ERRORS:
            return hits
    return ""


def _doubt(hits: str, row: Row | None, before: Panel, after: Panel) -> str:
    if row is None or row.difference is None:
        return f"{hits} is not known"
    if row.difference < 0:
        return f"{hits} fell too"
    return f"{hits} is at chance" if _at_chance(hits, before) and _at_chance(hits, after) else ""


def _at_chance(hits: str, panel: Panel) -> bool:
    """Whether a recall is not told apart from that of guesses."""
    chance, value = panel.null.get(hits), panel.values.get(hits)
    if chance is None or value is None:
        return False
    return panel.ci.get(hits, (value, value))[0] <= chance
