"""docs/verdicts.md: its tables are those of the code, and the study that it shows is within its bound."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT

from geomclip.panels.comparison.answer import MOST
from geomclip.panels.comparison.rules import HEADLINES, RULES
from geomclip.panels.standouts import STANDOUTS

PAGE = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table beneath a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_rules_is_that_of_the_code() -> None:
    expected = [[rule.about, f"`{rule.word}`", rule.when, rule.sentence] for rule in RULES]
    assert rows_of("The rules") == expected


def test_the_table_of_what_stands_out_is_that_of_the_code() -> None:
    assert rows_of("What stands out") == [[each.about, each.when] for each in STANDOUTS]


def test_every_headline_has_a_rule_and_no_two_rules_of_a_subject_one_condition() -> None:
    assert {rule.word for rule in RULES if rule.about == "headline"} == set(HEADLINES)
    conditions = [(rule.about, rule.when) for rule in RULES]
    assert len(set(conditions)) == len(conditions)


def test_the_study_on_the_page_is_wrong_in_one_case_of_twenty_at_most() -> None:
    *kinds, total = rows_of("How often it is wrong")
    wrong = {row[0]: float(row[3].removesuffix(" %")) for row in [*kinds, total]}
    assert total[0] == "**all**"
    assert int(total[1]) == sum(int(row[1]) for row in kinds) >= 200
    assert wrong["**all**"] <= 5
    assert wrong["level"] <= 5


def test_the_block_on_the_page_is_one_that_could_be() -> None:
    block = re.search(r"^```text\n(verdict .*?)\n```$", PAGE, re.M | re.S)
    assert block is not None
    lines = block[1].splitlines()
    assert len(lines) <= MOST
    assert max(map(len, lines)) <= 80
    for line in lines[1:]:
        if line[0] != " ":
            about, word = re.match(r"(\w+(?: data)?) +(\w+(?: \w+)?):", line).groups()  # type: ignore[union-attr]
            assert any(rule.about == about and rule.word == word for rule in RULES), line


@pytest.mark.parametrize("heading", ["The rules", "What stands out"])
def test_tables_are_found(heading: str) -> None:
    assert len(rows_of(heading)) >= 5
