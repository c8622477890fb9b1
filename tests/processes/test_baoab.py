"""BAOAB: exact positions in a harmonic well, a quartic well, Verlet without friction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_slope, assert_z
from thalweg.core import InputError, run
from thalweg.processes import (
    BAOAB,
    OU,
    EulerMaruyama,
    Observed,
    OverdampedLangevin,
    Simulate,
    UnderdampedLangevin,
    phase,
    simulate,
)

STIFF, MASS, T, N, H = np.array([1.0, 4.0]), np.array([1.2, 0.5]), 0.7, 6000, 0.5


def settled(key, method, temperature=T):
    process = UnderdampedLangevin(lambda x: jnp.sum(STIFF * x**2) / 2, temperature, friction=1.3, mass=MASS)
    x0 = phase(jnp.zeros((N, 2)), jnp.zeros((N, 2)))
    return simulate(process, x0, H * jnp.arange(61.0), method=method, key=key, throw=False).value


def assert_positions(z):
    var = T / STIFF
    assert_z(np.nan_to_num(z[:, 0].var(0), posinf=1e9), var, var * np.sqrt(2 / N))


def test_positions_in_a_harmonic_well_are_exact_and_velocities_as_stated(key):
    z = settled(key, BAOAB())
    assert_positions(z)
    # h^2 omega^2 / 4 = 0.5 for the fast coordinate: nothing of this is a small-step effect.
    var = T / MASS * (1 - H**2 * STIFF / MASS / 4)
    assert_z(z[:, 1].var(0), var, var * np.sqrt(2 / N))
    with pytest.raises(AssertionError):
        assert_z(z[:, 1].var(0), T / MASS, var * np.sqrt(2 / N))


def test_twins_fail(key):
    with pytest.raises(AssertionError):
        assert_positions(settled(key, BAOAB(), temperature=1.15 * T))  # a wrong factor on the noise
    with pytest.raises(AssertionError):
        assert_positions(settled(key, EulerMaruyama()))  # a method without the property


def test_a_quartic_well(key):
    grid = np.linspace(-6, 6, 4001)
    weight = np.exp(-(grid**4) / 4 / T)
    truth = np.sum(grid**2 * weight) / np.sum(weight)
    process = UnderdampedLangevin(lambda x: jnp.sum(x**4) / 4, T, friction=1.0)
    x0 = phase(jax.random.normal(key, (2000, 1)) * np.sqrt(truth), jnp.zeros((2000, 1)))
    start = simulate(process, x0, 0.2 * jnp.arange(41.0), method=BAOAB(), key=key).value
    later = simulate(
        process,
        start,
        0.2 * jnp.arange(201.0),
        method=BAOAB(),
        key=jax.random.key(1),
        observable=lambda t, z: z[0, 0] ** 2,
    ).value.mean
    assert_z(later.mean(), truth, later.std() / np.sqrt(2000), max_stderr=0.01 * truth)


def test_without_friction_it_is_verlet_of_second_order(x64):
    process = UnderdampedLangevin(lambda x: jnp.sum(1.7 * x**2) / 2, 0.0, friction=0.0)
    x0, omega = phase(jnp.array([[0.8]]), jnp.array([[-0.3]])), np.sqrt(1.7)
    truth = 0.8 * np.cos(omega) - 0.3 / omega * np.sin(omega)
    counts = [10, 20, 40]
    errors = [
        float(simulate(process, x0, jnp.linspace(0, 1, k + 1), method=BAOAB(), key=jax.random.key(0)).value[0, 0, 0])
        - truth
        for k in counts
    ]
    assert_slope([1 / k for k in counts], errors, 2, 0.1)


def test_one_force_a_step():
    calls = []
    process = UnderdampedLangevin(force_fn=lambda x: calls.append(1) or -x)
    problem = Simulate(process, jnp.ones((3, 2, 1)), jnp.linspace(0, 1, 11))
    run(Observed(BAOAB(), lambda t, x: x[0, 0]), problem, steps=10, key=jax.random.key(0))
    assert len(calls) <= 3  # once for the start, once for the step, once more where a scan is traced again


def test_misfits_are_refused(key):
    ts = jnp.linspace(0, 1, 3)
    process = UnderdampedLangevin(lambda x: jnp.sum(x**2))
    with pytest.raises(InputError, match="BAOAB got the process OU; expected UnderdampedLangevin"):
        simulate(OU(), jnp.ones((3, 2)), ts, method=BAOAB(), key=key)
    with pytest.raises(InputError, match=r"expected \(n, 2, \*event\): build it with phase"):
        simulate(process, jnp.ones((3, 1)), ts, method=BAOAB(), key=key)
    with pytest.raises(InputError, match="expected rising times"):
        simulate(process, jnp.ones((3, 2, 1)), ts[::-1], method=BAOAB(), key=key)
    with pytest.raises(InputError, match="OverdampedLangevin"):
        simulate(OverdampedLangevin(lambda x: jnp.sum(x**2)), jnp.ones((3, 2)), ts, method=BAOAB(), key=key)
