"""Losses against the error that they stand for, their minimisers against closed forms, and fits that go wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.stats import assert_z
from thalweg.core import Exact, InputError, Probes
from thalweg.nets import MLP
from thalweg.pde import Denoised, FokkerPlanck, Implicit, Linear, Raw, Trained, Whitened, diffusing
from thalweg.pde.fokker_planck import spread
from thalweg.problems import Normal
from thalweg.processes import OU

MEAN, STD = np.asarray([0.4, -0.8]), np.asarray([0.6, 1.1])
START = Normal(jnp.asarray(MEAN), jnp.asarray(STD))
T = jnp.zeros(())


class Noise(OU):
    """Ornstein-Uhlenbeck with noise that depends on place."""

    def diffusion(self, t, x):
        return jnp.stack([0.7 + 0.2 * jnp.sin(x[0] + x[1]), 0.5 + 0.1 * x[0] ** 2])


PROCESSES = {
    "plain": OU(1.0, 0.0, 0.8),
    "place": Noise(),
    "masked": OU(1.0, 0.0, jnp.asarray([0.0, 0.6])),
    "matrix": diffusing(lambda t, x: -x, jnp.asarray([[0.5, 0.2], [0.2, 0.3]])),
}


def score(x):
    """Some function that is not the score."""
    return jnp.stack([-1.5 * x[0] + 0.3 * x[1] ** 2, jnp.sin(x[0]) - 0.7 * x[1]])


def error(process, x, smooth=0.0):
    """E|s - grad log rho|_D^2 - E|grad log rho|_D^2 a draw, for rho widened by `smooth`."""

    def one(x):
        truth = -(x - MEAN) / (STD**2 + smooth**2)
        e = score(x) - truth
        return jnp.sum(e * spread(process, T, x, e)) - jnp.sum(truth * spread(process, T, x, truth))

    return np.asarray(jax.vmap(one)(x))


@pytest.mark.parametrize("name", PROCESSES)
def test_the_loss_is_the_error_less_a_constant(name, key):
    process, n = PROCESSES[name], 4000
    x = START.sample(key, n)
    for how in (Exact(), Probes(2)):
        gap = np.asarray(Implicit(how)(process, T, x, score, key=key)) - error(process, x)
        assert_z(gap.mean(), 0.0, gap.std() / n**0.5, max_stderr=0.08)
    # The twin: the divergence of s instead of that of D s, or once instead of twice.
    once = 0.5 * (np.asarray(Implicit()(process, T, x, score, key=key)) - jax.vmap(
        lambda x: jnp.sum(score(x) * spread(process, T, x, score(x))))(x))  # fmt: skip
    gap = np.asarray(Implicit()(process, T, x, score, key=key)) - once - error(process, x)
    assert abs(gap.mean()) > 4.5 * gap.std() / n**0.5


@pytest.mark.parametrize("name", ["plain", "masked", "matrix"])
def test_the_denoised_loss_is_the_error_for_a_wider_density(name, key):
    process, n, sigma = PROCESSES[name], 20_000, 0.5
    x = START.sample(key, n)
    draws = np.asarray(Denoised(sigma)(process, T, x, score, key=jax.random.key(4)))
    # Only coordinates with noise are widened.
    mask = np.asarray([0.0, 1.0]) if name == "masked" else np.ones(2)
    wide = Normal(START.mean, jnp.sqrt(START.std**2 + mask * sigma**2)).sample(jax.random.key(5), n)
    truth = error(process, wide, mask * sigma)
    stderr = np.hypot(draws.std(), truth.std()) / n**0.5
    assert_z(draws.mean(), truth.mean(), stderr, max_stderr=0.06)
    # The twin: the plain density, not the wider one.
    plain = error(process, START.sample(jax.random.key(6), n))
    assert abs(draws.mean() - plain.mean()) > 4.5 * np.hypot(draws.std(), plain.std()) / n**0.5


def test_coordinates_without_noise_are_not_asked_for(key):
    x = START.sample(key, 50)
    other = lambda x: score(x) + jnp.asarray([7.0, 0.0]) * jnp.cos(x)  # noqa: E731
    for loss in (Implicit(), Denoised(0.2)):
        a, b = (loss(PROCESSES["masked"], T, x, s, key=key) for s in (score, other))
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_linear_fit_is_the_minimiser(key, x64):
    x = START.sample(key, 30).astype(float) @ jnp.asarray([[1.0, 0.4], [0.0, 1.0]])
    problem = FokkerPlanck(PROCESSES["matrix"], START, jnp.linspace(0.0, 1.0, 3))
    learned, fitted = Linear().fit(problem, Linear().start(problem, x, key=key), T, x, key=key)
    best = Linear().score(learned)

    def mean_loss(A):
        # Any change of the matrix or the point of zero raises the loss of the cloud.
        s = lambda x: best(T, x) + A[:, :2] @ x + A[:, 2]  # noqa: E731
        return jnp.mean(Implicit()(problem.process, T, x, s, key=key))

    np.testing.assert_allclose(jax.grad(mean_loss)(jnp.zeros((2, 3))), np.zeros((2, 3)), atol=1e-10)
    np.testing.assert_allclose(mean_loss(jnp.zeros((2, 3))), fitted.after.mean())
    assert np.linalg.eigvalsh(jax.hessian(mean_loss)(jnp.zeros((2, 3))).reshape(6, 6)).min() > 0


ADAM = optax.adam(1e-2)
fit = eqx.filter_jit(lambda scores, *given, key: scores.fit(*given, key=key))
begin = eqx.filter_jit(lambda scores, *given, key: scores.start(*given, key=key))


def trained(**fields):
    return Trained(MLP((2,), width=8, depth=1, zero=True, key=jax.random.key(3)), ADAM, **fields)


def problem(process=PROCESSES["plain"]):
    return FokkerPlanck(process, START, jnp.linspace(0.0, 1.0, 3))


def test_a_fit_lowers_the_loss_until_its_gradient_is_small(key):
    x = START.sample(key, 200)
    skew = x + 0.3 * (x - MEAN) ** 2
    scores = trained(steps=60, gradient=0.1)
    learned = begin(scores, problem(), x, key=key)
    found, fitted = fit(scores, problem(), learned, T, skew, key=key)
    assert float(fitted.after.mean()) < float(fitted.before.mean())
    assert 0 < int(fitted.steps) < 60
    assert float(fitted.grad_norm) <= 0.1
    # From there, one look is enough; the state of the optimiser has gone along.
    _, again = fit(scores, problem(), found, T, skew, key=key)
    assert int(again.steps) < int(fitted.steps)
    assert int(found.optimiser[0].count) == int(fitted.steps)
    _, short = fit(trained(steps=3), problem(), learned, T, skew, key=key)
    assert int(short.steps) == 3


def test_the_start_is_the_score_of_the_initial_density(key):
    x = START.sample(key, 200)
    for scores, bound in ((trained(first_error=1e-2), 0.1), (trained(frame=Raw(), first=400, first_error=0.0), 0.3)):
        found = scores.score(begin(scores, problem(), x, key=key))
        gap = jax.vmap(lambda x, s=found: s(T, x) - START.score(x))(x)
        assert float(jnp.sqrt(jnp.mean(gap**2))) < bound
    # Gaussian coordinates know a Gaussian before they have seen it.
    lazy = trained(first=0, frame=Whitened())
    found = lazy.score(begin(lazy, problem(), x, key=key))
    assert float(jnp.mean(jax.vmap(lambda x: jnp.sum((found(T, x) - START.score(x)) ** 2))(x))) < 0.2


def test_batches_see_some_of_the_cloud(key):
    x = START.sample(key, 100)
    scores = trained(steps=2, batch=10)
    learned = begin(scores, problem(), x, key=key)
    once, fitted = fit(scores, problem(), learned, T, x, key=key)
    assert fitted.after.shape == (100,)
    other, _ = fit(scores, problem(), learned, T, x, key=jax.random.key(9))
    same, _ = fit(scores, problem(), learned, T, x, key=key)
    first = lambda p: np.asarray(p.params.last.weight)  # noqa: E731
    np.testing.assert_array_equal(first(same), first(once))
    assert not np.array_equal(first(same), first(other))


def test_what_is_refused():
    for fields, told in (
        ({"steps": 0}, "steps=0"),
        ({"batch": 0}, "batch=0"),
        ({"first": -1}, "first=-1"),
        ({"gradient": -0.1}, "at least 0"),
    ):
        with pytest.raises(InputError, match=told):
            trained(**fields)
    with pytest.raises(InputError, match="more than 0; without noise take Implicit"):
        Denoised(0.0)
    with pytest.raises(InputError, match="2 particles for 2 coordinates"):
        Linear().check(2, (2,))
    assert eqx.tree_equal(trained().frame, Whitened())
