"""Langevin corrections: their exact mean and variance on a Gaussian, the paper's predictor, and what they mend."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, Score, run
from thalweg.flows import Brownian, ConstantNoise, DiffusionPath, FlowODE, FlowSDE, Linear, OneSided
from thalweg.flows.corrector import PredictorCorrector, ReverseDiffusion, correct
from thalweg.problems import MixtureInterpolant, gaussian
from thalweg.processes import VE, VP, Euler, EulerMaruyama, Simulate, simulate

N = 20_000
corrected = eqx.filter_jit(correct)
MEAN, VARIANCE = 0.8, 0.25


def motion(path, *, sde=None, sign=1.0):
    exact = MixtureInterpolant(
        gaussian(np.zeros(1), np.eye(1)), gaussian(np.array([MEAN]), np.array([[VARIANCE]])), path
    )
    score = Score(lambda t, x: sign * exact.score(t, x))
    if sde is None:
        return FlowODE(exact.velocity, path, score)
    return FlowSDE(exact.velocity, path, score, ConstantNoise(sde))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_correction_on_a_gaussian(key, sign):
    # From N(m + 0.5, w): the mean error shrinks by 1 - delta/v, the variance becomes (1 - delta/v)^2 w + 2 delta.
    path, t, w, snr = OneSided(Linear()), jnp.asarray(0.6), 0.4, 0.3
    v = 0.4**2 + 0.6**2 * VARIANCE
    x = 0.6 * MEAN + 0.5 + np.sqrt(w) * jax.random.normal(key, (N, 1))
    moved = np.asarray(corrected(motion(path, sign=sign), t, x, snr, key=jax.random.fold_in(key, 1)), np.float64)
    norm = np.mean(np.abs(np.asarray(x) - 0.6 * MEAN)) / v
    delta = 2 * (snr * np.sqrt(2 / np.pi) / norm) ** 2
    mean, variance = 0.6 * MEAN + 0.5 * (1 - delta / v), (1 - delta / v) ** 2 * w + 2 * delta

    def holds():
        assert_z(moved.mean(), mean, moved.std() / N**0.5)
        assert_z(moved.var(), variance, moved.var() * (2 / N) ** 0.5)

    if sign > 0:
        holds()
    else:
        with pytest.raises(AssertionError):
            holds()


def test_corrections_mend_a_coarse_predictor(key):
    path = OneSided(Linear())
    x0 = jax.random.normal(key, (N // 4, 1))
    ts = jnp.linspace(0, 0.95, 5)
    truth = 0.95 * MEAN
    plain = simulate(motion(path, sde=0.5), x0, ts, method=EulerMaruyama(), key=key).value
    mended = simulate(
        motion(path, sde=0.5), x0, ts, method=PredictorCorrector(EulerMaruyama(), corrections=20), key=key
    ).value
    variance = 0.05**2 + 0.95**2 * VARIANCE
    assert abs(float(mended.var()) / variance - 1.026) < 0.05  # the corrector's own excess is 2.6 %
    assert abs(float(plain.var()) / variance - 1) > 0.08
    assert abs(float(mended.mean()) - truth) < 0.05


@pytest.mark.parametrize("process", [VP(), VE(sigma_min=0.05, sigma_max=4.0)], ids=["vp", "ve"])
def test_the_predictor_is_the_one_that_is_printed(key, process):
    path = DiffusionPath(process)
    flow, x = motion(path), jnp.asarray([[0.4], [-1.2], [2.0]])
    t, dt = jnp.asarray(0.5), jnp.asarray(0.02)
    moved = eqx.filter_jit(ReverseDiffusion().advance)(flow, t, dt, x, key=key)
    s, z = jax.vmap(lambda y: flow.score(t, y))(x), jax.random.normal(key, x.shape)
    if isinstance(process, VP):
        b = 0.02 * (0.1 + (1 - 0.51) * 19.9)  # the integral of the rate over the step; beta_i to first order
        beta = 1 - np.exp(-b)
        printed = x - (np.sqrt(1 - beta) - 1) * x + beta * s + np.sqrt(beta) * z
    else:
        square = process.sigma(0.5) ** 2 - process.sigma(0.48) ** 2
        printed = x + square * s + jnp.sqrt(square) * z
    np.testing.assert_allclose(moved, printed, rtol=1e-4)


@pytest.mark.parametrize("method", [ReverseDiffusion(), PredictorCorrector(ReverseDiffusion())])
def test_reverse_diffusion_reaches_the_data(key, method):
    path, n = DiffusionPath(VP()), N // 4
    x0 = jax.random.normal(key, (n, 1))
    x = np.asarray(simulate(motion(path), x0, jnp.linspace(0, 0.999, 101), method=method, key=key).value, np.float64)
    assert_z(x.mean(), MEAN, x.std() / n**0.5 + 0.005)
    # Each correction leaves the variance up to 2.6 % too large, the 100 steps about 2 %.
    assert_z(x.var() / VARIANCE, 1.02, (2 / n) ** 0.5 + 0.01)


def test_nothing_is_corrected_where_no_noise_is_left(key):
    for path in (OneSided(Linear()), Linear(Brownian())):
        x = jnp.asarray([[0.3], [1.0]])
        np.testing.assert_array_equal(corrected(motion(path), jnp.asarray(1.0), x, 0.16, key=key), x)
        assert not np.array_equal(corrected(motion(path), jnp.asarray(0.9), x, 0.16, key=key), x)


def test_a_run_goes_on_to_the_same_bits_and_rests_at_the_end(key):
    path = OneSided(Linear())
    method = PredictorCorrector(EulerMaruyama(), corrections=2)
    problem = Simulate(motion(path, sde=0.3), jnp.asarray([[0.2], [-1.0]]), jnp.linspace(0, 0.9, 6))
    whole = run(method, problem, steps=5, key=key)
    part = run(method, problem, steps=3, key=key)
    np.testing.assert_array_equal(run(method, problem, steps=2, key=key, state=part.state).value, whole.value)
    np.testing.assert_array_equal(run(method, problem, steps=7, key=key).value, whole.value)


def test_without_corrections_it_is_the_predictor(key):
    problem = motion(OneSided(Linear())), jnp.asarray([[0.2], [-1.0]]), jnp.linspace(0, 0.9, 4)
    plain = simulate(*problem, method=Euler()).value
    np.testing.assert_array_equal(simulate(*problem, method=PredictorCorrector(Euler(), corrections=0)).value, plain)


def test_bad_use(key):
    flow, x, ts = motion(OneSided(Linear())), jnp.zeros((2, 1)), jnp.linspace(0, 0.9, 3)
    for snr in (0.0, 1.5):
        with pytest.raises(InputError, match=r"number in \(0, 1\]"):
            PredictorCorrector(Euler(), snr=snr)
    with pytest.raises(InputError, match=r"at least 0"):
        PredictorCorrector(Euler(), corrections=-1)
    for method in (PredictorCorrector(Euler()), ReverseDiffusion()):
        with pytest.raises(InputError, match=r"with a score"):
            simulate(dataclasses.replace(flow, score=None), x, ts, method=method)
    with pytest.raises(InputError, match=r"its noise would be lost"):
        simulate(motion(OneSided(Linear()), sde=0.1), x, ts, method=PredictorCorrector(Euler()), key=key)
    with pytest.raises(InputError, match=r"one-sided"):
        simulate(motion(Linear(Brownian())), x, ts, method=ReverseDiffusion())
    with pytest.raises(InputError, match=r"rising"):
        simulate(flow, x, ts[::-1], method=ReverseDiffusion())
