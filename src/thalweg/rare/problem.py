"""From where to where: the problem of every method of this room, checked before anything runs.

Answers    are these two points that a noisy system rests at, so that a crossing without a final time makes sense?
Equations  |b| <= tolerance (1 + |x|) at both ends, in the largest of the coordinates;  a > 0
Symbols    b -> the system's drift, a -> its covariance
Cost       a drift and a covariance at two points; `fixed_point` a Jacobian an iteration
Fails      InputError with the drift at the point. At an end that is not a fixed point the crossing costs nothing more
           to wait at, and its action depends on the time allowed; where that is meant, tolerance=None says so
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..core import InputError
from ..core.checks import all_known, known, real
from ..core.types import Point
from .hamiltonian import AbstractSystem, as_matrix

# Steps towards a fixed point.
ITERATIONS = 200


class Crossing(eqx.Module):
    """A system, and the two points that a path is to join.

    Fields:
        system: an `AbstractSystem`.
        start: where the path begins, near a fixed point.
        end: where it ends, near a fixed point, or anywhere when `free_end`.
        tolerance: how large a drift may be at an end, relative to 1 + |x|; None accepts any.
        free_end: whether the end may be any point, as for the quasi-potential of that point.

    Raises:
        InputError: ends of different shapes or not finite; a drift that is NaN or too large there; a covariance that is
            not positive definite.
    """

    system: AbstractSystem
    start: Point = eqx.field(converter=real)
    end: Point = eqx.field(converter=real)
    tolerance: float | None = eqx.field(static=True, default=1e-3)
    free_end: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.start.ndim == 0 or self.start.shape != self.end.shape:
            raise InputError(
                f"Crossing(start of shape {self.start.shape}, end of shape {self.end.shape}): expected the same shape, "
                "of at least one axis"
            )
        if not all_known((self.start, self.end)) or not all_known(eqx.filter(self.system, eqx.is_array)):
            return
        for name, x in (("start", self.start), ("end", self.end)):
            _check_point(self.system, name, x)
            if self.tolerance is not None and not (name == "end" and self.free_end):
                _check_rest(self.system, name, x, self.tolerance)

    def reversed(self) -> "Crossing":
        """The way back."""
        return Crossing(self.system, self.end, self.start, self.tolerance, self.free_end)


def _check_point(system, name, x):
    if not np.isfinite(np.asarray(x)).all():
        raise InputError(f"Crossing: {name} = {show(x)} is not finite")
    b = np.asarray(system.drift(x))
    if b.shape != x.shape:
        raise InputError(f"Crossing: the drift at {name} has shape {b.shape}; expected that of the point, {x.shape}")
    if not np.isfinite(b).all():
        raise InputError(f"Crossing: the drift at {name} = {show(x)} is {show(b)}; expected finite numbers")
    a = np.asarray(as_matrix(jnp.asarray(system.covariance(x)), x))
    low = np.linalg.eigvalsh(a).min() if np.isfinite(a).all() else np.nan
    if not low > 0 or not np.allclose(a, a.T, rtol=1e-4, atol=1e-6 * np.abs(a).max()):
        raise InputError(
            f"Crossing: the covariance of the noise at {name} = {show(x)} has smallest eigenvalue {low:.3g}; expected "
            "a symmetric positive definite one. Give every coordinate some noise, and rates more than 0"
        )


def _check_rest(system, name, x, tolerance):
    size = float(np.abs(np.asarray(system.drift(x))).max())
    if size > tolerance * (1 + float(np.abs(np.asarray(x)).max())):
        also = ", or free_end=True for the quasi-potential of this point" if name == "end" else ""
        raise InputError(
            f"Crossing: |b| = {size:.3g} at {name} = {show(x)}, which is not a fixed point. Polish it with "
            f"fixed_point(system, {name}), or switch the check off with tolerance=None{also}"
        )


def show(x) -> str:
    """A point in a few words."""
    x = np.asarray(x, np.float64).ravel()
    few = ", ".join(f"{v:.4g}" for v in x[:4])
    return f"({few}{', ...' if x.size > 4 else ''})"


def fixed_point(system: AbstractSystem, guess: ArrayLike, *, tolerance: float | None = None) -> Point:
    """The point near `guess` where the drift vanishes, stable or not, by Levenberg-Marquardt steps.

    Args:
        tolerance: how large a drift may be left, relative to 1 + |x|; the precision of the numbers when None.

    Raises:
        InputError: when none was reached, with the drift that is left.
    """
    guess = real(guess)
    x, rest = _polish(system, guess)
    limit = tolerance if tolerance is not None else 100 * float(jnp.finfo(guess.dtype).eps)
    if known(rest) is not None and not float(rest) <= limit * (1 + float(jnp.max(jnp.abs(x)))):
        raise InputError(
            f"fixed_point: from {show(guess)} the drift came down to |b| = {float(rest):.3g} at {show(x)}, not to 0; "
            "start nearer to a fixed point"
        )
    return x


@eqx.filter_jit
def _polish(system, guess):
    """Levenberg-Marquardt steps, whose damping falls as long as they succeed, so that the last are Newton's."""
    eps = jnp.finfo(guess.dtype).eps

    def going(carry):
        x, b, _, k = carry
        return (k < ITERATIONS) & (jnp.max(jnp.abs(b)) > 2 * eps * (1 + jnp.max(jnp.abs(x))))

    def body(carry):
        x, b, damping, k = carry
        jacobian = jax.jacfwd(system.drift)(x).reshape(x.size, x.size)
        square = jacobian.T @ jacobian
        size = jnp.trace(square) / x.size + jnp.finfo(x.dtype).tiny
        step = jnp.linalg.solve(square + damping * size * jnp.eye(x.size, dtype=x.dtype), jacobian.T @ b.ravel())
        tried = x - step.reshape(x.shape)
        new = system.drift(tried)
        better = jnp.sum(new * new) < jnp.sum(b * b)
        damping = jnp.where(better, 0.1 * damping, 5 * damping)
        return jnp.where(better, tried, x), jnp.where(better, new, b), jnp.maximum(damping, eps**2), k + 1

    start = guess, system.drift(guess), jnp.asarray(1e-2, guess.dtype), 0
    x, b, _, _ = jax.lax.while_loop(going, body, start)
    return x, jnp.max(jnp.abs(b))


def growth_rates(system: AbstractSystem, x: ArrayLike) -> Float[Array, " d"]:
    """Real parts of the eigenvalues of the drift's Jacobian, falling: none above 0 is stable, one is a saddle."""
    x = real(x)
    jacobian = np.asarray(jax.jacfwd(system.drift)(x)).reshape(x.size, x.size)
    return jnp.asarray(np.sort(np.linalg.eigvals(jacobian).real)[::-1].copy(), x.dtype)
