"""The flow that rods drive against fields known in closed form, steps of order 4, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_slope
from thalweg.core import InputError, StatusError
from thalweg.pde import Bingham, PeriodicBox, Suspension, kinetic_in_gradient, moments_in_box, moments_in_gradient
from thalweg.pde.suspension import deviator, march, stokes, tail, tensor

SIDES = np.asarray([5.0, 3.5])


def wave(box, kx, ky, phase=0.0):
    x = np.asarray(box.points)
    return np.cos(2 * np.pi * (kx * x[..., 0] / SIDES[0] + ky * x[..., 1] / SIDES[1]) + phase)


def derivative(box, field, axis):
    k = np.asarray(box.wavenumbers[axis])
    return np.fft.ifft2(1j * k * np.fft.fft2(field)).real


def stress(box):
    """A second moment of several waves, |z| < 1."""
    real = 0.3 * wave(box, 1, 2, 0.4) + 0.2 * wave(box, 2, -1)
    return real + 1j * (0.25 * wave(box, 1, 0, 1.0) + 0.1 * wave(box, 0, 1, 0.2))


def residual(box, medium, z, flow, w):
    """Of the curl of -Lap u + grad q = div Sigma, with Sigma as matrices; and the size of its right-hand side."""
    D = np.asarray(tensor(jnp.asarray(z)))
    theta = 2 * np.pi * np.arange(16) / 16
    p = np.stack([np.cos(theta), np.sin(theta)])
    # Any density with the moments z and w serves for S, even a negative one.
    psi = 1 + 2 * np.real(z[..., None] * np.exp(-2j * theta) + w[..., None] * np.exp(-4j * theta))
    S = np.einsum("xyt,it,jt,kt,lt->xyijkl", psi / 16, p, p, p, p)
    u = np.asarray(flow.u)
    grad = np.stack([[derivative(box, v, j) for j in (0, 1)] for v in (u.real, u.imag)])
    E = np.moveaxis(grad + np.swapaxes(grad, 0, 1), (0, 1), (2, 3)) / 2
    S_E, S_D = np.einsum("xyijkl,xykl->xyij", S, E), np.einsum("xyijkl,xykl->xyij", S, D)
    alpha, beta, zeta = float(medium.alpha), float(medium.beta), float(medium.zeta)
    sigma = alpha * D + beta * S_E + 2 * zeta * beta * (S_D - D @ D)
    kept = np.asarray(box.kept)
    cut = lambda f: np.fft.ifft2(np.where(kept, np.fft.fft2(f), 0)).real  # noqa: E731
    force = [sum(derivative(box, cut(sigma[..., i, j]), j) for j in (0, 1)) for i in (0, 1)]
    curl = derivative(box, force[1], 0) - derivative(box, force[0], 1)
    turn = derivative(box, u.imag, 0) - derivative(box, u.real, 1)
    lap = sum(derivative(box, derivative(box, turn, j), j) for j in (0, 1))
    np.testing.assert_allclose(turn, np.asarray(flow.vorticity), atol=1e-12)
    np.testing.assert_allclose(E[..., 0, 0] + 1j * E[..., 0, 1], np.asarray(flow.e), atol=1e-12)
    np.testing.assert_allclose(derivative(box, u.real, 0) + derivative(box, u.imag, 1), 0, atol=1e-12)
    return np.abs(lap + curl).max(), np.abs(curl).max()


@pytest.mark.parametrize("n", [(24, 24), (21, 26)])
def test_the_flow_solves_the_equation_of_its_stress(x64, n):
    """The page's stress as matrices and by derivatives of fields; a wrong sign of the beta term would show."""
    for beta, sweeps in ((0.0, 0), (1.3, 14)):
        box = PeriodicBox(n, SIDES, sweeps)
        medium = Suspension(0.1, 0.6, -1.4, 0.05, beta)
        z = stress(box)
        w = 0.2 * z**2 + 0.1j * z
        act = lambda g, w=w: (0.25, w / 4)  # noqa: E731
        off, size = residual(box, medium, z, stokes(box, medium, jnp.asarray(z), act), w)
        assert size > 1
        assert off < 1e-10 * size
        if beta:
            wrong = Suspension(0.1, -0.6, -1.4, 0.05, beta)
            off, _ = residual(box, medium, z, stokes(box, wrong, jnp.asarray(z), act), w)
            assert off > 1e-2 * size


def test_the_step_is_of_order_four_and_exact_for_what_is_linear(x64):
    decay = jnp.asarray([0.3 - 0.8j, 2.0 + 0j])
    rate = lambda y: jnp.stack([y[1] ** 2, 0.5 * y[0]])  # noqa: E731
    start = jnp.asarray([1.0 + 0.2j, 0.4 - 0.1j])
    ends = lambda k: march(rate, decay, start, jnp.asarray([0.0, 0.7, 2.0]), k, lambda y: y)  # noqa: E731
    truth, _ = ends(400)
    steps = np.asarray([5, 8, 12, 18])
    errors = [float(jnp.abs(ends(int(k))[0] - truth).max()) for k in steps]
    assert_slope(1 / steps, errors, 4.0, 0.2)
    last, rows = march(jnp.zeros_like, decay, start, jnp.asarray([0.0, 0.7, 2.0]), 3, lambda y: y[0])
    np.testing.assert_allclose(last, start * np.exp(-2.0 * np.asarray(decay)), rtol=1e-13)
    np.testing.assert_allclose(
        rows, np.asarray(start[0]) * np.exp(-np.asarray(decay[0]) * np.asarray([0, 0.7, 2.0])), rtol=1e-13
    )


