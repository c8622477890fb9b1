"""Sinkhorn against POT, its own marginals, and the limits of epsilon."""

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest

from thalweg.core import InputError, Status, solve
from thalweg.ot import Sinkhorn, Transport, squared_distances

X = jax.random.normal(jax.random.key(0), (12, 2))
Y = jax.random.normal(jax.random.key(1), (9, 2)) * 1.5 + 0.5
A = jax.random.dirichlet(jax.random.key(2), jnp.full(12, 3.0))
B = jax.random.dirichlet(jax.random.key(3), jnp.full(9, 3.0))


def solved(epsilon, a=A, b=B, cost=None, **options):
    problem = Transport(squared_distances(X, Y) if cost is None else cost, a, b)
    return solve(Sinkhorn(epsilon, **options), problem, max_steps=2000, key=jax.random.key(0))


def test_the_plan_is_that_of_pot():
    found = solved(0.3, tolerance=1e-4).value.matrix
    cost = np.asarray(squared_distances(X, Y), np.float64)
    a, b = (np.asarray(w, np.float64) for w in (A, B))
    expected = ot.sinkhorn(a / a.sum(), b / b.sum(), cost, 0.3, numItermax=50_000)
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_marginals_and_their_error():
    result = solved(0.3)
    plan = result.value.matrix
    np.testing.assert_allclose(plan.sum(0), B, rtol=1e-4)
    # The error of the last row was that before its sweep: the plan is better, and says how good it is.
    assert np.abs(plan.sum(1) - A).sum() < result.info.marginal_error[-1]
    np.testing.assert_allclose(np.abs(plan.sum(1) - A).sum(), result.value.marginal_error(), atol=1e-5)
    assert result.info.marginal_error[-1] < 1e-3
    assert result.status == Status.converged


def test_limits_of_epsilon():
    np.testing.assert_allclose(solved(1e4).value.matrix, np.outer(A, B), atol=1e-4)
    square, n = squared_distances(X[:9], Y), 9
    uniform = jnp.full(n, 1 / n)
    sharp = np.asarray(solved(0.05, uniform, uniform, square, tolerance=1e-2).value.matrix)
    exact = ot.emd(np.full(n, 1 / n), np.full(n, 1 / n), np.asarray(square, np.float64))
    assert np.abs(sharp - exact).sum() < 0.25


def test_scaling_and_transposing_the_problem():
    cost = squared_distances(X, Y)
    scaled = solve(Sinkhorn(2.1, 1e-4), Transport(7 * cost, A, B), max_steps=2000, key=jax.random.key(0)).value.matrix
    plain = solved(0.3, tolerance=1e-4).value.matrix
    np.testing.assert_allclose(scaled, plain, atol=1e-4)
    turned = solve(Sinkhorn(0.3, 1e-4), Transport(cost.T, B, A), max_steps=2000, key=jax.random.key(0)).value.matrix
    np.testing.assert_allclose(turned.T, plain, atol=1e-4)


def test_unfinished_says_so():
    problem = Transport.uniform(squared_distances(X, Y))
    result = solve(Sinkhorn(0.01, 1e-6), problem, max_steps=3, key=jax.random.key(0), throw=False)
    assert result.status == Status.max_steps
    assert result.info.marginal_error[-1] > 1e-6


def test_bad_epsilon():
    for epsilon in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"expected a positive regularisation"):
            Sinkhorn(epsilon)
