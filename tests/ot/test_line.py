"""Transport on the line and the circle: against linear programs, in closed form, with weights and unequal sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from jax.test_util import check_grads

from thalweg.core import InputError
from thalweg.ot.line import monotone_map, monotone_plan, wasserstein_1d, wasserstein_circle

RNG = np.random.default_rng(3)
N, M = 5, 8
U, V = RNG.normal(size=N) * 0.3 + 0.1, RNG.uniform(size=M) ** 2 * 0.6 - 1.2
A, B = RNG.exponential(size=N), RNG.exponential(size=M)
A[1] = 0.0
POWERS = pytest.mark.parametrize("p", [1.0, 1.5, 2.0])

line = jax.jit(wasserstein_1d, static_argnums=2)
circle = jax.jit(wasserstein_circle, static_argnums=(2, 5))


def arcs(u, v):
    gap = np.abs(u[:, None] - v) % 1
    return np.minimum(gap, 1 - gap)


def program(cost, a=None, b=None):
    """The exact transport cost by linear programming."""
    n, m = cost.shape
    a = np.full(n, 1 / n) if a is None else a / a.sum()
    b = np.full(m, 1 / m) if b is None else b / b.sum()
    return float(ot.emd2(a, b, cost))


def arrays(*all_of_them):
    return [jnp.asarray(z) for z in all_of_them]


@POWERS
def test_both_against_linear_programs(p, x64):
    u, v, a, b = arrays(U, V, A, B)
    gaps = np.abs(U[:, None] - V)
    np.testing.assert_allclose(line(u, v, p), program(gaps**p), rtol=1e-9)
    np.testing.assert_allclose(line(u, v, p, a, b), program(gaps**p, A, B), rtol=1e-9)
    np.testing.assert_allclose(circle(u, v, p), program(arcs(U, V) ** p), rtol=1e-9)
    np.testing.assert_allclose(circle(u, v, p, a, b), program(arcs(U, V) ** p, A, B), rtol=1e-9)
    # The twins: the line is not the circle, and equal weights are not these.
    assert abs(program(arcs(U, V) ** p) - program(gaps**p)) > 0.05
    assert abs(program(arcs(U, V) ** p, A, B) - program(arcs(U, V) ** p)) > 1e-3


@POWERS
def test_the_circle_against_assignments_and_pot_at_many_places(p):
    """Equal sizes, where the optimal cut is not that of the coordinates."""
    from scipy.optimize import linear_sum_assignment

    shifts = np.linspace(0, 1, 7)
    u, v = np.random.default_rng(1).uniform(size=6), np.random.default_rng(2).uniform(size=6) ** 2
    for s in shifts:
        cost = arcs(u, v + s) ** p
        best = cost[linear_sum_assignment(cost)].mean()
        found = float(circle(jnp.asarray(u, jnp.float32), jnp.asarray(v + s, jnp.float32), p))
        np.testing.assert_allclose(found, best, atol=3e-7)
        np.testing.assert_allclose(found, ot.wasserstein_circle(u, (v + s) % 1, p=p).item(), atol=1e-6)


def test_the_median_formula_continues_the_search():
    """p = 1 has its own formula; p a little above one goes through the cut."""
    u, v = arrays(U.astype(np.float32), V.astype(np.float32))
    np.testing.assert_allclose(circle(u, v, 1.0), circle(u, v, 1.0001), rtol=1e-3)


def test_symmetries_of_the_circle():
    u, v, a, b = arrays(*(z.astype(np.float32) for z in (U, V, A, B)))
    value = circle(u, v, 2.0, a, b)
    np.testing.assert_allclose(circle(u + 0.37, v + 0.37, 2.0, a, b), value, rtol=1e-4)
    np.testing.assert_allclose(circle(-u, -v, 2.0, a, b), value, rtol=1e-4)
    np.testing.assert_allclose(circle(v, u, 2.0, b, a), value, rtol=1e-4)
    np.testing.assert_allclose(circle(u, v + 3, 2.0, a, 7 * b), value, rtol=1e-4)
    turn = 2 * np.pi
    np.testing.assert_allclose(circle(turn * u, turn * v, 2.0, a, b, turn), turn**2 * value, rtol=1e-4)
    assert circle(u, u[::-1] + 1, 2.0) < 1e-10
    # A rotation of a point costs the arc, up to half a turn.
    np.testing.assert_allclose(circle(u[:1], u[:1] + 0.7, 2.0), 0.3**2, rtol=1e-4)


def test_the_line_moves_and_scales_exactly():
    u, v = arrays(U.astype(np.float32), V.astype(np.float32))
    np.testing.assert_allclose(line(u, u + 3, 2.0), 9, rtol=1e-5)
    np.testing.assert_allclose(line(2 * u, 2 * v, 2.0), 4 * line(u, v, 2.0), rtol=1e-5)
    assert line(u, u[::-1], 2.0) == 0
    # A weight of k is k copies.
    copies = jnp.repeat(v, 2, total_repeat_length=2 * M)
    np.testing.assert_allclose(line(u, copies, 2.0), line(u, v, 2.0, None, jnp.full(M, 5.0)), rtol=1e-5)


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_gradients_in_points_and_weights(p, x64):
    u, v, a, b = arrays(U, V, A + 0.1, B)
    for distance in (wasserstein_1d, wasserstein_circle):
        both = jax.jit(lambda u, v, a, b, f=distance: f(u, v, p, a, b) + f(u, v, p))
        check_grads(both, (u, v, a, b), 1, modes=("rev",), atol=1e-5, rtol=1e-5, eps=1e-7)
        twice = jax.grad(lambda u, f=distance: f(u, u + 0.0, p))(u)
        assert np.isfinite(twice).all()


def test_the_plan_has_its_marginals_and_the_cost():
    u, v, a, b = arrays(*(z.astype(np.float32) for z in (U, V, A, B)))
    for weights in ((None, None), (a, b), (a, None)):
        plan = monotone_plan(u, v, *weights)
        rows = jax.ops.segment_sum(plan.mass, plan.rows, N)
        columns = jax.ops.segment_sum(plan.mass, plan.columns, M)
        wanted = [np.full(k, 1 / k) if w is None else w / w.sum() for k, w in zip((N, M), weights, strict=True)]
        np.testing.assert_allclose(rows, wanted[0], atol=1e-6)
        np.testing.assert_allclose(columns, wanted[1], atol=1e-6)
        cost = jnp.sum(plan.mass * (u[plan.rows] - v[plan.columns]) ** 2)
        np.testing.assert_allclose(cost, line(u, v, 2.0, *weights), rtol=1e-5)


def test_the_map_keeps_the_order_and_the_mean():
    u, v, a, b = arrays(*(z.astype(np.float32) for z in (U, V, A, B)))
    image = monotone_map(u, v, a, b)
    assert (np.diff(image[jnp.argsort(u)]) >= 0).all()
    np.testing.assert_allclose((a @ image) / a.sum(), (b @ v) / b.sum(), rtol=1e-5)
    np.testing.assert_allclose(monotone_map(u, 2 * u[::-1] + 1), 2 * u + 1, rtol=1e-5)
    # Barycentric: 2 points to 3 of equal weight.
    found = monotone_map(jnp.asarray([5.0, -1.0]), jnp.asarray([0.0, 3.0, 9.0]))
    np.testing.assert_allclose(found, [(3 * 0.5 + 9) / 1.5, 3 * 0.5 / 1.5], rtol=1e-6)


def test_bad_input():
    u, v = jnp.zeros(3), jnp.ones(2)
    for message, call in (
        (r"3 and 0 points", lambda: wasserstein_1d(u, jnp.zeros(0))),
        (r"p = 0.5: expected p >= 1", lambda: wasserstein_1d(u, v, 0.5)),
        (r"weights a: expected finite numbers", lambda: monotone_map(u, v, -jnp.ones(3))),
        (r"weights b: expected finite numbers", lambda: wasserstein_circle(u, v, 2.0, None, jnp.zeros(2))),
        (r"period 0.0", lambda: wasserstein_circle(u, v, period=0.0)),
    ):
        with pytest.raises(InputError, match=message):
            call()
