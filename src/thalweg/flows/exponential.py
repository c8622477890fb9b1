"""Fast solvers of the probability flow on one-sided paths: the linear part of the flow is solved exactly.

Answers    how is a sample drawn with ten or twenty evaluations of the net instead of a hundred?
Equations  x_t = alpha z + beta x1,  lambda = log(beta/alpha),  h = lambda' - lambda,  ' at the end of the step
           DDIM         x' = (beta'/beta) x - alpha' (e^h - 1) eta(t, x)                           order 1, 1 evaluation
           DPMSolver2   u at lambda + h/2 by DDIM;  x' = (beta'/beta) x - alpha' (e^h - 1) eta(u)  order 2, 2
           DPMSolver3   u1 at lambda + h/3 by DDIM, D1 = eta(u1) - eta;  with k = 2h/3 and (a2, b2) there
                            u2 = (b2/beta) x - a2 (e^k - 1) eta - 2 a2 ((e^k - 1)/k - 1) D1
                            x' = (beta'/beta) x - alpha' (e^h - 1) eta - (3/2) alpha' ((e^h - 1)/h - 1) (eta(u2) - eta)
                                                                                                   order 3, 3
           DPMSolver2M  D = x1^ + (h/2h_prev)(x1^ - x1^_prev),  x1^ = (x - alpha eta)/beta
                            x' = (alpha'/alpha) x - beta' (e^-h - 1) D                             order 2, 1
           (2510.21890, the chapter on fast solvers; 2206.00927; 2211.01095; its alpha is our beta, its sigma our alpha)
Symbols    lambda -> half_log_snr; eta -> the motion's denoiser; x1^ -> clean
Time       0 is noise and 1 the data, so lambda rises with t (the sources count time from the data); runs either way
Cost       the evaluations above a step and one cloud more for DPMSolver2M; inner times by bisection, on scalars
Fails      alpha or beta zero at a time of the grid (lambda is infinite there: stay `EDGE` off the ends), and grids on
           which lambda does not follow t, are refused. At very few evaluations a high order is no help: on the
           two-mode case of the tests DPMSolver2 with 12 of them is worse than DDIM with 12
"""

import abc
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..core import Cloud, InputError, Key, Paper, Time, Times
from ..processes import AbstractSimulator, AbstractStepper, Simulate
from ..processes.problem import StepState, report
from .convert import EDGE
from .guidance import paper as PRINCIPLES
from .motion import AbstractMotion, FlowODE
from .path import AbstractOneSided, AbstractPath

S = TypeVar("S")
V = TypeVar("V")


def half_log_snr(path: AbstractOneSided, t: Time) -> Time:
    """lambda(t) = log(beta/alpha): minus infinity where only noise is left, infinity where none is."""
    return jnp.log(path.beta(t)) - jnp.log(path.alpha(t))


def half_log_snr_grid(path: AbstractPath, steps: int, t0: float = EDGE, t1: float = 1 - EDGE) -> Times:
    """Times (steps + 1,) from t0 to t1 at equal distances in lambda: the grid that these solvers are made for.

    Args:
        path: a one-sided path whose lambda rises with t.
        steps: at least 1.
        t0, t1: where to start and stop, in that order or the other; alpha and beta are positive at both.

    Raises:
        InputError: for too few steps, an end where lambda is infinite, or a lambda that does not rise with t.
    """
    if not isinstance(path, AbstractOneSided):
        raise InputError(
            f"half_log_snr_grid got {type(path).__name__}; expected a one-sided path, as in OneSided(path)"
        )
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise InputError(f"steps is {steps!r}; expected an integer of at least 1")
    _check_levels("half_log_snr_grid", path, jnp.linspace(t0, t1, 129))
    ends = jnp.asarray([t0, t1])
    first, last = jax.vmap(lambda t: half_log_snr(path, t))(ends)
    levels = jnp.linspace(first, last, int(steps) + 1)
    ts = jax.vmap(lambda level: _time_of(path, level, ends[0], ends[1]))(levels)
    return ts.at[0].set(ends[0]).at[-1].set(ends[1])


