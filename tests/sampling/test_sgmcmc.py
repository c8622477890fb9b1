"""Stochastic-gradient chains against the Lyapunov equation of their own steps, limits, schedules and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from tests.stats import assert_z
from thalweg.core import InputError, Status, StatusError, run
from thalweg.sampling.sgmcmc import SGHMC, SGLD, Constant, Polynomial, Posterior, RMSProp, stationary_covariance

KEY = jax.random.key(5)
N, B, CHAINS = 120, 12, 4000
RNG = np.random.default_rng(2)
X = RNG.normal(size=(N, 2)) @ np.asarray([[1.0, 0.6], [0.0, 0.5]]) + np.asarray([0.3, 0.0])
Y = X @ np.asarray([1.5, -2.0]) + RNG.gamma(2.0, size=N)
A = X.T @ X + np.eye(2)
MEAN = np.linalg.solve(A, X.T @ Y)
G = -X * (Y - X @ MEAN)[:, None]
V = N**2 / B * np.cov(G.T, bias=True)


def growth(C):
    """What the covariance of the batch gradient gains when theta has the covariance C: exact for this model."""
    M = X.T @ X / N
    return N**2 / B * (np.einsum("ia,ib,ic,cd,id->ab", X, X, X, C, X) / N - M @ C @ M)


def log_likelihood(theta, row):
    x, y = row
    return -0.5 * (y - theta["slope"] @ x) ** 2


def log_prior(theta):
    return -0.5 * jnp.sum(theta["slope"] ** 2)


def posterior(chains=CHAINS, batch: int | None = B):
    start = {"slope": jnp.tile(jnp.asarray(MEAN, jnp.float32), (chains, 1))}
    return Posterior(
        (jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)), log_likelihood, log_prior, start, batch
    )


def spread(method, problem, steps=300):
    """Mean and covariance of the chains' ends with the standard errors over chains."""
    ends = np.asarray(run(method, problem, steps=steps, key=KEY).value.last["slope"], np.float64)
    d = ends - ends.mean(0)
    products = d[:, :, None] * d[:, None]
    return ends.mean(0), np.cov(ends.T), products.std(0) / len(d) ** 0.5, ends.std(0) / len(d) ** 0.5


@pytest.mark.parametrize("method", [SGLD(Constant(6e-3)), SGHMC(Constant(6e-3), friction=0.4, temperature=0.5)])
def test_chains_settle_at_the_covariance_of_the_lyapunov_equation(method):
    mean, found, stderr, mean_stderr = spread(method, posterior())
    truth = stationary_covariance(method, A, V, growth=growth)
    assert_z(found, truth, stderr)
    assert_z(mean, MEAN, mean_stderr)
    # The twins: no noise of the batches, a full step for a half, no growth of the noise with theta.
    for wrong in (np.linalg.inv(A), stationary_covariance(method, A, 4 * V), stationary_covariance(method, A, 0 * V)):
        with pytest.raises(AssertionError, match="z ="):
            assert_z(found, wrong, stderr)


def test_full_batches_have_the_bias_of_the_step_alone():
    method = SGLD(Constant(6e-3))
    _, found, stderr, _ = spread(method, posterior(batch=None))
    truth = stationary_covariance(method, A, 0 * V)
    assert_z(found, truth, stderr)
    # For one direction it is 1/a / (1 - eps a / 4).
    np.testing.assert_allclose(truth, np.linalg.inv(A - 6e-3 / 4 * A @ A), rtol=1e-6)
    with pytest.raises(AssertionError, match="z ="):
        assert_z(found, stationary_covariance(method, A, V), stderr)


def test_a_step_that_decays_removes_the_bias():
    steps = 4000
    method = SGLD(Polynomial(6e-3, 1.5e-4, steps, power=0.9))
    # The variance follows its recursion: what is left at the end is known, and small.
    C = stationary_covariance(SGLD(Constant(6e-3)), A, V, growth=growth)
    start = np.trace(C) / np.trace(np.linalg.inv(A))
    for k in range(steps):
        eps = float(method.schedule(jnp.asarray(k))) if k % 50 == 0 else eps
        R = np.eye(2) - eps / 2 * A
        C = R @ C @ R.T + eps * np.eye(2) + eps**2 / 4 * (V + growth(C))
    _, found, stderr, _ = spread(method, posterior(1500), steps)
    assert_z(found, C, stderr)
    assert start > 1.5
    assert np.trace(C) / np.trace(np.linalg.inv(A)) < 1.1


