"""What every method promises, over the one table of cases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import CASES
from thalweg.core import AbstractMethod, Status, StatusError, run, start

each = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def arrays(tree):
    return [x for x in jax.tree.leaves(tree) if eqx.is_array(x) and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]


# Every test takes two steps where it can: the loop over them is compiled once a row, and compiling is what costs.
@each
def test_four_steps_are_two_and_two_and_the_same_key_gives_the_same_answer(case, key):
    method, problem = case.method(), case.problem()
    whole = run(method, problem, steps=4, key=key)
    part = run(method, problem, steps=2, key=key)
    rest = run(method, problem, steps=2, key=key, state=part.state)
    for a, b in zip(arrays(whole.state), arrays(rest.state), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b, c in zip(*(arrays(r.info) for r in (whole, part, rest)), strict=True):
        np.testing.assert_array_equal(a, np.concatenate([b, c]))


@each
def test_the_state_keeps_its_structure_and_compiled_equals_eager(case, key):
    method, problem = case.method(), case.problem()
    first = start(method, problem, key=key)
    state = first.state
    for step in range(2):
        state, info = method.step(problem, state, key=jax.random.fold_in(key, step))
        assert info.status is not None
    before, after = (
        jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), eqx.filter(s, eqx.is_array))
        for s in (first.state, state)
    )
    assert before == after
    compiled = run(method, problem, steps=2, key=key)
    for a, b in zip(arrays(compiled.state.state), arrays(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


@each
def test_vmap_over_keys(case, key):
    method, problem = case.method(), case.problem()
    keys = jax.random.split(key, 2)
    many = eqx.filter_vmap(lambda k: run(method, problem, steps=2, key=k, throw=False).state.state)(keys)
    one = run(method, problem, steps=2, key=keys[1]).state.state
    for a, b in zip(arrays(many), arrays(one), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=2e-4, atol=1e-5)


@each
def test_a_nan_is_reported(case, key):
    with pytest.raises(StatusError, match=r"at step \d: a non-finite number"):
        run(case.method(), case.poison(case.problem()), steps=2, key=key)


@each
def test_dtypes_are_followed(case, key):
    """In double precision, a problem of doubles has a state of doubles."""
    problem = case.problem()
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x, problem)
        method = jax.tree.map(lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x, case.method())
        result = run(method, double, steps=2, key=key)
        kinds = {x.dtype for x in arrays(result.state.state) if jnp.issubdtype(x.dtype, jnp.floating)}
    assert result.status == Status.finished
    assert kinds == {jnp.dtype("float64")}


@pytest.mark.parametrize("case", [c for c in CASES if c.grad], ids=lambda c: c.name)
def test_gradients_are_finite(case, key):
    method, problem = case.method(), case.problem()
    dynamic, static = eqx.partition(problem, eqx.is_inexact_array)

    def total(dynamic):
        value = run(method, eqx.combine(dynamic, static), steps=2, key=key, throw=False).state.state
        return sum(
            jnp.sum(jnp.where(jnp.isfinite(x), x, 0.0) ** 2) for x in jax.tree.leaves(value) if eqx.is_inexact_array(x)
        )

    grads = arrays(jax.grad(total)(dynamic))
    assert any(float(jnp.abs(g).max()) > 0 for g in grads)
    assert all(np.isfinite(g).all() for g in grads)


def test_no_method_is_missing_from_the_table():
    """Every final method of the library has a row."""

    def finals(cls):
        for sub in cls.__subclasses__():
            yield from finals(sub)
            if sub.__module__.startswith("thalweg.") and not sub.__name__.startswith(("Abstract", "_")):
                yield sub

    rows = {type(case.method()).__name__ for case in CASES}
    missing = sorted({sub.__name__ for sub in finals(AbstractMethod)} - rows)
    assert not missing, f"add a row to tests/cases.py for {missing}"
