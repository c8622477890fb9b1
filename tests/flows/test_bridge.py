"""The bridge between two Gaussians has a closed form: marginals, coupling, energy; no other temperature fits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

from tests.stats import assert_z
from thalweg.core import Fit, InputError, run
from thalweg.flows.bridge import Bend, Bridge, BridgeMatching, two_rates
from thalweg.flows.matching import Pair
from thalweg.nets import MLP
from thalweg.problems import gaussian

EPS = 0.6
BASE = gaussian(np.array([-0.4, 0.3]), np.array([[0.6, 0.25], [0.25, 0.4]]))
TARGET = gaussian(np.array([0.8, -0.5]), np.array([[0.5, -0.3], [-0.3, 1.1]]))


def cross(eps):
    """Cov(x0, x1) of the entropic plan: C = A^(1/2) (A^(1/2) B A^(1/2) + eps^2 I)^(1/2) A^(-1/2) - eps I."""
    a, b = (np.asarray(end.covs[0], np.float64) for end in (BASE, TARGET))
    root = scipy.linalg.sqrtm(a).real
    return root @ scipy.linalg.sqrtm(root @ b @ root + eps**2 * np.eye(2)).real @ np.linalg.inv(root) - eps * np.eye(2)


def exact_marginal(t, eps):
    a, b, c = np.asarray(BASE.covs[0], np.float64), np.asarray(TARGET.covs[0], np.float64), cross(eps)
    mean = (1 - t) * np.asarray(BASE.mean) + t * np.asarray(TARGET.mean)
    return mean, (1 - t) ** 2 * a + t**2 * b + t * (1 - t) * (c + c.T + 2 * eps * np.eye(2))


def exact_energy(eps):
    """The relative entropy to the reference from the same start is the energy over 2 eps: Gaussians in closed form."""
    a, b, c = np.asarray(BASE.covs[0], np.float64), np.asarray(TARGET.covs[0], np.float64), cross(eps)
    gap = np.asarray(TARGET.mean - BASE.mean, np.float64)
    # E KL(N(m + K x0, S) | N(x0, 2 eps I)), S the covariance of x1 given x0.
    s = b - c.T @ np.linalg.inv(a) @ c
    square = np.trace(a + b - c - c.T) + gap @ gap
    kl = 0.5 * (square / (2 * eps) - 2 - np.log(np.linalg.det(s)) + 2 * np.log(2 * eps))
    return 2 * eps * kl


def basis(t):
    s = 2 * t - 1
    return jnp.stack([jnp.ones_like(s), s, 1.5 * s**2 - 0.5, 2.5 * s**3 - 1.5 * s])


class LinearDrift(eqx.Module):
    """W(t) x + w(t), cubic in t: close to the truth."""

    w: jax.Array

    def __call__(self, t, x):
        return jnp.einsum("k,kij,j->i", basis(t), self.w, jnp.append(x, 1.0))


class LinearBend(eqx.Module):
    """P(t) x0 + Q(t) x1 + q(t)."""

    w: jax.Array

    def __call__(self, t, x0, x1):
        return jnp.einsum("k,kij,j->i", basis(t), self.w, jnp.concatenate([x0, x1, jnp.ones(1)]))


def pairs(key, n=512):
    first, second = jax.random.split(key)
    return Pair(BASE.sample(first, n), TARGET.sample(second, n))


@pytest.fixture(scope="module")
def fitted():
    model = Bridge(LinearDrift(jnp.zeros((4, 2, 3))), LinearBend(jnp.zeros((4, 2, 5))), EPS)
    rates = [optax.cosine_decay_schedule(rate, 2000, 0.02) for rate in (0.02, 0.005)]
    fit = Fit(BridgeMatching(), model, two_rates(*rates), ema=0.99)
    return run(fit, pairs, steps=2000, key=jax.random.key(3)).value


def assert_moments(x, mean, cov, allowance):
    x = np.asarray(x, np.float64)
    n = len(x)
    assert_z(x.mean(0), mean, np.sqrt(np.diag(cov) / n) + allowance)
    products = np.einsum("ni,nj->nij", x - mean, x - mean)
    assert_z(products.mean(0), cov, products.std(0) / n**0.5 + allowance)


def test_the_marginals_are_those_of_the_bridge(fitted, key):
    n, middle = 20_000, 0.5
    ends = pairs(jax.random.key(11), n)
    assert fitted.epsilon == EPS
    assert "epsilon = 0.6" in str(fitted)
    recorded = fitted.sample(ends.x0, key=key, steps=100, save_at=(50, 100))
    for law in (fitted.marginal(jnp.asarray(middle), ends.x0, ends.x1, key=key), recorded.x[0]):
        assert_moments(law, *exact_marginal(middle, EPS), 0.006)
        for wrong in (0.5 * EPS, 2 * EPS):
            with pytest.raises(AssertionError):
                assert_moments(law, *exact_marginal(middle, wrong), 0.006)
    assert_moments(recorded.x[1], TARGET.mean, TARGET.covariance, 0.006)
    # The joint law of the ends is the entropic plan, which two matching marginals alone do not give.
    x0, x1 = (np.asarray(x, np.float64) for x in (ends.x0, recorded.x[1]))
    products = np.einsum("ni,nj->nij", x0 - x0.mean(0), x1 - x1.mean(0))
    assert_z(products.mean(0), cross(EPS), products.std(0) / n**0.5 + 0.006)


def test_the_energy_is_the_least(fitted, key):
    found = fitted.kinetic_energy(BASE.sample(jax.random.key(11), 10_000), key=key, steps=200)
    assert_z(found.mean, exact_energy(EPS), np.asarray(found.stderr) + 0.004)
    for wrong in (0.5 * EPS, 2 * EPS):
        with pytest.raises(AssertionError):
            assert_z(found.mean, exact_energy(wrong), np.asarray(found.stderr) + 0.004)
    error, floor = fitted.marginal_error(
        BASE.sample(jax.random.key(11), 1000), TARGET.sample(jax.random.key(12), 2000), key=key
    )
    assert float(error.mean) < 2 * float(floor.mean) + 0.03


def test_the_closed_forms_agree_with_each_other():
    # The energy as the integral of E 1/2 |b + eps s|^2 in one dimension, where b and s follow from the variance.
    a, b, gap, eps, ts = 0.6, 1.3, 0.9, 0.4, np.linspace(0, 1, 20001)
    c = np.sqrt(eps**2 + a * b) - eps
    v = (1 - ts) ** 2 * a + ts**2 * b + 2 * ts * (1 - ts) * (c + eps)
    rate = -2 * (1 - ts) * a + 2 * ts * b + 2 * (1 - 2 * ts) * (c + eps)
    energy = np.trapezoid(0.5 * (gap**2 + (0.5 * rate / v - eps / v) ** 2 * v), ts)
    s = b - c**2 / a
    kl = 0.5 * ((a + b - 2 * c + gap**2) / (2 * eps) - 1 - np.log(s / (2 * eps)))
    np.testing.assert_allclose(energy, 2 * eps * kl, rtol=1e-6)
    np.testing.assert_allclose(cross(1e-9) @ np.asarray(BASE.covs[0]), (cross(1e-9) @ np.asarray(BASE.covs[0])).T)


def test_the_gradients_descend_and_ascend(key):
    net, pair = jax.random.split(key)
    bridge = Bridge(MLP((2,), width=8, depth=1, key=net), Bend(MLP((2, 2), width=8, depth=1, out=(2,), key=pair)), 0.3)
    batch, objective = pairs(key, 64), BridgeMatching()
    grads = eqx.filter_jit(eqx.filter_grad(lambda m: objective(m, batch, key=key)))(bridge)
    evaluate = eqx.filter_jit(lambda m: objective(m, batch, key=key))
    value = evaluate(bridge)

    def moved(part, size):
        step = jax.tree.map(lambda g: size * g, eqx.filter(getattr(grads, part), eqx.is_inexact_array))
        new = eqx.apply_updates(getattr(bridge, part), step)
        return evaluate(eqx.tree_at(lambda b: getattr(b, part), bridge, new))

    assert float(moved("drift", -1e-3)) < float(value)
    assert float(moved("bend", -1e-3)) > float(value)


def test_bad_use(key):
    with pytest.raises(InputError, match=r"expected a positive number"):
        Bridge(LinearDrift(jnp.zeros((4, 2, 3))), LinearBend(jnp.zeros((4, 2, 5))), 0.0)
    bridge = Bridge(LinearDrift(jnp.zeros((4, 2, 3))), LinearBend(jnp.zeros((4, 2, 5))), 0.5)
    with pytest.raises(InputError, match=r"at least 1"):
        bridge.sample(jnp.zeros((3, 2)), key=key, steps=0)
    with pytest.raises(InputError, match=r"at least 1 and 2"):
        bridge.marginal_error(jnp.zeros((3, 2)), jnp.zeros((1, 2)), key=key)
