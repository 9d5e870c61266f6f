"""What stands out: what is beyond what it is compared with and beyond its interval, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import small_set

from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels import standouts
from geomclip.panels.lines import plain
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel
from geomclip.panels.standouts import STANDOUTS, standout_lines

I2T, T2I = "text_retrieval_recall@1", "image_retrieval_recall@1"


def lines_of(values: dict[str, Any], **more: Any) -> list[str]:
    """What stands out of values, given with the ends of their intervals."""
    ends = {key: each for key, each in values.items() if isinstance(each, tuple)}
    shown = {key: sum(each) / 2 if isinstance(each, tuple) else each for key, each in values.items()}
    return standouts.standouts(Panel(shown, ci=ends, n_images=200, n_texts=200, **more))


def bins(confidence: float, accuracy: float) -> list[dict[str, Any]]:
    return [{"count": 200, "confidence": confidence, "accuracy": accuracy}]


@pytest.mark.parametrize(
    ("values", "more", "line"),
    [
        ({I2T: (0.0, 0.02), T2I: (0.1, 0.2)}, {"null": {I2T: 0.01, T2I: 0.01}},
         "recall@1 not told apart from guesses (image → text)"),
        ({I2T: (0.0, 0.02), T2I: (0.0, 0.02)}, {"null": {I2T: 0.01, T2I: 0.01}},
         "recall@1 not told apart from guesses (image → text, text → image)"),
        ({"zeroshot_acc1": (0.08, 0.12)}, {"null": {"zeroshot_acc1": 0.1}}, "accuracy@1 not told apart from guesses"),
        ({"duplicate_image_share": 0.12, "duplicate_text_share": 0.3, "truncated_text_share": 0.06}, {},
         "12 % of images repeated, 30 % of texts shared by images, 6 % of texts cut"),
        ({"mean_cosine_image": (0.7, 0.8), "mean_cosine_text": (0.84, 0.86)}, {},
         "narrow cones: images 41° apart, texts 32° (90° if spread evenly)"),
        ({"mean_cosine_image": (0.9955, 0.9965)}, {},
         "collapsed: images next to one point (mean cosine 0.995 or more)"),
        ({"modality_gap_standardized": (2.1, 2.3)}, {}, "a gap of 2.2 times the spread within the clouds"),
        ({}, {"reliability": {"text_retrieval": bins(0.9, 0.6)}, "p": {"text_retrieval_ece": 0.001}},
         "overconfident image → text: 90 % sure, 60 % right"),
        ({}, {"reliability": {"text_retrieval": bins(0.9, 0.6), "image_retrieval": bins(0.8, 0.5)},
              "p": {"text_retrieval_ece": 0.001, "image_retrieval_ece": 0.001}},
         "overconfident both ways: 90 % sure, 60 % right; 80 %, 50 %"),
        ({}, {"reliability": {"text_retrieval": bins(0.9, 0.6), "image_retrieval": bins(0.2, 0.5)},
              "p": {"text_retrieval_ece": 0.001, "image_retrieval_ece": 0.001}},
         "over- and underconfident: 90 % sure, 60 % right; 20 %, 50 %"),
        ({}, {"reliability": {"zeroshot": bins(0.2, 0.6)}, "p": {"zeroshot_ece": 0.001}},
         "underconfident: 20 % sure, 60 % right"),
        ({"text_robin_hood": (0.5, 0.6)}, {"null": {"text_robin_hood": 0.3}},
         "hubs: few texts near to many images"),
    ],
)  # fmt: skip
def test_what_stands_out_is_said_in_one_line(values: dict[str, Any], more: dict[str, Any], line: str) -> None:
    assert lines_of(values, **more) == [line]


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ({I2T: (0.02, 0.06)}, {"null": {I2T: 0.01}}),
        ({I2T: 0.01}, {"null": {I2T: 0.01}}),  # no interval
        ({"duplicate_image_share": 0.009, "duplicate_text_share": 0.0, "truncated_text_share": 0.049}, {}),
        ({"mean_cosine_image": (0.49, 0.6)}, {}),
        ({"modality_gap_standardized": (0.9, 2.3)}, {}),
        ({"modality_gap_standardized": 2.3}, {}),
        ({}, {"reliability": {"text_retrieval": bins(0.9, 0.6)}, "p": {"text_retrieval_ece": 0.03}}),
        ({}, {"reliability": {"text_retrieval": bins(0.9, 0.6)}}),  # nothing says how often chance gives as much
        ({}, {"reliability": {"text_retrieval": bins(0.62, 0.6)}, "p": {"text_retrieval_ece": 0.001}}),
        ({"text_robin_hood": (0.5, 0.6)}, {"null": {"text_robin_hood": 0.48}, "null_error": {"text_robin_hood": 0.01}}),
    ],
)
def test_what_is_within_its_interval_does_not_stand_out(values: dict[str, Any], more: dict[str, Any]) -> None:
    assert lines_of(values, **more) == []


def test_no_more_than_six_lines_can_stand_out_and_each_fits_80_columns() -> None:
    every = {"mean_cosine_image": 0.999, "duplicate_image_share": 0.12, "mean_cosine_text": 0.8}
    every |= {I2T: 0.01, "modality_gap_standardized": 2.2, "text_robin_hood": 0.55}
    ends = {key: (max(0.0, value - 0.01), value + 0.001) for key, value in every.items()}
    sure = {"reliability": {"text_retrieval": bins(0.9, 0.6)}, "p": {"text_retrieval_ece": 0.001}}
    whole = Panel(every, ci=ends, null={I2T: 0.01, "text_robin_hood": 0.1}, n_images=200, n_texts=200, **sure)
    assert sum(bool(each.line(whole)) for each in STANDOUTS) == 7
    assert len(standouts.standouts(whole)) == 6
    values = {I2T: (0.0, 0.02), T2I: (0.0, 0.02), "duplicate_image_share": 0.12, "duplicate_text_share": 0.3}
    values |= {"mean_cosine_image": (0.7, 0.8), "mean_cosine_text": (0.84, 0.86), "text_robin_hood": (0.5, 0.6)}
    panel = Panel(
        {key: sum(each) / 2 if isinstance(each, tuple) else each for key, each in values.items()},
        ci={key: each for key, each in values.items() if isinstance(each, tuple)},
        null={I2T: 0.01, T2I: 0.01, "text_robin_hood": 0.1},
    )
    lines = plain(standout_lines(panel, 80), 80).splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("stands out   recall@1")


def test_a_panel_ends_with_what_stands_out_or_says_that_nothing_does() -> None:
    made = small_set(60, 2)
    panel = measure(made.replace(image=made.image + 1), bootstrap=20)  # all towards one corner: a narrow cone
    assert str(panel).partition("\nstands out   ")[2].startswith("narrow cones: images")
    assert "<div>stands out" in panel._repr_html_()
    assert str(Panel({"alignment": 1.0})).endswith("\nnothing stands out\n")


def test_of_even_clouds_with_honest_pairs_nothing_stands_out_but_chance() -> None:
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((2, 200, 32)).astype(np.float32)
    panel = measure(EmbeddingSet(*rows, torch.arange(200), logit_scale=0.01), bootstrap=50)
    assert standouts.standouts(panel) == ["recall@1 not told apart from guesses (image → text, text → image)"]
