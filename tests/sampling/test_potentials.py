"""The network potential, its posterior, intervals that R-hat blocks, and dynamics with an ensemble."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, StatusError, run
from thalweg.sampling.potentials import (
    ForceLikelihood,
    RadialPotential,
    credible_interval,
    deep_ensemble,
    ensemble_interval,
    propagate,
)
from thalweg.sampling.sgmcmc import SGLD, Constant, RMSProp

KEY = jax.random.key(7)
RNG = np.random.default_rng(1)


def morse(x):
    """A pair potential that is no member of the family; distances of order one."""
    i, j = np.triu_indices(x.shape[0], 1)
    r = jnp.sqrt(jnp.sum((x[i] - x[j]) ** 2, axis=1))
    return jnp.sum((1 - jnp.exp(-2 * (r - 1.1))) ** 2)


def cluster(rows=30):
    base = np.asarray([[0.0, 0, 0], [1.1, 0, 0], [0.4, 1.0, 0], [0.5, 0.3, 1.2]])
    x = jnp.asarray(base + 0.08 * RNG.normal(size=(rows, 4, 3)), jnp.float32)
    return x, -jax.vmap(jax.grad(morse))(x)


X, F = cluster()
MODEL = RadialPotential.of(X, F, 5)
LIKELIHOOD = ForceLikelihood(MODEL, 0.1 * float(jnp.std(F)), 2.0)


def test_the_energy_follows_the_symmetries_of_space():
    theta, x = MODEL.init(KEY, 6), X[0]
    energy_of, forces_of = eqx.filter_jit(MODEL.energy), eqx.filter_jit(MODEL.forces)
    energy, forces = energy_of(theta, x), forces_of(theta, x)
    rotation = jnp.asarray(np.linalg.qr(RNG.normal(size=(3, 3)))[0], jnp.float32)
    moved = x @ rotation + jnp.asarray([3.0, -1, 2])
    np.testing.assert_allclose(energy_of(theta, moved), energy, rtol=2e-4)
    np.testing.assert_allclose(forces_of(theta, moved), forces @ rotation, rtol=1e-2, atol=2e-3)
    order = jnp.asarray([2, 0, 3, 1])
    np.testing.assert_allclose(energy_of(theta, x[order]), energy, rtol=1e-4)
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-4)
    # Atoms beyond the cutoff are alone: no force, and no NaN at the distance of an atom to itself.
    far = forces_of(theta, 1e3 * jnp.arange(12.0).reshape(4, 3))
    np.testing.assert_array_equal(far, 0)


def test_the_features_are_those_of_the_formula_and_standardised(x64):
    x, f = np.asarray(X, np.float64), np.asarray(F, np.float64)
    model = RadialPotential.of(jnp.asarray(x), jnp.asarray(f), 5)
    rho = np.zeros((4, 5))
    for i in range(4):
        for j in set(range(4)) - {i}:
            r = np.linalg.norm(x[3, i] - x[3, j])
            cut = (1 - (r / float(model.cutoff)) ** 2) ** 2
            rho[i] += np.exp(-0.5 * ((r - np.asarray(model.centres)) / float(model.spread)) ** 2) * cut
    expected = (rho - np.asarray(model.mean)) / np.asarray(model.std)
    every = np.asarray(jax.jit(jax.vmap(model.features))(jnp.asarray(x)))
    np.testing.assert_allclose(every[3], expected, rtol=1e-9)
    every = every.reshape(-1, 5)
    np.testing.assert_allclose(every.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(every.std(0), 1, rtol=1e-9)


def test_the_likelihood_is_normal_and_the_prior_of_sigma_exponential():
    theta = MODEL.init(KEY, 6)
    theta = eqx.tree_at(lambda t: t.log_sigma, theta, jnp.asarray(0.4))
    sigma = float(LIKELIHOOD.sigma(theta))
    residual = np.asarray(F[0] - MODEL.forces(theta, X[0]))
    expected = np.sum(-0.5 * (residual / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(LIKELIHOOD.log_likelihood(theta, (X[0], F[0])), expected, rtol=1e-4)
    # sigma / scale = e^s is exponential, so that s has the density e^(s - e^s), which integrates to one.
    s = jnp.linspace(-12.0, 5.0, 4001)
    weights = eqx.tree_at(lambda t: t.log_sigma, theta, jnp.asarray(0.0))
    log_p = jax.vmap(lambda v: LIKELIHOOD.log_prior(eqx.tree_at(lambda t: t.log_sigma, theta, v)))(s)
    log_p = (
        log_p - (LIKELIHOOD.log_prior(weights) + 1 - jnp.log(LIKELIHOOD.sigma_scale)) - jnp.log(LIKELIHOOD.sigma_scale)
    )
    np.testing.assert_allclose(jnp.trapezoid(jnp.exp(log_p), s), 1, rtol=1e-3)


def test_an_ensemble_learns_and_the_chains_go_on_from_it():
    posterior = LIKELIHOOD.posterior(X, F, chains=3, width=6, batch=10, key=KEY)
    fits = deep_ensemble(posterior, optax.adam(2e-2), steps=300, key=KEY)
    u = jax.jit(jax.vmap(posterior.potential))
    assert (u(fits) < u(posterior.start) - 100).all()
    assert len({float(v) for v in u(fits)}) == 3
    warm = eqx.tree_at(lambda p: p.start, posterior, fits)
    method = SGLD(Constant(1e-4), draws=8, thin=5, preconditioner=RMSProp())
    value = run(method, warm, steps=method.steps, key=KEY).value
    assert value.theta.inner.shape == (3, 8, 6, 5)
    assert (u(value.last) < u(posterior.start)).all()
    broken = LIKELIHOOD.posterior(X, F.at[0].set(jnp.nan), chains=2, width=6, batch=None, key=KEY)
    with pytest.raises(StatusError, match="member 0: a non-finite number"):
        deep_ensemble(broken, optax.adam(2e-2), steps=2, key=KEY)


def test_chains_that_disagree_have_no_interval():
    draws = jnp.asarray(RNG.gamma(2.0, size=(4, 500, 3)), jnp.float32)
    good = credible_interval(draws, level=0.8)
    assert not good.blocked.any()
    assert good.text == "80% interval"
    np.testing.assert_allclose(good.low, np.quantile(draws.reshape(-1, 3), 0.1, axis=0), rtol=1e-4)
    np.testing.assert_allclose(good.mean, draws.mean((0, 1)), rtol=1e-5)
    # One number of one chain elsewhere, and one that is not finite: both are blocked, the third is not.
    bad = draws.at[2, :, 1].add(4.0).at[1, 3, 0].set(jnp.nan)
    with pytest.raises(StatusError, match=r"blocked: R-hat is up to .* above 1.1 for 2 of 3 numbers") as error:
        credible_interval(bad)
    np.testing.assert_array_equal(error.value.result.blocked, [True, True, False])
    assert credible_interval(bad, throw=False).low.shape == (3,)


def test_intervals_cover_at_their_rate():
    truth, n = 0.7, 4000
    draws = jnp.asarray(RNG.normal(size=(5, n)) + truth, jnp.float32)
    cover = float(ensemble_interval(draws, level=0.8).coverage(draws.mean() + 0 * draws[0]))
    assert cover > 0.9  # the interval is for one more member, not for the mean
    inside = np.asarray(ensemble_interval(draws[:4], level=0.8).low <= draws[4]) & np.asarray(
        draws[4] <= ensemble_interval(draws[:4], level=0.8).high
    )
    assert_z(inside.mean(), 0.8, np.sqrt(0.16 / n))
    # The twin: quantiles of the normal instead of Student's.
    low = draws[:4].mean(0) - 1.2816 * draws[:4].std(0, ddof=1)
    high = draws[:4].mean(0) + 1.2816 * draws[:4].std(0, ddof=1)
    with pytest.raises(AssertionError, match="z ="):
        assert_z(np.mean((low <= draws[4]) & (draws[4] <= high)), 0.8, np.sqrt(0.16 / n))


def test_dynamics_of_an_ensemble_know_their_springs():
    """Harmonic wells: BAOAB has the positions' variance T/k exactly, for each member its own."""
    k = jnp.asarray([0.7, 1.5, 4.0])
    x0 = jnp.zeros((200, 2, 3))

    def averages(key):
        return propagate(
            lambda k, x: 0.5 * k * jnp.sum(x**2),
            k,
            x0,
            lambda x: jnp.mean(x**2),
            dt=0.3,
            steps=300,
            settle=60,
            temperature=0.6,
            friction=1.0,
            mass=1.3,
            key=key,
        )

    found = np.stack([averages(jax.random.key(s)) for s in range(6)])
    mean, stderr = found.mean(0), found.std(0, ddof=1) / np.sqrt(6)
    # Six runs give a rough standard error; the known one of an average over 200 walkers is not far from it.
    stderr = np.maximum(stderr, 0.003 * mean)
    assert_z(mean, 0.6 / np.asarray(k), stderr)
    with pytest.raises(AssertionError, match="z ="):  # the twin: the mass in the wrong place
        assert_z(mean, 0.6 / np.asarray(k) / 1.3, stderr)


def test_bad_input():
    with pytest.raises(InputError, match=r"have shapes \(30, 4, 3\), \(29, 4, 3\); expected \(rows, atoms, 3\)"):
        RadialPotential.of(X, F[1:], 5)
    with pytest.raises(InputError, match=r"not finite; leave those"):
        RadialPotential.of(X, F.at[0, 0, 0].set(jnp.inf), 5)
    with pytest.raises(InputError, match=r"sigma_scale=0\): expected more than 0"):
        ForceLikelihood(MODEL, 0.0)
    with pytest.raises(InputError, match=r"four draws or more"):
        credible_interval(jnp.ones((3, 3, 2)))
    with pytest.raises(InputError, match=r"level is 1.5"):
        credible_interval(jnp.ones((3, 8)), level=1.5)
    with pytest.raises(InputError, match=r"values have 1 members; expected at least 2"):
        ensemble_interval(jnp.ones((1, 2)))
    with pytest.raises(InputError, match=r"propagate\(steps=0, settle=1\)"):
        propagate(
            lambda k, x: jnp.sum(x), jnp.ones(1), X[:1], jnp.sum, dt=0.1, steps=0, settle=1, temperature=1.0,
            friction=1.0, key=KEY,
        )  # fmt: skip
