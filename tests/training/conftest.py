"""What tests of finetune by its command share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from helpers import Done, run_cli


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMCLIP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """One command, in this process."""
    return lambda *arguments: run_cli(capsys, *arguments)
