"""The Fokker-Planck residual: zero on exact log densities, not on wrong ones; its penalty; what has no residual."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.stats import assert_z
from thalweg.core import Fit, InputError, Probes, Score, run
from thalweg.flows.residual import Box, PotentialMatching, fokker_planck_residual, residual_rms
from thalweg.nets import Gradient, Potential
from thalweg.problems import Mixture, two_modes
from thalweg.processes import OU, VE, VP, GeometricBrownian

PROCESSES = {"ou": lambda: OU(), "ou-shifted": lambda: OU(0.7, 0.4, 1.3), "vp": VP, "ve": lambda: VE(0.1, 5.0)}


class Exactly(eqx.Module):
    """log p_tau of a mixture under a Gaussian process; `wrong` changes it by a factor."""

    data: Mixture
    process: object
    wrong: jax.Array

    def __call__(self, tau, x):
        scale, std = self.process.scale(tau), self.process.std(tau)
        means = scale * self.data.means + self.process.shift(tau)
        covs = scale**2 * self.data.covs + std**2 * jnp.eye(x.size)
        return self.wrong * Mixture(self.data.weights, means, covs).log_prob(x)


def pairs(key, n=12):
    first, second = jax.random.split(key)
    return jax.random.uniform(first, (n,), minval=0.05, maxval=0.95), 2 * jax.random.normal(second, (n, 2))


@pytest.mark.parametrize("name", PROCESSES)
def test_zero_on_the_exact_log_density(x64, key, name):
    process = PROCESSES[name]()
    for wrong in (1.0, -1.0, 0.9):
        found = residual_rms(Exactly(two_modes(), process, jnp.asarray(wrong)), process, *pairs(key))
        assert float(found.mean) < 1e-10 if wrong == 1 else float(found.mean) > 0.1


def test_against_a_residual_by_hand(x64):
    # u = a tau - b |x|^2/2 on OU: u_tau = a, div f = -d, f.grad u = b|x|^2, lap u = -bd, |grad u|^2 = b^2|x|^2.
    a, b, x = 0.3, 0.8, jnp.asarray([0.5, -1.2, 2.0])
    u = lambda tau, y: a * tau - 0.5 * b * jnp.sum(y**2)  # noqa: E731
    square = float(jnp.sum(x**2))
    by_hand = a - 3 + b * square - 0.5 * (-3 * b + b**2 * square)
    found = fokker_planck_residual(u, OU(), jnp.asarray(0.4), x)
    np.testing.assert_allclose(found.mean, by_hand, rtol=1e-12)
    assert float(found.stderr) == 0


def test_probes_are_unbiased_and_so_is_the_square_of_the_residual(key):
    process = OU()
    u = Exactly(two_modes(), process, jnp.asarray(0.8))
    t, x = jnp.asarray(0.3), jnp.asarray([0.7, -0.4])
    exact = float(fokker_planck_residual(u, process, t, x).mean)
    n = 1500
    draw = jax.jit(jax.vmap(lambda k: fokker_planck_residual(u, process, t, x, how=Probes(2), key=k)))
    draws = draw(jax.random.split(key, n))
    mean = np.asarray(draws.mean, np.float64)
    assert_z(mean.mean(), exact, mean.std() / n**0.5)
    squares = mean**2 - np.asarray(draws.stderr) ** 2
    assert_z(squares.mean(), exact**2, squares.std() / n**0.5)
    ts, xs = jnp.full(n, 0.3), jnp.broadcast_to(x, (n, 2))
    found = residual_rms(u, process, ts, xs, how=Probes(2), key=key)
    assert_z(found.mean, abs(exact), found.stderr)


class Quadratic(eqx.Module):
    """u = -p |x - m|^2/2 + log-normaliser, for data N(m, v) in one dimension under OU: the family of the truth."""

    mean: jax.Array
    log_variance: jax.Array
    offset: jax.Array

    def __call__(self, tau, x):
        decay = jnp.exp(-2 * tau)
        v = decay * jnp.exp(self.log_variance) + 0.5 * (1 - decay)
        square = jnp.sum((x - jnp.exp(-tau) * self.mean) ** 2)
        return -0.5 * square / v - 0.5 * jnp.log(2 * jnp.pi * v) + self.offset


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_training_finds_the_gaussian(key, weight):
    data = 0.7 + 0.4 * jax.random.normal(key, (4000, 1))
    objective = PotentialMatching(OU(), Box(jnp.asarray([-4.0]), jnp.asarray([4.0])), 3.0, weight, 64)
    model = Quadratic(jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(0.0))
    batch = lambda k: data[jax.random.randint(k, (256,), 0, len(data))]  # noqa: E731
    fit = Fit(objective, model, optax.adam(optax.cosine_decay_schedule(0.03, 500)), ema=0.98)
    found = run(fit, batch, steps=500, key=key).value
    np.testing.assert_allclose(found.mean, data.mean(), atol=0.03)
    np.testing.assert_allclose(jnp.exp(found.log_variance), data.var(), rtol=0.15)


def test_the_loss_is_least_at_the_truth(key):
    data = 0.7 + 0.4 * jax.random.normal(key, (4000, 1))
    objective = PotentialMatching(OU(), Box(jnp.asarray([-5.0]), jnp.asarray([5.0])), 3.0, 1.0, 512)
    truth = Quadratic(jnp.asarray(0.7), jnp.log(0.16), jnp.asarray(0.0))
    loss = eqx.filter_jit(objective)
    best = float(loss(truth, data, key=key))
    for other in (
        Quadratic(jnp.asarray(0.4), jnp.log(0.16), jnp.asarray(0.0)),
        Quadratic(jnp.asarray(0.7), jnp.log(0.3), jnp.asarray(0.0)),
        Quadratic(jnp.asarray(0.7), jnp.log(0.08), jnp.asarray(0.0)),
    ):
        assert float(loss(other, data, key=key)) > best + 0.02


def test_the_box(key):
    box = Box(jnp.asarray([-1.0, 0.0]), jnp.asarray([1.0, 8.0]))
    x = box.uniform(500, key=key)
    assert bool(((x >= box.lo) & (x <= box.hi)).all())
    edge = np.asarray(box.edge(4000, key=key))
    on = np.isclose(edge, box.lo) | np.isclose(edge, box.hi)
    assert on.any(axis=1).all()
    # The long sides are met across the first coordinate: 16 of 20 of the length.
    assert_z(on[:, 0].mean(), 0.8, (0.8 * 0.2 / 4000) ** 0.5)
    around = Box.around(jnp.asarray([[0.0, 1.0], [2.0, 5.0]]), 0.25)
    np.testing.assert_allclose(around.lo, [-0.5, 0.0])
    np.testing.assert_allclose(around.hi, [2.5, 6.0])
    for hi in ([-2.0, 3.0], [1.0, np.inf]):
        with pytest.raises(InputError, match=r"lo < hi"):
            Box(jnp.asarray([-1.0, 0.0]), jnp.asarray(hi))
    with pytest.raises(InputError, match=r"corners have shapes"):
        Box(jnp.zeros(2), jnp.ones(3))


def test_what_has_no_residual(key):
    process, t, x = OU(), jnp.asarray(0.5), jnp.asarray([0.1, 0.2])
    potential = Potential(lambda t, x, c: jnp.sum(x) * t, 1.0)
    fokker_planck_residual(potential, process, t, x)
    for score in (Score(lambda t, x: -x), Gradient(potential)):
        with pytest.raises(InputError, match=r"need not be the gradient"):
            fokker_planck_residual(score, process, t, x)
    with pytest.raises(InputError, match=r"expected a scalar"):
        fokker_planck_residual(lambda t, x: -x, process, t, x)
    with pytest.raises(InputError, match=r"depends on time alone"):
        fokker_planck_residual(potential, GeometricBrownian(), t, x)
    with pytest.raises(InputError, match=r"depends on time alone"):
        fokker_planck_residual(potential, OU(sigma=jnp.asarray([1.0, 2.0])), t, x)
    with pytest.raises(InputError, match=r"needs key"):
        fokker_planck_residual(potential, process, t, x, how=Probes(2))
    with pytest.raises(InputError, match=r"at least 2"):
        residual_rms(potential, process, t[None], x[None], how=Probes(1), key=key)
    with pytest.raises(InputError, match=r"one time for each point"):
        residual_rms(potential, process, t[None], jnp.zeros((3, 2)))


def test_objectives_that_are_refused():
    box = Box(jnp.zeros(2), jnp.ones(2))
    for bad in (dict(horizon=0.0), dict(weight=-1.0), dict(collocation=0), dict(earliest=0.0), dict(how=Probes(1))):
        with pytest.raises(InputError):
            PotentialMatching(OU(), box, **bad)
    with pytest.raises(InputError, match=r"depends on time alone"):
        PotentialMatching(OU(sigma=jnp.asarray([1.0, 2.0])), box)
