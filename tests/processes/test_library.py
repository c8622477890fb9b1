"""Closed forms against the moment equations, against themselves, and against simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.processes import OU, SRA1, ExactTransition, GeometricBrownian, StochasticHeun, simulate

THETA, MU, SIGMA = np.array([0.7, 2.1]), np.array([1.0, -0.5]), np.array([0.4, 1.3])
X0 = np.array([2.0, -3.0])


def ou():
    return OU(theta=THETA, mu=MU, sigma=SIGMA)


def assert_moments(x, mean, var):
    n = x.shape[0]
    assert_z(x.mean(0), mean, np.sqrt(var / n))
    assert_z(x.var(0, ddof=1), var, var * np.sqrt(2 / (n - 1)))


def ou_moments(t, theta=THETA):
    decay = np.exp(-theta * t)
    return MU + (X0 - MU) * decay, SIGMA**2 / (2 * theta) * (1 - decay**2)


@pytest.mark.parametrize("method", [ExactTransition(), SRA1()], ids=["exact", "SRA1"])
def test_ou_has_its_moments(key, method):
    # A coarse uneven grid: exact steps do not see it, SRA1 runs on a fine one.
    ts = jnp.array([0.0, 0.05, 0.6, 0.9]) if isinstance(method, ExactTransition) else jnp.linspace(0, 0.9, 61)
    x = simulate(ou(), jnp.tile(X0, (6000, 1)), ts, method=method, key=key).value
    assert_moments(np.asarray(x), *ou_moments(0.9))
    # The twin: a rate read the other way round, a noise with the square root forgotten.
    twin = OU(theta=THETA[::-1], mu=MU, sigma=SIGMA)
    x = simulate(twin, jnp.tile(X0, (6000, 1)), ts, method=method, key=key).value
    with pytest.raises(AssertionError):
        assert_moments(np.asarray(x), *ou_moments(0.9))


def test_ou_solves_the_moment_equations(x64):
    process, t = ou(), 0.83
    mean = lambda t: process.mean(t, jnp.asarray(X0))  # noqa: E731
    var = lambda t: process.std(t) ** 2  # noqa: E731
    np.testing.assert_allclose(jax.jacfwd(mean)(t), process.drift(t, mean(t)), rtol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(var)(t), -2 * process.theta * var(t) + process.sigma**2, rtol=1e-12)


def test_ou_composes(x64):
    process, (s, t) = ou(), (0.3, 0.83)
    a, b, c = process.between(0.0, s)
    f, g, h = process.between(s, t)
    np.testing.assert_allclose(process.scale(t), f * a, rtol=1e-12)
    np.testing.assert_allclose(process.shift(t), f * b + g, rtol=1e-12)
    np.testing.assert_allclose(process.std(t) ** 2, (f * c) ** 2 + h**2, rtol=1e-12)


def test_ou_without_return_is_brownian_motion_and_differentiable():
    process = OU(theta=0.0, sigma=0.6)
    np.testing.assert_allclose(process.std(2.0), 0.6 * np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(process.scale(2.0), 1.0)
    # d std/d theta at 0 is -sigma t^(3/2) / 2.
    slope = jax.grad(lambda theta: OU(theta=theta, sigma=0.6).std(2.0))(0.0)
    np.testing.assert_allclose(slope, -0.3 * 2**1.5, rtol=1e-5)


def test_an_unstable_ou_grows():
    np.testing.assert_allclose(OU(theta=-1.0).std(1.0), np.sqrt((np.e**2 - 1) / 2), rtol=1e-6)


@pytest.mark.parametrize("method", [ExactTransition(), StochasticHeun()], ids=["exact", "heun"])
def test_geometric_brownian_motion_is_log_normal(key, method):
    process, x0, t = (
        GeometricBrownian(mu=jnp.array([0.4, -0.3]), sigma=jnp.array([0.5, 0.2])),
        np.array([1.5, 0.4]),
        0.8,
    )
    x = simulate(process, jnp.tile(x0, (6000, 1)), jnp.linspace(0, t, 41), method=method, key=key).value
    logs, std = np.log(np.asarray(x)), np.asarray(process.log_std(t))
    np.testing.assert_allclose(std, np.array([0.5, 0.2]) * np.sqrt(t), rtol=1e-6)
    assert_moments(logs, process.log_mean(t, jnp.asarray(x0)), std**2)
    assert_z(x.mean(0), process.mean(t, jnp.asarray(x0)), x.std(0) / np.sqrt(6000))
    # The twin: the correction sigma^2/2 with its sign flipped.
    with pytest.raises(AssertionError):
        assert_moments(logs, process.log_mean(t, jnp.asarray(x0)) + np.array([0.5, 0.2]) ** 2 * t, std**2)


def test_sample_at_draws_from_the_law(key):
    draw = lambda key: ou().sample_at(0.9, jnp.asarray(X0, jnp.float32), key=key)  # noqa: E731
    x = jax.vmap(draw)(jax.random.split(key, 6000))
    assert x.dtype == jnp.float32
    assert_moments(np.asarray(x), *ou_moments(0.9))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: OU(sigma=-1.0), r"OU\(sigma=-1\): expected at least 0"),
        (lambda: OU(theta=float("nan")), r"OU\(theta=nan\): expected finite"),
        (lambda: GeometricBrownian(sigma=jnp.array([1.0, -2.0])), r"from -2 to 1\): expected at least 0"),
    ],
)
def test_bad_parameters_are_refused(build, text):
    with pytest.raises(InputError, match=text):
        build()


def test_parameters_may_be_traced():
    assert jnp.isfinite(jax.jit(lambda sigma: OU(sigma=sigma).std(1.0))(-1.0))
