"""The grid against closed forms: orders by slope, mass to round-off, no negative density; and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_slope
from thalweg.core import AbstractProcess, InputError
from thalweg.pde import (
    BackwardEuler,
    FokkerPlanck,
    current,
    diffusing,
    entropy_rate,
    evolve,
    linear_moments,
    stationary,
)
from thalweg.problems import Density, Normal
from thalweg.processes import OU, Grid

THETA, MU, SIGMA = np.asarray([1.0, 0.6]), np.asarray([0.3, -0.2]), np.asarray([0.8, 0.5])
M0, S0, T = np.asarray([0.9, -0.6]), np.asarray([0.35, 0.3]), 0.7


def ou(steps=7):
    return FokkerPlanck(OU(THETA, MU, SIGMA), Normal(jnp.asarray(M0), jnp.asarray(S0)), jnp.linspace(0, T, steps + 1))


def gaussian(grid, mean, variance):
    z = (grid.centres - mean) ** 2 / variance
    return (np.exp(-0.5 * z.sum(1)) / np.sqrt(np.prod(2 * np.pi * variance))).reshape(grid.cells)


def exact(t=T):
    return linear_moments(-np.diag(THETA), THETA * MU, np.diag(SIGMA**2) / 2, M0, np.diag(S0**2), t)


def box(n):
    return Grid((-3.0, -3.0), (4.0, 3.0), (n, n + 7))


def test_second_order_in_space(x64):
    mean, covariance = exact()
    widths, errors, spreads = [], [], []
    for n in (24, 36, 54):
        grid = box(n)
        found = evolve(ou(1), grid)
        errors.append(np.abs(found.final.p - gaussian(grid, mean, np.diag(covariance))).sum() * grid.volume)
        spreads.append(found.final.covariance[0, 0] - covariance[0, 0])
        widths.append(grid.widths[0])
        assert np.abs(found.mass - 1).max() < 1e-12
        assert found.final.p.min() > 0
    assert_slope(widths, errors, 2.0, 0.15)
    assert_slope(widths, spreads, 2.0, 0.15)


def test_first_order_in_time_and_positive_at_any_step(x64):
    grid = box(20)
    truth = evolve(ou(1), grid).final.p
    steps, errors = [], []
    for k in (1, 8, 16, 32):
        found = evolve(ou(k), grid, step=BackwardEuler())
        assert np.abs(found.mass - 1).max() < 1e-12
        assert found.final.p.min() >= 0
        if k > 1:
            steps.append(T / k)
            errors.append(np.abs(found.final.p - truth).sum() * grid.volume)
    assert_slope(steps, errors, 1.0, 0.15)
    # Nothing depends on time here: any number of steps is the same.
    np.testing.assert_allclose(evolve(ou(3), grid).final.p, truth, rtol=1e-9, atol=1e-12)


class Drawn(AbstractProcess):
    """A trap of unit rate that moves: the mean follows m' = 2 sin 3t - m."""

    def drift(self, t, x):
        return 2 * jnp.sin(3 * t) - x

    def diffusion(self, t, x):
        return jnp.asarray(0.6)


def test_second_order_in_time_under_a_drift_that_moves(x64):
    grid = Grid((-2.5,), (3.5,), (70,))
    start = Normal(jnp.asarray([0.4]), jnp.asarray([0.5]))
    solve = lambda k: evolve(FokkerPlanck(Drawn(), start, jnp.linspace(0, 1, k + 1)), grid)  # noqa: E731
    truth = solve(96)
    steps = [6, 12, 24]
    errors = [np.abs(solve(k).final.p - truth.final.p).sum() * grid.volume for k in steps]
    assert_slope([1 / k for k in steps], errors, 2.0, 0.2)
    mean = (0.4 + 0.6) * np.exp(-1) + 0.2 * np.sin(3) - 0.6 * np.cos(3)
    np.testing.assert_allclose(truth.mean[-1], [mean], atol=3e-3)


