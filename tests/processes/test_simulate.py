"""The front door: every method under the promises of the one loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import Diffusion, InputError, run
from thalweg.processes import (
    BAOAB,
    ODE,
    OU,
    RK4,
    SRA1,
    Euler,
    EulerMaruyama,
    ExactTransition,
    HeunODE,
    InterpolantHeun,
    Midpoint,
    Milstein,
    Simulate,
    StochasticHeun,
    UnderdampedLangevin,
    simulate,
)

NOISY = [EulerMaruyama(), Milstein(), StochasticHeun(), SRA1(), InterpolantHeun(), ExactTransition()]
QUIET = [Euler(), Midpoint(), HeunODE(), RK4()]
TS = jnp.linspace(0, 1, 6)


def problem_for(method):
    if isinstance(method, BAOAB):
        return Simulate(UnderdampedLangevin(lambda x: jnp.sum(x**4)), jnp.arange(12.0).reshape(2, 2, 3) / 12, TS)
    process = ODE(lambda t, x: jnp.sin(t) - x) if method in QUIET else OU(theta=1.5, mu=0.3, sigma=0.7)
    return Simulate(process, jnp.arange(6.0).reshape(2, 3), TS)


@pytest.mark.parametrize("method", [*NOISY, *QUIET, BAOAB()], ids=lambda m: type(m).__name__)
def test_a_run_in_parts_is_the_same_run(method, key):
    problem = problem_for(method)
    whole = run(method, problem, steps=4, key=key)
    first = run(method, problem, steps=2, key=key)
    second = run(method, problem, steps=2, key=key, state=first.state)
    jax.tree.map(np.testing.assert_array_equal, whole.state.state, second.state.state)
    np.testing.assert_array_equal(whole.info.time, [*first.info.time, *second.info.time])
    assert whole.value.dtype == problem.x0.dtype


def test_a_parameter_is_not_a_constant_of_the_compiled_code(key):
    calls = []

    def drift(t, x):
        calls.append(1)
        return -x

    for count, scale in ((0, 1.0), (1, 2.0), (2, 3.0)):
        simulate(Diffusion(drift, sigma), scale * jnp.ones((7, 2)), TS * scale, key=jax.random.fold_in(key, count))
        traced = len(calls) if count == 0 else traced
    assert len(calls) == traced <= 2

    seen = []
    potential = lambda x: seen.append(1) or jnp.sum(x**2)  # noqa: E731
    for temperature in (0.5, 1.5, 2.5):
        process = UnderdampedLangevin(potential, temperature)
        simulate(process, jnp.ones((7, 2, 1)), TS, method=BAOAB(), key=key)
        first = len(seen) if temperature == 0.5 else first
    assert len(seen) == first


def sigma(t, x):
    return 0.5


def test_derivatives_pass_through_a_run(x64):
    theta, x0, mu, count = 1.3, 2.0, 0.4, 200

    def mean(theta):
        process = OU(theta=theta, mu=mu, sigma=0.0)
        return simulate(process, jnp.full((1, 1), x0), jnp.linspace(0, 1, count + 1), key=jax.random.key(0)).value[0, 0]

    slope = jax.grad(mean)(theta)
    # Of the Euler recursion exactly, and of the process to first order in the step.
    np.testing.assert_allclose(slope, -(x0 - mu) * (1 - theta / count) ** (count - 1), rtol=1e-10)
    np.testing.assert_allclose(slope, -(x0 - mu) * np.exp(-theta), rtol=1e-2)


def test_derivatives_are_finite_through_records_and_averages(key):
    def loss(theta):
        value = simulate(
            OU(theta=theta), jnp.ones((3, 2)), TS, key=key, save_at=(2, 5), observable=lambda t, x: jnp.sum(x)
        ).value
        return jnp.sum(value.mean) + jnp.sum(value.final.x)

    assert jnp.isfinite(jax.grad(loss)(1.3))


def test_many_keys_at_once(key):
    keys = jax.random.split(key, 3)
    go = lambda key: simulate(OU(), jnp.ones((4, 2)), TS, key=key, throw=False).value  # noqa: E731
    np.testing.assert_allclose(jax.vmap(go)(keys)[1], go(keys[1]), rtol=1e-5)


def test_defaults_are_euler_and_euler_maruyama(key):
    ode, x0 = ODE(lambda t, x: -x), jnp.ones((2, 2))
    np.testing.assert_array_equal(simulate(ode, x0, TS).value, simulate(ode, x0, TS, method=Euler()).value)
    em = simulate(OU(), x0, TS, method=EulerMaruyama(), key=key)
    np.testing.assert_array_equal(simulate(OU(), x0, TS, key=key).value, em.value)


def test_noise_wants_a_key():
    with pytest.raises(InputError, match=r"simulate got no key; expected key=jax.random.key\(seed\)"):
        simulate(OU(), jnp.ones((2, 2)), TS)


def test_shifting_time_and_permuting_particles_changes_nothing_else(key):
    x0 = jnp.arange(6.0).reshape(3, 2)
    process = ODE(lambda t, x: -x * jnp.arange(1.0, 3.0))
    base = simulate(process, x0, TS, method=RK4()).value
    np.testing.assert_allclose(simulate(process, x0, TS + 2, method=RK4()).value, base, rtol=1e-4)
    np.testing.assert_allclose(simulate(process, x0[::-1], TS, method=RK4()).value[::-1], base, rtol=1e-6)
