"""Known solutions: each satisfies its own equation and keeps what the equation keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import Advection, KdV, Trap

DENSE = np.asarray([[0.3, 0.1, 0.0], [0.1, 0.2, -0.05], [0.0, -0.05, 0.4]])
CASES = {
    "kdv": (lambda: KdV((0.9, 1.7), (0.4, 3.0)), np.linspace(-8.0, 9.0, 7), 0.7),
    "advection": (lambda: Advection.bumps(3), np.asarray([[1.2, 1.0, 1.4], [1.1, 1.3, 0.9]]) + 0.6, 0.13),
    "trap": (lambda: Trap(jnp.asarray([0.4, 1.0, 2.2]), jnp.asarray(DENSE), 0.4, 7.0), DENSE + 1.2, 0.45),
}


def mismatch(problem, points, t, rate=None):
    """The largest difference of u_t and the right-hand side, relative to u_t."""
    rate = problem.rate if rate is None else rate
    slope = jax.vmap(jax.grad(problem.exact), (None, 0))(t, points)
    found = jax.vmap(lambda x: rate(t, x, lambda y: problem.exact(t, y)))(points)
    return float(jnp.max(jnp.abs(slope - found)) / jnp.max(jnp.abs(slope)))


@pytest.mark.parametrize("name", CASES)
def test_the_solution_satisfies_its_equation(name, x64):
    make, points, t = CASES[name]
    problem, points, t = make(), jnp.asarray(points), jnp.asarray(t)
    assert mismatch(problem, points, t) < 1e-10
    # The twin: the other sign.
    assert mismatch(problem, points, t, lambda t, x, u: -problem.rate(t, x, u)) > 1


def test_solitons_keep_mass_and_momentum_and_pass_through_each_other(x64):
    problem, x = KdV(), jnp.linspace(-40.0, 60.0, 4001)
    u = jnp.stack([jax.vmap(problem.exact, (None, 0))(t, x) for t in jnp.asarray([0.0, 1.0, 3.7])])
    # Each soliton has mass 2 k, and the integral of u^2 is 2 k^3 / 3.
    step, k = x[1] - x[0], np.asarray([1.0, np.sqrt(5.0)])
    np.testing.assert_allclose(u.sum(1) * step, 2 * k.sum(), rtol=1e-9)
    np.testing.assert_allclose((u**2).sum(1) * step, 2 / 3 * (k**3).sum(), rtol=1e-9)
    apart = jax.vmap(problem.exact, (None, 0))(jnp.asarray(8.0), x)
    assert float(apart.max()) == pytest.approx(2.5, rel=1e-3)


def test_the_bumps_move_by_the_integral_of_their_velocity(x64):
    problem, t = Advection.bumps(), jnp.asarray(0.37)
    np.testing.assert_allclose(jax.jacfwd(problem.displacement)(t), problem.velocity(t), rtol=1e-12)
    np.testing.assert_allclose(problem.displacement(jnp.asarray(0.0)), np.zeros(5), atol=1e-15)
    here = problem.start.mixture.means[0] + problem.displacement(t)
    np.testing.assert_allclose(problem.exact(t, here), problem.start(problem.start.mixture.means[0]), rtol=1e-12)
    np.testing.assert_allclose(problem.start.mixture.means[1], 0.75 * (1.5 + np.asarray([1, -2, 3, -4, 5]) / 6))


def test_moments_of_the_trap_obey_their_equations(x64):
    problem, t = CASES["trap"][0](), jnp.asarray(0.45)
    mean, cov = problem.moments(t)
    drift, diffusion = jax.jacfwd(problem.moments)(t)
    pull = mean - problem.centre(t) + 0.4 * (mean - mean.mean())
    np.testing.assert_allclose(drift, -pull, rtol=1e-10)
    a = 1.4 * np.eye(3) - 0.4 / 3
    np.testing.assert_allclose(diffusion, -a @ cov - cov @ a + 2 / 7 * np.eye(3), rtol=1e-9, atol=1e-12)
    start = problem.moments(jnp.asarray(0.0))
    np.testing.assert_allclose(start[0], problem.mean)
    np.testing.assert_allclose(start[1], DENSE, atol=1e-15)
    relabelled = Trap(problem.mean[::-1], problem.cov[::-1, ::-1], 0.4, 7.0).moments(t)
    np.testing.assert_allclose(relabelled[0], mean[::-1])
    np.testing.assert_allclose(relabelled[1], cov[::-1, ::-1])


def test_single_precision_is_followed():
    problem = KdV()
    assert problem.exact(jnp.float32(0.3), jnp.float32(1.0)).dtype == jnp.float32
    trap = Trap.particles(3)
    assert trap.exact(jnp.float32(0.3), jnp.ones(3)).dtype == jnp.float32


def test_bad_input():
    with pytest.raises(InputError, match="different wave numbers"):
        KdV((1.0, 1.0))
    with pytest.raises(InputError, match="k="):
        KdV((1.0, -1.0))
    with pytest.raises(InputError, match="beta"):
        Trap(jnp.zeros(2), jnp.eye(2), 0.1, 0.0)
    with pytest.raises(InputError, match="frequency"):
        Advection(jnp.sum, jnp.ones(2), jnp.asarray([1.0, -1.0]))
