"""Densities with known answers: Z against quadrature, moments against exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.problems import Banana, Funnel, ManyWell


def log_integral(density, reach, points=801):
    """log of the integral of e^{log_prob} over a square, by the trapezoidal rule."""
    axis = np.linspace(-reach, reach, points)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    values = np.asarray(jax.vmap(density.log_prob)(grid), float)
    return np.log(np.sum(np.exp(values - values.max()))) + values.max() + 2 * np.log(axis[1] - axis[0])


@pytest.mark.parametrize(
    ("density", "reach"), [(Funnel(2, 1.0), 25.0), (Banana(0.1, 2.0), 15.0), (ManyWell(2, 1), 8.0)], ids=str
)
def test_z_is_the_integral(density, reach):
    np.testing.assert_allclose(log_integral(density, reach), density.log_z, atol=2e-3)


@pytest.mark.parametrize("density", [Funnel(3, 0.8), Banana(0.2, 1.5), ManyWell(3, 2)], ids=str)
def test_draws_have_the_stated_moments(density, key):
    n = 40_000
    x = np.asarray(density.sample(key, n), float)
    mean, cov = np.asarray(density.mean, float), np.asarray(density.covariance, float)
    assert_z(x.mean(0), mean, x.std(0) / np.sqrt(n))
    squares = (x - mean) ** 2
    assert_z(squares.mean(0), np.diag(cov), squares.std(0) / np.sqrt(n))


def test_draws_have_no_mean_score(key):
    """E grad log rho = 0 under the density itself, and not under a shifted one."""
    density = ManyWell(3, 2)
    x = density.sample(key, 20_000)

    def z(x):
        scores = jax.vmap(density.score)(x)
        return np.asarray(scores.mean(0) / (scores.std(0) / np.sqrt(len(x))))

    assert np.abs(z(x)).max() < 4.5
    assert np.abs(z(x + 0.1)).min() > 4.5


def test_the_right_well_has_its_share(key):
    density = ManyWell(1, 1, tilt=0.5)
    x = density.sample(key, 20_000)
    p = float(density.right)
    assert 0.7 < p < 0.99
    assert_z(float(jnp.mean(x > 0)), p, np.sqrt(p * (1 - p) / len(x)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Funnel(1), "dim >= 2"),
        (lambda: Banana(spread=-1.0), "spread"),
        (lambda: ManyWell(2, 3), "wells <= dim"),
        (lambda: ManyWell(quartic=0.0), "no finite integral"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
