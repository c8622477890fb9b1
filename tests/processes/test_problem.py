"""The grid, its direction and its end; what a problem refuses; how a failure is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status, StatusError, run, solve
from thalweg.processes import ODE, OU, Euler, EulerMaruyama, Simulate, simulate

TS = jnp.array([0.0, 0.1, 0.5, 0.6])


def problem(ts=TS):
    return Simulate(OU(theta=2.0, mu=0.5), jnp.ones((4, 2)), ts)


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        ([0.0], "expected at least 2 times"),
        ([0.0, 0.5, 0.5], "not strictly monotone"),
        ([0.0, 0.5, 0.3], "not strictly monotone"),
        ([0.0, np.nan], "not strictly monotone"),
    ],
)
def test_bad_times_are_refused(ts, text):
    with pytest.raises(InputError, match=text):
        problem(jnp.array(ts))


def test_an_empty_cloud_is_refused():
    with pytest.raises(InputError, match=r"x0 has shape \(0, 2\); expected \(n, \*event\)"):
        Simulate(OU(), jnp.ones((0, 2)), TS)


def test_times_may_be_traced():
    x = jax.jit(lambda ts: run(EulerMaruyama(), problem(ts), steps=3, key=jax.random.key(0)).value)(TS)
    assert jnp.all(jnp.isfinite(x))


def test_lists_and_integers_are_taken():
    p = Simulate(OU(), [[1, 2]], [0, 1, 3])
    assert (p.x0.dtype, p.ts.dtype, p.steps, p.backward) == (jnp.float32, jnp.float32, 2, False)
    assert problem(TS[::-1]).backward


def test_info_tells_time_and_size(key):
    result = run(EulerMaruyama(), problem(), steps=3, key=key)
    np.testing.assert_allclose(result.info.time, TS[1:])
    np.testing.assert_allclose(result.info.mean_square[-1], jnp.mean(result.value**2), rtol=1e-6)


def test_past_the_end_nothing_moves_and_solve_stops_there(key):
    end = run(EulerMaruyama(), problem(), steps=3, key=key)
    past = run(EulerMaruyama(), problem(), steps=10, key=key)
    assert jnp.array_equal(end.value, past.value)
    solved = solve(EulerMaruyama(), problem(), max_steps=10, key=key)
    assert solved.status == Status.converged
    assert int(solved.num_steps) == 3
    np.testing.assert_array_equal(end.value, solved.value)


def test_a_blow_up_is_told_with_its_step():
    with pytest.raises(StatusError, match="at step 3: a non-finite number"):
        simulate(
            ODE(lambda t, x: jnp.where(t > 0.55, jnp.inf, x)), jnp.ones((2, 1)), jnp.linspace(0, 1, 6), method=Euler()
        )


def test_the_cloud_keeps_its_dtype(x64, key):
    for dtype in (jnp.float32, jnp.float64):
        process = OU(theta=jnp.array([1.0, 2.0]), mu=jnp.array([0.5, 0.1]))
        x = simulate(process, jnp.ones((4, 2), dtype), jnp.linspace(0, 1, 5), key=key).value
        assert x.dtype == dtype
