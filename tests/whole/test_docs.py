"""docs/metrics.md says of every number what the table of promises says, and names nothing that is not there."""

from __future__ import annotations

import inspect
import re

import pytest
from helpers import ROOT, small_set

import geomclip as gc
from geomclip.metrics import GROUPS, METRICS, Metric
from geomclip.panels.measurement import measure

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
HEADINGS = re.findall(r"^## (.+)$", PROSE, re.M)
FUNCTIONS = [name for name in gc.metrics.__all__ if inspect.isfunction(getattr(gc.metrics, name))]

KEY_LIKE = re.compile(r"[a-z0-9]{2,}(?:_[a-z0-9]+)+(?:@\d+)?")
"""Two words or more joined by underscores; not s_ij, whose first word is a letter."""


def in_backticks(prose: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", prose))


def number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def facts(metric: Metric) -> list[str]:
    """Cells of a metric in the table of its group, after its key."""
    between = f"{number(metric.low)} up" if metric.high == float("inf") else f"{number(metric.low)} to {metric.high:g}"
    known = "any" if metric.low == -float("inf") else between
    return [metric.better or "neither", known, metric.interval or "none", "yes" if metric.default else "no"]


def section(heading: str) -> str:
    return PROSE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table(prose: str) -> dict[str, list[str]]:
    """Key to its other cells, from the rows of a section that begin with keys."""
    rows = [line.strip("|").split("|") for line in prose.splitlines() if line.startswith("| `")]
    return {key: [cell.strip() for cell in cells] for keys, *cells in rows for key in re.findall(r"`(.+?)`", keys)}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_of_a_group_is_the_table_of_promises(group: str) -> None:
    expected = {key: facts(metric) for key, metric in METRICS.items() if metric.group == group}
    assert table(section(GROUPS[group])) == expected


def test_the_groups_come_in_the_order_of_the_panel() -> None:
    assert [heading for heading in HEADINGS if heading in GROUPS.values()] == list(GROUPS.values())


def test_every_key_and_every_public_function_is_there() -> None:
    assert {*METRICS, *FUNCTIONS} - in_backticks(PROSE) == set()


def test_what_looks_like_a_key_is_one() -> None:
    panel = measure(small_set(), metrics="all", bootstrap=0, paper="oh2023")
    columns = {name for items in panel.items.values() for name in items}
    known = {*METRICS, *panel.keys(), *gc.metrics.__all__, *panel.to_dict(), *columns}
    assert {name for name in in_backticks(PROSE) if KEY_LIKE.fullmatch(name)} - known == set()


def test_every_entry_of_a_group_says_formula_meaning_trap_and_source() -> None:
    for heading in GROUPS.values():
        for entry in section(heading).split("\n### ")[1:]:
            said = re.findall(r"^- (\w+): ", entry, re.M)
            assert said == ["Formula", "Says", "Trap", "Source"], entry.splitlines()[0]


def test_the_links_of_the_page_lead_somewhere() -> None:
    assert re.findall(r"^- \[.+?\]\(#(.+?)\)$", PROSE, re.M) == [slug(heading) for heading in HEADINGS]
    assert set(re.findall(r"\]\(#(.+?)\)", PROSE)) <= {slug(heading) for heading in HEADINGS}


def test_the_checks_see_what_is_wrong() -> None:
    assert [bool(KEY_LIKE.fullmatch(name)) for name in ("modality_gaps", "recall_at@5", "s_ij", "text_*")] == [
        True,
        True,
        False,
        False,
    ]
    assert table("| `a`, `b` | lower | 0 to 1 |\n") == {"a": ["lower", "0 to 1"], "b": ["lower", "0 to 1"]}
