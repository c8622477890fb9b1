"""What happens along the paths, without keeping the paths.

Answers    the cloud at chosen steps (`Recorded`); time integrals and averages for every particle (`Observed`).
Equations  Observed  I_n = sum_k dt_k (o(t_k, x_k) + o(t_k+1, x_k+1)) / 2      (the trapezoid on the given grid)
                     mean_n = I_n / (t - ts[0])
Symbols    o -> observable(t, x) of one point, a number or an array
Cost       Recorded: one copy of the cloud a step, memory of len(at) + 1 clouds; Observed: one observable a step, memory
           of two of its values. Neither grows with the number of steps
Fails      a particle's integral is a plain sum in the cloud's dtype: its rounding error grows like the square root of
           the number of steps

Both wrap any method of the room and each other. On a decreasing grid the integral is signed, and the mean is not.
The trapezoid's own error is second order in dt for a smooth path; for a diffusion the strong error of the integral is
of order dt.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..core import InputError, Times
from .problem import AbstractSimulator


class Recording(eqx.Module):
    """The clouds at the recorded steps (NaN where the run has not been yet), their times, and the final value."""

    x: Float[Array, "k n *event"]
    times: Times
    final: Any


class RecordedState(eqx.Module):
    """The inner state, one row a recorded step and a spare one, and the number of steps taken."""

    inner: Any
    rows: Float[Array, "spare n *event"]
    step: Int[Array, ""]


def _indices(at) -> tuple[int, ...]:
    if isinstance(at, int | np.integer):
        at = (at,)
    at = tuple(int(k) if float(k).is_integer() else k for k in np.asarray(at).tolist())
    whole = all(isinstance(k, int) and k >= 0 for k in at)
    if not at or not whole or any(b <= a for a, b in pairwise(at)):
        raise InputError(
            f"Recorded(at={at}): expected rising numbers of steps from 0, the start, on: such as (0, 50, 100)"
        )
    return at


class Recorded(AbstractSimulator[RecordedState, Recording]):
    """Keeps the cloud after chosen steps.

    Fields:
        method: any method of this room.
        at: rising numbers of steps; 0 is the start, len(ts) - 1 the end.
    """

    method: AbstractSimulator
    at: tuple[int, ...] = eqx.field(static=True, converter=_indices)

    def check(self, problem):
        """Refuse steps past the end of the grid."""
        self.method.check(problem)
        if self.at[-1] > problem.steps:
            raise InputError(f"Recorded(at=(.., {self.at[-1]})): expected at most {problem.steps}, the end of ts")

    def init(self, problem, *, key):
        """An empty record, but for the start."""
        self.check(problem)
        inner = self.method.init(problem, key=key)
        x = self.method.cloud(inner)
        rows = jnp.full((len(self.at) + 1, *x.shape), jnp.nan, x.dtype)
        return RecordedState(inner, rows.at[0].set(x) if self.at[0] == 0 else rows, jnp.asarray(0, jnp.int32))

    def step(self, problem, state, *, key):
        """One step of the inner method; its cloud goes to its row, or to the spare one."""
        inner, info = self.method.step(problem, state.inner, key=key)
        step = state.step + 1
        hit = jnp.asarray(self.at, jnp.int32) == step
        # Writing always, to the spare row if need be, is an update in place; a conditional would copy the record.
        row = jnp.where(jnp.any(hit), jnp.argmax(hit), len(self.at))
        rows = jax.lax.dynamic_update_index_in_dim(state.rows, self.method.cloud(inner), row, 0)
        return RecordedState(inner, rows, step), info

    def value(self, problem, state):
        """The record and the inner method's value."""
        times = problem.ts[jnp.asarray(self.at)].astype(state.rows.dtype)
        return Recording(state.rows[:-1], times, self.method.value(problem, state.inner))

    def cloud(self, state):
        """The cloud of the inner method."""
        return self.method.cloud(state.inner)


class Observation(eqx.Module):
    """Time integral and time average of an observable for every particle, and the final value."""

    integral: Float[Array, "n ..."]
    mean: Float[Array, "n ..."]
    final: Any


class ObservedState(eqx.Module):
    """The inner state, the integral so far, the observable at the last point, and the number of steps taken."""

    inner: Any
    integral: Float[Array, "n ..."]
    last: Float[Array, "n ..."]
    step: Int[Array, ""]


class Observed(AbstractSimulator[ObservedState, Observation]):
    """Integrates an observable over time, for every particle.

    Fields:
        method: any method of this room.
        observable: (t, x) -> a number or an array, for one point.
    """

    method: AbstractSimulator
    observable: Callable

    def check(self, problem):
        """Refuse what the inner method refuses."""
        self.method.check(problem)

    def init(self, problem, *, key):
        """Nothing gathered yet."""
        self.check(problem)
        inner = self.method.init(problem, key=key)
        step = jnp.asarray(0, jnp.int32)
        last = self._observe(problem, step, inner)
        return ObservedState(inner, jnp.zeros_like(last), last, step)

    def step(self, problem, state, *, key):
        """One step of the inner method and one trapezoid."""
        inner, info = self.method.step(problem, state.inner, key=key)
        _, dt = problem.span(state.step)
        new = self._observe(problem, state.step + 1, inner)
        integral = state.integral + dt / 2 * (state.last + new)
        return ObservedState(inner, integral, new, state.step + 1), info

    def value(self, problem, state):
        """The integral, the mean (before the first step the observable itself) and the inner method's value."""
        elapsed = problem.time(state.step) - problem.time(jnp.zeros_like(state.step))
        moved = elapsed != 0
        mean = jnp.where(moved, state.integral / jnp.where(moved, elapsed, 1), state.last)
        return Observation(state.integral, mean, self.method.value(problem, state.inner))

    def cloud(self, state):
        """The cloud of the inner method."""
        return self.method.cloud(state.inner)

    def _observe(self, problem, step, inner):
        x = self.method.cloud(inner)
        return jnp.asarray(jax.vmap(self.observable, (None, 0))(problem.time(step), x), x.dtype)
