"""What tests of projections run under."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geomclip.machine.threads import same_torch_threads


@pytest.fixture(scope="module", autouse=True)
def _torch_has_its_threads_again() -> Iterator[None]:
    """Loops of numba that a test calls by itself give torch numba's number, which projections set back."""
    with same_torch_threads():
        yield
