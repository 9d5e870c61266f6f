"""`geomclip ground check`: what splits hold and share, what guesses reach, which videos lack features."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Done, assert_one_line, run_cli
from hypothesis import given
from hypothesis import strategies as st

from geomclip.grounding import splits
from geomclip.grounding.annotations import Annotations, load_queries
from geomclip.grounding.moments import overlap, proposals
from geomclip.grounding.record import Query
from geomclip.grounding.splits import check_splits, guesses, split_lines
from geomclip.machine.errors import InputError

Cli = Callable[..., Done]
TRAIN = {
    "v_a": {"duration": 8, "timestamps": [[0, 2], [0, 9], [3, 3]], "sentences": ["A dog.", "A cat.", "x"]},
    "v_b": {"duration": 4, "timestamps": [[1, 3], [1, 3], [0, 1]], "sentences": ["A dog.", "a dog.", "A  dog."]},
}
VAL = {"v_c": {"duration": 5, "timestamps": [[0, 5]], "sentences": ["a cat."]}}
TEST = {"v_c": {"duration": 5, "timestamps": [[0, 5], [0, 1]], "sentences": ["A cat.", "A bird."]}}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, "ground", "check", *arguments)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name, held in {"train": TRAIN, "val": VAL, "test": TEST}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(held))
    return [tmp_path / f"{name}.json" for name in ("train", "val", "test")]


def held(queries: Sequence[Query], name: str = "f") -> Annotations:
    return Annotations(Path(name), "jsonl", tuple(queries))


def test_faults_are_counted_and_shared_videos_found(files: list[Path]) -> None:
    found = check_splits([load_queries(file) for file in files], clips=4)
    train = found.splits[0]
    assert (train.videos, train.sentences, train.moments) == (2, 5, 5)
    assert (train.clipped, train.skipped, train.same_sentence, train.duplicates) == (1, 1, 1, 1)
    assert train.mean_seconds == pytest.approx((2 + 8 + 2 + 2 + 1) / 5)
    assert train.mean_share == pytest.approx((2 / 8 + 1 + 2 / 4 + 2 / 4 + 1 / 4) / 5)
    assert [
        (each.first, each.second, each.videos, each.sentences, each.sentences_of_a_video) for each in found.shared
    ] == [
        ("train", "val", 0, 1, 0),
        ("train", "test", 0, 1, 0),
        ("val", "test", 1, 1, 1),
    ]
    assert found.leaks == ["val and test share 1 videos"]
    assert [reason for _, reason in found.skipped] == ["is empty: 3 to 3"]


def test_parts_of_one_video_are_a_leak_where_ids_tell(tmp_path: Path) -> None:
    for name, at in (("one", "0.0_150.0"), ("two", "150.0_300.0")):
        row = {"qid": 1, "query": name, "duration": 150, "vid": f"NUsG9_BgSe_{at}", "relevant_windows": [[0, 2]]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    found = check_splits([load_queries(tmp_path / f"{name}.jsonl") for name in ("one", "two")])
    assert (found.shared[0].videos, found.shared[0].sources) == (0, 1)
    assert found.leaks == ["one and two share 1 videos of which parts are in both"]
    same_ids = [held([Query("v_0_1", "t", ((0, 1),), 2)], "a"), held([Query("v_1_2", "t", ((0, 1),), 2)], "b")]
    assert check_splits(same_ids).leaks == []


moments = st.tuples(st.integers(0, 7), st.integers(1, 8)).filter(lambda pair: pair[0] < pair[1])


@given(st.lists(st.lists(moments, min_size=1, max_size=3), min_size=1, max_size=9), st.integers(1, 6))
def test_guesses_are_what_a_loop_over_queries_and_proposals_finds(made: list[list[Any]], clips: int) -> None:
    every = proposals(clips)
    queries = [Query("v", str(n), tuple((a / 2, b / 2) for a, b in each), 4.0) for n, each in enumerate(made)]
    table = torch.zeros(len(queries), len(every), dtype=torch.float64)
    for row, query in enumerate(queries):
        for place, span in enumerate(every.spans.tolist()):
            spans = torch.tensor([[4 * end for end in span]], dtype=torch.float64)
            table[row, place] = overlap(spans, torch.tensor(query.windows, dtype=torch.float64)).max()
    found = guesses(queries, every)
    half, most = (table >= 0.5 - 1e-9).double(), (table >= 0.7 - 1e-9).double()
    assert found.possible == pytest.approx(float(most.amax(1).mean()))
    assert found.random == (pytest.approx(float(half.mean())), pytest.approx(float(most.mean())))
    assert found.fixed[0] == pytest.approx(float(half.mean(0).max()))
    place = [tuple(span) for span in every.spans.tolist()].index(found.span)
    assert found.fixed == (pytest.approx(float(half[:, place].mean())), pytest.approx(float(most[:, place].mean())))
    tied = half.sum(0) == half.sum(0).max()
    assert float(table[:, place].sum()) == pytest.approx(float(table.sum(0)[tied].max()))


def test_queries_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [Query("v", str(n), ((n / 3, n / 3 + 2), (0.0, 1.0 + n / 9)), 9.0) for n in range(11)]
    short = [Query("v", str(n), ((at, at + 1.0),), 16.0) for n, at in enumerate([12.0] * 6 + [0.0] * 2)]
    whole = [guesses(queries, proposals(4)) for queries in (several, short)]
    assert whole[1].fixed[0] == 0  # none reaches a half, so overlaps of all queries decide
    assert whole[1].span == (0.75, 1.0)
    monkeypatch.setattr(splits, "QUERIES", 3)
    assert [guesses(queries, proposals(4)) for queries in (several, short)] == whole


def test_an_overlap_of_exactly_a_half_counts_however_it_is_rounded() -> None:
    query = Query("v", "t", ((0.0, 4.0),), 6.0)  # clips 0 and 1 of three
    every = proposals(3)
    assert 0.49 < overlap(torch.tensor([[0.0, 4 / 6]], dtype=torch.float64), every.spans)[0, 0] < 0.5
    assert guesses([query], every).random[0] == pytest.approx(4 / 6)  # 0, 1: a half; 0 to 1; 0 to 2; not 2, 1 to 2


def test_a_split_without_moments_has_no_lengths_and_no_guesses() -> None:
    found = check_splits([held([Query("v", "t", (), 9.0)])])
    split = found.splits[0]
    assert (split.moments, split.mean_seconds, split.mean_share, split.guesses) == (0, None, None, None)
    assert "possible at IoU ≥ 0.7" in [line.text.strip() for line in split_lines(found, 80)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/charades_sta_train.txt", "a/charades_sta_test.txt"], ["train", "test"]),
        (["val_1.json", "val_2.json"], ["val_1", "val_2"]),
        (["a/train.json", "b/train.json", "b/val.json"], ["a/train", "b/train", "val"]),
        (["x_train.json"], ["x_train"]),
        (["x/a/t.json", "y/a/t.json"], ["x/a/t.json", "y/a/t.json"]),
        (["t.json", "t.txt"], ["t.json", "t.txt"]),
    ],
)
def test_splits_have_short_names_that_differ(paths: list[str], expected: list[str]) -> None:
    made = [held([Query("v", "t", (), 9.0)], path) for path in paths]
    assert [split.name for split in check_splits(made).splits] == expected


def test_a_file_given_twice_is_refused(files: list[Path], run: Cli) -> None:
    assert_one_line(run(files[0], files[0].parent / "." / files[0].name), 2, "is given twice")


def test_the_table_has_a_column_a_split_and_fits(files: list[Path], run: Cli) -> None:
    done = run(*files)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["train", "val", "test"]
    assert next(line.split()[-3:] for line in lines if line.startswith("sentences ")) == ["5", "1", "2"]
    assert [line.split()[-1] for line in lines if line.startswith(("train, ", "val, "))] == ["0", "0", "leak"]
    assert all(len(line) <= 80 for line in lines if "left out:" not in line)
    assert "sentence 3 is empty: 3 to 3" in " ".join(done.out.split())


def test_many_splits_go_below_each_other(run: Cli, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"split{number}.json").write_text(json.dumps({f"v{number}": VAL["v_c"]}))
    done = run(*(tmp_path / f"split{number}.json" for number in range(7)))
    assert [line.split() for line in done.out.splitlines() if line.strip().startswith("split")][:3] == [
        ["split0", "split1", "split2"],
        ["split3", "split4", "split5"],
        ["split6"],
    ]
    assert max(map(len, done.out.splitlines())) <= 80


def test_json_and_the_file_have_it_all(files: list[Path], run: Cli, tmp_path: Path) -> None:
    done = run(*files, "--json", "--out", tmp_path / "check.json", "--clips", 5)
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found == json.loads((tmp_path / "check.json").read_text())
    assert found == json.loads(check_splits([load_queries(file) for file in files], clips=5).to_json())
    assert found["schema"] == "geomclip.ground.check/1"
    assert found["splits"][0]["clips"] == 5
    assert found["leaks"] == ["val and test share 1 videos"]


def test_a_leak_is_a_gate_if_it_is_asked_for(files: list[Path], run: Cli) -> None:
    done = run(*files, "--fail-on-leak")
    assert done.code == 3
    assert done.err == "geomclip: error: --fail-on-leak val and test share 1 videos\n"
    assert done.out == run(*files).out
    assert run(*files[:2], "--fail-on-leak").code == 0


def test_videos_without_features_are_counted_named_and_listed(files: list[Path], run: Cli, tmp_path: Path) -> None:
    rows = [{"video": f"n{number}", "text": "t", "duration": 3} for number in range(7)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "features").mkdir()
    for video in ("v_a", "v_b", "n3"):
        np.save(tmp_path / "features" / f"{video}.npy", np.ones((2, 3)))
    done = run(*files[:2], tmp_path / "own.jsonl", "--features", tmp_path / "features", "--out", tmp_path / "c.json")
    assert (done.code, done.err) == (0, "")
    assert "has no features of 7 of 10 videos: v_c, n0, n1, n2, n4, ... --out lists all" in " ".join(done.out.split())
    assert json.loads((tmp_path / "c.json").read_text())["lacking"]["absent"] == [
        "v_c",
        *(f"n{n}" for n in (0, 1, 2, 4, 5, 6)),
    ]
    assert "has features of all 2 videos" in " ".join(run(files[0], "--features", tmp_path / "features").out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["none.json"], 2, "none.json: no such file"),
        (["train.json", "--format", "taco"], 2, "no format 'taco'; did you mean tacos?"),
        (["train.json", "--format", "tacos"], 2, "'v_a', fps should be a number"),
        (["train.json", "--durations", "val.json"], 2, "leave --durations out"),
        (["lines.txt"], 2, "with --durations"),
        (["train.json", "--clips", "0"], 2, "0 is not in the range"),
        (["train.json", "--out", "c.txt"], 2, "whose name ends in .json"),
        (["train.json", "--features", "none"], 2, "none: no such file or folder"),
        (["train.json", "--features", "val.json"], 2, "is no HDF5 file"),
        (["train.json", "--fail-on-leaks"], 2, "did you mean --fail-on-leak"),
        ([], 2, "FILE"),
        (["a\x1b[31m.json"], 2, "no such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    files: list[Path], run: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, expected: str
) -> None:
    pytest.importorskip("h5py")
    monkeypatch.chdir(files[0].parent)
    Path("lines.txt").write_text("v 0 1##a dog")
    assert_one_line(run(*arguments), code, expected)


def test_a_name_that_leads_out_of_the_features_is_one_line(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"video": "../secret", "text": "t", "duration": 3}')
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "secret.npy", np.ones((2, 3)))
    done = run(tmp_path / "own.jsonl", "--features", tmp_path / "features")
    assert_one_line(done, 2, "'../secret' leaves")
    with pytest.raises(InputError, match="leaves"):
        check_splits([load_queries(tmp_path / "own.jsonl")], features=tmp_path / "features")
