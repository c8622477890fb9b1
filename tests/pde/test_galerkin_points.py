"""Where residuals are looked at: each choice has the distribution that it says, and refuses what it cannot use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.pde import (
    ByResidual,
    BySolution,
    DensityUnits,
    GivenPoints,
    ImportancePoints,
    LangevinPoints,
    PeriodicMLP,
    UniformPoints,
    UnitPoints,
)
from thalweg.pde.galerkin_points import View

LOW, HIGH = jnp.asarray([-1.0, 0.5]), jnp.asarray([2.0, 3.0])
U = DensityUnits(jnp.ones(1), jnp.log(jnp.asarray([[0.4, 0.7]])), jnp.asarray([[0.3, 1.2]]))
VIEW = View(U, lambda x: x[0] - 0.5)


def drawn(points, n=None, view=VIEW):
    state = points.init(view, key=jax.random.key(1))
    return np.asarray(points(view, state, key=jax.random.key(2))[0], float)[:n]


def test_uniform_points_fill_the_box_and_fresh_ones_differ():
    points = UniformPoints(LOW, HIGH, 4000)
    x = drawn(points)
    width = np.asarray(HIGH - LOW, float)
    assert (x >= np.asarray(LOW)).all()
    assert (x <= np.asarray(HIGH)).all()
    assert_z(x.mean(0), np.asarray(LOW + HIGH, float) / 2, width / np.sqrt(12 * 4000))
    again = points(VIEW, None, key=jax.random.key(3))[0]
    assert not np.allclose(x, again)
    assert UniformPoints(-1.0, 2.0, 5)(VIEW, None, key=jax.random.key(0))[0].shape == (5,)


def test_given_points_stay():
    grid = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(drawn(GivenPoints(grid)), grid)


def test_points_of_the_units_are_where_the_solution_is():
    x = drawn(UnitPoints(4000, 2.0))
    assert_z(x.mean(0), [0.3, 1.2], np.asarray([0.8, 1.4]) / np.sqrt(4000))
    with pytest.raises(InputError, match="PeriodicMLP has no draw"):
        UnitPoints().check(PeriodicMLP(1, 2.0, key=jax.random.key(0)))


def test_importance_resamples_by_the_power_of_the_solution():
    """Uniform candidates with |u|^2: the normal of half the variance, cut at the box."""
    wide = UniformPoints(jnp.asarray([-6.0, -6.0]), jnp.asarray([7.0, 8.0]), 200_000)
    x = drawn(ImportancePoints(wide, 4000, BySolution(2.0)))
    variance = np.asarray([0.4, 0.7]) ** 2 / 2
    # The candidates, about 1100 to a unit area, are the noise: 1900 of them lie where it counts.
    assert_z(x.mean(0), [0.3, 1.2], np.sqrt(variance / 1900))
    assert_z(x.var(0), variance, variance * np.sqrt(2 / 1900))
    flat = drawn(ImportancePoints(wide, 4000, BySolution(0.0)))
    assert abs(flat[:, 0].mean() - 0.5) < 0.3


def test_importance_by_the_residual():
    x = drawn(ImportancePoints(UniformPoints(LOW, HIGH, 50_000), 4000, ByResidual(1.0)))[:, 0]
    # Density |x - 1/2| on (-1, 2), symmetric about 1/2.
    assert_z(np.abs(x - 0.5).mean(), 1.0, 1.5 / np.sqrt(18 * 2000))


def test_importance_where_nothing_matters_keeps_the_candidates():
    view = View(lambda x: 0.0 * x[0], lambda x: x[0])
    x = drawn(ImportancePoints(UniformPoints(LOW, HIGH, 2000), 500), view=view)
    assert np.isfinite(x).all()
    assert x.std() > 0.1


def test_langevin_points_settle_on_the_solution():
    points = LangevinPoints(UniformPoints(LOW, HIGH, 3000), 0.01, moves=150, power=2.0)
    x = drawn(points)
    # Euler's chain for variance v = s^2 / power keeps v / (1 - h / (2 v)).
    v = np.asarray([0.4, 0.7]) ** 2 / 2
    exact = v / (1 - 0.01 / (2 * v))
    assert_z(x.mean(0), [0.3, 1.2], np.sqrt(exact / 3000))
    assert_z(x.var(0), exact, exact * np.sqrt(2 / 3000))
    # The twin: without the factor the pull has half of its strength.
    assert (np.abs(x.var(0) - 2 * v) > 10 * exact * np.sqrt(2 / 3000)).all()


def test_langevin_points_stay_where_nothing_pulls():
    view = View(lambda x: jnp.exp(-jnp.sum(x**2) * 1e6), lambda x: x[0])
    x = drawn(LangevinPoints(GivenPoints(LOW[None] + jnp.ones((3, 2))), 1e-4), view=view)
    assert np.isfinite(x).all()
    broken = View(lambda x: x[0] * jnp.nan, lambda x: x[0])
    assert np.isnan(drawn(LangevinPoints(GivenPoints(LOW[None]), 1e-4), view=broken)).all()


def test_bad_input():
    for make in (
        lambda: UniformPoints(0.0, 1.0, 0),
        lambda: UnitPoints(n=0),
        lambda: ImportancePoints(UniformPoints(0.0, 1.0), 0),
    ):
        with pytest.raises(InputError, match=r"n=0"):
            make()
    with pytest.raises(InputError, match="low below its high"):
        UniformPoints(1.0, 0.0)
    with pytest.raises(InputError, match="step_size"):
        LangevinPoints(UniformPoints(0.0, 1.0), 0.0)
    with pytest.raises(InputError, match="moves=0"):
        LangevinPoints(UniformPoints(0.0, 1.0), 0.1, moves=0)
    with pytest.raises(InputError, match="power"):
        BySolution(-1.0)
    with pytest.raises(InputError, match="power"):
        ByResidual(-1.0)
    with pytest.raises(InputError, match="spread"):
        UnitPoints(10, 0.0)
