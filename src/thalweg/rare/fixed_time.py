"""The minimum action method with a final time: the likeliest path of those that take just so long.

Answers    which way does a noisy system get from here to there in time T, and at what cost?
Equations  S_T[x] = int_0^T L(x, x') dt,  L(x, u) = sup_p (p . u - H(x, p));  diffusions: 1/2 (u - b) . a^{-1} (u - b)
           midpoint rule: S = dt sum_i L((x_i + x_{i+1}) / 2, (x_{i+1} - x_i) / dt), second order in dt
           S_T falls with T to the quasi-potential where the ends are fixed points     (E, Ren, Vanden-Eijnden 2004)
Symbols    T -> duration, dt = T / segments
Cost       a step: n momenta and gradients of H, a sine transform of O(n^2) a coordinate
Fails      as `Geometric` does. For long times most nodes wait at the ends: the geometric method has no such waste
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractMethod
from ..core.checks import positive
from ._descent import PathInfo, PathState, begin, check_path, descend, first_path, first_scales
from .hamiltonian import AbstractSystem
from .path import Path
from .problem import Crossing
from .transition import Transition, transition


class FixedTime(AbstractMethod[Crossing, PathState, PathInfo, Transition]):
    """Minimise the action of paths that take time `duration`; `solve` until what is left to gain is below `tolerance`.

    The problem's ends need not be fixed points: give it tolerance=None.

    Fields:
        duration: T, more than 0.
        segments: of the path, at least 4; the nodes are evenly spaced in time.
        bend: size of the random bend of the first path, and of half of it the kicks; 0 for none.
        guess: a path to start from instead, with any number of nodes evenly spaced in time.
        tolerance: what may be left to gain, relative to int |b| |dx|; by default 1e-9 in float64, 1e-6 in float32.
    """

    duration: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    segments: int = eqx.field(static=True, default=100)
    bend: float = eqx.field(static=True, default=0.1)
    guess: Path | None = None
    tolerance: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_path("FixedTime", self)
        positive("FixedTime", "duration", self.duration)

    @property
    def evenly(self) -> bool:
        """Nodes are spaced in time, not in length."""
        return False

    def init(self, problem, *, key):
        """The first path; the first step evaluates it."""
        path = first_path(self, problem, key)
        scales = first_scales(problem.system, path)
        # The second variation is that of 1/2 |x'|^2 / a in time.
        scales = eqx.tree_at(lambda s: s.speed, scales, 1 / self.duration.astype(path.dtype))
        return begin(path, scales)

    def step(self, problem, state, *, key):
        """One quasi-Newton step, and a kick where the path has come to rest."""
        return descend(self, self._objective(problem.system), problem, state, key)

    def value(self, problem, state):
        """The path with its action, momenta and residuals."""
        path = state.lowest()
        costs, momentum = timed_costs(problem.system, path, self.duration, state.momentum)
        speed = jnp.full(self.segments, 1 / self.duration, path.dtype)
        return transition(problem.system, path, momentum, speed, costs, state.resampled, level=None)

    def _objective(self, system):
        def total(path, guess):
            costs, momentum = timed_costs(system, path, self.duration, guess)
            return jnp.sum(costs), momentum

        return total


def timed_costs(system: AbstractSystem, path: Path, duration, guess):
    """L dt of each segment, and the momentum at its middle; derivatives follow the envelope theorem."""
    n = path.shape[0] - 1
    dt = jnp.asarray(duration, path.dtype) / n
    middle, u = 0.5 * (path[1:] + path[:-1]), jnp.diff(path, axis=0) / dt
    p = jax.lax.stop_gradient(jax.vmap(system.conjugate)(*jax.lax.stop_gradient((middle, u, guess))))
    power = jnp.sum((p * u).reshape(n, -1), axis=1)
    return dt * (power - jax.vmap(system.hamiltonian)(middle, p)), p
