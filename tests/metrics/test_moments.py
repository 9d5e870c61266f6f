"""Spectra of unions of groups against those of the rows themselves."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows

from geomclip.metrics import moments
from geomclip.metrics.gap import gap_after_centering
from geomclip.metrics.moments import Moments
from geomclip.metrics.shape import spectral_measures
from geomclip.metrics.spectrum import GramSpectrum, Spectrum

pytestmark = pytest.mark.numeric

GROUP = torch.arange(60) * 7 % 9


def chosen_of(groups: Moments, chosen: torch.Tensor) -> GramSpectrum:
    """The rows of some groups as one cloud."""
    (cloud,) = groups.of_each(chosen[None])
    assert cloud is not None
    return cloud


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
@pytest.mark.parametrize("d", [4, 50])  # more rows than dimensions, and fewer
def test_the_shape_of_chosen_groups_is_that_of_their_rows(d, dtype, rel):
    x = torch.nn.functional.normalize(random_rows(60, d, seed=0) + random_rows(1, d, seed=1), dim=1).to(dtype)
    chosen = torch.tensor([True, False, True, True, False, False, False, True, False])
    found, _ = spectral_measures(chosen_of(Moments.of(x, GROUP, groups=9), chosen))
    expected, _ = spectral_measures(Spectrum.of(x[chosen[GROUP]]))
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=rel), name


ONE = torch.ones(1, dtype=torch.bool)


@pytest.mark.parametrize("d", [6, 50])  # more rows than dimensions, and fewer
def test_the_centred_gap_of_chosen_groups_is_that_of_their_rows(d):
    x, y = random_rows(60, d, seed=0), random_rows(60, d, seed=2) * torch.linspace(0.2, 2, d)
    y = torch.nn.functional.normalize(y, dim=1)
    chosen = torch.arange(9) % 2 == 0
    clouds = [chosen_of(Moments.of(z, GROUP, groups=9), chosen) for z in (x, y)]
    kept = chosen[GROUP]
    assert clouds[0].shape_distance(clouds[1]).item() == pytest.approx(
        gap_after_centering(x[kept], y[kept]).item(), rel=1e-6
    )


@pytest.mark.parametrize("rows", [5, 40, 60])  # fewer than dimensions: a factor of its own; and more than the other
def test_the_centred_gap_of_a_scatter_is_the_same_beside_any_other_cloud(rows):
    x, y = random_rows(50, 8, seed=0), random_rows(rows, 8, seed=2)
    clouds = (Moments.of(z, torch.zeros(len(z), dtype=torch.int64), groups=1) for z in (x, y))
    scatter, other = (chosen_of(each, ONE) for each in clouds)
    expected = pytest.approx(gap_after_centering(x, y).item(), rel=1e-6)
    for beside in (other, Spectrum.of(y)):
        assert scatter.shape_distance(beside).item() == expected


def test_only_the_named_measures_are_taken():
    cloud = chosen_of(Moments.of(random_rows(60, 4, seed=0), GROUP, groups=9), torch.ones(9, dtype=torch.bool))
    assert list(spectral_measures(cloud, ["participation_ratio"])[0]) == ["participation_ratio"]
    assert "singular_values_centered" not in vars(cloud)


def test_an_empty_group_adds_nothing_and_none_at_all_is_no_cloud():
    x = random_rows(60, 4, seed=0)
    found = Moments.of(x, GROUP, groups=12)
    alone = torch.arange(12) >= 9
    assert list(found.of_each(alone[None])) == [None]
    assert chosen_of(found, alone | (torch.arange(12) == 0)).n == int((GROUP == 0).sum())
    with pytest.raises(ValueError, match=r"\(60,\) for 59 rows"):
        Moments.of(x[:59], GROUP, groups=9)


def test_many_choices_at_once_are_each_by_itself(monkeypatch):
    monkeypatch.setattr(moments, "AT_ONCE", 2)
    found = Moments.of(random_rows(60, 4, seed=0), GROUP, groups=12)
    chosen = torch.rand(5, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    chosen[3] = torch.arange(12) >= 9  # groups without rows
    each = list(found.of_each(chosen))
    assert each[3] is None
    for place in (0, 1, 2, 4):
        alone = chosen_of(found, chosen[place])
        assert each[place].n == alone.n
        assert (each[place].scatter - alone.scatter).abs().max() < 1e-14
        assert torch.equal(each[place].mean, alone.mean)
