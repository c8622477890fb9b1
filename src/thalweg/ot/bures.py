"""Optimal transport between Gaussians, where everything has a closed form or a short iteration.

Answers    how far apart are two Gaussians, which map carries one to the other, and what is their barycentre?
Equations  W2^2 = |m1 - m2|^2 + d^2(S1, S2),  d^2 = tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2
           T(x) = m2 + S1^-1/2 (S1^1/2 S2 S1^1/2)^1/2 S1^-1/2 (x - m1)
           barycentre: G <- G^-1/2 (sum_i w_i (G^1/2 S_i G^1/2)^1/2)^2 G^-1/2              (Alvarez-Esteban et al. 2016)
           entropic, min <P, |x - y|^2> + eps KL(P | a x b), s = eps/2, mu the eigenvalues of S1^1/2 S2 S1^1/2:
             |m1 - m2|^2 + tr S1 + tr S2 - tr D + s (n - n log(2 s) + log det(D + s)), D = (4 mu + s^2)^1/2
                                                                                    (2006.02572, theorem 1, s = sigma^2)
Symbols    S1, S2 -> covariances; m1, m2 -> means; G -> value
Cost       O(n^3); the barycentre that, for each matrix and step
Fails      with an InputError for what is not a covariance. `bures_mean` returns a status: max_steps or precision when
           its residual is still above the tolerance. Reverse-mode derivatives do not pass through its loop;
           `BuresWasserstein().mean` takes a fixed number of steps and has them
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int

from ..core.errors import InputError
from ..core.method import Status
from ..core.paper import Paper
from ..core.spd import check_spd, optimal_map, safe_root, sqrtm, sym
from ..core.spd_metric import BuresWasserstein, normalised

papers = (
    Paper("entropic-gaussians", "Entropic Optimal Transport between Unbalanced Gaussian Measures has a Closed Form",
          "2006.02572", 2020, "theorem 1"),
)  # fmt: skip

_METRIC = BuresWasserstein()


class GaussianMap(eqx.Module):
    """The best map between two Gaussians, x -> m2 + T (x - m1), and what it costs.

    Fields:
        distance: W2 (not squared), in the units of the data.
        matrix: T, symmetric positive definite.
    """

    distance: Float[Array, ""]
    matrix: Float[Array, "n n"]
    source: Float[Array, " n"]
    target: Float[Array, " n"]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The image of one point; `vmap` for a cloud."""
        return self.target + self.matrix @ (x - self.source)


class BuresMean(eqx.Module):
    """A Bures-Wasserstein mean: `residual` is the length of the mean Log at `value`, relative to the spread.

    `status` is `converged`, `max_steps`, `precision` (the residual no longer falls) or `nonfinite`.
    """

    value: Float[Array, "n n"]
    residual: Float[Array, ""]
    num_steps: Int[Array, ""]
    status: Any


def bures_wasserstein(A: ArrayLike | Sequence[Any], B: ArrayLike | Sequence[Any]) -> Float[Array, ""]:
    """The Bures-Wasserstein distance (not squared) of two covariances: W2 of the centred Gaussians.

    Raises:
        InputError: for a matrix that is not symmetric positive definite, or two of different sizes.
    """
    A, B = _pair("bures_wasserstein", A, B)
    return _METRIC.distance(A, B)


def gaussian_wasserstein(
    m1: ArrayLike | Sequence[float],
    S1: ArrayLike | Sequence[Any],
    m2: ArrayLike | Sequence[float],
    S2: ArrayLike | Sequence[Any],
) -> GaussianMap:
    """W2 between N(m1, S1) and N(m2, S2), with the map that attains it.

    Raises:
        InputError: for a matrix that is not symmetric positive definite, or sizes that differ.
    """
    m1, S1, m2, S2 = _gaussians("gaussian_wasserstein", m1, S1, m2, S2)
    squared = jnp.sum((m1 - m2) ** 2) + _METRIC.squared_distance(S1, S2)
    return GaussianMap(safe_root(squared), optimal_map(S1, S2), m1, m2)


