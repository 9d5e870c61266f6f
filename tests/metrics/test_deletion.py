"""The shape of a cloud without each image: that of the rows that are left, and how much of its spread counts twice."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows
from torch import Tensor

from geomclip.metrics.deletion import Decomposed, Deleted, without_images
from geomclip.metrics.shape import SPECTRA, spectral_measures
from geomclip.metrics.spectrum import Spectrum

pytestmark = pytest.mark.numeric

CLOSED = frozenset({"participation_ratio", "participation_ratio_centered", "isoscore"})
"""Those to 1e-9; the others come from a quadrature, to 2e-2 of the spread of what single images do."""

ROWS = [
    pytest.param([1] * 40, 8, id="more rows than dimensions"),
    pytest.param([1] * 14, 30, id="fewer rows than dimensions"),
    pytest.param([1] * 20, 20, id="as many"),
    pytest.param([3, 1, 0, 2, 5, 1, 1, 0, 4, 2, 1, 1] * 3, 12, id="several texts and none"),
    pytest.param([3, 1, 0, 2, 5, 1, 1, 0, 4, 2, 1, 1], 40, id="several texts and none, fewer rows"),
    pytest.param([20, 1, 1, 2, 1, 1, 3, 1], 6, id="one image with most"),
]


def cloud_of(counts: list[int], d: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows in a cone, wider along some directions, and where those of each image start."""
    rows = random_rows(sum(counts), d, seed=seed) * torch.linspace(2, 0.3, d) + 0.3 * random_rows(1, d, seed=seed + 1)
    starts = torch.tensor([0, *counts]).cumsum(0)
    return torch.nn.functional.normalize(rows, dim=1), starts


def deleted(x: Tensor, starts: Tensor) -> dict[str, Deleted]:
    return without_images(Decomposed.of(x), starts, list(SPECTRA), seed=0)


def by_deletion(x: Tensor, starts: Tensor) -> dict[str, Tensor]:
    anew = [
        spectral_measures(Spectrum.of(torch.cat([x[: starts[i]], x[starts[i + 1] :]])), list(SPECTRA))[0]
        for i in range(len(starts) - 1)
    ]
    return {name: torch.stack([each[name] for each in anew]) for name in SPECTRA}


@pytest.mark.parametrize(("counts", "d"), ROWS)
def test_measures_without_an_image_are_those_of_the_rows_that_are_left(counts: list[int], d: int) -> None:
    x, starts = cloud_of(counts, d)
    found, expected = deleted(x, starts), by_deletion(x, starts)
    whole = spectral_measures(Spectrum.of(x), list(SPECTRA))[0]
    assert found.keys() == set(SPECTRA)
    for name, each in found.items():
        change, wanted = each.values - each.values.mean(), expected[name] - expected[name].mean()
        if name in CLOSED:
            assert each.values.tolist() == pytest.approx(expected[name].tolist(), rel=1e-9), name
        else:
            assert (change - wanted).abs().max() <= 2e-2 * wanted.square().mean().sqrt(), name
            assert (each.values - expected[name]).abs().max() <= 1e-3 * whole[name], name
        unmoved = [i for i, count in enumerate(counts) if count == 0]
        # RankMe adds 1e-7 to each share, which is left out here: it moves all values alike
        level = pytest.approx(float(whole[name]), rel=1e-4 if name == "rankme" else 1e-9)
        assert all(each.values[i] == level for i in unmoved), name


def test_float32_rows_are_as_good_as_their_digits() -> None:
    x, starts = cloud_of([1] * 200, 12)
    found, expected = deleted(x.float(), starts), deleted(x, starts)
    for name in SPECTRA:
        change = expected[name].values - expected[name].values.mean()
        assert (found[name].values - expected[name].values).abs().max() < 0.02 * change.square().mean().sqrt(), name


def test_an_image_that_all_rows_are_of_leaves_the_number_as_it_is() -> None:
    x, starts = cloud_of([0, 9, 0], 4)
    for name, each in deleted(x, starts).items():
        assert each.values.isfinite().all(), name
        assert each.values.unique().numel() == 1, name


def test_rows_that_are_one_point_stay_one_whichever_image_is_left_out() -> None:
    x = random_rows(1, 4, seed=0).expand(9, 4)
    (found,) = without_images(Decomposed.of(x), torch.arange(10), ["w2_uniformity"], seed=0).values()
    assert found.values.unique().tolist() == pytest.approx(
        [float(spectral_measures(Spectrum.of(x))[0]["w2_uniformity"])]
    )


def test_inflation_is_what_the_jackknife_counts_twice() -> None:
    """Efron and Stein (1981): of a sum over pairs alone it is 2, of a sum of parts 1."""
    few, many = (deleted(*cloud_of([1] * n, 24, seed=3)) for n in (20, 600))
    for name in SPECTRA:
        assert 1 <= many[name].inflation <= few[name].inflation + 0.1 <= 2.1, name
    assert few["effective_rank_centered"].inflation > 1.15  # rows in directions of their own
    assert all(each.inflation < 1.15 for each in many.values())


@pytest.mark.parametrize(("n", "d"), [(40, 8), (30, 64)])
def test_the_jackknife_of_deleted_images_has_the_spread_of_new_samples(n: int, d: int) -> None:
    width = torch.linspace(2, 0.3, d)
    values, spreads = [], []
    for seed in range(300):
        x = torch.nn.functional.normalize(random_rows(n, d, seed=seed) * width, dim=1)
        values.append(spectral_measures(Spectrum.of(x), list(SPECTRA))[0])
        found = deleted(x, torch.arange(n + 1))
        spreads.append(
            {
                name: (each.values - each.values.mean()).square().sum() * (n - 1) / n / each.inflation
                for name, each in found.items()
            }
        )
    for name in SPECTRA:
        true = torch.stack([each[name] for each in values]).std()
        estimated = torch.stack([each[name] for each in spreads]).mean().sqrt()
        assert 0.8 < float(estimated / true) < 1.3, (name, float(estimated / true))


@pytest.mark.parametrize(("n", "d"), [(40, 8), (12, 8), (30, 64)])
def test_a_spectrum_that_is_there_already_gives_the_same_decomposition(n: int, d: int) -> None:
    x, _ = cloud_of([1] * n, d, seed=4)
    anew, given = Decomposed.of(x), Decomposed.of(x, Spectrum.of(x))
    torch.testing.assert_close(given.values, anew.values, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(given.mean, anew.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        (given.along @ given.vectors.T.to(given.along.dtype)).double(),
        (anew.along @ anew.vectors.T.to(anew.along.dtype)).double(),
        rtol=0,
        atol=1e-5,
    )
