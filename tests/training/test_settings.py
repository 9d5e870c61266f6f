"""Settings: what cannot train is refused before anything runs, by the option a user typed."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest

from geomclip.cli.options import TRAINING
from geomclip.machine.errors import InputError
from geomclip.machine.words import speak_of_flags
from geomclip.training.settings import DEMO, PRESETS, TERMS, WEIGHTS, Settings, differences, preset


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lr": 0.0}, "lr 0 trains nothing"),
        ({"lr": math.inf}, "lr inf: must be finite"),
        ({"lr": math.nan}, "lr nan: must be finite"),
        ({"lr": -1.0}, "lr -1: must be finite, at least 0"),
        ({"batch_size": 1}, "batch_size 1: must be finite, at least 2"),
        ({"epochs": 0}, "epochs 0: must be finite, at least 1"),
        ({"warmup": 1.5}, "warmup 1.5: must be finite, at least 0 and at most 1"),
        ({"temperature": 0.0}, "temperature 0: must be positive"),
        ({"precision": "fp16"}, "use bf16, fp32 or auto"),
        ({"precision": "half"}, "precision 'half': use one of fp32, bf16, auto"),
        ({"lock": "video"}, "lock 'video': use one of none, image, text"),
        ({"captions": "two"}, "captions 'two': use one of one, all"),
        ({"coalitions": 65}, "coalitions 65: must be even"),
        ({"players": 1}, "players 1: must be finite, at least 2"),
        ({"width": 0.0}, "width 0: must be finite, at least 1e-06"),
        ({"weights": {"m4_mix": 1.0}}, "weights: m2_mix, v_mix, l_mix, vl_mix can have one"),
        ({"weights": {"m2_mix": -1.0}}, "finite and at least 0"),
        # as files of others may have it
        ({"lr": "fast"}, "lr 'fast': must be finite, at least 0"),
        ({"lr": [1e-5]}, "lr [1e-05]: must be finite, at least 0"),
        ({"epochs": 10**400}, "epochs 1000"),
        ({"clip_norm": 10**400}, "clip_norm 1000"),
        ({"coalitions": None}, "coalitions None: must be finite"),
        ({"weights": ["m2_mix"]}, "weights: m2_mix, v_mix, l_mix, vl_mix can have one"),
        ({"weights": {"m2_mix": "much"}}, "finite and at least 0"),
        ({"preset": "1" * 5000}, "use one of none, oh2023"),
    ],
)
def test_settings_that_cannot_train_are_refused_in_one_line(settings, reason):
    with pytest.raises(InputError) as error:
        Settings(**settings)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_python_callers_read_parameter_names_and_the_command_line_flags():
    def refused() -> str:
        with pytest.raises(InputError) as error:
            Settings(batch_size=1)
        return str(error.value)

    assert refused() == "batch_size 1: must be finite, at least 2 and at most 1e+06"
    speak_of_flags()
    try:
        assert refused() == "--batch-size 1: must be finite, at least 2 and at most 1e+06"
    finally:
        speak_of_flags(False)


def test_settings_survive_a_trip_through_json():
    there = Settings(lr=3e-4, weights={"m2_mix": 0.5}, temperature=None)
    assert Settings.from_dict(json.loads(json.dumps(there.to_dict()))) == there


def test_an_unknown_setting_in_a_file_is_refused():
    with pytest.raises(InputError, match="unknown settings: learning_rate"):
        Settings.from_dict({"learning_rate": 1})


def test_the_demo_every_preset_and_every_term_name_fields():
    known = {each.name for each in fields(Settings)}
    for table in (DEMO, *PRESETS.values()):
        assert set(table) <= known
    for term in TERMS.values():
        assert {*term.options.values(), *filter(None, [term.beta])} <= known


def test_a_term_has_a_weight_of_its_own_where_it_is_mixed():
    assert {name for name, term in TERMS.items() if term.beta} == set(WEIGHTS)


def test_every_setting_says_which_values_it_can_have():
    free = {"method", "betas", "device", "weights", "preserve", "val_metric"}
    for each in fields(Settings):
        bounded = each.metadata.get("within") or each.metadata.get("one_of") or each.type == "bool"
        assert bool(bounded) is (each.name not in free), each.name


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
    assert differences(Settings(), Settings(lr=1.0, epochs=9), ignore=("epochs",)) == ["lr 1e-05 there, 1.0 here"]
    assert differences(Settings(), Settings()) == []
