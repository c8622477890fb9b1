"""The face of a density: values, gradients, exact draws, and what a mistake looks like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import Density, Mixture, Normal, check, two_modes


def test_a_function_is_a_density():
    quartic = Density(lambda x: -jnp.sum(x**4), (3,))
    x = jnp.asarray([1.0, -0.5, 2.0])
    np.testing.assert_allclose(quartic.score(x), -4 * x**3, rtol=1e-6)
    assert quartic.log_z is None
    with pytest.raises(InputError, match="cannot be drawn from exactly"):
        quartic.sample(jax.random.key(0), 3)


def test_a_normal_is_the_mixture_of_one():
    mean, std = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([0.5, 2.0, 1.0])
    normal, same = Normal(mean, std), Mixture(jnp.ones(1), mean[None], jnp.diag(std**2)[None])
    x = jnp.asarray([0.3, 1.0, -2.0])
    np.testing.assert_allclose(normal.log_prob(x), same.log_prob(x), rtol=1e-6)
    assert float(normal.log_z) == float(same.log_z) == 0.0
    draws = normal.sample(jax.random.key(1), 20_000)
    z = (draws.mean(0) - mean) / (std / np.sqrt(len(draws)))
    assert float(jnp.abs(z).max()) < 4.5
    # A variance s^2 estimated from n draws has the standard error s^2 sqrt(2/n).
    z = (draws.var(0) / std**2 - 1) / np.sqrt(2 / len(draws))
    assert float(jnp.abs(z).max()) < 4.5


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda x: -(x**4), r"gave shape \(3,\)"),
        (lambda x: 3, "gave int"),
        (lambda x: jnp.log(x[0] - 5), "nan at a starting point"),
        (lambda x: 1 / (x[0] - 1) ** 2, "inf at a starting point"),
        (lambda x: -jnp.sum(jnp.sqrt(jnp.abs(x - 1))), "gradient of log_prob is not finite"),
        (lambda x: x @ jnp.ones(4), "failed at a point of shape"),
    ],
)
def test_what_is_no_log_density_is_refused(fn, message):
    with pytest.raises(InputError, match=message):
        check(Density(fn, (3,)), jnp.ones(3))


def test_bad_shapes_and_spreads():
    with pytest.raises(InputError, match="at least 1"):
        Density(jnp.sum, (3, 0))
    with pytest.raises(InputError, match=r"Normal\(std="):
        Normal(jnp.zeros(2), jnp.asarray([1.0, 0.0]))
    check(two_modes(), jnp.zeros(2))
