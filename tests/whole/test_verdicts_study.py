"""The study of verdicts: a thin slice of it is right, each kind is what it says it is, and its table counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from helpers import ROOT

from geomclip.panels.comparison.answer import Answer, Finding
from geomclip.panels.comparison.rules import HEADLINES

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def study() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "analyses"))
        yield import_module("verdicts")
        sys.modules.pop("verdicts")


@pytest.mark.usefixtures("threads")
def test_three_pairs_of_each_kind_have_the_headline_of_their_truth(study: ModuleType) -> None:
    found = [study.run(job) for job in study.jobs_of(3 * len(study.KINDS), 0, [60, 120], [64])]
    wrong = [
        (study.KINDS[kind].name, headline) for kind, headline, _ in found if headline != study.KINDS[kind].headline
    ]
    assert len(wrong) <= 0.05 * len(found), wrong
    assert sum(bool(words) for _, _, words in found) <= 0.05 * len(found)


def test_every_kind_has_a_true_headline_that_a_comparison_can_have(study: ModuleType) -> None:
    assert {kind.headline for kind in study.KINDS} <= set(HEADLINES)


def sides(study: ModuleType, name: str) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, float], ...]:
    """A pair of a kind, of 50 images."""
    kind = next(kind for kind in study.KINDS if kind.name == name)
    generator = np.random.default_rng(0)
    both = study.Cones(63).draw(50, generator, worse=kind.noisier)
    before, after = ((study.padded(image), study.padded(text), own, scale) for image, text, own, scale in both)
    return tuple(kind.made(before, after, generator))


def test_a_narrowed_pair_keeps_every_confidence(study: ModuleType) -> None:
    before, after = sides(study, "level"), sides(study, "narrowed")
    logits = [scale * text @ image.T for image, text, _, scale in (before[1], after[1])]
    middle = [each - each.mean(1, keepdims=True) for each in logits]  # what a softmax takes
    np.testing.assert_allclose(middle[0], middle[1], atol=1e-9)
    image = after[1][0]
    assert (image @ image.T).mean() > 0.8


def test_at_chance_no_text_keeps_its_image_on_either_side(study: ModuleType) -> None:
    before, after = sides(study, "at chance")
    assert (before[2] == after[2]).all()
    true = sides(study, "level")[0][2]
    assert (before[2] == true).mean() < 0.2


def test_the_table_counts_what_is_wrong(study: ModuleType) -> None:
    found = [(0, "no difference", []), (0, "worse", ["retrieval down"]), (1, "better", [])]
    lines = study.table(found).splitlines()
    assert lines[2] == "| level | 2 | no difference | 50.0 % | 1 worse | 1 retrieval down |"
    assert lines[-1] == "| **all** | 3 | | 33.3 % | | |"
    answer = Answer("better", "", (Finding("retrieval", "up", ""), Finding("space", "kept", "")))
    assert study.KINDS[0].wrong_words(answer) == ["retrieval up"]
