"""Costs against their definitions, in rows, in matrices and with derivatives at the awkward points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.ot import COSTS, Cosine, CustomCost, Euclidean, SquaredEuclidean, squared_distances
from thalweg.ot.cost import Flipped

X = jax.random.normal(jax.random.key(0), (5, 3)) + 2
Y = jax.random.normal(jax.random.key(1), (7, 3)) * jnp.asarray([1.0, 2.0, 0.3])
WIDE = jax.random.normal(jax.random.key(2), (4, 3, 5)) + 1
DEFINITIONS = {
    "squared-euclidean": lambda x, y: np.sum((x - y) ** 2),
    "euclidean": lambda x, y: np.sqrt(np.sum((x - y) ** 2)),
    "manhattan": lambda x, y: np.sum(np.abs(x - y)),
    "cosine": lambda x, y: 1 - np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2)),
}


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("wide", [False, True])
def test_one_pair_a_row_and_a_matrix_agree_with_the_definition(name, wide):
    x, y = (WIDE[:2], WIDE[1:]) if wide else (X, Y)
    cost = COSTS[name]()
    expected = [[DEFINITIONS[name](np.asarray(a, float), np.asarray(b, float)) for b in y] for a in x]
    np.testing.assert_allclose(cost.matrix(x, y), expected, rtol=1e-4, atol=5e-3)
    # The root of a rounded zero: a distance of a point to itself is exact to half the digits.
    np.testing.assert_allclose(cost.row(x[1], y), expected[1], rtol=1e-4, atol=5e-3)
    np.testing.assert_allclose(cost(x[0], y[1]), expected[0][1], rtol=1e-4, atol=1e-4)


def test_squared_distances_are_never_negative():
    expected = np.sum((np.asarray(X)[:, None] - np.asarray(Y)[None]) ** 2, -1)
    np.testing.assert_allclose(squared_distances(X, Y), expected, rtol=1e-4, atol=1e-5)
    assert float(squared_distances(WIDE + 1e3, WIDE + 1e3).min()) >= 0


def test_derivatives_are_finite_where_points_coincide():
    assert bool(jnp.isfinite(Euclidean().gradient(X[0], X[0])).all())
    assert bool(jnp.isfinite(jax.grad(lambda x: Euclidean().matrix(x, X).sum())(X)).all())
    np.testing.assert_allclose(SquaredEuclidean().gradient(X[0], Y[0]), 2 * (X[0] - Y[0]), rtol=1e-5)


def test_cosine_of_the_origin_is_one():
    assert float(Cosine()(jnp.zeros(3), X[0])) == 1
    assert bool(jnp.isfinite(jax.grad(lambda x: Cosine()(x, X[0]))(jnp.zeros(3))).all())


def test_a_cost_of_ones_own_and_its_other_side():
    cost = CustomCost(lambda x, y: x[0] * y[1] ** 2)
    np.testing.assert_allclose(cost.matrix(X, Y), X[:, :1] * Y[:, 1] ** 2, rtol=1e-5)
    np.testing.assert_allclose(Flipped(cost).matrix(Y, X), cost.matrix(X, Y).T, rtol=1e-5)


@pytest.mark.parametrize("name", COSTS)
def test_a_nan_is_never_a_cost(name):
    x = X.at[1, 2].set(jnp.nan)
    assert bool(jnp.isnan(COSTS[name]().matrix(x, Y)[1]).all())
    assert bool(jnp.isnan(COSTS[name]()(x[1], Y[0])))
