"""A field on a lattice, a cluster of atoms: exact Z, symmetries, the published minimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from thalweg.core import InputError
from thalweg.problems import LennardJones, PhiFour


def test_the_ring_of_two_sites_is_a_double_integral():
    field = PhiFour((2,), -1.0, 0.5, 0.2)
    axis = np.linspace(-5, 5, 801)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    values = np.asarray(jax.vmap(field.log_prob)(grid), float)
    exact = np.log(np.sum(np.exp(values)) * (axis[1] - axis[0]) ** 2)
    np.testing.assert_allclose(field.log_z, exact, atol=1e-4)


def test_a_small_coupling_tends_to_the_free_field():
    free = float(PhiFour((7,), 1.3, 0.0, 0.4).log_z)
    near = float(PhiFour((7,), 1.3, 1e-4, 0.4).log_z)
    assert abs(free - near) < 3e-3
    # Two dimensions: no transfer matrix, but the free field is a Gaussian.
    assert PhiFour((3, 4), 1.3, 0.1).log_z is None
    square = PhiFour((3, 4), 1.3, 0.0, 0.0)
    hessian = -np.asarray(jax.hessian(square.log_prob)(jnp.zeros((3, 4)))).reshape(12, 12).astype(float)
    exact = 0.5 * (12 * np.log(2 * np.pi) - np.linalg.slogdet(hessian)[1])
    np.testing.assert_allclose(square.log_z, exact, rtol=1e-5)


def test_the_lattice_can_be_shifted_but_not_scrambled(key):
    field = PhiFour((4, 5))
    x = jax.random.normal(key, (4, 5))
    np.testing.assert_allclose(field.log_prob(jnp.roll(x, (1, 2), (0, 1))), field.log_prob(x), rtol=1e-5)
    assert abs(float(field.log_prob(x[::-1, jnp.asarray([0, 2, 1, 3, 4])]) - field.log_prob(x))) > 1e-2


def test_thirteen_atoms_find_the_published_minimum(x64):
    """The icosahedron of energy -44.326801 (Wales and Doye 1997), from a perturbed one."""
    golden = (1 + 5**0.5) / 2
    shell = [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    shell += [(a, b * golden, 0) for a in (-1, 1) for b in (-1, 1)] + [
        (b * golden, 0, a) for a in (-1, 1) for b in (-1, 1)
    ]
    rng = np.random.default_rng(0)
    start = np.concatenate([np.zeros((1, 3)), np.asarray(shell) * 0.57]) + 0.02 * rng.standard_normal((13, 3))
    cluster = LennardJones(13)
    energy = jax.jit(jax.value_and_grad(lambda v: cluster.pair_energy(v.reshape(13, 3))))
    found = scipy.optimize.minimize(lambda v: [np.asarray(e, float) for e in energy(v)], start.ravel(), jac=True)
    assert found.fun == pytest.approx(-44.326801, abs=1e-5)


def test_two_atoms_integrate_to_their_z():
    """In one dimension the integral over both positions can be done on a grid."""
    pair = LennardJones(2, 1, temperature=0.8, spring=0.5)
    axis = np.linspace(-9, 9, 1501)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2, 1), jnp.float32)
    values = np.nan_to_num(np.asarray(jax.vmap(pair.log_prob)(grid), float), nan=-np.inf)
    exact = np.log(np.sum(np.exp(values)) * (axis[1] - axis[0]) ** 2)
    np.testing.assert_allclose(pair.log_z, exact, atol=2e-3)
    assert LennardJones(3).log_z is None


def test_rotations_and_exchanges_change_nothing(key):
    cluster = LennardJones(4)
    x = 1.2 * jax.random.normal(key, (4, 3))
    turn = jnp.linalg.qr(jax.random.normal(jax.random.fold_in(key, 1), (3, 3)))[0]
    np.testing.assert_allclose(cluster.log_prob((x @ turn)[::-1]), cluster.log_prob(x), rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PhiFour((1,)), "at least 2 sites"),
        (lambda: PhiFour((4,), -1.0, 0.0), "no lower bound"),
        (lambda: LennardJones(1), "atoms >= 2"),
        (lambda: LennardJones(spring=0.0), "more than 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