@eqx.filter_jit
def denoise(motion: AbstractMotion, t: Time, x: Cloud) -> Cloud:
    """The mean of x1 given x at time t: takes off the little noise that is left where a grid has to stop before 1."""
    path, denoiser = motion.path, motion.denoiser
    if not isinstance(path, AbstractOneSided) or denoiser is None:
        raise InputError("denoise needs a motion with a denoiser on a one-sided path")
    return (x - path.alpha(t) * motion.each(denoiser, t, x)) / path.beta(t)


class AbstractExponential(AbstractSimulator[S, V], Generic[S, V]):
    """A solver for the probability flow of a one-sided path with a denoiser."""

    paper: ClassVar[Paper] = PRINCIPLES

    def check(self, problem: Simulate) -> None:
        """Refuse any other process, and grids that lambda does not follow."""
        name, process = type(self).__name__, problem.process
        if not isinstance(process, FlowODE):
            got = type(process).__name__
            raise InputError(f"{name} got the process {got}; expected a FlowODE, the probability flow: leave sde=None")
        if not isinstance(process.path, AbstractOneSided):
            got = type(process.path).__name__
            raise InputError(f"{name} got a flow on {got}; expected a one-sided path: take HeunODE or RK4 on this one")
        if process.denoiser is None:
            raise InputError(
                f"{name} got a flow without a denoiser; expected FlowODE(..., denoiser=...): learn eta, or derive it "
                "from the velocity or the score (thalweg.flows.convert)"
            )
        _check_levels(name, process.path, problem.ts)

    def grid(self, path: AbstractPath, steps: int) -> Times:
        """The times that suit the solver: equal steps in lambda, `EDGE` off both ends."""
        return half_log_snr_grid(path, steps)


class AbstractSingleStep(AbstractExponential[StepState, Cloud], AbstractStepper):
    """An exponential solver that looks at its own step alone."""

    @abc.abstractmethod
    def advance(self, process, t: Time, dt: Time, x: Cloud, *, key: Key) -> Cloud:
        """Move the cloud from `t` to `t + dt`."""


class DDIM(AbstractSingleStep):
    """The exponential Euler method, with the noise held fixed over a step: order 1. DPM-Solver-1 is the same."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        return _ddim(process.path, t, t + dt, x, _noise(process, t, x))


class DPMSolver2(AbstractSingleStep):
    """The exponential midpoint method: order 2, two evaluations."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        path = process.path
        middle = _between(path, t, t + dt, 0.5)
        u = _ddim(path, t, middle, x, _noise(process, t, x))
        return _ddim(path, t, t + dt, x, _noise(process, middle, u))


class DPMSolver3(AbstractSingleStep):
    """The exponential method with nodes at 1/3 and 2/3: order 3, three evaluations."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        path = process.path
        t1, t2 = _between(path, t, t + dt, 1 / 3), _between(path, t, t + dt, 2 / 3)
        eta = _noise(process, t, x)
        u1 = _ddim(path, t, t1, x, eta)
        u2 = _ddim(path, t, t2, x, eta) - _second(path, t, t2) * 2 * (_noise(process, t1, u1) - eta)
        return _ddim(path, t, t + dt, x, eta) - _second(path, t, t + dt) * 1.5 * (_noise(process, t2, u2) - eta)


class MultistepState(eqx.Module):
    """The cloud, the clean points predicted one step ago (zeros before the first), and the number of steps taken."""

    x: Cloud
    clean: Cloud
    step: Int[Array, ""]


class DPMSolver2M(AbstractExponential[MultistepState, Cloud]):
    """The two-step method on the clean prediction (DPM-Solver++ 2M): order 2, one evaluation; it starts with DDIM."""

    def init(self, problem, *, key):
        """Start from the problem's own cloud."""
        self.check(problem)
        return MultistepState(problem.x0, jnp.zeros_like(problem.x0), jnp.asarray(0, jnp.int32))

    def step(self, problem, state, *, key):
        """One step along the grid."""
        process: Any = problem.process
        path, x = process.path, state.x
        before, _ = problem.span(jnp.maximum(state.step - 1, 0))
        t, dt = problem.span(state.step)
        level = half_log_snr(path, t)
        h, past = half_log_snr(path, t + dt) - level, level - half_log_snr(path, before)
        clean = ((x - path.alpha(t) * _noise(process, t, x)) / path.beta(t)).astype(x.dtype)
        # `past` is zero at the first step, which has no step before it, and beyond the end of the grid.
        ratio = jnp.where(past == 0, 0.0, h / jnp.where(past == 0, 1.0, 2 * past))
        ahead = clean + ratio * (clean - state.clean)
        x = path.alpha(t + dt) / path.alpha(t) * x - path.beta(t + dt) * jnp.expm1(-h) * ahead
        x = x.astype(state.x.dtype)
        return MultistepState(x, clean, state.step + 1), report(problem, state.step, x)

    def value(self, problem, state):
        """The cloud."""
        return state.x

    def cloud(self, state):
        """The cloud."""
        return state.x


