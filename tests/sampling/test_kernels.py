"""Kernels keep their density: nominal and stressed; without the test they do not."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z, fit_slope
from thalweg.core import InputError
from thalweg.problems import Density, Mixture
from thalweg.sampling import GHMC, HMC, MALA, ULA, FromBlackjax, RandomWalk, Underdamped

WALKERS, STEPS = 4000, 60
# Neither centred nor symmetric; a quartic wall makes the acceptance matter.
TARGET = Mixture(
    np.asarray([0.3, 0.7]),
    np.asarray([[-1.0, 0.5], [1.5, -0.5]]),
    np.asarray([[[0.4, 0.1], [0.1, 0.5]], [[0.5, -0.2], [-0.2, 0.4]]]),
)
NOMINAL = {
    "RandomWalk": RandomWalk(0.8),
    "MALA": MALA(0.15),
    "HMC": HMC(0.35, leaps=4),
    "GHMC": GHMC(0.25, friction=1.5),
    "scaled": MALA(0.3, jnp.asarray([0.6, 0.9])),
    "jittered": HMC(0.5, jnp.asarray([0.6, 0.9]), leaps=3, jitter=0.6),
}
STRESSED = {
    "RandomWalk": RandomWalk(1.6),
    "MALA": MALA(0.6),
    "HMC": HMC(0.95, leaps=3),
    "GHMC": GHMC(1.0, friction=1.0),
}


@eqx.filter_jit
def moved(kernel, density, x, key):
    """Exact draws after some steps: the mean acceptance and the cloud."""
    n = len(x)
    walkers = jax.vmap(lambda x, k: kernel.init(density, x, key=k))(x, jax.random.split(key, n))

    def body(walkers, k):
        walkers, move = jax.vmap(lambda w, q: kernel.step(density, w, key=q))(walkers, jax.random.split(k, n))
        return walkers, (move.accept.mean(), move.broken.sum(), move.divergent.sum())

    walkers, rest = jax.lax.scan(body, walkers, jax.random.split(jax.random.fold_in(key, 1), STEPS))
    return walkers.x, rest


def scores(kernel, key):
    """z of means, squares and the product after the steps, and the acceptance."""
    x, (accept, _, _) = moved(kernel, TARGET, TARGET.sample(key, WALKERS), jax.random.fold_in(key, 2))
    x = np.asarray(x, float)
    mean, cov = np.asarray(TARGET.mean, float), np.asarray(TARGET.covariance, float)
    centred = x - mean
    seen = np.concatenate([x, centred**2, centred[:, :1] * centred[:, 1:]], axis=1)
    truth = np.concatenate([mean, np.diag(cov), cov[:1, 1]])
    return seen.mean(0), truth, seen.std(0) / np.sqrt(WALKERS), float(accept.mean())


@pytest.mark.parametrize("name", NOMINAL)
def test_a_density_is_kept(name, key):
    seen, truth, stderr, accept = scores(NOMINAL[name], key)
    assert accept > 0.5
    assert_z(seen, truth, stderr)


@pytest.mark.parametrize("name", STRESSED)
def test_a_density_is_kept_at_a_step_that_is_often_refused(name, key):
    seen, truth, stderr, accept = scores(STRESSED[name], key)
    assert 0.2 < accept < 0.85
    assert_z(seen, truth, stderr)


@pytest.mark.parametrize("step", [0.3, 0.15])
def test_without_the_test_the_bias_is_seen(step, key):
    """The twin: MALA's proposals, all accepted, at steps where MALA itself passes."""
    seen, truth, stderr, _ = scores(ULA(step), key)
    assert np.abs((seen - truth) / stderr).max() > 4.5


def test_ula_of_a_gaussian_has_the_known_variance(key):
    """y = (1 - h) x + sqrt(2h) xi: variance 2h/(1 - (1-h)^2) = 1/(1 - h/2), not 1."""
    h = 0.4
    density = Density(lambda x: -0.5 * jnp.sum((x - 1) ** 2), (1,))
    x, _ = moved(ULA(h), density, jnp.ones((WALKERS, 1)), key)
    variance = 1 / (1 - h / 2)
    assert_z(float(x.var()), variance, variance * np.sqrt(2 / WALKERS))
    assert_z(float(x.mean()), 1.0, np.sqrt(variance / WALKERS))


