"""Texts of others act neither in Markdown nor in a spreadsheet: they come out as the texts that they are."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from geomclip.machine.words import harmless, markdown, markdown_code, spreadsheet_cell
from geomclip.panels.comparison import compare
from geomclip.panels.lines import coded, markdown_row
from geomclip.panels.papers.calls import table
from geomclip.panels.record import Panel
from geomclip.panels.summary import of_panel

READER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
EVIL = (
    *("<script>alert(1)</script>", "![x](https://evil.example/a.png)", "[a](javascript:alert(1))", "<https://a.b>"),
    *("# heading", "- item", "1. item", "2) item", "> quote", "```", "~~~", "a\n\n# b", "***", "---", "===", "+ a"),
    *("**b**", "_i_", "a_b_c", "__x__", "~~gone~~", "`code`", "a|b", "&lt;b&gt;", "&#60;", "\\<b>", "[x]: https://e.b"),
    *(
        "$x$",
        "\u202eevil",
        "\x1b[31mred",
        "\\",
        "a\\|b",
        "    code",
        "| a |",
        "-",
        "1.",
        "<!-- a",
        "&amp",
        "line\u2028end",
    ),
)
SIGNS = st.text(alphabet="ab1 .)(\\`*_#[]<>!~|&;:-+=>$/\n\t\x1b\u202e\"'", max_size=30)


def read(document: str) -> tuple[list[str], list[str]]:
    """The kinds of everything in a document, and its texts, a line of inlines each."""
    kinds, texts = [], []
    for token in READER.parse(document):
        kinds.append(token.type)
        for child in token.children or ():
            kinds.append(child.type)
        if token.type == "inline":
            texts.append("".join(child.content for child in token.children or ()))
    return [kind for kind in kinds if kind not in ("text", "text_special")], texts


def plain(text: str) -> str:
    return " ".join(harmless(text, by=" ").split())


@pytest.mark.parametrize("start", ["- ", "## ", "**x: ", "words "])
@given(text=st.one_of(st.sampled_from(EVIL), SIGNS))
def test_a_text_stays_a_text_in_a_list_a_heading_and_a_line(start: str, text: str) -> None:
    end = "**" if start.startswith("**") else ""
    kinds, texts = read(f"{start}{markdown(f'a {text}' if end else text)}{end}")
    if not plain(text):
        return
    usual, found = read(f"{start}{'a ' if end else ''}xyzzy{end}")
    assert kinds == usual
    assert texts == [each.replace("xyzzy", plain(text)).strip() for each in found]


@given(text=st.one_of(st.sampled_from(EVIL), SIGNS))
def test_a_text_stays_one_cell_of_a_table(text: str) -> None:
    document = f"| a | b |\n|---|---|\n{markdown_row([markdown(text), 'end'])}"
    _, texts = read(document)
    assert texts == ["a", "b", plain(text), "end"]


def test_an_address_of_others_is_no_link() -> None:
    for text in ("https://evil.example/x", "www.evil.example", "mailto:a@b.c", "HTTP://E.X"):
        assert not re.search(r"(?i)(https?|mailto):|www\.", markdown(text))
        assert read(markdown(text))[1] == [text]


def test_code_ends_where_it_is_to_end() -> None:
    assert read(markdown_code("a`b`` <b> *c*")) == (
        ["paragraph_open", "inline", "code_inline", "paragraph_close"],
        ["a'b'' <b> *c*"],
    )
    assert coded("recall@1") == "`recall@1`"
    assert "<b" not in coded("<b>`")


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        *(
            (text, True)
            for text in ("=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(1)", "\t=1", "\r=1", "  =1", "\uff1d1")
        ),
        *((text, False) for text in ("a dog", "-5", "+3.25e-4", "-.5", "", "a=b", "1-2")),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_is_a_text(text: str, runs: bool) -> None:
    assert spreadsheet_cell(text) == (f"'{text}" if runs else text)
    assert spreadsheet_cell(-5) == -5


FORMULA = "=HYPERLINK(1)"


def test_no_table_that_is_looked_at_has_a_formula(tmp_path: Path) -> None:
    panel = Panel(
        {"alignment": 0.5, FORMULA: 1.0}, notes={"alignment": FORMULA}, groups={FORMULA: Panel({"alignment": 1.0})}
    )
    both = compare(panel, panel, bootstrap=0)
    files = [panel.save(tmp_path / "p.csv"), both.save(tmp_path / "c.csv")]
    files.append(table([panel, panel], names=[FORMULA, "b"], keys=["alignment"]).save(tmp_path / "t.csv"))
    for file in files:
        cells = [cell for row in csv.reader(io.StringIO(file.read_text())) for cell in row]
        assert f"'{FORMULA}" in cells, file
        assert not any(cell.startswith("=") for cell in cells), file


@pytest.mark.parametrize("evil", ["<img src=x onerror=alert(1)>", "![a](https://e.x/a.png)", "[a](https://e.x)"])
def test_no_document_has_the_markup_of_its_texts(evil: str, tmp_path: Path) -> None:
    made = {"model": evil, "dataset": evil, "split": "test"}
    panel = Panel({"alignment": 0.5}, made_from=made, warnings=[evil], groups={evil: Panel({"alignment": 1.0})})
    both = compare(panel, panel, bootstrap=0)
    documents = [panel.save(tmp_path / "p.md").read_text(), both.save(tmp_path / "c.md").read_text()]
    documents += [of_panel(panel, evil), table([panel, panel], names=[evil, "b"], keys=["alignment"]).to_markdown()]
    for document in documents:
        kinds, texts = read(document)
        assert not {"html_block", "html_inline", "link_open", "image"} & set(kinds), document
        assert any(evil in text for text in texts), document
