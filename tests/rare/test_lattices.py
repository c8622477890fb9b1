"""Fields on grids: their drifts, their Hamiltonians, their stiff parts, their measures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.rare import AllenCahn, Cell, GinzburgLandau, Schlogl, Sum

X = np.random.default_rng(0).uniform(0.3, 1.7, 7)
P = np.random.default_rng(1).normal(size=7) * 0.3


def laplacian(n, h):
    m = -2 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
    m[0, -1] += 1
    m[-1, 0] += 1
    return m / h**2


def test_ginzburg_and_landau_written_out(x64):
    system = GinzburgLandau(0.3, 0.05, 0.5, 2.0)
    drift = 0.05 * laplacian(7, 0.5) @ X + X - X**3 + 0.3 * np.mean(X**2)
    np.testing.assert_allclose(system.drift(jnp.asarray(X)), drift, rtol=1e-12)
    own = system.hamiltonian(jnp.asarray(X), jnp.asarray(P))
    np.testing.assert_allclose(own, drift @ P + P @ P, rtol=1e-12)
    # The derivative of H in the field, as the equations of motion have it.
    slope = jax.grad(system.hamiltonian)(jnp.asarray(X), jnp.asarray(P))
    by_hand = 0.05 * laplacian(7, 0.5) @ P + (1 - 3 * X**2) * P + 2 * 0.3 * X * P.mean()
    np.testing.assert_allclose(slope, by_hand, rtol=1e-12)
    # Both phases rest; the derivative of the drift is not symmetric, so that there is no potential.
    for phase in system.phases():
        assert float(jnp.abs(system.drift(jnp.full(5, phase))).max()) < 1e-12
    jacobian = jax.jacfwd(system.drift)(jnp.asarray(X))
    assert float(jnp.abs(jacobian - jacobian.T).max()) > 0.01


def test_two_sites_are_neighbours_twice(x64):
    """The ring of two: D lap x_1 = 2 D / h^2 (x_2 - x_1)."""
    x = jnp.asarray([0.2, 0.9])
    np.testing.assert_allclose(AllenCahn(0.0, 0.05, 0.5).spread(x), 0.4 * np.asarray([0.7, -0.7]), rtol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_allen_and_cahn_fall_down_their_potential(shape, x64):
    system = AllenCahn(0.1, 0.05, 0.3)
    x = jax.random.normal(jax.random.key(0), shape, jnp.float64)
    np.testing.assert_allclose(system.drift(x), -jax.grad(system.potential)(x), atol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (7,), (4, 5)])
def test_the_stiff_part_is_the_spreading(shape, x64):
    """Filtering with the rates themselves is minus D lap; with their inverse it is undone."""
    system = AllenCahn(0.0, 0.7, 0.3)
    x = jax.random.normal(jax.random.key(0), shape, jnp.float64)
    np.testing.assert_allclose(system.filtered(x, lambda r: -r), system.spread(x), atol=1e-10)
    once = system.filtered(x, lambda r: 1 / (1 + r))
    np.testing.assert_allclose(once - system.spread(once), x, atol=1e-10)


def test_schlogl_written_out(x64):
    system = Schlogl(diffusion=2.0)
    x, p = jnp.asarray(X), jnp.asarray(P)
    hops = sum(2.0 * X[i] * (np.exp(P[(i + s) % 7] - P[i]) - 1) for i in range(7) for s in (1, -1))
    births, deaths = 0.8 + 3.1 * X**2, 2.9 * X + X**3
    own = hops + np.sum(births * np.expm1(P) + deaths * np.expm1(-P))
    np.testing.assert_allclose(system.hamiltonian(x, p), own, rtol=1e-12)
    by_slope = jax.grad(system.hamiltonian, argnums=1)(x, jnp.zeros(7))
    np.testing.assert_allclose(system.drift(x), by_slope, atol=1e-12)
    for n in (2, 3, 7):
        own = system.curvature(x[:n], p[:n])
        np.testing.assert_allclose(own, jax.hessian(system.hamiltonian, argnums=1)(x[:n], p[:n]), atol=1e-10)
    np.testing.assert_allclose(system.phases(), [0.5, 1.0, 1.6], rtol=1e-9)


def test_what_a_site_counts():
    assert GinzburgLandau().weight == Sum().weight == 1
    assert AllenCahn(measure=Cell(0.25)).weight == 0.25
    with pytest.raises(InputError, match="volume=0"):
        Cell(0.0)


def test_bad_input():
    with pytest.raises(InputError, match="spacing=0"):
        GinzburgLandau(spacing=0.0)
    with pytest.raises(InputError, match="diffusion=-1"):
        AllenCahn(diffusion=-1.0)
    with pytest.raises(InputError, match="four numbers"):
        Schlogl((1.0, 2.0))
    with pytest.raises(InputError, match="stays empty"):
        Schlogl((0.0, 2.0, 1.0, 1.0))
    with pytest.raises(InputError, match="1 homogeneous states"):
        Schlogl((5.0, 2.9, 3.1, 1.0)).phases()
