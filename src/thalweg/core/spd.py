"""Functions of symmetric positive definite matrices, with derivatives that stay finite at repeated eigenvalues.

Answers    root, inverse root, power, logarithm, exponential, floor of the eigenvalues; the X with A X + X A = V;
           the T with T A T = B
Equations  f(A) = U diag f(w) U^T;   Df(A)[E] = U (K o U^T E U) U^T,  K_ij = (f(w_i) - f(w_j)) / (w_i - w_j)
                                                                                      (Daleckii and Krein 1965)
           written without the difference: root 1 / (sqrt a + sqrt b);  log 2 artanh(r) / (r (a + b)), where
           r = (a - b)/(a + b);  exp e^max(a, b) (1 - e^-|a - b|) / |a - b|;  of a composition the product of both
Symbols    w, U -> eigenvalues and eigenvectors of A
Cost       one eigendecomposition, O(n^3), for the value and the derivative together
Fails      with NaN for a negative eigenvalue beyond rounding. An eigenvalue is known to about n eps |A|, so matrices
           whose condition number passes 1/eps want float64. Second derivatives are finite at repeated eigenvalues for
           `sqrtm`, `rsqrtm`, `lyapunov` and what is made of them; of the others, which differentiate the eigenvectors,
           they are NaN there
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .errors import InputError

Scalar = Float[Array, ""]
Matrix = Float[Array, "n n"]


class _Function(NamedTuple):
    """A function on the line and its divided differences."""

    value: Callable
    kernel: Callable


def sym(A: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """(A + A^T) / 2."""
    return 0.5 * (A + jnp.swapaxes(A, -1, -2))


@jax.jit
def sqrtm(A: Matrix) -> Matrix:
    """The positive root. Zero eigenvalues are allowed, and negative ones of the size of rounding are taken as zero."""
    return _root(A)[0]


@jax.jit
def rsqrtm(A: Matrix) -> Matrix:
    """A^(-1/2)."""
    return _inverse_root(A)[0]


@jax.jit
def lyapunov(A: Matrix, V: Matrix) -> Matrix:
    """The symmetric X with A X + X A = V, for A whose eigenvalues are positive and a symmetric V."""
    w, U = jnp.linalg.eigh(jax.lax.stop_gradient(A))
    return _solve(sym(A), sym(V), w, U)


@jax.custom_jvp
def _root(A):
    """S with S S = A, its eigenvalues and eigenvectors."""
    w, U = jnp.linalg.eigh(A)
    slack = A.shape[-1] * jnp.finfo(A.dtype).eps * jnp.max(jnp.abs(w))
    root = jnp.sqrt(jnp.where(w < -slack, jnp.nan, jnp.maximum(w, 0.0)))
    return _compose(U, root), root, U


@_root.defjvp
def _(primals, tangents):
    S, root, U = _root(primals[0])
    # S dS + dS S = dA. Nobody sees the eigenvectors outside, so that they need no derivative.
    dS = _solve(S, sym(tangents[0]), root, U)
    return (S, root, U), (dS, jnp.zeros_like(root), jnp.zeros_like(U))


@jax.custom_jvp
def _inverse_root(A):
    """R with R A R = I, the eigenvalues of A^(1/2) and the eigenvectors."""
    w, U = jnp.linalg.eigh(A)
    return _compose(U, jax.lax.rsqrt(w)), jnp.sqrt(w), U


@_inverse_root.defjvp
def _(primals, tangents):
    R, root, U = _inverse_root(primals[0])
    # dR = -R d(A^1/2) R, with A^1/2 = A R.
    dR = -R @ _solve(sym(primals[0] @ R), sym(tangents[0]), root, U) @ R
    return (R, root, U), (dR, jnp.zeros_like(root), jnp.zeros_like(U))


def _solve(A, V, w, U):
    """X with A X + X A = V. It is differentiated as the solution of this equation, never through w and U."""
    # Where both eigenvalues are zero there is no solution; rounding then decides how large the answer is.
    total = jnp.maximum(_sums(w), jnp.finfo(w.dtype).eps * jnp.max(jnp.abs(w)))
    w, U = jax.lax.stop_gradient((1 / total, U))
    return jax.lax.custom_linear_solve(lambda X: A @ X + X @ A, V, lambda _, b: _schur(U, w, b), symmetric=True)


@jax.jit
def logm(A: Matrix) -> Matrix:
    """The symmetric logarithm."""
    return _apply(_LOG, A)


@jax.jit
def expm(A: Matrix) -> Matrix:
    """The exponential of a symmetric matrix."""
    return _apply(_EXP, A)


@partial(jax.jit, static_argnums=1)
def powm(A: Matrix, power: float) -> Matrix:
    """A^power, for any real number that is known when the function is compiled."""
    # Products and roots have a derivative at singular matrices too, where the general rule takes a logarithm.
    if power in (1, 2, 3, 4):
        return jnp.linalg.matrix_power(sym(A), int(power))
    if abs(power) == 0.5:
        return sqrtm(A) if power > 0 else rsqrtm(A)
    return _apply(_power(float(power)), A)


@partial(jax.jit, static_argnums=1)
def floorm(A: Matrix, floor: float) -> Matrix:
    """A with every eigenvalue below `floor` raised to it."""
    return _apply(_floor(float(floor)), A)


@jax.jit
def mean_root(A: Matrix, V: Matrix) -> Matrix:
    """U [sqrt((w_i + w_j) / 2) o U^T V U] U^T: the root of X -> (A X + X A) / 2, applied to a symmetric V."""
    return _mean_root(A, V)


@jax.custom_jvp
def _mean_root(A, V):
    w, U = jnp.linalg.eigh(A)
    return _schur(U, jnp.sqrt(0.5 * _sums(w)), V)


@_mean_root.defjvp
def _(primals, tangents):
    root = lambda x: jnp.sqrt(0.5 * x)  # noqa: E731
    return _two_sided(root, lambda x, y: 0.5 / (root(x) + root(y)), primals, tangents)


@jax.jit
def mean_rsqrt(A: Matrix, V: Matrix) -> Matrix:
    """U [sqrt(2 / (w_i + w_j)) o U^T V U] U^T: the inverse of `mean_root`."""
    return _mean_rsqrt(A, V)


@jax.custom_jvp
def _mean_rsqrt(A, V):
    w, U = jnp.linalg.eigh(A)
    return _schur(U, jax.lax.rsqrt(0.5 * _sums(w)), V)


@_mean_rsqrt.defjvp
def _(primals, tangents):
    root = lambda x: jnp.sqrt(0.5 * x)  # noqa: E731
    kernel = lambda x, y: -0.5 / (root(x) * root(y) * (root(x) + root(y)))  # noqa: E731
    return _two_sided(lambda x: 1 / root(x), kernel, primals, tangents)


@jax.jit
def optimal_map(A: Matrix, B: Matrix) -> Matrix:
    """T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2, the positive matrix with T A T = B: the best map of N(0, A) to N(0, B)."""
    S, R = sqrtm(A), rsqrtm(A)
    return sym(R @ sqrtm(sym(S @ B @ S)) @ R)


def safe_root(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The root of numbers that are at least 0 up to rounding, with derivative 0 at 0; NaN stays NaN."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), jnp.where(x <= 0, 0.0, x))


@jax.jit
def squared_bures(A: Matrix, B: Matrix) -> Scalar:
    """tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, as |A^1/2 - Q B^1/2|^2 with the best rotation Q."""
    return _squared_bures(A, B)


@jax.custom_jvp
def _squared_bures(A, B):
    # tr A + tr B - 2 tr(.) loses half of the digits where A and B are close; the difference of roots does not.
    S, T = sqrtm(A), sqrtm(B)
    left, _, right = jnp.linalg.svd(T @ S)
    return jnp.sum((S - right.T @ left.T @ T) ** 2)


@_squared_bures.defjvp
def _(primals, tangents):
    (A, B), (dA, dB) = primals, tangents
    eye = jnp.eye(A.shape[-1], dtype=A.dtype)
    change = jnp.sum((eye - optimal_map(A, B)) * sym(dA)) + jnp.sum((eye - optimal_map(B, A)) * sym(dB))
    return _squared_bures(A, B), change


def check_spd(owner: str, name: str, A: ArrayLike | Sequence[Any], batch: int = 0) -> Float[Array, "..."]:
    """Refuse what is not a symmetric positive definite matrix (or, with `batch` leading axes, an array of them).

    Values are looked at unless they are being traced.

    Raises:
        InputError: for a shape that is not square, non-finite numbers, an asymmetry beyond rounding, or an eigenvalue
            that is not positive.
    """
    A = jnp.asarray(A)
    if A.ndim != 2 + batch or A.shape[-1] != A.shape[-2] or 0 in A.shape:
        expected = "(" + "batch, " * batch + "n, n)"
        raise InputError(f"{owner}: {name} has shape {A.shape}; expected {expected}, a square matrix for each")
    if not jnp.issubdtype(A.dtype, jnp.floating):
        A = A.astype(float)
    if isinstance(A, Tracer):
        return A
    host, eps = np.asarray(A, np.float64), float(jnp.finfo(A.dtype).eps)
    if not np.isfinite(host).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(host))[0]))
        raise InputError(f"{owner}: {name} has a non-finite number at {place}; expected finite ones: remove or fill it")
    skew = np.abs(host - np.swapaxes(host, -1, -2)).max()
    if skew > eps ** (2 / 3) * np.abs(host).max():
        raise InputError(
            f"{owner}: {name} differs from its transpose by {skew:.3g}; expected symmetry: use (A + A^T)/2"
        )
    low = np.linalg.eigvalsh(host)[..., 0]
    if low.min() <= 0:
        where = f" (matrix {int(low.argmin())})" if batch else ""
        raise InputError(
            f"{owner}: {name} has the eigenvalue {low.min():.3g}{where}; expected positive ones: "
            "add a small multiple of the identity"
        )
    return A


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _apply(fn, A):
    w, U = jnp.linalg.eigh(A)
    return _compose(U, fn.value(w))


@_apply.defjvp
def _(fn, primals, tangents):
    w, U = jnp.linalg.eigh(primals[0])
    slopes = fn.kernel(w[:, None], w[None, :])
    return _compose(U, fn.value(w)), _schur(U, slopes, sym(tangents[0]))


def _two_sided(value, kernel, primals, tangents):
    """Derivative of U [f(w_i + w_j) o U^T V U] U^T in both arguments, from f and its divided differences."""
    (A, V), (dA, dV) = primals, tangents
    w, U = jnp.linalg.eigh(A)
    total = _sums(w)
    V, dA, dV = (U.T @ sym(M) @ U for M in (V, dA, dV))
    # slopes[i, k, j] is the divided difference of f between w_i + w_j and w_k + w_j. The term with A to the right of V
    # is the transpose of the one with A to its left, because V is symmetric.
    slopes = kernel(total[:, None, :], total[None, :, :])
    left = jnp.einsum("ik,kj,ikj->ij", dA, V, slopes)
    weight = value(total)
    return U @ (weight * V) @ U.T, U @ (weight * dV + left + left.T) @ U.T


def _compose(U, values):
    return (U * values) @ U.T


def _schur(U, weight, V):
    return U @ (weight * (U.T @ V @ U)) @ U.T


def _sums(w):
    return w[:, None] + w[None, :]


def _log_kernel(a, b):
    r = (a - b) / (a + b)
    near = jnp.abs(r) < 0.5
    inner = jnp.where(near & (r != 0), r, 0.25)
    close = jnp.where(r == 0, 1.0, jnp.arctanh(inner) / inner) * 2 / (a + b)
    # Far apart, 1 - r has lost its digits and the logarithms have not.
    apart = (jnp.log(a) - jnp.log(b)) / jnp.where(near, 1.0, a - b)
    return jnp.where(near, close, apart)


def _exp_kernel(a, b):
    gap = jnp.abs(a - b)
    safe = jnp.where(gap > 0, gap, 1.0)
    return jnp.exp(jnp.maximum(a, b)) * jnp.where(gap > 0, -jnp.expm1(-safe) / safe, 1.0)


def _floor_kernel(floor, a, b):
    gap = jnp.where(a == b, 1.0, a - b)
    quotient = (jnp.maximum(a, floor) - jnp.maximum(b, floor)) / gap
    return jnp.where(a == b, (a > floor).astype(a.dtype), quotient)


_LOG, _EXP = _Function(jnp.log, _log_kernel), _Function(jnp.exp, _exp_kernel)


@lru_cache(maxsize=64)
def _power(p):
    def kernel(a, b):
        return p * _exp_kernel(p * jnp.log(a), p * jnp.log(b)) * _log_kernel(a, b)

    return _Function(lambda w: w**p, kernel)


@lru_cache(maxsize=64)
def _floor(floor):
    return _Function(lambda w: jnp.maximum(w, floor), lambda a, b: _floor_kernel(floor, a, b))
