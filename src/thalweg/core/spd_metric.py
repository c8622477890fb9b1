"""Riemannian metrics on symmetric positive definite matrices: Bures-Wasserstein, affine-invariant, log-Euclidean.

Answers    how far apart are two covariances, what is their mean, and how is a tangent vector carried to the identity?
Equations  Bures   d^2 = tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2;  g_A(V, V) = tr(L A L), L A + A L = V
                   Log_A B = (AB)^1/2 + (BA)^1/2 - 2A;  Exp_A V = (I + L) A (I + L), for I + L > 0 only
                   to I: U [sqrt(2 / (w_i + w_j)) o U^T V U] U^T
           affine  d = |log A^-1/2 B A^-1/2|;  to I: A^-1/2 V A^-1/2
           log-Euclidean  d = |log A - log B|
           general Bures: the pullback by phi(A) = L^-1 A^p L^-T, M = L L^T, with d divided by |p|        (2504.00660)
           mean    G <- Exp_G(mean_i Log_G X_i), which for Bures is G^-1/2 (mean_i (G^1/2 X_i G^1/2)^1/2)^2 G^-1/2
Symbols    L -> factor, p -> power, phi -> chart
Cost       one to three eigendecompositions a call; the mean one for each matrix and iteration
Fails      `exp` says whether I + L > 0: outside, the matrix that it returns is not the end of a geodesic. `mean`
           returns its residual: one iteration, from the average of ill-conditioned matrices, misses by a tenth of their
           spread. The affine-invariant iteration need not converge for matrices that are very far apart: the residual
           tells
"""

import abc
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from .errors import InputError
from .paper import Paper
from .spd import (
    Matrix,
    Scalar,
    check_spd,
    expm,
    logm,
    lyapunov,
    mean_root,
    mean_rsqrt,
    optimal_map,
    powm,
    rsqrtm,
    safe_root,
    sqrtm,
    squared_bures,
    sym,
)

Matrices = Float[Array, "batch n n"]


class SPDMean(eqx.Module):
    """A mean of matrices, with the evidence.

    Fields:
        value: the mean.
        residual: length of the average of Log_G X_i at G = value, zero at the true mean. The distance to that is about
            the same for condition numbers near 1, and two to three times as large for 1e6 under Bures-Wasserstein.
        spread: root of the mean squared distance to `value`, the scale to judge the residual by.
    """

    value: Matrix
    residual: Scalar
    spread: Scalar


class AbstractModel(eqx.Module):
    """A geometry whose operations have closed forms; all arguments are in its own coordinates."""

    @abc.abstractmethod
    def origin(self, n: int, dtype) -> Matrix:
        """The point whose tangent space is common ground."""

    @abc.abstractmethod
    def inner(self, A: Matrix, V: Matrix, W: Matrix) -> Scalar:
        """The inner product of two tangent vectors at A."""

    @abc.abstractmethod
    def log(self, A: Matrix, B: Matrix) -> Matrix:
        """The velocity at A of the geodesic that is at B after a unit of time."""

    @abc.abstractmethod
    def exp(self, A: Matrix, V: Matrix) -> tuple[Matrix, Bool[Array, ""]]:
        """Where the geodesic from A with velocity V is after a unit of time, and whether it is still one there."""

    @abc.abstractmethod
    def to_origin(self, A: Matrix, V: Matrix) -> Matrix:
        """Parallel transport of V from A to the origin along the geodesic."""

    @abc.abstractmethod
    def from_origin(self, A: Matrix, V: Matrix) -> Matrix:
        """Parallel transport of V from the origin to A along the geodesic."""

    @abc.abstractmethod
    def squared_distance(self, A: Matrix, B: Matrix) -> Scalar:
        """The squared length of the geodesic."""

    def mean(self, X: Matrices, weights: Float[Array, " batch"], iters: int) -> Matrix:
        """`iters` steps of unit length from the weighted average."""

        def step(_, G):
            logs = jax.vmap(lambda B: self.log(G, B))(X)
            return self.exp(G, jnp.tensordot(weights, logs, 1))[0]

        return jax.lax.fori_loop(0, iters, step, jnp.tensordot(weights, X, 1))


