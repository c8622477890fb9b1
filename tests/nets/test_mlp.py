"""The plain net: shapes, batches, precision, saving, and that it can be trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core import AbstractObjective, Fit, InputError, load, run, save
from thalweg.nets import MLP, Continuous, Labels


def small(event=(3,), **options):
    return MLP(event, width=16, depth=2, key=jax.random.key(1), **options)


@pytest.mark.parametrize("event", [(1,), (3,), (2, 3), (2, 3, 2)])
@pytest.mark.parametrize("out", [None, (), (4,)])
def test_shapes(event, out, key):
    net = small(event, out=out)
    x = jax.random.normal(key, (5, *event))
    y = jax.vmap(net, (None, 0))(0.3, x)
    assert y.shape == (5, *(event if out is None else out))


def test_a_batch_is_its_points_in_their_order(key):
    net = small(condition=Labels(4, 8, key=key))
    x, t, c = jax.random.normal(key, (6, 3)), jnp.linspace(0.0, 1.0, 6), jnp.asarray([0, 3, -1, 1, 2, 0])
    batch = jax.vmap(net)(t, x, c)
    loop = jnp.stack([net(t[i], x[i], c[i]) for i in range(6)])
    np.testing.assert_allclose(batch, loop, rtol=1e-5, atol=1e-6)
    order = jnp.asarray([3, 1, 5, 0, 4, 2])
    np.testing.assert_allclose(jax.vmap(net)(t[order], x[order], c[order]), batch[order], rtol=1e-5, atol=1e-6)
    shared = jax.vmap(net, (None, 0, 0))(t[2], x, c)
    np.testing.assert_allclose(shared[2], batch[2], rtol=1e-5, atol=1e-6)


def test_time_point_and_condition_are_all_seen(key):
    net = small(condition=Continuous(1, 8, key=key))
    x = jnp.asarray([0.2, -1.0, 0.5])
    base = net(0.3, x, 0.5)
    for other in (net(0.4, x, 0.5), net(0.3, x[::-1], 0.5), net(0.3, x, 0.9), net(0.3, x)):
        assert float(jnp.max(jnp.abs(other - base))) > 1e-3


def test_dtype_follows_the_point(x64, key):
    net = small()
    assert net(0.3, jnp.zeros(3)).dtype == jnp.float64
    assert net(0.3, jnp.zeros(3, jnp.float32)).dtype == jnp.float32


def test_second_derivatives_agree_with_differences(x64):
    net = small((2,), out=())
    x, v, h = jnp.asarray([0.4, -0.7]), jnp.asarray([0.6, 0.8]), 1e-4

    def line(s):
        return net(0.3, x + s * v)

    exact = jax.grad(jax.grad(line))(0.0)
    np.testing.assert_allclose(exact, (line(h) - 2 * line(0.0) + line(-h)) / h**2, rtol=1e-5)
    assert abs(float(exact)) > 1e-3


def test_gradients_are_finite_and_reach_every_array(key):
    net = small(condition=Labels(4, 8, key=key))
    x, c = jax.random.normal(key, (6, 3)), jnp.asarray([0, 3, -1, 1, 2, 0])
    grads = jax.grad(lambda n: jnp.sum(jax.vmap(n)(jnp.linspace(0.0, 1.0, 6), x, c) ** 2))(net)
    for g in jax.tree.leaves(grads):
        assert bool(jnp.all(jnp.isfinite(g)))
        assert bool(jnp.any(g != 0))


def test_zero_starts_at_zero():
    assert not jnp.any(small(zero=True)(0.3, jnp.ones(3)))


@pytest.mark.parametrize(
    "options", [{}, {"activation": jax.nn.silu}, {"condition": Labels(3, 4, key=jax.random.key(2))}]
)
def test_saved_and_loaded_is_the_same_bit_for_bit(tmp_path, options, key):
    net = small((2, 2), **options)
    save(tmp_path / "net", net)
    again = load(tmp_path / "net")[0]
    assert jax.tree.structure(again) == jax.tree.structure(net)
    x = jax.random.normal(key, (2, 2))
    np.testing.assert_array_equal(again(0.3, x), net(0.3, x))


def test_a_compiled_net_is_an_ordinary_argument():
    net = small()
    np.testing.assert_allclose(jax.jit(lambda n, x: n(0.3, x))(net, jnp.ones(3)), net(0.3, jnp.ones(3)), rtol=1e-5)


class Squares(AbstractObjective):
    """Distance to a function with no symmetry in t or x."""

    def __call__(self, model, batch, *, key):
        t, x = batch
        truth = jnp.stack([jnp.sin(2 * x[:, 0] + t), x[:, 0] * x[:, 1] + 0.5 * t**2], 1)
        return jnp.mean((jax.vmap(model)(t, x) - truth) ** 2)


def test_training_reduces_the_loss_thirtyfold(key):
    def batch(key):
        a, b = jax.random.split(key)
        return jax.random.uniform(a, (128,)), jax.random.normal(b, (128, 2))

    net = MLP((2,), width=32, depth=2, key=key)
    result = run(Fit(Squares(), net, optax.adam(3e-3)), batch, steps=600, key=key)
    loss = result.info.loss
    assert float(loss[-50:].mean()) < float(loss[:5].mean()) / 30


def test_bad_input_is_refused(key):
    with pytest.raises(InputError, match="width=0"):
        MLP((2,), width=0, key=key)
    with pytest.raises(InputError, match="depth=0"):
        MLP((2,), depth=0, key=key)
    with pytest.raises(InputError, match="positive integers"):
        MLP((2, 0), key=key)
    with pytest.raises(InputError, match=r"shape \(5, 3\), expected \(3,\)"):
        small()(0.3, jnp.zeros((5, 3)))
    with pytest.raises(InputError, match="without a condition"):
        small()(0.3, jnp.zeros(3), 1)
