"""log Z and its error bar: coverage, and the refusal when it would fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status, StatusError
from thalweg.sampling import Tally, ancestral_variance, evidence, tally


def log_normal(key, shape, spread):
    """Weights of mean one."""
    return spread * jax.random.normal(key, shape) - 0.5 * spread**2


def covered(spread, runs=400, n=400, replicates=4, scale=1.0):
    """The share of 90 % intervals that contain 0, among runs that are trusted, and how many are."""
    keys = jax.random.split(jax.random.key(3), runs)
    found = jax.jit(jax.vmap(lambda k: evidence(log_normal(k, (replicates, n), spread))))(keys)
    good = np.asarray(found.status == Status.converged)
    z = np.abs(np.asarray(found.log_z.mean) / (scale * np.asarray(found.log_z.stderr)))
    return np.sum(good & (z < 1.6449)) / max(good.sum(), 1), good.mean()


@pytest.mark.parametrize("spread", [0.3, 1.0, 1.5])
def test_intervals_cover_at_their_rate(spread):
    """0.9 over 400 runs has the standard error 0.015; an error bar of half the size covers 0.59."""
    share, good = covered(spread)
    assert good > 0.5
    assert abs(share - 0.9) < 4.5 * 0.015
    assert covered(spread, scale=0.5)[0] < 0.9 - 4.5 * 0.015


def test_heavy_tails_are_refused(key):
    assert covered(4.0, runs=50)[1] < 0.1
    found = evidence(log_normal(key, (2000,), 6.0))
    assert found.status == Status.weights_degenerate
    with pytest.raises(StatusError, match="no interval for log Z"):
        found.interval()
    assert "REFUSED" in str(found)


def test_runs_that_disagree_are_refused(key):
    log_w = log_normal(key, (4, 1000), 0.5) + jnp.asarray([0.0, 0.0, 0.0, 0.4])[:, None]
    found = evidence(log_w)
    assert found.status == Status.unmixed
    assert float(found.replicate_stderr) > 2 * float(found.run_stderr)


def test_scale_permutation_and_equal_weights(key):
    log_w = log_normal(key, (3, 500), 1.0)
    one, moved = evidence(log_w), evidence(log_w[::-1, ::-1] + 7.0)
    np.testing.assert_allclose(moved.log_z.mean - 7.0, one.log_z.mean, atol=1e-5)
    np.testing.assert_allclose(moved.log_z.stderr, one.log_z.stderr, rtol=1e-3)
    exact = evidence(jnp.full((2, 100), 3.0))
    assert exact.status == Status.converged
    assert float(exact.log_z.stderr) == 0.0
    assert exact.interval() == (pytest.approx(3.0), pytest.approx(3.0))


def test_the_ancestral_variance_of_unresampled_particles_is_the_plain_one(key):
    log_w = log_normal(key, (300,), 1.0)
    variance, ancestors = ancestral_variance(log_w, jnp.arange(300))
    plain = tally(log_w)
    np.testing.assert_allclose(variance, plain.variance, rtol=1e-5)
    np.testing.assert_allclose(ancestors, plain.ess, rtol=1e-5)
    # All from one ancestor: the run knows nothing of its error.
    assert float(ancestral_variance(log_w, jnp.zeros(300, int))[1]) == pytest.approx(1.0, abs=1e-5)


def test_bad_input(key):
    with pytest.raises(InputError, match="not empty"):
        evidence(jnp.zeros((2, 0)))
    with pytest.raises(InputError, match="level"):
        evidence(jnp.zeros(100)).interval(90.0)
    assert evidence(jnp.full(100, -jnp.inf)).status != Status.converged
    assert evidence(jnp.zeros(100).at[0].set(jnp.nan)).status == Status.nonfinite
    few = evidence(jnp.zeros(5))
    assert few.status == Status.weights_degenerate


def test_tallies_of_runs(key):
    one = jax.vmap(tally)(log_normal(key, (3, 500), 1.0))
    assert isinstance(one, Tally)
    found = evidence(one)
    np.testing.assert_allclose(found.log_z.mean, evidence(log_normal(key, (3, 500), 1.0)).log_z.mean, rtol=1e-5)
