"""Exact plans prove themselves: feasible potentials of the same value."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.ot import KL, Transport, assignment, exact

RNG = np.random.default_rng(0)
SHIFT = np.array([2.0, -1.0])
X, Y = RNG.normal(size=(9, 2)), RNG.normal(size=(12, 2)) * [2.0, 0.3] + 1


@pytest.mark.parametrize("equal", [True, False])
def test_potentials_prove_the_plan(equal, x64):
    a = None if equal else RNG.dirichlet(np.full(9, 2.0))
    problem = Transport.points(jnp.asarray(X), jnp.asarray(Y[:9] if equal else Y), a)
    found = exact(problem)
    cost = np.asarray(problem.geometry.matrix())
    assert float(found.marginal_error()) < 1e-12
    assert abs(float(found.duality_gap())) < 1e-10
    assert (cost - found.potentials.f[:, None] - found.potentials.g >= -1e-10).all()
    np.testing.assert_allclose(found.value, (np.asarray(found.matrix) * cost).sum())
    assert float(found.transport_cost()) == float(found.value)
    if equal:
        np.testing.assert_array_equal(np.argmax(found.matrix, 1), assignment(jnp.asarray(cost)))


def test_a_translation_is_carried_exactly(x64):
    found = exact(Transport.points(jnp.asarray(X), jnp.asarray(X + SHIFT)))
    np.testing.assert_allclose(found.value, 5.0, rtol=1e-12)
    np.testing.assert_allclose(found.barycentric(jnp.asarray(X + SHIFT)), X + SHIFT, rtol=1e-12)


def test_one_point_each():
    assert float(exact(Transport.points(jnp.asarray([[1.0]]), jnp.asarray([[4.0]]))).value) == 9


def test_refusals(monkeypatch):
    with pytest.raises(InputError, match=r"take solve"):
        exact(Transport(jnp.ones((2, 2)), *2 * [jnp.asarray([0.4, 0.6])], KL(1.0)))
    with pytest.raises(InputError, match=r"cannot be compiled"):
        jax.jit(lambda x: exact(Transport.points(x, x)).value)(jnp.ones((2, 2)))
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(InputError, match=r"thalweg\[ot\]"):
        exact(Transport.points(jnp.asarray(X), jnp.asarray(Y)))