class Bures(AbstractModel):
    """The Bures-Wasserstein metric itself."""

    def origin(self, n, dtype):
        """The identity."""
        return jnp.eye(n, dtype=dtype)

    def inner(self, A, V, W):
        """tr(L_V A L_W) = tr(L_V W) / 2."""
        return 0.5 * jnp.sum(lyapunov(A, V) * sym(W))

    def log(self, A, B):
        """(AB)^1/2 + (BA)^1/2 - 2A."""
        product = optimal_map(A, B) @ A
        return product + product.T - 2 * A

    def exp(self, A, V):
        """(I + L) A (I + L), and whether I + L > 0."""
        push = jnp.eye(A.shape[-1], dtype=A.dtype) + lyapunov(A, V)
        return sym(push @ A @ push), jnp.linalg.eigvalsh(push)[0] > 0

    def to_origin(self, A, V):
        """U [sqrt(2 / (w_i + w_j)) o U^T V U] U^T."""
        return mean_rsqrt(A, V)

    def from_origin(self, A, V):
        """U [sqrt((w_i + w_j) / 2) o U^T V U] U^T."""
        return mean_root(A, V)

    def squared_distance(self, A, B):
        """|A^1/2 - B^1/2 Q|^2 with the best rotation Q."""
        return squared_bures(A, B)


class Affine(AbstractModel):
    """The affine-invariant metric, g_A(V, V) = |A^-1/2 V A^-1/2|^2."""

    def origin(self, n, dtype):
        """The identity."""
        return jnp.eye(n, dtype=dtype)

    def inner(self, A, V, W):
        """tr(A^-1 V A^-1 W)."""
        return jnp.sum(self.to_origin(A, V) * self.to_origin(A, W))

    def log(self, A, B):
        """A^1/2 log(A^-1/2 B A^-1/2) A^1/2."""
        return self.from_origin(A, logm(self.to_origin(A, B)))

    def exp(self, A, V):
        """A^1/2 exp(A^-1/2 V A^-1/2) A^1/2; it never leaves the cone."""
        return self.from_origin(A, expm(self.to_origin(A, V))), jnp.asarray(True)

    def to_origin(self, A, V):
        """A^-1/2 V A^-1/2."""
        R = rsqrtm(A)
        return sym(R @ V @ R)

    def from_origin(self, A, V):
        """A^1/2 V A^1/2."""
        S = sqrtm(A)
        return sym(S @ V @ S)

    def squared_distance(self, A, B):
        """|log A^-1/2 B A^-1/2|^2."""
        return jnp.sum(logm(self.to_origin(A, B)) ** 2)


class Flat(AbstractModel):
    """Symmetric matrices with the Frobenius norm."""

    def origin(self, n, dtype):
        return jnp.zeros((n, n), dtype)

    def inner(self, A, V, W):
        return jnp.sum(V * W)

    def log(self, A, B):
        return B - A

    def exp(self, A, V):
        return A + V, jnp.asarray(True)

    def to_origin(self, A, V):
        return V

    def from_origin(self, A, V):
        return V

    def squared_distance(self, A, B):
        return jnp.sum((A - B) ** 2)


