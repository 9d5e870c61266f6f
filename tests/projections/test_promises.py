"""What every estimator promises, as one table of them and a test a promise; those that look at one fit share it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers import random_rows
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from geomclip import projections
from geomclip.projections import DOSNES, PCA, PROJECTIONS, SVD, TSNE, UMAP, HeatGeodesic, Projection, SphericalMDS
from geomclip.projections.neighbors import NeighborSearch

N, D = 60, 12


@dataclass(frozen=True)
class Promised:
    """An estimator as the tests make it, small enough to be quick, and what it promises beyond the others."""

    make: Callable[..., Projection]
    columns: int
    places: bool = True  # new points on a finished map
    sphere: bool = False
    linear: bool = False
    least: int = 2  # points
    refused: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)  # options, and the message


OF_AXES = ({"n_components": D + 1}, f"n_components={D + 1} needs as many points and dimensions, got {N} x {D}")
NO_AXES = ({"n_components": 0}, "n_components must be a whole number from 1 on, got 0")
PROMISED = {
    "SVD": Promised(SVD, 2, linear=True, refused={"too many": OF_AXES, "none": NO_AXES}),
    "PCA": Promised(PCA, 2, linear=True, refused={"too many": OF_AXES, "none": NO_AXES}),
    "UMAP": Promised(
        partial(UMAP, n_neighbors=6),
        2,
        least=7,
        refused={
            "none": NO_AXES,
            "neighbours": ({"n_neighbors": 1}, "n_neighbors must be a whole number from 2 on, got 1"),
            "output": ({"output": "torus"}, "output must be plane or sphere, got 'torus'"),
            "distance": ({"min_dist": 2.0}, "min_dist must be 0 to 1"),
            "metric": ({"metric": "cosine"}, "metric must be angular or euclidean"),
            "points": ({"n_neighbors": 60}, "UMAP with n_neighbors=60 needs at least 61 points, got 60"),
        },
    ),
    "UMAP on a sphere": Promised(
        partial(UMAP, n_neighbors=6, output="sphere"),
        3,
        places=False,
        sphere=True,
        least=7,
        refused={"too many": ({"n_components": 3}, "a sphere has 2 dimensions")},
    ),
    "TSNE": Promised(
        partial(TSNE, perplexity=5, n_iter=60),
        2,
        least=16,
        refused={
            "too many": ({"n_components": 3}, "TSNE draws planes"),
            "perplexity": ({"perplexity": 0.5}, "perplexity must be at least 1"),
            "start": ({"init": "near"}, "init must be pca, spectral, random or an array"),
            "place": ({"init": np.zeros((3, 2))}, "init must hold 60 finite points of a plane"),
            "points": ({"perplexity": 30}, "TSNE with perplexity=30 needs at least 91 points, got 60"),
        },
    ),
    "SphericalMDS": Promised(
        SphericalMDS,
        3,
        places=False,
        sphere=True,
        refused={
            "steps": ({"n_iter": 0}, "n_iter must be a whole number from 1 on, got 0"),
            "landmarks": ({"landmarks": 1}, "landmarks must be a whole number from 2 on, got 1"),
            "moments": ({"moments": "yes"}, "moments must be True or False, got 'yes'"),
            "tolerance": ({"tol": -1.0}, r"tol must be 0 or more, got -1\.0"),
            "start": ({"init": np.zeros((3, 3))}, r"init must be 'auto' or of shape \(60, 3\), got \(3, 3\)"),
            "a start's name": ({"init": "pca"}, "init must be 'auto' or an array, got 'pca'"),
            "a start without direction": ({"init": np.zeros((60, 3))}, "init row 0 has no direction"),
        },
    ),
    "DOSNES": Promised(
        partial(DOSNES, perplexity=5, n_iter=60),
        3,
        places=False,
        sphere=True,
        refused={
            "perplexity": ({"perplexity": 0.5}, "perplexity must be 1 or more, got 0.5"),
            "start": ({"init": np.zeros((3, 3))}, r"init must be 'pca' or of shape \(60, 3\), got \(3, 3\)"),
        },
    ),
    "HeatGeodesic": Promised(
        partial(HeatGeodesic, k=6),
        2,
        least=7,
        refused={
            "too many": ({"n_components": N}, f"HeatGeodesic with k=6 needs at least {N + 1} points, got {N}"),
            "none": NO_AXES,
            "graph": ({"graph": "all"}, "graph must be one of alpha, knn, mutual, got 'all'"),
        },
    ),
}
NAMES = list(PROMISED)
PLACING = [name for name, promised in PROMISED.items() if promised.places]


def clumps(n: int = N, d: int = D, *, seed: int = 0) -> NDArray[np.float32]:
    """Rows in four clumps: that of a row is its number modulo 4."""
    rng = np.random.default_rng(seed)
    return (2 * rng.normal(size=(4, d))[np.arange(n) % 4] + 0.4 * rng.normal(size=(n, d))).astype(np.float32)


FORMS: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "float32": lambda x: x,
    "float64": lambda x: x.astype(np.float64),
    "tensor": torch.from_numpy,
}


@cache
def fitted(name: str, form: str = "float32") -> tuple[Projection, Any, Any]:
    """The estimator, what `fit_transform` gave, and the points that it got."""
    x = FORMS[form](clumps())
    estimator = PROMISED[name].make()
    return estimator, estimator.fit_transform(x), x


def test_every_estimator_and_every_row_of_projections_is_in_the_table() -> None:
    made = [promised.make() for promised in PROMISED.values()]
    public = [getattr(projections, name) for name in projections.__all__]
    classes = {each for each in public if isinstance(each, type) and issubclass(each, Projection)}
    assert classes == {Projection, *map(type, made)}
    rows = [(row.estimator(), dict(row.options).get("output", "plane")) for row in PROJECTIONS.values()]
    assert [(type(each), getattr(each, "output", "plane")) for each in made] == rows


# the answer


@pytest.mark.parametrize("form", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_every_point_has_a_finite_place_in_the_type_of_the_points(name: str, form: str) -> None:
    _, drawn, x = fitted(name, form)
    assert isinstance(drawn, np.ndarray)
    assert (drawn.shape, drawn.dtype) == ((N, PROMISED[name].columns), x.dtype)
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes_of_tensors_as_tensors(name: str) -> None:
    drawn, again = fitted(name)[1], fitted(name, "tensor")[1]
    assert isinstance(again, torch.Tensor)
    assert again.dtype == torch.float32
    assert drawn.tobytes() == again.numpy().tobytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_points_are_left_alone(name: str, form: str) -> None:
    assert np.array_equal(fitted(name, form)[2], clumps())


@pytest.mark.parametrize("name", NAMES)
def test_what_fit_keeps_is_what_fit_transform_gives(name: str) -> None:
    estimator, drawn, _ = fitted(name)
    assert np.array_equal(estimator.embedding_, drawn)
    assert estimator.embedding_.flags.c_contiguous
    assert estimator.n_features_in_ == D


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_length_1_on_a_sphere_alone(name: str) -> None:
    lengths = np.linalg.norm(fitted(name)[1], axis=1)
    assert np.allclose(lengths, 1, atol=1e-6) == PROMISED[name].sphere


@pytest.mark.parametrize("name", NAMES)
def test_clumps_stay_together(name: str) -> None:
    drawn = fitted(name)[1].astype(np.float64)
    apart = np.linalg.norm(drawn[:, None] - drawn, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(axis=1) % 4 == np.arange(N) % 4).mean() > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_named_by_the_estimator(name: str) -> None:
    estimator = fitted(name)[0]
    kind = type(estimator).__name__.lower()
    assert estimator.get_feature_names_out().tolist() == [f"{kind}{i}" for i in range(PROMISED[name].columns)]


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_that_were_searched_before_change_nothing(name: str) -> None:
    x = clumps()
    near = NeighborSearch(x)
    assert np.array_equal(PROMISED[name].make().fit_transform(x, neighbors=near), fitted(name)[1])
    with pytest.raises(ValueError, match="of other points"):
        PROMISED[name].make().fit(clumps(seed=1), neighbors=near)


@pytest.mark.parametrize("name", [name for name in NAMES if PROMISED[name].linear])
def test_the_order_of_rows_changes_nothing_of_linear_maps(name: str) -> None:
    turn = np.random.default_rng(1).permutation(N)
    again = PROMISED[name].make().fit_transform(clumps().astype(np.float64)[turn])
    assert np.allclose(again, fitted(name, "float64")[1][turn], atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if PROMISED[name].linear])
def test_a_rotation_of_the_space_changes_linear_maps_by_signs_alone(name: str) -> None:
    turn = torch.linalg.qr(random_rows(D, D, seed=3))[0].numpy()
    again = PROMISED[name].make().fit_transform(clumps().astype(np.float64) @ turn)
    assert np.allclose(np.abs(again), np.abs(fitted(name, "float64")[1]), atol=1e-9)


# new points


@pytest.mark.parametrize("name", PLACING)
def test_new_points_fall_among_those_they_are_near(name: str) -> None:
    estimator, drawn, x = fitted(name)
    placed = estimator.transform(x[:8] + 1e-3)
    assert (placed.shape, placed.dtype) == ((8, PROMISED[name].columns), x.dtype)
    near = np.linalg.norm(placed[:, None] - drawn[None], axis=2).argmin(axis=1)
    assert (near % 4 == np.arange(8) % 4).all()
    assert isinstance(estimator.transform(torch.from_numpy(x[:8])), torch.Tensor)


@pytest.mark.parametrize("name", PLACING)
def test_new_points_need_a_map_and_its_dimensions(name: str) -> None:
    with pytest.raises(NotFittedError):
        PROMISED[name].make().transform(clumps())
    kind = type(PROMISED[name].make()).__name__
    with pytest.raises(ValueError, match=f"X has 5 features, but {kind} is expecting {D} features"):
        fitted(name)[0].transform(np.ones((3, 5)))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PLACING])
def test_transform_is_hidden_where_it_would_be_wrong(name: str) -> None:
    assert not hasattr(PROMISED[name].make(), "transform")


@pytest.mark.parametrize("name", NAMES)
def test_a_fitted_map_can_be_kept(name: str) -> None:
    estimator, drawn, _ = fitted(name)
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.embedding_, drawn)
    if PROMISED[name].places:
        assert np.array_equal(again.transform(clumps(8, seed=1)), estimator.transform(clumps(8, seed=1)))


# what scikit-learn asks of estimators


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_has_the_options_and_nothing_that_was_fitted(name: str) -> None:
    estimator = fitted(name)[0]
    again = clone(estimator)
    assert again.get_params() == estimator.get_params() == PROMISED[name].make().get_params()
    assert not hasattr(again, "embedding_")
    assert again.set_params(random_state=7).random_state == 7
    assert estimator.random_state == 0


WORDS = "says 'needs at least 2 points, got 1', not in the words of the check"
ZERO = "a row of the check is zero and has no angle with others"
PLANES = "the check sets n_components=1, and openTSNE draws planes"
PLACES = "openTSNE places each row anew, near where fit has it but not there"
EXPECTED = {
    "SVD": {"check_fit2d_1sample": WORDS, "check_estimators_dtypes": ZERO},
    "PCA": {"check_fit2d_1sample": WORDS},
    "UMAP": {"check_fit2d_1sample": WORDS, "check_estimators_dtypes": ZERO}
    | dict.fromkeys(
        ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
        "umap-learn moves new points together, with chance drawn in their order",
    ),
    "TSNE": {"check_fit2d_1sample": WORDS, "check_estimators_dtypes": ZERO}
    | dict.fromkeys(("check_transformer_general", "check_transformer_data_not_an_array"), PLACES)
    | dict.fromkeys(
        (
            "check_dont_overwrite_parameters",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_fit2d_1feature",
            "check_fit2d_predict1d",
        ),
        PLANES,
    ),
}


@pytest.mark.parametrize(
    "estimator",
    [
        SVD(n_components=1),
        PCA(n_components=1),
        UMAP(n_neighbors=2),
        TSNE(perplexity=1, n_iter=5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_checks_of_scikit_learn_fail_only_where_they_must(estimator: Projection) -> None:
    pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.utils.estimator_checks import check_estimator

    expected = EXPECTED[type(estimator).__name__]
    done = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    assert {f"{each['check_name']}: {each['exception']}" for each in done if each["status"] == "failed"} == set()
    assert {each["check_name"] for each in done if each["status"] == "xfail"} == set(expected)


# what is refused


@pytest.mark.parametrize("name", NAMES)
def test_points_that_cannot_be_drawn_are_refused_by_row_and_number(name: str) -> None:
    make = PROMISED[name].make
    kind = type(make()).__name__
    for value in (np.nan, np.inf):
        broken = clumps()
        broken[3, 1] = value
        with pytest.raises(ValueError, match=r"x row 3 holds NaN or infinity \(1 such rows\)"):
            make().fit(broken)
    with pytest.raises(ValueError, match=f"{kind} cannot map 30 points that are all equal"):
        make().fit(np.ones((30, 4)))
    with pytest.raises(ValueError, match="2D array"):
        make().fit(clumps()[0])


@pytest.mark.parametrize("name", NAMES)
def test_too_few_points_are_refused_with_how_many_are_needed(name: str) -> None:
    kind, least = type(PROMISED[name].make()).__name__, PROMISED[name].least
    for n in {1, least - 1}:
        with pytest.raises(ValueError, match=rf"^{kind} .*needs at least {least} points, got {n}$"):
            PROMISED[name].make().fit(clumps(n))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_that_is_none_is_refused(name: str) -> None:
    for seed in (-1, 0.5, "a"):
        with pytest.raises(ValueError, match=f"random_state must be None or a whole number from 0 on, got {seed!r}"):
            PROMISED[name].make(random_state=seed).fit(clumps())


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in NAMES for case in PROMISED[name].refused])
def test_an_option_that_cannot_be_is_named(name: str, case: str) -> None:
    options, message = PROMISED[name].refused[case]
    with pytest.raises(ValueError, match=message):
        PROMISED[name].make(**options).fit(clumps())
