"""Guidance: weight one changes nothing, an exact classifier gives the exact conditional."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, Velocity
from thalweg.flows import (
    ClassifierFree,
    Fields,
    FlowODE,
    Gaussian,
    Independent,
    Linear,
    OneSided,
    Transport,
    Units,
    classifier_guided,
)
from thalweg.problems import Mixture, MixtureInterpolant, gaussian
from thalweg.processes import RK4, simulate

PATH = OneSided(Linear())
NOISE = gaussian(np.zeros(2), np.eye(2))
MEANS = np.array([[-1.5, 0.5], [1.2, 1.0]])
COVS = np.array([[[0.3, 0.1], [0.1, 0.5]], [[0.6, 0.0], [0.0, 0.2]]])
BOTH = MixtureInterpolant(NOISE, Mixture(np.array([0.35, 0.65]), MEANS, COVS), PATH)
SECOND = MixtureInterpolant(NOISE, gaussian(MEANS[1], COVS[1]), PATH)


def field(t, x, c=None):
    return x * 2.0 if c is None else x + c


def test_weight_one_is_no_guidance_and_zero_no_condition():
    x, t = jnp.asarray([1.0, 3.0]), jnp.asarray(0.3)
    for weight, expected in ((1.0, x + 5), (0.0, 2 * x), (3.0, 2 * x + 3 * (x + 5 - 2 * x))):
        np.testing.assert_allclose(ClassifierFree(field, weight)(t, x, 5.0), expected)
    np.testing.assert_allclose(ClassifierFree(field, 3.0)(t, x), 2 * x)
    with pytest.raises(InputError, match=r"at least 0"):
        ClassifierFree(field, -1.0)


def exact_classifier(t, x, c):
    """log p(second mode | x_t = x)."""
    return jnp.log(0.65) + SECOND.log_prob(t, x) - BOTH.log_prob(t, x)


def test_an_exact_classifier_turns_the_mixture_into_its_mode(key):
    units = Units(jnp.zeros(2), jnp.ones(2))
    transport = Transport(Fields(velocity=BOTH.velocity), PATH, Independent(), Gaussian((2,)), units, (2,))
    velocity, score = classifier_guided(transport, exact_classifier)
    x = jnp.asarray([[0.3, -0.4], [1.5, 0.2]])
    for t in (0.2, 0.7):
        t = jnp.asarray(t)
        got = jax.vmap(lambda y, t=t: velocity(t, y))(x)
        np.testing.assert_allclose(got, jax.vmap(lambda y, t=t: SECOND.velocity(t, y))(x), rtol=5e-3, atol=5e-3)
        got = jax.vmap(lambda y, t=t: score(t, y))(x)
        np.testing.assert_allclose(got, jax.vmap(lambda y, t=t: SECOND.score(t, y))(x), rtol=5e-3, atol=5e-3)
    x0 = jax.random.normal(key, (1000, 2))
    moved = simulate(FlowODE(velocity, PATH), x0, jnp.linspace(0, 1, 41), method=RK4(), key=key).value
    assert_z(moved.mean(0), MEANS[1], np.sqrt(np.diag(COVS[1]) / 1000) + 2e-3)
    away, _ = classifier_guided(transport, exact_classifier, -1.0)
    wrong = simulate(FlowODE(away, PATH), x0, jnp.linspace(0, 1, 41), method=RK4(), key=key).value
    with pytest.raises(AssertionError):  # the twin: pushed away from the mode
        assert_z(wrong.mean(0), MEANS[1], np.sqrt(np.diag(COVS[1]) / 1000) + 2e-3)


def test_two_sided_paths_are_refused():
    units = Units(jnp.zeros(2), jnp.ones(2))
    plain = Transport(Fields(velocity=Velocity(field)), Linear(), Independent(), Gaussian((2,)), units, (2,))
    with pytest.raises(InputError, match=r"needs a one-sided path"):
        classifier_guided(plain, exact_classifier)