class AbstractSPDMetric(eqx.Module):
    """A metric on the cone: the pullback by `chart` of a model in which everything has a closed form.

    Methods take one (n, n) matrix where they say `A`, `B` or `V`; `vmap` for many. Distances are multiplied by `unit`.
    """

    model: eqx.AbstractClassVar[AbstractModel]

    def chart(self, A: Matrix) -> Matrix:
        """The coordinates of A in the model: A itself unless a metric says otherwise."""
        return A

    def unchart(self, Y: Matrix) -> Matrix:
        """The matrix with these coordinates."""
        return Y

    @property
    def unit(self) -> float:
        """The factor between a length in the model and a length of this metric."""
        return 1.0

    @eqx.filter_jit
    def distance(self, A: Matrix, B: Matrix) -> Scalar:
        """The length of the geodesic. It has a cusp at A = B: differentiate `squared_distance` there."""
        return safe_root(self.squared_distance(A, B))

    @eqx.filter_jit
    def squared_distance(self, A: Matrix, B: Matrix) -> Scalar:
        """The square of `distance`, smooth everywhere."""
        return self.unit**2 * self.model.squared_distance(self.chart(A), self.chart(B))

    @eqx.filter_jit
    def inner(self, A: Matrix, V: Matrix, W: Matrix) -> Scalar:
        """The inner product of two tangent vectors at A."""
        Y, v = jax.jvp(self.chart, (A,), (V,))
        w = jax.jvp(self.chart, (A,), (W,))[1]
        return self.unit**2 * self.model.inner(Y, v, w)

    @eqx.filter_jit
    def log(self, A: Matrix, B: Matrix) -> Matrix:
        """The velocity at A of the geodesic that is at B after a unit of time."""
        Y = self.chart(A)
        return self._back(Y, self.model.log(Y, self.chart(B)))

    @eqx.filter_jit
    def exp(self, A: Matrix, V: Matrix) -> tuple[Matrix, Bool[Array, ""]]:
        """Where the geodesic from A with velocity V is after a unit of time, and whether it is still one there."""
        Y, v = jax.jvp(self.chart, (A,), (V,))
        end, inside = self.model.exp(Y, v)
        return self.unchart(end), inside

    @eqx.filter_jit
    def geodesic(self, A: Matrix, B: Matrix, t: ArrayLike) -> Matrix:
        """The point at time t of the geodesic from A at 0 to B at 1."""
        Y = self.chart(A)
        return self.unchart(self.model.exp(Y, jnp.asarray(t) * self.model.log(Y, self.chart(B)))[0])

    def origin(self, n: int, dtype=None) -> Matrix:
        """The matrix at the model's origin."""
        return self.unchart(self.model.origin(n, jnp.zeros(0, dtype).dtype))

    @eqx.filter_jit
    def to_origin(self, A: Matrix, V: Matrix) -> Matrix:
        """Parallel transport of V from A to `origin` along the geodesic."""
        Y, v = jax.jvp(self.chart, (A,), (V,))
        return self._back(self.model.origin(len(A), A.dtype), self.model.to_origin(Y, v))

    @eqx.filter_jit
    def from_origin(self, A: Matrix, V: Matrix) -> Matrix:
        """Parallel transport of V from `origin` to A along the geodesic."""
        start = self.unchart(self.model.origin(len(A), A.dtype))
        v = jax.jvp(self.chart, (start,), (V,))[1]
        return self._back(self.chart(A), self.model.from_origin(self.chart(A), v))

    def mean(self, X: ArrayLike, weights: ArrayLike | Sequence[float] | None = None, *, iters: int = 50) -> SPDMean:
        """The Frechet mean by `iters` steps from the average in the chart; 1 is what the batch norms of the papers do.

        Args:
            X: (batch, n, n).
            weights: (batch,), at least 0; equal ones unless given. They are divided by their sum.
            iters: known when the function is compiled, at least 0.

        Raises:
            InputError: for matrices that are not positive definite, weights that do not fit, or a negative `iters`.
        """
        X = check_spd("mean", "X", X, batch=1)
        if isinstance(iters, bool) or not isinstance(iters, int) or iters < 0:
            raise InputError(f"mean(iters={iters!r}): expected an integer of at least 0")
        w = normalised("mean", weights, len(X), X.dtype)
        return self._mean(X, w, iters)

    @eqx.filter_jit
    def _mean(self, X, w, iters):
        Y = jax.vmap(self.chart)(X)
        G = self.model.mean(Y, w, iters)
        logs = jax.vmap(lambda B: self.model.log(G, B))(Y)
        average = jnp.tensordot(w, logs, 1)
        residual = safe_root(self.model.inner(G, average, average))
        spread = safe_root(w @ jax.vmap(lambda V: self.model.inner(G, V, V))(logs))
        return SPDMean(self.unchart(G), self.unit * residual, self.unit * spread)

    def _back(self, Y, V):
        return jax.jvp(self.unchart, (Y,), (V,))[1]


