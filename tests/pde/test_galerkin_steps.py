"""Steps in time, on a Gaussian in a swinging trap whose parameters are known at every time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.pde.galerkin_cases import moment_error, one_gaussian
from tests.stats import assert_slope, fit_slope
from thalweg.core import InputError, Status, StatusError, solve
from thalweg.pde import (
    BOGACKI_SHAMPINE,
    DORMAND_PRINCE,
    EULER,
    RK4,
    AdaptiveSteps,
    DensityUnits,
    Evolution,
    ExplicitSteps,
    ImplicitSteps,
    NeuralGalerkin,
    Scheme,
    Tikhonov,
    UnitPoints,
)

END = 0.4


def go(stepper, key, **changes):
    """Always the same points, solver and number of steps at most, so that a kind of stepper is compiled once."""
    problem, evolution = one_gaussian((0.0, END), **changes)
    method = NeuralGalerkin(UnitPoints(60, 1.3), stepper, Tikhonov(1e-13))
    return problem, solve(method, evolution, max_steps=60, key=key, throw=False)


def error(stepper, key):
    problem, found = go(stepper, key)
    assert found.status == Status.converged
    return moment_error(problem, found.value.last, END)


@pytest.mark.parametrize(
    ("scheme", "order"), [(EULER, 1), (RK4, 4), (BOGACKI_SHAMPINE, 3), (DORMAND_PRINCE, 5)], ids=["1", "4", "3", "5"]
)
def test_orders_of_explicit_steps(scheme, order, key, x64):
    counts = np.asarray([2, 3, 4, 6]) * (1 if order > 2 else 4)
    fit = fit_slope(END / counts, [error(ExplicitSteps(END / n, scheme), key) for n in counts])
    # Steps short enough for the fifth order to show alone would leave errors of rounding.
    assert order - 0.35 < fit.slope < order + (0.35 if order < 5 else 2)
    assert fit.stderr < 0.35


def test_a_pair_reports_its_error_without_adapting(key, x64):
    info = go(ExplicitSteps(END / 4, BOGACKI_SHAMPINE), key)[1].info
    assert (np.asarray(info.error) > 0).all()
    np.testing.assert_allclose(info.step_size, END / 4, rtol=1e-9)


def test_implicit_steps_are_of_order_one_and_their_iteration_converges(key, x64):
    counts = np.asarray([8, 16, 32])
    assert_slope(END / counts, [error(ImplicitSteps(END / n, 3), key) for n in counts], 1, 0.15)
    once, thrice = (go(ImplicitSteps(END / 8, n), key)[1].info.error[-1] for n in (1, 3))
    assert float(once) > 1000 * float(thrice)


def test_implicit_steps_are_stable_where_explicit_ones_are_not(key, x64):
    """Almost at rest in a trap that pulls fifty times as hard: explicit steps overshoot by twice the distance."""
    found = []
    for stepper in (ImplicitSteps(0.06, 3), ExplicitSteps(0.06, EULER)):
        _, evolution = one_gaussian((0.0, 0.6), factor=50.0, clock=0.0)
        rest = DensityUnits(jnp.ones(1), jnp.full((1, 2), -0.5 * jnp.log(7.0) + 0.02), jnp.asarray([[1.88, 1.86]]))
        method = NeuralGalerkin(UnitPoints(60, 1.3), stepper, Tikhonov(1e-13))
        problem = Evolution(evolution.rate, rest, evolution.times)
        found.append(solve(method, problem, max_steps=60, key=key, throw=False))
    implicit, explicit = found
    assert implicit.status == Status.converged
    np.testing.assert_allclose(implicit.value.last.mean, 1.25 * 1.5, atol=1e-3)
    np.testing.assert_allclose(implicit.value.last.cov, np.eye(2) / 7, atol=1e-3)
    assert explicit.status in (Status.step_size, Status.nonfinite, Status.unresolved)


def test_adaptive_steps_keep_their_error_and_try_again(key, x64):
    taken = []
    for tolerance in (1e-3, 1e-4, 1e-5):
        problem, found = go(AdaptiveSteps(tolerance, 0.3), key)
        assert found.status == Status.converged
        assert moment_error(problem, found.value.last, END) < 30 * tolerance
        rejected = ~np.asarray(found.info.accepted)
        assert (np.asarray(found.info.error)[rejected] > tolerance).all()
        assert (np.asarray(found.info.error)[~rejected] <= tolerance).all()
        # Time stands still at a rejected attempt.
        np.testing.assert_array_equal(np.diff(found.info.t)[rejected[:-1]], 0)
        taken.append((len(rejected), int(rejected.sum())))
    assert taken[0][0] < taken[1][0] < taken[2][0]
    assert taken[2][1] >= 1


def test_an_adaptive_step_that_cannot_be_small_enough_ends_the_run(key, x64):
    _, found = go(AdaptiveSteps(1e-9, 0.3, smallest=0.2), key)
    assert found.status == Status.step_size
    method = NeuralGalerkin(UnitPoints(60, 1.3), AdaptiveSteps(1e-9, 0.3, smallest=0.2), Tikhonov(1e-13))
    with pytest.raises(StatusError, match="smaller or implicit steps"):
        solve(method, one_gaussian((0.0, END))[1], max_steps=60, key=key)


def test_bad_input():
    with pytest.raises(InputError, match="step_size"):
        ExplicitSteps(-0.1)
    with pytest.raises(InputError, match="step_size"):
        ImplicitSteps(0.0)
    with pytest.raises(InputError, match="iterations=0"):
        ImplicitSteps(0.1, 0)
    with pytest.raises(InputError, match="tolerance"):
        AdaptiveSteps(0.0)
    with pytest.raises(InputError, match="pair"):
        AdaptiveSteps(1e-3, scheme=RK4)
    assert isinstance(DORMAND_PRINCE, Scheme)
    assert jax.tree.leaves(RK4) == []
    assert jnp.asarray(sum(RK4.b)) == pytest.approx(1)
