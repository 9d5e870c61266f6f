"""Logistic regression of few examples: the minimum that scikit-learn's converged fit has, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from geomclip.evaluations.logistic import fit, spanned

pytestmark = pytest.mark.numeric


def problem(n: int, d: int, classes: int, seed: int, *, apart: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.resize(np.arange(classes), n)
    rows = apart * rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def objective(rows: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray, c: float) -> float:
    scores = rows @ weight + bias
    most = scores.max(axis=1)
    normal = most + np.log(np.exp(scores - most[:, None]).sum(axis=1))
    return float(c * (normal - scores[np.arange(len(labels)), labels]).sum() + 0.5 * np.square(weight).sum())


@pytest.mark.parametrize(("n", "d", "classes"), [(10, 64, 5), (40, 16, 4), (60, 60, 3), (2, 8, 2)])
@pytest.mark.parametrize("c", [1e-6, 1e-2, 1.0, 100.0])
def test_the_fit_is_that_of_scikit_learn(n: int, d: int, classes: int, c: float) -> None:
    rows, labels = problem(n, d, classes, seed=n)
    inside, basis = spanned(torch.tensor(rows)[None])
    found = fit(inside, torch.tensor(labels)[None], classes, torch.tensor([c], dtype=torch.float64), tolerance=1e-8)
    weight, bias = (basis @ found.weight)[0].numpy(), found.bias[0].numpy()
    theirs = LogisticRegression(C=c if classes > 2 else 2 * c, tol=1e-8, max_iter=10_000).fit(rows, labels)
    if classes == 2:  # one column there, the difference of two, with half the penalty
        shown = weight[:, 1] - weight[:, 0]
        np.testing.assert_allclose(shown, theirs.coef_[0], atol=2e-5 * max(1.0, np.abs(shown).max()))
        return
    np.testing.assert_allclose(weight.T, theirs.coef_, atol=2e-5 * max(1.0, np.abs(weight).max()))
    ours, least = (
        objective(rows, labels, weight, bias, c),
        objective(rows, labels, theirs.coef_.T, theirs.intercept_, c),
    )
    assert ours <= least * (1 + 1e-9)


@pytest.mark.parametrize("c", [1e4, 1e6])
def test_a_weak_penalty_is_minimised_too_where_l_bfgs_stops_early(c: float) -> None:
    rows, labels = problem(80, 128, 10, seed=3)
    inside, basis = spanned(torch.tensor(rows)[None])
    found = fit(inside, torch.tensor(labels)[None], 10, torch.tensor([c], dtype=torch.float64))
    assert bool(found.converged.all())
    ours = objective(rows, labels, (basis @ found.weight)[0].numpy(), found.bias[0].numpy(), c)
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(rows, labels)
    assert ours <= objective(rows, labels, theirs.coef_.T, theirs.intercept_, c) * (1 + 1e-7)


def test_fits_side_by_side_are_those_alone() -> None:
    problems = [problem(30, 40, 3, seed) for seed in range(4)]
    rows = torch.tensor(np.stack([each for each, _ in problems]))
    labels = torch.tensor(np.stack([each for _, each in problems]))
    c = torch.tensor([1e-4, 1.0, 100.0, 1e6], dtype=torch.float64)
    together = fit(rows, labels, 3, c, tolerance=1e-8)
    for place in range(4):
        alone = fit(rows[place : place + 1], labels[place : place + 1], 3, c[place : place + 1], tolerance=1e-8)
        most = float(alone.weight.abs().max())
        torch.testing.assert_close(together.weight[place], alone.weight[0], atol=1e-5 * most, rtol=0)


def test_scores_that_were_there_before_are_added_to() -> None:
    rows, labels = problem(24, 6, 3, seed=1)
    rng = np.random.default_rng(8)
    before = 3 * rng.normal(size=(24, 3))
    c = 2.0
    found = fit(
        torch.tensor(rows)[None],
        torch.tensor(labels)[None],
        3,
        torch.tensor([c], dtype=torch.float64),
        offset=torch.tensor(before)[None],
        tolerance=1e-8,
    )

    def loss(flat: np.ndarray) -> float:
        weight, bias = flat[:18].reshape(6, 3), flat[18:]
        scores = before + rows @ weight + bias
        normal = np.log(np.exp(scores).sum(axis=1))
        return float(c * (normal - scores[np.arange(24), labels]).sum() + 0.5 * np.square(weight).sum())

    theirs = minimize(loss, np.zeros(21), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(found.weight[0].numpy(), theirs.x[:18].reshape(6, 3), atol=1e-4)


def test_where_it_begins_is_no_matter() -> None:
    rows, labels = problem(50, 20, 4, seed=2)
    tensors = torch.tensor(rows)[None], torch.tensor(labels)[None]
    weak = fit(*tensors, 4, torch.tensor([1e6], dtype=torch.float64))
    one = torch.tensor([1.0], dtype=torch.float64)
    fresh, warm = fit(*tensors, 4, one, tolerance=1e-8), fit(*tensors, 4, one, start=weak, tolerance=1e-8)
    torch.testing.assert_close(fresh.weight, warm.weight, atol=1e-6, rtol=0)