def test_friction_one_is_langevin_and_temperature_zero_is_descent():
    problem = posterior(3)
    sgld, sghmc = SGLD(Constant(2e-3)), SGHMC(Constant(2e-3), friction=1.0)
    a, b = (run(m, problem, steps=20, key=KEY).value.last["slope"] for m in (sgld, sghmc))
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(
        stationary_covariance(sgld, A, V, growth=growth), stationary_covariance(sghmc, A, V, growth=growth), rtol=1e-9
    )
    cold = run(SGLD(Constant(2e-3), temperature=0.0), posterior(2, None), steps=1, key=KEY)
    np.testing.assert_allclose(cold.value.last["slope"][0], MEAN, rtol=1e-5)
    # In the limit of small steps both have the posterior's covariance.
    for method in (SGLD(Constant(1e-8)), SGHMC(Constant(1e-8))):
        np.testing.assert_allclose(stationary_covariance(method, A, V), np.linalg.inv(A), rtol=1e-3, atol=1e-6)


def test_the_preconditioned_step_is_that_of_the_paper():
    problem, method = posterior(2, None), SGLD(Constant(3e-2), temperature=0.0, preconditioner=RMSProp(0.8, 1e-2))
    problem = Posterior(problem.data, log_likelihood, log_prior, {"slope": problem.start["slope"] + 1.0})
    theta, v = MEAN + 1, 0
    for _ in range(3):
        g = A @ (theta - MEAN)
        v = 0.8 * v + 0.2 * g**2
        theta = theta - 1.5e-2 * g / (1e-2 + np.sqrt(v))
    result = run(method, problem, steps=3, key=KEY)
    np.testing.assert_allclose(result.value.last["slope"][1], theta, rtol=1e-4)
    # Its noise has the variance eps T G, coordinate by coordinate.
    warm = SGLD(Constant(3e-2), temperature=0.7, preconditioner=RMSProp(0.8, 1e-2))
    problem = Posterior(problem.data, log_likelihood, log_prior, {"slope": jnp.tile(problem.start["slope"], (4000, 1))})
    moved = np.asarray(run(warm, problem, steps=1, key=KEY).value.last["slope"], np.float64)
    variance = 3e-2 * 0.7 / (1e-2 + np.abs(A @ np.ones(2)) * 0.2**0.5)
    found, stderr = moved.var(0), moved.var(0) * np.sqrt(2 / 8000)
    assert_z(found, variance, stderr)
    for wrong in (2 * variance, variance * 0.7):
        with pytest.raises(AssertionError, match="z ="):
            assert_z(found, wrong, stderr)


def test_the_mini_batch_estimate_is_unbiased():
    problem, theta = posterior(1), {"slope": jnp.asarray([0.5, 0.1])}
    keys = jax.random.split(KEY, 20_000)
    g = np.asarray(jax.vmap(jax.grad(problem.potential), (None, 0))(theta, keys)["slope"], np.float64)
    truth = A @ (np.asarray([0.5, 0.1]) - MEAN)
    assert_z(g.mean(0), truth, g.std(0) / np.sqrt(len(g)))
    with pytest.raises(AssertionError, match="z ="):  # the twin: without N/B
        assert_z(g.mean(0) * B / N, truth, g.std(0) * B / N / np.sqrt(len(g)))


def test_units_of_the_data_do_not_matter():
    """Stretching the second feature stretches its slope's law the other way, with steps in its own units."""
    S = np.diag([1.0, 3.0])
    C = stationary_covariance(SGLD(Constant(1e-3)), A, 0 * V)
    # The step is not invariant, the exact posterior is: compare where the step no longer matters.
    limit = stationary_covariance(SGLD(Constant(1e-9)), S @ A @ S, 0 * V)
    np.testing.assert_allclose(S @ limit @ S, np.linalg.inv(A), rtol=1e-6)
    order = [1, 0]
    swapped = stationary_covariance(SGLD(Constant(1e-3)), A[np.ix_(order, order)], 0 * V)
    np.testing.assert_allclose(swapped, C[np.ix_(order, order)], rtol=1e-9)


