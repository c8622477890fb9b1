"""The string method: a path that falls down the drift, evenly spaced, until it lies along the flow.

Answers    through which saddle does the flow without noise join two states; where does a minimum action path start?
Equations  x_i <- x_i + dt b(x_i), then even spacing in arclength       (E, Ren, Vanden-Eijnden 2007, simplified string)
           stiff linear parts are implicit: dt b is divided by 1 + dt r in the modes of rate r
Symbols    dt -> step_size, b -> the system's drift, r -> rates of `system.filtered`
Cost       one drift a node and step; the drift need not be traceable under `run_host`
Fails      max_steps where the path still moves. In a gradient system the string is the minimum energy path, and its
           action that of the crossing; in others it is an upper bound only, and two ends that share no saddle leave it
           stretched between. `nonfinite` when the step is too long: below 2 over the stiffest rate
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import AbstractInfo, AbstractMethod, Status
from ..core.checks import positive
from ..core.types import Point
from ._descent import check_path, first_path
from .path import Path, arclength, resample
from .problem import Crossing


class StringState(eqx.Module):
    """The path, and the length before the last step."""

    path: Path
    moved: Float[Array, ""]


class StringInfo(AbstractInfo):
    """The farthest move of a node in the last step, per unit of time, and the length of the path."""

    moved: Float[Array, ""]
    length: Float[Array, ""]
    status: Any


class Relaxed(eqx.Module):
    """A path at rest.

    Fields:
        path: the nodes.
        drift_norm: |b| at each node.
    """

    path: Path
    drift_norm: Float[Array, " nodes"]

    @property
    def arclength(self) -> Float[Array, " nodes"]:
        """From the start to each node."""
        return arclength(self.path)

    @property
    def transition_index(self) -> Int[Array, ""]:
        """The inner node that moves slowest, away from the ends by a tenth of the nodes."""
        n = self.path.shape[0]
        i = jnp.arange(n)
        inner = (i > n // 10) & (i < n - 1 - n // 10)
        return jnp.argmin(jnp.where(inner, self.drift_norm, jnp.inf))

    @property
    def transition_state(self) -> Point:
        """The slowest inner node: near a saddle, which `fixed_point` polishes."""
        return self.path[self.transition_index]


class String(AbstractMethod[Crossing, StringState, StringInfo, Relaxed]):
    """Relax a path in the drift; `solve` until no node moves faster than `tolerance`.

    Fields:
        step_size: dt.
        segments: of the path, at least 4.
        bend: size of the random bend of the first path, relative to the distance; 0 for a straight line.
        guess: a path to start from instead.
        tolerance: the speed of a node, in units of the drift, that counts as rest.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.05)
    segments: int = eqx.field(static=True, default=100)
    bend: float = eqx.field(static=True, default=0.1)
    guess: Path | None = None
    tolerance: float = eqx.field(static=True, default=1e-4)

    def __check_init__(self):
        check_path("String", self)
        positive("String", "step_size", self.step_size)

    @property
    def evenly(self) -> bool:
        """Nodes are kept evenly spaced in length."""
        return True

    def init(self, problem, *, key):
        """The first path."""
        path = first_path(self, problem, key)
        return StringState(path, jnp.asarray(jnp.inf, path.dtype))

    def step(self, problem, state, *, key):
        """Fall, and lay out again."""
        old, dt = state.path, self.step_size.astype(state.path.dtype)
        fall = problem.system.drifts(old[1:-1])
        implicit = lambda b: problem.system.filtered(b, lambda rates: dt / (1 + dt * rates))  # noqa: E731
        path = resample(old.at[1:-1].add(jax.vmap(implicit)(fall)), old.shape[0])
        moved = jnp.max(jnp.abs(path - old)) / dt
        status = Status.where(moved < self.tolerance, Status.converged, Status.running)
        return StringState(path, moved), StringInfo(moved=moved, length=arclength(path)[-1], status=status)

    def value(self, problem, state):
        """The path and how fast the drift is along it."""
        drifts = problem.system.drifts(state.path).reshape(state.path.shape[0], -1)
        return Relaxed(state.path, jnp.linalg.norm(drifts, axis=1))
