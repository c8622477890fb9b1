"""Divergence: exact against the trace of the Jacobian, probes against exact with their own error bar."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import Denoiser, Exact, InputError, Probes, Score, Velocity, divergence

A = jnp.asarray([[1.0, 2.0, -0.5], [0.3, -2.0, 1.1], [0.7, 0.1, 0.6]])
X = jnp.asarray([0.3, -1.2, 0.8])


def bent(x):
    return jnp.tanh(A @ x) * x


def test_exact_is_the_trace():
    found = divergence(bent, X)
    np.testing.assert_allclose(found.mean, jnp.trace(jax.jacfwd(bent)(X)), rtol=1e-5)
    assert found.stderr == 0


def test_exact_on_an_image():
    x = jnp.arange(6.0).reshape(2, 3) / 5
    found = divergence(lambda y: y**2 * jnp.sum(y), x)
    jacobian = jax.jacfwd(lambda v: v**2 * jnp.sum(v))(x.reshape(-1))
    np.testing.assert_allclose(found.mean, jnp.trace(jacobian), rtol=1e-5)


def test_probes_are_unbiased_with_an_honest_error(key):
    truth = float(divergence(bent, X).mean)
    found = jax.vmap(lambda k: divergence(bent, X, Probes(16), key=k))(jax.random.split(key, 2000))
    spread = float(found.mean.std())
    assert_z(found.mean.mean(), truth, spread / 2000**0.5, max_stderr=0.02)
    np.testing.assert_allclose(np.sqrt(np.mean(found.stderr**2)), spread, rtol=0.05)
    with pytest.raises(AssertionError):  # the twin: the trace of the transposed sign is another number
        assert_z(found.mean.mean(), -truth, spread / 2000**0.5)


def test_one_linearisation_gives_value_and_divergence(key):
    y, draws = Exact()(bent, X, Exact().probes(X, key=key))
    np.testing.assert_allclose(y, bent(X), rtol=1e-6)
    assert draws.shape == (1,)


def test_fields_take_conditions_or_none():
    plain, given = (lambda t, x: t * x), (lambda t, x, c=None: x if c is None else x + c)
    for kind in (Velocity, Score, Denoiser):
        np.testing.assert_allclose(kind(plain)(jnp.asarray(2.0), X), 2 * X)
        np.testing.assert_allclose(kind(given)(jnp.asarray(2.0), X, 1.0), X + 1)


def test_bad_probes():
    with pytest.raises(InputError, match=r"at least one probe"):
        Probes(0)
    with pytest.raises(InputError, match=r"needs key"):
        divergence(bent, X, Probes(2))