def test_a_wave_on_a_circle_moves_and_decays(x64):
    length, speed, D, t = 2.5, 0.7, 0.05, 0.8
    k = 2 * np.pi / length
    start = Density(lambda x: jnp.log((1 + 0.6 * jnp.cos(k * x[0])) / length), (1,), jnp.zeros(()))
    problem = FokkerPlanck(diffusing(lambda t, x: jnp.full_like(x, speed), D), start, jnp.asarray([0.0, t]))
    widths, errors = [], []
    for n in (40, 80, 160):
        grid = Grid((-0.5,), (2.0,), (n,), (True,))
        found = evolve(problem, grid, max_peclet=5.0)
        phase = k * (grid.axis(0) - speed * t)
        truth = (1 + 0.6 * np.exp(-D * k**2 * t) * np.cos(phase)) / length
        errors.append(np.abs(found.final.p - truth).max())
        widths.append(grid.widths[0])
        assert abs(found.mass[-1] - 1) < 1e-12
    assert_slope(widths, errors, 2.0, 0.2)


def test_walls_reflect(x64):
    """Constant drift against a wall: the steady state is e^(u x / D), and nothing is lost."""
    grid = Grid((0.0,), (1.5,), (30,))
    found = stationary(diffusing(lambda t, x: jnp.full_like(x, -0.9), 0.3), grid)
    want = np.exp(-3 * grid.axis(0))
    np.testing.assert_allclose(found.p, want / want.sum() / grid.volume, rtol=1e-9)
    # Without drift, a cosine between walls decays by itself.
    start = Density(lambda x: jnp.log((1 + 0.5 * jnp.cos(jnp.pi * x[0] / 1.5)) / 1.5), (1,), jnp.zeros(()))
    moved = evolve(FokkerPlanck(OU(0.0, 0.0, 0.5), start, jnp.asarray([0.0, 2.0])), grid).final
    decay = np.exp(-0.125 * (np.pi / 1.5) ** 2 * 2.0)
    np.testing.assert_allclose(moved.p, (1 + 0.5 * decay * np.cos(np.pi * grid.axis(0) / 1.5)) / 1.5, rtol=1e-3)


def test_equilibrium_is_gibbs_exactly_and_without_current(x64):
    """A quadratic potential's drift is exact at the faces: the scheme then keeps the Gibbs density to round-off."""
    grid, process = box(30), OU(THETA, MU, SIGMA)
    found = stationary(process, grid)
    want = gaussian(grid, MU, SIGMA**2 / (2 * THETA))
    np.testing.assert_allclose(found.p, want / want.sum() / grid.volume, rtol=1e-7, atol=1e-13)
    assert np.abs(current(process, found)).max() < 1e-12
    assert abs(entropy_rate(process, found)) < 1e-10


class Whirl(AbstractProcess):
    """A trap with rotation and unequal noise: out of equilibrium."""

    def drift(self, t, x):
        return jnp.asarray([[-1.0, 0.8], [-0.5, -0.7]]) @ x

    def diffusion(self, t, x):
        return jnp.asarray([0.7, 0.5])


def test_out_of_equilibrium(x64):
    """The steady covariance solves the Lyapunov equation; the current is that of the probability flow, and no zero."""
    A, D = np.asarray([[-1.0, 0.8], [-0.5, -0.7]]), np.diag([0.245, 0.125])
    grid = Grid((-2.5, -2.2), (2.5, 2.2), (60, 64))
    found = stationary(Whirl(), grid)
    _, want = linear_moments(A, np.zeros(2), D, np.zeros(2), np.eye(2), 40.0)
    np.testing.assert_allclose(found.covariance, want, atol=4e-3)
    J = current(Whirl(), found)
    x = grid.centres
    v = x @ A.T + x @ np.linalg.inv(want) @ D
    np.testing.assert_allclose(J.reshape(-1, 2), v * found.p.ravel()[:, None], atol=3e-3)
    assert np.abs(J).max() > 0.05
    # What turns clockwise also does on the grid: the sign of the circulation.
    assert np.sign(np.sum(x[:, 0] * J.reshape(-1, 2)[:, 1] - x[:, 1] * J.reshape(-1, 2)[:, 0])) == -1


