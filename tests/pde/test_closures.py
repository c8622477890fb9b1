"""Closures against Bessel functions of SciPy, quadrature and limits; symmetry, traces, what a density can have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ive

from thalweg.core import InputError
from thalweg.nets import MLP
from thalweg.pde import Bingham, Learned, Quadratic, SymmetricQuadratic, bingham_density
from thalweg.pde.closures import HIGH, LOW, bingham_ratio
from thalweg.pde.suspension import tensor

ORDERS = [1e-5, 0.02, 0.2999, LOW + 1e-6, 0.45, 0.7, 0.93, HIGH - 1e-6, HIGH + 1e-6, 0.996, 0.99999]
STRAIN = np.asarray([[0.4, -0.9], [-0.9, -0.4]])


def oracle(r):
    """kappa and I_2/I_0, by bracketing."""
    kappa = brentq(lambda k: ive(1, k) / ive(0, k) - r, 1e-12, 1e6, xtol=1e-15, rtol=1e-14)
    return kappa, ive(2, kappa) / ive(0, kappa)


def random_learned(scale=4.0):
    """Far from trained, so that nothing holds by chance."""
    net = MLP((3,), out=(3,), width=8, depth=1, octaves=1, key=jax.random.key(3))
    return Learned(jax.tree.map(lambda x: scale * x, net), 0.3)


CLOSURES = {
    "bingham": Bingham(),
    "quadratic": Quadratic(),
    "symmetric": SymmetricQuadratic(),
    "learned": random_learned(),
}
each = pytest.mark.parametrize("closure", CLOSURES.values(), ids=CLOSURES.keys())


def moment(r, angle=0.7):
    return np.asarray(tensor(jnp.asarray(r * np.exp(1j * angle))))


@pytest.mark.parametrize("r", ORDERS)
def test_bingham_is_that_of_bessel_functions(x64, r):
    kappa, fourth = oracle(r)
    y = jnp.asarray(r**2)
    np.testing.assert_allclose(bingham_ratio(y), fourth / r**2 if r > 1e-3 else 0.5, rtol=1e-10)
    # d(I_2/I_0)/dr = (d/d kappa) / (dr/d kappa), with I_2/I_0 = 1 - 2 r / kappa.
    if 1e-3 < r < 0.997:
        slope = -2 / kappa + 2 * r / kappa**2 / (1 - r / kappa - r**2)
        got = jax.grad(lambda r: bingham_ratio(r**2) * r**2)(r)
        np.testing.assert_allclose(got, slope, rtol=1e-6)
        curve = (jax.grad(bingham_ratio)(y + 1e-5) - jax.grad(bingham_ratio)(y - 1e-5)) / 2e-5
        joint = min(abs(y - LOW**2), abs(y - HIGH**2)) < 1e-4
        if not joint:
            np.testing.assert_allclose(jax.grad(jax.grad(bingham_ratio))(y), curve, rtol=1e-4)


@pytest.mark.parametrize("r", [0.1, 0.31, 0.8, 0.97, 0.98, 0.99, 0.9999])
def test_bingham_in_single_precision(r):
    found = bingham_ratio(jnp.asarray(r**2, jnp.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle(r)[1] / r**2, rtol=3e-6)


def test_bingham_of_what_no_density_has_is_nan_and_of_rounding_is_not():
    found = bingham_ratio(jnp.asarray([1.0, 1.0 + 1e-6, 1.1]))
    np.testing.assert_allclose(found[:2], 1, atol=1e-5)
    assert np.isnan(found[2])


@pytest.mark.parametrize("r", [0.0, 0.2, 0.6, 0.95, 0.99])
def test_bingham_against_quadrature_of_its_density(x64, r):
    n, D = 512, moment(r)
    psi = np.asarray(bingham_density(D, n))
    t = 2 * np.pi * np.arange(n) / n
    p = np.stack([np.cos(t), np.sin(t)])
    w = psi * 2 * np.pi / n
    np.testing.assert_allclose(np.einsum("t,it,jt->ij", w, p, p), D, atol=1e-9)
    S = np.einsum("t,it,jt,kt,lt->ijkl", w, p, p, p, p)
    np.testing.assert_allclose(Bingham()(D, STRAIN), S, atol=1e-9)
    if r > 0.1:
        assert np.abs(np.asarray(SymmetricQuadratic()(D, STRAIN)) - S).max() > 1e-3 * (1 - r)


def test_the_quadratic_closures(x64):
    D = moment(0.6)
    np.testing.assert_allclose(Quadratic()(D, STRAIN), np.einsum("ij,kl->ijkl", D, D), atol=1e-15)
    S = np.einsum("ij,kl->ijkl", D, D)
    symmetric = (S + np.swapaxes(S, 1, 2) + np.swapaxes(S, 1, 3)) / 3
    apart = np.asarray(SymmetricQuadratic()(D, STRAIN)) - symmetric
    # What is added to put the traces right is a multiple of I and D alone: no fourth harmonic.
    t = np.asarray([1, 1j])
    assert abs(np.einsum("ijkl,i,j,k,l", apart, t, t, t, t)) < 1e-14
    assert abs(np.einsum("ijkl,i,j,k,l", symmetric, t, t, t, t)) > 0.1


@each
def test_traces_and_symmetries_are_exact(x64, closure):
    D = moment(0.55, 1.9)
    S = np.asarray(closure(D, STRAIN))
    np.testing.assert_allclose(np.einsum("iikl->kl", S), D, atol=1e-15)
    np.testing.assert_allclose(np.einsum("ijkk->ij", S), D, atol=1e-15)
    np.testing.assert_array_equal(S, np.swapaxes(S, 0, 1))
    apart = np.abs(S - np.swapaxes(S, 1, 2)).max()
    assert apart > 0.02 if isinstance(closure, Quadratic) else apart == 0


@each
@pytest.mark.parametrize("reflect", [False, True])
def test_it_turns_with_the_frame(x64, closure, reflect):
    R = np.asarray([[np.cos(0.8), -np.sin(0.8)], [np.sin(0.8), np.cos(0.8)]])
    R = R @ np.diag([1.0, -1.0]) if reflect else R
    D = moment(0.55, 1.9)
    there = closure(R @ D @ R.T, R @ STRAIN @ R.T)
    S = np.asarray(closure(D, STRAIN))
    np.testing.assert_allclose(there, np.einsum("ai,bj,ck,dl,ijkl->abcd", R, R, R, R, S), atol=1e-12)
    if isinstance(closure, Learned):
        # It does see the strain, and which way it points.
        assert np.abs(np.asarray(closure(D, -STRAIN)) - S).max() > 1e-3
        assert np.abs(np.asarray(closure(D, R @ STRAIN @ R.T)) - S).max() > 1e-3


@each
def test_the_tensor_acts_as_the_equations_have_it(x64, closure):
    D, T = moment(0.55, 1.9), np.asarray([[0.3, 0.7], [0.7, -0.3]])
    z, g, t = 0.55 * np.exp(1.9j), complex(*STRAIN[0]), complex(*T[0])
    a, b = closure.act(jnp.asarray(z), jnp.asarray(g))
    S_T = np.einsum("ijkl,kl->ij", np.asarray(closure(D, STRAIN)), T)
    whole = complex((S_T[0, 0] - S_T[1, 1]) / 2, S_T[0, 1])
    np.testing.assert_allclose(complex(a * t + b * np.conj(t)), whole, atol=1e-14)


def test_learned_never_leaves_what_a_density_can_have(x64):
    """|w - z^2| <= 1 - |z|^2, for parameters as wild as one likes."""
    keys = jax.random.split(jax.random.key(0), 3)
    z = jax.random.normal(keys[0], (2000,), complex)
    z = z / jnp.maximum(1.0, 1.001 * jnp.abs(z))
    g = 3 * jax.random.normal(keys[1], (2000,), complex)
    w = random_learned(60.0).fourth(z, g)
    share = np.abs(w - z**2) / (1 - np.abs(z) ** 2)
    assert share.max() <= 1 + 1e-12
    assert share.max() > 0.99


def test_learned_starts_quadratic_and_has_a_gradient_where_nothing_flows(x64):
    start = Learned.start(0.1, width=6, depth=1, key=jax.random.key(0))
    z = jnp.asarray([0.4 - 0.2j, 0.0])
    np.testing.assert_allclose(start.fourth(z, z), z**2, atol=1e-15)
    still = lambda r: jnp.sum(jnp.abs(random_learned().fourth(r + 0j * z, 0 * z) - 1) ** 2)  # noqa: E731
    assert np.isfinite(jax.grad(still)(jnp.asarray(0.0)))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="expected trace 1"):
        Bingham()(np.eye(2), STRAIN)
    with pytest.raises(InputError, match="eigenvalues"):
        Quadratic()(np.diag([1.1, -0.1]), STRAIN)
    with pytest.raises(InputError, match="rate=0"):
        Learned.start(0.0, key=jax.random.key(0))
