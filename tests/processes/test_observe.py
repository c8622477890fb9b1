"""Records and averages along the way equal what one gets by stopping and looking."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, run
from thalweg.processes import OU, EulerMaruyama, Observed, Recorded, Simulate, simulate

TS = jnp.array([0.0, 0.1, 0.3, 0.35, 0.6, 1.0])
PROBLEM = Simulate(OU(theta=1.5, mu=0.7), jnp.arange(6.0).reshape(3, 2), TS)


def look(t, x):
    return jnp.stack([(1 + t) * x[0] ** 2, x[1]])


@pytest.fixture(scope="module")
def path():
    """Every cloud of one run, by stopping after each step."""
    key, clouds, state = jax.random.key(0), [PROBLEM.x0], None
    for _ in range(5):
        result = run(EulerMaruyama(), PROBLEM, steps=1, key=key, state=state)
        clouds.append(result.value)
        state = result.state
    return np.stack(clouds)


def test_recorded_keeps_the_clouds(key, path):
    value = run(Recorded(EulerMaruyama(), (0, 2, 5)), PROBLEM, steps=5, key=key).value
    np.testing.assert_array_equal(value.x, path[[0, 2, 5]])
    np.testing.assert_array_equal(value.times, TS[jnp.array([0, 2, 5])])
    np.testing.assert_array_equal(value.final, path[5])


def test_rows_of_the_future_are_nan(key, path):
    value = run(Recorded(EulerMaruyama(), (1, 4)), PROBLEM, steps=2, key=key).value
    np.testing.assert_array_equal(value.x[0], path[1])
    assert jnp.all(jnp.isnan(value.x[1]))


def test_observed_is_the_trapezoid(key, path):
    value = run(Observed(EulerMaruyama(), look), PROBLEM, steps=5, key=key).value
    seen = np.stack([(1 + np.asarray(TS))[:, None] * path[:, :, 0] ** 2, path[:, :, 1]], axis=-1)
    dt = np.diff(np.asarray(TS))[:, None, None]
    integral = np.sum(dt * (seen[1:] + seen[:-1]) / 2, axis=0)
    np.testing.assert_allclose(value.integral, integral, rtol=1e-5)
    np.testing.assert_allclose(value.mean, integral, rtol=1e-5)  # the grid is one long
    np.testing.assert_array_equal(value.final, path[5])


def test_before_the_first_step_the_mean_is_the_observable(key):
    value = run(Observed(EulerMaruyama(), look), PROBLEM, steps=0, key=key).value
    np.testing.assert_allclose(value.mean, jax.vmap(look, (None, 0))(TS[0], PROBLEM.x0))


def test_on_falling_times_the_integral_is_signed_and_the_mean_is_not(key):
    result = simulate(OU(), jnp.ones((3, 2)), TS[::-1], key=key, observable=lambda t, x: 2.0 + 0 * x[0])
    np.testing.assert_allclose(result.value.integral, -2.0, rtol=1e-6)
    np.testing.assert_allclose(result.value.mean, 2.0, rtol=1e-6)


def test_they_nest_and_resume_to_the_same_bits(key, path):
    method = Observed(Recorded(EulerMaruyama(), (1, 4)), look)
    whole = run(method, PROBLEM, steps=5, key=key)
    first = run(method, PROBLEM, steps=3, key=key)
    second = run(method, PROBLEM, steps=2, key=key, state=first.state)
    jax.tree.map(np.testing.assert_array_equal, whole.value, second.value)
    np.testing.assert_array_equal(whole.value.final.x, path[[1, 4]])


def test_memory_does_not_grow_with_the_steps(key):
    method = Observed(Recorded(EulerMaruyama(), (1, 2)), look)
    sizes = []
    for count in (11, 1001):
        problem = Simulate(OU(), jnp.ones((3, 2)), jnp.linspace(0, 1, count))
        state = jax.eval_shape(lambda p=problem: method.init(p, key=key))
        sizes.append(sum(x.size for x in jax.tree.leaves(state)))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("at", [(), (3, 2), (1, 1), (-1,), (0.5,)])
def test_bad_steps_are_refused(at):
    with pytest.raises(InputError, match="expected rising numbers of steps"):
        Recorded(EulerMaruyama(), at)


def test_steps_past_the_end_are_refused(key):
    with pytest.raises(InputError, match="expected at most 5"):
        run(Recorded(EulerMaruyama(), (2, 6)), PROBLEM, steps=5, key=key)
