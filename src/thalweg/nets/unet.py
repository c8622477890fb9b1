"""A small U-Net for images.

Answers    which function of (t, image, c)? One that sees far at low resolution and keeps detail through skips.
Equations  block: h = conv(act(norm(x)));  h = conv(act(norm(h) (1 + scale(e)) + shift(e)));  y = skip(x) + h
           e = act(W features(t) + b) + W_c embed(c): time and condition enter every block by scale and shift
Cost       set by the first level; `patch=2` folds 2 x 2 pixels into channels first and is 5 to 10 times as fast
Fails      no scaling is hidden inside: bring images to unit spread first
"""

import itertools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..core.errors import InputError
from ..core.types import Key, Point
from .condition import AbstractCondition
from .layers import GATE, Conv, Dense, Norm, check_counts, check_point, embed, time_features
from .mlp import check_event

Image = Float[Array, "h w channels"]


class ResidualBlock(eqx.Module):
    """Two convolutions with norms, told the time and the condition by a scale and a shift; starts as its own skip."""

    norms: tuple[Norm, Norm]
    convs: tuple[Conv, Conv]
    film: Dense
    skip: Dense | None
    activation: Callable = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, embedding: int, *, activation: Callable, key: Key):
        keys = jax.random.split(key, 4)
        self.norms = (Norm(inputs), Norm(outputs))
        self.convs = (
            Conv(inputs, outputs, gain=2**0.5, key=keys[0]),
            Conv(outputs, outputs, gain=0.0, key=keys[1]),
        )
        self.film = Dense(embedding, 2 * outputs, gain=0.5, key=keys[2])
        self.skip = None if inputs == outputs else Dense(inputs, outputs, key=keys[3])
        self.activation = activation

    def __call__(self, x: Image, embedding: Float[Array, " embedding"]) -> Float[Array, "h w outputs"]:
        """The block on one image."""
        scale, shift = jnp.split(self.film(embedding).astype(x.dtype), 2)
        h = self.convs[0](self.activation(self.norms[0](x)))
        h = self.convs[1](self.activation(self.norms[1](h) * (1 + scale) + shift))
        return (x if self.skip is None else self.skip(x)) + h


