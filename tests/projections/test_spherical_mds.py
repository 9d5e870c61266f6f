"""SphericalMDS: the moments of every set, angles and neighbours beside the free map, landmarks, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helpers import small_set
from hypothesis import given
from hypothesis import strategies as st

from geomclip.machine.errors import NotAvailableError
from geomclip.metrics import mean_cosine, modality_gap, trustworthiness
from geomclip.projections import SphericalMDS
from geomclip.projections.maps import PointSet, project, project_pair
from geomclip.projections.spherical.moments import means_in_space, repaired, shifted_to
from geomclip.projections.spherical.stress import Stress

pytestmark = pytest.mark.numeric

PROMISED = 0.05


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def two_cones(images: int, texts: int, d: int = 64, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows in clusters about two directions, images first, and which are texts."""
    rng = np.random.default_rng(seed)
    n = images + texts
    rows = 1.5 * rng.normal(size=(12, d))[np.arange(n) % 12] + rng.normal(size=(n, d))
    rows += np.repeat(10 * np.eye(d)[:2], [images, texts], axis=0)
    return unit(rows).astype(np.float32), np.repeat([0, 1], [images, texts])


def moments(rows: np.ndarray, group: np.ndarray) -> list[float]:
    """The mean cosine of each cloud with a pair of points, and the gap if there are two clouds."""
    clouds = [torch.from_numpy(rows[group == each].astype(np.float64)) for each in np.unique(group)]
    found = [mean_cosine(each).item() for each in clouds if len(each) > 1]
    return found + ([modality_gap(*clouds).item()] if len(clouds) == 2 else [])


def angle_error(rows: np.ndarray, group: np.ndarray, drawn: np.ndarray) -> float:
    """√ of the mean square difference of angles, by kind of pair and then over kinds, as plainly as it can be."""
    off = (np.arccos(np.clip(drawn @ drawn.T, -1, 1)) - np.arccos(np.clip(rows @ rows.T, -1, 1))) ** 2
    kind = group[:, None] + group
    upper = np.triu(np.ones_like(off, dtype=bool), 1)
    return float(np.sqrt(np.mean([off[upper & (kind == each)].mean() for each in np.unique(kind[upper])])))


@pytest.fixture(scope="module")
def cones() -> tuple[np.ndarray, np.ndarray]:
    return two_cones(100, 300)


