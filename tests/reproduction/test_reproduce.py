"""Rows run end to end: weights of real formats from a local hub, data made to the formats, what is said of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import assert_one_line, picture, run_cli
from hub_server import Hub, close_session, connect, served
from pair_files import write
from published import CLASSES, GAP, RECALLS, RETRIEVAL, TWO, coco, flickr, karpathy, of_classes
from recorder import Recorder
from tiny_models import tiny_model

from geomclip.machine.errors import GateError, GeomclipError, InputError
from geomclip.reproduction import run as running
from geomclip.reproduction.record import Reproduction
from geomclip.reproduction.rows import Number, Row
from geomclip.reproduction.run import reproduce
from geomclip.reproduction.verdicts import Found, Outcome

ROWS = (RETRIEVAL, GAP, CLASSES)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    tiny_model(folder / "org/tiny")
    with served(folder) as server:
        yield server


@pytest.fixture
def connected(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub.seen.clear()
    connect(monkeypatch, hub.address)
    yield hub
    close_session()


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    karpathy(root / "coco-karpathy")
    coco(root / "coco")
    of_classes(root / "cifar2")
    return root


@pytest.fixture
def how(data_root: Path, tmp_path: Path) -> dict[str, Any]:
    return {"data_root": data_root, "cache_dir": tmp_path / "cache", "out": tmp_path / "out", "bootstrap": 20}


def as_found(row: Row, outcome: Outcome) -> Row:
    """The row as if what came out had been published."""
    numbers = tuple(replace(number, published=outcome.ours(number)) for number in row.numbers)
    return replace(row, numbers=numbers)


# --- what is said


def test_random_weights_are_off_and_the_table_says_so_number_by_number(
    connected: Hub, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "ROWS", ROWS)
    monkeypatch.setenv("COLUMNS", "80")
    options = [part for name, value in how.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = run_cli(capsys, "reproduce", *options, "--quiet")
    assert done.code == 3
    assert done.err == "geomclip: error: numbers off: 8 of 8\n"
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "tiny-coco: hf-hub:org/tiny on coco-karpathy, test" in lines
    row = next(line for line in lines if line.startswith("R@1 image → text, %"))
    assert row.split()[5:7] == ["50.12", "4.17"]  # one of 24 images
    assert row.endswith(" off")
    assert "  published: open_clip retrieval (docs/reproduce.md)" in lines
    assert lines[-1] == "8 numbers: 8 off"


def test_numbers_that_come_out_hold_and_the_exit_code_is_0(
    connected: Hub, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = reproduce(rows=ROWS, **how)
    assert set(first.verdicts()) == {"off"}
    same = [as_found(row, outcome) for row, outcome in zip(ROWS, first.outcomes, strict=True)]
    monkeypatch.setattr(running, "ROWS", same)
    options = [part for name, value in how.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = run_cli(capsys, "reproduce", *options, "--json", "--quiet")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["schema"] == "geomclip.reproduce/1"
    assert result["counts"] == {"holds": 8}
    assert all(row["kept"] for row in result["rows"])
    assert {number["difference"] for row in result["rows"] for number in row["numbers"]} == {0.0}


def test_first_captions_are_those_that_the_gap_is_of(connected: Hub, how: dict[str, Any]) -> None:
    import geomclip as gc

    found = reproduce(rows=[GAP], **how).outcomes[0]
    rows = gc.embed("hf-hub:org/tiny", "coco", split="val", data_root=how["data_root"], cache_dir=how["cache_dir"])
    assert found.ours(GAP.numbers[0]) == gc.measure(rows, captions="first", bootstrap=0)["modality_gap"]
    assert found.ours(GAP.numbers[0]) != gc.measure(rows, bootstrap=0)["modality_gap"]


def test_other_images_than_the_published_ones_never_hold(connected: Hub, how: dict[str, Any]) -> None:
    found = reproduce(rows=[GAP], **how).outcomes[0]
    more = replace(as_found(GAP, found), images=5000)
    table = reproduce(rows=[more], **how)
    assert list(table.verdicts()) == ["not compared"]
    assert "  24 images, and the published numbers are of 5,000: these are other data" in str(table)
    with pytest.raises(GeomclipError, match="numbers not compared: 1 of 1; none is off, but that is no success"):
        table.check()


def test_a_limited_run_is_compared_with_nothing(connected: Hub, how: dict[str, Any]) -> None:
    table = reproduce(rows=ROWS, limit=6, **how)
    assert set(table.verdicts()) == {"not compared"}
    assert "the first 6 images alone: not comparable with numbers of 24" in str(table)
    with pytest.raises(GeomclipError, match="numbers not compared: 8 of 8"):
        table.check()


# --- what is not here


def test_what_is_not_here_is_said_with_the_way_and_is_no_success(
    connected: Hub, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = replace(GAP, name="no-weights", model="hf-hub:org/absent")
    nowhere = replace(CLASSES, name="no-data", data="cifar3")
    flickr = replace(RETRIEVAL, name="no-photos", data="flickr30k")
    same = as_found(GAP, reproduce(rows=[GAP], **how).outcomes[0])
    monkeypatch.setattr(running, "ROWS", [same, absent, nowhere, flickr])
    monkeypatch.setenv("COLUMNS", "400")
    options = [part for name, value in how.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = run_cli(capsys, "reproduce", *options, "--quiet")
    assert done.code == 1
    assert done.err.startswith("geomclip: error: numbers not run: 8 of 9; none is off")
    told = " ".join(done.out.split())
    assert "no-weights not here: hf-hub:org/absent: open_clip_config.json is not on this machine" in told
    assert f"place it at {how['cache_dir']}/weights/models--org--absent/open_clip_config.json" in told
    assert f"no-data not here: cifar3 is not at {how['data_root']}/cifar3: write the images into" in told
    assert "no-photos not here: flickr30k is not at" in told
    assert "`geomclip data download flickr30k` fetches it" in told
    assert done.out.splitlines()[-1] == "9 numbers: 1 holds, 8 not run"


def test_the_list_runs_and_fetches_nothing(
    connected: Hub, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = replace(RETRIEVAL, name="no-photos", data="flickr30k", weights="0.6 GB")
    monkeypatch.setattr(running, "ROWS", [GAP, CLASSES, nowhere])
    del how["bootstrap"]
    options = [part for name, value in how.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = run_cli(capsys, "reproduce", "--list", *options)
    assert done.code == 0
    assert not connected.seen
    assert not how["out"].exists()
    assert not how["cache_dir"].exists()
    assert max(map(len, done.out.splitlines())) <= 80 or "/" in max(done.out.splitlines(), key=len)
    told = " ".join(done.out.split())
    assert "weights not here: 0.6 GB, fetched when the row is run" in told
    assert f"here, in {how['data_root']}/coco" in told
    assert "its authors give the photos out after a form" in told
    assert told.endswith("0 of 3 rows have all that they need here; sources: docs/reproduce.md")
    listed = json.loads(run_cli(capsys, "reproduce", "--list", "--json", *options).out)["rows"]
    assert [row["data_here"] for row in listed] == [True, True, False]
    reproduce(rows=[GAP], **how)
    assert running.places(rows=[GAP], **how)[0].ready
    assert running.places(rows=[GAP], **how)[0].result == f"kept in {how['out']}/tiny-gap"


def test_weights_placed_by_hand_are_seen_at_once(tmp_path: Path) -> None:
    places = lambda: running.places(only="b32-openai-gap", cache_dir=tmp_path)[0]  # noqa: E731
    assert not places().weights_here
    folder = tmp_path / "weights" / "models--timm--vit_base_patch32_clip_224.openai"
    write(folder, {"open_clip_model.safetensors": b"weights"})
    assert places().weights == "here"


def test_a_row_that_is_not_there_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_cli(capsys, "reproduce", "--only", "b32-openai-coca")
    assert_one_line(done, 2, "--only: no row 'b32-openai-coca'; did you mean b32-openai-coco")
    done = run_cli(capsys, "reproduce", "--model", "ViT-B/33")
    assert_one_line(done, 2, "--model: no row of model 'ViT-B/33'; did you mean ViT-B/32")
    done = run_cli(capsys, "reproduce", "--only", "b32-openai-coco", "--list", "--data-root", "nowhere")
    assert_one_line(done, 2, "--data-root: nowhere is not a folder")
    done = run_cli(capsys, "reproduce", "--only", "b32-openai-coco", "--device", "gpu7")
    assert_one_line(done, 2, "gpu7")
    done = run_cli(capsys, "reproduce", "--only", "b32-openai-coco", "--data", "flickr30k")
    assert_one_line(done, 2, "no row has all of --only, --data: `geomclip reproduce --list` shows them")


# --- folders of classes


def test_classes_are_prompted_as_the_published_numbers_were_whatever_lies_beside(data_root: Path) -> None:
    from geomclip.reproduction.classes import read

    (data_root / "cifar2" / "classnames.txt").write_text("dog\ncat\n")
    pairs = read(CLASSES, data_root, None)
    assert pairs.classes == ("airplane", "lawn mower")
    assert pairs.class_prompts is not None
    assert len(pairs.class_prompts[1]) == 18
    assert pairs.class_prompts[1][:2] == ("a photo of a lawn mower.", "a blurry photo of a lawn mower.")
    assert pairs.class_prompts[1][-1] == "a photo of the big lawn mower."
    assert [pair.label for pair in pairs.pairs] == ["airplane"] * 4 + ["lawn mower"] * 4


def test_a_thousand_folders_of_wordnet_ids_get_the_names_of_imagenet(tmp_path: Path) -> None:
    from geomclip.reproduction.classes import read
    from geomclip.reproduction.rows import IMAGENET

    for number in range(1000):
        (tmp_path / "imagenet1k" / "val" / f"n{number:08}").mkdir(parents=True)
    write(tmp_path / "imagenet1k" / "val", {"n00000134/a.JPEG": picture(kind="JPEG")})
    pairs = read(replace(CLASSES, data="imagenet1k", split="val", classes=IMAGENET), tmp_path, None)
    assert pairs.classes is not None
    assert pairs.class_prompts is not None
    assert len(set(pairs.classes)) == len(pairs.class_prompts) == 1000
    assert pairs.pairs[0].label == pairs.classes[134] == "crane bird"
    assert len(pairs.class_prompts[134]) == 80
    assert pairs.class_prompts[134][0] == "a bad photo of a crane bird."


def test_other_classes_than_so_many_are_not_run(connected: Hub, how: dict[str, Any]) -> None:
    row = replace(CLASSES, classes=replace(TWO, count=10))
    outcome = reproduce(rows=[row], **how).outcomes[0]
    assert not outcome.missing
    assert outcome.why.endswith("test has 2 folders, and cifar2 has 10 classes, a folder each")


def test_folders_without_an_image_are_not_run(connected: Hub, how: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "cifar2" / "test" / name).mkdir(parents=True)
    outcome = reproduce(rows=[CLASSES], **{**how, "data_root": tmp_path}).outcomes[0]
    assert outcome.why.endswith("the 2 folders of classes hold no image")


# --- what is kept


def test_what_is_done_is_not_done_again_until_its_contents_change(
    connected: Hub, how: dict[str, Any], tmp_path: Path
) -> None:
    how["data_root"] = coco(tmp_path / "own")
    first = reproduce(rows=[GAP], **how)
    fetched = connected.seen["GET org/tiny/open_clip_model.safetensors"]
    kept = how["out"] / "tiny-gap" / "kept.json"
    before = kept.stat().st_mtime_ns
    again = reproduce(rows=[GAP], **how)
    assert again.outcomes[0].kept
    assert not first.outcomes[0].kept
    assert str(again) == str(first).replace("first caption\n", "first caption, kept from before\n")
    assert kept.stat().st_mtime_ns == before
    assert connected.seen["GET org/tiny/open_clip_model.safetensors"] == fetched == 1
    (tmp_path / "own/val2017/000000000003.jpg").write_bytes(picture(999, kind="JPEG"))
    changed = reproduce(rows=[GAP], **how)
    assert not changed.outcomes[0].kept
    number = GAP.numbers[0]
    assert changed.outcomes[0].ours(number) != first.outcomes[0].ours(number)
    assert not reproduce(rows=[GAP], **{**how, "bootstrap": 30}).outcomes[0].kept


@pytest.mark.parametrize("content", ["{", '{"schema": "geomclip.reproduce/1"}', "[]", '{"schema": 3, "key": 4}'])
def test_a_damaged_result_is_made_again(connected: Hub, how: dict[str, Any], content: str) -> None:
    first = reproduce(rows=[GAP], **how)
    (how["out"] / "tiny-gap" / "kept.json").write_text(content)
    again = reproduce(rows=[GAP], **how)
    assert not again.outcomes[0].kept
    assert str(again) == str(first)


def test_a_digit_of_what_was_kept_is_seen_and_told(connected: Hub, how: dict[str, Any]) -> None:
    first = reproduce(rows=[GAP], **how)
    file = how["out"] / "tiny-gap" / "kept.json"
    value = json.loads(file.read_text())["values"][GAP.numbers[0].key]
    file.write_text(file.read_text().replace(repr(value), repr(value + 0.5)))
    recorder = Recorder()
    again = reproduce(rows=[GAP], progress=recorder, **how)
    assert not again.outcomes[0].kept
    assert str(again) == str(first)
    assert [line for line in recorder.lines if "kept.json is damaged or changed" in line and "measured again" in line]


def test_the_panel_of_a_row_can_be_loaded(connected: Hub, how: dict[str, Any]) -> None:
    import geomclip as gc

    reproduce(rows=[RETRIEVAL], **how)
    result = gc.compare(*[how["out"] / "tiny-coco" / "panel.json"] * 2, bootstrap=0)
    assert set(result) == set(RECALLS)


# --- the protocol of fine-tuning


def test_two_runs_of_one_caption_are_compared_and_go_on_where_they_were(
    connected: Hub, how: dict[str, Any], tmp_path: Path
) -> None:
    from geomclip.training.folder import read_config

    numbers = (
        Number("uniformity_joint", below_zero=True),
        Number("relative_alignment_text_to_image", below_zero=True),
        Number("text_retrieval_recall@1"),
    )
    row = Row("tiny-m2mix", "hf-hub:org/tiny", "flickr30k", "test", 40, numbers, "Oh et al. 2023", trained=True)
    how["data_root"] = flickr(tmp_path / "flickr30k")
    first = reproduce(rows=[row], **how)
    folder = how["out"] / "tiny-m2mix"
    captions = (folder / "captions.csv").read_text().splitlines()
    assert len(captions) == 177
    assert all(line.endswith(f'once 0",{line.rpartition(",")[2]}') for line in captions[1:])
    assert {read_config(folder / method)["settings"]["preset"] for method in ("ft", "m2mix")} == {"oh2023"}
    outcome = first.outcomes[0]
    assert outcome.found is not None
    difference = json.loads((folder / "comparison.json").read_text())["metrics"]["uniformity_joint"]
    assert outcome.ours(numbers[0]) == difference["difference"] == difference["after"] - difference["before"]
    assert outcome.verdict(numbers[0]) == ("holds" if outcome.found.ci["uniformity_joint"][1] < 0 else "off")
    assert outcome.verdict(numbers[2]) == "not judged"
    log = (folder / "m2mix" / "log.jsonl").read_bytes()
    again = reproduce(rows=[row], **how)
    assert again.outcomes[0].kept
    assert (folder / "m2mix" / "log.jsonl").read_bytes() == log
    assert again.outcomes[0].found == outcome.found


# --- the rules of verdicts


def outcome_of(ours: float | None, number: Number, *, images: int = 10, limited: bool = False, **ci: Any) -> Outcome:
    row = Row("one", "demo", "emoji", "test", 10, (number,), "nowhere")
    return Outcome(row, Found({number.key: ours}, ci, images, limited))


@pytest.mark.parametrize(
    ("ours", "expected"),
    [(0.5, "holds"), (0.503, "holds"), (0.497, "holds"), (0.5031, "off"), (0.4969, "off"), (None, "not run")],
)
def test_a_number_holds_within_its_tolerance_and_is_off_beyond(ours: float | None, expected: str) -> None:
    number = Number("modality_gap", 0.5, 0.003)
    assert outcome_of(ours, number).verdict(number) == expected


@pytest.mark.parametrize(
    ("ours", "ci", "expected"), [(-1, (-2, -0.1), "holds"), (-1, (-2, 0.1), "off"), (1, (0.5, 2), "off")]
)
def test_what_must_be_below_zero_is_so_with_its_whole_interval(ours: float, ci: Any, expected: str) -> None:
    number = Number("uniformity_joint", below_zero=True)
    assert outcome_of(ours, number, uniformity_joint=ci).verdict(number) == expected


def test_a_number_off_outweighs_those_that_were_not_run() -> None:
    number = Number("modality_gap", 0.5, 0.003)
    table = Reproduction((outcome_of(0.9, number), Outcome(outcome_of(0.5, number).row, why="no")))
    with pytest.raises(GateError, match=r"^numbers off: 1 of 2$"):
        table.check()
    unjudged = Number("modality_gap")
    Reproduction((outcome_of(0.5, number), outcome_of(0.5, unjudged))).check()
    assert Reproduction((outcome_of(0.5, number), outcome_of(0.5, unjudged))).counts() == {"holds": 1, "not judged": 1}


def test_a_folder_that_is_being_written_is_refused(how: dict[str, Any]) -> None:
    from geomclip.machine.lock import Lock

    with Lock(how["out"]), pytest.raises(InputError, match="is being written by process"):
        reproduce(rows=[GAP], **how)
