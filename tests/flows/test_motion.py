"""Exact fields: ODE and SDE share their marginals for every eps(t), forward and backward; a flipped score does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, Score, Velocity
from thalweg.flows import Brownian, ConstantNoise, CustomNoise, FlowODE, FlowSDE, Linear, OneSided, VanishingNoise
from thalweg.problems import MixtureInterpolant, eight_modes, gaussian, two_modes
from thalweg.processes import RK4, EulerMaruyama, StochasticHeun, simulate

PATH = Linear(Brownian(0.6))
BASE = gaussian(np.array([0.5, -0.3]), np.array([[0.8, 0.2], [0.2, 0.5]]))
N, STEPS = 4000, 160
NOISES = {
    "0.2": ConstantNoise(0.2),
    "1": ConstantNoise(1.0),
    "t-dependent": CustomNoise(lambda t: 1.5 * t * (1 - t) + 0.1),
}


def assert_marginal(cloud, target, allowance=0.0):
    """Means, second moments and mode shares within 4.5 standard errors (plus the stated allowance for time steps)."""
    x = np.asarray(cloud, np.float64)
    n = len(x)
    mean, cov = np.asarray(target.mean), np.asarray(target.covariance)
    assert_z(x.mean(0), mean, np.sqrt(np.diag(cov) / n) + allowance / 4.5)
    products = np.einsum("ni,nj->nij", x - mean, x - mean)
    assert_z(products.mean(0), cov, products.std(0) / n**0.5 + allowance / 4.5)
    shares = np.bincount(np.asarray(jax.vmap(target.modes)(cloud)), minlength=len(target.weights)) / n
    w = np.asarray(target.weights)
    assert_z(shares, w, np.sqrt(w * (1 - w) / n) + allowance / 45)


def sampled(exact, noise, key, *, backward=False, sign=1.0, method=None):
    ends = exact.marginal(1.0 if backward else 0.0)
    ts = jnp.linspace(0, 1, STEPS + 1)
    score = Score(lambda t, x: sign * exact.score(jnp.clip(t, 1e-4, 1 - 1e-4), x))
    motion = FlowSDE(exact.velocity, PATH, score, noise, backward=backward)
    x0 = ends.sample(jax.random.fold_in(key, 9), N)
    return simulate(motion, x0, ts[::-1] if backward else ts, method=method or StochasticHeun(), key=key).value


@pytest.fixture(scope="module", params=["two", "eight"])
def exact(request):
    return MixtureInterpolant(BASE, two_modes() if request.param == "two" else eight_modes(), PATH)


def test_the_ode_carries_the_density(exact, key):
    ts = jnp.linspace(0, 1, 81)
    x0 = exact.base.sample(key, N)
    forward = simulate(FlowODE(exact.velocity, PATH), x0, ts, method=RK4(), key=key).value
    assert_marginal(forward, exact.target)
    back = simulate(FlowODE(exact.velocity, PATH), forward, ts[::-1], method=RK4(), key=key).value
    np.testing.assert_allclose(back, x0, atol=2e-2)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_every_sde_has_the_same_marginals(exact, noise, key):
    assert_marginal(sampled(exact, noise, key), exact.target, allowance=0.02)


def test_backward_sdes_lead_to_the_base(exact, key):
    assert_marginal(sampled(exact, NOISES["1"], key, backward=True), exact.base, allowance=0.02)


def test_a_flipped_score_fails(exact, key):
    with pytest.raises(AssertionError):
        assert_marginal(sampled(exact, NOISES["1"], key, sign=-1.0), exact.target, allowance=0.02)
    with pytest.raises(AssertionError):
        assert_marginal(sampled(exact, NOISES["1"], key, backward=True, sign=-1.0), exact.base, allowance=0.02)


def test_noise_schedules():
    path = OneSided(Linear())
    np.testing.assert_allclose(VanishingNoise(0.5, path)(jnp.asarray(0.8)), 0.1, rtol=1e-5)
    np.testing.assert_allclose(ConstantNoise(0.5)(jnp.asarray(0.8)), 0.5)
    for make in (
        lambda: ConstantNoise(-0.1),
        lambda: VanishingNoise(-0.1, path),
        lambda: CustomNoise(lambda t: t - 0.6),
    ):
        with pytest.raises(InputError, match=r"expected a number of at least 0"):
            make()


def test_conditions_belong_to_their_particles(key):
    field = lambda t, x, c=None: jnp.zeros_like(x) + (0.0 if c is None else c)  # noqa: E731
    x = jnp.zeros((3, 2))
    c = jnp.asarray([1.0, -2.0, 5.0])
    motion = FlowODE(Velocity(field), PATH, c=c)
    np.testing.assert_allclose(motion.drifts(jnp.asarray(0.3), x)[:, 0], c)
    moved = simulate(motion, x, jnp.linspace(0, 1, 5), key=key).value
    np.testing.assert_allclose(moved[:, 1], c, rtol=1e-5)
    noisy = FlowSDE(Velocity(field), PATH, Score(field), ConstantNoise(0.0), c=c)
    np.testing.assert_allclose(simulate(noisy, x, jnp.linspace(0, 1, 5), method=EulerMaruyama(), key=key).value, moved)
