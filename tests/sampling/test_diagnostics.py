"""Diagnostics of chains and weights: equal to ArviZ's, and what they say of bad input."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.sampling import chain_estimate, ess_bulk, ess_mean, ess_tail, pareto_khat, rhat


def chains(shape, phi, seed=0, apart=0.0):
    """Autoregressive chains of unit variance, each shifted."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * x[:, t]
    return x + apart * np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))


@pytest.mark.parametrize(
    ("shape", "phi", "apart"),
    [((4, 500), 0.9, 0), ((2, 301), 0.5, 0), ((3, 100), -0.6, 0), ((4, 1000), 0.99, 1.0), ((4, 64), 0.2, 0.3)],
)
def test_chains_equal_arviz(shape, phi, apart, x64):
    arviz = pytest.importorskip("arviz")
    x = chains(shape, phi, apart=apart)
    data = arviz.convert_to_dataset(x)
    np.testing.assert_allclose(rhat(jnp.asarray(x)), arviz.rhat(data)["x"], rtol=1e-10)
    for ours, method in ((ess_bulk, "bulk"), (ess_tail, "tail"), (ess_mean, "mean")):
        np.testing.assert_allclose(ours(jnp.asarray(x)), arviz.ess(data, method=method)["x"], rtol=1e-10)


@pytest.mark.parametrize(("n", "spread"), [(1000, 1.0), (200, 3.0), (5000, 2.0), (30, 1.0), (1000, 0.01)])
def test_weights_equal_arviz(n, spread, x64):
    arviz = pytest.importorskip("arviz")
    log_w = spread * np.random.default_rng(n).standard_normal(n) - 700
    expected = float(arviz.psislw(log_w)[1])
    np.testing.assert_allclose(pareto_khat(jnp.asarray(log_w)), expected, rtol=1e-9)
    np.testing.assert_allclose(pareto_khat(jnp.asarray(log_w, jnp.float32)), expected, atol=2e-2)


def test_each_coordinate_by_itself_whatever_its_order_scale_and_shift():
    x = chains((4, 400, 2, 3), 0.7)
    found = np.asarray(ess_bulk(jnp.asarray(x)))
    assert found.shape == (2, 3)
    one = ess_bulk(jnp.asarray(x[:, :, 1, 2]))
    np.testing.assert_allclose(found[1, 2], one, rtol=1e-4)
    moved = np.asarray(rhat(jnp.asarray(5 * x[::-1] - 3)))
    np.testing.assert_allclose(moved, rhat(jnp.asarray(x)), rtol=1e-4)


def test_the_error_of_a_mean_is_what_many_runs_show():
    """Two hundred runs: z of each has unit variance; with the error of independent draws it has not."""
    phi = 0.8
    z, naive = [], []
    for seed in range(200):
        x = chains((2, 400), phi, seed)
        found = chain_estimate(jnp.asarray(x, jnp.float32))
        z.append(float(found.mean / found.stderr))
        naive.append(x.mean() / (x.std() / np.sqrt(x.size)))
    # The variance of 200 normal numbers has the standard error sqrt(2/199).
    assert_z(np.var(z, ddof=1), 1.0, np.sqrt(2 / 199) * 1.1)
    assert np.var(naive) > 1 + 10 * np.sqrt(2 / 199)


def test_edges():
    apart = chains((4, 200), 0.1, apart=3.0)
    assert float(rhat(jnp.asarray(apart))) > 1.5
    assert float(rhat(jnp.ones((2, 50)))) == 1.0
    stuck = jnp.stack([jnp.zeros(50), jnp.ones(50)])
    assert float(rhat(stuck)) > 1e3
    assert np.isnan(float(rhat(jnp.ones((2, 3)))))
    bad = jnp.asarray(chains((2, 100, 2), 0.1)).at[0, 3, 1].set(jnp.nan)
    found = np.asarray(ess_bulk(bad))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


def test_weights_without_a_tail():
    assert float(pareto_khat(jnp.zeros(100))) == -np.inf
    assert np.isnan(float(pareto_khat(jnp.arange(10.0))))
    assert np.isnan(float(pareto_khat(jnp.arange(100.0).at[3].set(jnp.nan))))
    # One weight that has everything: the worst tail of all.
    assert float(pareto_khat(jnp.zeros(1000).at[0].set(200.0))) > 0.7