def test_draws_are_kept_after_the_burn_in():
    method = SGLD(Constant(1e-3), draws=4, burn_in=3, thin=2)
    problem = posterior(5)
    assert method.steps == 11
    value = run(method, problem, steps=method.steps + 1, key=KEY).value
    assert value.theta["slope"].shape == (5, 4, 2)
    part = run(method, problem, steps=3, key=KEY)
    for k in range(4):
        part = run(method, problem, steps=2, key=KEY, state=part.state)
        np.testing.assert_array_equal(value.theta["slope"][:, k], part.value.last["slope"])
        assert np.isnan(part.value.theta["slope"][:, k + 1 :]).all()


def test_the_schedule_meets_its_ends():
    schedule = Polynomial(1e-2, 1e-3, 500)
    sizes = np.asarray([float(schedule(jnp.asarray(k))) for k in (0, 250, 500)])
    np.testing.assert_allclose(sizes[[0, 2]], [1e-2, 1e-3], rtol=1e-5)
    b = 500 / (10 ** (1 / 0.33) - 1)
    np.testing.assert_allclose(sizes[1], 1e-2 * (1 + 250 / b) ** -0.33, rtol=1e-4)


def test_bad_input():
    with pytest.raises(StatusError, match="a non-finite number appeared"):
        run(SGLD(Constant(1.0)), posterior(2), steps=200, key=KEY)
    assert run(SGLD(Constant(1.0)), posterior(2), steps=200, key=KEY, throw=False).status == Status.nonfinite
    with pytest.raises(InputError, match=r"diverges \(factor .* expected eps below 0.0"):
        stationary_covariance(SGLD(Constant(1.0)), A, V)
    with pytest.raises(InputError, match=r"noise of the batches grows without end at eps = 0.0"):
        stationary_covariance(SGLD(Constant(0.02)), A, V, growth=lambda C: 3 * growth(C))
    with pytest.raises(InputError, match=r"got Polynomial; expected a Constant schedule"):
        stationary_covariance(SGLD(Polynomial(1e-2, 1e-3, 10)), A, V)
    with pytest.raises(InputError, match=r"not linear in theta"):
        stationary_covariance(SGLD(Constant(1e-3), preconditioner=RMSProp()), A, V)
    for batch in (0, N + 1, -3):
        with pytest.raises(InputError, match=rf"batch is {batch}; expected 1 to {N}"):
            posterior(2, batch)
    with pytest.raises(InputError, match=r"data has leaves with \[2, 3\] rows"):
        Posterior((jnp.ones(2), jnp.ones(3)), log_likelihood, log_prior, jnp.ones((1, 2)))
    with pytest.raises(InputError, match=r"start has leaves with \[0\] rows"):
        Posterior(jnp.ones(2), log_likelihood, log_prior, jnp.ones((0, 2)))
    with pytest.raises(InputError, match=r"expected floating arrays with a leading axis of chains"):
        Posterior(jnp.ones(2), log_likelihood, log_prior, jnp.ones((3, 2), int))
    # Where shapes and types are checked, as in these tests, that check comes first.
    with pytest.raises((InputError, TypeCheckError), match="schedule"):
        SGLD(0.01)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Constant\(size=0\): expected more than 0"):
        Constant(0.0)
    with pytest.raises(InputError, match=r"expected first > last"):
        Polynomial(1e-3, 1e-2, 10)
    with pytest.raises(InputError, match=r"power=2.0\): expected steps >= 1, power"):
        Polynomial(1e-2, 1e-3, 10, power=2.0)
    with pytest.raises(InputError, match=r"temperature=-1\)"):
        SGLD(Constant(1e-3), temperature=-1.0)
    with pytest.raises(InputError, match=r"draws=0, burn_in=0, thin=1\)"):
        SGLD(Constant(1e-3), draws=0)
    with pytest.raises(InputError, match=r"friction=0.0\): expected a share in \(0, 1\]"):
        SGHMC(Constant(1e-3), friction=0.0)
    with pytest.raises(InputError, match=r"RMSProp\(decay=1.0"):
        RMSProp(1.0)
