"""Committors, times and rates on grids against integrals in one dimension."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid

from tests.rare.cases import tilted
from tests.stats import assert_slope
from thalweg.core import InputError
from thalweg.processes import Grid
from thalweg.rare import Gradient, SmallNoise, Stirred, grid_process

LOW, HIGH = -0.9, 1.0


def left(x):
    return x[0] < LOW


def right(x):
    return x[0] > HIGH


def uneven():
    """Drift and noise that both change with x: dX = b dt + sqrt(eps a) dW."""
    return SmallNoise(lambda x: x - x**3 + 0.1, lambda x: 1 + 0.4 * jnp.sin(2 * x))


def exact(eps, start):
    """The committor of the line, by its scale function, between LOW and HIGH."""
    x = np.linspace(LOW, HIGH, 200_001)
    slope = 2 * (x - x**3 + 0.1) / (eps * (1 + 0.4 * np.sin(2 * x)))
    scale = cumulative_trapezoid(np.exp(-cumulative_trapezoid(slope, x, initial=0)), x, initial=0)
    return np.interp(start, x, scale) / scale[-1]


def test_the_committor_of_a_line_to_second_order(x64):
    eps, cells = 0.3, np.asarray([38, 76, 152])
    errors = []
    for n in cells:
        # Walls of the sets on faces of cells: the centres beyond are half a cell away, which is the only first order.
        h = (HIGH - LOW) / n
        box = Grid((LOW - 1.5 * h,), (HIGH + 1.5 * h,), (int(n) + 3,))
        grid = grid_process(uneven(), box, eps)
        q = grid.committor(lambda x, h=h: x[0] < LOW + 0.1 * h, lambda x, h=h: x[0] > HIGH - 0.1 * h)
        errors.append(box.between(q, np.asarray([0.05])) - exact(eps, 0.05))
    assert_slope(1 / cells, errors, 2.0, 0.3)
    assert abs(errors[-1]) < 1e-4


def test_passage_times_of_a_flat_line(x64):
    """Between a wall and B at distance L: (L^2 - x^2) / (eps a)."""
    system = SmallNoise(lambda x: 0 * x, 0.7)
    box = Grid((0.0,), (1.0,), (400,))
    time = grid_process(system, box, 0.2).passage_time(lambda x: x[0] > 0.9)
    assert box.between(time, np.asarray([0.3])) == pytest.approx((0.9**2 - 0.09) / 0.14, rel=5e-3)


def test_the_stationary_law_is_that_of_the_potential(x64):
    box, eps = Grid((-1.7, -1.5), (1.6, 1.4), (66, 58)), 0.8
    energy = np.asarray([float(tilted(x)) for x in jnp.asarray(box.centres)])
    law = np.exp(-(energy - energy.min()) / eps)
    turn = np.asarray([[0.0, 0.5], [-0.5, 0.0]])
    for system, off in ((Gradient(tilted), 2e-3), (Stirred(tilted, np.eye(2), turn), 0.05)):
        pi = grid_process(system, box, eps).stationary()
        assert 0.5 * np.abs(pi - law / law.sum()).sum() < off


def test_rates_there_and_back_balance(x64):
    """pi(last in A) k_AB = pi(last in B) k_BA, and one over the rate is the time of a whole crossing."""
    system, eps = Gradient(lambda x: 0.25 * (x[0] ** 2 - 1) ** 2 + 0.1 * x[0]), 0.05
    box = Grid((-1.8,), (1.8,), (600,))
    grid = grid_process(system, box, eps)
    there, back = grid.rate(left, right), grid.rate(right, left)
    pi = grid.stationary()
    share = pi @ (box.centres[:, 0] < 0.1)
    assert there / back == pytest.approx((1 - share) / share, rel=0.01)
    assert 1 / there == pytest.approx(box.between(grid.passage_time(right), np.asarray([-1.0])), rel=0.02)


def test_shifted_and_mirrored(x64):
    box = Grid((-1.8,), (1.8,), (300,))
    system = uneven()
    mirrored = SmallNoise(lambda x: -system.drift(-x), lambda x: system.covariance(-x))
    q = grid_process(system, box, 0.3).committor(left, right)
    other = grid_process(mirrored, box, 0.3).committor(lambda x: x[0] < -HIGH, lambda x: x[0] > -LOW)
    np.testing.assert_allclose(q, 1 - other[::-1], atol=1e-10)


def test_bad_input():
    for given, message in (
        (((0.0,), (1.0,), (2,)), "at least 3"),
        (((0.0, 0.0), (1.0, 0.0), (5, 5)), "lower < upper"),
    ):
        with pytest.raises(InputError, match=message):
            Grid(*given)
    box = Grid((-1.0, -1.0), (1.0, 1.0), (10, 12))
    with pytest.raises(InputError, match="1 or 2"):
        grid_process(uneven(), Grid((0.0,) * 3, (1.0,) * 3, (5,) * 3), 0.1)
    with pytest.raises(InputError, match="noise on each axis"):
        grid_process(SmallNoise(lambda x: -x, np.asarray([1.0, 0.0])), box, 0.1)
    with pytest.raises(InputError, match="eps=0"):
        grid_process(uneven(), box, 0.0)
    with pytest.raises(InputError, match="mixes coordinates"):
        grid_process(SmallNoise(lambda x: -x, np.asarray([[1.0, 0.5], [0.5, 1.0]])), box, 0.1)
    with pytest.raises(InputError, match="the drift is nan"):
        grid_process(SmallNoise(lambda x: jnp.log(x), 1.0), box, 0.1)
    grid = grid_process(SmallNoise(lambda x: -x, 1.0), box, 0.1)
    with pytest.raises(InputError, match="no middle"):
        grid.committor(lambda x: x[0] > 5, lambda x: x[0] > 0)
    with pytest.raises(InputError, match="in common"):
        grid.committor(lambda x: x[0] > -0.5, lambda x: x[0] > 0)
    with pytest.raises(InputError, match="one bool"):
        grid.committor(lambda x: x, lambda x: x[0] > 0)
