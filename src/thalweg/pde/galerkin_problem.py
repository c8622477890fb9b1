"""An evolution equation seen through an ansatz: parameters instead of functions, points instead of integrals.

Answers    what is asked, what is left behind, and what one least-squares problem of a Galerkin method consists of
Equations  J_ik = d u_theta(x_i) / d theta_k,   f_i = f(t, x_i, u_theta);   eta = argmin |J eta - f|
           seen = (sum r_i^2)^2 / sum r_i^4,   r_i = |J_i|: how many points carry the Jacobian
Symbols    theta -> theta, eta -> eta, n points, p parameters
Cost       the Jacobian: n reverse passes and n p numbers
Fails      InputError for times that do not rise, an ansatz without parameters, or one that is not a number at a point
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..core import Cloud, InputError, Times
from ..core.checks import known, real
from .ansatz import moving
from .galerkin_points import View
from .galerkin_solve import AbstractLeastSquares


class Evolution(eqx.Module):
    """du/dt = rate(t, x, u), from an ansatz with its starting parameters.

    Fields:
        rate: the right-hand side at one point; `u` is a function of one point, so that `jax.grad(u)` is its gradient.
        u: the ansatz at times[0], a module whose value at a point is a number.
        times: rising; the solution is kept at each, and no step crosses one.
        free: which of its parameters move: `moving` (all), `amplitudes` (fixed features), or any function that takes
            the ansatz and returns True or False for each leaf.
    """

    rate: Callable
    u: Any
    times: Times = eqx.field(converter=real)
    free: Callable = moving

    def __check_init__(self):
        if self.times.ndim != 1 or self.times.shape[0] < 2:
            raise InputError(f"Evolution(times of shape {self.times.shape}): expected two or more times in a row")
        times = known(self.times)
        if times is not None and not (times[1:] > times[:-1]).all():
            raise InputError(f"Evolution(times={times}): expected rising times")

    def family(self) -> tuple[Float[Array, " p"], Callable]:
        """The starting parameters in a row, and the function that makes an ansatz of such a row."""
        free, rest = eqx.partition(self.u, self.free(self.u))
        theta, unravel = ravel_pytree(free)
        if theta.size == 0 or not jnp.issubdtype(theta.dtype, jnp.floating):
            raise InputError(
                f"Evolution: the ansatz {type(self.u).__name__} has no parameters of real numbers that move"
            )
        return theta, lambda row: eqx.combine(unravel(row), rest)


class Evolved(eqx.Module):
    """The ansatz at every time, its arrays stacked on a first axis; NaN at times that were not reached."""

    times: Times
    stacked: Any

    def at(self, i: int) -> Any:
        """The ansatz at times[i], a function of one point."""
        return jax.tree.map(lambda x: x[i] if eqx.is_array(x) else x, self.stacked)

    @property
    def last(self) -> Any:
        """The ansatz at the last time."""
        return self.at(-1)


class Look(eqx.Module):
    """One least-squares problem, solved: the rate, and what a careful scientist would ask of it."""

    eta: Float[Array, " p"]
    moved: Float[Array, " n"]
    residual: Float[Array, ""]
    size: Float[Array, ""]
    rank: Float[Array, ""]
    condition: Float[Array, ""]
    seen: Float[Array, ""]


class System(eqx.Module):
    """The equation for the parameters at the points of one step."""

    rate: Callable
    build: Callable
    points: Cloud
    least_squares: AbstractLeastSquares

    def values(self, theta: Float[Array, " p"]) -> Float[Array, " n"]:
        """u at the points."""
        return jax.vmap(self.build(theta))(self.points)

    def targets(self, t, theta) -> Float[Array, " n"]:
        """f at the points."""
        u = self.build(theta)
        return jax.vmap(lambda x: self.rate(t, x, u))(self.points)

    def jacobian(self, theta) -> Float[Array, "n p"]:
        """J at the points."""
        return jax.vmap(jax.grad(lambda row, x: self.build(row)(x)), (None, 0))(theta, self.points)

    def slopes(self, theta, eta) -> Float[Array, " n"]:
        """J eta, without J."""
        return jax.jvp(self.values, (theta,), (eta,))[1]

    def direction(self, t, theta) -> Look:
        """The rate of the parameters now."""
        jacobian, target = self.jacobian(theta), self.targets(t, theta)
        fitted = self.least_squares(jacobian, target)
        return look(fitted, jacobian, jacobian @ fitted.eta, target)


def view(rate, build, t, theta, eta) -> View:
    """The solution and its residual as functions of one point."""
    u = build(theta)

    def residual(x):
        slope = jax.jvp(lambda row: build(row)(x), (theta,), (eta,))[1]
        return slope - rate(t, x, u)

    return View(u, residual)


def look(fitted, jacobian, moved, target) -> Look:
    """What a solved problem says of itself; nothing here is differentiated."""
    jacobian, left, f = jax.lax.stop_gradient((jacobian, moved - target, target))
    size = jnp.linalg.norm(f)
    rows = jnp.linalg.norm(jacobian, axis=1)
    rows = rows / jnp.where(jnp.max(rows) == 0, 1.0, jnp.max(rows))
    fourth = jnp.sum(rows**4)
    seen = jnp.where(fourth == 0, 0.0, jnp.sum(rows**2) ** 2 / jnp.where(fourth == 0, 1.0, fourth))
    residual = jnp.where(size == 0, 0.0, jnp.linalg.norm(left) / jnp.where(size == 0, 1.0, size))
    return Look(fitted.eta, moved, residual, size, fitted.rank, fitted.condition, seen)
