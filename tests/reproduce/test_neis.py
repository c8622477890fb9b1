"""The references of the reproduction of NEIS, its baseline, and its short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.problems import Density, Normal, gaussian
from thalweg.reproduce import neis as made
from thalweg.sampling.neis import NEISProblem

KEY = jax.random.key(0)


def test_the_variance_of_plain_importance_sampling():
    # One normal of variance s^2 at distance m: int N(x; m, s^2)^2 / N(x) dx in closed form on the line.
    mean, var = 0.7, 0.4
    x = np.linspace(-12, 12, 200_001)
    law = np.exp(-0.5 * (x - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)
    exact = np.trapezoid(law**2 / np.exp(-0.5 * x**2) * np.sqrt(2 * np.pi), x) - 1
    np.testing.assert_allclose(made.vanilla_variance(gaussian(np.array([mean]), np.array([[var]]))), exact, rtol=1e-5)
    np.testing.assert_allclose(made.vanilla_variance(made.eg1()), 1.854e6, rtol=1e-3)
    np.testing.assert_allclose(made.vanilla_variance(made.eg2()), 2.154e6, rtol=1e-3)


def test_the_funnel():
    np.testing.assert_allclose(made.funnel_ratio(), 2.7679, atol=5e-5)
    log_prob = made.funnel().log_prob
    assert float(log_prob(jnp.full(10, 9.0))) == -np.inf
    assert np.isfinite(jax.grad(log_prob)(jnp.full(10, 9.0))).all()


def test_annealing_is_unbiased_and_a_twin_is_not():
    base, log_z = Normal(jnp.asarray([0.3, -0.2]), 1.2), 0.8
    target = Density(lambda x: Normal(jnp.asarray([1.5, 0.9]), 0.7).log_prob(x) + log_z, (2,))
    w = np.exp(np.asarray(made.ais(NEISProblem(base, target), 8, 0.2, 4000, key=KEY), np.float64))
    assert_z(w.mean(), np.exp(log_z), w.std(ddof=1) / w.size**0.5, max_stderr=0.1)
    with pytest.raises(AssertionError):
        assert_z(w.mean(), np.exp(-log_z), w.std(ddof=1) / w.size**0.5)


@pytest.mark.slow
def test_the_short_reproduction():
    found = made.neis_flows(short=True)
    assert found.name == "neis"
    assert {c.claim: c.holds for c in found.claims if c.holds is False} == {}
