"""A transport problem: costs, two weights, and how strictly each weight is to be met.

Answers    what is to be carried where, at what cost, and is it allowed to lose or create mass?
Equations  min over P >= 0 of <P, C> + eps KL(P | a b^T) + D_a(P 1 | a) + D_b(P^T 1 | b)        (1607.05816)
           balanced: D demands equality;  unbalanced: D = rho KL
Symbols    C -> geometry, D_a, D_b -> left, right, rho -> reach
Cost       nothing is computed here
Fails      with one line for negative, non-finite or unnormalised weights, and for costs that are not finite
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..core import InputError, choose
from .cost import COSTS, AbstractCost
from .geometry import LARGEST, AbstractGeometry, Matrix, PointCloud


class AbstractMarginal(eqx.Module):
    """How strictly one marginal of the plan is to be its weight."""

    @abc.abstractmethod
    def damp(self, f: Float[Array, " n"], epsilon) -> Float[Array, " n"]:
        """The update of a potential from the one that would meet the weight exactly."""

    @abc.abstractmethod
    def dual(self, f: Float[Array, " n"], a: Float[Array, " n"]) -> Float[Array, ""]:
        """Its term -D*(-f) in the dual value."""

    @abc.abstractmethod
    def penalty(self, mass: Float[Array, " n"], a: Float[Array, " n"]) -> Float[Array, ""]:
        """Its term D(mass | a) in the primal value."""


class Fixed(AbstractMarginal):
    """The marginal is the weight."""

    def damp(self, f, epsilon):
        """The same."""
        return f

    def dual(self, f, a):
        """<f, a>, where points without mass do not count."""
        return jnp.sum(jnp.where(a > 0, a * f, 0.0))

    def penalty(self, mass, a):
        """Zero: what is missed is in the marginal error."""
        return jnp.zeros((), a.dtype)


class KL(AbstractMarginal):
    """rho KL(marginal | weight): mass is lost or made where carrying it would cost more than about `reach`.

    Fields:
        reach: rho > 0, in units of the cost.
    """

    reach: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if not isinstance(self.reach, Tracer) and not (self.reach.ndim == 0 and float(self.reach) > 0):
            raise InputError(f"KL(reach={self.reach}): expected one positive number, in units of the cost")

    def damp(self, f, epsilon):
        """f rho / (rho + eps)."""
        reach = self.reach.astype(f.dtype)
        return f * (reach / (reach + epsilon))

    def dual(self, f, a):
        """rho sum a (1 - exp(-f/rho))."""
        reach = self.reach.astype(f.dtype)
        return -reach * jnp.sum(jnp.where(a > 0, a * jnp.expm1(-f / reach), 0.0))

    def penalty(self, mass, a):
        """rho sum (mass log(mass/a) - mass + a)."""
        ratio = jnp.where((a > 0) & (mass > 0), mass / jnp.where(a > 0, a, 1.0), 1.0)
        return self.reach.astype(a.dtype) * jnp.sum(mass * jnp.log(ratio) - mass + a)


class Transport(eqx.Module):
    """Carry the weights `a` (n,) to `b` (m,) at the costs of `geometry`.

    `Transport(cost, a, b)` takes a cost matrix (n, m); `Transport.points(x, y)` two clouds, whose matrix is never built
    when it is large.

    Fields:
        geometry: a matrix of costs or any `AbstractGeometry`.
        a, b: weights, which sum to one unless the problem is unbalanced.
        left, right: `Fixed()`, or `KL(reach)` for a side that may lose or make mass.

    Raises:
        InputError: weights that are negative, not finite, or do not sum to one; costs that are not finite.
    """

    geometry: AbstractGeometry = eqx.field(converter=lambda g: g if isinstance(g, AbstractGeometry) else Matrix(g))
    a: Float[Array, " n"] = eqx.field(converter=jnp.asarray)
    b: Float[Array, " m"] = eqx.field(converter=jnp.asarray)
    left: AbstractMarginal = Fixed()
    right: AbstractMarginal = Fixed()

    def __check_init__(self):
        n, m = self.geometry.shape
        if self.a.shape != (n,) or self.b.shape != (m,):
            raise InputError(f"costs of shape {(n, m)} with weights of shapes {self.a.shape} and {self.b.shape}")
        if n == 0 or m == 0:
            raise InputError(f"costs of shape {(n, m)}: expected at least one point on each side")
        for name, w in (("a", self.a), ("b", self.b)):
            _weights(name, w, self.balanced)
        for name, x in _arrays(self.geometry):
            if not isinstance(x, Tracer) and not np.isfinite(np.asarray(x)).all():
                at = ", ".join(map(str, np.argwhere(~np.isfinite(np.asarray(x)))[0]))
                raise InputError(f"the {name} have a non-finite number at [{at}]; remove or fill it")

    @property
    def balanced(self) -> bool:
        """Whether both weights are to be met."""
        return isinstance(self.left, Fixed) and isinstance(self.right, Fixed)

    @property
    def T(self) -> "Transport":
        """The problem seen from the other side."""
        return Transport(self.geometry.T, self.b, self.a, self.right, self.left)

    @classmethod
    def uniform(cls, cost) -> "Transport":
        """Equal weights on both sides."""
        n, m = cost.shape
        dtype = cost.dtype
        return cls(cost, jnp.full(n, 1 / n, dtype), jnp.full(m, 1 / m, dtype))

    @classmethod
    def points(
        cls,
        x,
        y,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        cost: AbstractCost | str = "squared-euclidean",
        left: AbstractMarginal | None = None,
        right: AbstractMarginal | None = None,
        block: int | None = None,
    ) -> "Transport":
        """Between two clouds (n, *event) and (m, *event), with equal weights unless given.

        Args:
            cost: an `AbstractCost`, or the name of one: squared-euclidean, euclidean, manhattan, cosine.
            left, right: as for `Transport`.
            block: rows of the matrix that are in memory at once; chosen by size when None.
        """
        x, y = _cloud("x", x), _cloud("y", y)
        chosen = COSTS[choose("cost", cost, COSTS)]() if isinstance(cost, str) else cost
        geometry = PointCloud(x, y, chosen, block)
        n, m = geometry.shape
        dtype = geometry.dtype
        a = jnp.full(n, 1 / n, dtype) if a is None else jnp.asarray(a, dtype)
        b = jnp.full(m, 1 / m, dtype) if b is None else jnp.asarray(b, dtype)
        return cls(geometry, a, b, left or Fixed(), right or Fixed())

    def stored(self) -> "Transport":
        """The same with the matrix of a cloud built, if it is small enough to pay; else unchanged."""
        g = self.geometry
        if not isinstance(g, PointCloud) or g.block is not None or g.shape[0] * g.shape[1] > LARGEST:
            return self
        return eqx.tree_at(lambda p: p.geometry, self, g.stored())


def per_condition(x, y, cx, cy, **options) -> dict:
    """One `Transport.points` for each label that both sides have; `options` are handed on.

    Args:
        x, y: (n, *event) and (m, *event).
        cx, cy: (n,) and (m,) labels; no mass crosses from one label to another.

    Raises:
        InputError: when a label is on one side only, which no plan can carry.
    """
    cx, cy = np.asarray(cx), np.asarray(cy)
    x, y = np.asarray(x), np.asarray(y)
    for name, points, labels in (("x", x, cx), ("y", y, cy)):
        if labels.shape != (len(points),):
            raise InputError(f"{name} has {len(points)} points and labels of shape {labels.shape}; expected one each")
    alone = sorted(set(cx.tolist()) ^ set(cy.tolist()))
    if alone:
        raise InputError(f"label {alone[0]!r} is on one side only; drop its points, or solve across labels")
    return {label: Transport.points(x[cx == label], y[cy == label], **options) for label in np.unique(cx).tolist()}


def _cloud(name, x):
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    if x.ndim < 2:
        raise InputError(f"{name} has shape {x.shape}; expected (n, d): on a line, x[:, None] or `exact_1d`")
    return x


def _weights(name, w, normalised):
    if isinstance(w, Tracer):
        return
    w = np.asarray(w, np.float64)
    if not np.isfinite(w).all() or (w < 0).any():
        at = int(np.argwhere(~np.isfinite(w) | (w < 0))[0, 0])
        raise InputError(f"weights {name} have {w[at]:g} at {at}; expected finite numbers of at least 0")
    total = w.sum()
    if not total > 0:
        raise InputError(f"weights {name} sum to 0; expected some mass")
    if normalised and abs(total - 1) > 1e-4:
        raise InputError(f"weights {name} sum to {total:.6g}; expected 1: divide by the sum, or use KL marginals")


def _arrays(geometry):
    if isinstance(geometry, Matrix):
        return [("costs", geometry.costs)]
    return [("points x", geometry.x), ("points y", geometry.y)] if isinstance(geometry, PointCloud) else []
