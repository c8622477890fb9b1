"""Particles moved by a score: against the equation of their covariance, exact laws and the grid; what goes wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.stats import assert_slope, assert_z
from thalweg.core import AbstractProcess, Estimate, InputError, Probes, Score, Status, StatusError, run
from thalweg.nets import MLP
from thalweg.pde import (
    FokkerPlanck,
    Linear,
    ScoreTransport,
    Trained,
    diffusing,
    evolve,
    kl_bound,
    linear_moments,
)
from thalweg.pde.scores import Fitted, Learned
from thalweg.problems import Normal
from thalweg.processes import ODE, OU, Euler, Grid, simulate

A, c = np.asarray([[-1.0, 0.8], [0.2, -0.5]]), np.asarray([0.3, -0.2])
MIXED, MASKED = np.asarray([[0.4, 0.1], [0.1, 0.2]]), np.diag([0.0, 0.3])
M0, S0, T = np.asarray([0.9, -0.6]), np.asarray([0.5, 0.3]), 0.6


def affine(t, x):
    return jnp.asarray(A, x.dtype) @ x + jnp.asarray(c, x.dtype)


def problem(D=MIXED, steps=12):
    start = Normal(jnp.asarray(M0), jnp.asarray(S0))
    return FokkerPlanck(diffusing(affine, jnp.asarray(D)), start, jnp.linspace(0, T, steps + 1))


def go(scores, problem, key, **fields):
    return run(ScoreTransport(scores, **fields), problem, steps=problem.steps, key=key, throw=False)


def moments(x):
    return np.asarray(x).mean(0), np.cov(np.asarray(x).T, ddof=0)


def start(problem, key, *sizes):
    # What `init` draws; seen by running no step.
    return run(ScoreTransport(Linear(), *sizes), problem, steps=0, key=key).value


def affine_maps(problem, mean, C, D):
    """The linear family's maps x -> M x + a, step by step, for a cloud with these moments at the start."""
    for dt in np.diff(np.asarray(problem.ts, float)):
        S = D @ np.linalg.inv(C)
        M, a = np.eye(2) + dt * (A + S), dt * (c - S @ mean)
        yield dt, M, a, S
        mean, C = M @ mean + a, M @ C @ M.T


@pytest.mark.parametrize("kind", ["mixed", "masked", "diagonal"])
def test_the_moments_of_the_cloud_follow_their_equation(kind, key, x64):
    D = MIXED if kind == "mixed" else MASKED
    at = problem(np.diag(D) if kind == "diagonal" else D)
    found = go(Linear(), at, key, particles=20)
    mean, C = moments(start(at, key, 20).x)
    rates = []
    for _, M, a, S in affine_maps(at, mean, C, D):
        rates.append(np.trace(A + S))
        mean, C = M @ mean + a, M @ C @ M.T
    got = moments(found.value.x)
    np.testing.assert_allclose(got[0], mean, rtol=1e-9)
    np.testing.assert_allclose(got[1], C, rtol=1e-9)
    np.testing.assert_allclose(found.value.covariance, C, rtol=1e-9)
    np.testing.assert_allclose(found.info.variance[-1], np.trace(C), rtol=1e-9)
    np.testing.assert_allclose(found.info.entropy_rate.mean, rates, rtol=1e-8)
    np.testing.assert_allclose(found.info.loss.mean[-1], -np.trace(D @ np.linalg.inv(C)), rtol=1e-8)


def test_the_steady_covariance_is_exact_and_without_a_score_there_is_none(key, x64):
    process = OU(jnp.asarray([1.0, 0.6]), 0.3, jnp.asarray([0.8, 0.5]))
    start = Normal(jnp.asarray(M0), jnp.asarray(S0))
    at = FokkerPlanck(process, start, jnp.linspace(0, 25.0, 251))
    found = go(Linear(), at, key, particles=20)
    np.testing.assert_allclose(np.diag(found.value.covariance), [0.32, 0.5**2 / 1.2], rtol=1e-8)
    np.testing.assert_allclose(found.info.entropy_rate.mean[-1], 0.0, atol=1e-8)
    # The control: the same drift without a score collapses.
    bare = simulate(ODE(process.drift), start.sample(key, 20), at.ts, method=Euler()).value
    assert np.var(bare, axis=0).max() < 1e-8


