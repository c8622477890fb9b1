"""Langevin dynamics: coefficients, stationary laws, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.processes import OverdampedLangevin, StochasticHeun, UnderdampedLangevin, phase, simulate

STIFF = jnp.array([1.0, 3.0])


def bowl(x):
    return jnp.sum(STIFF * (x - 0.5) ** 2) / 2


def test_force_and_potential_give_the_same_process():
    x = jnp.array([0.3, -2.0])
    by_potential = OverdampedLangevin(bowl, 0.7)
    by_force = OverdampedLangevin(force_fn=lambda x: -STIFF * (x - 0.5), temperature=0.7)
    np.testing.assert_allclose(by_potential.drift(0.0, x), by_force.drift(0.0, x), rtol=1e-6)
    np.testing.assert_allclose(by_potential.diffusion(0.0, x), np.sqrt(1.4), rtol=1e-6)


def test_overdamped_dynamics_settles_in_the_boltzmann_law(key):
    x = simulate(
        OverdampedLangevin(bowl, 0.7), jnp.zeros((4000, 2)), jnp.linspace(0, 6, 241), key=key, method=StochasticHeun()
    ).value
    var = 0.7 / np.asarray(STIFF)
    assert_z(x.mean(0), 0.5, np.sqrt(var / 4000))
    assert_z(x.var(0), var, var * np.sqrt(2 / 4000))
    with pytest.raises(AssertionError):  # the twin: sqrt(T) for sqrt(2 T)
        assert_z(x.var(0), var / 2, var * np.sqrt(2 / 4000))


def test_underdamped_coefficients():
    mass = jnp.array([2.0, 0.5])
    process = UnderdampedLangevin(bowl, temperature=0.7, friction=1.3, mass=mass)
    point = jnp.array([[0.3, -2.0], [1.0, 4.0]])
    force = -STIFF * (point[0] - 0.5)
    np.testing.assert_allclose(process.drift(0.0, point), [point[1], force / mass - 1.3 * point[1]], rtol=1e-5)
    np.testing.assert_allclose(process.diffusion(0.0, point), [[0, 0], np.sqrt(2 * 1.3 * 0.7 / mass)], rtol=1e-6)


def test_underdamped_dynamics_runs_under_a_general_method(key):
    n = 3000
    process = UnderdampedLangevin(bowl, temperature=0.7, friction=1.3, mass=0.5)
    x0 = phase(jnp.full((n, 2), 0.5), jnp.zeros((n, 2)))
    z = simulate(process, x0, jnp.linspace(0, 8, 401), key=key, method=StochasticHeun()).value
    var = np.stack([0.7 / np.asarray(STIFF), np.full(2, 1.4)])
    assert_z(z.var(0), var, var * np.sqrt(2 / n))


def test_phase_puts_positions_first():
    x, v = jnp.ones((3, 2)), jnp.zeros((3, 2))
    assert jnp.array_equal(phase(x, v)[:, 0], x)
    assert jnp.array_equal(phase(x, v)[:, 1], v)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: OverdampedLangevin(bowl, -0.1), r"temperature=-0.1\): expected at least 0"),
        (lambda: OverdampedLangevin(), "got neither of potential and force_fn"),
        (lambda: UnderdampedLangevin(bowl, force_fn=jax.grad(bowl)), "got both of potential and force_fn"),
        (lambda: UnderdampedLangevin(bowl, friction=-1.0), r"friction=-1\): expected at least 0"),
        (lambda: UnderdampedLangevin(bowl, mass=0.0), r"mass=0\): expected more than 0"),
    ],
)
def test_bad_parameters_are_refused(build, text):
    with pytest.raises(InputError, match=text):
        build()
