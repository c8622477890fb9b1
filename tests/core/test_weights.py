"""Weights, resampling and error bars, on weights that are far from equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import (
    Estimate,
    InputError,
    Multinomial,
    Residual,
    Stratified,
    Systematic,
    Weighted,
    ess,
    estimate,
    log_mean,
)

LOG_W = jnp.log(jnp.asarray([0.5, 0.02, 0.2, 0.03, 0.25])) + 700.0  # an offset that would overflow
WEIGHTS = np.asarray([0.5, 0.02, 0.2, 0.03, 0.25])
RESAMPLERS = [Multinomial(), Stratified(), Systematic(), Residual()]


def test_ess_of_known_weights():
    np.testing.assert_allclose(ess(LOG_W), 1 / np.sum(WEIGHTS**2), rtol=1e-3)
    np.testing.assert_allclose(ess(jnp.zeros(7)), 7, rtol=1e-6)
    np.testing.assert_allclose(ess(jnp.asarray([0.0, -jnp.inf, -jnp.inf])), 1, rtol=1e-6)


@pytest.mark.parametrize("resampler", RESAMPLERS, ids=lambda r: type(r).__name__)
def test_resamplers_are_unbiased(resampler, key):
    m, repeats = 13, 4000
    draw = jax.jit(lambda k: jnp.bincount(resampler(LOG_W, m, key=k), length=5))
    counts = np.asarray(jax.vmap(draw)(jax.random.split(key, repeats)), np.float64)
    stderr = np.maximum(counts.std(0, ddof=1) / np.sqrt(repeats), 1e-6)
    assert_z(counts.mean(0), m * WEIGHTS, stderr + 1e-3, max_stderr=0.05)
    # The twin: the same counts are not those of weights with two entries exchanged.
    with pytest.raises(AssertionError):
        assert_z(counts.mean(0), m * WEIGHTS[[0, 2, 1, 3, 4]], stderr + 1e-3)


def test_systematic_and_residual_keep_the_sure_copies(key):
    for resampler in (Systematic(), Residual()):
        counts = np.bincount(np.asarray(resampler(LOG_W, 20, key=key)), minlength=5)
        assert np.all(counts >= np.floor(20 * WEIGHTS - 1e-4))
        assert counts.sum() == 20


def test_variance_falls_from_multinomial_to_systematic(key):
    keys = jax.random.split(key, 2000)

    def spread(resampler):
        counts = jax.vmap(lambda k: jnp.bincount(resampler(LOG_W, 13, key=k), length=5))(keys)
        return float(jnp.sum(jnp.var(counts.astype(float), axis=0)))

    assert spread(Systematic()) < spread(Stratified()) < spread(Multinomial())
    assert spread(Residual()) < spread(Multinomial())


def test_weighted_expectation_is_honest(key):
    # Importance sampling of N(0.7, 0.8^2) from N(0, 1): 400 replicates of the estimate against its own error bar.
    def replicate(k):
        x = jax.random.normal(k, (300,))
        log_w = -0.5 * ((x - 0.7) / 0.8) ** 2 + 0.5 * x**2
        found = Weighted(x, log_w).expectation(lambda y: y)
        return found.mean, found.stderr

    mean, stderr = jax.vmap(replicate)(jax.random.split(key, 400))
    assert_z(mean.mean(), 0.7, mean.std() / 20, max_stderr=0.01)
    np.testing.assert_allclose(np.sqrt(np.mean(stderr**2)), np.std(mean), rtol=0.2)


def test_resampling_keeps_the_evidence(key):
    cloud = Weighted({"x": jnp.arange(5.0), "y": jnp.ones((5, 2))}, LOG_W)
    flat = cloud.resample(Systematic(), key=key)
    np.testing.assert_allclose(flat.log_mean_weight, cloud.log_mean_weight, rtol=1e-6)
    np.testing.assert_allclose(flat.ess, 5, rtol=1e-5)
    assert flat.x["y"].shape == (5, 2)


def test_estimates():
    found = estimate(jnp.asarray([1.0, 2.0, 4.0, 9.0]))
    np.testing.assert_allclose(found.mean, 4.0)
    np.testing.assert_allclose(found.stderr, np.std([1, 2, 4, 9], ddof=1) / 2, rtol=1e-6)
    assert np.isnan(estimate(jnp.asarray([3.0])).stderr)
    assert str(Estimate(jnp.asarray(1.5), jnp.asarray(0.25), jnp.asarray(9.0))) == "1.5 ± 0.25"
    with pytest.raises(InputError, match=r"at least one draw"):
        estimate(jnp.zeros((0, 3)))


def test_rows_and_weights_must_agree():
    with pytest.raises(InputError, match=r"4\] points and 5 weights"):
        Weighted(jnp.zeros((4, 2)), LOG_W)


def test_the_log_of_a_mean_weight_survives_any_offset():
    log_w = jnp.array([0.3, -1.2, 0.9, -jnp.inf])
    exact = float(jnp.log(jnp.mean(jnp.exp(log_w))))
    assert float(log_mean(log_w + 600.0)) == pytest.approx(600 + exact, rel=1e-6)
    assert float(log_mean(jnp.full(3, -jnp.inf))) == -jnp.inf