@pytest.mark.parametrize("D", [MIXED, MASKED], ids=["mixed", "masked"])
def test_first_order_in_dt(D, key, x64):
    """The cloud's moments, however few its particles; and log rho and its gradient along particles that are held out.

    The law of those is a Gaussian pushed through the affine maps of the run.
    """
    steps, errors = (10, 20, 40), []
    for k in steps:
        at = problem(D, k)
        found, first = go(Linear(), at, key, particles=15, held_out=5), start(at, key, 15, 5)
        _, exact = linear_moments(A, c, D, *moments(first.x), T)
        mean, C = np.asarray(M0), np.diag(S0**2)
        for _, M, a, _ in affine_maps(at, *moments(first.x), D):
            mean, C = M @ mean + a, M @ C @ M.T
        z = np.asarray(found.value.held_out) - mean
        q = -z @ np.linalg.inv(C)
        pairs = (
            (moments(found.value.x)[1], exact),
            (found.value.held_log_prob, gaussian(z, C)),
            (found.state.state.slope, q),
        )
        errors.append([np.abs(np.asarray(a) - b).max() for a, b in pairs])
    for each in np.transpose(errors):
        assert_slope([T / k for k in steps], each, 1.0, 0.2)
    assert errors[-1][1] < 0.05


def gaussian(z, C):
    quadratic = np.einsum("ni,ij,nj->n", z, np.linalg.inv(C), z)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * C)[1])


class Wrong(Linear):
    """The exact score of the solution times a factor: a twin whose law is known."""

    factor: float = eqx.field(static=True, default=1.0)

    def start(self, problem, x, *, key):
        return Learned(problem.ts[0].astype(x.dtype), None, None)

    def fit(self, problem, learned, t, x, *, key):
        zero = jnp.zeros(())
        return Learned(t, None, None), Fitted(jnp.zeros(len(x)), jnp.zeros(len(x)), jnp.asarray(0), zero)

    def score(self, learned):
        variance = 0.5 - 0.3 * jnp.exp(-2 * learned.params)
        return Score(lambda t, x: -self.factor * x / variance)


@pytest.mark.parametrize("factor", [1.0, 1.2, 0.7])
def test_the_bound_on_kl_holds_and_its_residual_is_exact(factor, key, x64):
    """dX = -X dt + sqrt(2 D) dW with D = 1/2 from N(0, 0.2): the solution's variance is 0.5 - 0.3 e^(-2t)."""
    at = FokkerPlanck(OU(1.0, 0.0, 1.0), Normal(jnp.zeros(1), jnp.full(1, 0.2**0.5)), jnp.linspace(0, 1.0, 201))
    found = go(Wrong(factor=factor), at, key, particles=4, held_out=2000)
    C, kl, residual = 0.2, 0.0, []
    for t in np.asarray(at.ts)[:-1]:
        V = 0.5 - 0.3 * np.exp(-2 * t)
        residual.append(0.5 * C * (1 / C - factor / V) ** 2)
        C *= (1 + 0.005 * (-1 + 0.5 * factor / V)) ** 2
    V = 0.5 - 0.3 * np.exp(-2)
    kl = 0.5 * (C / V - 1 - np.log(C / V))
    bound = kl_bound(at, found.info)
    got = found.info.residual
    if factor == 1:
        # Nothing is wrong but the steps in time.
        assert float(bound.mean) < 1e-4
        return
    assert_z(got.mean[::50], residual[::50], got.stderr[::50] + 0.01 * np.asarray(residual[::50]), max_stderr=0.05)
    assert kl < float(bound.mean) < 20 * kl


class Well(AbstractProcess):
    """A tilted double well."""

    def drift(self, t, x):
        return x - x**3 + 0.2

    def diffusion(self, t, x):
        return jnp.asarray(0.8, x.dtype)


ADAM = optax.adam(5e-3)


def small(**fields):
    return Trained(MLP((1,), width=16, depth=1, zero=True, key=jax.random.key(3)), ADAM, **fields)


def well(steps=40):
    return FokkerPlanck(Well(), Normal(jnp.asarray([0.2]), jnp.asarray([0.5])), jnp.linspace(0, 1.0, steps + 1))