@pytest.fixture(scope="module")
def held(cones: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, group = cones
    return np.asarray(SphericalMDS().fit_transform(rows, groups=group))


@pytest.fixture(scope="module")
def free(cones: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, group = cones
    return np.asarray(SphericalMDS(moments=False).fit_transform(rows, groups=group))


# the promise

KINDS = ("spread", "narrow", "one point", "antipodes", "copies", "of the other", "against the other", "axes")


@st.composite
def sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of one cloud or two, of all kinds that embeddings degenerate to, and which cloud each is of."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.integers(1, 12))
    clouds: list[np.ndarray] = []
    for _ in range(draw(st.integers(1, 2))):
        n, kind = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 25])), draw(st.sampled_from(KINDS))
        centre, noise = rng.normal(size=(1, d)), rng.normal(size=(n, d))
        other = clouds[0][rng.integers(0, len(clouds[0]), n)] if clouds else noise
        clouds.append(
            {
                "spread": noise,
                "narrow": centre + 10.0 ** rng.uniform(-9, 0) * noise,
                "one point": np.repeat(centre, n, axis=0),
                "antipodes": rng.choice([-1.0, 1.0], (n, 1)) * centre,
                "copies": noise[rng.integers(0, -(-n // 3), n)],
                "of the other": other,
                "against the other": -other,
                "axes": rng.choice([-1.0, 1.0], (n, 1)) * np.eye(d)[rng.integers(0, d, n)],
            }[kind]
        )
    return unit(np.concatenate(clouds)), np.repeat(np.arange(len(clouds)), [len(each) for each in clouds])


@given(points=sets(), landmarks=st.sampled_from([None, None, 2, 7]), seed=st.integers(0, 3))
def test_the_moments_of_any_set_are_drawn_as_they_are(
    points: tuple[np.ndarray, np.ndarray], landmarks: int | None, seed: int
) -> None:
    rows, group = points
    if (rows == rows[0]).all():
        return  # no map of one place
    drawn = SphericalMDS(landmarks=landmarks, random_state=seed).fit_transform(rows, groups=group)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-9)
    # far inside of what is promised: no more than rounding
    assert moments(drawn, group) == pytest.approx(moments(rows, group), abs=1e-5)


@given(points=sets(), seed=st.integers(0, 3))
def test_from_any_start_the_moments_come_out_right(points: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    rows, group = points
    if (rows == rows[0]).all():
        return
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(len(rows), 3)) if seed % 2 else np.tile([[0.0, 0, 1]], (len(rows), 1))
    drawn = SphericalMDS(init=start, n_iter=20).fit_transform(rows, groups=group)
    assert moments(drawn, group) == pytest.approx(moments(rows, group), abs=1e-5)


def test_a_collapse_and_a_shift_are_seen() -> None:
    rows, group = two_cones(60, 60)
    collapsed = unit(rows + 30 * rows.mean(axis=0))
    shifted = unit(rows + np.where(group[:, None] == 0, 2, -2) * (rows[group == 0].mean(axis=0)))
    for each in (collapsed, shifted):
        drawn = SphericalMDS().fit_transform(each, groups=group)
        assert np.abs(np.subtract(moments(drawn, group), moments(each, group))).max() < PROMISED / 100


def test_two_mean_vectors_have_a_place_in_space() -> None:
    rng = np.random.default_rng(0)
    for means in (rng.normal(size=(2, 40)) / 10, np.outer([0.5, -0.3], rng.normal(size=40) / 10), np.zeros((2, 40))):
        placed = means_in_space(means)
        assert placed @ placed.T == pytest.approx(means @ means.T, abs=1e-12)


def test_points_are_moved_as_little_as_their_mean_allows() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(30, 3)))
    mean = np.array([0.3, -0.2, 0.5])
    found = shifted_to(rows, mean)
    assert found is not None
    assert found.mean(axis=0) == pytest.approx(mean, abs=1e-9)
    # the nearest: all are shifted by one vector before they are brought to length 1
    shift = np.linalg.lstsq(
        np.concatenate([np.eye(3) - np.outer(q, q) for q in found]),
        np.concatenate([-(np.eye(3) - np.outer(q, q)) @ row for q, row in zip(found, rows, strict=True)]),
        rcond=None,
    )[0]
    assert np.linalg.norm(shift) > 0.1
    assert unit(rows + shift) == pytest.approx(found, abs=1e-7)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_any_unit_rows_are_repaired_to_any_mean_of_a_length_that_they_can_have(n: int) -> None:
    rng = np.random.default_rng(n)
    for length in (1.0,) if n == 1 else (0.0, 0.01, 0.5, 0.99, 1.0):
        mean = length * unit(rng.normal(size=(1, 3)))[0]
        for rows in (unit(rng.normal(size=(n, 3))), np.tile([[1.0, 0, 0]], (n, 1))):
            found = repaired(rows, mean)
            assert found.mean(axis=0) == pytest.approx(mean, abs=1e-9)
            assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(n), abs=1e-9)


# quality


def test_angles_and_neighbours_cost_little_beside_the_free_map(
    cones: tuple[np.ndarray, np.ndarray], held: np.ndarray, free: np.ndarray
) -> None:
    rows, group = cones
    assert np.abs(np.subtract(moments(free, group), moments(rows, group))).max() > PROMISED  # what stress alone does
    assert angle_error(rows, group, held) < 1.25 * angle_error(rows, group, free)
    near = [trustworthiness(torch.from_numpy(rows), torch.from_numpy(each), k=5).item() for each in (held, free)]
    assert near[0] > near[1] - 0.05


