"""Trials of a study by an engine: each is made once, after what it needs, whatever dies."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from troubled import marks

sys.path.insert(0, str(ROOT / "analyses"))

from trials import Workers, add_options, in_turn, made, workers_of

NEEDS = {"b<a": "a", "d<elsewhere": "elsewhere"}


def test_trials_wait_for_what_they_need_and_a_killed_one_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()  # of an earlier call
    asked = partial(marks, tmp_path)
    found = list(made(["b<a", "a", "mortal", "d<elsewhere"], asked, Workers("process", 2), needs=NEEDS.get))
    assert found == ["a", "mortal", "d<elsewhere", "b<a"]
    assert {file.name: file.read_text() for file in tmp_path.iterdir() if file.stat().st_size} == dict.fromkeys(
        ("a", "b", "mortal", "d"), "made "
    )


def test_without_an_engine_trials_are_made_here_in_their_order(tmp_path: Path) -> None:
    seen: list[str] = []
    assert list(made(["x", "y"], seen.append, Workers())) == seen == ["x", "y"]
    assert list(made([], seen.append, Workers("process", 2))) == []


@given(st.permutations(range(6)), st.data())
def test_each_trial_is_begun_once_and_after_what_it_needs(order: list[int], data: st.DataObject) -> None:
    needs = {trial: data.draw(st.one_of(st.none(), st.integers(-1, trial - 1))) for trial in order}  # -1 is no trial
    there, begun, waiting = set[int](), list[int](), list[int]()
    for trial in in_turn(order, needs.get, there):
        if trial is None:
            there.add(waiting.pop(data.draw(st.integers(0, len(waiting) - 1))))  # it is only said where some are made
            continue
        assert needs[trial] in {None, -1} | there
        begun.append(trial)
        waiting.append(trial)
    assert sorted(begun) == sorted(order)


def test_an_engine_that_cannot_be_had_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser(prog="study")
    add_options(parser)
    monkeypatch.setitem(sys.modules, "ray", None)
    for words, said in (
        (["--engine", "ray"], "--engine ray needs ray: pip install 'geomclip[ray]'"),
        (["--processes", "2"], "--processes is of an engine: name one by --engine process"),
        (["--engine", "process", "--processes", "0"], "--processes must be at least 1, got 0"),
    ):
        with pytest.raises(SystemExit):
            workers_of(parser, parser.parse_args(words))
        assert capsys.readouterr().err.splitlines()[-1] == f"study: error: {said}"
    assert workers_of(parser, parser.parse_args(["--engine", "process"])) == Workers("process", 2)
    assert workers_of(parser, parser.parse_args([])) == Workers()
