"""Graphs of neighbours of four points on a line, at 0, 1, 3 and 7: each has one neighbour, 1, 1, 2 and 4 away."""

from __future__ import annotations

import numpy as np
import pytest

from geomclip.embeddings.graphs import GRAPHS, LAPLACIANS, even_density, graph_of_neighbors, laplacian, masses

DISTANCES = np.array([[1.0], [1.0], [2.0], [4.0]])
INDICES = np.array([[1], [0], [1], [2]])
PATH = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])  # 0 - 1 - 3 - 7


def graph(kind="knn"):
    return graph_of_neighbors(DISTANCES, INDICES, kind=kind, k=1)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("knn", PATH),
        ("mutual", PATH * np.array([[1, 1, 0, 0]]) * np.array([[1], [1], [0], [0]])),
        # e⁻¹ from each end that has the other for its nearest, and the mean of both ways
        ("alpha", np.exp(-1) * np.array([[0, 1, 0, 0], [1, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0]])),
    ],
)
def test_edges_are_weighed_as_the_kind_says_and_keep_their_lengths(kind, weights):
    made = graph(kind)
    far = np.abs(np.subtract.outer([0, 1, 3, 7], [0, 1, 3, 7]))
    assert np.allclose(made.weights.toarray(), weights)
    assert np.allclose(made.lengths.toarray(), far * (weights > 0))
    assert made.bandwidths.tolist() == [1, 1, 2, 4]


def test_every_kind_has_a_row_above():
    assert set(GRAPHS) == {"alpha", "knn", "mutual"}


def test_components_are_counted_and_told_apart():
    assert graph("knn").components()[0] == 1
    count, part = graph("mutual").components()
    assert (count, part.tolist()) == (3, [0, 0, 1, 2])


def test_masses_are_one_the_degree_or_what_makes_the_step_one():
    assert masses(graph(), "combinatorial").tolist() == [1, 1, 1, 1]
    assert masses(graph(), "normalized").tolist() == [1, 2, 2, 1]
    assert masses(graph(), "unit-speed").tolist() == [1, 1 + 4, 4 + 16, 16]  # sums of squared lengths


@pytest.mark.parametrize("kind", LAPLACIANS)
def test_a_laplacian_is_symmetric_and_gives_no_heat_where_it_is_even(kind):
    made, mass = laplacian(graph(), kind).toarray(), masses(graph(), kind)
    scale = np.sqrt(np.outer(mass, mass))
    assert np.allclose(made * scale, np.diag(PATH.sum(axis=1)) - PATH)
    assert np.allclose(made @ np.sqrt(mass), 0)


def test_even_density_divides_a_weight_by_the_degrees_of_its_ends():
    weights = even_density(graph(), 1.0).weights.toarray()
    assert np.allclose(weights, PATH / np.outer([1, 2, 2, 1], [1, 2, 2, 1]))