class Attention(eqx.Module):
    """Every pixel attends to every pixel, with `heads` heads; starts as the identity."""

    norm: Norm
    mix: Dense
    last: Dense
    heads: int = eqx.field(static=True)

    def __init__(self, channels: int, heads: int, *, key: Key):
        if channels % heads:
            raise InputError(f"Attention: {channels} channels cannot be shared by {heads} heads; use a divisor")
        keys = jax.random.split(key)
        self.norm, self.heads = Norm(channels), heads
        self.mix = Dense(channels, 3 * channels, key=keys[0])
        self.last = Dense(channels, channels, gain=0.0, key=keys[1])

    def __call__(self, x: Image) -> Image:
        """Attention on one image, added to it."""
        h, w, channels = x.shape
        mixed = self.mix(self.norm(x)).reshape(h * w, 3, self.heads, channels // self.heads)
        q, k, v = mixed[:, 0], mixed[:, 1], mixed[:, 2]
        weights = jax.nn.softmax(jnp.einsum("ihc,jhc->hij", q, k) / math.sqrt(channels // self.heads), axis=-1)
        return x + self.last(jnp.einsum("hij,jhc->ihc", weights, v).reshape(h, w, channels))


class UNet(eqx.Module):
    """A U-Net on `(h, w)` or `(h, w, channels)` images of any size; the result has the shape of the image.

    Args:
        event: the shape of one image.
        channels: one number of channels a level; each level has half the resolution of the one before.
        condition: an encoder (`Labels`, `Continuous`), or None.
        patch: pixels folded into channels before the first level, `patch` by `patch`. None chooses 2 from 16 pixels up
            and 1 below.
        heads: heads of attention at the lowest level; 0 for none.
        embedding: size of the embedding of time and condition.
        activation: `Gate()` or a function of `jax.nn`.

    Raises:
        InputError: for an event that is not an image, sizes below one, or more levels than the image can be halved;
            when called on an image of another shape, or on a condition it does not take.
    """

    time: tuple[Dense, Dense]
    given: Dense | None
    stem: Conv
    down: tuple[ResidualBlock, ...]
    middle: ResidualBlock
    attention: Attention | None
    narrow: tuple[Dense, ...]
    up: tuple[ResidualBlock, ...]
    norm: Norm
    head: Conv
    condition: AbstractCondition | None
    event: tuple[int, ...] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        event: tuple[int, ...],
        *,
        channels: tuple[int, ...] = (24, 48),
        condition: AbstractCondition | None = None,
        patch: int | None = None,
        heads: int = 0,
        embedding: int = 64,
        activation: Callable = GATE,
        key: Key,
    ):
        event = check_event("UNet", event)
        if len(event) not in (2, 3):
            raise InputError(f"UNet: got the shape {event}; expected (h, w) or (h, w, channels). Else use MLP")
        patch = (2 if min(event[:2]) >= 16 else 1) if patch is None else patch
        check_counts("UNet", patch=patch, embedding=embedding, levels=len(channels))
        check_counts("UNet", **{f"channels[{i}]": n for i, n in enumerate(channels)})
        if max(event[:2]) < patch * 2 ** (len(channels) - 1):
            raise InputError(f"UNet: {event[:2]} pixels cannot be halved {len(channels) - 1} times after patch={patch}")
        keys = iter(jax.random.split(key, 7 + 3 * len(channels)))
        width = patch * patch * (event[2] if len(event) == 3 else 1)
        options = dict(activation=activation)
        self.event, self.patch, self.activation, self.condition = event, patch, activation, condition
        self.time = (Dense(9, embedding, key=next(keys)), Dense(embedding, embedding, gain=2**0.5, key=next(keys)))
        self.given = None if condition is None else Dense(condition.width, embedding, key=next(keys))
        self.stem = Conv(width, channels[0], key=next(keys))
        before = (channels[0], *channels[:-1])
        self.down = tuple(
            ResidualBlock(a, b, embedding, key=next(keys), **options) for a, b in zip(before, channels, strict=True)
        )
        self.middle = ResidualBlock(channels[-1], channels[-1], embedding, key=next(keys), **options)
        self.attention = Attention(channels[-1], heads, key=next(keys)) if heads else None
        # Channels are reduced before the resolution is doubled: the next convolution then costs a third less.
        pairs = list(itertools.pairwise(channels))[::-1]
        self.narrow = tuple(Dense(low, high, key=next(keys)) for high, low in pairs)
        self.up = tuple(ResidualBlock(2 * high, high, embedding, key=next(keys), **options) for high, _ in pairs)
        self.norm = Norm(channels[0])
        self.head = Conv(channels[0], width, key=next(keys))

    def __call__(self, t: ArrayLike, x: Point, c: ArrayLike | None = None) -> Point:
        """The value at one time, one image and, when the net takes one, one condition."""
        t = check_point("UNet", self.event, t, x)
        e = self._embedding(t, c)
        image = fold(self._padded(x), self.patch)
        h = self.stem(image)
        skips = []
        for level, block in enumerate(self.down):
            h = block(halve(h) if level else h, e)
            skips.append(h)
        h = self.middle(h, e)
        if self.attention is not None:
            h = self.attention(h)
        for narrow, block, skip in zip(self.narrow, self.up, reversed(skips[:-1]), strict=True):
            h = block(jnp.concatenate([double(narrow(h)), skip], axis=-1), e)
        y = unfold(self.head(self.activation(self.norm(h))), self.patch)
        return y[: self.event[0], : self.event[1]].reshape(self.event).astype(x.dtype)

    def _embedding(self, t, c):
        e = self.time[1](self.activation(self.time[0](time_features(t))))
        given = embed("UNet", self.condition, c)
        return self.activation(e if self.given is None or given is None else e + self.given(given))

    def _padded(self, x):
        # Zeros below and to the right up to a size that can be halved; the result is cropped again.
        unit = self.patch * 2 ** (len(self.down) - 1)
        h, w = self.event[:2]
        image = x.reshape(h, w, -1)
        return jnp.pad(image, ((0, -h % unit), (0, -w % unit), (0, 0))) if h % unit or w % unit else image


def fold(x: Image, patch: int) -> Float[Array, "rows columns features"]:
    """Move squares of `patch` by `patch` pixels into channels."""
    if patch == 1:
        return x
    h, w, channels = x.shape
    x = x.reshape(h // patch, patch, w // patch, patch, channels)
    return x.transpose(0, 2, 1, 3, 4).reshape(h // patch, w // patch, patch * patch * channels)


def unfold(x: Image, patch: int) -> Float[Array, "rows columns features"]:
    """The inverse of `fold`."""
    if patch == 1:
        return x
    h, w, channels = x.shape
    x = x.reshape(h, w, patch, patch, channels // patch**2)
    return x.transpose(0, 2, 1, 3, 4).reshape(h * patch, w * patch, channels // patch**2)


def halve(x: Image) -> Float[Array, "rows columns channels"]:
    """Mean over squares of two by two pixels."""
    h, w, channels = x.shape
    return jnp.mean(x.reshape(h // 2, 2, w // 2, 2, channels), axis=(1, 3))


def double(x: Image) -> Float[Array, "rows columns channels"]:
    """Each pixel becomes a square of two by two."""
    h, w, channels = x.shape
    return jnp.broadcast_to(x[:, None, :, None], (h, 2, w, 2, channels)).reshape(2 * h, 2 * w, channels)
