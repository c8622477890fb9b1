"""Conditions: a label or a vector of numbers, turned into one embedding of `width` numbers.

Answers    what a net sees of `c`, and what it sees when `c` is left out
Equations  Labels: row c of a table;   Continuous: W2 act(W1 c + b1) + b2
Cost       a row of a table, or two small products
Fails      a label outside -1..num_classes-1 is refused where its value is known; inside a compiled function it gives
           NaN, which every run reports, rather than the embedding of another class

Both have a *null*: `c=None`, the label -1, or any NaN in the vector. Guidance without a classifier trains on labels
of which some are replaced by -1, and so learns the unconditional field in the same net.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..core.errors import InputError
from ..core.types import Key
from .layers import GATE, Dense, check_counts, normal


class AbstractCondition(eqx.Module):
    """An encoder of one condition; `None` stands for no condition."""

    width: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, c: ArrayLike | None) -> Float[Array, " width"]:
        """The embedding of one condition."""


class Labels(AbstractCondition):
    """One learned row for each of `num_classes` labels 0, 1, ..., and one for the null.

    Raises:
        InputError: for sizes below one; for a label out of range whose value is known.
    """

    table: Float[Array, "rows width"]
    num_classes: int = eqx.field(static=True)
    width: int = eqx.field(static=True)

    def __init__(self, num_classes: int, width: int, *, key: Key):
        check_counts("Labels", num_classes=num_classes, width=width)
        self.num_classes, self.width = num_classes, width
        self.table = normal((num_classes + 1, width), 1, 1.0, key)

    def __call__(self, c: ArrayLike | None) -> Float[Array, " width"]:
        """The row of one integer label; the null's for None or -1."""
        if c is None:
            return self.table[-1]
        c = self._checked(c)
        # Past the end means NaN, so that a label out of range can never pass for another class.
        row = jnp.where(
            c == -1, self.num_classes, jnp.where((c < 0) | (c >= self.num_classes), self.num_classes + 1, c)
        )
        return self.table.at[row].get(mode="fill", fill_value=jnp.nan)

    def _checked(self, c):
        known = None if isinstance(c, Tracer) else c
        c = jnp.asarray(c)
        if c.shape != () or not jnp.issubdtype(c.dtype, jnp.integer):
            raise InputError(f"Labels takes one integer label; got {c.dtype}{list(c.shape)}. Use vmap for a batch")
        if known is not None and not -1 <= int(known) < self.num_classes:
            raise InputError(f"label {int(known)}: expected 0 to {self.num_classes - 1}, or -1 for no label")
        return c


class Continuous(AbstractCondition):
    """A small net on a vector of `dim` numbers, with a learned row for the null (None, or NaN in any place).

    Standardise the numbers first: a spread of about one suits the starting weights.

    Raises:
        InputError: for sizes below one; for a vector of another size.
    """

    first: Dense
    last: Dense
    null: Float[Array, " width"]
    dim: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    activation: Callable = eqx.field(static=True)

    def __init__(self, dim: int, width: int, *, activation: Callable = GATE, key: Key):
        check_counts("Continuous", dim=dim, width=width)
        keys = jax.random.split(key, 3)
        self.dim, self.width, self.activation = dim, width, activation
        self.first = Dense(dim, width, key=keys[0])
        self.last = Dense(width, width, gain=2**0.5, key=keys[1])
        self.null = normal((width,), 1, 1.0, keys[2])

    def __call__(self, c: ArrayLike | None) -> Float[Array, " width"]:
        """The embedding of one vector (a bare number when `dim` is 1)."""
        if c is None:
            return self.null
        c = jnp.asarray(c, self.null.dtype)
        if c.size != self.dim:
            raise InputError(f"Continuous(dim={self.dim}) got a condition of shape {c.shape}; use vmap for a batch")
        missing = jnp.any(jnp.isnan(c))
        # NaN is taken out before the product: 0 * NaN would otherwise reach the gradients.
        safe = jnp.where(missing, 0.0, c.reshape(self.dim))
        return jnp.where(missing, self.null, self.last(self.activation(self.first(safe))))
