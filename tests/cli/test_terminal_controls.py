"""What names and texts of others hold reaches the terminal as signs, and moves nothing there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import run_cli
from hypothesis import given
from hypothesis import strategies as st

from geomclip.machine.words import escaped, harmless

ACTING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
NAME = "a\x1b[31mb\x9bc\u202ed\u2066e\x07f"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(2, 30, 8))
    file = tmp_path / f"{NAME}.npz"
    np.savez(file, image=rows[0], text=rows[0] + rows[1])
    return file


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", "--embeddings", "FILE", "--bootstrap", "0"),
        ("measure", "--embeddings", "FILE", "--full", "--name", NAME),
        ("measure", "--embeddings", "FILE", "--json", "--name", NAME),
        ("measure", "--embeddings", "FILE", "--by", NAME),
        ("measure", "--embeddings", f"{NAME}.npz"),
        ("measure", "--metrics", NAME, "--embeddings", "FILE"),
        ("measure", "--model", NAME),
        ("measure", "--data", f"csv:{NAME}.csv"),
        ("measure", "--" + NAME),
        (NAME,),
        ("compare", "FILE", "FILE", "--name", NAME, "--name", "b"),
        ("compare", "FILE", "FILE", "FILE", "--name", NAME, "--name", "b", "--name", "c"),
        ("plan", "--embeddings", "FILE", "--width", "0.02"),
        ("extract", "--model", NAME, "--out", "OUT"),
        ("cache", "--cache-dir", "FOLDER"),
        ("report", "FILE", "--out", f"FOLDER/{NAME}.html"),
    ],
    ids=lambda arguments: " ".join(arguments[:4]).encode("unicode_escape").decode()[:50],
)
def test_no_command_hands_a_name_that_acts_to_the_terminal(
    arguments: tuple[str, ...], vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"FILE": str(vectors), "OUT": str(tmp_path / "out"), "FOLDER": str(tmp_path)}
    typed = [re.sub("FILE|OUT|FOLDER", lambda found: places[found[0]], each) for each in arguments]
    done = run_cli(capsys, *typed)
    for text in (done.out, done.err):
        assert not ACTING.search(text), ascii(text)


@given(text=st.text(st.characters(codec="utf-8"), max_size=20))
def test_whatever_acts_is_taken_out_of_a_text_and_kept_by_json(text: str) -> None:
    assert not ACTING.search(harmless(text))
    assert "\n" not in harmless(text)
    assert harmless(text, lines=True).count("\n") == text.count("\n")
    whole = json.dumps([text], ensure_ascii=False)
    assert json.loads(escaped(whole)) == [text]
    assert not ACTING.search(escaped(whole))
