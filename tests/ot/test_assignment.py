"""Exact assignment against brute force, inside jit, under symmetry."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.ot import assignment, squared_distances

X = jax.random.normal(jax.random.key(0), (5, 3))
Y = jax.random.normal(jax.random.key(1), (5, 3)) * jnp.asarray([1.0, 2.0, 0.3]) + 1


def test_squared_distances():
    expected = np.sum((np.asarray(X)[:, None] - np.asarray(Y)[None]) ** 2, -1)
    np.testing.assert_allclose(squared_distances(X, Y), expected, rtol=1e-4, atol=1e-5)
    assert float(squared_distances(X + 1e3, X + 1e3).min()) >= 0


def test_the_best_of_all_permutations_also_inside_jit():
    cost = squared_distances(X, Y)
    best = min(sum(float(cost[i, p]) for i, p in enumerate(order)) for order in itertools.permutations(range(5)))
    for found in (assignment(cost), jax.jit(assignment)(cost)):
        np.testing.assert_allclose(float(cost[jnp.arange(5), found].sum()), best, rtol=1e-5)


def test_it_follows_permutations_and_ignores_offsets():
    cost = squared_distances(X, Y)
    order = jnp.asarray([4, 2, 0, 1, 3])
    np.testing.assert_array_equal(order[assignment(cost[:, order])], assignment(cost))
    np.testing.assert_array_equal(assignment(cost + 7), assignment(cost))


def test_a_cost_that_is_not_finite_gives_the_identity():
    np.testing.assert_array_equal(assignment(jnp.full((3, 3), jnp.nan)), np.arange(3))
