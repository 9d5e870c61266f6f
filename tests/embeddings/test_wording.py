"""Pairs of texts are called queries and documents where people read, and nowhere else; other sets are as they were."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import run_cli, small_set
from hypothesis import given
from hypothesis import strategies as st

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.wording import WORDS, is_of_texts, worded
from geomclip.panels import compare
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel
from geomclip.panels.standouts import standouts
from geomclip.panels.tables import panel_html, panel_lines, panel_text

IMAGES = re.compile(r"(?<![\w@-])(images?|texts?)(?![\w-])", re.IGNORECASE)


def of_texts(embeddings: EmbeddingSet) -> EmbeddingSet:
    return embeddings.replace(made_from={**embeddings.made_from, "sides": ["query", "document"]})


def panel(n: int = 40, *, seed: int = 0, **options: Any) -> Panel:
    return measure(of_texts(small_set(n, seed=seed)), bootstrap=options.pop("bootstrap", 50), **options)


@pytest.mark.parametrize("width", [50, 80, 110])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("n", [12, 40])
def test_no_line_of_a_panel_of_texts_speaks_of_images(width: int, full: bool, n: int) -> None:
    shown = panel(n, metrics="all" if full else "default")
    printed = panel_text(shown, width, full=full)
    assert IMAGES.findall(printed) == []
    assert re.search(r"quer(y|ies)", printed)
    assert IMAGES.findall(re.sub(r"<[^>]*>", " ", panel_html(shown, full=full))) == []


def test_groups_speak_of_queries_too() -> None:
    embeddings = of_texts(small_set(40))
    embeddings = embeddings.replace(columns={"kind": ["a", "b"] * 20})
    for full in (False, True):
        assert IMAGES.findall(panel_text(measure(embeddings, bootstrap=20, by="kind"), 80, full=full)) == []


def test_what_stands_out_is_in_the_same_words() -> None:
    shown = Panel(
        {"mean_cosine_image": 0.8, "duplicate_image_share": 0.3, "duplicate_text_share": 0.3},
        ci={"mean_cosine_image": (0.78, 0.82)},
        made_from={"sides": ["query", "document"]},
    )
    assert standouts(shown) == [
        "30 % of queries repeated, 30 % of documents shared by queries",
        "narrow cones: queries 37° apart (90° if spread evenly)",
    ]


def test_keys_and_the_result_keep_their_names() -> None:
    ours, plain = panel().to_dict(), measure(small_set(40), bootstrap=50).to_dict()
    assert ours.keys() == plain.keys()
    assert ours["metrics"] == plain["metrics"]
    assert "image_retrieval_recall@1" in ours["metrics"]
    assert "image_retrieval_recall@1" in panel_text(panel(), 80, full=True)


def test_the_panel_of_images_is_not_touched() -> None:
    lines = [line.text for line in panel_lines(measure(small_set(40), bootstrap=50), 80)]
    assert any("images ·" in line for line in lines)
    assert not any("quer" in line for line in lines)


@pytest.mark.parametrize("full", [False, True])
def test_no_line_of_a_comparison_of_texts_speaks_of_images(full: bool) -> None:
    found = compare(panel(seed=0), panel(seed=1))
    printed = str(found.table(full=full)) + str(found.verdict)
    assert IMAGES.findall(re.sub(r"\(\w+\)", "", printed)) == []
    assert "query → document" in printed
    assert json.loads(json.dumps(found.to_dict()))["before"]["sides"] == ["query", "document"]


def test_several_comparisons_speak_of_queries_too() -> None:
    runs = compare(panel(seed=0), panel(seed=1), panel(seed=2))
    assert IMAGES.findall(str(runs.table())) == []


def test_a_comparison_of_texts_is_read_back_in_its_words(tmp_path: Path) -> None:
    panel(seed=0).save(tmp_path / "a.json")
    panel(seed=1).save(tmp_path / "b.json")
    assert "query → document" in str(compare(tmp_path / "a.json", tmp_path / "b.json").table())


def test_names_of_others_stay_what_they_are() -> None:
    embeddings = of_texts(small_set(40))
    embeddings = embeddings.replace(
        made_from={**embeddings.made_from, "dataset": "image texts", "model": "a text model"}
    )
    shown = replace(measure(embeddings, bootstrap=0), name="my image run")
    assert panel_text(shown, 80).startswith("image texts (test) · my image run (a text model)")


@given(st.sampled_from(sorted(WORDS)), st.sampled_from([".", ",", " ", ")", "", ":"]))
def test_every_word_has_its_other(word: str, after: str) -> None:
    about = Panel({}, made_from={"sides": ["query", "document"]})
    assert worded(about, f"of {word}{after}") == f"of {WORDS[word]}{after}"
    assert worded(about, f"{word.capitalize()}{after}") == f"{WORDS[word].capitalize()}{after}"
    assert worded(Panel({}), f"of {word}{after}") == f"of {word}{after}"


@pytest.mark.parametrize(
    "name",
    ["mean_cosine_image", "image_retrieval_recall@1", "--image-root", "image-text", "image.png", "text/a", "a@text"],
)
def test_keys_options_and_files_are_no_words(name: str) -> None:
    assert worded(Panel({}, made_from={"sides": ["query", "document"]}), f"see {name} there") == f"see {name} there"


@pytest.mark.parametrize("sides", [None, [], ["image", "text"], "query", ["document", "query"]])
def test_only_queries_and_documents_are_of_texts(sides: Any) -> None:
    assert not is_of_texts({"sides": sides})
    assert is_of_texts({"sides": ("query", "document")})


def test_the_command_prints_and_writes_these_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"what is thing {i},it is number {i * 7}\n" for i in range(30))
    (tmp_path / "qa.csv").write_text(f"question,answer\n{rows}")
    how = ("--query-column", "question", "--text-column", "answer", "--bootstrap", 0, "--cache-dir", tmp_path / "cache")
    out = tmp_path / "r.json"
    done = run_cli(capsys, "measure", "--data", f"csv:{tmp_path / 'qa.csv'}", *how, "--out", out)
    assert done.code == 0, done.err
    assert "30 queries · 30 documents" in done.out
    assert IMAGES.findall(done.out) == []
    assert gc.compare(out, out).before["sides"] == ["query", "document"]


def test_maps_and_pictures_of_texts_speak_of_queries() -> None:
    from geomclip.plots.interactive.traces import kind_of
    from geomclip.plots.static.marks import key_of

    map = gc.project(of_texts(small_set(40)), method="svd")
    names = [name for name, _ in key_of(map, 3, mean=True)]
    assert names[:2] == ["40 queries", "120 documents"]
    said = [*names, *map.facts(), map.moments(), kind_of(map, "image"), kind_of(map, "text")]
    assert IMAGES.findall(" ".join(said)) == []