def test_the_descent_ends_where_no_small_step_leads_further_down(cones: tuple[np.ndarray, np.ndarray]) -> None:
    rows, group = cones
    for moments in (True, False):
        short, long, longer = (
            SphericalMDS(moments, n_iter=steps, tol=tol).fit(rows, groups=group)
            for steps, tol in ((1, 1e-3), (200, 1e-3), (600, 1e-6))
        )
        assert (short.n_iter_, long.n_iter_ < 200) == (1, True)
        stress = Stress.of(rows, np.arange(len(rows)), group, np.ones(len(rows)))
        values = [stress(each.embedding_.astype(np.float64))[0] for each in (short, long, longer)]
        assert values[1] < 0.98 * values[0]
        assert values[1] < 1.01 * values[2]


def test_a_scatter_of_the_right_width_is_no_such_map(cones: tuple[np.ndarray, np.ndarray], held: np.ndarray) -> None:
    rows, group = cones
    rng = np.random.default_rng(0)
    scatter = held.copy()
    for each in (0, 1):  # the same places, given to others of the cloud
        scatter[group == each] = rng.permutation(held[group == each])
    near = [trustworthiness(torch.from_numpy(rows), torch.from_numpy(each), k=5).item() for each in (held, scatter)]
    assert near[0] > near[1] + 0.2
    assert angle_error(rows, group, held) < 0.9 * angle_error(rows, group, scatter)


def test_no_cloud_counts_by_its_number_of_points() -> None:
    rows, group = two_cones(40, 40)
    one = SphericalMDS().fit(rows, groups=group)
    copied = np.concatenate([rows, np.repeat(rows[group == 1], 4, axis=0)])
    weight = np.concatenate([np.ones(40), np.full(200, 0.2)])
    many = SphericalMDS().fit(copied, groups=np.repeat([0, 1], [40, 200]), sample_weight=weight)
    assert many.angle_error_ == pytest.approx(one.angle_error_, rel=0.03)


def test_the_angle_error_is_that_of_all_pairs_by_kind(cones: tuple[np.ndarray, np.ndarray]) -> None:
    rows, group = cones
    fitted = SphericalMDS().fit(rows, groups=group)
    expected = angle_error(rows.astype(np.float64), group, fitted.embedding_.astype(np.float64))
    assert fitted.angle_error_ == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_that_of_the_stress() -> None:
    rows, group = two_cones(15, 25)
    rng = np.random.default_rng(0)
    weight, u = rng.uniform(0.2, 1, 40), unit(rng.normal(size=(40, 3)))
    stress = Stress.of(rows, np.arange(40), group, weight)
    gradient = stress(u)[1]
    way = gradient - (gradient * u).sum(axis=1, keepdims=True) * u + 0.01 * rng.normal(size=(40, 3))
    way -= (way * u).sum(axis=1, keepdims=True) * u
    step = 1e-3 / np.linalg.norm(way)
    ahead, behind = (stress(unit(u + sign * step * way))[0] for sign in (1, -1))
    assert float((gradient * way).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-2)


# landmarks, seeds, pairs of maps


def test_landmarks_agree_with_all_pairs(cones: tuple[np.ndarray, np.ndarray], held: np.ndarray) -> None:
    rows, group = two_cones(400, 400, seed=1)
    whole, some = (SphericalMDS(landmarks=count).fit(rows, groups=group) for count in (None, 150))
    assert (len(whole.landmarks_), len(some.landmarks_)) == (800, 150)
    assert np.bincount(group[some.landmarks_]).tolist() == [75, 75]
    errors = [angle_error(rows, group, each.embedding_) for each in (whole, some)]
    assert errors[1] < 1.05 * errors[0]
    near = [
        trustworthiness(torch.from_numpy(rows), torch.from_numpy(each.embedding_), k=5).item() for each in (whole, some)
    ]
    assert near[1] > near[0] - 0.03


