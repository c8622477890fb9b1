"""The costs between two sides, as a matrix or as two clouds that never become one.

Answers    the three sums over a plan P = a b^T exp((f + g - C)/eps) that every entropic solver is made of
Equations  soft minimum   T(h)_i = -eps log sum_j exp((h_j - C_ij)/eps)
           row sums       sum_j exp((f_i + h_j - C_ij)/eps) v_j, and the same with C_ij in the sum
Symbols    h -> the potential of the other side plus eps times its log weights
Cost       O(n m) time; memory of the matrix, or for `PointCloud` of one block of rows
Fails      never overflows: each sum is taken relative to its largest term, or is at most the mass of the plan
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from ..core import InputError
from .cost import SYMMETRIC, AbstractCost, Flipped, SquaredEuclidean

# Numbers in one block of rows: small enough for the cache, large enough to be worth a loop.
BLOCK = 2**20
# A matrix of at most so many numbers is built once; one that leaves the cache is read more slowly than computed again.
LARGEST = 2**22


class AbstractGeometry(eqx.Module):
    """Costs c_ij for i < n, j < m."""

    @property
    @abc.abstractmethod
    def unit(self) -> str:
        """What the costs are measured in."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """n and m."""

    @property
    @abc.abstractmethod
    def dtype(self):
        """The precision of the costs."""

    @property
    @abc.abstractmethod
    def T(self) -> "AbstractGeometry":
        """The same seen from the other side."""

    @abc.abstractmethod
    def rows(self, fn: Callable, *given) -> Any:
        """`fn(row of costs (m,), *row of each given)` for every row, stacked; in blocks where that saves memory."""

    def matrix(self) -> Float[Array, "n m"]:
        """All the costs."""
        return self.rows(lambda c: c)

    def softmin(self, h: Float[Array, " m"], epsilon) -> Float[Array, " n"]:
        """T(h) for every row; +inf for a row that nothing reaches."""
        return self.rows(lambda c: -epsilon * logsumexp((h - c) / epsilon))

    def sums(self, f: Float[Array, " n"], h: Float[Array, " m"], epsilon, v=None) -> Float[Array, "n ..."]:
        """sum_j exp((f_i + h_j - C_ij)/eps) v_j for every row; v is (m, ...), ones when None."""

        def row(c, f_i):
            p = jnp.exp((f_i + h - c) / epsilon)
            return jnp.sum(p) if v is None else jnp.tensordot(p, v, axes=1)

        return self.rows(row, f)

    def cost_sums(self, f, h, epsilon) -> Float[Array, " n"]:
        """sum_j exp((f_i + h_j - C_ij)/eps) C_ij for every row."""
        return self.rows(lambda c, f_i: jnp.sum(jnp.exp((f_i + h - c) / epsilon) * c), f)

    def largest(self, f, h, epsilon, k: int) -> tuple[Float[Array, "n k"], Int[Array, "n k"]]:
        """The k largest exp((f_i + h_j - C_ij)/eps) of every row, and their columns."""

        def row(c, f_i):
            log_p = (f_i + h - c) / epsilon
            # In single precision: enough to choose by, and many times as fast as a selection in double.
            column = jax.lax.top_k(log_p.astype(jnp.float32), k)[1]
            return jnp.exp(log_p[column]), column

        return self.rows(row, f)

    def extremes(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The smallest and the largest cost."""
        low, high = self.rows(lambda c: (jnp.min(c), jnp.max(c)))
        return jnp.min(low), jnp.max(high)

    def spread(self) -> Float[Array, ""]:
        """The largest cost less the smallest."""
        low, high = self.extremes()
        return high - low


class Matrix(AbstractGeometry):
    """Costs as an (n, m) matrix."""

    costs: Float[Array, "n m"]
    measured_in: str = eqx.field(static=True, default="the cost's own unit")

    @property
    def unit(self):
        """What the costs are measured in."""
        return self.measured_in

    @property
    def shape(self):
        """n and m."""
        return self.costs.shape

    @property
    def dtype(self):
        """The precision of the costs."""
        return self.costs.dtype

    @property
    def T(self):
        """The transposed matrix."""
        return Matrix(self.costs.T, self.measured_in)

    def rows(self, fn, *given):
        """All rows at once."""
        return jax.vmap(fn)(self.costs, *given)


class PointCloud(AbstractGeometry):
    """Costs between two clouds, computed when they are needed, a block of rows at a time.

    Fields:
        x, y: the clouds, (n, *event) and (m, *event).
        cost: c(x, y).
        block: rows at once.
    """

    x: Float[Array, "n *event"]
    y: Float[Array, "m *other"]
    cost: AbstractCost = SquaredEuclidean()
    block: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.x.shape[1:] != self.y.shape[1:]:
            raise InputError(
                f"two clouds have points of shapes {self.x.shape[1:]} and {self.y.shape[1:]}; expected one"
            )
        if self.block is not None and self.block < 1:
            raise InputError(f"PointCloud(block={self.block}): expected at least one row")

    @property
    def unit(self):
        """What the cost is measured in."""
        return self.cost.unit

    @property
    def shape(self):
        """n and m."""
        return self.x.shape[0], self.y.shape[0]

    @property
    def dtype(self):
        """The precision of the clouds."""
        return jnp.result_type(self.x, self.y)

    @property
    def T(self):
        """The clouds exchanged."""
        turned = self.cost.cost if isinstance(self.cost, Flipped) else Flipped(self.cost)
        return PointCloud(self.y, self.x, self.cost if isinstance(self.cost, SYMMETRIC) else turned, self.block)

    def rows(self, fn, *given):
        """Block by block."""
        n, m = self.shape
        size = self.block or max(1, min(n, BLOCK // m))
        x, y = self._centred
        # Derivatives compute a block again rather than keep it, or their memory would be that of the matrix.
        one = jax.checkpoint(lambda row: fn(self.cost.row(row[0], y), *row[1:]))
        return jax.lax.map(one, (x, *given), batch_size=size)

    def stored(self) -> Matrix:
        """The matrix itself."""
        return Matrix(self.cost.matrix(*self._centred), self.unit)

    @property
    def _centred(self):
        # Differences do not feel a shift, and the expanded square keeps its digits.
        if not isinstance(self.cost, SquaredEuclidean):
            return self.x, self.y
        centre = jax.lax.stop_gradient(jnp.mean(self.y, axis=0))
        return self.x - centre, self.y - centre
