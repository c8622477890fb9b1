"""Training: the variance falls, assisted starts bias nothing that is estimated, and costs are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, Status
from thalweg.problems import Density, Normal, two_modes
from thalweg.sampling.autonomous import Affine, TwoLayerGradient, UnderdampedField
from thalweg.sampling.neis import NEISProblem, orbit_average
from thalweg.sampling.neis_training import AssistedStarts, SecondMoment, queries, train_field
from thalweg.sampling.orbits import FiniteTime

KEY = jax.random.key(0)
BASE = Normal(jnp.asarray([0.3, -0.2]), jnp.asarray([1.3, 0.9]))
TARGET = Normal(jnp.asarray([3.0, -2.0]), jnp.asarray([0.5, 0.4]))
PROBLEM = NEISProblem(BASE, TARGET)
HORIZON = FiniteTime(0.0, 16)


def test_the_loss_is_the_log_of_the_second_moment():
    x = BASE.sample(KEY, 30)
    field = Affine([[0.5, 0.3], [-0.7, 0.2]], [0.4, -0.6])
    a = np.exp(np.asarray(orbit_average(PROBLEM, field, HORIZON, x).log_a, np.float64))
    np.testing.assert_allclose(SecondMoment(PROBLEM, HORIZON)(field, x, key=KEY), np.log(np.mean(a**2)), rtol=1e-5)


def test_the_variance_falls_and_the_estimate_stays(key):
    field = Affine(jnp.zeros((2, 2)), jnp.asarray([0.5, 0.0]))
    found = train_field(PROBLEM, field, HORIZON, particles=100, steps=30, assisted=0.3, stairs=2, key=key)
    assert found.status == Status.finished
    assert found.loss.shape == (30,)
    x = BASE.sample(jax.random.fold_in(key, 1), 4000)
    before, after = (np.exp(np.asarray(orbit_average(PROBLEM, f, HORIZON, x).log_a)) for f in (field, found.field))
    assert after.var() / after.mean() ** 2 < 0.1 * before.var() / before.mean() ** 2
    assert_z(after.mean(), 1.0, after.std(ddof=1) / 4000**0.5, max_stderr=0.05)
    # The twin evaluates on assisted starts, which the estimator must never see.
    helped = AssistedStarts(PROBLEM, 4000, 0.3, 0.3)(jax.random.fold_in(key, 1))
    wrong = np.exp(np.asarray(orbit_average(PROBLEM, found.field, HORIZON, helped).log_a))
    with pytest.raises(AssertionError):
        assert_z(wrong.mean(), 1.0, wrong.std(ddof=1) / 4000**0.5)
    # 30 steps of 100 orbits with 17 nodes; 18 assisted steps that carry 30 points over 50 steps of four stages.
    assert found.gradients == 30 * 100 * 17 + 18 * 30 * 4 * 50


def test_a_share_of_the_starts_is_carried_to_the_target():
    starts = AssistedStarts(PROBLEM, 4000, 0.15, 0.3)
    x = starts(KEY)
    near = float(jnp.mean(jnp.sum(((x - TARGET.mean) / TARGET.std) ** 2, axis=1) < 0.1))
    assert abs(near - 0.15) < 0.02
    # Without assistance they are the base's.
    plain = AssistedStarts(PROBLEM, 50)(KEY)
    np.testing.assert_array_equal(plain, BASE.sample(jax.random.split(KEY)[0], 50))
    # A gradient flow that blows up leaves the start where it was.
    steep = NEISProblem(BASE, Density(lambda y: -1e4 * jnp.sum(y**4), (2,)))
    assert np.isfinite(AssistedStarts(steep, 50, 0.5, 0.5)(KEY)).all()


def test_queries():
    assert queries(FiniteTime(-0.5, 50), Affine(jnp.zeros((2, 2)), jnp.zeros(2))) == (51, 0)
    assert queries(FiniteTime(-0.5, 50), UnderdampedField(two_modes(), 1.0)) == (51, 400)


def test_bad_input():
    field = TwoLayerGradient.random(2, 4, key=KEY)
    with pytest.raises(InputError, match=r"particles=0.*expected counts of at least 1"):
        train_field(PROBLEM, field, HORIZON, particles=0, steps=3, key=KEY)
    with pytest.raises(InputError, match=r"assisted=1.5"):
        train_field(PROBLEM, field, HORIZON, particles=3, steps=3, assisted=1.5, key=KEY)