def test_beyond_5000_points_angles_are_taken_to_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    from geomclip.projections.spherical import spherical_mds

    monkeypatch.setattr(spherical_mds, "EXACT_UP_TO", 100)
    monkeypatch.setattr(spherical_mds, "LANDMARKS", 50)
    rows, group = two_cones(10, 120)
    fitted = SphericalMDS().fit(rows, groups=group)
    assert np.bincount(group[fitted.landmarks_]).tolist() == [10, 40]  # what one cloud lacks, the other gives


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads() -> None:
    import numba

    rows, group = two_cones(700, 700)
    before, drawn = numba.get_num_threads(), []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        drawn.append(SphericalMDS(landmarks=400, n_iter=30).fit_transform(rows, groups=group).tobytes())
    numba.set_num_threads(before)
    assert drawn[0] == drawn[1]
    other = SphericalMDS(landmarks=400, n_iter=30, random_state=1).fit_transform(rows, groups=group)
    assert other.tobytes() != drawn[0]


def test_the_order_of_rows_and_the_names_of_clouds_change_nothing_of_the_moments() -> None:
    rows, group = two_cones(50, 30)
    turn = np.random.default_rng(0).permutation(80)
    drawn = SphericalMDS().fit_transform(rows[turn], groups=np.array(["image", "text"])[group[turn]])
    assert moments(drawn, group[turn]) == pytest.approx(moments(rows, group), abs=1e-5)


def test_a_map_of_a_set_keeps_gap_and_mean_cosines_and_says_so() -> None:
    drawn = project(small_set(30, 3, apart=1.0))
    assert drawn.method == "angles"
    for name in ("gap", "mean_cosine_image", "mean_cosine_text"):
        assert drawn.keeps[f"{name}_drawn"] == pytest.approx(drawn.keeps[name], abs=1e-4)
    assert drawn.moments().startswith("images and texts drawn as wide as they are, gap ")
    assert not drawn.misleads()


def test_captions_of_an_image_count_as_one_text() -> None:
    clouds = PointSet.of(small_set(6, 3)).clouds
    assert clouds["groups"].tolist() == [False] * 6 + [True] * 18
    assert clouds["sample_weight"].tolist() == pytest.approx([1] * 6 + [1 / 3] * 18)


def test_a_second_map_goes_on_from_the_first_and_has_its_own_moments() -> None:
    before = small_set(30, 2, apart=1.0)
    assert before.text is not None
    after = before.replace(text=before.text + 0.5 * before.image.mean(0))
    first, second = project_pair(before, after)
    assert np.corrcoef(first.image.ravel(), second.image.ravel())[0, 1] > 0.9
    for drawn in (first, second):
        assert drawn.keeps["gap_drawn"] == pytest.approx(drawn.keeps["gap"], abs=1e-4)
    assert first.keeps["gap"] != pytest.approx(second.keeps["gap"], abs=0.05)


# what is refused


@pytest.mark.parametrize(
    ("of_points", "message"),
    [
        ({"groups": [0, 1]}, r"groups must hold a label for each of 20 points, got shape \(2,\)"),
        ({"groups": list(range(20))}, "groups must hold at most 2 labels, got 20"),
        ({"sample_weight": [1.0]}, r"sample_weight must hold a number for each of 20 points, got shape \(1,\)"),
        ({"sample_weight": [1.0] * 19 + [0.0]}, "sample_weight row 19 must be above 0, got 0"),
        ({"sample_weight": [np.nan] + [1.0] * 19}, "sample_weight row 0 must be above 0, got nan"),
    ],
)
def test_what_is_told_of_points_is_checked(of_points: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SphericalMDS().fit(two_cones(10, 10)[0], **of_points)  # type: ignore[arg-type]


def test_a_row_without_a_direction_is_refused() -> None:
    rows = two_cones(10, 10)[0]
    rows[7] = 0
    with pytest.raises(ValueError, match="x row 7 is zero and has no direction"):
        SphericalMDS().fit(rows)


def test_without_numba_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(NotAvailableError, match=r"SphericalMDS needs numba: pip install 'geomclip\[viz\]'"):
        SphericalMDS().fit(two_cones(10, 10)[0])
