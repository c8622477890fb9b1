"""Derivatives of solutions against finite differences, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.ot import KL, Transport, solve
from thalweg.ot.implicit import conjugate_gradients

RNG = np.random.default_rng(0)
X0, Y0, W0 = RNG.normal(size=(7, 2)), RNG.normal(size=(5, 2)) + 0.5, RNG.normal(size=(7, 2))
A0, B0 = RNG.dirichlet(np.ones(7)), RNG.dirichlet(np.ones(5))


def solved(reach, x, epsilon=0.3, a=A0):
    sides = {} if reach is None else {"left": KL(reach), "right": KL(2 * reach)}
    return solve(Transport.points(x, jnp.asarray(Y0), a, B0, **sides), epsilon, tolerance=1e-13, gap=False)


QUESTIONS = {
    "value": lambda s: s.value,
    "transport cost": lambda s: s.transport_cost,
    "map": lambda s: jnp.sum(jnp.asarray(W0) * s.plan.barycentric()),
    "potential": lambda s: s.potentials.f[1] - s.potentials.f[3],
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("reach", [None, 0.7])
def test_derivatives_in_points_and_epsilon(name, reach, x64):
    ask, x = QUESTIONS[name], jnp.asarray(X0)
    along = lambda s: ask(solved(reach, x + s * jnp.asarray(W0)))  # noqa: E731
    h = 1e-5
    expected = float((along(h) - along(-h)) / (2 * h))
    np.testing.assert_allclose(float(jax.grad(along)(0.0)), expected, rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(float(jax.jvp(along, (0.0,), (1.0,))[1]), expected, rtol=2e-6, atol=1e-8)
    other = lambda e: ask(solved(reach, x, e))  # noqa: E731
    expected = float((other(0.3 + h) - other(0.3 - h)) / (2 * h))
    np.testing.assert_allclose(float(jax.grad(other)(0.3)), expected, rtol=2e-6, atol=1e-8)


def test_second_derivatives_of_the_value(x64):
    along = lambda s: solved(None, jnp.asarray(X0) + s * jnp.asarray(W0)).value  # noqa: E731
    h = 1e-4
    expected = float((along(h) - 2 * along(0.0) + along(-h)) / h**2)
    np.testing.assert_allclose(float(jax.grad(jax.grad(along))(0.0)), expected, rtol=1e-5)


def test_derivatives_in_the_weights(x64):
    move = jnp.asarray([0.1, -0.05, 0, 0, -0.05, 0, 0]) * float(A0.min())
    along = lambda s: solved(None, jnp.asarray(X0), a=jnp.asarray(A0) + s * move)  # noqa: E731
    for ask in (lambda s: s.value, lambda s: s.transport_cost):
        expected = float((ask(along(1e-2)) - ask(along(-1e-2))) / 2e-2)
        np.testing.assert_allclose(float(jax.grad(lambda s: ask(along(s)))(0.0)), expected, rtol=1e-5)  # noqa: B023


def test_a_gradient_of_small_epsilon_is_the_exact_plans(x64):
    x = jnp.asarray(X0)
    grad = jax.grad(lambda x: solve(Transport.points(x, jnp.asarray(Y0), A0, B0), 1e-4, tolerance=1e-10).value)(x)
    import ot

    plan = ot.emd(A0, B0, ((X0[:, None] - Y0) ** 2).sum(-1))
    np.testing.assert_allclose(grad, 2 * (X0 * A0[:, None] - plan @ Y0), atol=1e-3)


def test_conjugate_gradients_count_and_solve(x64):
    rng = np.random.default_rng(3)
    root = rng.normal(size=(9, 9))
    matrix, b = jnp.asarray(root @ root.T + np.diag(10.0 ** np.arange(9))), jnp.asarray(rng.normal(size=9))
    scale = jnp.diagonal(matrix)
    x, steps = conjugate_gradients(lambda v: matrix @ v, lambda v: v / scale, b, 1e-12, 100)
    np.testing.assert_allclose(matrix @ x, b, rtol=1e-8, atol=1e-8)
    assert int(steps) <= 15
    zero, none = conjugate_gradients(lambda v: matrix @ v, lambda v: v, jnp.zeros(9), 1e-12, 100)
    assert int(none) == 0
    assert bool((zero == 0).all())
    # A singular direction: the loop ends, with what there is.
    x, _ = conjugate_gradients(lambda v: v * scale * (jnp.arange(9) > 0), lambda v: v, b, 1e-12, 50)
    assert bool(jnp.isfinite(x).all())
