"""Barycentres of Gaussians on a grid and of clouds have closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, solve
from thalweg.ot import Barycentre, Histograms, cloud_barycentre

GRID = jnp.linspace(-7, 7, 181)
KEY = jax.random.key(0)


def law(m, s):
    return jax.nn.softmax(-0.5 * ((GRID - m) / s) ** 2)


@pytest.mark.parametrize("debiased", [True, False])
def test_gaussians_on_a_grid(debiased):
    problem = Histograms(
        (GRID[:, None] - GRID) ** 2, jnp.stack([law(-2.0, 0.4), law(1.5, 1.1)]), jnp.asarray([0.3, 0.7])
    )
    b = solve(Barycentre(0.1, 1e-4, debiased=debiased), problem, max_steps=1000, key=KEY).value
    mean = float(b @ GRID)
    deviation = float(jnp.sqrt(b @ (GRID - mean) ** 2))
    np.testing.assert_allclose(mean, -0.6 + 1.05, atol=2e-3)
    np.testing.assert_allclose(float(b.sum()), 1, rtol=1e-5)
    # Debiased, the deviation is the mean of the deviations; otherwise the entropy blurs it.
    assert (abs(deviation - 0.89) < 2e-3) == debiased


def test_one_measure_is_its_own_debiased_barycentre():
    a = 0.7 * law(-2.0, 0.5) + 0.3 * law(2.0, 0.8)
    problem = Histograms((GRID[:, None] - GRID) ** 2, jnp.stack([a, law(0.0, 1.0)]), jnp.asarray([1.0, 0.0]))
    b = solve(Barycentre(0.1, 1e-4), problem, max_steps=1000, key=KEY).value
    assert float(jnp.abs(b - a).sum()) < 2e-2


def test_clouds():
    a, b = jax.random.normal(KEY, (60, 2)), jax.random.normal(jax.random.key(1), (50, 2)) * 0.5 + jnp.asarray([3.0, -1])
    weights = jnp.asarray([0.25, 0.75])
    y = cloud_barycentre([a, b], 40, 0.05, key=KEY, weights=weights)
    expected = 0.25 * a.mean(0) + 0.75 * b.mean(0)
    np.testing.assert_allclose(y.mean(0), expected, atol=2e-3)
    assert np.abs(np.asarray(y.mean(0) - (0.75 * a.mean(0) + 0.25 * b.mean(0)))).max() > 0.1


def test_bad_input():
    cost = (GRID[:, None] - GRID) ** 2
    with pytest.raises(InputError, match=r"expected shapes \(n, n\)"):
        Histograms(cost, law(0.0, 1.0)[None, :50], jnp.ones(1))
    with pytest.raises(InputError, match=r"histograms sum to 2"):
        Histograms(cost, 2 * law(0.0, 1.0)[None], jnp.ones(1))
    with pytest.raises(InputError, match=r"weights sum to 3"):
        Histograms(cost, law(0.0, 1.0)[None], 3 * jnp.ones(1))
    with pytest.raises(InputError, match=r"of one dimension"):
        cloud_barycentre([jnp.ones((3, 2)), jnp.ones((3, 1))], 4, 0.1, key=KEY)
