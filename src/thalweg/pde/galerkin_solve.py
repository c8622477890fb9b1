"""The least-squares problem of a Galerkin step, which is nearly always singular.

Answers    which rate of the parameters makes J eta closest to f, when many rates do nearly as well?
Equations  Tikhonov   (J^T J + lam I) eta = J^T f,   lam = relative * mean of diag(J^T J);
                      rank = tr(J (J^T J + lam I)^{-1} J^T) = p - lam tr (J^T J + lam I)^{-1}
           Truncated  eta = sum over s_i > rcond s_1 of v_i (u_i . f) / s_i;   rank = how many
Symbols    J -> jacobian (n, p), f -> target (n,), eta -> eta (p,), s_i -> singular values of J
Cost       Tikhonov n p^2 + p^3, half of it in matrix products; Truncated about ten times that
Source     arXiv 2203.01360, section 3 (least squares on the sample Jacobian, never the inverse of J^T J)
Fails      J^T J squares the condition number, so that Tikhonov resolves singular values down to sqrt(relative) of the
           root mean square: about 1e-4 in double precision, and in single (relative is raised to what it carries) 1e-2.
           Truncated sees smaller ones, and is the worse for it: a cut that directions cross as they move makes eta jump
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
from jaxtyping import Array, Float

from ..core.checks import positive

# Products with the matrix in an estimate of its largest or smallest eigenvalue.
LOOKS = 6


class Rate(eqx.Module):
    """A solution, the number of directions that it could use, and the condition number of what was solved.

    The condition is of the problem with its regularisation, in singular values of J.
    """

    eta: Float[Array, " p"]
    rank: Float[Array, ""]
    condition: Float[Array, ""]


class AbstractLeastSquares(eqx.Module):
    """Minimises |J eta - f| with some regularisation; scaling J or f by a number scales eta accordingly."""

    @abc.abstractmethod
    def __call__(self, jacobian: Float[Array, "n p"], target: Float[Array, " n"]) -> Rate:
        """The rate of the parameters."""


class Tikhonov(AbstractLeastSquares):
    """Normal equations with a shift relative to the mean squared column of J, and one step of refinement.

    Fields:
        relative: the shift; never less than the precision of the numbers carries, 10 p units in the last place.
    """

    relative: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-8)

    def __check_init__(self):
        positive("Tikhonov", "relative", self.relative, "1e-8 in double precision, 1e-4 in single")

    def __call__(self, jacobian, target):
        """Solve by Cholesky's factors."""
        scale = _largest(jacobian)
        a, p, dtype = jacobian / scale, jacobian.shape[1], jacobian.dtype
        gram = a.T @ a
        level = jnp.trace(gram) / p
        floor = 10 * p * jnp.finfo(dtype).eps
        shift = jnp.maximum(self.relative.astype(dtype), floor) * jnp.where(level == 0, 1.0, level)
        matrix = gram + shift * jnp.eye(p, dtype=dtype)
        factor = jnp.linalg.cholesky(matrix)
        inverse = lambda b: jax.scipy.linalg.cho_solve((factor, True), b)  # noqa: E731
        eta = inverse(a.T @ target)
        # Residuals that are formed with J itself give back most of the digits that its square has lost.
        eta = eta + inverse(a.T @ (target - a @ eta) - shift * eta)
        quiet = jax.lax.stop_gradient
        half = jax.scipy.linalg.solve_triangular(quiet(factor), jnp.eye(p, dtype=dtype), lower=True)
        rank = p - quiet(shift) * jnp.sum(half**2)
        top = _rayleigh(lambda v: quiet(matrix) @ v, p, dtype)
        bottom = _rayleigh(lambda v: half.T @ (half @ v), p, dtype)
        return Rate(eta / scale, rank, jnp.sqrt(top * bottom))


class Truncated(AbstractLeastSquares):
    """Singular values below `rcond` times the largest are dropped.

    Fields:
        rcond: the cut.
    """

    rcond: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-4)

    def __check_init__(self):
        positive("Truncated", "rcond", self.rcond)

    def __call__(self, jacobian, target):
        """Solve by the singular value decomposition."""
        rcond = self.rcond.astype(jacobian.dtype)
        operator = lineax.MatrixLinearOperator(jacobian)
        solver = lineax.SVD(rcond)  # pyright: ignore[reportArgumentType]
        state = solver.init(operator, {})
        found = lineax.linear_solve(operator, target, solver, state=state, throw=False)
        values = jax.lax.stop_gradient(state[0][1])
        kept = values > rcond * values[0]
        last = jnp.min(jnp.where(kept, values, values[0]))
        condition = jnp.where(last > 0, values[0] / jnp.where(last > 0, last, 1.0), 1.0)
        return Rate(found.value, jnp.sum(kept).astype(jacobian.dtype), condition)


def _largest(jacobian):
    """The largest entry, so that a Jacobian of any size can be squared; 1 for one of zeros."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(jacobian)))
    return jnp.where(largest == 0, 1.0, largest)


def _rayleigh(product, p, dtype):
    """The largest eigenvalue by a few powers from a fixed direction: from below, and within a factor of about two."""
    v = jnp.cos(jnp.arange(1.0, p + 1, dtype=dtype) ** 2)
    v, _ = jax.lax.scan(lambda v, _: (product(v / jnp.linalg.norm(v)), None), v, None, length=LOOKS)
    return jnp.linalg.norm(v)
