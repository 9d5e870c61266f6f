"""The study of captions: its small CoCa knows the words that it learns from; what is committed says what docs say."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import helpers
import pytest
from helpers import ROOT

from geomclip.encoders import load_encoder
from geomclip.training.captions import has_decoder


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return helpers.script("study_of_captions", "analyses/captioning.py")


def test_the_start_is_a_coca_that_knows_the_words_of_its_captions(study: ModuleType, tmp_path: Path) -> None:
    encoder = load_encoder(study.start_of(tmp_path / "start"))
    assert has_decoder(encoder.module)
    texts = study.concepts("train").texts()[0]
    unknown = list(study.DEMOS).index("[UNK]")
    assert not (encoder.tokenize(texts)[0] == unknown).any()


def test_no_concept_of_test_is_trained_on(study: ModuleType) -> None:
    train, test = ({pair.image_id for pair in study.concepts(split).pairs} for split in ("train", "test"))
    assert len(train) > 900
    assert not train & test


def numbers(name: str) -> list[float]:
    table = (ROOT / "figures" / "captioning.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [float(re.match(r" *([\d.]+)", cell)[1]) for cell in row.split("|")[2:-1]]  # type: ignore[index]


def test_the_small_coca_beats_one_caption_for_all_and_is_far_from_people() -> None:
    ours, same, people = (numbers(name) for name in ("CIDEr-D", "CIDEr-D, one caption for all", "CIDEr-D, people"))
    assert len(ours) == 2
    assert all(mine > one for mine, one in zip(ours, same, strict=True))
    assert all(mine < 0.2 * theirs for mine, theirs in zip(ours, people, strict=True))
