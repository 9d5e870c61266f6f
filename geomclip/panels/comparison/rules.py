"""Rules: from the rows of a comparison to an Answer. One table; of each subject the first rule that holds is said.

The words are judgements only where a row may be judged: retrieval, accuracy, calibration errors, and what the caller
named as primary. What became of the space and the gap is told as a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from geomclip.embeddings.wording import worded
from geomclip.panels.comparison import facts as wording
from geomclip.panels.comparison.answer import Answer, Finding
from geomclip.panels.comparison.facts import (
    NARROW,
    ONE_DIRECTION,
    Facts,
    all_same,
    beyond_chance,
    has_verdict,
    have_intervals,
    width_ratio,
)
from geomclip.panels.comparison.record import Comparison, Row
from geomclip.panels.record import Panel
from geomclip.panels.standouts import ONE_POINT

GOOD = {"retrieval": ("up",), "primary": ("better",), "calibration": ("better",), "other data": ("gained",)}
BAD = {"retrieval": ("down",), "primary": ("worse",), "calibration": ("worse",), "other data": ("forgot",)}
"""Words of a subject that count for better, and those that count for worse; `mixed` counts for both."""
UNDECIDED = ("unclear", "not judged")


@dataclass(frozen=True)
class Rule:
    """One sentence on one subject, and when it is said."""

    about: str
    word: str
    when: str
    sentence: str  # begins with the word; names in braces are filled in
    holds: Callable[[State], bool]


@dataclass(frozen=True)
class State:
    """What a rule looks at: the facts, and what was found on the subjects before its own."""

    facts: Facts
    found: Mapping[str, list[str]] = field(default_factory=dict)  # subject to its words
    rows: Mapping[str, Row] = field(default_factory=dict)  # of other data: the shares of right answers there
    at_chance: bool = False  # there

    def has_verdict(self, word: str) -> bool:
        """Whether a row of the other data has this verdict."""
        return has_verdict(self.rows, word)

    def good(self) -> bool:
        """Whether a finding counts for better."""
        return self._any(GOOD)

    def bad(self) -> bool:
        """Whether a finding counts for worse."""
        return self._any(BAD)

    def _any(self, words: Mapping[str, tuple[str, ...]]) -> bool:
        return any(word in (*some, "mixed") for about, some in words.items() for word in self.found.get(about, ()))


def _after_at_chance(state: State) -> bool:
    return all(after for _, after in state.facts.at_chance.values())


def _reached_one_point(state: State) -> bool:
    rows = state.facts.cosines.values()
    return any((row.before or 0.0) < ONE_POINT <= (row.after or 0.0) for row in rows)


def _fell_to_one_direction(state: State) -> bool:
    rows = state.facts.ranks.values()
    return any((row.after or 0.0) < ONE_DIRECTION <= (row.before or 0.0) for row in rows)


def _narrowed(state: State) -> bool:
    rows = state.facts.cosines.values()
    return any(width_ratio(row) < NARROW and beyond_chance(row, +1) for row in rows)


def _widened(state: State) -> bool:
    rows = state.facts.cosines.values()
    return any(width_ratio(row) > 1 / NARROW and beyond_chance(row, -1) for row in rows)


def _gap_moved(state: State, sign: int) -> bool:
    gap = state.facts.gap
    if gap is None or gap.difference is None or not beyond_chance(gap, sign):
        return False
    return abs(gap.difference) > wording.GAP_MOVED * abs(gap.before or 0.0)


def _gap_has_an_interval(state: State) -> bool:
    gap = state.facts.gap
    return gap is not None and (gap.ci is not None or gap.verdict == "same")


def _settled(state: State) -> bool:
    """Whether something was judged, and nothing of it moved."""
    words = [word for about in GOOD for word in state.found.get(about, ())]
    return any(word not in (*UNDECIDED, "muted") for word in words)


RETRIEVAL = (
    Rule("retrieval", "at chance", "no share of right answers is told apart from guesses, before or after",
         "at chance: {guesses}", lambda s: s.facts.is_muted),
    Rule("retrieval", "mixed", "one direction is better, the other worse",
         "mixed: {changes}",
         lambda s: has_verdict(s.facts.hits, "better") and has_verdict(s.facts.hits, "worse")),
    Rule("retrieval", "up", "a direction is better",
         "up: {changes}", lambda s: has_verdict(s.facts.hits, "better")),
    Rule("retrieval", "down", "a direction is worse, and after it none is told apart from guesses",
         "down to chance: {changes}", lambda s: has_verdict(s.facts.hits, "worse") and _after_at_chance(s)),
    Rule("retrieval", "down", "a direction is worse",
         "down: {changes}", lambda s: has_verdict(s.facts.hits, "worse")),
    Rule("retrieval", "same", "no share moved at all",
         "same: no share of right answers moved", lambda s: all_same(s.facts.hits)),
    Rule("retrieval", "level", "no direction is better or worse; the interval says how much may be hidden",
         "level: {changes}", lambda s: have_intervals(s.facts.hits)),
    Rule("retrieval", "unclear", "there are no intervals",
         "unclear: {changes}, and no interval", lambda s: True),
)  # fmt: skip
PRIMARY = (
    Rule("primary", "muted", "retrieval is at chance",
         "muted: guesses are not judged", lambda s: s.facts.is_muted),
    Rule("primary", "mixed", "of the keys that the caller named, one is better and one worse",
         "mixed: {numbers}",
         lambda s: has_verdict(s.facts.primary, "better") and has_verdict(s.facts.primary, "worse")),
    Rule("primary", "better", "one is better", "better: {numbers}", lambda s: has_verdict(s.facts.primary, "better")),
    Rule("primary", "worse", "one is worse", "worse: {numbers}", lambda s: has_verdict(s.facts.primary, "worse")),
    Rule("primary", "same", "none moved at all", "same: {numbers}", lambda s: all_same(s.facts.primary)),
    Rule("primary", "level", "none is better or worse",
         "level: {numbers}", lambda s: have_intervals(s.facts.primary)),
    Rule("primary", "unclear", "there are no intervals", "unclear: {numbers}, and no interval", lambda s: True),
)  # fmt: skip
SPACE = (
    Rule("space", "collapsed", f"the mean cosine of a cloud reached {ONE_POINT:g}",
         "collapsed: {angles} (mean angle of two)", _reached_one_point),
    Rule("space", "collapsed", f"the effective rank of a cloud fell below {ONE_DIRECTION:g}",
         "collapsed: effective rank {ranks}",
         _fell_to_one_direction),
    Rule("space", "narrowed", f"1 - mean cosine of a cloud fell below {NARROW:g} of what it was, beyond its interval",
         "narrowed: {angles} (mean angle of two)", _narrowed),
    Rule("space", "widened", f"1 - mean cosine of a cloud was below {NARROW:g} of what it is, beyond its interval",
         "widened: {angles} (mean angle of two)", _widened),
    Rule("space", "kept", "none of these",
         "kept: {angles} (mean angle of two)", lambda s: have_intervals(s.facts.cosines)),
    Rule("space", "unclear", "there are no intervals",
         "unclear: {angles}, and no interval", lambda s: True),
)  # fmt: skip
GAP = (
    Rule("gap", "closed", "the gap fell by more than 5 % of it, beyond its interval; a fact, no judgement",
         "closed: {gap} (in itself neither better nor worse)", lambda s: _gap_moved(s, -1)),
    Rule("gap", "widened", "it rose by more than 5 % of it, beyond its interval; a fact, no judgement",
         "widened: {gap} (in itself neither better nor worse)", lambda s: _gap_moved(s, +1)),
    Rule("gap", "kept", "it has an interval, and did neither", "kept: {gap}", _gap_has_an_interval),
    Rule("gap", "unclear", "there is no interval", "unclear: {gap}, and no interval", lambda s: True),
)  # fmt: skip
CALIBRATION = (
    Rule("calibration", "muted", "retrieval is at chance",
         "muted: an error of confidence says nothing of guesses", lambda s: s.facts.is_muted),
    Rule("calibration", "mixed", "the ECE of one direction is better, of the other worse",
         "mixed: {numbers}",
         lambda s: has_verdict(s.facts.errors, "better") and has_verdict(s.facts.errors, "worse")),
    Rule("calibration", "worse", "one is worse", "worse: {numbers}", lambda s: has_verdict(s.facts.errors, "worse")),
    Rule("calibration", "better", "one is better",
         "better: {numbers}", lambda s: has_verdict(s.facts.errors, "better")),
    Rule("calibration", "not judged", "one fell where the recall of its queries did, is at chance or is not known",
         "not judged, beside what recall did: ECE {errors}", lambda s: has_verdict(s.facts.errors, "lower")),
    Rule("calibration", "same", "none moved at all", "same: {numbers}", lambda s: all_same(s.facts.errors)),
    Rule("calibration", "unclear", "none of these", "unclear: {numbers}", lambda s: True),
)  # fmt: skip
OTHER_DATA = (
    Rule("other data", "at chance", "there no share of right answers is told apart from guesses, before or after",
         "at chance: {name}", lambda s: s.at_chance),
    Rule("other data", "mixed", "there one direction is better, the other worse",
         "mixed: {name} {changes}", lambda s: s.has_verdict("better") and s.has_verdict("worse")),
    Rule("other data", "forgot", "there a direction is worse, Holm over all other data",
         "forgot: {name} {changes}", lambda s: s.has_verdict("worse")),
    Rule("other data", "gained", "there a direction is better, Holm over all other data",
         "gained: {name} {changes}", lambda s: s.has_verdict("better")),
    Rule("other data", "kept", "neither; the interval says how much may be hidden",
         "kept: {name} {changes}", lambda s: have_intervals(s.rows) or all_same(s.rows)),
    Rule("other data", "unclear", "there are no intervals", "unclear: {name} {changes}", lambda s: True),
)  # fmt: skip
NUMBERS = (
    Rule("numbers", "muted", "retrieval is at chance",
         "muted: a change of guesses is none", lambda s: s.facts.is_muted),
    Rule("numbers", "unchanged", "no number is called better, worse or lower",
         "unchanged: none of {judged} judged", lambda s: not s.facts.called),
    Rule("numbers", "changed", "some are; about how many of those are false at most, as expected",
         "changed: {called} of {judged} judged; about {false} of them at most by chance", lambda s: True),
)  # fmt: skip
HEADLINE = (
    Rule("headline", "at chance", "retrieval is at chance",
         "at chance: not told apart from guesses on either side", lambda s: s.facts.is_muted),
    Rule("headline", "mixed", "something is better, something worse",
         "mixed: {findings}", lambda s: s.good() and s.bad()),
    Rule("headline", "worse", "something is worse", "worse: {findings}", lambda s: s.bad()),
    Rule("headline", "better", "something is better", "better: {findings}", lambda s: s.good()),
    Rule("headline", "collapsed", "nothing that is judged moved, but the space collapsed",
         "collapsed: {findings}", lambda s: "collapsed" in s.found.get("space", ())),
    Rule("headline", "narrowed", "nothing that is judged moved, but the space narrowed",
         "narrowed: {findings}", lambda s: "narrowed" in s.found.get("space", ())),
    Rule("headline", "widened", "nothing that is judged moved, but the space widened",
         "widened: {findings}", lambda s: "widened" in s.found.get("space", ())),
    Rule("headline", "no difference", "nothing that a verdict goes by moved so that it can be told, but other numbers",
         "no difference in what counts first, but in others: {findings}",
         lambda s: _settled(s) and bool(s.facts.others_called)),
    Rule("headline", "no difference", "something is judged, and nothing of it moved so that it can be told",
         "no difference that can be told: {findings}", _settled),
    Rule("headline", "unclear", "nothing is judged, or without an interval",
         "unclear: nothing that is judged here has an interval", lambda s: True),
)  # fmt: skip
RULES = (*HEADLINE, *RETRIEVAL, *PRIMARY, *SPACE, *GAP, *CALIBRATION, *OTHER_DATA, *NUMBERS)
"""All rules, as `docs/verdicts.md` lists them."""
HEADLINES = tuple(dict.fromkeys(rule.word for rule in HEADLINE))


def answered(
    rows: Mapping[str, Row], before: Panel, after: Panel, others: Mapping[str, Comparison] | None = None
) -> Answer:
    """What the rows of a comparison come to, with comparisons of the same sides on other data.

    Parameters
    ----------
    rows : mapping of key to Row
        Judged.
    before, after : Panel
        Their intervals and nulls say what is at chance.
    others : mapping of name to Comparison, optional

    Returns
    -------
    Answer
        What every line says alone, and a headline of them.
    """
    facts = Facts.of(rows, before, after, others or {})
    lines = list(_findings(facts))
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault("retrieval" if line.about == "classes" else line.about, []).append(line.word)
    if not (facts.hits or facts.primary or facts.errors):  # keys of the caller's choice: all that are judged decide
        found["primary"] = _of_any(facts)
    state = State(facts, found)
    findings = _summary(lines, found)
    if not (state.good() or state.bad()) and not facts.is_muted:
        findings = ", ".join(filter(None, (findings, wording.of_others(facts.others_called))))
    headline = _finding(HEADLINE, state, {"findings": findings})
    # a finding on other data has their names in it
    shown = [
        each if each.about == "other data" else replace(each, sentence=worded(before, each.sentence)) for each in lines
    ]
    return Answer(headline.word, worded(before, headline.sentence), tuple(shown))


def _findings(facts: Facts) -> list[Finding]:
    """A finding on each subject that the rows know of."""
    state, lines = State(facts), list[Finding]()
    if facts.hits:
        texts = {"changes": wording.changes(facts.hits), "guesses": wording.guesses(facts.hits, facts.chance)}
        about = "classes" if all(key.startswith("zeroshot_") for key in facts.hits) else "retrieval"
        lines.append(_finding(RETRIEVAL, state, texts, about))
    if facts.primary:
        lines.append(_finding(PRIMARY, state, {"numbers": wording.numbers(facts.primary)}))
    if facts.cosines:
        texts = {"angles": wording.angles(facts.cosines), "ranks": wording.of_ranks(facts.ranks)}
        lines.append(_finding(SPACE, state, texts))
    if facts.shown_gap is not None:
        gap = f"{wording.three(facts.shown_gap.before)} → {wording.three(facts.shown_gap.after)}"
        lines.append(_finding(GAP, state, {"gap": gap}))
    if facts.errors:
        texts = {"numbers": wording.numbers(facts.errors, "ECE "), "errors": wording.pairs(facts.errors)}
        lines.append(_finding(CALIBRATION, state, texts))
    lines += _elsewhere(facts)
    if facts.judged:
        of_others = [row for row in facts.called if not row.primary]
        by_chance = wording.FALSE * (len(of_others) + any(row.primary for row in facts.called))
        counts = {"called": f"{len(facts.called)}", "judged": f"{len(facts.judged)}", "false": f"{by_chance:.1g}"}
        lines.append(_finding(NUMBERS, state, counts))
    return lines


def _elsewhere(facts: Facts) -> list[Finding]:
    """A finding on each other data set, what was forgotten first."""
    order = [rule.word for rule in (OTHER_DATA[2], OTHER_DATA[1], *OTHER_DATA)]
    found = []
    for name, rows in wording.elsewhere(facts.others).items():
        state = State(facts, rows=rows, at_chance=facts.others[name].verdict.is_muted)
        found.append(_finding(OTHER_DATA, state, {"name": name, "changes": wording.moves(rows) or "has no recall"}))
    return sorted(found, key=lambda each: order.index(each.word))


def _of_any(facts: Facts) -> list[str]:
    """What all judged rows come to together, as a finding on primary keys would be."""
    words = {row.verdict for row in facts.judged}
    if {"better", "worse"} <= words:
        return ["mixed"]
    return [next((word for word in ("worse", "better") if word in words), "level" if facts.judged else "unclear")]


def _finding(rules: tuple[Rule, ...], state: State, texts: Mapping[str, str], about: str = "") -> Finding:
    """The finding of the first rule that holds; the last of a subject always does."""
    rule = next(each for each in rules if each.holds(state))
    return Finding(about or rule.about, rule.word, rule.sentence.format_map(texts))


def _summary(lines: list[Finding], found: Mapping[str, list[str]]) -> str:
    """A few words on each subject of which something can be told, other data next to last and the space last."""
    parts = {}
    for line in lines:
        if line.about in ("retrieval", "classes", "primary", "calibration"):
            name = "accuracy" if line.about == "classes" else line.about
            parts[line.about] = "" if line.word in UNDECIDED else f"{name} {line.sentence.partition(':')[0]}"
    if words := found.get("other data", []):
        moved = [word for word in ("forgot", "mixed", "gained") if word in words]
        if moved or words[0] == "kept":
            parts["other data"] = f"other data {' and '.join(moved) if moved else 'kept'}"
    if not parts and "primary" in found:
        parts["primary"] = f"the numbers that are judged {found['primary'][0]}"
    if (space := found.get("space", ["kept"])[0]) not in ("kept", *UNDECIDED):
        parts["space"] = f"space {space}"
    return ", ".join(filter(None, parts.values()))
