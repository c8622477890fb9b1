"""Splitting against the committor of the very chain that it simulates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from tests.stats import assert_z
from thalweg.core import Diffusion, InputError, Status, StatusError, run, solve
from thalweg.processes import Grid
from thalweg.rare import Reach, SmallNoise, Splitting, Stirred, grid_process, noisy, probability
from thalweg.sampling import Replicates

A, B, START, DT, SIGMA = -0.9, 0.8, -0.7, 0.02, 0.3
RUNS = 40


def drift(x):
    return x - x**3


def problem(level=lambda x: x[0]):
    process = Diffusion(lambda t, x: drift(x), lambda t, x: SIGMA)
    return Reach(process, jnp.asarray([START]), level, lambda x: x[0] < A, lambda x: x[0] > B, DT)


def exact():
    """q(x) = P(B next) + int q(y) p(x, y) dy over the free stretch, by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    y, w = 0.5 * (B - A) * nodes + 0.5 * (A + B), 0.5 * (B - A) * weights
    width = SIGMA * np.sqrt(DT)
    kernel = lambda x: norm.pdf(y, (x + DT * drift(x))[:, None], width) * w  # noqa: E731
    arrive = lambda x: norm.sf(B, x + DT * drift(x), width)  # noqa: E731
    q = np.linalg.solve(np.eye(400) - kernel(y), arrive(y))
    x = np.asarray([START])
    return float((kernel(x) @ q + arrive(x))[0])


class Careless(Splitting):
    """The twin: one too few is taken for killed."""

    def log_share(self, share, killed):
        return jnp.log1p(-(killed - 1) / self.trajectories)


def many(method, reach, key, runs=RUNS):
    return solve(Replicates(method, runs), reach, max_steps=400, key=key).value


def test_it_is_unbiased_and_its_twin_is_not(key):
    truth = exact()
    assert truth < 5e-3
    got = probability(many(Splitting(40, 4, 1200), problem(), key))
    assert_z(got.mean, truth, got.stderr, max_stderr=0.1 * truth)
    wrong = probability(many(Careless(40, 4, 1200), problem(), key))
    assert abs(float(wrong.mean) - truth) > 4.5 * float(wrong.stderr)


def test_any_level_function_and_ties_leave_it_unbiased(key):
    """A staircase for a level: most trajectories tie, and all of a tie are killed together."""
    stairs = lambda x: jnp.floor(6 * x[0])  # noqa: E731
    got = probability(many(Splitting(60, 3, 1200), problem(stairs), key))
    assert_z(got.mean, exact(), got.stderr, max_stderr=0.25 * exact())


def test_two_dimensions_against_the_committor_of_a_grid(key):
    def swirl(x):
        return jnp.stack([x[0] - x[0] ** 3 - x[0] * x[1] ** 2, -2 * x[1] + 0.5 * (1 - x[0] ** 2)])

    system, eps, start = SmallNoise(swirl, jnp.asarray([1.0, 0.5])), 0.25, jnp.asarray([-0.6, 0.1])
    low, high = (lambda x: x[0] < -0.9), (lambda x: x[0] > 0.9)
    dt = 8e-3
    reach = Reach(noisy(system, eps, like=start), start, lambda x: x[0], low, high, dt)
    runs = many(Splitting(40, 4, 2000), reach, key, 16)
    got = probability(runs)
    grid = grid_process(system, Grid((-1.5, -1.4), (1.5, 1.4), (150, 70)), eps)
    # Steps of time let exits be missed, as if walls stood farther out by zeta(1/2) / sqrt(2 pi) standard deviations.
    out = 0.9 + 0.5826 * np.sqrt(eps * dt)
    truth = float(grid.grid.between(grid.committor(lambda x: x[0] < -out, lambda x: x[0] > out), start))
    assert_z(got.mean, truth, np.hypot(float(got.stderr), 0.05 * truth / 4.5), max_stderr=0.15 * truth)
    assert truth < 0.1
    # What arrived is a path from the start into B.
    one = jax.tree.map(lambda x: x[0], runs)
    last = one.paths[jnp.arange(40), one.ends]
    assert bool((last[one.arrived][:, 0] > 0.9).all())
    np.testing.assert_allclose(one.paths[:, 0], jnp.broadcast_to(start, (40, 2)))


def test_noise_that_mixes_coordinates(key):
    mobility = np.asarray([[1.0, 0.4], [0.4, 0.5]])
    system = Stirred(lambda x: 0.5 * jnp.sum(x**2), mobility, np.zeros((2, 2)))
    process = noisy(system, 0.3, like=jnp.zeros(2))
    root = process.diffusion(0.0, jnp.zeros(2))
    np.testing.assert_allclose(root @ root.T, 0.6 * mobility, rtol=1e-5)
    reach = Reach(process, jnp.zeros(2), lambda x: x[0], lambda x: x[0] < -0.5, lambda x: x[0] > 0.7, 0.05)
    got = run(Splitting(20, 2, 200), reach, steps=2, key=key)
    assert np.isfinite(got.value.paths).all()


def test_a_lost_cause_has_probability_zero(key):
    """Drift away from B that no noise overcomes: one level, and all trajectories tie on it."""
    process = Diffusion(lambda t, x: -5 + 0 * x, lambda t, x: 1e-3)
    reach = Reach(process, jnp.zeros(1), lambda x: jnp.floor(x[0]), lambda x: x[0] < -1, lambda x: x[0] > 1, 0.05)
    got = solve(Splitting(10, 2, 50), reach, max_steps=10, key=key)
    assert float(got.value.probability) == 0
    assert got.status == Status.converged


def test_trajectories_that_end_nowhere_are_told(key):
    with pytest.raises(StatusError, match="cut off"):
        solve(Splitting(20, 2, 3), problem(), max_steps=200, key=key)


def test_bad_input():
    process = problem().process
    with pytest.raises(InputError, match="kill=5"):
        Splitting(5, 5)
    with pytest.raises(InputError, match="longest=0"):
        Splitting(5, 1, 0)
    with pytest.raises(InputError, match="outside of both"):
        Reach(process, jnp.asarray([-2.0]), lambda x: x[0], lambda x: x[0] < A, lambda x: x[0] > B, DT)
    with pytest.raises(InputError, match="dt=0"):
        Reach(process, jnp.asarray([0.0]), lambda x: x[0], lambda x: x[0] < A, lambda x: x[0] > B, 0.0)
    with pytest.raises(InputError, match="eps=-1"):
        noisy(SmallNoise(drift, 1.0), -1.0, like=jnp.zeros(1))
