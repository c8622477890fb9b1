"""What a plan answers, against its matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.ot import KL, Plan, Potentials, Transport, exact, solve

X = jax.random.normal(jax.random.key(0), (6, 2)) * jnp.asarray([1.0, 0.4])
Y = jax.random.normal(jax.random.key(1), (9, 2)) + jnp.asarray([0.5, -1.0])
A = jnp.asarray([0.3, 0.1, 0.25, 0.15, 0.2, 0.0])
B = jax.random.dirichlet(jax.random.key(2), jnp.full(9, 3.0))


@pytest.fixture(scope="module")
def found():
    return solve(Transport.points(X, Y, A, B, block=4), 0.5, tolerance=1e-5)


def test_every_answer_is_that_of_the_matrix(found):
    plan, cost = found.plan, np.asarray(found.plan.problem.geometry.matrix())
    p = np.asarray(plan.matrix)
    rows, columns = plan.marginals()
    np.testing.assert_allclose(rows, p.sum(1), atol=1e-6)
    np.testing.assert_allclose(columns, p.sum(0), atol=1e-6)
    np.testing.assert_allclose(plan.apply(Y), p @ Y, atol=1e-5)
    np.testing.assert_allclose(plan.apply_T(X), p.T @ X, atol=1e-5)
    np.testing.assert_allclose(plan.transport_cost(), (p * cost).sum(), rtol=1e-4)
    error = np.abs(p.sum(1) - A).sum() + np.abs(p.sum(0) - B).sum()
    np.testing.assert_allclose(plan.marginal_error(), error, atol=2e-6)
    assert p[5].sum() == 0  # no mass, and nothing else that is not finite
    assert np.isfinite(found.potentials.f).all()


def test_primal_and_dual(found):
    p, (a, b) = np.asarray(found.plan.matrix, float), (np.asarray(A, float), np.asarray(B, float))
    cost = np.asarray(found.plan.problem.geometry.matrix(), float)
    ratio = np.divide(p, np.outer(a, b), out=np.ones_like(p), where=p > 0)
    primal = (p * cost).sum() + 0.5 * (p * np.log(ratio) - p + np.outer(a, b)).sum()
    np.testing.assert_allclose(found.value, primal, rtol=1e-4)
    # An unconverged plan: the dual is below, and the gap covers what is missing.
    rough = Plan(
        found.plan.problem, Potentials(found.potentials.f + 0.3 * X[:, 0], found.potentials.g), jnp.asarray(0.5)
    )
    assert rough.dual() < found.value
    assert rough.duality_gap() > found.value - rough.dual() > 0
    assert abs(float(found.duality_gap)) < 1e-4


def test_an_unbalanced_gap_closes_at_the_optimum():
    problem = Transport.points(X, Y, 2 * A, B, left=KL(0.8), right=KL(1.5))
    found = solve(problem, 0.5, tolerance=1e-5)
    assert abs(float(found.duality_gap)) < 1e-4 * float(found.value)
    worse = Plan(problem, Potentials(found.potentials.f + 0.2, found.potentials.g), jnp.asarray(0.5))
    assert worse.dual() < found.value
    assert worse.duality_gap() > found.value - worse.dual()


def test_maps(found):
    p = np.asarray(found.plan.matrix)
    rows = p.sum(1, keepdims=True)
    carried = found.plan.barycentric()
    np.testing.assert_allclose(carried[:5], (p @ Y)[:5] / rows[:5], atol=1e-5)
    # At the points themselves, the map of the potential is the barycentric one, and it reaches points without mass.
    pushed = found.plan.push(X)
    np.testing.assert_allclose(pushed[:5], carried[:5], atol=1e-4)
    assert bool(jnp.isfinite(pushed).all())
    with pytest.raises(InputError, match=r"says nothing of new points"):
        solve(Transport.uniform(jnp.ones((2, 3))), 1.0).plan.push(X)


def test_new_points_of_a_gaussian_go_where_the_linear_map_takes_them(key):
    # For N(m, s^2) each way the unregularised map is affine; entropy shrinks it by a known factor.
    a, b = jax.random.split(key)
    x, y = 0.5 * jax.random.normal(a, (1500, 1)), 2.0 + 1.5 * jax.random.normal(b, (1500, 1))
    found = solve(Transport.points(x, y), 0.05, tolerance=1e-3)
    new = jnp.asarray([[-0.4], [0.1], [0.6]])
    scale = (np.sqrt(4 * 0.25 * 2.25 + 0.025**2) - 0.025) / (2 * 0.25)
    # The sampling error of both means and deviations, at these points.
    error = 2 * 1.5 / np.sqrt(1500) * np.sqrt(1 + (np.asarray(new)[:, 0] / 0.5) ** 2)
    z = (np.asarray(found.plan.push(new))[:, 0] - (2.0 + scale * np.asarray(new)[:, 0])) / error
    assert np.abs(z).max() < 4.5
    assert np.abs((2.0 - scale * np.asarray(new)[:, 0] - np.asarray(found.plan.push(new))[:, 0]) / error).max() > 4.5


def test_an_exact_plan_answers_the_same(found):
    best = exact(Transport.points(X, Y, A, B))
    np.testing.assert_allclose(best.apply(Y), best.matrix @ Y, atol=1e-6)
    assert best.barycentric(Y).shape == X.shape
    assert float(best.value) <= float(found.transport_cost)
