"""Steps of training a UNet inside a compiled loop, against the gradient that XLA itself gives a convolution.

The same network, 64 images of 28 x 28, plain gradient descent on a squared output; both take the same steps to the
same parameters. And the same outside of a loop, where XLA's gradient is as it should be.
"""

from unittest import mock

import equinox as eqx
import harness
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.nets import UNet, layers

STEPS = 4
KEY = jax.random.key(0)
IMAGES = jax.random.normal(KEY, (64, 28, 28))


def plain(x, weight):
    """The convolution, with the derivatives that it comes with."""
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], weight, (1, 1), "SAME", dimension_numbers=dims)[0]


def training(steps, convolution):
    """Compiled steps, traced with this convolution."""
    arrays, static = eqx.partition(UNet((28, 28), key=KEY), eqx.is_inexact_array)

    def loss(arrays):
        return jnp.mean(jax.vmap(lambda x: eqx.combine(arrays, static)(0.5, x))(IMAGES) ** 2)

    def step(arrays, _):
        return jax.tree.map(lambda p, g: p - 1e-2 * g, arrays, jax.grad(loss)(arrays)), None

    @jax.jit
    def chunk(arrays):
        return jax.lax.scan(step, arrays, None, length=steps)[0] if steps else step(arrays, None)[0]

    with mock.patch.object(layers, "_convolved", convolution):
        found = jax.block_until_ready(chunk(arrays))
    return (lambda: jax.block_until_ready(chunk(arrays))), found


def main():
    """Run, print ratios, write JSON."""
    args, rows = harness.arguments(), []
    for case, steps in ((f"UNet, a loop of {STEPS} steps", STEPS), ("UNet, one step, no loop", 0)):
        ours, found = training(steps, layers._convolved)
        theirs, expected = training(steps, plain)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        times = harness.paired({"thalweg": ours, "XLA's gradient": theirs}, repeats=2 if args.quick else 5)
        rows.append(harness.row(case, "thalweg", "XLA's gradient", times, per=max(steps, 1)))
    harness.write("nets", rows, ("thalweg", "jax", "equinox"), args.out)


if __name__ == "__main__":
    main()
