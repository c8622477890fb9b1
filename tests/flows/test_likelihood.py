"""Likelihood: exact on Gaussians, probes unbiased with honest errors, gradients right, bounds that hold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from tests.stats import assert_z
from thalweg.core import Estimate, InputError, Probes, Score, Velocity
from thalweg.flows import (
    Brownian,
    ConstantNoise,
    Empirical,
    FlowODE,
    FlowSDE,
    Gaussian,
    Linear,
    OneSided,
    Trigonometric,
    kl_bound,
    log_prob,
    log_prob_bound,
    sample_with_log_prob,
)
from thalweg.problems import MixtureInterpolant, gaussian, two_modes

NOISE = gaussian(np.array([0.0, 0.0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
TARGET = gaussian(np.array([0.7, -1.1]), np.array([[1.4, 0.5], [0.5, 0.6]]))
PATH = OneSided(Linear())
POINTS = TARGET.sample(jax.random.key(1), 6)


def exact_motion(target=TARGET, path=PATH):
    return FlowODE(MixtureInterpolant(NOISE, target, path).velocity, path)


def test_exact_on_a_gaussian(key):
    found = log_prob(exact_motion(), Gaussian((2,)), POINTS, key=key, steps=60)
    np.testing.assert_allclose(found.mean, jax.vmap(TARGET.log_prob)(POINTS), atol=1e-4)
    np.testing.assert_array_equal(found.stderr, 0)


def test_exact_in_double_precision_on_two_modes(x64, key):
    target = two_modes()
    points = target.sample(key, 5).astype(float)
    noise = gaussian(np.zeros(2), np.eye(2))
    path = OneSided(Trigonometric())
    motion = FlowODE(MixtureInterpolant(noise, target, path).velocity, path)
    found = log_prob(motion, Gaussian((2,)), points, key=key, steps=200)
    np.testing.assert_allclose(found.mean, jax.vmap(target.log_prob)(points), atol=1e-4)


def test_samples_come_with_the_density_that_log_prob_gives(key):
    x0 = jax.random.normal(key, (6, 2))
    x1, found = sample_with_log_prob(exact_motion(), Gaussian((2,)), x0, key=key, steps=60)
    np.testing.assert_allclose(found.mean, jax.vmap(TARGET.log_prob)(x1), atol=2e-4)


def test_probes_are_unbiased_with_an_honest_error(key):
    truth = np.asarray(log_prob(exact_motion(), Gaussian((2,)), POINTS[:1], key=key, steps=20).mean[0])
    points = jnp.repeat(POINTS[:1], 600, axis=0)
    found = log_prob(exact_motion(), Gaussian((2,)), points, key=key, how=Probes(4), steps=20)
    spread = float(found.mean.std())
    assert spread > 1e-3
    assert_z(float(found.mean.mean()), truth, spread / 600**0.5)
    np.testing.assert_allclose(np.sqrt(np.mean(found.stderr**2)), spread, rtol=0.15)
    assert np.isnan(log_prob(exact_motion(), Gaussian((2,)), POINTS, key=key, how=Probes(1), steps=5).stderr).all()


class Bent(eqx.Module):
    """A small nonlinear velocity with two parameters."""

    w: Float[Array, "2"]

    def __call__(self, t, x, c=None):
        return self.w * jnp.sin(x[::-1] + t) + 0.3 * x


@pytest.mark.parametrize("probes", [None, Probes(2)], ids=["exact", "probes"])
def test_gradients_against_finite_differences(x64, key, probes):
    base, points = Gaussian((2,)), POINTS.astype(float)

    def mean_log_prob(w, shift):
        motion = FlowODE(Velocity(Bent(w)), PATH)
        return jnp.mean(log_prob(motion, base, points + shift, key=key, how=probes, steps=8).mean)

    w, shift, h = jnp.asarray([0.4, -0.7]), jnp.asarray([0.1, 0.2]), 1e-5
    by_w, by_shift = jax.grad(mean_log_prob, (0, 1))(w, shift)
    for i in range(2):
        e = jnp.zeros(2).at[i].set(h)
        np.testing.assert_allclose(
            by_w[i], (mean_log_prob(w + e, shift) - mean_log_prob(w - e, shift)) / (2 * h), rtol=1e-5
        )
        np.testing.assert_allclose(
            by_shift[i], (mean_log_prob(w, shift + e) - mean_log_prob(w, shift - e)) / (2 * h), rtol=1e-5
        )


def sde(score_factor=1.0, eps=0.7):
    path = Linear(Brownian(0.8))
    exact = MixtureInterpolant(NOISE, TARGET, path)
    clipped = lambda t: jnp.clip(t, 1e-4, 1 - 1e-4)  # noqa: E731
    score = Score(lambda t, x: score_factor * exact.score(clipped(t), x))
    return FlowSDE(exact.velocity, path, score, ConstantNoise(eps))


def test_the_sde_bound_is_tight_for_the_exact_score(key):
    truth = np.asarray(jax.vmap(TARGET.log_prob)(POINTS))
    tight = log_prob_bound(sde(), Gaussian((2,)), POINTS, key=key, steps=200, draws=64)
    # First-order time steps leave a bias of about 1/steps, inside the allowance.
    assert_z(tight.mean, truth, np.asarray(tight.stderr) + 0.01, max_stderr=0.5)
    flipped = log_prob_bound(sde(-1.0), Gaussian((2,)), POINTS, key=key, steps=200, draws=64)
    assert (np.asarray(flipped.mean) < truth).all()
    with pytest.raises(AssertionError):
        assert_z(flipped.mean, truth, np.asarray(flipped.stderr) + 0.01)


def test_the_corrected_constants_of_the_kl_bound_hold_where_the_printed_ones_do_not():
    # rho0 = rho1 = N(0, 1), b = 0, s = -x; b' = delta/2, s' = -x + delta/(2 eps):
    # dX = (delta - eps X) dt + sqrt(2 eps) dW.
    delta, eps = 0.5, 1.256
    kl = 0.5 * (delta * (1 - np.exp(-eps)) / eps) ** 2
    zero = jnp.asarray(0.0)
    half = lambda error: Estimate(jnp.asarray(0.5 * error**2), zero, zero)  # noqa: E731
    bound = float(kl_bound(half(delta / 2), half(delta / (2 * eps)), eps).mean)
    printed = 0.5 * bound
    np.testing.assert_allclose(kl, 0.0405, atol=2e-4)
    np.testing.assert_allclose(bound, 0.0498, atol=2e-4)
    assert printed < kl < bound


def test_bad_use(key):
    with pytest.raises(InputError, match=r"density of the base"):
        log_prob(exact_motion(), Empirical(POINTS), POINTS, key=key)
    with pytest.raises(InputError, match=r"expected at least 1"):
        log_prob(exact_motion(), Gaussian((2,)), POINTS, key=key, steps=0)
    zero = jnp.asarray(0.0)
    with pytest.raises(InputError, match=r"infinite at 0"):
        kl_bound(Estimate(zero, zero, zero), Estimate(zero, zero, zero), 0.0)
