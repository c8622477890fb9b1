"""Eyring, Kramers and what a circulation changes, against mean passage times on a grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.rare.cases import tilted
from thalweg.core import InputError
from thalweg.processes import Grid
from thalweg.rare import Gradient, Stirred, eyring_kramers, fixed_point, grid_process

TURN = np.asarray([[0.0, 1.0], [-1.0, 0.0]])
MOBILITY = np.asarray([[1.0, 0.0], [0.0, 0.5]])


def well(x):
    """Asymmetric, with a saddle that is not a ridge along an axis."""
    return 0.5 * (x[0] ** 2 - 1) ** 2 + 0.1 * x[0] + 0.8 * (x[1] - 0.4 * x[0]) ** 2


def points(system):
    return [fixed_point(system, np.asarray(x)) for x in ([-1.0, -0.4], [0.05, 0.0], [1.0, 0.4])]


def test_one_dimension_is_kramers_formula(x64):
    system = Gradient(lambda x: 0.25 * (x[0] ** 2 - 1) ** 2 + 0.05 * x[0], 0.6)
    minimum, saddle, _ = (fixed_point(system, np.asarray([x])) for x in (-1.0, 0.05, 1.0))
    curvature = lambda x: float(3 * x[0] ** 2 - 1)  # noqa: E731
    got = eyring_kramers(system, minimum, saddle, 0.1)
    by_hand = np.sqrt(curvature(minimum) * -curvature(saddle)) / (2 * np.pi)
    assert float(got.prefactor) == pytest.approx(by_hand, rel=1e-9)
    barrier = float(system.potential(saddle) - system.potential(minimum))
    # T = eps a / 2.
    assert float(got.log_rate) == pytest.approx(np.log(by_hand) - barrier / 0.03, rel=1e-9)
    assert float(got.rate * got.mean_time) == pytest.approx(1.0)


def measured(system, eps):
    """Mean time from the left minimum to the neighbourhood of the right one, times the rate of the formula."""
    minimum, saddle, other = points(system)
    logs = []
    for cells in ((100, 75), (200, 150)):
        grid = grid_process(system, Grid((-1.9, -1.8), (1.9, 1.8), cells), eps)
        time = grid.passage_time(lambda x: jnp.sum((x - other) ** 2) < 0.1)
        logs.append(np.log(grid.grid.between(time, minimum)))
    # The diffusion that cells add is of second order, and the exponent multiplies it.
    log_time = (4 * logs[1] - logs[0]) / 3
    return float(np.exp(log_time + float(eyring_kramers(system, minimum, saddle, eps).log_rate)))


@pytest.mark.parametrize("turn", [None, TURN], ids=["gradient", "stirred"])
def test_mean_times_on_a_grid_up_to_order_eps(turn, x64):
    system = Gradient(well) if turn is None else Stirred(well, MOBILITY, turn)
    ratios = np.asarray([measured(system, eps) for eps in (0.1, 0.05)])
    assert abs(ratios[1] - 1) < abs(ratios[0] - 1) < 0.2
    # The part of order eps taken out.
    assert 2 * ratios[1] - ratios[0] == pytest.approx(1.0, abs=0.03)


def test_without_the_circulation_the_formula_would_be_wrong(x64):
    stirred, still = Stirred(well, MOBILITY, TURN), Stirred(well, MOBILITY, 0 * TURN)
    minimum, saddle, _ = points(stirred)
    ratio = float(eyring_kramers(stirred, minimum, saddle, 0.1).rate / eyring_kramers(still, minimum, saddle, 0.1).rate)
    assert ratio > 1.2


def test_turned_and_stretched_coordinates_change_nothing(x64):
    system = Gradient(well)
    minimum, saddle, _ = points(system)
    turn = np.asarray([[0.6, -0.8], [0.8, 0.6]])
    turned = Gradient(lambda x: well(turn.T @ x))
    base = eyring_kramers(system, minimum, saddle, 0.1)
    other = eyring_kramers(turned, turn @ minimum, turn @ saddle, 0.1)
    assert float(other.log_rate) == pytest.approx(float(base.log_rate), rel=1e-9)
    # y = 2 x with mobility 4 is the same motion.
    wide = Stirred(lambda y: well(y / 2), 4 * np.eye(2), np.zeros((2, 2)))
    stretched = eyring_kramers(wide, 2 * minimum, 2 * saddle, 0.1)
    assert float(stretched.log_rate) == pytest.approx(float(base.log_rate), rel=1e-9)


def test_what_is_refused(x64):
    system = Gradient(tilted)
    start, saddle, end = (fixed_point(system, np.asarray(x)) for x in ([-1.0, -0.5], [0.1, 0.0], [1.0, 0.5]))
    with pytest.raises(InputError, match="1 directions fall from minimum"):
        eyring_kramers(system, saddle, saddle, 0.1)
    with pytest.raises(InputError, match="0 directions fall from saddle"):
        eyring_kramers(system, start, end, 0.1)
    with pytest.raises(InputError, match="no critical point"):
        eyring_kramers(system, start + 0.1, saddle, 0.1)
    with pytest.raises(InputError, match="eps=0"):
        eyring_kramers(system, start, saddle, 0.0)
    flat = Gradient(lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 4)
    with pytest.raises(InputError, match="degenerate"):
        eyring_kramers(flat, np.asarray([-1.0, 0.0]), np.zeros(2), 0.1)
