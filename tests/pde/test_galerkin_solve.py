"""Regularised least squares: against dense linear algebra, with no, few and all directions, in both precisions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.pde import Tikhonov, Truncated

RNG = np.random.default_rng(0)
# Singular values over seven decades, in no special basis, and a right-hand side that is not in the range.
LEFT, RIGHT = np.linalg.qr(RNG.normal(size=(40, 8)))[0], np.linalg.qr(RNG.normal(size=(8, 8)))[0]
VALUES = 10.0 ** -np.arange(8)
J = (LEFT * VALUES) @ RIGHT.T
F = RNG.normal(size=40)
SOLVERS = {"tikhonov": Tikhonov(1e-8), "truncated": Truncated(1e-4)}


@eqx.filter_jit
def solved(solver, j, f):
    return solver(j, f)


def ridge(j, f, relative):
    """The same by an augmented matrix, whose condition number is not squared."""
    shift = relative * np.sum(j**2) / j.shape[1]
    a = np.concatenate([j, np.sqrt(shift) * np.eye(j.shape[1])])
    return np.linalg.lstsq(a, np.concatenate([f, np.zeros(j.shape[1])]))[0], shift


def test_tikhonov_is_ridge_regression(x64):
    found = solved(Tikhonov(1e-8), jnp.asarray(J), jnp.asarray(F))
    truth, shift = ridge(J, F, 1e-8)
    np.testing.assert_allclose(found.eta, truth, rtol=1e-7)
    np.testing.assert_allclose(found.rank, np.sum(VALUES**2 / (VALUES**2 + shift)), rtol=1e-6)
    exact = np.sqrt((VALUES[0] ** 2 + shift) / (VALUES[-1] ** 2 + shift))
    assert 0.5 * exact < float(found.condition) < 1.001 * exact


def test_the_refinement_gives_back_digits(x64):
    """The twin: normal equations as they are."""
    shift = ridge(J, F, 1e-11)[1]
    plain = np.linalg.solve(J.T @ J + shift * np.eye(8), J.T @ F)
    truth = ridge(J, F, 1e-11)[0]
    found = solved(Tikhonov(1e-11), jnp.asarray(J), jnp.asarray(F)).eta
    lost, left = np.linalg.norm(plain - truth), np.linalg.norm(found - truth)
    assert left < 1e-2 * lost


def test_truncated_is_numpys(x64):
    found = solved(Truncated(1e-4), jnp.asarray(J), jnp.asarray(F))
    np.testing.assert_allclose(found.eta, np.linalg.lstsq(J, F, rcond=1e-4)[0], rtol=1e-9)
    # The singular value at the cut itself is dropped or not by rounding.
    assert float(found.rank) in (4, 5)
    np.testing.assert_allclose(found.condition, 10.0 ** (float(found.rank) - 1), rtol=1e-6)


@pytest.mark.parametrize("name", SOLVERS)
def test_units_of_the_jacobian_and_of_the_target(name, x64):
    solver, j, f = SOLVERS[name], jnp.asarray(J[:, [0, 2, 1, 3]]), jnp.asarray(F)
    eta = np.asarray(solved(solver, j, f).eta)
    for scale in (1e-30, 1e3, 1e30):
        np.testing.assert_allclose(np.asarray(solved(solver, scale * j, f).eta) * scale, eta, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(solved(solver, j, scale * f).eta) / scale, eta, rtol=1e-6)
    order = np.asarray([2, 0, 3, 1])
    np.testing.assert_allclose(solved(solver, j[:, order], f).eta, eta[order], rtol=1e-5)
    rows = RNG.permutation(40)
    np.testing.assert_allclose(solved(solver, j[rows], f[rows]).eta, eta, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SOLVERS)
def test_nothing_to_see_and_the_same_seen_twice(name, dtype, x64):
    solver, f = SOLVERS[name], jnp.asarray(F, dtype)
    none = solved(solver, jnp.zeros((40, 5), dtype), f)
    assert float(none.rank) == pytest.approx(0, abs=1e-5)
    np.testing.assert_array_equal(none.eta, 0.0)
    assert np.isfinite(float(none.condition))
    column = jnp.asarray(LEFT[:, :2], dtype)
    twice = solved(solver, jnp.concatenate([column, column[:, :1], jnp.zeros((40, 1), dtype)], 1), f)
    assert float(twice.rank) == pytest.approx(2, abs=1e-2)
    np.testing.assert_allclose(twice.eta[0], twice.eta[2], rtol=1e-3)
    np.testing.assert_allclose(twice.eta[0] + twice.eta[2], LEFT[:, 0] @ F, rtol=1e-3)
    assert float(twice.eta[3]) == 0
    assert twice.eta.dtype == dtype


def test_single_precision_raises_the_shift_to_what_it_carries():
    j, f = jnp.asarray(J, jnp.float32), jnp.asarray(F, jnp.float32)
    found = solved(Tikhonov(1e-8), j, f)
    floor = 10 * 8 * float(jnp.finfo(jnp.float32).eps)
    np.testing.assert_allclose(found.eta, ridge(J, F, floor)[0], rtol=2e-2, atol=1.0)
    assert float(found.rank) < 4
    assert np.isfinite(np.asarray(found.eta)).all()


@pytest.mark.parametrize("name", SOLVERS)
def test_more_parameters_than_points(name, x64):
    found = solved(SOLVERS[name], jnp.asarray(J[:3]), jnp.asarray(F[:3]))
    assert float(found.rank) <= 3 + 1e-6
    assert np.isfinite(np.asarray(found.eta)).all()


def test_derivatives_pass(x64):
    def first(scale):
        return Tikhonov(1e-6)(jnp.asarray(J) * scale + 0.1, jnp.asarray(F)).eta[0]

    slope, compiled = jax.jit(jax.grad(first))(1.0), jax.jit(first)
    np.testing.assert_allclose(slope, (compiled(1 + 1e-6) - compiled(1 - 1e-6)) / 2e-6, rtol=1e-4)


def test_bad_input():
    with pytest.raises(InputError, match="relative"):
        Tikhonov(0.0)
    with pytest.raises(InputError, match="rcond"):
        Truncated(-1e-4)
