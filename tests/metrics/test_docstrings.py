"""The first paragraph of each function of rows says whether it normalises them, and it is so."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pytest
import torch
from helpers import small_set

from geomclip import metrics

FUNCTIONS = {name: value for name in metrics.__all__ if inspect.isfunction(value := getattr(metrics, name))}
NORMALISED, AS_THEY_ARE = "Rows are normalised.", "Rows are taken as they are."
OF_ROWS_AS_THEY_ARE = {"trustworthiness", "continuity"}
"""Of coordinates; the others that take what they are given take confidences and probabilities."""


def first_paragraph(name: str) -> str:
    return " ".join((inspect.getdoc(FUNCTIONS[name]) or "").split("\n\n")[0].split())


def normalises(name: str) -> bool:
    """Whether it is of rows, and makes them unit; counts are no rows."""
    function = inspect.unwrap(FUNCTIONS[name])
    return "@on_unit_rows" in inspect.getsource(function) and "counts" not in inspect.signature(function).parameters


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_first_paragraph_says_whether_rows_are_normalised(name: str) -> None:
    said = first_paragraph(name)
    assert (NORMALISED in said) == normalises(name)
    assert (AS_THEY_ARE in said) == (name in OF_ROWS_AS_THEY_ARE)


def test_most_functions_normalise_and_the_check_sees_those_that_do_not() -> None:
    assert sum(map(normalises, FUNCTIONS)) > 25
    assert not any(map(normalises, ("ece", "hubness")))


def flat(found: object) -> torch.Tensor:
    values = found.values() if isinstance(found, Mapping) else found if isinstance(found, tuple) else [found]
    parts = [flat(each) if isinstance(each, Mapping | tuple) else torch.as_tensor(each) for each in values]
    return torch.cat([part.double().reshape(-1) for part in parts])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if NORMALISED in first_paragraph(name)])
def test_lengths_of_rows_change_nothing_where_rows_are_normalised(name: str) -> None:
    pairs = small_set(n=30, per_image=1)
    assert pairs.text is not None
    rows = {"image": pairs.image.double(), "text": pairs.text.double()}
    longer = {key: each * torch.linspace(0.5, 4.0, len(each))[:, None].double() for key, each in rows.items()}
    clouds = iter(("image", "text"))
    more = {"labels": torch.arange(30), "logit_scale": 20.0, "seed": 0}
    chosen = {
        each.name: more[each.name] if each.name in more else next(clouds)
        for each in inspect.signature(FUNCTIONS[name]).parameters.values()
        if each.default is each.empty
    }
    found = []
    for given in (rows, longer):
        values = {key: given[each] if isinstance(each, str) else each for key, each in chosen.items()}
        found.append(flat(FUNCTIONS[name](**values)))
    assert torch.allclose(*found, atol=1e-6, equal_nan=True)