def entropic_gaussian(
    m1: ArrayLike | Sequence[float],
    S1: ArrayLike | Sequence[Any],
    m2: ArrayLike | Sequence[float],
    S2: ArrayLike | Sequence[Any],
    epsilon: ArrayLike,
) -> Float[Array, ""]:
    """min <P, C> + eps KL(P | a x b) between two Gaussians, C = |x - y|^2: from W2^2 (eps -> 0) to the mean of C.

    Raises:
        InputError: for a matrix that is not symmetric positive definite, sizes that differ, or a regularisation that is
            not positive.
    """
    m1, S1, m2, S2 = _gaussians("entropic_gaussian", m1, S1, m2, S2)
    if not isinstance(epsilon, Tracer) and not (np.ndim(epsilon) == 0 and np.all(np.asarray(epsilon) > 0)):
        raise InputError(f"entropic_gaussian(epsilon={epsilon}): expected a positive number, in units of the cost")
    s = 0.5 * jnp.asarray(epsilon, S1.dtype)
    root = sqrtm(S1)
    mu = jnp.maximum(jnp.linalg.eigvalsh(sym(root @ S2 @ root)), 0.0)
    D = jnp.sqrt(4 * mu + s**2)
    # The theorem's -D + s and log((D + s) / 2s), without the difference that cancels when eps is large.
    gain = -4 * mu / (D + s) + s * jnp.log1p(2 * mu / (s * (D + s)))
    return jnp.sum((m1 - m2) ** 2) + jnp.trace(S1) + jnp.trace(S2) + jnp.sum(gain)


def bures_mean(
    covariances: ArrayLike | Sequence[Any],
    weights: ArrayLike | Sequence[float] | None = None,
    *,
    tolerance: float = 1e-5,
    max_steps: int = 200,
) -> BuresMean:
    """The barycentre of covariances, iterated until its residual is below `tolerance` times their spread.

    Args:
        covariances: (batch, n, n).
        weights: (batch,), at least 0; equal ones unless given. They are divided by their sum.
        tolerance: the largest residual that is good enough; single precision reaches about 1e-5.
        max_steps: the most iterations.

    Raises:
        InputError: for matrices that are not symmetric positive definite, weights that do not fit, a tolerance that is
            not positive or a number of steps that is not a positive integer.
    """
    X = check_spd("bures_mean", "covariances", covariances, batch=1)
    w = normalised("bures_mean", weights, len(X), X.dtype)
    if not tolerance > 0:
        raise InputError(f"bures_mean(tolerance={tolerance}): expected a positive number, relative to the spread")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise InputError(f"bures_mean(max_steps={max_steps!r}): expected an integer of at least 1")
    return _iterate(X, w, jnp.asarray(tolerance, X.dtype), max_steps)


@partial(jax.jit, static_argnums=3)
def _iterate(X, w, tolerance, max_steps):
    model = _METRIC.model

    def look(G):
        """The mean tangent vector and its length relative to the spread."""
        logs = jax.vmap(lambda B: model.log(G, B))(X)
        average = jnp.tensordot(w, logs, 1)
        spread = safe_root(w @ jax.vmap(lambda V: model.inner(G, V, V))(logs))
        # Matrices that are equal up to rounding have no spread to compare with.
        floor = jnp.sqrt(jnp.finfo(G.dtype).eps * jnp.trace(G))
        return average, safe_root(model.inner(G, average, average)) / jnp.maximum(spread, floor)

    def unfinished(carry):
        # A residual that is not a number ends the loop as well: no comparison with it is true.
        _, _, residual, before, count = carry
        return (residual > tolerance) & (residual < before) & (count < max_steps)

    def advance(carry):
        G, average, residual, _, count = carry
        G = model.exp(G, average)[0]
        return (G, *look(G), residual, count + 1)

    start = jnp.tensordot(w, X, 1)
    first = (start, *look(start), jnp.asarray(jnp.inf, X.dtype), jnp.zeros((), int))
    G, _, residual, before, count = jax.lax.while_loop(unfinished, advance, first)
    stuck = Status.where(residual >= before, Status.precision, Status.max_steps)
    status = Status.where(residual <= tolerance, Status.converged, stuck)
    return BuresMean(G, residual, count, Status.where(jnp.isfinite(residual), status, Status.nonfinite))


def _pair(owner, A, B):
    A, B = check_spd(owner, "the first matrix", A), check_spd(owner, "the second matrix", B)
    if A.shape != B.shape:
        raise InputError(f"{owner}: the matrices have shapes {A.shape} and {B.shape}; expected the same")
    dtype = jnp.result_type(A, B)
    return A.astype(dtype), B.astype(dtype)


def _gaussians(owner, m1, S1, m2, S2):
    S1, S2 = _pair(owner, S1, S2)
    m1, m2 = jnp.asarray(m1, S1.dtype), jnp.asarray(m2, S1.dtype)
    if m1.shape != S1.shape[:1] or m2.shape != m1.shape:
        raise InputError(
            f"{owner}: the means have shapes {m1.shape} and {m2.shape}; expected {S1.shape[:1]}, to fit the covariances"
        )
    return m1, S1, m2, S2
