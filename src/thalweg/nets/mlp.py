"""A plain net for vectors and any small event.

Answers    which smooth function of (t, x, c)? The default for anything without spatial structure.
Equations  h_0 = act(W_x x + W_t features(t) + W_c embed(c) + b);  h_k = act(W_k h_{k-1} + b_k);  y = W h_last + b
Symbols    number of h -> depth, size of h -> width
Cost       depth - 1 products of (width, width) and a few small ones a point; for batches nearly all the time is there.
           The first layer is a sum of products rather than a product of a concatenation: with one time shared by a
           whole batch, W_t features(t) is computed once.
Fails      no scaling of x is hidden inside: data far from unit scale trains badly, so scale it first
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, Float

from ..core.errors import InputError
from ..core.types import Key, Point
from .condition import AbstractCondition
from .layers import GATE, Dense, check_counts, check_point, embed, normal, time_features

# An activation halves the second moment of its input, roughly; this undoes it.
_GAIN = 2**0.5


class MLP(eqx.Module):
    """`depth` hidden layers of `width` units on a flattened point.

    Args:
        event: the shape of one point, `(d,)` or any other.
        out: the shape of the result; the shape of the point unless given, `()` for a potential.
        condition: an encoder (`Labels`, `Continuous`), or None.
        activation: `Gate()` (smooth, as potentials need; made for speed on a CPU), or a function of `jax.nn`.
        octaves: frequencies in the features of time.
        zero: start with a last layer of zeros, so that the first result is zero everywhere.

    Raises:
        InputError: for sizes below one; when called on a point of another shape, or on a condition it does not take.
    """

    space: Float[Array, "d width"]
    time: Dense
    given: Dense | None
    hidden: tuple[Dense, ...]
    last: Dense
    condition: AbstractCondition | None
    event: tuple[int, ...] = eqx.field(static=True)
    out: tuple[int, ...] = eqx.field(static=True)
    octaves: int = eqx.field(static=True)
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        event: tuple[int, ...],
        *,
        width: int = 256,
        depth: int = 3,
        condition: AbstractCondition | None = None,
        out: tuple[int, ...] | None = None,
        activation: Callable = GATE,
        octaves: int = 4,
        zero: bool = False,
        key: Key,
    ):
        event = check_event("MLP", event)
        check_counts("MLP", width=width, depth=depth, octaves=octaves)
        keys = jax.random.split(key, depth + 3)
        size, features = math.prod(event), 2 * octaves + 1
        parts = 2 if condition is None else 3
        self.event, self.out = event, event if out is None else check_event("MLP", out)
        self.octaves, self.activation, self.condition = octaves, activation, condition
        # Each part of the first layer brings an equal share of the variance, however many numbers it has.
        share = 1 / math.sqrt(parts)
        self.space = normal((size, width), size, share, keys[0])
        self.time = Dense(features, width, gain=share, key=keys[1])
        self.given = None if condition is None else Dense(condition.width, width, gain=share, key=keys[2])
        self.hidden = tuple(Dense(width, width, gain=_GAIN, key=k) for k in keys[4:])
        self.last = Dense(width, math.prod(self.out), gain=0.0 if zero else 1.0, key=keys[3])

    def __call__(self, t: ArrayLike, x: Point, c: ArrayLike | None = None) -> Float[Array, "..."]:
        """The value at one time, one point and, when the net takes one, one condition."""
        t = check_point("MLP", self.event, t, x)
        start = self.time(time_features(t, self.octaves))
        embedding = embed("MLP", self.condition, c)
        if self.given is not None and embedding is not None:
            start = start + self.given(embedding)
        h = self.activation(x.reshape(-1) @ self.space + start)
        for layer in self.hidden:
            h = self.activation(layer(h))
        return self.last(h).reshape(self.out).astype(x.dtype)


def check_event(owner: str, event: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as a tuple of integers.

    Raises:
        InputError: when it is not a tuple of positive integers.
    """
    if not isinstance(event, tuple | list) or any(
        isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in event
    ):
        raise InputError(
            f"{owner}: got the shape {event!r}; expected a tuple of positive integers such as (2,) or (28, 28)"
        )
    return tuple(event)
