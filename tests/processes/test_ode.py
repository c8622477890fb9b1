"""Deterministic methods: orders, both directions of time, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_slope
from thalweg.core import InputError
from thalweg.processes import ODE, OU, RK4, Euler, HeunODE, Midpoint, simulate

ORDERS = [(Euler(), 1), (Midpoint(), 2), (HeunODE(), 2), (RK4(), 4)]
X0 = np.array([[0.4, 1.5], [-1.2, 0.3]])


def swirl(t, x):
    """Rotation at a changing rate, with growth: neither autonomous, nor symmetric, nor commuting with itself."""
    return jnp.array([jnp.cos(t) * x[0] - 2 * t * x[1], 2 * t * x[0] + jnp.cos(t) * x[1]])


def solution(t):
    c, s, growth = np.cos(t**2), np.sin(t**2), np.exp(np.sin(t))
    return growth * X0 @ np.array([[c, s], [-s, c]])


@eqx.filter_jit
def walk(method, count, end):
    """`count` equal steps in a loop of unknown length, so that one compilation serves every step size."""
    h = end / count
    move = lambda k, x: method.advance(ODE(swirl), k * h, h, x, key=None)  # noqa: E731
    return jax.lax.fori_loop(0, count, move, jnp.asarray(X0))


@pytest.mark.parametrize(("method", "order"), ORDERS, ids=lambda p: type(p).__name__)
def test_order(x64, method, order):
    counts = jnp.array([40, 80, 160, 320])
    errors = [jnp.abs(walk(method, k, jnp.asarray(1.3)) - solution(1.3)).max() for k in counts]
    assert_slope(1 / counts, errors, order, 0.15)


def test_backward_time_undoes_forward_time(x64):
    there = simulate(ODE(swirl), X0, jnp.linspace(0, 1.3, 201), method=RK4()).value
    back = simulate(ODE(swirl), there, jnp.linspace(1.3, 0, 201), method=RK4()).value
    np.testing.assert_allclose(back, X0, atol=1e-7)


def test_an_uneven_grid_is_as_good(x64):
    ts = 1.3 * jnp.linspace(0, 1, 201) ** 2
    np.testing.assert_allclose(simulate(ODE(swirl), X0, ts, method=RK4()).value, solution(1.3), atol=1e-6)


def test_any_event_shape():
    x0 = jnp.arange(24.0).reshape(2, 3, 4)
    x = simulate(ODE(lambda t, x: -x), x0, jnp.linspace(0, 1, 101), method=RK4()).value
    np.testing.assert_allclose(x, x0 * np.exp(-1), rtol=1e-5)


def test_noise_is_not_dropped_silently():
    with pytest.raises(InputError, match=r"Euler got the process OU; expected an ODE.*ODE\(OU.drift\)"):
        simulate(OU(), X0, [0.0, 1.0], method=Euler(), key=jax.random.key(0))
