"""The pieces that nets are made of: a matrix product, a convolution, a group norm, an activation, features of time.

Equations  y = x W + b;   y = (x - mean) / sqrt(var + eps) * scale + shift over groups of channels
           Gate(x) = x (1 + x / sqrt(x^2 + pi/2)) / 2
           features(t) = (t, sin(pi 2^k t), cos(pi 2^k t)),  k = 0, 1, ..., octaves - 1
Symbols    W -> weight, b -> bias
Cost       Weights are stored as (in, out), so that a `vmap` over points is one product without a transpose. Images are
           (h, w, channels): on a CPU the forward convolution is about 1.2 times as fast as with channels first.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, ArrayLike, Float

from ..core.errors import InputError
from ..core.types import Key


class Dense(eqx.Module):
    """y = x W + b on the last axis.

    `gain` scales the starting weights, whose standard deviation is `gain / sqrt(inputs)`; 0 starts at zero.
    """

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, key: Key):
        self.weight = normal((inputs, outputs), inputs, gain, key)
        self.bias = jnp.zeros(outputs, self.weight.dtype)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """The product, on the last axis."""
        return x @ self.weight + self.bias


class Conv(eqx.Module):
    """A convolution with an odd square kernel over (h, w, channels), padded with zeros to the same size."""

    weight: Float[Array, "k k inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, gain: float = 1.0, key: Key):
        self.weight = normal((kernel, kernel, inputs, outputs), kernel * kernel * inputs, gain, key)
        self.bias = jnp.zeros(outputs, self.weight.dtype)

    def __call__(self, x: Float[Array, "h w inputs"]) -> Float[Array, "h w outputs"]:
        """The convolution of one image."""
        return _convolved(x, self.weight.astype(x.dtype)) + self.bias.astype(x.dtype)


@jax.custom_jvp
def _convolved(x, weight):
    # Under vmap the batch joins the axis that is added here: still one convolution.
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], weight, (1, 1), "SAME", dimension_numbers=dims)[0]


def _shifted(x, weight):
    """The same convolution as one product of matrices, of shifted copies of the image."""
    k, (h, w, _) = weight.shape[0], x.shape
    padded = jnp.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    copies = jnp.concatenate([padded[i : i + h, j : j + w] for i in range(k) for j in range(k)], axis=2)
    return jnp.tensordot(copies, weight.reshape(-1, weight.shape[-1]), 1)


def _moved(primals, tangents):
    """dy = dx * w + x * dw.

    In a loop, XLA's own gradient by the weights takes ten times as long on a CPU as outside of one, and training is a
    loop; the gradient of a product of matrices does not. Along x alone, as a divergence asks, nothing beats the
    convolution.
    """
    (x, weight), (dx, dw) = primals, tangents
    y = _convolved(x, weight)
    if isinstance(dw, SymbolicZero):
        return y, jnp.zeros_like(y) if isinstance(dx, SymbolicZero) else _convolved(dx, weight)
    along = _shifted(x, dw)
    return y, along if isinstance(dx, SymbolicZero) else along + _shifted(dx, weight)


_convolved.defjvp(_moved, symbolic_zeros=True)


class Norm(eqx.Module):
    """Group norm over (h, w, channels): each group of channels is brought to mean 0 and variance 1, then rescaled."""

    scale: Float[Array, " channels"]
    shift: Float[Array, " channels"]
    groups: int = eqx.field(static=True)

    def __init__(self, channels: int, groups: int = 8):
        self.groups = math.gcd(channels, groups)
        self.scale, self.shift = jnp.ones(channels), jnp.zeros(channels)

    def __call__(self, x: Float[Array, "h w channels"]) -> Float[Array, "h w channels"]:
        """The normalised image."""
        h, w, channels = x.shape
        # Sums over pixels first, over channels of a group second: the long sums then run along contiguous memory.
        count = h * w * (channels // self.groups)
        mean = self._pool(jnp.sum(x, axis=(0, 1)) / count)
        centred = x - mean
        var = self._pool(jnp.sum(centred * centred, axis=(0, 1)) / count)
        factor = jax.lax.rsqrt(var + 1e-5) * self.scale.astype(x.dtype)
        return centred * factor + self.shift.astype(x.dtype)

    def _pool(self, total):
        grouped = total.reshape(self.groups, -1)
        return jnp.broadcast_to(jnp.sum(grouped, axis=1, keepdims=True), grouped.shape).reshape(-1)


class Gate(eqx.Module):
    """x (1 + x / sqrt(x^2 + pi/2)) / 2: GELU's shape, with its slope and curvature at 0, from one square root.

    Smooth everywhere, and on a CPU about half the cost of GELU or SiLU, which are otherwise about a fifth of the time
    of a forward pass. It has no arrays; two of them are equal.
    """

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The activation, number by number."""
        return x * (0.5 + 0.5 * x * jax.lax.rsqrt(x * x + 0.5 * math.pi))


GATE = Gate()


def normal(shape: tuple[int, ...], fan_in: int, gain: float, key: Key) -> Float[Array, "..."]:
    """Starting weights: normal with standard deviation `gain / sqrt(fan_in)`."""
    # A draw is compiled once for each shape, for seconds where there are four axes; a line whose length is a power of
    # two leaves a handful of programs for all nets.
    count = math.prod(shape)
    line = jax.random.normal(key, (1 << (count - 1).bit_length(),))
    return line[:count].reshape(shape) * (gain / math.sqrt(max(fan_in, 1)))


def time_features(t: Float[Array, ""], octaves: int = 4) -> Float[Array, " features"]:
    """t, and the sine and cosine of t at `octaves` frequencies from half a period in [0, 1] upwards.

    Few on purpose: they are the only part of a net whose cost is not a matrix product.
    """
    angle = math.pi * (2.0 ** jnp.arange(octaves)).astype(t.dtype) * t
    return jnp.concatenate([t[None], jnp.sin(angle), jnp.cos(angle)])


def check_counts(owner: str, **counts: int) -> None:
    """Refuse a size that is not a positive integer.

    Raises:
        InputError: naming the first such size.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{owner}({name}={value!r}): expected an integer of at least 1")


def check_point(owner: str, event: tuple[int, ...], t: ArrayLike, x: Float[Array, "..."]) -> Float[Array, ""]:
    """Refuse a time or a point of another shape than the net was made for; return the time in the dtype of `x`.

    Raises:
        InputError: with the shape that was got, the one expected, and the call that fits a batch.
    """
    hint = (
        f"{owner} takes one point at a time; for a batch call jax.vmap(net, (None, 0))(t, x), or (0, 0) for many times"
    )
    if jnp.shape(x) != event:
        raise InputError(f"got a point of shape {jnp.shape(x)}, expected {event}: {hint}")
    if jnp.shape(t) != ():
        raise InputError(f"got a time of shape {jnp.shape(t)}, expected a scalar: {hint}")
    return jnp.asarray(t, x.dtype)


def embed(owner: str, condition, c) -> Float[Array, " width"] | None:
    """The embedding of `c`, or None for a net without a condition.

    Raises:
        InputError: when a condition is handed to a net that takes none.
    """
    if condition is not None:
        return condition(c)
    if c is not None:
        raise InputError(f"{owner} was made without a condition but got c={c!r}; make it with condition=Labels(...)")
    return None
