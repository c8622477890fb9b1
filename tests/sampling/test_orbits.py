"""Orbits against matrix exponentials, and the integrals along them against sums."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

from tests.stats import assert_slope
from thalweg.sampling.autonomous import Affine
from thalweg.sampling.orbits import FiniteTime, InfiniteTime, log_cells, log_windows, orbits

MATRIX = np.asarray([[0.5, 0.3], [-0.7, 0.2]])


def test_a_linear_flow_is_the_exponential_of_its_matrix_in_both_directions(x64):
    x0 = jnp.asarray([[1.0, -0.5], [0.3, 2.0], [-1.5, 0.1]])
    path = orbits(Affine(MATRIX, np.zeros(2)), x0, reach=1.5, steps=60, domain=None)
    for k in (0, 17, 60, 101, 120):
        t = float(path.t[k])
        np.testing.assert_allclose(t, 1.5 * (k - 60) / 60, atol=1e-12)
        np.testing.assert_allclose(path.x[:, k], np.asarray(x0) @ expm(t * MATRIX).T, atol=1e-7)
        # Negative times have the negative log: the volume at t = -1 is smaller where the flow expands.
        np.testing.assert_allclose(path.log_j[:, k], 0.7 * t, atol=1e-12)


def test_an_orbit_stops_at_the_boundary():
    x0 = jnp.asarray([[0.5, 0.0], [2.0, 0.0]])
    path = orbits(Affine(np.zeros((2, 2)), [1.0, 0.0]), x0, reach=1.0, steps=10, domain=lambda x: jnp.abs(x[0]) < 1.04)
    np.testing.assert_array_equal(path.inside[0], np.arange(21) <= 15)
    assert not path.inside[1].any()
    assert float(path.x[0, -1, 0]) < 1.2


def test_windows_are_the_integrals_over_them(x64):
    n = 12
    t = np.linspace(-1, 1, 2 * n + 1)
    log_f = jnp.asarray(-4 * (t - 0.4) ** 2 + np.sin(3 * t))
    windows = np.asarray(jax.jit(log_windows)(log_f))
    cells = jax.jit(lambda part: jax.nn.logsumexp(log_cells(part)))
    each = [cells(log_f[r : r + n + 1]) for r in range(n + 1)]
    # The slopes at the ends come from both sides here and from one side there.
    np.testing.assert_allclose(windows, each, atol=2e-3)
    fine = np.linspace(-1, 1, 2000 * n + 1)
    dense = np.exp(-4 * (fine - 0.4) ** 2 + np.sin(3 * fine))
    exact = [np.log(np.trapezoid(dense[1000 * r : 1000 * (r + n) + 1], dx=1e-3)) for r in range(n + 1)]
    np.testing.assert_allclose(windows, exact, atol=5e-4)


def test_windows_far_below_the_peak_keep_their_digits():
    n = 10
    log_f = jnp.where(jnp.arange(2 * n + 1) > 15, 0.0, -60.0)
    found = jax.jit(log_windows)(log_f)
    np.testing.assert_allclose(found[0], -60 + np.log(n), atol=1e-4)
    assert float(found[-1]) > 0


def test_integrals_are_of_order_four(x64):
    def error(n):
        t = jnp.linspace(0.0, 1.0, n + 1)
        found = jax.jit(lambda t: jnp.exp(jax.nn.logsumexp(log_cells(jnp.log(1 + t**3)))) / n)(t)
        return float(found) - 1.25

    counts = np.asarray([16, 32, 64])
    assert_slope(1 / counts, np.asarray([error(n) for n in counts]), 4, 0.3)


def test_horizons():
    assert FiniteTime(-0.25, 8).nodes == slice(6, 15)
    assert FiniteTime(0.0, 8).nodes == slice(8, 17)
    assert FiniteTime(-1.0, 8).nodes == slice(0, 9)
    assert FiniteTime(-0.25, 8).finer() == FiniteTime(-0.25, 16)
    assert InfiniteTime(2.0, 8).finer() == InfiniteTime(2.0, 16)
    flat = jnp.zeros(81)
    np.testing.assert_allclose(InfiniteTime(2.0, 40).cut_off(flat, flat), 2 / 81, rtol=1e-5)
    # Without a flow, both are the ratio of the densities.
    for horizon in (FiniteTime(-0.25, 40), InfiniteTime(2.0, 40)):
        log_w = jax.jit(horizon.log_weights)(flat, jnp.full(81, 0.7)[horizon.nodes])
        np.testing.assert_allclose(jax.nn.logsumexp(log_w), 0.7, atol=1e-5)
