"""What it costs to move a unit of mass from one point to another.

Answers    c(x, y) for two points, and one point's costs to a whole cloud
Symbols    c -> the call; `unit` -> what a transported cost is measured in; `root` -> the power whose root is a distance
Cost       `row` is what solvers call: O(m d) for m points
Fails      the expanded form |x|^2 - 2 x.y + |y|^2 loses digits where clouds lie far from the origin: `PointCloud`
           moves both by the mean of one before it is used
"""

import abc
from collections.abc import Callable
from functools import reduce
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import Point
from ..core.spd import safe_root

# Below this many coordinates differences are both faster and more exact than a matrix product.
FEW = 8


class AbstractCost(eqx.Module):
    """c(x, y) of two points."""

    unit: ClassVar[str]

    @abc.abstractmethod
    def __call__(self, x: Point, y: Point) -> Float[Array, ""]:
        """The cost of moving a unit of mass from x to y."""

    def row(self, x: Point, y: Float[Array, "m *event"]) -> Float[Array, " m"]:
        """The costs from one point to a cloud."""
        return jax.vmap(self, in_axes=(None, 0))(x, y)

    def matrix(self, x: Float[Array, "n *event"], y: Float[Array, "m *event"]) -> Float[Array, "n m"]:
        """All costs."""
        return jax.vmap(self.row, in_axes=(0, None))(x, y)

    def gradient(self, x: Point, y: Point) -> Point:
        """The derivative in x."""
        return jax.grad(self)(x, y)


class SquaredEuclidean(AbstractCost):
    """|x - y|^2, whose transport cost is W2 squared."""

    unit: ClassVar[str] = "the data's unit squared (W2 squared)"

    def __call__(self, x, y):
        """|x - y|^2."""
        return jnp.sum((x - y) ** 2)

    def row(self, x, y):
        """|x - y_j|^2, never negative."""
        return squared_distances(x[None], y)[0]

    def matrix(self, x, y):
        """|x_i - y_j|^2, never negative."""
        return squared_distances(x, y)


class Euclidean(AbstractCost):
    """|x - y|, whose transport cost is W1."""

    unit: ClassVar[str] = "the data's unit (W1)"

    def __call__(self, x, y):
        """|x - y|, with derivative zero at x = y."""
        return safe_root(jnp.sum((x - y) ** 2))

    def row(self, x, y):
        """|x - y_j|."""
        return safe_root(SquaredEuclidean().row(x, y))

    def matrix(self, x, y):
        """|x_i - y_j|."""
        return safe_root(squared_distances(x, y))


class Manhattan(AbstractCost):
    """Sum of |x_k - y_k|, whose transport cost is W1 for that norm."""

    unit: ClassVar[str] = "the data's unit (W1 of the 1-norm)"

    def __call__(self, x, y):
        """Sum of |x_k - y_k|."""
        return jnp.sum(jnp.abs(x - y))


class Cosine(AbstractCost):
    """1 - cos of the angle between x and y; for points at the origin, 1."""

    unit: ClassVar[str] = "none (1 - cosine)"

    def __call__(self, x, y):
        """1 - x.y/|x||y|."""
        scale = jnp.sum(x**2) * jnp.sum(y**2)
        zero = scale == 0
        return 1 - jnp.where(zero, 0.0, jnp.sum(x * y) / jnp.sqrt(jnp.where(zero, 1.0, scale)))


class CustomCost(AbstractCost):
    """A cost from a function `fn(x, y) -> number`."""

    unit: ClassVar[str] = "the cost's own unit"
    fn: Callable

    def __call__(self, x, y):
        """The function."""
        return jnp.asarray(self.fn(x, y))


class Flipped(AbstractCost):
    """c(y, x): the cost seen from the other side."""

    unit: ClassVar[str] = "as the cost"
    cost: AbstractCost

    def __call__(self, x, y):
        """c(y, x)."""
        return self.cost(y, x)


COSTS: dict[str, Callable[[], AbstractCost]] = {
    "squared-euclidean": SquaredEuclidean,
    "euclidean": Euclidean,
    "manhattan": Manhattan,
    "cosine": Cosine,
}
SYMMETRIC = (SquaredEuclidean, Euclidean, Manhattan, Cosine)


def squared_distances(x: Float[Array, "n *event"], y: Float[Array, "m *event"]) -> Float[Array, "n m"]:
    """|x_i - y_j|^2 for all pairs, never negative."""
    x, y = x.reshape(x.shape[0], -1), y.reshape(y.shape[0], -1)
    if 0 < x.shape[1] <= FEW:
        # One coordinate at a time: a sum over a last axis of two or three numbers takes ten times as long.
        return reduce(jnp.add, ((u[:, None] - v) ** 2 for u, v in zip(x.T, y.T, strict=True)))
    return jnp.maximum(jnp.sum(x**2, 1)[:, None] + jnp.sum(y**2, 1) - 2 * x @ y.T, 0)
