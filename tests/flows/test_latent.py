"""Latent noise: zero at the ends, positive between, with the shape that its name says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.flows import LATENTS, Brownian, CustomLatent, NoLatent, SigmoidDifference, SineSquared


@pytest.mark.parametrize("name", sorted(set(LATENTS) - {"none"}))
def test_zero_at_the_ends_and_positive_between(name):
    latent = LATENTS[name]()
    np.testing.assert_allclose([latent.square(jnp.asarray(t)) for t in (0.0, 1.0)], 0, atol=1e-9)
    assert all(float(latent(jnp.asarray(t))) > 0 for t in (0.05, 0.3, 0.5, 0.9))


def test_values_of_the_table():
    t = jnp.asarray(0.3)
    np.testing.assert_allclose(Brownian(2.0)(t), np.sqrt(2 * 0.21), rtol=1e-6)
    np.testing.assert_allclose(SineSquared()(t), np.sin(np.pi * 0.3) ** 2, rtol=1e-6)
    s = lambda u: 1 / (1 + np.exp(-u))  # noqa: E731
    expected = s(-1.0) - s(-3.0) - s(-4.0) + s(-6.0)
    np.testing.assert_allclose(SigmoidDifference(10.0)(t), expected, rtol=1e-5)
    assert NoLatent()(t) == 0


def test_the_square_has_a_finite_slope_where_gamma_has_none():
    assert jax.grad(Brownian().square)(jnp.asarray(0.0)) == 1.0


def test_a_custom_latent_is_checked_at_build():
    assert float(CustomLatent(lambda t: t * (1 - t) ** 2)(jnp.asarray(0.5))) > 0
    with pytest.raises(InputError, match=r"gamma\^2 is 1 at t = 0"):
        CustomLatent(lambda t: 1 - t)
    with pytest.raises(InputError, match=r"expected a positive number"):
        CustomLatent(lambda t: 0.0 * t)
    with pytest.raises(InputError, match=r"expected a positive variance rate"):
        Brownian(-1.0)
