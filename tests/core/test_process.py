"""Processes made of two functions, and what the integrators see of them."""

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core import AbstractCorrelated, Diffusion


def test_a_process_from_two_functions():
    process = Diffusion(lambda t, x: -t * x, lambda t, x: 0.5)
    x = jnp.asarray([[1.0, 2.0], [3.0, -1.0]])
    t = jnp.asarray(2.0)
    np.testing.assert_allclose(process.drifts(t, x), -2 * x)
    assert process.diffusions(t, x).shape == (2,)
    np.testing.assert_allclose(process.diffusions(t, x), 0.5)


def test_correlated_noise_is_a_matrix_a_particle():
    class Mixed(AbstractCorrelated):
        def drift(self, t, x):
            return x[::-1]

        def diffusion(self, t, x):
            return jnp.outer(x, jnp.ones(3))

    x = jax.random.normal(jax.random.key(0), (4, 2))
    assert Mixed().diffusions(jnp.asarray(0.0), x).shape == (4, 2, 3)
    np.testing.assert_allclose(Mixed().drifts(jnp.asarray(0.0), x), x[:, ::-1])
