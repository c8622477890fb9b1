"""One-dimensional and sliced distances: exact cases, unequal sizes, and an error bar that holds."""

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.ot import directions, sliced_wasserstein, wasserstein_1d

U = jax.random.normal(jax.random.key(0), (7,)) * 2 + 1
V = jax.random.exponential(jax.random.key(1), (11,))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_one_dimension_against_pot_for_unequal_sizes(p):
    expected = ot.wasserstein_1d(np.asarray(U, np.float64), np.asarray(V, np.float64), p=p)
    np.testing.assert_allclose(wasserstein_1d(U, V, p), expected, rtol=1e-5)


def test_translations_and_scalings_are_exact():
    np.testing.assert_allclose(wasserstein_1d(U, U + 3), 9, rtol=1e-5)
    np.testing.assert_allclose(wasserstein_1d(2 * U, 2 * V), 4 * wasserstein_1d(U, V), rtol=1e-5)
    assert wasserstein_1d(U, U[::-1]) == 0


def test_directions_are_uniform(key):
    theta = directions(4000, 3, jnp.float32, key=key)
    np.testing.assert_allclose(jnp.linalg.norm(theta, axis=1), 1, rtol=1e-5)
    outer = np.einsum("ki,kj->kij", theta, theta)
    assert_z(outer.mean(0), np.eye(3) / 3, outer.std(0) / 4000**0.5 + 1e-9)


def test_a_shift_has_the_known_sliced_distance_and_an_honest_error(key):
    x = jax.random.normal(key, (60, 4))
    shift = jnp.asarray([1.0, -2.0, 0.5, 0.0])
    truth = float(jnp.linalg.norm(shift)) / 2  # SW2^2 = |shift|^2 / d
    keys = jax.random.split(key, 60)
    found = [sliced_wasserstein(x, x + shift, key=k, projections=100) for k in keys]
    means, errors = np.array([float(f.mean) for f in found]), np.array([float(f.stderr) for f in found])
    assert_z(means.mean(), truth, means.std() / 60**0.5 + 2e-3, max_stderr=0.02)
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), means.std(), rtol=0.3)
    with pytest.raises(AssertionError):  # the twin: W2^2 where W2 is said
        assert_z((means**2).mean(), truth, means.std() / 60**0.5 + 2e-3)


def test_it_is_zero_only_between_equals_and_takes_images(key):
    x = jax.random.normal(key, (20, 3, 2))
    assert float(sliced_wasserstein(x, x[::-1], key=key).mean) < 1e-6
    assert float(sliced_wasserstein(x, x[:13] + 1, key=key).mean) > 0.3
    with pytest.raises(InputError, match=r"events \(3, 2\) and \(6,\)"):
        sliced_wasserstein(x, x.reshape(20, 6), key=key)