class BuresWasserstein(AbstractSPDMetric):
    """The Bures-Wasserstein metric after A -> L^-1 A^p L^-T, with lengths divided by |p|.

    Fields:
        factor: L, whose lower triangle counts; M = L L^T is then positive definite as long as its diagonal has no zero.
            None is the identity.
        power: p. Towards 0 distances become half the log-Euclidean ones.

    Raises:
        InputError: for a power of zero, or a factor that is not square or has a zero on its diagonal.
    """

    paper: ClassVar[Paper] = Paper(
        "bures-wasserstein-batchnorm",
        "Learning to Normalize on the SPD Manifold under Bures-Wasserstein Geometry",
        "2504.00660",
        2025,
    )
    model: ClassVar[AbstractModel] = Bures()
    factor: Float[Array, "n n"] | None = None
    power: float = eqx.field(default=1.0, static=True)

    def __check_init__(self):
        if not (self.power != 0 and abs(self.power) < float("inf")):
            raise InputError(
                f"BuresWasserstein(power={self.power}): expected a number other than 0; LogEuclidean is p = 0"
            )
        if isinstance(self.factor, jax.Array) and not isinstance(self.factor, Tracer):
            diagonal = jnp.diagonal(self.factor)
            if not bool(jnp.all(jnp.isfinite(diagonal) & (diagonal != 0))):
                raise InputError(
                    f"BuresWasserstein(factor=...) has the diagonal {diagonal}; expected finite numbers other than 0: "
                    "start from the identity"
                )

    @property
    def unit(self):
        """1 / |p|."""
        return 1 / abs(self.power)

    def chart(self, A):
        """L^-1 A^p L^-T."""
        Y = powm(A, self.power)
        if self.factor is None:
            return Y
        # The paper multiplies by M^-1/2 on both sides. That differs by a rotation, which no result depends on, and the
        # triangular factor has a derivative everywhere.
        # The inverse of one small matrix is shared by a batch; on a CPU a solve for each is ten times as slow.
        L = jnp.tril(self.factor).astype(Y.dtype)
        inverse = jax.scipy.linalg.solve_triangular(L, jnp.eye(len(L), dtype=Y.dtype), lower=True)
        return sym(inverse @ Y @ inverse.T)

    def unchart(self, Y):
        """(L Y L^T)^(1/p)."""
        if self.factor is not None:
            L = jnp.tril(self.factor).astype(Y.dtype)
            Y = sym(L @ Y @ L.T)
        return powm(Y, 1 / self.power)


class AffineInvariant(AbstractSPDMetric):
    """The affine-invariant metric: distances do not change under A -> C A C^T."""

    model: ClassVar[AbstractModel] = Affine()


class LogEuclidean(AbstractSPDMetric):
    """The Frobenius norm of the difference of logarithms: the cone as a flat space."""

    model: ClassVar[AbstractModel] = Flat()

    def chart(self, A):
        """log A."""
        return logm(A)

    def unchart(self, Y):
        """exp Y."""
        return expm(Y)


def normalised(owner: str, weights: ArrayLike | Sequence[float] | None, count: int, dtype) -> Float[Array, " batch"]:
    """Weights divided by their sum; equal ones for None.

    Raises:
        InputError: for another number of weights, or ones that are negative, not finite or all zero.
    """
    if weights is None:
        return jnp.full(count, 1 / count, dtype)
    w = jnp.asarray(weights, dtype)
    if w.shape != (count,):
        raise InputError(f"{owner}: weights have shape {w.shape}; expected ({count},), one for each matrix")
    if not isinstance(w, Tracer) and not (bool(jnp.all(w >= 0)) and 0 < float(jnp.sum(w)) < float("inf")):
        raise InputError(f"{owner}: weights are {w}; expected finite numbers of at least 0, not all 0")
    return w / jnp.sum(w)
