"""What every test and doctest runs under: no hub, no cache of the user's, two threads, a fixed fuzz."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

# before anything imports torch or the hub client, which read them once; subprocesses inherit them
_cache = tempfile.TemporaryDirectory(prefix="geomclip-tests-", ignore_cleanup_errors=True)
os.environ["GEOMCLIP_CACHE"] = _cache.name
# torch takes from its own what it compiled for other instructions, which need not compile with these
os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(_cache.name, "inductor")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = os.path.join(_cache.name, "hub")
os.environ.setdefault("OMP_NUM_THREADS", "2")
for _name in ("GEOMCLIP_DATA", "COLUMNS", "FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(_name, None)

from hypothesis import settings  # noqa: E402

# no deadline: the first call of anything in torch is slow; derandomised: a red test stays red
settings.register_profile("geomclip", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("geomclip")


FIRST = (
    "whole/test_readme.py",
    "training/test_finetune.py",
    "training/test_processes.py",
    "reports/test_reports.py",
    "projections/test_promises.py",
    "plots/test_static.py",
    "whole/test_benchmarks.py",
    "training/test_finetune_kill.py",
)
"""Files that take longest: begun first, so that no process ends long after the other."""


def place(item: pytest.Item) -> int:
    """Where a test comes: the long files as they stand in FIRST, then all others."""
    return next((rank for rank, file in enumerate(FIRST) if item.nodeid.split("::")[0].endswith(file)), len(FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; examples are numeric: they print what they compute; slow tests only if GEOMCLIP_SLOW=1."""
    items.sort(key=place)
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("numeric")
    if os.environ.get("GEOMCLIP_SLOW") == "1":
        return
    skip = pytest.mark.skip(reason="slow: GEOMCLIP_SLOW=1 runs it")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def state() -> dict[str, Any]:
    """What a test must leave as it found it, for another may differ in its last bits by it: threads, and constants."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "geomclip":
            constants = {key: value for key, value in vars(module).items() if key.isupper()}
            found |= {f"{name}.{key}": value for key, value in constants.items()}
    if "torch" in sys.modules:
        found["threads of torch"] = sys.modules["torch"].get_num_threads()
    return found


@pytest.fixture(scope="module", autouse=True)
def _left_as_found() -> Iterator[None]:
    before = state()
    yield
    after = state()
    changed = {key: (value, after[key]) for key, value in before.items() if key in after and after[key] is not value}
    assert not changed, f"left otherwise than found: {changed}"


@pytest.fixture
def threads() -> Iterator[None]:
    """Torch has as many afterwards as before, whatever the test sets."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pytest_unconfigure() -> None:
    """Remove the cache of the tests."""
    _cache.cleanup()
