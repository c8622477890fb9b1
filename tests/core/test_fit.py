"""Training: it learns, it stops at the first bad loss, and nothing good is lost."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core import AbstractObjective, Fit, InputError, Status, describe, run

TRUTH = jnp.asarray([1.0, -2.0, 0.5])


class Line(eqx.Module):
    w: jax.Array
    name: str = "line"

    def __call__(self, x):
        return x @ self.w


class Squares(AbstractObjective):
    def __call__(self, model, batch, *, key):
        x, y = batch
        return jnp.mean((model(x) - y) ** 2)


def batches(key):
    x = jax.random.normal(key, (32, 3))
    return x, x @ TRUTH


def poisoned(key):
    """Every batch is good but those whose first number is large."""
    x, y = batches(key)
    return x, jnp.where(x[0, 0] > 1.5, jnp.nan, y)


def fitted(problem=batches, steps=300, **fields):
    fit = Fit(Squares(), Line(jnp.zeros(3)), optax.adam(0.05), **fields)
    return fit, run(fit, problem, steps=steps, key=jax.random.key(3), throw=False)


def test_it_learns_and_keeps_what_is_not_an_array():
    _, result = fitted()
    np.testing.assert_allclose(result.value.w, TRUTH, atol=0.02)
    assert result.value.name == "line"
    assert result.info.loss.shape == (300,)
    assert result.info.loss[-1] < 1e-2 * result.info.loss[0]


def test_the_average_is_that_of_its_formula():
    fit, _ = fitted(ema=0.9)
    result, average = None, np.zeros(3)
    carry = None
    for k in range(12):
        result = run(fit, batches, steps=1, key=jax.random.key(3), state=carry)
        carry = result.state
        decay = min(0.9, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * np.asarray(carry.state.params.w)
    np.testing.assert_allclose(result.value.w, average, rtol=1e-5)


def test_clipping_bounds_the_update():
    fit = Fit(Squares(), Line(jnp.zeros(3)), optax.sgd(1.0), clip=0.1)
    result = run(fit, batches, steps=1, key=jax.random.key(0))
    assert result.info.grad_norm[0] > 0.1
    np.testing.assert_allclose(jnp.linalg.norm(result.value.w), 0.1, rtol=1e-5)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_first_bad_loss_stops_it_with_the_last_good_state(ema):
    fit, result = fitted(poisoned, ema=ema)
    bad = int(result.state.failed_at)
    assert 0 < bad < 299
    assert result.status == Status.nonfinite
    assert f"at step {bad}" in describe(result)
    before = run(fit, poisoned, steps=bad, key=jax.random.key(3))
    assert eqx.tree_equal(before.value, result.value)
    assert eqx.tree_equal(before.state.state.params, result.state.state.params)
    assert np.isfinite(result.value.w).all()


def test_bad_choices():
    for bad, message in (({"ema": 1.0}, r"decay in \[0, 1\)"), ({"clip": 0.0}, "positive norm")):
        with pytest.raises(InputError, match=message):
            Fit(Squares(), Line(jnp.zeros(3)), optax.sgd(1.0), **bad)
