"""Orbits of a velocity field that does not depend on time: points, Jacobians, and averages along them.

Answers    where was the point x before and where will it be, how much is volume stretched on the way, and what does a
           density integrate to along the orbit?
Equations  dX/dt = b(X), X_0 = x;   d(log J)/dt = (div b)(X), J_0 = 1, for both signs of the time:
           log J_t = int_0^t (div b)(X_s) ds, which for t < 0 is minus the integral from t to 0
           int f = h [f_0 (1/2 + h l_0'/12) + f_1 + ... + f_{k-1} + f_k (1/2 - h l_k'/12)],  l = log f
Symbols    b -> the field, J -> exp(log_j), h -> one step of the grid, the unit of all integrals here
Cost       4 evaluations of the field and its divergence a step, in both directions; memory of the whole orbit
Fails      a field that carries points to infinity in the time that is asked for gives numbers that are not finite;
           give the orbit a domain to stop in. Integrals assume that the grid resolves the orbit
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core import Cloud, InputError, Point, Times
from ..processes import ODE, RK4
from .autonomous import AbstractStill, papers

paper = papers[0]

# Weights of the ends of an integral stay positive when a cell is so wide that the correction makes no sense.
STEEPEST = 0.45


class Orbits(eqx.Module):
    """Orbits through `n` points on one grid of times.

    Fields:
        t: k = 2 steps + 1 times from -reach to reach.
        x: where each orbit is.
        log_j: log of the Jacobian of x -> X_t.
        inside: whether the orbit has stayed in the domain between time 0 and t; once out it stands still.
    """

    t: Times
    x: Float[Array, "n k *event"]
    log_j: Float[Array, "n k"]
    inside: Bool[Array, "n k"]


def orbits(
    field: AbstractStill, x0: Cloud, *, reach: float, steps: int, domain: Callable[[Point], Bool[Array, ""]] | None
) -> Orbits:
    """The orbits through `x0`, by the classical Runge-Kutta method in both directions of time.

    Args:
        field: the velocity.
        x0: (n, *event), the points at time 0.
        reach: how far in time, forwards and backwards.
        steps: in each direction.
        domain: x -> whether x is inside; None for the whole space.
    """
    event, size = x0.shape[1:], x0[0].size

    # One loop carries both directions: a point, its log Jacobian and the sign of its time.
    def packed(t, y):
        b, div = field.rates(y[:size].reshape(event))
        return y[-1] * jnp.concatenate([b.reshape(-1), div[None], jnp.zeros(1, y.dtype)])

    process, method, dt, unused = ODE(packed), RK4(), jnp.asarray(reach / steps, x0.dtype), jax.random.key(0)

    def within(y):
        if domain is None:
            return jnp.ones(len(y), bool)
        return jax.vmap(domain)(y[:, :size].reshape(len(y), *event))

    # A reverse pass keeps the points alone and computes the four stages again.
    @jax.checkpoint
    def ahead(carry, _):
        y, inside = carry
        moved = method.advance(process, jnp.zeros((), x0.dtype), dt, y, key=unused)
        y = moved if domain is None else jnp.where(inside[:, None], moved, y)
        inside = inside & within(y)
        return (y, inside), (y, inside)

    n, sign = len(x0), jnp.ones((len(x0), 1), x0.dtype)
    y0 = jnp.concatenate([x0.reshape(n, size), jnp.zeros_like(sign), sign], axis=1)
    y0 = jnp.concatenate([y0.at[:, -1].set(-1.0), y0])
    first = y0, within(y0)
    ys, insides = jax.lax.scan(ahead, first, None, length=steps)[1]
    y = jnp.concatenate([ys[::-1, :n], y0[None, n:], ys[:, n:]]).swapaxes(0, 1)
    inside = jnp.concatenate([insides[::-1, :n], first[1][None, n:], insides[:, n:]]).swapaxes(0, 1)
    t = dt * jnp.arange(-steps, steps + 1, dtype=x0.dtype)
    return Orbits(t, y[..., :size].reshape(*y.shape[:2], *event), y[..., size], inside)


def log_cells(log_f: Float[Array, " k"]) -> Float[Array, " k"]:
    """Logs of what each node adds to the integral of f over the whole grid, in units of a step; order 4.

    A trapezoid whose ends are corrected by the slope of log f there (Euler and Maclaurin), with positive weights.
    """
    slope = _slope(log_f)
    rest = jnp.zeros(log_f.shape[0] - 2, log_f.dtype)
    ends = jnp.log(0.5 + slope[0])[None], jnp.log(0.5 - slope[-1])[None]
    return log_f + jnp.concatenate([ends[0], rest, ends[1]])


def log_windows(log_f: Float[Array, " k"]) -> Float[Array, " m"]:
    """Logs of the integrals of f over nodes r, ..., r + steps for r = 0, ..., steps; k = 2 steps + 1, m = steps + 1.

    Every window holds the node in the middle, so that each is a sum from the middle to the left and one to the right:
    nothing is subtracted, and a window far below the largest value keeps its digits.
    """
    n = log_f.shape[0] // 2
    slope = _slope(log_f)
    nothing = jnp.full(2, -jnp.inf, log_f.dtype)
    outward = _cumulative(jnp.stack([log_f[1:n][::-1], log_f[n + 1 : 2 * n]], axis=1))
    left = jnp.concatenate([outward[::-1, 0], nothing])
    right = jnp.concatenate([nothing, outward[:, 1]])
    start = jnp.append(log_f[:n] + jnp.log(0.5 + slope[:n]), -jnp.inf)
    end = jnp.append(jnp.full(1, -jnp.inf, log_f.dtype), log_f[n + 1 :] + jnp.log(0.5 - slope[n + 1 :]))
    # The middle is inside all windows but the first, which it ends, and the last, which it begins.
    weight = jnp.zeros(n + 1, log_f.dtype).at[0].set(jnp.log(0.5 - slope[n])).at[n].set(jnp.log(0.5 + slope[n]))
    return jax.nn.logsumexp(jnp.stack([left, right, start, end, log_f[n] + weight]), axis=0)


def _cumulative(x):
    """log(e^{x_0} + ... + e^{x_j}) for each j; a loop: the parallel scan of `jax.lax` compiles slowly."""

    def add(total, value):
        total = jnp.logaddexp(total, value)
        return total, total

    return jax.lax.scan(add, jnp.full(x.shape[1:], -jnp.inf, x.dtype), x)[1]


def _slope(log_f):
    """h l' / 12 at every node, by differences of second order."""
    inner = (log_f[2:] - log_f[:-2]) / 2
    first = (-3 * log_f[0] + 4 * log_f[1] - log_f[2]) / 2
    last = (3 * log_f[-1] - 4 * log_f[-2] + log_f[-3]) / 2
    slope = jnp.concatenate([first[None], inner, last[None]]) / 12
    return jnp.clip(slope, -STEEPEST, STEEPEST)


