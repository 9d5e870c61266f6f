"""A sweep shared out among workers: the bits of one process, however the matrix is cut and whoever dies."""

from __future__ import annotations

import multiprocessing
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from helpers import random_rows
from hypothesis import given, settings

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.engines import Reply, attempted
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.progress import SILENT, Silent
from geomclip.metrics import sharing, sweep
from geomclip.metrics.alignment import Hardest
from geomclip.metrics.calibration import Masses
from geomclip.metrics.nearest import Nearest
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.sharing import Holding, Shared, windows_of
from geomclip.metrics.uniformity import GaussianSums
from geomclip.panels.measurement import measure


class Here:
    """A crew in this process, whose newest item is answered first."""

    def __init__(self, holding: Holding, count: int) -> None:
        self.count, self.function, self.held = count, holding(), {}

    def give(self, worker: int, item: Any) -> None:
        self.held[worker] = item

    def wait(self) -> Reply:
        worker, item = self.held.popitem()
        return Reply(worker, *attempted(self.function, item))

    def end(self) -> None:
        pass


def bits(result: Any) -> list[bytes]:
    """All tensors of what a fold finished with, as bytes."""
    if isinstance(result, torch.Tensor):
        return [result.contiguous().numpy().tobytes()]
    values = result.values() if isinstance(result, dict) else vars(result).values()
    return [part for each in values if each is not None for part in bits(each)]


def set_of(counts: list[int], d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Signed unit rows, some of them copies of others, and whose the texts are."""
    own = torch.tensor([image for image, count in enumerate(counts) for _ in range(count)])
    image, text = random_rows(len(counts), d, seed=seed), random_rows(len(own), d, seed=seed + 1)
    image[len(image) // 2] = image[0]
    text[len(text) // 2] = image[0]
    return image, text, own


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(any),
    count=st.integers(1, 4),
    block=st.tuples(st.integers(1, 9), st.integers(1, 12)),
    tiles=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_sweep_in_tiles_has_the_bits_of_one_that_is_whole(
    counts: list[int], count: int, block: tuple[int, int], tiles: int, seed: int
) -> None:
    image, text, own = set_of(counts, 8, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "CPU_BLOCK", block)
        patch.setattr(sharing, "TILES", tiles)
        patch.setattr(sharing, "payload_of", lambda holding, _: holding)
        patch.setattr(sharing, "crew_of", lambda _, holding, count, gpus: Here(holding, count))
        across = [Hardest(), Ranks(), Masses(20.0), GaussianSums(), Nearest(3)]
        within = [GaussianSums(), Nearest(min(3, len(image) - 1), unmatched=True)]
        with Shared("process", image, text, own, processes=count) as shared:
            for cloud, pairing, folds in (
                ("cross", Pairing.of(image, text, own), across),
                ("image", Pairing.within(image), within),
            ):
                whole = sweep.sweep(pairing, folds)
                parts = shared.sweep(cloud, pairing, folds, stage="sweep", progress=SILENT)
                assert [bits(each) for each in parts] == [bits(each) for each in whole]


@pytest.mark.parametrize("count", [1, 3, 100])
@pytest.mark.parametrize("mirrored", [False, True])
def test_tiles_hold_every_block_once_after_those_left_of_it_and_above_it(mirrored: bool, count: int) -> None:
    size, x = (7, 11), random_rows(97, 4, seed=0)
    pairing = Pairing.within(x) if mirrored else Pairing.of(x, x)
    cells: list[tuple[int, int]] = []
    for _, window in windows_of(pairing, size, count):
        rows = range(97 // 7 + 1)[window.rows]
        before = set(cells)
        for row in rows:
            for image in range(97)[window.images]:
                if mirrored and image < 7 * row:
                    continue
                cells.append((row, image))
                above, left = (row - 1, image), (row, image - 1)
                assert row == rows[0] or not row or above in cells
                assert not row or row > rows[0] or above in before
                assert image in (0, 7 * row * mirrored) or left in cells
    assert len(cells) == len(set(cells))
    assert set(cells) == {(row, image) for row in range(14) for image in range(7 * row * mirrored, 97)}


class Murderous(Silent):
    """Kills a worker each time that it hears of a tile, some times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        if self.left and name.endswith("sweep") and (children := multiprocessing.active_children()):
            self.left -= 1
            children[self.left % len(children)].kill()


def pairs(n: int, m: int) -> EmbeddingSet:
    own = torch.arange(m) % n
    image = random_rows(n, 32, seed=3)
    return EmbeddingSet(image, image[own] + 2 * random_rows(m, 32, seed=4), image_of_text=own, logit_scale=50.0)


def numbers(panel: Any) -> str:
    record = panel.to_dict()
    return repr({key: record[key] for key in record if key not in ("seconds", "env", "written")})


def test_a_panel_of_other_processes_has_the_bits_of_this_one_whoever_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = pairs(1500, 2600)
    here = measure(embeddings, bootstrap=20)
    progress = Murderous(4)
    there = measure(embeddings, bootstrap=20, engine="process", processes=2, progress=progress)
    assert progress.left == 0
    assert numbers(there) == numbers(here)
    assert not multiprocessing.active_children()


def test_a_tile_of_which_all_workers_die_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.machine.engines.MOST_DEATHS", 1)
    with pytest.raises(GeomclipError, match=r"^image sweep: tile .* 1 workers died of it, .* begin again$"):
        measure(pairs(1500, 2600), bootstrap=0, engine="process", progress=Murderous(1))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "dask"}, "engine 'dask' is not known"),
        ({"engine": "process", "processes": 0}, "processes must be at least 1, got 0"),
        ({"processes": 2}, "processes is of an engine"),
    ],
)
def test_an_engine_that_cannot_be_is_one_line(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        measure(pairs(30, 40), **options)