def test_tensors_and_complex_numbers(x64):
    theta = np.asarray([0.3, 1.1, 2.0])
    weight = np.asarray([0.5, 0.2, 0.3])
    p = np.stack([np.cos(theta), np.sin(theta)])
    D = np.einsum("t,it,jt->ij", weight, p, p)
    z = np.sum(weight * np.exp(2j * theta))
    np.testing.assert_allclose(tensor(jnp.asarray(z)), D, atol=1e-15)
    np.testing.assert_allclose(2 * np.asarray(deviator(jnp.asarray(D))), z, atol=1e-15)


def test_the_tail_is_the_edge_of_what_is_kept(x64):
    box = PeriodicBox((12, 16), SIDES)
    assert np.asarray(box.kept).sum() == 7 * 11
    inner = box.transform(jnp.asarray(wave(box, 2, 4)))
    assert float(tail(box, inner)) < 1e-12
    edge = box.transform(jnp.asarray(wave(box, 1, 1) + 0.3 * wave(box, 1, 5)))
    np.testing.assert_allclose(float(tail(box, edge)), 0.3, rtol=1e-9)
    assert np.abs(np.asarray(box.transform(jnp.asarray(wave(box, 1, 6))))).max() < 1e-12


GOOD = np.asarray([[0.6, 0.1], [0.1, 0.4]])
SHEAR = np.asarray([[0.0, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("D", "gradient", "times", "told"),
    [
        (GOOD + 0.1 * np.eye(2), SHEAR, (0.0, 1.0), "expected trace 1"),
        (np.asarray([[1.2, 0.0], [0.0, -0.2]]), SHEAR, (0.0, 1.0), r"eigenvalues from -0.2 to 1.2"),
        (np.asarray([[0.6, 0.3], [0.1, 0.4]]), SHEAR, (0.0, 1.0), "symmetric"),
        (np.full((2, 2), np.nan), SHEAR, (0.0, 1.0), "finite"),
        (GOOD[:1], SHEAR, (0.0, 1.0), r"expected \(2, 2\)"),
        (GOOD, SHEAR + 0.1 * np.eye(2), (0.0, 1.0), r"trace 0.2\): expected 0, an incompressible flow"),
        (GOOD, SHEAR[0], (0.0, 1.0), r"expected \(2, 2\), d u_i"),
        (GOOD, SHEAR, (1.0, 1.0), "rising"),
        (GOOD, SHEAR, (1.0,), "two or more"),
    ],
)
def test_bad_input_is_refused_in_one_line(D, gradient, times, told):
    with pytest.raises(InputError, match=told) as caught:
        moments_in_gradient(Bingham(), Suspension(0.1), gradient, D, np.asarray(times))
    assert "\n" not in str(caught.value)


def test_bad_parameters_are_refused():
    for name in ("d_R", "d_T", "beta"):
        with pytest.raises(InputError, match=f"{name}=-1"):
            Suspension(**{name: -1.0})
    with pytest.raises(InputError, match="zeta"):
        Suspension(0.1, np.nan)
    with pytest.raises(InputError, match="substeps=0"):
        moments_in_gradient(Bingham(), Suspension(0.1), SHEAR, GOOD, np.asarray([0.0, 1.0]), substeps=0)
    with pytest.raises(InputError, match="at least 4"):
        PeriodicBox((3, 8), SIDES)
    with pytest.raises(InputError, match="length"):
        PeriodicBox((8, 8), -SIDES)
    with pytest.raises(InputError, match="sweeps=-1"):
        PeriodicBox((8, 8), SIDES, -1)
    D = np.tile(GOOD, (8, 8, 1, 1))
    with pytest.raises(InputError, match="beta = 1 takes 7 sweeps"):
        moments_in_box(Bingham(), Suspension(0.1, beta=1.0), PeriodicBox((8, 8), SIDES, 6), D, np.asarray([0.0, 1.0]))


def test_a_step_that_is_too_long_says_so():
    psi = np.full(256, 1 / (2 * np.pi))
    with pytest.raises(StatusError, match="take more substeps"):
        kinetic_in_gradient(Suspension(1e-4, 0.5), 40 * SHEAR, psi, np.linspace(0.0, 5.0, 6), substeps=4)


def test_the_growth_rate_differentiates():
    slope = jax.grad(lambda alpha: Suspension(0.1, 0.3, alpha).growth(0.7))(-1.0)
    np.testing.assert_allclose(slope, -0.25, rtol=1e-6)