class AbstractHorizon(eqx.Module):
    """Over which times an orbit is averaged, and how finely."""

    steps: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def span(self) -> float:
        """How far orbits are followed, in both directions of time."""

    @property
    @abc.abstractmethod
    def nodes(self) -> slice:
        """At which of the 2 steps + 1 times of an orbit the target is evaluated."""

    @abc.abstractmethod
    def log_weights(self, log_f0: Float[Array, " k"], log_f1: Float[Array, " m"]) -> Float[Array, " m"]:
        """log of what each node adds to A, from log F_0 at all times and log F_1 at `nodes`."""

    @abc.abstractmethod
    def cut_off(self, log_f0: Float[Array, " k"], log_f1: Float[Array, " m"]) -> Float[Array, ""]:
        """Share of an infinite integral in the outermost twentieth of the times; 0 where nothing is cut off."""

    @abc.abstractmethod
    def finer(self) -> "AbstractHorizon":
        """The same times with half the step."""


class FiniteTime(AbstractHorizon):
    """t in [t_minus, t_minus + 1] with `steps` steps: unbiased for any field, but for the error of the steps.

    Fields:
        t_minus: in [-1, 0], a multiple of 1 / steps.
        steps: per unit of time, at least 2.

    Raises:
        InputError: for other values.
    """

    t_minus: float = eqx.field(static=True, default=-0.5)
    steps: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        _check_steps(self)
        if not -1 <= self.t_minus <= 0:
            raise InputError(f"FiniteTime(t_minus={self.t_minus}): expected a time in [-1, 0]; t_plus is t_minus + 1")
        if abs(self.t_minus * self.steps - round(self.t_minus * self.steps)) > 1e-6:
            raise InputError(
                f"FiniteTime(t_minus={self.t_minus}, steps={self.steps}): expected t_minus on the grid, "
                f"a multiple of 1/{self.steps}; choose other steps"
            )

    @property
    def span(self):
        """One unit of time, whatever t_minus."""
        return 1.0

    @property
    def nodes(self):
        """Those of [t_minus, t_minus + 1]."""
        first = self.steps + round(self.t_minus * self.steps)
        return slice(first, first + self.steps + 1)

    def log_weights(self, log_f0, log_f1):
        """The outer integral of F_1 over the inner one of F_0; both in units of a step."""
        return log_cells(log_f1 - log_windows(log_f0))

    def cut_off(self, log_f0, log_f1):
        """Nothing is."""
        return jnp.zeros((), log_f0.dtype)

    def finer(self):
        """Twice the steps."""
        return FiniteTime(t_minus=self.t_minus, steps=2 * self.steps)


class InfiniteTime(AbstractHorizon):
    """All times, cut off at `reach` on both sides: unbiased only as far as both integrals have converged there.

    Fields:
        reach: in units of time, more than 0.
        steps: in each direction, at least 2.

    Raises:
        InputError: for other values.
    """

    reach: float = eqx.field(static=True, default=5.0)
    steps: int = eqx.field(static=True, default=200)

    def __check_init__(self):
        _check_steps(self)
        if not 0 < self.reach < np.inf:
            raise InputError(f"InfiniteTime(reach={self.reach}): expected a positive, finite time")

    @property
    def span(self):
        """The reach."""
        return self.reach

    @property
    def nodes(self):
        """All of them."""
        return slice(0, 2 * self.steps + 1)

    def log_weights(self, log_f0, log_f1):
        """Integral of F_1 over integral of F_0."""
        return log_cells(log_f1) - jax.nn.logsumexp(log_cells(log_f0))

    def cut_off(self, log_f0, log_f1):
        """The larger of the shares of the two integrals."""
        edge = max(1, self.steps // 20)
        share = [jax.nn.softmax(f) for f in (log_f0, log_f1)]
        outer = [jnp.maximum(jnp.sum(p[:edge]), jnp.sum(p[-edge:])) for p in share]
        return jnp.maximum(outer[0], outer[1])

    def finer(self):
        """Twice the steps."""
        return InfiniteTime(reach=self.reach, steps=2 * self.steps)


def _check_steps(horizon):
    if horizon.steps < 2:
        raise InputError(f"{type(horizon).__name__}(steps={horizon.steps}): expected at least 2")
