"""Settings: what cannot train is refused before anything runs, by the option a user typed."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest

from geomclip.cli.options import TRAINING
from geomclip.machine.errors import InputError
from geomclip.training.settings import CHOICES, DEMO, PRESETS, RANGES, Settings, differences, preset


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lr": 0.0}, "--lr 0 trains nothing"),
        ({"lr": math.inf}, "--lr inf: must be finite"),
        ({"lr": math.nan}, "--lr nan: must be finite"),
        ({"lr": -1.0}, "--lr -1: must be finite, at least 0"),
        ({"batch_size": 1}, "--batch-size 1: must be finite, at least 2"),
        ({"epochs": 0}, "--epochs 0: must be finite, at least 1"),
        ({"warmup": 1.5}, "--warmup 1.5: must be finite, at least 0 and at most 1"),
        ({"temperature": 0.0}, "--temperature 0: must be positive"),
        ({"precision": "fp16"}, "use bf16, fp32 or auto"),
        ({"lock": "video"}, "--lock 'video': use one of none, image, text"),
        ({"captions": "two"}, "--captions 'two': use one of one, all"),
        ({"weights": {"m4_mix": 1.0}}, "weights: m2_mix, v_mix, l_mix, vl_mix can have one"),
        ({"weights": {"m2_mix": -1.0}}, "finite and at least 0"),
    ],
)
def test_settings_that_cannot_train_are_refused_in_one_line(given, said):
    with pytest.raises(InputError) as error:
        Settings(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_survive_a_trip_through_json():
    there = Settings(lr=3e-4, weights={"m2_mix": 0.5}, temperature=None)
    assert Settings.from_dict(json.loads(json.dumps(there.to_dict()))) == there


def test_an_unknown_setting_in_a_file_is_refused():
    with pytest.raises(InputError, match="unknown settings: learning_rate"):
        Settings.from_dict({"learning_rate": 1})


def test_every_range_choice_and_preset_names_a_field():
    known = {each.name for each in fields(Settings)}
    for table in (CHOICES, RANGES, DEMO, *PRESETS.values()):
        assert set(table) <= known


def test_every_field_but_the_method_and_fine_print_has_an_option():
    without = {"method", "betas", "eps"}
    assert {option.name for option in TRAINING} == {each.name for each in fields(Settings)} - without


def test_the_preset_of_oh2023_is_theirs():
    alone, inside = (Settings(**{**preset("oh2023", method), "method": method}) for method in ("m2mix", "m3mix"))
    assert (alone.temperature, alone.temperature_m2, alone.learn_temperature) == (0.01, 0.07, False)
    assert alone.weights["m2_mix"] == 0.02  # their 0.01 is of a sum of two directions
    assert (alone.beta_m2, inside.beta_m2) == (0.5, 0.2)
    assert (alone.mode, alone.partner, alone.vl_target, alone.epochs, alone.batch_size) == (
        "eval",
        "flip",
        "both",
        9,
        128,
    )


def test_differences_name_the_option_and_both_values():
    assert differences(Settings(), Settings(lr=1.0, epochs=9), ignore=("epochs",)) == ["--lr 1e-05 there, 1.0 here"]
    assert differences(Settings(), Settings()) == []