def test_underdamped_positions_of_a_gaussian_are_exact(key):
    density = Density(lambda x: -0.5 * jnp.sum((x - 1) ** 2) / 0.25, (1,))
    x, _ = moved(Underdamped(0.5, friction=1.5), density, jnp.ones((WALKERS, 1)), key)
    assert_z(float(x.var()), 0.25, 0.25 * np.sqrt(2 / WALKERS))


@pytest.mark.parametrize(("kernel", "order"), [(partial(HMC, leaps=1), 3.0), (partial(Underdamped, friction=0.0), 3.0)])
def test_the_energy_error_of_one_step_is_of_order_three(kernel, order, key):
    steps = np.asarray([0.4, 0.2, 0.1, 0.05])
    x = TARGET.sample(key, 500)

    def error(h):
        made = kernel(h)
        walkers = jax.vmap(lambda x, k: made.init(TARGET, x, key=k))(x, jax.random.split(key, 500))
        _, move = jax.vmap(lambda w, k: made.step(TARGET, w, key=k))(walkers, jax.random.split(key, 500))
        return float(jnp.sqrt(jnp.mean(move.energy_error**2)))

    with jax.enable_x64(True):
        errors = [error(float(h)) for h in steps]
    assert abs(fit_slope(steps, errors).slope - order) < 0.35


def test_a_nan_is_refused_and_counted(key):
    """The log density is NaN to the right of 1: no walker goes there, and the refusals are seen."""
    density = Density(lambda x: -0.5 * jnp.sum(x**2) + jnp.log(1 - x[0]), (1,))
    wall = Density(lambda x: jnp.where(x[0] < 1, -0.5 * jnp.sum(x**2), jnp.inf), (1,))
    for each in (density, wall):
        x, (_, broken, _) = moved(RandomWalk(1.0), each, jnp.zeros((100, 1)), key)
        assert int(broken.sum()) > 0
        assert float(x.max()) < 1


def test_the_edge_of_a_support_is_no_mistake(key):
    density = Density(lambda x: jnp.where(x[0] > 0, -x[0], -jnp.inf), (1,))
    x, (_, broken, divergent) = moved(RandomWalk(2.0), density, jnp.ones((WALKERS, 1)), key)
    assert int(broken.sum()) == int(divergent.sum()) == 0
    assert float(x.min()) > 0
    assert_z(float(x.mean()), 1.0, 1 / np.sqrt(WALKERS))


def test_a_step_far_too_large_is_divergent(key):
    density = Density(lambda x: -jnp.sum(x**4), (2,))
    _, (accept, _, divergent) = moved(HMC(1.0, leaps=5), density, jnp.ones((50, 2)), key)
    assert float(accept.mean()) < 0.05
    assert int(divergent.sum()) > 0


def test_nuts_of_blackjax(key):
    blackjax = pytest.importorskip("blackjax")
    kernel = FromBlackjax(lambda log_prob: blackjax.nuts(log_prob, 0.5, jnp.ones(2)))
    x, (accept, _, _) = moved(kernel, TARGET, TARGET.sample(key, 500), key)
    assert float(accept.mean()) > 0.7
    assert_z(np.asarray(x.mean(0), float), np.asarray(TARGET.mean, float), np.asarray(x.std(0), float) / np.sqrt(500))
    with pytest.raises(InputError, match="no step size"):
        kernel.tuned(0.1, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ULA(0.0), "step_size"),
        (lambda: MALA(jnp.nan), "step_size"),
        (lambda: RandomWalk(1.0, jnp.asarray([1.0, -1.0])), "scale"),
        (lambda: HMC(0.1, leaps=0), "leaps"),
        (lambda: HMC(0.1, jitter=1.0), "jitter"),
        (lambda: Underdamped(0.1, friction=-1.0), "friction"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
