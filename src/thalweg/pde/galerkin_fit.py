"""The parameters to start from.

Answers    which parameters make u_theta closest to u_0, and how close is that?
Equations  minimise sum_i (u_theta(x_i) - u_0(x_i))^2 by Levenberg and Marquardt: (J^T J + lam) d = -J^T r
           error = |u_theta - u_0| / |u_0| at the points
Symbols    theta -> what `draw` returns, x_i -> points, r -> the differences
Cost       n p^2 + p^3 an iteration of optimistix's, compiled once for all restarts
Source     arXiv 2203.01360 takes Adam
Fails      a start is one of many local minima: restarts differ by orders of magnitude, and the best is kept. Its error
           is the floor of everything that follows; `max_steps` when it is above `tolerance`. A unit narrower than the
           distance of two points costs a fit nothing, and no explicit step can follow it: take points close together,
           and look at the error at others (`relative_error`)
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import optimistix
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..core import Cloud, InputError, Key, Status, StatusError, succeeded
from .ansatz import moving

# A step that moves nothing by more than this, relatively, is the last.
SETTLED = 1e-10


class FittedStart(eqx.Module):
    """The best ansatz, its relative L2 error at the points, and those of all restarts before it was polished."""

    u: Any
    error: Float[Array, ""]
    errors: Float[Array, " restarts"]
    status: Any


def relative_error(u: Callable, v: Callable, points: Cloud) -> Float[Array, ""]:
    """|u - v| / |v| over the points, for two functions of one point."""
    a, b = jax.vmap(u)(points), jax.vmap(v)(points)
    return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)


def fit_start(
    draw: Callable,
    target: Callable,
    points: Cloud,
    *,
    key: Key,
    restarts: int = 5,
    steps: int = 200,
    polish: int = 1000,
    tolerance: float = 1e-2,
    throw: bool = True,
) -> FittedStart:
    """Fit an ansatz to the start of an evolution.

    Args:
        draw: key -> an ansatz with random parameters: `lambda key: PeriodicUnits.random(10, -20.0, 40.0, key=key)`.
        target: u_0, a function of one point.
        points: where to fit: a grid, or draws of where u_0 is; many more than parameters.
        restarts: how many draws to fit.
        steps: Levenberg-Marquardt iterations for each.
        polish: more of them for the best.
        tolerance: relative L2 error that is good enough.
        throw: raise when the best fit is worse than that (`False` returns it, with its status).

    Raises:
        InputError: for counts below 1, or a target that is zero at all points.
        StatusError: when no restart came below the tolerance.
    """
    if restarts < 1 or steps < 1 or polish < 0:
        raise InputError(f"fit_start(restarts={restarts}, steps={steps}, polish={polish}): expected 1, 1 and 0 or more")
    values = jax.vmap(target)(points)
    if not bool(jnp.linalg.norm(values) > 0):
        raise InputError("fit_start: the target is zero (or NaN) at every point; take points where it is not")
    make = eqx.filter_jit(draw)
    fits = [_fit(make(k), values, points, steps) for k in jax.random.split(key, restarts)]
    errors = jnp.stack([error for _, error in fits])
    u, error = fits[int(jnp.argmin(jnp.where(jnp.isfinite(errors), errors, jnp.inf)))]
    if polish:
        u, error = _fit(u, values, points, polish)
    status = Status.where(error <= tolerance, Status.converged, Status.max_steps)
    status = Status.where(jnp.isfinite(error), status, Status.nonfinite)
    found = FittedStart(u, error, errors, status)
    if throw and not bool(succeeded(status)):
        told = f"the best of {restarts} fits has a relative error of {float(error):.2g}, asked for {tolerance:.2g}"
        raise StatusError(f"{told}: {Status[status]}", found)
    return found


@eqx.filter_jit
def _fit(u, values, points, steps):
    """The ansatz after at most so many iterations, and its error."""
    free, rest = eqx.partition(u, moving(u))
    theta, unravel = ravel_pytree(free)
    build = lambda row: eqx.combine(unravel(row), rest)  # noqa: E731
    norm = jnp.linalg.norm(values)

    def differences(row, _):
        return (jax.vmap(build(row))(points) - values) / norm

    # Few parameters and many points: J^T J is small, and its condition is what the damping is for.
    solver = optimistix.LevenbergMarquardt(SETTLED, SETTLED, linear_solver=lineax.Normal(lineax.Cholesky()))
    found = optimistix.least_squares(differences, solver, theta, max_steps=steps, throw=False)
    return build(found.value), jnp.linalg.norm(differences(found.value, None))
