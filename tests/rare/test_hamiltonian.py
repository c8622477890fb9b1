"""Hamiltonians and their momenta: closed forms, and Newton's iteration against them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.rare import AbstractSystem, Gradient, Jumps, SmallNoise, Stirred
from thalweg.rare.hamiltonian import as_matrix, over, times

FULL = np.asarray([[1.5, 0.4], [0.4, 0.6]])
NOISES = {"number": 0.7, "diagonal": np.asarray([0.7, 1.9]), "matrix": FULL}


def drift(x):
    return jnp.stack([x[0] - x[0] ** 3 - x[1], -x[1] + 0.3 * x[0]])


class Spelled(AbstractSystem):
    """A diffusion that only says what its Hamiltonian is, so that everything is found by differentiation."""

    noise: jax.Array

    def hamiltonian(self, x, p):
        return drift(x) @ p + 0.5 * p @ (as_matrix(self.noise, x) @ p)


X, V = np.asarray([0.4, -0.9]), np.asarray([0.3, 1.1])


@pytest.mark.parametrize("name", NOISES)
def test_diffusions_agree_with_what_their_hamiltonian_says(name, x64):
    given, spelled = SmallNoise(drift, NOISES[name]), Spelled(jnp.asarray(NOISES[name]))
    x, v, zero = jnp.asarray(X), jnp.asarray(V), jnp.zeros(2)
    np.testing.assert_allclose(given.drift(x), spelled.drift(x), rtol=1e-12)
    np.testing.assert_allclose(as_matrix(given.covariance(x), x), spelled.covariance(x), rtol=1e-12)
    np.testing.assert_allclose(given.velocity(x, v), spelled.velocity(x, v), rtol=1e-12)
    np.testing.assert_allclose(given.curvature(x, v), spelled.curvature(x, v), rtol=1e-12)
    for own, found in zip(given.momentum(x, v, zero), spelled.momentum(x, v, zero + 0.3), strict=True):
        np.testing.assert_allclose(own, found, rtol=1e-9)
    np.testing.assert_allclose(given.conjugate(x, v, zero), spelled.conjugate(x, v, zero), rtol=1e-9)


@eqx.filter_jit
def solved(system, x, v):
    p, speed = system.momentum(x, v, jnp.zeros_like(x))
    return p, speed, system.hamiltonian(x, p), system.velocity(x, p), system.conjugate(x, v, jnp.zeros_like(x))


BIRTH = Jumps(
    lambda x: jnp.stack([2 + x[0], x[0] * x[1], 3 * x[1], 0.5 * x[0] ** 2]), [[1, 0], [-1, 1], [0, -2], [-1, 0]]
)


def test_momenta_of_jumps_have_no_energy_and_move_the_right_way(x64):
    for x, v in ((X + 1.5, V), (X + 1.5, -9 * V), (X + 1.1, np.asarray([-2.0, 0.1]))):
        system = eqx.tree_at(lambda s: s.changes, BIRTH, BIRTH.changes.astype(float))
        _, speed, energy, velocity, conjugate = solved(system, jnp.asarray(x), jnp.asarray(v))
        assert abs(float(energy)) < 1e-12
        np.testing.assert_allclose(velocity, speed * v, atol=1e-10)
        np.testing.assert_allclose(system.velocity(jnp.asarray(x), conjugate), v, atol=1e-10)


def test_a_birth_at_constant_rate_has_logarithms_for_momenta(x64):
    system = Jumps(lambda x: jnp.full(1, 2.5), np.asarray([[1.0]]))
    conjugate = system.conjugate(jnp.ones(1), jnp.asarray([7.0]), jnp.zeros(1))
    np.testing.assert_allclose(conjugate, np.log(7 / 2.5), rtol=1e-12)


def test_where_nothing_moves_nothing_is_needed():
    for system in (SmallNoise(drift, 1.0), BIRTH):
        p, speed = system.momentum(jnp.ones(2), jnp.zeros(2), jnp.zeros(2))
        assert float(jnp.abs(p).max()) == 0
        assert float(speed) == 0


def test_the_noise_acts_and_is_undone():
    for noise in NOISES.values():
        a, v = jnp.asarray(noise, jnp.float32), jnp.asarray(V, jnp.float32)
        np.testing.assert_allclose(over(a, times(a, v)), v, rtol=1e-5)


def test_a_stirred_potential_keeps_its_stationary_law(x64):
    """b = -(M + J) grad V leaves e^{-V/eps}: the probability flux has no divergence."""
    potential = lambda x: x[0] ** 4 / 4 + x[0] * x[1] + x[1] ** 2  # noqa: E731
    system = Stirred(potential, FULL, np.asarray([[0.0, 1.3], [-1.3, 0.0]]))
    eps = 0.7

    def flux(x):
        density = lambda y: jnp.exp(-potential(y) / eps)  # noqa: E731
        return system.drift(x) * density(x) - 0.5 * eps * system.covariance(x) @ jax.grad(density)(x)

    divergence = jnp.trace(jax.jacfwd(flux)(jnp.asarray(X)))
    assert abs(float(divergence)) < 1e-10


def test_a_gradient_is_its_potential():
    system = Gradient(lambda x: jnp.sum(x**4) + x[0] * x[1], 0.5)
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(system.drift(x), -4 * x**3 - x[::-1], rtol=1e-5)
    np.testing.assert_allclose(system.energies(x[None]), system.potential(x)[None])


def test_bad_input():
    with pytest.raises(InputError, match="noise=-1"):
        Gradient(lambda x: x[0], -1.0)
    with pytest.raises(InputError, match="without change"):
        Jumps(lambda x: x, np.asarray([[1.0], [0.0]]))
    with pytest.raises(InputError, match="antisymmetric"):
        Stirred(lambda x: x[0], np.eye(2), np.eye(2))
    with pytest.raises(InputError, match="positive definite"):
        Stirred(lambda x: x[0], -np.eye(2), np.zeros((2, 2)))
