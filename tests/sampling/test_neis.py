"""NEIS: unbiased for any field, over any window, and free of variance where theory says so."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, StatusError, run
from thalweg.problems import Density, Normal, gaussian, two_modes
from thalweg.sampling.autonomous import (
    AbstractStill,
    Affine,
    Hastened,
    NeuralField,
    Phase,
    PlanarPoisson,
    UnderdampedField,
)
from thalweg.sampling.neis import NEIS, NEISProblem, neis, orbit_average
from thalweg.sampling.orbits import FiniteTime, InfiniteTime

KEY = jax.random.key(0)
LOG_Z = 1.3
BASE = Normal(jnp.asarray([0.3, -0.2]), jnp.asarray([1.3, 0.9]))
MIXTURE = two_modes()
PROBLEM = NEISProblem(BASE, Density(lambda x: MIXTURE.log_prob(x) + LOG_Z, (2,)))
TURN = Affine([[0.5, 0.3], [-0.7, 0.2]], [0.4, -0.6])
STILL = Affine(jnp.zeros((2, 2)), jnp.zeros(2))


class Flipped(AbstractStill):
    """The divergence with the wrong sign."""

    field: AbstractStill

    def __call__(self, x):
        return self.field(x)

    def rates(self, x):
        value, trace = self.field.rates(x)
        return value, -trace


class Reversed(FiniteTime):
    """The inner window mirrored: s in [t- - t, t+ - t] for [t - t+, t - t-]."""

    def log_weights(self, log_f0, log_f1):
        return super().log_weights(log_f0[::-1], log_f1)


def ratio(field, horizon, problem=PROBLEM, n=8000, exact=LOG_Z):
    """Mean of A over the exact constant, the truth, and the standard error: what is unbiased (the log is not)."""
    log_a = orbit_average(problem, field, horizon, problem.base.sample(KEY, n)).log_a
    a = np.exp(np.asarray(log_a, np.float64) - exact)
    return a.mean(), 1.0, a.std(ddof=1) / a.size**0.5


@pytest.mark.parametrize("t_minus", [0.0, -0.35, -1.0])
def test_any_field_is_unbiased_over_any_window(t_minus):
    horizon = FiniteTime(t_minus, 20)
    assert_z(*ratio(TURN, horizon), max_stderr=0.1)
    with pytest.raises(AssertionError):
        assert_z(*ratio(Flipped(TURN), horizon))


def test_the_inner_window_is_not_the_outer_one():
    assert_z(*ratio(TURN, FiniteTime(-0.2, 20)))
    with pytest.raises(AssertionError):
        assert_z(*ratio(TURN, Reversed(-0.2, 20)))


def test_without_a_flow_it_is_plain_importance_sampling():
    x = BASE.sample(KEY, 50)
    found = orbit_average(PROBLEM, STILL, FiniteTime(-0.3, 10), x)
    np.testing.assert_allclose(
        found.log_a, jax.vmap(PROBLEM.target.log_prob)(x) - jax.vmap(BASE.log_prob)(x), atol=2e-5
    )


def test_finite_time_agrees_with_quadrature_along_the_flow(x64):
    """A of a linear flow on the line, whose orbits and Jacobians are exponentials, by dense sums."""
    base, target = Normal(np.asarray([0.4]), 1.2), Normal(np.asarray([1.5]), 0.5)
    problem, rate, t_minus = NEISProblem(base, target), 0.8, -0.4
    x = np.asarray([[-0.7], [0.3], [1.9]])

    def log_f(density, t, x0):
        return jax.vmap(lambda s: density.log_prob(x0 * jnp.exp(rate * s)) + rate * s)(t)

    outer = np.linspace(t_minus, t_minus + 1, 2001)
    expected = []
    for x0 in x:
        inner = np.stack([np.linspace(t - t_minus - 1, t - t_minus, 2001) for t in outer])
        f0 = np.exp(np.asarray(log_f(base, inner.reshape(-1), x0))).reshape(inner.shape)
        f1 = np.exp(np.asarray(log_f(target, outer, x0)))
        expected.append(np.log(np.trapezoid(f1 / np.trapezoid(f0, dx=5e-4), dx=5e-4)))
    found = orbit_average(
        problem, Affine(np.asarray([[rate]]), np.zeros(1)), FiniteTime(t_minus, 40), jnp.asarray(x)
    ).log_a
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_error_of_the_grid_is_of_order_four(x64):
    base, target = Normal(np.asarray([0.3, -0.2]), np.asarray([1.3, 0.9])), Normal(np.asarray([1.0, 0.5]), 0.7)
    problem, field = NEISProblem(base, target), jax.tree.map(lambda a: a.astype(jnp.float64), TURN)
    x = base.sample(KEY, 20)
    logs = [orbit_average(problem, field, FiniteTime(-0.5, n), x).log_a for n in (10, 20, 40)]
    coarse, fine = (float(jnp.mean(jnp.abs(a - b))) for a, b in ((logs[0], logs[1]), (logs[1], logs[2])))
    assert 11 < coarse / fine < 22


def test_whole_orbits_with_equal_masses_leave_no_variance():
    """The Poisson field of two normals, and a banana whose orbits are horizontal lines."""
    base = Normal(jnp.asarray([0.3, -0.2]), 1.0)
    problem = NEISProblem(base, Density(lambda x: Normal(jnp.asarray([2.0, 1.0]), 0.6).log_prob(x) + LOG_Z, (2,)))
    field = Hastened(PlanarPoisson(base.mean, 1.0, [2.0, 1.0], 0.6), 0.1)
    horizon = InfiniteTime(16.0, 300)
    found = neis(NEIS(field, horizon, 200, 20), problem, key=KEY).value
    assert float(found.relative_variance) < 1e-6
    np.testing.assert_allclose(found.log_z.mean, LOG_Z, atol=1e-3)
    wrong = run(NEIS(Flipped(field), horizon, 200, 20), problem, steps=1, key=KEY, throw=False).value
    # Its A is a constant as well, since all orbits end in the same two points, but another one.
    assert abs(float(wrong.log_z.mean) - LOG_Z) > 0.1


def test_a_banana_along_horizontal_lines():
    class Sideways(AbstractStill):
        def __call__(self, x):
            return jnp.stack([2 + jnp.tanh(x[0] + x[1]), 0 * x[1]])

    def banana(x):
        first = Normal(0.5 * x[1:] ** 2 - 1, 0.4)
        return first.log_prob(x[:1]) + Normal(BASE.mean[1:], BASE.std[1:]).log_prob(x[1:]) + LOG_Z

    problem = NEISProblem(BASE, Density(banana, (2,)))
    found = neis(NEIS(Sideways(), InfiniteTime(12.0, 240), 300, 20), problem, key=KEY).value
    assert float(found.relative_variance) < 1e-5
    np.testing.assert_allclose(found.log_z.mean, LOG_Z, atol=1e-3)
    wrong = run(NEIS(Flipped(Sideways()), InfiniteTime(12.0, 240), 300, 20), problem, steps=1, key=KEY, throw=False)
    assert float(wrong.value.relative_variance) > 1e-2


def test_phase_space_with_friction():
    problem = NEISProblem(Phase(BASE), Phase(Density(lambda x: MIXTURE.log_prob(x) + LOG_Z, (2,))))
    field = UnderdampedField(MIXTURE, 1.5)
    assert field.gradients == 1
    assert_z(*ratio(field, FiniteTime(0.0, 30), problem), max_stderr=0.1)
    with pytest.raises(AssertionError):
        assert_z(*ratio(Flipped(field), FiniteTime(0.0, 30), problem))


def square_and_cross(x):
    return jnp.stack([x[0], x[1] ** 2, x[0] * x[1]])


def test_expectations_under_the_target():
    method = NEIS(TURN, FiniteTime(-0.4, 20), 4000, 0, square_and_cross)
    seen = run(method, PROBLEM, steps=3, key=KEY).value.expectation
    second = MIXTURE.covariance + jnp.outer(MIXTURE.mean, MIXTURE.mean)
    truth = jnp.stack([MIXTURE.mean[0], second[1, 1], second[0, 1]])
    assert_z(seen.mean, truth, seen.stderr, max_stderr=0.1)
    # The twin looks at the starting points, with the weights of their orbits.
    x = BASE.sample(KEY, 8000)
    weight = jax.nn.softmax(orbit_average(PROBLEM, TURN, FiniteTime(-0.4, 20), x).log_a)
    with pytest.raises(AssertionError):
        assert_z(weight @ jax.vmap(square_and_cross)(x), truth, seen.stderr)


def test_batches_add_up_to_one_estimate():
    """The running moments over three steps are those of all orbits at once, also for the observable."""
    method = NEIS(TURN, FiniteTime(-0.4, 20), 500, 50, square_and_cross)
    result = run(method, PROBLEM, steps=3, key=KEY)
    value, log_a = result.value, np.asarray(result.info.log_a, np.float64)
    a = np.exp(log_a.reshape(-1))
    np.testing.assert_allclose(value.log_z.mean, np.log(a.mean()), atol=1e-5)
    np.testing.assert_allclose(value.relative_variance, a.var(ddof=1) / a.mean() ** 2, rtol=1e-4)
    np.testing.assert_allclose(value.top_share, a.max() / a.sum(), rtol=1e-4)
    parts = [
        orbit_average(PROBLEM, TURN, FiniteTime(-0.4, 20), BASE.sample(jax.random.fold_in(KEY, k), 500))
        for k in range(3)
    ]
    whole = eqx.tree_at(
        lambda w: (w.x, w.log_w),
        parts[0],
        tuple(jnp.concatenate([getattr(p, n) for p in parts]) for n in ("x", "log_w")),
    )
    expected = whole.expectation(square_and_cross)
    np.testing.assert_allclose(value.expectation.mean, expected.mean, rtol=1e-4)
    np.testing.assert_allclose(value.expectation.stderr, expected.stderr, rtol=1e-3)
    # One drawn point of each orbit has the same law, with more noise.
    drawn = whole.cloud(key=KEY).expectation(square_and_cross)
    assert_z(drawn.mean, expected.mean, jnp.hypot(drawn.stderr, expected.stderr))


def test_a_grid_that_is_too_coarse_is_refused():
    fast = Affine([[14.0, 0.0], [3.0, -11.0]], [0.4, -0.6])
    with pytest.raises(StatusError, match=r"halving the step moves the estimate by .* take more steps"):
        neis(NEIS(fast, FiniteTime(-0.5, 4), 400, 400), PROBLEM, key=KEY)
    with pytest.raises(StatusError, match=r"lies at its ends: raise reach"):
        neis(NEIS(TURN, InfiniteTime(1.0, 20), 2000, 20), PROBLEM, key=KEY)


def test_weights_that_collapse_are_told():
    far = NEISProblem(BASE, Normal(jnp.asarray([9.0, -7.0]), 0.3))
    with pytest.raises(StatusError, match="weights collapsed"):
        neis(NEIS(STILL, FiniteTime(0.0, 2), 100, 0), far, key=KEY)
    nowhere = NEISProblem(BASE, Density(lambda x: jnp.where(x[0] > 50, 0.0, -jnp.inf), (2,)))
    with pytest.raises(StatusError, match="weights collapsed"):
        neis(NEIS(STILL, FiniteTime(0.0, 2), 100, 0), nowhere, key=KEY)


def test_orbits_that_leave_a_domain_stop_counting():
    """Both densities cut to a half plane; the truncated mass of the target is known."""
    inside = lambda x: x[0] > -1.0  # noqa: E731
    target = Normal(jnp.asarray([-0.6, 0.4]), jnp.asarray([0.9, 0.5]))
    problem = NEISProblem(BASE, target, inside)
    exact = float(jax.scipy.stats.norm.logsf(-1.0, -0.6, 0.9))
    field, horizon = Affine([[0.4, 0.0], [0.2, -0.3]], [-1.5, 0.5]), FiniteTime(-0.5, 100)
    assert_z(*ratio(field, horizon, problem, exact=exact), max_stderr=0.03)
    with pytest.raises(AssertionError):
        assert_z(*ratio(field, horizon, NEISProblem(BASE, target), exact=exact))


def test_large_jacobians_do_not_overflow():
    squeeze = Affine(-60 * jnp.eye(2), jnp.zeros(2))
    found = orbit_average(PROBLEM, squeeze, FiniteTime(-0.5, 400), BASE.sample(KEY, 20))
    assert np.isfinite(found.log_a).all()


def test_the_base_may_be_unnormalised():
    twice = Density(lambda x: BASE.log_prob(x) + 0.9, (2,), jnp.asarray(0.9), BASE.sample)
    x = BASE.sample(KEY, 10)
    problem = NEISProblem(twice, PROBLEM.target)
    one, other = (orbit_average(p, TURN, FiniteTime(-0.5, 10), x).log_a for p in (PROBLEM, problem))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_bad_input():
    for t_minus in (0.2, -1.1, float("nan")):
        with pytest.raises(InputError, match=r"expected a time in \[-1, 0\]"):
            FiniteTime(t_minus, 10)
    with pytest.raises(InputError, match=r"t_minus on the grid, a multiple of 1/7"):
        FiniteTime(-0.5, 7)
    with pytest.raises(InputError, match=r"steps=1\): expected at least 2"):
        FiniteTime(0.0, 1)
    with pytest.raises(InputError, match=r"reach=-1.0\): expected a positive"):
        InfiniteTime(-1.0, 10)
    with pytest.raises(InputError, match=r"expected at least one particle"):
        NEIS(TURN, FiniteTime(0.0, 10), 0)
    with pytest.raises(InputError, match=r"Density cannot be drawn from exactly"):
        NEISProblem(Density(lambda x: -jnp.sum(x**4), (2,)), MIXTURE)
    with pytest.raises(InputError, match=r"base has points of shape \(2,\), the target \(3,\)"):
        NEISProblem(BASE, Normal(jnp.zeros(3)))
    wide = NeuralField(lambda t, x: jnp.ones(3))
    with pytest.raises(InputError, match=r"NeuralField gives \(3,\) at a point of shape \(2,\)"):
        orbit_average(PROBLEM, wide, FiniteTime(0.0, 4), BASE.sample(KEY, 3))
    with pytest.raises(InputError, match=r"starting points are \(5, 3\)"):
        orbit_average(PROBLEM, TURN, FiniteTime(0.0, 4), jnp.zeros((5, 3)))
    with pytest.raises(InputError, match=r"starting points are \(0, 2\)"):
        orbit_average(PROBLEM, TURN, FiniteTime(0.0, 4), jnp.zeros((0, 2)))


def test_a_nan_of_the_target_is_reported():
    broken = NEISProblem(BASE, gaussian(jnp.zeros(2), jnp.eye(2)))
    broken = eqx.tree_at(lambda p: p.target.means, broken, jnp.full((1, 2), jnp.nan))
    with pytest.raises(StatusError, match="non-finite"):
        neis(NEIS(TURN, FiniteTime(0.0, 4), 20, 0), broken, key=KEY)
