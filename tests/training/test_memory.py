"""A joint batch whose losses do not fit is refused before the first step, with the size that would fit."""

from __future__ import annotations

import math
import re

import pytest

from geomclip.losses.blockwise import DENSE_UP_TO
from geomclip.machine.errors import InputError
from geomclip.training import memory
from geomclip.training.memory import COPIES, check_fits
from geomclip.training.methods import METHODS


def test_a_batch_beyond_memory_is_refused_with_what_would_fit() -> None:
    with pytest.raises(InputError, match=r"joint batch of 40000 pairs needs at least 26 GB for hcl") as refused:
        check_fits(METHODS["hcl"].terms, 40_000, free=8_000_000_000)
    fits = int(re.search(r"(\d+) pairs would fit", str(refused.value))[1])  # type: ignore[index]
    assert COPIES * 4 * fits**2 <= 8_000_000_000 < COPIES * 4 * (fits + 1) ** 2
    check_fits(METHODS["hcl"].terms, fits, free=8_000_000_000)


def test_terms_add_up() -> None:
    free = COPIES * 4 * 20_000**2
    check_fits(METHODS["hcl"].terms, 20_000, free=free)
    with pytest.raises(InputError, match="v_mix, l_mix, vl_mix"):
        check_fits(METHODS["imix"].terms, 20_000, free=free)


def test_what_is_preserved_counts_too() -> None:
    check_fits([*METHODS["ft"].terms, "cosine_preservation"], 10**6, free=1)
    with pytest.raises(InputError, match="for similarity_preservation, of which"):
        check_fits([*METHODS["ft"].terms, "similarity_preservation"], 10**6, free=10**9)


@pytest.mark.parametrize("name", ["ft", "m2mix", "siglip", "lp-ft"])
def test_a_method_by_tiles_fits_always(name: str) -> None:
    check_fits(METHODS[name].terms, 10**6, free=1)


def test_a_small_batch_is_not_looked_at() -> None:
    check_fits(METHODS["hcl"].terms, DENSE_UP_TO, free=1)


def test_what_is_left_of_this_machine_is_what_a_batch_must_fit_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_left", lambda device: {"cpu": 8e9}[str(device)])
    with pytest.raises(InputError, match="of which 8 GB are free"):
        check_fits(METHODS["hcl"].terms, 40_000)
    monkeypatch.setattr(memory, "memory_left", lambda device: math.inf)
    check_fits(METHODS["hcl"].terms, 10**7)
