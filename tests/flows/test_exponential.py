"""Exponential solvers on exact fields: published errors and orders, exact steps, resuming, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_slope
from thalweg.core import Denoiser, InputError, Velocity, run
from thalweg.flows import ConstantNoise, DiffusionPath, FlowODE, FlowSDE, Independent, Linear, OneSided, Trigonometric
from thalweg.flows.convert import denoiser_from_score
from thalweg.flows.exponential import DDIM, DPMSolver2, DPMSolver2M, DPMSolver3, half_log_snr, half_log_snr_grid
from thalweg.problems import Mixture, MixtureInterpolant, gaussian
from thalweg.processes import VP, Simulate, simulate, simulate_adaptive

# VP with rates 0.1 to 20 and the exact noise of 0.4 N(-1, 0.3^2) + 0.6 N(0.5, 0.2^2), in its own time from 1 to 1e-3.
ENDS = 0.0, 1 - 1e-3
PUBLISHED = {  # root mean square error at 20, 40, 80, 160 steps
    DDIM: (0.0658, 0.0332, 0.0167, 0.0084),
    DPMSolver2: (0.0101, 2.4e-3, 5.7e-4, 1.4e-4),
    DPMSolver3: (2.8e-4, 4.0e-5, 5.2e-6, 6.7e-7),
    DPMSolver2M: (0.0146, 3.9e-3, 9.9e-4, 2.5e-4),
}
ORDERS = {DDIM: 1, DPMSolver2: 2, DPMSolver3: 3, DPMSolver2M: 2}
each_solver = pytest.mark.parametrize("solver", ORDERS, ids=lambda s: s.__name__)


def exact_flow(path, target=None):
    d = 1 if target is None else target.event[0]
    if target is None:
        target = Mixture(np.array([0.4, 0.6]), np.array([[-1.0], [0.5]]), np.array([[[0.09]], [[0.04]]]))
    exact = MixtureInterpolant(gaussian(np.zeros(d), np.eye(d)), target, path)
    return FlowODE(exact.velocity, path, exact.score, denoiser_from_score(exact.score, path, Independent()))


def points():
    return jnp.linspace(-2.5, 2.5, 101)[:, None]


def error(flow, reference, solver, steps):
    moved = simulate(flow, points(), half_log_snr_grid(flow.path, steps, *ENDS), method=solver()).value
    return float(jnp.sqrt(jnp.mean((moved - reference) ** 2)))


@pytest.fixture(scope="module")
def case():
    with jax.enable_x64(True):
        flow = exact_flow(DiffusionPath(VP()))
        return flow, simulate_adaptive(flow, points(), *ENDS, rtol=1e-11, atol=1e-12).value


@each_solver
def test_the_published_errors_and_orders(x64, case, solver):
    counts = (20, 40, 80, 160)
    errors = [error(*case, solver, n) for n in counts]
    # They are printed with two or three digits.
    np.testing.assert_allclose(errors, PUBLISHED[solver], rtol=0.03)
    assert_slope(1 / np.array(counts[1:]), errors[1:], ORDERS[solver], 0.1)


def test_a_higher_order_is_no_help_at_twelve_evaluations(x64, case):
    np.testing.assert_allclose(error(*case, DPMSolver2, 6), 0.175, rtol=0.01)
    np.testing.assert_allclose(error(*case, DDIM, 12), 0.109, rtol=0.01)


@pytest.mark.parametrize("factor", [-1.0, 0.9])
def test_a_wrong_noise_does_not_converge(x64, case, factor):
    flow, reference = case
    wrong = dataclasses.replace(flow, denoiser=Denoiser(lambda t, x: factor * flow.denoiser(t, x)))
    assert error(wrong, reference, DPMSolver2, 80) > 0.03


@each_solver
@pytest.mark.parametrize("ends", [(0.2, 0.9), (0.9, 0.2)], ids=["forward", "backward"])
def test_one_point_of_data_is_reached_in_one_step(x64, solver, ends):
    # With all data at mu, the flow keeps the noise: x_t = alpha z + beta mu, whatever the step.
    path, mu = OneSided(Linear()), jnp.asarray([0.7, -1.3])
    eta = Denoiser(lambda t, x: (x - path.beta(t) * mu) / path.alpha(t))
    z = jnp.asarray([[0.3, 1.1], [-2.0, 0.4]])
    flow = FlowODE(Velocity(lambda t, x: mu - eta(t, x)), path, denoiser=eta)
    for grid in (jnp.asarray(ends), half_log_snr_grid(path, 3, *ends)):
        moved = simulate(flow, (1 - ends[0]) * z + ends[0] * mu, grid, method=solver()).value
        np.testing.assert_allclose(moved, (1 - ends[1]) * z + ends[1] * mu, rtol=1e-12)


@each_solver
@pytest.mark.parametrize("path", [OneSided(Trigonometric()), DiffusionPath(VP())], ids=["trigonometric", "vp"])
def test_tilted_gaussians_in_single_precision(solver, path):
    mean, cov = np.array([0.4, -0.9]), np.array([[0.6, 0.25], [0.25, 0.3]])
    flow = exact_flow(path, gaussian(mean, cov))
    x0 = jnp.asarray([[0.5, -1.0], [1.5, 0.2], [-0.7, -0.4]])
    grid = solver().grid(path, 40)
    # x - mean scales with the standard deviation along each axis of the covariance.
    values, axes = np.linalg.eigh(cov)
    std = [np.sqrt(path.alpha(t) ** 2 + path.beta(t) ** 2 * values) for t in grid[jnp.array([0, -1])]]
    first, last = (path.beta(t) * mean for t in grid[jnp.array([0, -1])])
    reference = last + (x0 - first) @ axes * (std[1] / std[0]) @ axes.T
    moved = simulate(flow, x0, grid, method=solver()).value
    assert moved.dtype == jnp.float32
    np.testing.assert_allclose(moved, reference, atol=0.12 if solver is DDIM else 1e-2)
    assert float(jnp.abs(moved - x0).max()) > 0.3


@each_solver
def test_a_run_goes_on_to_the_same_bits_and_rests_at_the_end(solver, key):
    flow = exact_flow(OneSided(Linear()))
    problem = Simulate(flow, points(), half_log_snr_grid(flow.path, 5))
    whole = run(solver(), problem, steps=5, key=key)
    part = run(solver(), problem, steps=3, key=key)
    resumed = run(solver(), problem, steps=2, key=key, state=part.state)
    np.testing.assert_array_equal(whole.value, resumed.value)
    np.testing.assert_allclose(run(solver(), problem, steps=8, key=key).value, whole.value, rtol=1e-6)


def test_the_grid_is_even_in_lambda(x64):
    path = DiffusionPath(VP())
    ts = half_log_snr_grid(path, 12, 0.01, 0.999)
    levels = jax.vmap(lambda t: half_log_snr(path, t))(ts)
    np.testing.assert_allclose(jnp.diff(levels), (levels[-1] - levels[0]) / 12, rtol=1e-9)
    np.testing.assert_allclose(half_log_snr_grid(path, 12, 0.999, 0.01), ts[::-1], rtol=1e-12)
    np.testing.assert_allclose(half_log_snr(OneSided(Linear()), jnp.asarray(0.2)), np.log(0.25))


def test_conditions_reach_the_denoiser():
    path = OneSided(Linear())
    eta = Denoiser(lambda t, x, c=None: (x - path.beta(t) * c) / path.alpha(t))
    c = jnp.asarray([[1.0], [-2.0]])
    flow = FlowODE(Velocity(lambda t, x, c=None: x), path, denoiser=eta, c=c)
    moved = simulate(flow, jnp.zeros((2, 1)), half_log_snr_grid(path, 4), method=DPMSolver3()).value
    np.testing.assert_allclose(moved, 0.999 * c, atol=2e-3)


@each_solver
def test_bad_use(solver):
    flow, x = exact_flow(OneSided(Linear())), points()
    grid = half_log_snr_grid(flow.path, 4)
    noisy = FlowSDE(flow.velocity, flow.path, flow.score, ConstantNoise(0.1))
    with pytest.raises(InputError, match=r"expected a FlowODE"):
        simulate(noisy, x, grid, method=solver(), key=jax.random.key(0))
    with pytest.raises(InputError, match=r"one-sided path"):
        simulate(dataclasses.replace(flow, path=Linear()), x, grid, method=solver())
    with pytest.raises(InputError, match=r"without a denoiser"):
        simulate(dataclasses.replace(flow, denoiser=None), x, grid, method=solver())
    with pytest.raises(InputError, match=r"beta is 0 at t = 0"):
        simulate(flow, x, jnp.linspace(0, 0.9, 5), method=solver())
    with pytest.raises(InputError, match=r"alpha is 0 at t = 1"):
        simulate(flow, x, jnp.linspace(0.1, 1, 5), method=solver())


class Wavy(OneSided):
    """A path that gains noise on its way."""

    def alpha(self, t):
        return 1 - t + 0.6 * jnp.sin(12 * t) * (1 - t)


def test_grids_that_are_refused():
    with pytest.raises(InputError, match=r"does not rise with t"):
        half_log_snr_grid(Wavy(Linear()), 4)
    with pytest.raises(InputError, match=r"expected a one-sided path"):
        half_log_snr_grid(Linear(), 4)
    with pytest.raises(InputError, match=r"at least 1"):
        half_log_snr_grid(OneSided(Linear()), 0)
    with pytest.raises(InputError, match=r"beta is 0"):
        half_log_snr_grid(OneSided(Linear()), 4, 0.0, 0.9)
