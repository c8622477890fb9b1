"""Neural Galerkin: exact where the ansatz can be, equivariant, and each of its failures has a status."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from tests.pde.galerkin_cases import moment_error, one_gaussian
from thalweg.core import Status, StatusError, run
from thalweg.pde import (
    DensityUnits,
    Evolution,
    ExplicitSteps,
    GaussianUnits,
    GivenPoints,
    ImportancePoints,
    LangevinPoints,
    NeuralGalerkin,
    PeriodicMLP,
    PeriodicUnits,
    Tikhonov,
    UniformPoints,
    UnitPoints,
    amplitudes,
    fit_start,
    relative_error,
)
from thalweg.problems import Advection, KdV

TIMES = (0.0, 0.13, 0.4)
# 7 steps to 0.13, and 14 more.
STEPS, STEP = 21, 0.02


def importance():
    """A fifth of the candidates, uniform in a box."""
    box = UniformPoints(jnp.asarray([-2.0, 0.0]), jnp.asarray([3.0, 4.0]), 300)
    return NeuralGalerkin(ImportancePoints(box, 60), ExplicitSteps(STEP), Tikhonov(1e-13))


def langevin():
    """Particles that begin at the units."""
    return NeuralGalerkin(LangevinPoints(UnitPoints(60), 0.01), ExplicitSteps(STEP), Tikhonov(1e-13))


@pytest.mark.parametrize("method", [importance, langevin])
def test_a_gaussian_stays_exact_whatever_the_points(method, key, x64):
    """The solution is in the family, so that every measure gives the same rate; the steps are fourth order."""
    problem, evolution = one_gaussian(TIMES)
    found = run(method(), evolution, steps=STEPS, key=key)
    for i, t in enumerate(TIMES):
        assert moment_error(problem, found.value.at(i), t) < 3e-7
        assert float(found.value.at(i).mass) == pytest.approx(1, abs=1e-6)
    assert float(jnp.max(found.info.residual)) < 1e-5
    # Amplitude, two widths, two centres.
    assert float(jnp.min(found.info.rank)) == pytest.approx(5, abs=1e-3)
    np.testing.assert_allclose(found.info.t[:2], [0, 0.13 / 7], rtol=1e-9)


def test_one_sign_wrong_and_the_moments_are_far_off(key, x64):
    """The twin: diffusion backwards."""
    problem, evolution = one_gaussian(TIMES, beta=-7.0)
    found = run(langevin(), evolution, steps=STEPS, key=key, throw=False)
    assert moment_error(problem, found.value.at(1), 0.13) > 0.02


def test_after_the_last_time_nothing_moves_and_before_it_nothing_is_kept(key, x64):
    _, evolution = one_gaussian(TIMES)
    found = run(importance(), evolution, steps=STEPS, key=key)
    more = run(importance(), evolution, steps=STEPS, key=key, state=found.state)
    np.testing.assert_array_equal(found.state.state.theta, more.state.state.theta)
    np.testing.assert_array_equal(more.info.step_size, 0.0)
    half = eqx.tree_at(lambda m: m.stepper.step_size, importance(), jnp.asarray(STEP / 2))
    unfinished = run(half, evolution, steps=STEPS, key=key).value
    assert np.isfinite(np.asarray(unfinished.at(1).centre)).all()
    assert np.isnan(np.asarray(unfinished.last.centre)).all()


class Wind(eqx.Module):
    """Advection with a reaction, in coordinates that are shifted and scaled, of a solution that is scaled."""

    scale: Array
    shift: Array
    height: Array

    def __call__(self, t, x, v):
        def u(y):
            return v(y * self.scale + self.shift) / self.height

        y = (x - self.shift) / self.scale
        return self.height * (-jnp.dot(jnp.asarray([0.8, -0.3]), jax.grad(u)(y)) * (1 + t) - u(y) ** 2 / 2)


def test_the_solution_moves_with_the_problem(key, x64):
    """u(x) -> 3 u((x - c) / s), with the points taken along by the units."""
    scales = jnp.asarray([[-0.5, 0.1], [0.2, -0.3]])
    u = GaussianUnits(jnp.asarray([0.8, -0.5]), scales, jnp.asarray([[0.3, -0.2], [1.1, 0.6]]))
    method = NeuralGalerkin(UnitPoints(80), ExplicitSteps(0.05), Tikhonov(1e-12))
    x = jnp.asarray([[0.5, 0.1], [1.2, 0.4], [-0.3, 0.3]])
    values = []
    for s, c, a in ((1.0, 0.0, 1.0), (2.5, 0.7, 3.0)):
        v = GaussianUnits(a * u.amplitude, u.log_scale + jnp.log(s), u.centre * s + c)
        rate = Wind(jnp.asarray(s), jnp.asarray([c, -c]), jnp.asarray(a))
        v = eqx.tree_at(lambda w: w.centre, v, u.centre * s + rate.shift)
        last = run(method, Evolution(rate, v, [0.0, 0.2]), steps=4, key=key).value.last
        values.append(jax.vmap(last)(x * s + rate.shift) / a)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4)
    assert float(jnp.abs(values[0] - jax.vmap(u)(x)).max()) > 0.01


# A fit of the two solitons by ten units, with a relative error of 2e-4.
SOLITONS = (
    [
        -1.437594829,
        0.2883527257,
        1.586622772,
        -0.1831888684,
        0.4654217071,
        -0.1394428062,
        -0.002543320865,
        -6.241467915e-11,
        0.5123471005,
        1.733934974,
    ],
    [
        15.70122755,
        7.189158302,
        27.18435963,
        9.201305526,
        -17.60825138,
        33.24249212,
        34.69436275,
        20.7406739,
        42.55243421,
        15.26946738,
    ],
    [
        2.618592618,
        0.1375217944,
        -4.851283846,
        -1.24672895,
        -4.772942402,
        -5.428146865,
        1.050512326,
        276.6312385,
        -4.791518762,
        2.517046807,
    ],
)


def test_solitons_are_followed_and_fixed_features_are_not(key, x64):
    u, problem = PeriodicUnits(*map(jnp.asarray, SOLITONS), 60.0), KdV()
    method = NeuralGalerkin(UniformPoints(-20.0, 40.0, 300), ExplicitSteps(4e-3), Tikhonov(1e-7))
    grid = jnp.linspace(-20.0, 40.0, 601)[:-1]
    errors, residuals = [], []
    for free in ((), (amplitudes,)):
        found = run(method, Evolution(problem.rate, u, [0.0, 0.2], *free), steps=50, key=key, throw=False)
        errors.append(float(relative_error(found.value.last, lambda x: problem.exact(jnp.asarray(0.2), x), grid)))
        residuals.append(float(jnp.median(found.info.residual)))
    assert errors[0] < 0.05
    assert not errors[1] < 10 * errors[0]
    assert residuals[1] > 5 * residuals[0]


def test_allen_cahn_with_a_net(key, x64):
    """u_t = e u_xx + u - u^3 on a ring against a spectral solution."""
    epsilon, n = 0.05, 128
    f = lambda t, x, u: epsilon * jax.grad(jax.grad(u))(x) + u(x) - u(x) ** 3  # noqa: E731
    start = lambda x: 0.6 * jnp.sin(x) + 0.3 * jnp.cos(2 * x + 0.4)  # noqa: E731
    x = jnp.linspace(0.0, 2 * jnp.pi, n + 1)[:-1]
    net = lambda k: PeriodicMLP(0, 2 * jnp.pi, width=6, depth=2, key=k)  # noqa: E731
    fitted = fit_start(net, start, x, key=key, restarts=2, steps=150, polish=0).u
    method = NeuralGalerkin(GivenPoints(x), ExplicitSteps(0.02), Tikhonov(1e-9))
    found = run(method, Evolution(f, fitted, [0.0, 1.0]), steps=50, key=key).value.last
    k2 = np.fft.fftfreq(n, 1 / n) ** 2
    u, h = np.asarray(start(x)), 1e-3
    for _ in range(1000):  # Strang's splitting; the reaction has a closed form.
        u = np.fft.ifft(np.exp(-0.5 * h * epsilon * k2) * np.fft.fft(u)).real
        u = u / np.sqrt(u**2 + (1 - u**2) * np.exp(-2 * h))
        u = np.fft.ifft(np.exp(-0.5 * h * epsilon * k2) * np.fft.fft(u)).real
    assert np.linalg.norm(jax.vmap(found)(x) - u) < 1e-2 * np.linalg.norm(u)


DIM = 6


def seen(points, key, step=0.01, end=0.1):
    """Two bumps in six dimensions, each a unit of its own: the family follows exactly, if the points see it."""
    problem = Advection.bumps(DIM)
    mixture = problem.start.mixture
    variances = jnp.diagonal(mixture.covs, axis1=1, axis2=2)
    u = GaussianUnits(
        1 / jnp.sqrt((2 * jnp.pi) ** DIM * jnp.prod(variances, 1)), 0.5 * jnp.log(variances), mixture.means
    )
    method = NeuralGalerkin(points, ExplicitSteps(step), Tikhonov(1e-8))
    found = run(method, Evolution(problem.rate, u, [0.0, end]), steps=10, key=key, throw=False)
    near = mixture.sample(key, 200) + problem.displacement(end)
    return found, float(relative_error(found.value.last, lambda x: problem.exact(jnp.asarray(end), x), near))


def box(low, high):
    return UniformPoints(jnp.full(DIM, low), jnp.full(DIM, high), 400)


def test_uniform_points_see_nothing_in_six_dimensions_and_units_do(key, x64):
    units, error = seen(UnitPoints(400), key)
    assert error < 1e-4
    assert float(jnp.min(units.info.seen)) > 50
    uniform, error = seen(box(0.0, 15.0), key)
    assert not error < 0.1
    assert float(jnp.max(uniform.info.seen)) < 10
    assert float(jnp.max(uniform.info.rank)) < 13


def test_points_that_see_nothing_at_all_are_unresolved(key, x64):
    found, _ = seen(box(40.0, 50.0), key)
    assert found.status == Status.unresolved
    assert float(found.info.rank[0]) == pytest.approx(0, abs=1e-9)


def test_a_step_that_bends_the_solution_is_refused(key, x64):
    found, _ = seen(UnitPoints(400), key, step=1.0, end=1.0)
    assert found.status == Status.step_size
    assert float(found.info.bend[0]) > 0.5


class Odd(eqx.Module):
    """A right-hand side at right angles to everything that one even unit can do."""

    size: Array

    def __call__(self, t, x, u):
        return self.size * jnp.sin(5 * jnp.pi * (x - 0.4))


def test_a_rate_that_no_parameter_explains_is_unresolved_and_rest_is_not(key, x64):
    grid = GivenPoints(jnp.linspace(0.0, 2.0, 41)[:-1])
    u = PeriodicUnits(jnp.asarray([0.7]), jnp.asarray([1.0]), jnp.asarray([0.4]), 2.0)
    method = NeuralGalerkin(grid, ExplicitSteps(0.01))
    with pytest.raises(StatusError, match="do not see the solution"):
        run(method, Evolution(Odd(jnp.asarray(1.0)), u, [0.0, 1.0]), steps=2, key=key)
    # What is too small to matter by the end is no failure: so ends every evolution that comes to rest.
    assert run(method, Evolution(Odd(jnp.asarray(1e-4)), u, [0.0, 1.0]), steps=2, key=key).status == Status.finished


def test_units_that_are_alike_move_as_one(key, x64):
    """Duplicates and a dead unit are null directions: they are not counted, and harm nothing."""
    problem, evolution = one_gaussian(TIMES)
    one = evolution.u
    thrice = lambda a: jnp.concatenate([a, a, a])  # noqa: E731
    u = DensityUnits(jnp.sqrt(jnp.asarray([0.5, 0.5, 0.0])), thrice(one.log_scale), thrice(one.centre))
    found = run(langevin(), Evolution(evolution.rate, u, evolution.times), steps=STEPS, key=key)
    assert moment_error(problem, found.value.last, 0.4) < 1e-6
    np.testing.assert_allclose(found.value.last.centre[0], found.value.last.centre[1], rtol=1e-4)
    # Rounding parts them, in the end: as long as they are alike they count as one.
    assert float(found.info.rank[0]) == pytest.approx(5, abs=1e-2)


def test_single_precision_smooths_the_rate_and_compiles_once(key):
    traces = []
    problem, evolution = one_gaussian()

    def rate(t, x, u):
        traces.append(1)
        return problem.rate(t, x, u)

    evolution = Evolution(rate, evolution.u, evolution.times)
    method = NeuralGalerkin(UnitPoints(60), ExplicitSteps(STEP))
    part = run(method, evolution, steps=10, key=key)
    count = len(traces)
    found = run(method, evolution, steps=10, key=key, state=part.state)
    assert len(traces) == count
    assert found.value.last.centre.dtype == jnp.float32
    assert 1e-7 < moment_error(problem, found.value.last, 0.4) < 2e-3