def test_a_double_well_against_the_grid(key):
    at = well()
    truth = evolve(at, Grid((-3.0,), (3.0,), (120,))).final
    found = go(small(steps=20), at, key, particles=800, held_out=400)
    assert found.status == Status.finished
    x = np.asarray(found.value.x[:, 0])
    assert_z(x.mean(), truth.mean[0], x.std() / 800**0.5 + 0.01, max_stderr=0.05)
    assert_z(x.var(), truth.covariance[0, 0], np.std((x - x.mean()) ** 2) / 800**0.5 + 0.01, max_stderr=0.05)
    entropy = found.value.entropy
    assert_z(entropy.mean, truth.entropy, float(entropy.stderr) + 0.01, max_stderr=0.15)
    # The score where the particles are, relative to its own size.
    s = np.asarray(jax.vmap(lambda x: found.value.score(0.0, x))(found.value.x))[:, 0]
    exact = truth.score(found.value.x)[:, 0]
    inside = np.isfinite(exact)
    assert np.mean((s - exact)[inside] ** 2) < 0.1 * np.mean(exact[inside] ** 2)
    assert 0 <= float(kl_bound(at, found.info).mean) < 0.1
    # The twin: the Gaussian family does not see the two wells.
    plain = go(Linear(), at, key, particles=800).value.score
    plain = np.asarray(jax.vmap(lambda x: plain(0.0, x))(found.value.x))[:, 0]
    assert np.mean((plain - exact)[inside] ** 2) > 3 * np.mean((s - exact)[inside] ** 2)


def test_probes_are_unbiased(key):
    at = problem(MIXED, 6)
    exact, probed = (go(Linear(), at, key, particles=400, held_out=100, **f) for f in ({}, {"how": Probes(2)}))
    gap = np.asarray(probed.value.log_prob - exact.value.log_prob)
    assert_z(gap.mean(), 0.0, gap.std() / 20)
    a, b = probed.info.entropy_rate, exact.info.entropy_rate
    assert float(a.stderr[0]) > 100 * float(b.stderr[0])
    assert_z(a.mean[0], b.mean[0], a.stderr[0])


def test_a_loss_that_rises_stops(key):
    net = MLP((1,), width=16, depth=1, zero=True, key=jax.random.key(3))
    # Uphill: the sign of the steps is wrong.
    wild = Trained(net, optax.sgd(-0.3), steps=3, first=0)
    at = well()
    with pytest.raises(StatusError, match="the loss rose"):
        run(ScoreTransport(wild, 200), at, steps=2, key=key)
    bad = eqx.tree_at(lambda p: p.initial.mean, at, jnp.asarray([jnp.nan]))
    with pytest.raises(StatusError, match="non-finite"):
        run(ScoreTransport(small(), 200), bad, steps=2, key=key)


def test_compiles_once(key):
    traced = []

    class Watched(OU):
        def drift(self, t, x):
            traced.append(1)
            return super().drift(t, x)

    start = Normal(jnp.asarray(M0), jnp.asarray(S0))
    method = ScoreTransport(Linear(), 30)
    for k in range(3):
        at = FokkerPlanck(Watched(1.0 + k, 0.0, 0.5), start, jnp.linspace(0, 1.0 + k, 6))
        run(method, at, steps=5, key=jax.random.fold_in(key, k))
        if not k:
            first = len(traced)
    # A problem looks once at the shape of its drift; nothing is compiled anew.
    assert len(traced) == first + 2


def test_what_is_refused(key):
    for fields, told in (
        ({"particles": 1}, "particles=1"),
        ({"held_out": -1}, "held_out=-1"),
        ({"held_out": 1}, "0 or"),
    ):
        with pytest.raises(InputError, match=told):
            ScoreTransport(Linear(), **fields)
    with pytest.raises(InputError, match="2 particles for 2 coordinates"):
        run(ScoreTransport(Linear(), 2), problem(), steps=1, key=key)
    with pytest.raises(InputError, match="held no particles out"):
        kl_bound(problem(), go(Linear(), problem(), key, particles=9).info)
    found = go(Linear(), problem(), key, particles=9).value
    assert isinstance(found.entropy, Estimate)
    assert found.mean.mean.shape == (2,)
