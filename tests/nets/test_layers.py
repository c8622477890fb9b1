"""The pieces: products, convolutions and norms against their definitions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.nets import Conv, Dense, Gate, Norm, time_features
from thalweg.nets.layers import check_counts, check_point, embed, normal


def test_linear_is_a_product_on_the_last_axis(key):
    layer = Dense(3, 5, key=key)
    x = jax.random.normal(key, (4, 2, 3))
    np.testing.assert_allclose(layer(x), np.einsum("abi,io->abo", x, layer.weight), rtol=1e-5, atol=1e-6)
    assert not jnp.any(Dense(3, 5, gain=0.0, key=key).weight)


def test_conv_is_the_sum_over_shifts(key):
    layer = Conv(2, 3, key=key)
    x = jax.random.normal(key, (4, 5, 2))
    padded = np.pad(np.asarray(x), ((1, 1), (1, 1), (0, 0)))
    expected = sum(padded[i : i + 4, j : j + 5] @ layer.weight[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_derivatives_of_a_convolution_are_those_of_its_definition(kernel, key, x64):
    layer = Conv(2, 3, kernel=kernel, key=key)
    x, dx = jax.random.normal(key, (2, 4, 5, 2), jnp.float64)
    w = layer.weight.astype(jnp.float64)
    dw = jax.random.normal(jax.random.fold_in(key, 1), w.shape, jnp.float64)

    def ours(x, w):
        return jnp.tanh(eqx.tree_at(lambda c: c.weight, layer, w)(x))

    def theirs(x, w):
        y = jax.lax.conv_general_dilated(x[None], w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.tanh(y[0])

    total = lambda f: lambda x, w: jnp.sum(f(x, w) ** 3)  # noqa: E731
    slope = lambda f: jax.jvp(total(f), (x, w), (dx, dw))[1]  # noqa: E731
    np.testing.assert_allclose(slope(ours), slope(theirs), rtol=1e-12)
    for a, b in zip(*(jax.grad(total(f), (0, 1))(x, w) for f in (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    # And once more: the gradient along a direction, differentiated.
    bend = lambda f: jax.grad(lambda x: jnp.sum(dx * jax.grad(total(f))(x, w)))(x)  # noqa: E731
    np.testing.assert_allclose(bend(ours), bend(theirs), rtol=1e-9, atol=1e-11)


def test_norm_is_of_each_group(key):
    layer = Norm(6, groups=3)
    x = 5 + 3 * jax.random.normal(key, (4, 5, 6))
    groups = np.asarray(layer(x)).reshape(20, 3, 2)
    np.testing.assert_allclose(groups.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(groups.std((0, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(layer(7 * x - 2), layer(x), atol=1e-4)  # neither shift nor scale is seen
    assert Norm(10).groups == 2  # as many groups as divide the channels


def test_the_gate_has_the_slope_and_curvature_of_gelu_at_zero(x64):
    def gelu(x):
        return jax.nn.gelu(x, approximate=False)

    for order in (lambda f: f, jax.grad, lambda f: jax.grad(jax.grad(f))):
        np.testing.assert_allclose(order(Gate())(jnp.zeros(())), order(gelu)(jnp.zeros(())), atol=1e-12)
    x = jnp.linspace(-6.0, 6.0, 50)
    assert float(jnp.max(jnp.abs(Gate()(x) - gelu(x)))) < 0.15
    assert Gate() == Gate()
    assert hash(Gate()) == hash(Gate())


def test_time_features_tell_times_apart():
    t = jnp.linspace(0.0, 1.0, 33)
    features = jax.vmap(time_features)(t)
    assert features.shape == (33, 9)
    gaps = jnp.linalg.norm(features[1:] - features[:-1], axis=1)
    assert float(gaps.min()) > 0.1


def test_starting_weights_have_the_stated_spread(key):
    w = normal((300, 200), 300, 2.0, key)
    np.testing.assert_allclose(float(w.std()), 2 / 300**0.5, rtol=0.02)


def test_refusals_say_what_to_do():
    with pytest.raises(InputError, match="width=0"):
        check_counts("Net", depth=2, width=0)
    with pytest.raises(InputError, match="vmap"):
        check_point("Net", (2,), 0.5, jnp.zeros((7, 2)))
    with pytest.raises(InputError, match="expected a scalar"):
        check_point("Net", (2,), jnp.zeros(7), jnp.zeros(2))
    with pytest.raises(InputError, match="condition=Labels"):
        embed("Net", None, 3)
    assert embed("Net", None, None) is None
