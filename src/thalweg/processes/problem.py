"""The problem that every method of this room works on, and what the methods share.

Answers    move a cloud of points along a process, over a grid of times.
Symbols    step k goes from ts[k] to ts[k+1];  h -> dt = ts[k+1] - ts[k], negative when the grid decreases
Cost       memory of the cloud and the grid, whatever the number of steps
Fails      status = nonfinite at the first step whose cloud is not finite (or whose squares overflow)

BACKWARD IN TIME: on a decreasing grid a method integrates the given drift with the negative dt and adds noise of
variance |dt|. The caller supplies the drift of the reversed process (f - g^2 grad log rho for a forward drift f):
it is not derived here.

Steps past the end of the grid have dt = 0 and change nothing. The last step reports `converged`, so that `solve`
stops there by itself.
"""

import abc
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..core import (
    AbstractCorrelated,
    AbstractInfo,
    AbstractMethod,
    AbstractProcess,
    Cloud,
    InputError,
    Key,
    Status,
    Time,
    Times,
)
from ..core.checks import known, real, show

S = TypeVar("S")
V = TypeVar("V")


class Simulate(eqx.Module):
    """A process, where it starts, and the times it passes through.

    Fields:
        process: the dynamics of one point.
        x0: the cloud at ts[0].
        ts: at least two times, strictly increasing or strictly decreasing.

    Raises:
        InputError: for an empty cloud, or times that are too few, not finite or not monotone.
    """

    process: AbstractProcess | AbstractCorrelated
    x0: Cloud = eqx.field(converter=real)
    ts: Times = eqx.field(converter=real)

    def __check_init__(self):
        if self.x0.ndim == 0 or self.x0.shape[0] == 0:
            raise InputError(f"x0 has shape {self.x0.shape}; expected (n, *event) with n at least 1: a row a particle")
        if self.ts.ndim != 1 or self.ts.shape[0] < 2:
            raise InputError(f"ts has shape {self.ts.shape}; expected at least 2 times, as in jnp.linspace(0, 1, 101)")
        if (ts := known(self.ts)) is not None and not _monotone(ts):
            raise InputError(
                f"ts is {show(ts)} and not strictly monotone; expected finite times that only rise or only fall: "
                "sort them and drop repeats"
            )

    @property
    def steps(self) -> int:
        """How many steps lead through the whole grid."""
        return self.ts.shape[0] - 1

    @property
    def backward(self) -> bool | None:
        """Whether time runs down; None where the times are not known yet."""
        ts = known(self.ts)
        return None if ts is None else bool(ts[1] < ts[0])

    def time(self, step: Int[Array, ""]) -> Time:
        """The time after `step` steps, in the cloud's dtype."""
        return self._time(step).astype(self.x0.dtype)

    def span(self, step: Int[Array, ""]) -> tuple[Time, Time]:
        """The time and the length of step number `step`, in the cloud's dtype; the difference in the grid's own."""
        t = self._time(step)
        return t.astype(self.x0.dtype), (self._time(step + 1) - t).astype(self.x0.dtype)

    def _time(self, step):
        return jax.lax.dynamic_index_in_dim(self.ts, step, keepdims=False)  # clamps past the end: dt = 0 there


class StepInfo(AbstractInfo):
    """Where the step arrived: the time, and the mean square of all coordinates of the cloud."""

    time: Time
    mean_square: Float[Array, ""]
    status: Any


class AbstractSimulator(AbstractMethod[Simulate, S, StepInfo, V], Generic[S, V]):
    """A method for `Simulate`."""

    @abc.abstractmethod
    def check(self, problem: Simulate) -> None:
        """Refuse a problem that the method does not fit. Numbers are looked at only where they are known."""

    @abc.abstractmethod
    def cloud(self, state: S) -> Cloud:
        """The cloud in a state."""


class StepState(eqx.Module):
    """The cloud, and the number of steps that it has taken."""

    x: Cloud
    step: Int[Array, ""]


class AbstractStepper(AbstractSimulator[StepState, Cloud]):
    """A method that needs nothing but the cloud: subclasses write `advance` and `check`."""

    @abc.abstractmethod
    def advance(self, process, t: Time, dt: Time, x: Cloud, *, key: Key) -> Cloud:
        """Move the cloud from `t` to `t + dt`."""

    def init(self, problem, *, key):
        """Start from the problem's own cloud."""
        self.check(problem)
        return StepState(problem.x0, jnp.asarray(0, jnp.int32))

    def step(self, problem, state, *, key):
        """One step along the grid."""
        t, dt = problem.span(state.step)
        x = self.advance(problem.process, t, dt, state.x, key=key)
        return StepState(x, state.step + 1), report(problem, state.step, x)

    def value(self, problem, state):
        """The cloud."""
        return state.x

    def cloud(self, state):
        """The cloud."""
        return state.x


def report(problem: Simulate, step: Int[Array, ""], x: Cloud) -> StepInfo:
    """The row of `info` for step number `step`, which arrived at `x`."""
    status = Status.where(step + 1 >= problem.steps, Status.converged, Status.running)
    return StepInfo(time=problem.time(step + 1), mean_square=jnp.mean(x * x), status=status)


def drift(process, t: Time, x: Cloud) -> Cloud:
    """The drift at every point of a cloud."""
    return process.drifts(t, x).astype(x.dtype)


def diffuse(process: AbstractProcess, t: Time, x: Cloud, dw: Cloud) -> Cloud:
    """The diffusion times an increment, at every point of a cloud."""
    g = process.diffusions(t, x)
    return (g.reshape(g.shape + (1,) * (x.ndim - g.ndim)) * dw).astype(x.dtype)


def increment(key: Key, dt: Time, x: Cloud) -> Cloud:
    """One Brownian increment for every coordinate of a cloud, of variance |dt|."""
    return jnp.sqrt(jnp.abs(dt)) * jax.random.normal(key, x.shape, x.dtype)


def _monotone(ts):
    steps = np.diff(ts)
    return np.isfinite(ts).all() and ((steps > 0).all() or (steps < 0).all())
