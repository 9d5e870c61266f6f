"""What the tests of commands share."""

from __future__ import annotations

import inspect

import pytest


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spheres after 20 steps where nobody asks for a number: the tests are of files and messages, not of shapes."""
    from geomclip.projections.dosnes.dosnes import DOSNES

    defaults = [each.default for each in inspect.signature(DOSNES).parameters.values()]
    place = list(inspect.signature(DOSNES).parameters).index("n_iter")
    monkeypatch.setattr(DOSNES.__init__, "__defaults__", (*defaults[:place], 20, *defaults[place + 1 :]))
