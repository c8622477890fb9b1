"""The U-Net: any image size, batches, saving, and that it learns where a pixel is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core import AbstractObjective, Fit, InputError, load, run, save
from thalweg.nets import Attention, Labels, ResidualBlock, UNet
from thalweg.nets.layers import Gate
from thalweg.nets.unet import double, fold, halve, unfold


def small(event=(8, 8), **options):
    options = {"channels": (8, 16), "embedding": 16, **options}
    return UNet(event, key=jax.random.key(1), **options)


@pytest.mark.parametrize(
    ("event", "options"),
    [
        ((8, 8), {}),
        ((28, 28), {"channels": (24, 48)}),
        ((7, 9), {}),
        ((9, 6, 3), {"patch": 2}),
        ((12, 8, 2), {"channels": (4, 8, 8), "heads": 2}),
        ((5, 6), {"channels": (8,)}),
    ],
)
def test_any_size_gives_its_own_shape(event, options):
    net = small(event, **options)
    assert jax.eval_shape(lambda x: net(0.3, x), jnp.zeros(event)).shape == event
    assert net.patch == options.get("patch", 2 if event == (28, 28) else 1)


def test_a_batch_is_its_points_in_their_order(key):
    net = small(heads=2)
    t, x = jnp.linspace(0.0, 1.0, 4), jax.random.normal(key, (4, 8, 8))
    one, many = eqx.filter_jit(net), jax.jit(jax.vmap(net))
    batch = many(t, x)
    np.testing.assert_allclose(batch, jnp.stack([one(t[i], x[i]) for i in range(4)]), rtol=1e-4, atol=1e-5)
    order = jnp.asarray([2, 0, 3, 1])
    np.testing.assert_allclose(many(t[order], x[order]), batch[order], rtol=1e-4, atol=1e-5)


def test_precision_follows_the_image(x64):
    net = small()
    for dtype in (jnp.float32, jnp.float64):
        assert jax.eval_shape(lambda x: net(0.3, x), jnp.zeros((8, 8), dtype)).dtype == dtype


def test_saved_and_loaded_is_the_same_bit_for_bit(tmp_path, key):
    net = small(heads=2, condition=Labels(3, 8, key=key))
    save(tmp_path / "net", net)
    again = load(tmp_path / "net")[0]
    assert jax.tree.structure(again) == jax.tree.structure(net)
    x, call = jax.random.normal(key, (8, 8)), jax.jit(lambda n, x: n(0.3, x, 1))
    np.testing.assert_array_equal(call(again, x), call(net, x))


def test_a_block_starts_as_its_skip_and_attention_as_the_identity(key):
    x = jax.random.normal(key, (4, 6, 8))
    block = ResidualBlock(8, 8, 5, activation=Gate(), key=key)
    np.testing.assert_array_equal(eqx.filter_jit(block)(x, jnp.ones(5)), x)
    np.testing.assert_array_equal(eqx.filter_jit(Attention(8, 2, key=key))(x), x)
    with pytest.raises(InputError, match="3 heads"):
        Attention(8, 3, key=key)


def test_folding_halving_and_doubling():
    x = jnp.arange(4 * 6 * 2.0).reshape(4, 6, 2)
    np.testing.assert_array_equal(unfold(fold(x, 2), 2), x)
    np.testing.assert_array_equal(fold(x, 2)[1, 2], x[2:4, 4:6].reshape(-1))
    np.testing.assert_array_equal(halve(x)[1, 0], x[2:4, 0:2].mean((0, 1)))
    np.testing.assert_array_equal(halve(double(x)), x)


class Shifted(AbstractObjective):
    """The image moved by one pixel down and mirrored in sign by its label: nothing a symmetric net could do."""

    def __call__(self, model, batch, *, key):
        x, c = batch
        truth = jnp.roll(x, 1, axis=1) * jnp.where(c == 0, 1.0, -0.5)[:, None, None]
        return jnp.mean((jax.vmap(model, (None, 0, 0))(0.3, x, c) - truth) ** 2)


def test_training_reduces_the_loss_threefold_and_reaches_every_array(key):
    # An odd size, attention and a condition at once; a gradient that is not finite would end the run with its status.
    def batch(key):
        a, b = jax.random.split(key)
        return jax.random.normal(a, (32, 6, 7)), jax.random.randint(b, (32,), -1, 2)

    net = small((6, 7), channels=(4, 8), heads=2, condition=Labels(2, 8, key=key))
    result = run(Fit(Shifted(), net, optax.adam(5e-3)), batch, steps=150, key=key)
    loss = result.info.loss
    assert float(loss[-20:].mean()) < float(loss[:3].mean()) / 3
    for before, after in zip(jax.tree.leaves(net), jax.tree.leaves(result.value), strict=True):
        assert bool(jnp.any(before != after))


def test_bad_input_is_refused(key):
    with pytest.raises(InputError, match="use MLP"):
        UNet((3,), key=key)
    with pytest.raises(InputError, match="halved"):
        UNet((2, 2), channels=(4, 4, 4), key=key)
    with pytest.raises(InputError, match=r"channels\[1\]=0"):
        UNet((8, 8), channels=(4, 0), key=key)
    with pytest.raises(InputError, match="vmap"):
        small()(0.3, jnp.zeros((5, 8, 8)))
