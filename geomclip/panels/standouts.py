"""What stands out in a panel: at most six lines on what is beyond what it is compared with, and beyond its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import wrap

from geomclip.embeddings.wording import worded
from geomclip.panels.directions import DIRECTIONS
from geomclip.panels.lines import Line
from geomclip.panels.sentences import DOUBT, WIDER, Numbers, against, degrees, percent, sureness

TITLE = "stands out"
NOTHING = "nothing stands out"
LABEL = 13
"""Characters of the title before a line."""
NARROW = 0.5
"""Mean cosine of a narrow cone: two of its rows are less than 60° apart."""
ONE_POINT = 0.995
"""Mean cosine of a cloud that is next to one point: two of its rows are 6° apart."""
GAP = 1.0
"""Of the spread within the clouds: a gap wider than that parts them."""
COPIES = 0.01
"""Share of images or texts that are given more than once, from which it is told."""
MOST = 6
"""Lines of the block."""
CUT = 0.05
"""Share of texts that are cut, from which it is told."""


@dataclass(frozen=True)
class Standout:
    """One thing that may stand out: when, in words, and the line on it ('' where it does not)."""

    about: str
    when: str
    line: Callable[[Numbers], str]


def _collapse(panel: Numbers) -> str:
    clouds = [
        f"{cloud}s"
        for cloud in ("image", "text")
        if (cosine := panel.values.get(f"mean_cosine_{cloud}")) is not None and cosine >= ONE_POINT
    ]
    return f"collapsed: {' and '.join(clouds)} next to one point (mean cosine {ONE_POINT:g} or more)" if clouds else ""


def _guesses(panel: Numbers) -> str:
    ways_of = {f"{prefix}_recall@1": way for prefix, way in DIRECTIONS.items()} | {"zeroshot_acc1": ""}
    found = []
    for key, way in ways_of.items():
        chance = panel.null.get(key)
        side = None if chance is None else against(panel, key, chance, wider=WIDER)
        if side is not None and side <= 0:
            found.append((way, panel.values[key] or 0.0))
    if not found:
        return ""
    what = "recall@1" if found[0][0] else "accuracy@1"
    ways = ", ".join(way for way, _ in found if way)
    return f"{what} not told apart from guesses" + (f" ({ways})" if ways else "")


def _data(panel: Numbers) -> str:
    parts = []
    for key, least, what in (
        ("duplicate_image_share", COPIES, "of images repeated"),
        ("duplicate_text_share", COPIES, "of texts shared by images"),
        ("truncated_text_share", CUT, "of texts cut"),
    ):
        share = panel.values.get(key)
        if share is not None and share >= least:
            parts.append(f"{percent(share)} {what}")
    return ", ".join(parts)


def _cones(panel: Numbers) -> str:
    parts: list[str] = []
    for cloud in ("image", "text"):
        key = f"mean_cosine_{cloud}"
        if against(panel, key, NARROW, wider=WIDER) == 1:
            cosine = panel.values[key] or 0.0
            if cosine < ONE_POINT:  # else it is told as a collapse
                parts.append(f"{cloud}s {degrees(cosine)}{'' if parts else ' apart'}")
    return f"narrow cones: {', '.join(parts)} (90° if spread evenly)" if parts else ""


def _gap(panel: Numbers) -> str:
    spreads = panel.values.get("modality_gap_standardized")
    if spreads is None or against(panel, "modality_gap_standardized", GAP) != 1:
        return ""
    return f"a gap of {spreads:.3g} times the spread within the clouds"


def _confidence(panel: Numbers) -> str:
    words = {1: "overconfident", -1: "underconfident"}
    found = []
    for prefix, way in {**DIRECTIONS, "zeroshot": ""}.items():
        sure = sureness(panel, prefix)
        if sure is not None and sure.side and panel.p.get(f"{prefix}_ece", 1.0) < DOUBT:
            found.append((words[sure.side], way, f"{percent(sure.confidence)} sure, {percent(sure.accuracy)} right"))
    if len(found) == 2:
        (one, _, shown), (other, _, beside) = found
        word = f"{one} both ways" if one == other else f"{one.removesuffix('confident')}- and {other}"
        return f"{word}: {shown}; {beside.replace(' sure', '').replace(' right', '')}"
    return "".join(f"{word} {way}".strip() + f": {shown}" for word, way, shown in found)


def _hubs(panel: Numbers) -> str:
    found = []
    for items, queries in (("text", "image"), ("image", "text")):
        key = f"{items}_robin_hood"
        null = panel.null.get(key)
        if null is not None and against(panel, key, null, panel.null_error.get(key, 0.0), wider=WIDER) == 1:
            found.append(f"few {items}s near to many {queries}s")
    return f"hubs: {', '.join(found)}" if found else ""


STANDOUTS = (
    Standout("collapse", f"the mean cosine of a cloud is {ONE_POINT:g} or more", _collapse),
    Standout("guesses", "the interval of recall@1 or accuracy@1 is not above what guesses give", _guesses),
    Standout("data", f"{COPIES:.0%} of images or texts are copies, or {CUT:.0%} of texts are cut", _data),
    Standout("cones", f"the interval of a mean cosine is above {NARROW:g}", _cones),
    Standout("gap", f"the interval of the gap in spreads within is above {GAP:g}", _gap),
    Standout("confidence", "confidence is outside the interval of accuracy, and p of the ECE below 0.025", _confidence),
    Standout("hubs", "the interval of a Robin Hood index is above its null", _hubs),
)
"""All, in the order in which they are told."""


def standouts(panel: Numbers) -> list[str]:
    """What stands out, a line each, at most six; empty if nothing does.

    Numbers without an interval do only where a cloud is one point.

    Examples
    --------
    >>> from geomclip.panels.record import Panel
    >>> standouts(Panel({"mean_cosine_image": 0.8}, ci={"mean_cosine_image": (0.78, 0.82)}))
    ['narrow cones: images 37° apart (90° if spread evenly)']
    """
    return [worded(panel, line) for each in STANDOUTS if (line := each.line(panel))][:MOST]


def standout_lines(panel: Numbers, width: int) -> Iterator[Line]:
    """The block at the end of a panel: its first line begins with `stands out`, or says that nothing does."""
    found = standouts(panel)
    if not found:
        yield Line(NOTHING)
    for place, line in enumerate(found):
        label = f"{'' if place else TITLE:<{LABEL}}"
        for part in wrap(line, width, initial_indent=label, max_lines=1, placeholder=" ...", break_on_hyphens=False):
            yield Line(part)
