"""Rungs between two densities."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import Density, Normal, two_modes
from thalweg.sampling import Adaptive, Ladder, Tempering

BASE, TARGET = Normal(jnp.asarray([0.5, -1.0]), 3.0), two_modes()


def test_the_ends_are_the_densities_and_the_ratio_is_the_slope():
    problem = Tempering(BASE, TARGET)
    x = jnp.asarray([0.3, 0.9])
    np.testing.assert_allclose(problem.at(jnp.asarray(0.0)).log_prob(x), BASE.log_prob(x), rtol=1e-6)
    np.testing.assert_allclose(problem.at(jnp.asarray(1.0)).log_prob(x), TARGET.log_prob(x), rtol=1e-6)
    slope = (problem.at(jnp.asarray(0.6)).log_prob(x) - problem.at(jnp.asarray(0.2)).log_prob(x)) / 0.4
    np.testing.assert_allclose(problem.log_ratio(x), slope, rtol=1e-4)


def test_a_support_smaller_than_the_base_gives_no_nan():
    half = Density(lambda x: jnp.where(x[0] > 0, -x[0], -jnp.inf), (2,))
    problem = Tempering(BASE, half)
    outside = jnp.asarray([-1.0, 0.0])
    np.testing.assert_allclose(problem.at(jnp.asarray(0.0)).log_prob(outside), BASE.log_prob(outside), rtol=1e-6)
    assert float(problem.at(jnp.asarray(0.5)).log_prob(outside)) == -np.inf


def test_adaptive_rungs_leave_the_share_that_was_asked_for(key):
    problem = Tempering(BASE, TARGET)
    x = BASE.sample(key, 2000)
    ratio = jnp.asarray([float(problem.log_ratio(p)) for p in x[:300]])
    new = float(Adaptive(0.7)(0, jnp.asarray(0.1), jnp.zeros(300), ratio))
    assert 0.1 < new < 1
    v = np.exp((new - 0.1) * np.asarray(ratio, float))
    assert v.sum() ** 2 / (300 * (v**2).sum()) == pytest.approx(0.7, abs=1e-3)
    # Nearly the same densities: one step to the end.
    assert float(Adaptive(0.7)(0, jnp.asarray(0.0), jnp.zeros(300), 1e-3 * ratio)) == 1.0


def test_ladders():
    ladder = Ladder.power(4, 2.0)
    np.testing.assert_allclose(ladder.betas, [0, 1 / 16, 1 / 4, 9 / 16, 1], rtol=1e-6)
    assert float(ladder(3, 0.0, jnp.zeros(2), None)) == 1.0
    assert float(ladder(9, 0.0, jnp.zeros(2), None)) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ladder([0.0, 0.5]), "rises from 0 to 1"),
        (lambda: Ladder([0.0, 0.7, 0.5, 1.0]), "rises from 0 to 1"),
        (lambda: Ladder.power(0), "steps=0"),
        (lambda: Adaptive(1.0), "between 0 and 1"),
        (lambda: Tempering(Normal(jnp.zeros(3)), TARGET), "points of shape"),
        (lambda: Tempering(Density(TARGET.log_prob, (2,)), TARGET), "no known log_z"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
