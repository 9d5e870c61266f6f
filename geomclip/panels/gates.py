"""Gates: conditions on the values of a panel or on the changes of a comparison, for jobs that pass or fail by them.

One grammar: `KEY OP NUMBER` with <, <=, >, >=; of changes also `KEY worse`, `KEY better` and their kin; and of changes
`and q<0.05` after a number, worse or better. A condition that cannot be judged is an error, and never a pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from geomclip.machine.words import near, one_line, option
from geomclip.metrics import METRICS
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.intervals import Interval

CONDITION = re.compile(
    r"\s*([^\s<>=]+)\s*"
    r"(?:(<=|>=|<|>)\s*(\S+)(?:\s+and\s+q\s*<\s*(\S+))?"
    r"|(?<=\s)(?:(better|worse)(?:\s+and\s+q\s*<\s*(\S+))?|(unclear|same)))\s*"
)
GATED = ("better", "worse", "unclear", "same")
"""Verdicts that a condition may test for."""
SURE = 0.05
"""A verdict is given where q is below this."""
FORM_OF_CHANGES = (
    f"write KEY<NUMBER (or <=, >, >=; it is after - before that is tested), or KEY and one of {', '.join(GATED)}; "
    f"'and q<{SURE:g}' may follow a number, better and worse"
)
FORM_OF_VALUES = "write KEY<NUMBER (or <=, >, >=; it is the value that is tested)"
OF_PAPERS = ("oh2023_uniformity", "oh2023_relative_alignment")
"""Keys that a panel has by `paper`, beside those of METRICS."""


class Changed(Protocol):
    """What a condition reads of a row of a comparison."""

    @property
    def difference(self) -> float | None:
        """After - before."""

    @property
    def ci(self) -> Interval | None:
        """Of the difference."""

    @property
    def verdict(self) -> str:
        """Whether it is better; '' where nothing says so."""

    @property
    def q(self) -> float | None:
        """The p-value corrected for all that are judged."""


@dataclass(frozen=True)
class Gate:
    """A condition on one key: its number against a bound, or its verdict; and that its q is below a bound."""

    key: str
    operator: str  # <, <=, >, >=; "" for a verdict
    bound: float = 0.0
    verdict: str = ""
    q: float | None = None

    @classmethod
    def of(
        cls,
        condition: str,
        *,
        known: Iterable[str] | None = None,
        primary: Collection[str] | None = None,
        nameable: bool = True,
    ) -> Gate:
        """The gate that a condition on a change states, such as 'alignment>0.1' or 'alignment worse and q<0.05'.

        Parameters
        ----------
        condition : str
        known : keys, optional
            Those that a condition may be on.
        primary : keys, optional
            Those whose verdict a condition may test for without q.
        nameable : bool
            Whether the caller can name primary keys: what the error offers as a way out.

        Raises
        ------
        ValueError
            If it cannot be read, its key is not among the known ones (the nearest are named), or it tests whether a
            key is better or worse that never is, or that is not primary, without a bound of q.

        Examples
        --------
        >>> Gate.of("modality_gap >= 0.1")
        Gate(key='modality_gap', operator='>=', bound=0.1, verdict='', q=None)
        >>> Gate.of("alignment worse and q < 0.01").q
        0.01
        """
        gate = cls._read(condition, FORM_OF_CHANGES)
        _refuse_unknown(condition, gate.key, known)
        if not gate.judges or (known is None and gate.key not in KNOWN):
            return gate
        if not (gate.key in KNOWN and KNOWN[gate.key].judged):
            raise ValueError(
                f"condition {condition!r}: {gate.key} has no verdict and no q, since a change of it is neither better "
                f"nor worse: test the change alone, as in '{gate.key}<NUMBER'"
            )
        if primary is not None and gate.q is None and gate.key not in primary:
            named = f", or name it before looking by {option('primary', gate.key)}" if nameable else ""
            raise ValueError(
                f"condition {condition!r}: {gate.key} is no primary key, and of many numbers some get "
                f"{gate.verdict} by chance: add 'and q<{SURE:g}'{named}"
            )
        return gate

    @classmethod
    def of_value(cls, condition: str, *, known: Iterable[str] | None = None) -> Gate:
        """The gate that a condition on the value of one panel states, such as 'image_retrieval_recall@1<0.3'.

        Raises
        ------
        ValueError
            If it cannot be read, its key is not among the known ones (the nearest are named), or it tests what only a
            change has: a verdict, or q.

        Examples
        --------
        >>> Gate.of_value("image_retrieval_recall@1 < 0.3").bound
        0.3
        """
        gate = cls._read(condition, FORM_OF_VALUES)
        _refuse_unknown(condition, gate.key, known)
        if gate.verdict:
            raise ValueError(
                f"condition {condition!r}: one panel has nothing before it to be {gate.verdict} than: test the value, "
                f"as in '{gate.key}<NUMBER', or the change of two by geomclip compare"
            )
        if gate.q is not None:
            raise ValueError(
                f"condition {condition!r}: a value has no q, which is of a change: leave 'and q<{gate.q:g}' out, or "
                "test the change of two panels by geomclip compare"
            )
        return gate

    @classmethod
    def _read(cls, condition: str, form: str) -> Gate:
        found = CONDITION.fullmatch(condition)
        if found:
            key, operator, bound, below, verdict, sure, other = found.groups()
            q = _number(below or sure)
            if verdict and (q is None or 0 < q <= SURE):
                return cls(key, "", verdict=verdict, q=q)
            if other:
                return cls(key, "", verdict=other)
            if verdict and q is not None and q > SURE:
                raise ValueError(f"condition {condition!r}: nothing is called {verdict} unless q<{SURE:g}: write less")
            value = _number(bound)
            if value is not None and math.isfinite(value) and (q is None or 0 < q < 1):
                return cls(key, operator, value, q=q)
        raise ValueError(f"condition {condition!r}: {form}")

    @property
    def judges(self) -> bool:
        """Whether it is on what is said of how sure a change is."""
        return self.verdict in ("better", "worse") or self.q is not None

    def tests(self, number: float) -> bool:
        """Whether a number is on that side of the bound."""
        return {
            "<": number < self.bound,
            "<=": number <= self.bound,
            ">": number > self.bound,
            ">=": number >= self.bound,
        }[self.operator]

    def holds(self, row: Changed) -> bool:
        """Whether the condition is true of a row that has a difference."""
        if self.q is not None and (row.q is None or row.q >= self.q):
            return False
        if not self.operator:
            return row.verdict == self.verdict
        assert row.difference is not None
        return self.tests(row.difference)


@dataclass(frozen=True)
class Outcome:
    """What came of a condition: one of the words below, and the line that tells it."""

    condition: str
    word: str  # "tripped", "warned", "not judged" or "passed"
    line: str = ""


def judge(condition: str, failure: Callable[[str], str], *, holds: str = "tripped") -> Outcome:
    """The outcome of a condition by `failure` of a panel or comparison; `holds` is the word for one that holds.

    Examples
    --------
    >>> judge("x<1", lambda condition: "").word
    'passed'
    """
    try:
        line = failure(condition)
    except ValueError as problem:
        return Outcome(condition, "not judged", one_line(problem))
    return Outcome(condition, holds, line) if line else Outcome(condition, "passed")


def change_failure(
    condition: str, rows: Mapping[str, Changed], *, primary: Collection[str] = (), notes: Sequence[str] = ()
) -> str:
    """A line on a condition that holds of a comparison, with the change; '' if it does not.

    Raises
    ------
    ValueError
        If it cannot be read or judged: a gate that cannot be judged must not pass.
    """
    gate = Gate.of(condition, known=rows, primary=primary)
    row = rows[gate.key]
    if _is_missing(row.difference):
        why = next((f" ({note})" for note in notes if gate.key in note), "")
        raise ValueError(f"condition {condition!r}: {gate.key} has no difference here{why}")
    unsure = gate.judges and row.q is None and row.verdict != "same"
    if unsure or (gate.verdict == "unclear" and not row.verdict):
        raise ValueError(
            f"condition {condition!r}: nothing says how sure the change of {gate.key} is, {row.difference:.6g}: "
            "it has no interval here"
        )
    if not gate.holds(row):
        return ""
    sure = f", q {row.q:.2g}" if gate.judges and row.q is not None else ""
    return f"{condition!r}: the change of {gate.key} is {row.difference:.6g}{_between(row.ci)}{sure}"


def value_failure(
    condition: str,
    values: Mapping[str, float | None],
    *,
    ci: Mapping[str, Interval],
    notes: Mapping[str, str],
    sampled: Collection[str] = (),
) -> str:
    """A line on a condition that holds of a panel, with the value; '' if it does not.

    Raises
    ------
    ValueError
        If it cannot be read, its key has no value, or one of `sampled`, estimated: a gate that cannot be judged must
        not pass.
    """
    gate = Gate.of_value(condition)
    value = values.get(gate.key)
    if value is None and gate.key in notes:
        raise ValueError(f"condition {condition!r}: {gate.key} has no value here ({notes[gate.key]})")
    _refuse_unknown(condition, gate.key, values)
    if value is None or _is_missing(value):
        raise ValueError(f"condition {condition!r}: {gate.key} has no value here")
    if gate.key in sampled:
        raise ValueError(
            f"condition {condition!r}: {gate.key} is estimated from blocks of the set: measure all of it to judge it, "
            f"without {option('sample_blocks')}"
        )
    if not gate.tests(value):
        return ""
    return f"{condition!r}: {gate.key} is {value:.6g}{_between(ci.get(gate.key))}"


def nearest_keys(key: str, known: Iterable[str]) -> str:
    """'; nearest: a, b' with up to three known keys like this one, '' if none is.

    Examples
    --------
    >>> nearest_keys("alignmet", ["alignment", "modality_gap"])
    '; nearest: alignment'
    """
    close = near(key, known)
    return f"; nearest: {', '.join(close)}" if close else ""


def _refuse_unknown(condition: str, key: str, known: Iterable[str] | None) -> None:
    if known is None or key in (keys := list(known)):
        return
    if key in METRICS:
        way = "" if METRICS[key].default else f" ({option('metrics', 'all')} measures all)"
        hint = f": it is not among those measured here{way}"
    else:
        hint = nearest_keys(key, keys)
    raise ValueError(f"condition {condition!r}: unknown metric {key!r}{hint}")


def _between(ci: Interval | None) -> str:
    return "" if ci is None else f" ({ci[0]:.4g} to {ci[1]:.4g})"


def _is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _number(text: str | None) -> float | None:
    """The number that a text writes, NaN if it writes none; None without text."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return math.nan