def _noise(process, t, x):
    return process.each(process.denoiser, t, x).astype(x.dtype)


def _ddim(path, s, t, x, eta):
    """From s to t with the noise held fixed."""
    h = half_log_snr(path, t) - half_log_snr(path, s)
    return (path.beta(t) / path.beta(s) * x - path.alpha(t) * jnp.expm1(h) * eta).astype(x.dtype)


def _second(path, s, t):
    """alpha' ((e^h - 1)/h - 1), by its series where h is small: there it cancels, and past the grid's end h = 0."""
    h = half_log_snr(path, t) - half_log_snr(path, s)
    small = jnp.abs(h) < 0.1
    series = jnp.zeros_like(h)
    for k in range(9, 0, -1):
        series = h / (k + 1) * (1 + series)
    wide = jnp.where(small, 1.0, h)
    return path.alpha(t) * jnp.where(small, series, jnp.expm1(wide) / wide - 1)


def _between(path, s, t, share):
    """The time at which lambda has done `share` of its way from s to t."""
    level = (1 - share) * half_log_snr(path, s) + share * half_log_snr(path, t)
    return _time_of(path, level, s, t)


def _time_of(path, level: Float[Array, ""], s: Any, t: Any):
    """The time between s and t at which lambda has a given value, by bisection to the last bit of the time."""
    lo, hi = jnp.minimum(s, t), jnp.maximum(s, t)

    def halve(_, ends):
        lo, hi = ends
        middle = 0.5 * (lo + hi)
        high = half_log_snr(path, middle) >= level
        return jnp.where(high, lo, middle), jnp.where(high, middle, hi)

    lo, hi = jax.lax.fori_loop(0, jnp.finfo(lo.dtype).nmant + 4, halve, (lo, hi))
    return 0.5 * (lo + hi)


def _check_levels(name, path, ts):
    """Refuse times where lambda is infinite or does not rise with t; looked at only where the numbers are known."""
    alpha, beta = jax.vmap(path.alpha)(ts), jax.vmap(path.beta)(ts)
    if any(isinstance(a, Tracer) for a in (ts, alpha, beta)):
        return
    times, alpha, beta = np.asarray(ts, np.float64), np.asarray(alpha, np.float64), np.asarray(beta, np.float64)
    for letter, level in (("alpha", alpha), ("beta", beta)):
        if not (worst := level.min()) > 0:
            at = times[int(level.argmin())]
            raise InputError(
                f"{name}: {letter} is {worst:g} at t = {at:g}, where log(beta/alpha) is infinite; expected a grid that "
                f"stays off the ends, as half_log_snr_grid(path, steps) does"
            )
    rise = np.diff(np.log(beta) - np.log(alpha)) * np.sign(np.diff(times))
    if not (rise > 0).all():
        at = times[int(rise.argmin())]
        raise InputError(
            f"{name}: log(beta/alpha) does not rise with t after t = {at:g}; expected a path that loses noise all "
            "along, and steps that its precision can tell apart"
        )
