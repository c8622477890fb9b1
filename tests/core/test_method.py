"""The one loop: fixed steps, stopping, host loops, resuming, and how failures are told."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import (
    AbstractInfo,
    AbstractMethod,
    InputError,
    Status,
    StatusError,
    describe,
    run,
    run_host,
    solve,
    start,
    succeeded,
)


class RootInfo(AbstractInfo):
    change: Any
    status: Any


class Heron(AbstractMethod):
    """Square roots by Heron's rule: converges, and NaN in gives NaN out."""

    tolerance: float = 1e-6

    def init(self, problem, *, key):
        return problem + 0.3

    def step(self, problem, state, *, key):
        new = 0.5 * (state + problem / state)
        change = jnp.abs(new - state)
        return new, RootInfo(
            change=change, status=Status.where(change < self.tolerance, Status.converged, Status.running)
        )

    def value(self, problem, state):
        return state


class Walk(AbstractMethod):
    """A random walk, whose every step uses its key."""

    def init(self, problem, *, key):
        return problem + jax.random.normal(key, problem.shape)

    def step(self, problem, state, *, key):
        new = state + jax.random.normal(key, state.shape)
        return new, RootInfo(change=jnp.sum(new), status=Status.running)

    def value(self, problem, state):
        return state


def test_solve_stops_by_its_own_rule(key):
    result = solve(Heron(), jnp.asarray(2.0), max_steps=50, key=key)
    np.testing.assert_allclose(result.value, 2**0.5, rtol=1e-6)
    assert result.status == Status.converged
    assert 2 < int(result.num_steps) < 10
    assert result.info.change.shape == (int(result.num_steps),)
    assert np.all(np.diff(result.info.change) < 0)


def test_solve_says_when_it_ran_out(key):
    with pytest.raises(StatusError, match=r"max_steps was reached.*raise max_steps"):
        solve(Heron(0.0), jnp.asarray(2.0), max_steps=3, key=key)
    result = solve(Heron(0.0), jnp.asarray(2.0), max_steps=3, key=key, throw=False)
    assert result.status == Status.max_steps
    assert int(result.num_steps) == 3


def test_solve_resumes_where_it_stopped(key):
    part = solve(Heron(), jnp.asarray(7.0), max_steps=2, key=key, throw=False)
    rest = solve(Heron(), jnp.asarray(7.0), max_steps=50, key=key, state=part.state)
    whole = solve(Heron(), jnp.asarray(7.0), max_steps=50, key=key)
    assert rest.value == whole.value
    assert int(rest.num_steps) == int(whole.num_steps)
    assert rest.info.change.shape[0] == int(whole.num_steps) - 2


def test_five_steps_are_three_and_two(key):
    problem = jnp.asarray([1.0, -2.0, 5.0])
    first = run(Walk(), problem, steps=3, key=key)
    second = run(Walk(), problem, steps=2, key=key, state=first.state)
    whole = run(Walk(), problem, steps=5, key=key)
    np.testing.assert_array_equal(second.value, whole.value)
    np.testing.assert_array_equal(np.concatenate([first.info.change, second.info.change]), whole.info.change)
    other = run(Walk(), problem, steps=5, key=jax.random.key(1))
    assert not np.allclose(other.value, whole.value)


def test_no_two_steps_share_their_chance(key):
    moves = np.diff(run(Walk(), jnp.zeros(1), steps=200, key=key).info.change)
    assert len(np.unique(moves)) == len(moves)


def test_host_loop_agrees_with_the_scan(key):
    problem = jnp.asarray([1.0, -2.0])
    compiled, host = (f(Walk(), problem, steps=4, key=key) for f in (run, run_host))
    np.testing.assert_allclose(host.value, compiled.value, rtol=1e-6)
    assert isinstance(host.info.change, np.ndarray)


def test_host_loop_stops_at_the_first_failure(key):
    result = run_host(Heron(), jnp.asarray(jnp.nan), steps=4, key=key, throw=False)
    assert int(result.num_steps) == 1
    assert result.status == Status.nonfinite


def test_a_nan_is_reported_with_its_step(key):
    with pytest.raises(StatusError, match=r"at step 0: a non-finite number appeared") as caught:
        run(Heron(), jnp.asarray(jnp.nan), steps=4, key=key)
    assert int(caught.value.result.num_steps) == 4
    result = run(Heron(), jnp.asarray(jnp.nan), steps=4, key=key, throw=False)
    assert result.status == Status.nonfinite
    assert not bool(succeeded(result.status))


def test_the_first_failure_is_remembered(key):
    class Blip(AbstractMethod):
        def init(self, problem, *, key):
            return jnp.asarray(0)

        def step(self, problem, state, *, key):
            bad = state == 2
            return state + 1, RootInfo(change=jnp.where(bad, jnp.nan, 1.0), status=Status.running)

        def value(self, problem, state):
            return state

    result = run(Blip(), None, steps=6, key=key, throw=False)
    assert int(result.state.failed_at) == 2
    assert "at step 2" in describe(result)
    later = run(Blip(), None, steps=1, key=key, state=result.state, throw=False)
    assert int(later.state.failed_at) == 2


def test_vmap_over_keys_and_problems(key):
    keys = jax.random.split(key, 3)
    many = jax.vmap(lambda k: run(Walk(), jnp.zeros(2), steps=3, key=k, throw=False).value)(keys)
    one = run(Walk(), jnp.zeros(2), steps=3, key=keys[1]).value
    np.testing.assert_allclose(many[1], one, rtol=1e-6)
    roots = jax.vmap(lambda p: solve(Heron(), p, max_steps=30, key=key, throw=False).value)(jnp.asarray([2.0, 9.0]))
    np.testing.assert_allclose(roots, [2**0.5, 3.0], rtol=1e-5)


def test_inside_jit_a_failure_still_raises(key):
    inside = eqx.filter_jit(lambda p: run(Heron(), p, steps=2, key=key).value)
    assert inside(jnp.asarray(4.0)) > 0
    with pytest.raises(Exception, match=r"failing status"):
        jax.block_until_ready(inside(jnp.asarray(jnp.nan)))


def test_gradients_pass_through_run(key):
    grad = jax.grad(lambda p: run(Heron(), p, steps=12, key=key).value)(jnp.asarray(2.0))
    np.testing.assert_allclose(grad, 0.5 / 2**0.5, rtol=1e-4)


def test_the_body_is_traced_once(key):
    traces = []

    class Counted(Walk):
        def step(self, problem, state, *, key):
            traces.append(1)
            return Walk.step(self, problem, state, key=key)

    method = Counted()
    for seed in range(3):
        run(method, jnp.zeros(2) + seed, steps=7, key=jax.random.key(seed))
    assert len(traces) == 1


@pytest.mark.parametrize("steps", [-1, True])
def test_bad_steps(steps, key):
    with pytest.raises(InputError, match=r"expected an integer"):
        run(Walk(), jnp.zeros(1), steps=steps, key=key)


def test_no_steps_is_init(key):
    result = run(Walk(), jnp.zeros(2), steps=0, key=key)
    np.testing.assert_array_equal(result.value, start(Walk(), jnp.zeros(2), key=key).state)
    assert result.status == Status.finished
    result = solve(Walk(), jnp.zeros(2), max_steps=0, key=key, throw=False)
    assert result.status == Status.max_steps
    assert result.info.change.shape == (0,)
