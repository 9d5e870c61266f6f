"""Training of grounding: the run folder, what it learns, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import flipped, run_cli
from safetensors.torch import load_file, save_file
from scenes import WORDS, text_rows, write_scenes
from torch import Tensor

from geomclip.grounding.model import GroundingModel
from geomclip.grounding.moments import proposals
from geomclip.grounding.objective import METHODS
from geomclip.grounding.record import Clips, Query
from geomclip.grounding.scores import best_moments, score
from geomclip.grounding.settings import GroundingSettings
from geomclip.grounding.trainer import Annotated, GroundingTrainer, HeldOutVideos, annotated, answers
from geomclip.grounding.training import load_run, split, train
from geomclip.machine.errors import DamagedError, GeomclipError, InputError
from geomclip.training.loop import Course
from geomclip.training.loop import train as step_through

SMALL = {"clips": 8, "width": 8, "batch_size": 4}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def run(scenes: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(*scenes, out=out, method="g2l", epochs=3, **SMALL)
    return out


def test_a_run_leaves_its_scores_weights_and_log(run: Path) -> None:
    names = {entry.name for entry in run.iterdir()} - {".geomclip.lock"}
    assert {"config.json", "log.jsonl", "checkpoints", "best.safetensors", "before.json", "after.json"} <= names
    config = json.loads((run / "config.json").read_text())
    assert config["finished"]
    assert config["settings"]["method"] == "g2l"
    before, after = (json.loads((run / name).read_text()) for name in ("before.json", "after.json"))
    assert before["queries"] == after["queries"] == 4
    assert set(before["values"]) >= {"R1@0.5", "R5@0.7", "mIoU"}
    assert config["chosen"]["score"] == pytest.approx(after["values"]["mIoU"])
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert set(next(line for line in log if "loss" in line)["terms"]) == set(METHODS["g2l"].terms)


def test_before_is_the_encoders_own_answer(scenes: tuple[Path, Path], run: Path) -> None:
    result = train(*scenes, out=run, resume=True)
    assert result.before.values == json.loads((run / "before.json").read_text())["values"]
    every, found, asked = proposals(8), [], []
    held = {line["video"] for line in map(json.loads, scenes[0].read_text().splitlines())}
    learned, _ = split([Query(video, "", ((0.0, 1.0),), 16.0) for video in held_order(scenes[0])], 0.1, seed=0)
    held -= {query.video for query in learned}
    for line in map(json.loads, scenes[0].read_text().splitlines()):
        if line["video"] in held:
            rows = torch.from_numpy(np.load(scenes[1] / f"{line['video']}.npy"))
            means = torch.nn.functional.normalize(every.means(rows), dim=1)
            found.append(best_moments(every, means @ text_rows()[WORDS.index(line["text"])], 16.0))
            asked.append(Query(line["video"], line["text"], ((line["start"], line["end"]),), 16.0))
    assert score(found, asked).values == pytest.approx(result.before.values)


def held_order(file: Path) -> list[str]:
    """Videos in the order of the file."""
    return list(dict.fromkeys(json.loads(line)["video"] for line in file.read_text().splitlines()))


def test_training_learns_what_the_encoder_does_not_know(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "more", videos=120)
    result = train(*scenes, out=tmp_path / "run", holdout=0.3, epochs=8, **SMALL)
    (moved, ends) = result.after.minus(result.before)["mIoU"]
    assert moved > 0.05
    assert ends is not None
    assert ends[0] > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", ["encoder", "mmn"])
def test_every_method_steps(method: str, preset: str) -> None:
    trainer = small_trainer(method=method, preset=preset)
    first, second = trainer.step(), trainer.step()
    assert first["step"] == 1
    assert second["loss"] != first["loss"]
    assert set(first["terms"]) == set(METHODS[method].terms)


def some_data(videos: int = 6, clips: int = 4, d: int = 8, d_text: int = 8) -> Annotated:
    generator = torch.Generator().manual_seed(0)
    rows = [Clips(f"v{v}", torch.randn(clips, d, generator=generator), 8.0) for v in range(videos)]
    queries = [Query(f"v{v}", f"{v} {at}", ((at, at + 3.0),), 8.0) for v in range(videos) for at in (0.0, 4.0)]
    return annotated(queries, rows, torch.randn(2 * videos, d_text, generator=generator))


def small_trainer(data: Annotated | None = None, **settings: object) -> GroundingTrainer:
    data = some_data() if data is None else data
    chosen = GroundingSettings(**{"clips": data.clips.shape[1], "width": 6, "joint": 5, "batch_size": 3, **settings})
    architecture = chosen.architecture(data.clips.shape[2], data.texts.shape[1])
    model = GroundingModel(architecture, generator=torch.Generator().manual_seed(chosen.seed))
    return GroundingTrainer(model, settings=chosen, data=data)


def test_an_epoch_shows_each_video_once_with_all_its_sentences() -> None:
    trainer = small_trainer()
    batches = [trainer._batch(step) for step in range(4)]
    for epoch in (batches[:2], batches[2:]):
        shown = torch.cat([batch.clips for batch in epoch])
        assert sorted(row.sum().item() for row in shown) == sorted(row.sum().item() for row in trainer.data.clips)
        assert [len(batch) for batch in epoch] == [6, 6]
    assert not torch.equal(batches[0].clips, batches[2].clips)


def test_a_trainer_taken_up_goes_on_with_the_same_bits() -> None:
    whole, first = small_trainer(method="g2l"), small_trainer(method="g2l")
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first.step()
    state = {file: {name: value.clone() for name, value in each.items()} for file, each in first.state().items()}
    other = small_trainer(method="g2l")
    other.load(state, done=2)
    for _ in range(2):
        other.step()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_a_loss_that_is_not_finite_stops_the_run_and_names_causes(tmp_path: Path) -> None:
    data = some_data()
    trainer = small_trainer(data, lr=10.0, clip_norm=0.0)
    with torch.no_grad():
        trainer.model.clip.weight.fill_(torch.nan)
    expected = r"step 1: the loss is not finite \(.*likely cause: the learning rate 10 is high \(try lr=1.0\)"
    with pytest.raises(GeomclipError, match=expected) as error:
        step_through(
            trainer,
            tmp_path,
            validation=HeldOutVideos(data),
            keep_best=lambda module, step: None,
            journal=None,
            course=Course(start={"mIoU": 0.0}),
        )
    assert "\n" not in str(error.value)


def test_answers_come_in_the_order_of_the_queries() -> None:
    data = some_data()
    model = small_trainer(data).model.eval()
    found = answers(model, data)
    order = torch.randperm(len(data.queries), generator=torch.Generator().manual_seed(1))
    mixed = Annotated(data.clips, data.texts[order], data.owner[order], tuple(data.queries[i] for i in order))
    again = answers(model, mixed)
    for place, of in enumerate(order.tolist()):
        assert [m.start for m in again[place]] == [m.start for m in found[of]]


def test_held_out_videos_are_not_learned_from() -> None:
    queries = [Query(f"v{v % 9}", str(v), ((0.0, 1.0),), 2.0) for v in range(30)]
    learned, held = split(queries, 0.3, seed=0)
    assert {query.video for query in learned}.isdisjoint(query.video for query in held)
    assert len({query.video for query in held}) == 3
    assert sorted(map(id, [*learned, *held])) == sorted(map(id, queries))
    with pytest.raises(InputError, match="1 annotated video: none is left"):
        split(queries[:1], 0.3, seed=0)


# ---------------------------------------------------------------------------------------------------- bad input


def query(video: str = "a") -> Query:
    return Query(video, "runs", ((0.0, 1.0),), 4.0)


def clips(video: str = "a", count: int = 4, width: int = 3) -> Clips:
    return Clips(video, torch.ones(count, width), 4.0)


def test_unusable_features_are_named_in_one_line() -> None:
    texts: Tensor = torch.ones(2, 3)
    both = [query("a"), query("b")]
    with pytest.raises(InputError, match=r"1 of 2 annotated videos have no features: b$"):
        annotated(both, [clips("a")], texts)
    with pytest.raises(InputError, match=r"features of b are \(4, 5\), those of a \(4, 3\)"):
        annotated(both, [clips("a"), clips("b", width=5)], texts)
    with pytest.raises(InputError, match=r"features of b are \(2, 3\), those of a \(4, 3\)"):
        annotated(both, [clips("a"), clips("b", count=2)], texts)
    spoilt = clips("b")
    spoilt.rows[2, 1] = torch.nan
    with pytest.raises(InputError, match="features of b hold NaN or infinity in clip 2"):
        annotated(both, [clips("a"), spoilt], texts)
    with pytest.raises(InputError, match="no query: there is nothing"):
        annotated([], [clips("a")], texts)
    many = [query(f"v{number}") for number in range(9)]
    with pytest.raises(InputError, match=r"9 of 9 annotated videos have no features: v0, v1, v2, v3, v4, \.\.\."):
        annotated(many, [], torch.ones(9, 3))


@pytest.mark.parametrize("count", [1, 2])
def test_a_video_of_one_or_two_clips_has_fewer_than_five_proposals_and_trains(count: int) -> None:
    trainer = small_trainer(some_data(clips=count), method="g2l", neighbors=5)
    for _ in range(3):
        assert np.isfinite(trainer.step()["loss"])
    found = answers(trainer.model.eval(), trainer.data)
    assert all(1 <= len(moments) < 5 for moments in found)


def test_features_of_another_width_begin_with_random_heads_and_say_so(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "data", videos=8)
    for file in scenes[1].iterdir():
        np.save(file, np.load(file)[:, :20])
    result = train(*scenes, out=tmp_path / "run", holdout=0.25, epochs=1, **SMALL)
    assert result.notes[0].startswith("clips have 20 dimensions and sentences 128: no zero-shot answer")
    assert result.settings.preset == "mmn"
    with pytest.raises(InputError, match="trained on features of 20 dimensions, which demo does not make"):
        load_run(tmp_path / "run").for_videos()


def test_a_run_is_gone_on_with_only_as_it_began(scenes: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a run: go on with it by resume=True"):
        train(*scenes, out=run)
    with pytest.raises(InputError, match="began with other settings"):
        train(*scenes, out=run, resume=True, epochs=4, lr=1e-4)
    other = write_scenes(tmp_path / "other", seed=5)
    with pytest.raises(InputError, match="began with other data"):
        train(*other, out=run, resume=True, epochs=4)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty .* no run of geomclip ground train"):
        train(*scenes, out=tmp_path)
    with pytest.raises(InputError, match="is no run of geomclip ground train"):
        load_run(tmp_path)
    with pytest.raises(InputError, match="name features, or a folder of videos"):
        train(scenes[0], out=tmp_path / "none")
    with pytest.raises(InputError, match="unknown method 'g3l'"):
        train(*scenes, out=tmp_path / "none", method="g3l")
    with pytest.raises(InputError, match="coalitions 7: must be even"):
        train(*scenes, out=tmp_path / "none", coalitions=7)


def test_the_commands_train_score_and_refuse(scenes: tuple[Path, Path], run: Path, tmp_path: Path, capsys) -> None:
    file, features = scenes
    out = tmp_path / "run"
    small = ("--clips=8", "--width=8", "--batch-size=4", "--epochs=1", "--quiet")
    done = run_cli(capsys, "ground", "train", "--annotations", file, "--features", features, "--out", out, *small)
    assert done.code == 0, done.err
    assert "after: step" in done.out
    found = tmp_path / "scores.json"
    done = run_cli(
        capsys, "ground", "score", "--annotations", file, "--features", features, "--run", out, "--out", found
    )
    assert done.code == 0, done.err
    kept = json.loads(found.read_text())["scores"]
    assert list(kept) == ["run", "random proposal", "best fixed", "blind", "map's oracle"]
    assert kept["map's oracle"]["values"]["mIoU"] == 1
    done = run_cli(capsys, "ground", "score", "--annotations", file, "--features", tmp_path / "no", "--run", out)
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].endswith("no such file or folder")


def test_predictions_of_others_are_read_and_scored(scenes: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    file, _ = scenes
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    perfect = tmp_path / "found.json"
    perfect.write_text(json.dumps([[[0, 0.5, 0.1], [line["start"], line["end"], 0.9]] for line in lines]))
    done = run_cli(capsys, "ground", "score", "--annotations", file, "--predictions", perfect, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["scores"]["predictions"]["values"]["R1@0.7"] == 1
    for content, message in (
        ("{", "cannot be read as JSON"),
        ("[]", "has 0 entries for 48 queries"),
        ("3", "must be a list, or a mapping"),
        ("{}", "has no moments for 48 of 48 queries"),
        (json.dumps([[[3, 1]]] * 48), "entry 1 moment 1: must begin before it ends, got 3 to 1"),
        (json.dumps([[[0, 10**400]]] * 48), "entry 1 moment 1: must be [start, end]"),
        (json.dumps([[["a", 1]]] * 48), r"must be [start, end] or [start, end, score]"),
        (json.dumps([3] * 48), "must be a list of moments"),
    ):
        perfect.write_text(content)
        done = run_cli(capsys, "ground", "score", "--annotations", file, "--predictions", perfect)
        assert done.code == 2
        assert message in done.err


def test_weights_with_a_flipped_bit_are_refused_and_those_of_an_earlier_version_read(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    expected = load_run(copy).model.state_dict()
    file = next(file for file in (copy / "best.safetensors", copy / "model.safetensors") if file.exists())
    save_file(load_file(file), file)  # as an earlier version wrote it
    assert all(torch.equal(value, expected[name]) for name, value in load_run(copy).model.state_dict().items())
    shutil.rmtree(copy)
    shutil.copytree(run, copy)
    flipped(file, -3)
    with pytest.raises(DamagedError, match=r"safetensors: is damaged: its weights are not those that were saved"):
        load_run(copy)
