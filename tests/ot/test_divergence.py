"""The divergence is zero for equal measures, exact for translations, and differentiable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, StatusError, solve
from thalweg.ot import KL, Sinkhorn, SymmetricSinkhorn, Transport, sinkhorn_divergence

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(25, 2)), RNG.normal(size=(18, 2)) * [1.5, 0.5] + [0.5, -1]
A, B = RNG.dirichlet(np.full(25, 3.0)), RNG.dirichlet(np.full(18, 3.0))


def test_equal_measures_and_translations(x64):
    x, shift = jnp.asarray(X), jnp.asarray([0.7, -1.1])
    zero = sinkhorn_divergence(Transport.points(x, x, A, A), 0.2, tolerance=1e-9)
    assert abs(float(zero.value)) < 1e-8
    assert zero.converged
    moved = sinkhorn_divergence(Transport.points(x, x + shift, A, A), 0.2, tolerance=1e-9)
    np.testing.assert_allclose(moved.value, shift @ shift, rtol=1e-7)
    # The twin: without debiasing the translation is not exact.
    assert abs(float(moved.cross.value) - float(shift @ shift)) > 1e-2


def test_the_parts_and_the_symmetric_iteration(x64):
    found = sinkhorn_divergence(Transport.points(jnp.asarray(X), jnp.asarray(Y), A, B), 0.3, tolerance=1e-9)
    own = Transport.points(jnp.asarray(X), jnp.asarray(X), A, A).stored()
    slow = solve(Sinkhorn(0.3, 1e-9), own, max_steps=20_000, key=jax.random.key(0)).value
    np.testing.assert_allclose(found.left, slow.dual(), rtol=1e-7)
    np.testing.assert_allclose(found.value, found.cross.value - 0.5 * (found.left + found.right), rtol=1e-9)
    fast = solve(SymmetricSinkhorn(0.3, 1e-9), own, max_steps=200, key=jax.random.key(0))
    assert int(fast.num_steps) < 60
    assert "converged" in str(found)
    assert "W2 squared" in str(found)


def test_unbalanced_measures_of_different_mass(x64):
    sides = {"left": KL(0.8), "right": KL(0.8)}
    x = jnp.asarray(X)
    zero = sinkhorn_divergence(Transport.points(x, x, A, A, **sides), 0.2, tolerance=1e-10)
    assert abs(float(zero.value)) < 1e-8
    more = sinkhorn_divergence(Transport.points(x, x, A, 1.5 * A, **sides), 0.2, tolerance=1e-10)
    less = sinkhorn_divergence(Transport.points(x, x, 1.5 * A, A, **sides), 0.2, tolerance=1e-10)
    np.testing.assert_allclose(more.value, less.value, rtol=1e-6)
    assert float(more.value) > 1e-3


@pytest.mark.parametrize("sides", [{}, {"left": KL(0.9), "right": KL(0.5)}])
def test_gradients(sides, x64):
    move = jnp.asarray(RNG.normal(size=X.shape))

    def value(s):
        problem = Transport.points(jnp.asarray(X) + s * move, jnp.asarray(Y), A, B, **sides)
        return sinkhorn_divergence(problem, 0.2, tolerance=1e-12).value

    h = 1e-5
    np.testing.assert_allclose(jax.grad(value)(0.0), (value(h) - value(-h)) / (2 * h), rtol=1e-6)


def test_blocks_change_nothing(x64):
    whole = sinkhorn_divergence(Transport.points(jnp.asarray(X), jnp.asarray(Y), A, B), 0.3)
    parts = sinkhorn_divergence(Transport.points(jnp.asarray(X), jnp.asarray(Y), A, B, block=7), 0.3)
    np.testing.assert_allclose(parts.value, whole.value, rtol=1e-9)


def test_refusals(x64):
    with pytest.raises(InputError, match=r"costs within each side too"):
        sinkhorn_divergence(Transport.uniform(jnp.ones((2, 2))), 0.1)
    with pytest.raises(StatusError, match=r"max_steps"):
        sinkhorn_divergence(Transport.points(jnp.asarray(X), jnp.asarray(Y)), 0.01, tolerance=1e-12, max_steps=3)
    with pytest.raises(InputError, match=r"one cloud twice"):
        solve(SymmetricSinkhorn(0.1), Transport.uniform(jnp.ones((2, 3))), max_steps=3, key=jax.random.key(0))
