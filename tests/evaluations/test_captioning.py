"""captioning: numbers of a file and of a CoCa, beside one caption for all and people; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_one_line, run_cli
from tiny_models import tiny_coca

import geomclip as gc
from geomclip.encoders import load_encoder
from geomclip.evaluations import captioning
from geomclip.evaluations.captions.tokens import TOKENIZER, tokens
from geomclip.machine.errors import InputError
from geomclip.pairs import Source, load_pairs
from geomclip.panels.loading import load

LIMIT = 24
SAME = "the same words for all"


@pytest.fixture(scope="module")
def pairs() -> Any:
    return load_pairs(Source("emoji", "val", limit=LIMIT))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, pairs: Any) -> Path:
    """Captions of two kinds: the second name of an image where there is one, and a wrong one."""
    made = {
        pair.image_id: pair.captions[-1] if place % 2 else pairs.pairs[place - 1].first_text + "!"
        for place, pair in enumerate(pairs.pairs)
    }
    path = tmp_path_factory.mktemp("captions") / "mine.json"
    path.write_text(json.dumps(made))
    return path


def scored(file: Path, **options: Any) -> gc.Panel:
    return gc.evaluate("captioning", split="val", limit=LIMIT, captions=str(file), **options)


def theirs(captions: list[list[str]], references: list[list[list[str]]]) -> dict[str, Any]:
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu")
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge")
    made = {place: [" ".join(each)] for place, each in enumerate(captions)}
    known = {place: [" ".join(each) for each in of_image] for place, of_image in enumerate(references)}
    return {
        "bleu": bleu.Bleu(4).compute_score(known, made, verbose=0)[0],
        "cider_d": cider.Cider().compute_score(known, made)[1],
        "rouge_l": rouge.Rouge().compute_score(known, made)[1],
    }


def test_a_file_is_scored_as_pycocoevalcap_scores_it(file: Path, pairs: Any) -> None:
    panel = scored(file)
    known = json.loads(file.read_text())
    captions = [tokens(known[pair.image_id]) for pair in pairs.pairs]
    references = [[tokens(each) for each in pair.captions] for pair in pairs.pairs]
    expected = theirs(captions, references)
    for size in (1, 2, 3, 4):
        assert panel[f"caption_bleu@{size}"] == pytest.approx(expected["bleu"][size - 1], abs=1e-6)
    for name in ("cider_d", "rouge_l"):
        assert panel[f"caption_{name}"] == pytest.approx(expected[name].mean(), abs=1e-6)
    low, high = panel.ci["caption_cider_d"]
    error = expected["cider_d"].std(ddof=1) / LIMIT**0.5
    assert high - low == pytest.approx(2 * 2.0687 * error, rel=1e-3)  # t of 23 degrees of freedom
    assert panel.params["tokenizer"] == TOKENIZER
    assert panel["caption_length"] == pytest.approx(np.mean([len(each) for each in captions]))
    assert panel["caption_distinct"] == pytest.approx(len({*map(tuple, captions)}) / LIMIT)
    assert panel.n_texts == sum(map(len, references))


def test_the_row_of_people_is_one_caption_against_the_others(file: Path, pairs: Any) -> None:
    panel = scored(file)
    references = [[tokens(each) for each in pair.captions] for pair in pairs.pairs if len(pair.captions) > 1]
    of_turns = []
    for turn in range(5):
        own = [each[turn % len(each)] for each in references]
        others = [[c for k, c in enumerate(each) if k != turn % len(each)] for each in references]
        of_turns.append(theirs(own, others)["cider_d"].mean())
    assert panel["caption_human_cider_d"] == pytest.approx(np.mean(of_turns), abs=1e-6)


def test_one_caption_for_all_is_the_most_frequent_and_of_those_the_most_ordinary(file: Path, pairs: Any) -> None:
    references = [[["a", "dog"], ["x"]], [["a", "dog"]], [["a", "cat"]], [["a", "cat"]], [["cat"]]]
    assert captioning.most_frequent(references) == ["a", "cat"]
    panel = scored(file)
    words = panel.params["frequent"].split()
    known = [[tokens(each) for each in pair.captions] for pair in pairs.pairs]
    expected = theirs([words] * LIMIT, known)
    assert panel["caption_frequent_cider_d"] == pytest.approx(expected["cider_d"].mean(), abs=1e-6)
    assert panel["caption_frequent_bleu@1"] == pytest.approx(expected["bleu"][0], abs=1e-6)


def test_the_same_caption_for_all_images_is_seen(tmp_path: Path, pairs: Any) -> None:
    path = tmp_path / "same.json"
    path.write_text(json.dumps([{"image_id": pair.image_id, "caption": SAME} for pair in pairs.pairs]))
    panel = scored(path)
    assert panel["caption_distinct"] == pytest.approx(1 / LIMIT)
    assert panel["caption_most_common"] == 1


def test_better_captions_are_told_from_worse_ones(file: Path, tmp_path: Path, pairs: Any) -> None:
    path = tmp_path / "good.json"
    path.write_text(json.dumps({pair.image.path: pair.captions[-1] for pair in pairs.pairs}))
    row = gc.compare(scored(file), scored(path))["caption_cider_d"]
    assert row.difference > 0
    assert row.verdict == "better"


@pytest.fixture(scope="module")
def coca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_coca(tmp_path_factory.mktemp("models") / "coca"))


def test_results_that_were_written_are_compared_pair_by_pair(file: Path, tmp_path: Path) -> None:
    panel = scored(file, bootstrap=20)
    for side in ("before", "after"):
        panel.save(tmp_path / f"{side}.json")
    row = gc.compare(tmp_path / "before.json", tmp_path / "after.json")["caption_cider_d"]
    assert (row.paired, row.difference, row.ci) == (True, 0.0, (0.0, 0.0))
    assert load(tmp_path / "after.json").items["image"]["caption"] == panel.items["image"]["caption"]


def test_a_coca_is_scored_by_what_it_writes(coca: str, tmp_path: Path, pairs: Any) -> None:
    how = {"split": "val", "limit": LIMIT, "max_tokens": 5}
    panel = gc.evaluate("captioning", coca, beams=2, **how)
    captions = panel.items["image"]["caption"]
    path = tmp_path / "written.json"
    path.write_text(json.dumps(dict(zip(panel.items["image"]["image_id"], captions, strict=True))))
    again = scored(path)
    for key, value in again.values.items():
        assert panel[key] == pytest.approx(value), key
    encoder = load_encoder(coca)
    image = gc.embed(coca, split="val", limit=LIMIT).image.double()
    text = torch.nn.functional.normalize(encoder.encode_text(encoder.tokenize(captions)[0]).double(), dim=1)
    first = [
        int((row > row[own]).sum() == 0 and (row == row[own]).sum() == 1) for own, row in enumerate(text @ image.T)
    ]
    assert panel["caption_retrieval_recall@1"] == pytest.approx(np.mean(first))
    assert (panel.params["beams"], panel.params["max_tokens"]) == (2, 5)
    assert panel.dim == 16


def test_empty_captions_score_nothing_and_are_named(tmp_path: Path, pairs: Any) -> None:
    path = tmp_path / "empty.json"
    names = [pair.image_id for pair in pairs.pairs]
    path.write_text(json.dumps({name: "" if place == 2 else "a face" for place, name in enumerate(names)}))
    assert f"1 captions are empty and score 0: {names[2]}" in scored(path).warnings
    path.write_text(json.dumps(dict.fromkeys(names, " . ")))
    with pytest.raises(InputError, match="all 24 captions are empty"):
        scored(path)


def test_one_image_has_no_cider_and_is_refused(file: Path, pairs: Any) -> None:
    with pytest.raises(InputError, match=r"emoji \(val\): one image with captions: CIDEr-D is undefined of fewer"):
        gc.evaluate("captioning", data=pairs.limited(1), captions=str(file))


def test_images_without_a_caption_are_left_out_and_named(tmp_path: Path, pairs: Any) -> None:
    from dataclasses import replace

    some = [replace(pair, captions=("?!",)) if place < 2 else pair for place, pair in enumerate(pairs.pairs)]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({pair.image_id: "a face" for pair in pairs.pairs}))
    panel = gc.evaluate("captioning", data=replace(pairs, pairs=some), captions=str(path))
    assert panel.n_images == LIMIT - 2
    assert panel.warnings[0].startswith("left out, as they have no captions to compare with: 2 images")
    assert panel.warnings[1] == "2 captions of all.json are of other images"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "entry 0 is no image with its caption"),
        ('{"a": 3}', "entry 0 is no image with its caption"),
        ('"a"', "holds no captions"),
        ("{", "is not readable as JSON"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}]', "image 1 is there twice"),
        ('{"a": "b", "a": "c"}', "image a is there twice"),
        ('{"a": "b"}', "24 of 24 images of emoji (val) have no caption there"),
        ("[" * 3000, "mine.json"),
    ],
)
def test_a_file_that_is_no_captions_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    asked = ("evaluate", "--task", "captioning", "--split", "val", "--limit", LIMIT)
    assert_one_line(run_cli(capsys, *asked, "--captions", path), 2, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "demo writes no captions: name a CoCa, or captions of any model with --captions"),
        (["--label-column", "group", "--captions", "FILE"], "to compare with: name pairs, or leave out --label-column"),
        (["--beams", "0"], "'--beams': 0 is not in the range"),
        (["--captions", "absent.json"], "absent.json"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    capsys: pytest.CaptureFixture[str], file: Path, arguments: list[str], said: str
) -> None:
    asked = [str(file) if each == "FILE" else each for each in arguments]
    assert_one_line(run_cli(capsys, "evaluate", "--task", "captioning", "--split", "val", *asked), 2, said)


def test_of_vectors_and_of_a_model_without_a_decoder_the_task_is_left_out(file: Path) -> None:
    from geomclip.evaluations.asked import Captioning
    from geomclip.evaluations.subject import Subject

    assert "writes no captions" in captioning.applies(Subject(split="val"), Captioning())
    assert not captioning.applies(Subject(split="val"), Captioning(captions=str(file)))
    vectors = gc.embed("demo", split="val", limit=4)
    assert "are vectors" in captioning.applies(Subject(embeddings=vectors), Captioning())
