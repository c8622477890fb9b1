"""What is asked and what is left: parameters in a row, one least-squares problem by hand, and refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.pde.galerkin_cases import one_gaussian
from thalweg.core import InputError
from thalweg.pde import Evolution, Evolved, GaussianUnits, PeriodicUnits, Tikhonov, amplitudes
from thalweg.pde.galerkin_problem import System, view


def units():
    return GaussianUnits(jnp.asarray([0.8, -0.5]), jnp.asarray([[-0.5], [0.2]]), jnp.asarray([[0.3, -0.2], [1.1, 0.6]]))


def rate(t, x, u):
    return -2.0 * t * jax.grad(u)(x)[0]


def test_all_parameters_move_or_only_the_amplitudes():
    every, few = (Evolution(rate, units(), [0.0, 1.0], free) for free in (Evolution.free, amplitudes))
    theta, build = every.family()
    assert theta.shape == (8,)
    x = jnp.asarray([0.4, 0.1])
    np.testing.assert_allclose(build(theta)(x), units()(x))
    theta, build = few.family()
    np.testing.assert_array_equal(theta, units().amplitude)
    np.testing.assert_allclose(build(2 * theta)(x), 2 * units()(x), rtol=1e-6)
    # The box of a periodic ansatz stays.
    waves = Evolution(rate, PeriodicUnits(jnp.ones(2), jnp.ones(2), jnp.zeros((2, 2)), [2.0, 3.0]), [0.0, 1.0])
    assert waves.family()[0].shape == (8,)


def test_the_system_is_what_its_equations_say(x64):
    u = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), units())
    theta, build = Evolution(rate, u, [0.0, 1.0]).family()
    points = jnp.asarray(np.random.default_rng(0).normal(size=(20, 2)))
    system = System(rate, build, points, Tikhonov(1e-12))
    jacobian = jax.jacfwd(lambda row: jax.vmap(build(row))(points))(theta)
    np.testing.assert_allclose(system.jacobian(theta), jacobian, rtol=1e-10, atol=1e-14)
    found = system.direction(jnp.asarray(0.5), theta)
    # u_t = -u_x0: the centres move along the first axis, nothing else changes.
    expected = eqx.tree_at(
        lambda q: (q.amplitude, q.log_scale, q.centre),
        u,
        (jnp.zeros(2), jnp.zeros((2, 1)), jnp.asarray([[1.0, 0]] * 2)),
    )
    np.testing.assert_allclose(found.eta, jax.flatten_util.ravel_pytree(expected)[0], atol=1e-8)
    assert float(found.residual) < 1e-9
    np.testing.assert_allclose(found.size, jnp.linalg.norm(system.targets(0.5, theta)))
    np.testing.assert_allclose(system.slopes(theta, found.eta), found.moved, rtol=1e-8, atol=1e-12)
    rows = np.linalg.norm(jacobian, axis=1) ** 2
    np.testing.assert_allclose(found.seen, rows.sum() ** 2 / (rows**2).sum(), rtol=1e-10)
    residual = view(rate, build, jnp.asarray(0.5), theta, jnp.zeros_like(theta)).residual
    np.testing.assert_allclose(residual(points[0]), -rate(0.5, points[0], u), rtol=1e-12)


def test_nothing_is_seen_where_the_jacobian_vanishes():
    theta, build = Evolution(rate, units(), [0.0, 1.0]).family()
    found = System(rate, build, jnp.full((5, 2), 60.0), Tikhonov()).direction(0.5, theta)
    # Of nothing, up to the round-off of a trace.
    assert [float(found.seen), float(found.rank), float(found.residual)] == pytest.approx([0, 0, 0], abs=1e-5)


def test_what_was_kept_can_be_called():
    _, evolution = one_gaussian((0.0, 0.1, 0.3))
    theta, build = evolution.family()
    rows = jnp.stack([theta, theta + 0.1, theta * jnp.nan])
    kept = Evolved(evolution.times, eqx.filter_vmap(build)(rows))
    x = jnp.asarray([0.5, 2.0])
    np.testing.assert_allclose(kept.at(0)(x), evolution.u(x), rtol=1e-6)
    np.testing.assert_allclose(kept.at(1)(x), build(theta + 0.1)(x), rtol=1e-6)
    assert np.isnan(float(kept.last(x)))


def test_bad_input():
    with pytest.raises(InputError, match="rising"):
        Evolution(rate, units(), [0.0, 1.0, 1.0])
    with pytest.raises(InputError, match="two or more times"):
        Evolution(rate, units(), [0.0])
    with pytest.raises(InputError, match="no parameters"):
        Evolution(rate, lambda x: x[0], [0.0, 1.0]).family()
