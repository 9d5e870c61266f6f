"""Methods: the table, one line a method."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from geomclip.machine.errors import InputError
from geomclip.training.methods import METHODS, method_named
from geomclip.training.settings import TERMS, WEIGHTS, Settings


def test_the_table_has_the_methods_of_the_help():
    expected = (
        "ft m2mix m3mix vmix lmix vlmix imix unmix hcl cyclip cua cuaxu geodesic g2l siglip lp-ft wise-ft soup es"
    )
    assert list(METHODS) == expected.split()


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_line_of_the_table_says_what_can_be_done(method):
    assert bool(method.terms) == (method.stage == "train")
    assert set(method.mixed) <= set(WEIGHTS)
    assert set(method.plain) <= set(TERMS) - set(WEIGHTS)
    assert set(method.defaults) <= {each.name for each in fields(Settings)}
    assert Settings(**{**method.defaults, "method": method.name}).method == method.name
    assert method.title
    assert method.source


def test_only_what_comes_after_or_without_training_has_another_stage():
    others = {name: m.stage for name, m in METHODS.items() if m.stage != "train"}
    assert others == {"wise-ft": "after", "soup": "after", "es": "without"}
    assert {name: m.members for name, m in METHODS.items() if m.members} == {"wise-ft": (2, 2), "soup": (2, None)}
    assert {name for name, method in METHODS.items() if method.heads_first} == {"lp-ft"}


def test_a_name_that_is_no_method_is_answered_with_the_nearest():
    assert method_named("m3mix") is METHODS["m3mix"]
    with pytest.raises(InputError, match=r"^unknown method 'm2mixx'; did you mean m2mix or .*\?$"):
        method_named("m2mixx")
    with pytest.raises(InputError, match=r"^unknown method 'zzz'; the methods are ft, m2mix, .* es$"):
        method_named("zzz")


def test_the_table_can_be_read_without_torch():
    code = (
        "import sys; from geomclip.training.methods import METHODS; "
        "sys.exit(' '.join(name for name in ('torch', 'numpy') if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
