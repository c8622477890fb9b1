"""Minimum action in a given time against Gaussian and Poisson processes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm

from tests.rare.cases import swirl, swirling
from tests.stats import assert_slope
from thalweg.core import InputError, solve
from thalweg.rare import Crossing, FixedTime, Geometric, Jumps, SmallNoise

KEY = jax.random.key(1)
MATRIX = np.asarray([[-1.0, 2.5], [-0.3, -1.4]])
NOISE = np.asarray([[1.0, 0.3], [0.3, 0.4]])


def found(problem, duration, segments, **given):
    return solve(FixedTime(duration, segments, **given), problem, max_steps=2000, key=KEY).value


def test_a_linear_system_to_second_order(x64):
    """S = (x1 - e^{AT} x0) . C^{-1} (x1 - e^{AT} x0) / 2, C the covariance at T."""
    start, end, time = np.asarray([0.5, -0.2]), np.asarray([0.9, 1.2]), 1.7
    covariance = quad_vec(lambda s: expm(MATRIX * s) @ NOISE @ expm(MATRIX * s).T, 0, time)[0]
    rest = end - expm(MATRIX * time) @ start
    truth = 0.5 * rest @ np.linalg.solve(covariance, rest)
    problem = Crossing(SmallNoise(lambda x: jnp.asarray(MATRIX) @ x, NOISE), start, end, tolerance=None)
    segments = np.asarray([16, 32, 64])
    runs = [found(problem, time, int(n)) for n in segments]
    assert_slope(1 / segments, [float(r.action) - truth for r in runs], 2.0, 0.15)
    assert float(runs[-1].action) == pytest.approx(truth, rel=1e-2)
    np.testing.assert_allclose(runs[-1].momentum[-1], np.linalg.solve(covariance, rest), rtol=0.1)
    # H is kept along the path.
    assert float(runs[-1].energy_error) < 0.1 * float(runs[0].energy_error)


def test_births_at_constant_rate_are_large_deviations_of_poisson(x64):
    rate, time, births = 2.5, 1.3, 7.0
    system = Jumps(lambda x: jnp.full(1, rate), np.asarray([[1.0]]))
    problem = Crossing(system, np.zeros(1), np.asarray([births]), tolerance=None)
    u = births / time
    assert float(found(problem, time, 12).action) == pytest.approx(time * (u * np.log(u / rate) - u + rate), rel=1e-9)


def test_more_time_costs_less_down_to_the_quasi_potential(x64):
    problem = swirl()
    actions = [float(found(problem, t, n).action) for t, n in ((4.0, 100), (8.0, 100), (24.0, 300))]
    geometric = float(solve(Geometric(100), problem, max_steps=2000, key=KEY).value.action)
    assert actions[0] > actions[1] > actions[2] > geometric - 2e-3
    assert actions[2] == pytest.approx(geometric, abs=5e-3)


def test_bad_input():
    with pytest.raises(InputError, match="duration=0"):
        FixedTime(0.0)
    with pytest.raises(InputError, match="segments=2"):
        FixedTime(1.0, 2)
    guess = jnp.stack([jnp.linspace(-1, 1, 7) ** 3, jnp.zeros(7)], 1)
    problem = Crossing(SmallNoise(swirling, 1.0), np.asarray([-1.0, 0.0]), np.asarray([1.0, 0.0]))
    first = FixedTime(3.0, 12, guess=guess).init(problem, key=KEY).path
    # A guess is laid out in time, not in length.
    np.testing.assert_allclose(first[::2], guess, atol=1e-6)