class Patchy(AbstractProcess):
    """No drift, and noise that depends on place: in Ito's sense it gathers where the noise is small."""

    def drift(self, t, x):
        return jnp.zeros_like(x)

    def diffusion(self, t, x):
        return 0.7 + 0.3 * jnp.sin(2 * jnp.pi * x)


def test_noise_that_depends_on_place_in_itos_sense(x64):
    grid = Grid((0.0,), (1.0,), (200,), (True,))
    found = stationary(Patchy(), grid)
    want = 1 / (0.7 + 0.3 * np.sin(2 * np.pi * grid.axis(0))) ** 2
    np.testing.assert_allclose(found.p, want / want.sum() / grid.volume, rtol=3e-3)
    # The twin: without div D it would be uniform, and that is far from this.
    assert found.p.max() / found.p.min() > 5


def test_entropy_rate_score_and_marginal_of_a_gaussian(x64):
    problem, grid = ou(), box(60)
    found = evolve(problem, grid, save_at=(0, 3))
    start, middle = found.saved
    assert (start.t, round(middle.t, 6)) == (0.0, 0.3)
    mean, covariance = exact(0.3)
    variance = np.diag(covariance)
    np.testing.assert_allclose(middle.entropy, 0.5 * np.log(np.prod(2 * np.pi * np.e * variance)), atol=2e-3)
    np.testing.assert_allclose(found.entropy[3], middle.entropy)
    rate = np.sum(SIGMA**2 / (2 * variance) - THETA)
    np.testing.assert_allclose(entropy_rate(problem.process, middle), rate, rtol=0.02)
    x = np.asarray([[0.5, -0.3], [0.9, 0.1]])
    np.testing.assert_allclose(middle.score(x), -(x - mean) / variance, rtol=0.02, atol=0.02)
    want = -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(1)
    np.testing.assert_allclose(middle.log_prob(x), want, atol=0.03)
    axis, p = middle.marginal(1)
    np.testing.assert_allclose(p.sum() * grid.widths[1], 1.0, rtol=1e-12)
    np.testing.assert_allclose(p @ axis * grid.widths[1], middle.mean[1], rtol=1e-12)
    assert np.isnan(middle.log_prob(np.asarray([[9.0, 0.0]]))).all()


def test_what_is_refused():
    with pytest.raises(InputError, match=r"cell Peclet number .* take \d+ cells"):
        evolve(FokkerPlanck(OU(1.0, 0.0, 0.05), Normal(jnp.asarray([1.0]), 0.5), jnp.asarray([0.0, 1.0])),
               Grid((-3.0,), (4.0,), (14,)))  # fmt: skip
    with pytest.raises(InputError, match="widen it"):
        evolve(ou(), Grid((0.0, -3.0), (1.0, 3.0), (20, 20)))
    with pytest.raises(InputError, match="points of shape"):
        evolve(ou(), Grid((-3.0,), (4.0,), (20,)))
    with pytest.raises(InputError, match="save_at"):
        evolve(ou(), box(20), save_at=(9,))
    cold = diffusing(lambda t, x: jnp.zeros_like(x), 0.0)
    with pytest.raises(InputError, match="not unique"):
        stationary(cold, Grid((0.0,), (1.0,), (10,)))
    bad = Density(lambda x: jnp.log(x[0]), (1,))
    with pytest.raises(InputError, match="initial log density"):
        evolve(FokkerPlanck(OU(), bad, jnp.asarray([0.0, 1.0])), Grid((-1.0,), (1.0,), (10,)))
