"""The geometric minimum action method: the likeliest path of a crossing that may take for ever.

Answers    which way does a noisy system cross, and what is the quasi-potential barrier?
Equations  S[x] = int sup_{H(x, p) = 0} p . dx, the same for every parametrisation;   S_n = sum_i p_i . (x_{i+1} - x_i)
           with p_i = p(middle of the segment, x_{i+1} - x_i), second order in 1/n       (Heymann, Vanden-Eijnden 2008)
           minimised over the nodes together with A mean_i (n |x_{i+1} - x_i| / L - 1)^2, which keeps them evenly spaced
           and vanishes where they are; A = int |b| |dx|
           gradient: dS_n/dx = -(1/lambda) dH/dx + differences of p, as p is the largest (envelope theorem)
Symbols    x -> path, lambda -> speed, L -> its length, n -> segments
Cost       a step: n momenta, n gradients of H, a sine transform of O(n^2) a coordinate; some hundreds of steps
Fails      max_steps where the path still moves; precision where rounding hides the descent: compute in float64, or
           loosen the tolerance. A path pinned on a symmetric manifold is a saddle of S, not a minimum: keep `bend`
           above 0, and take the best of several keys (`search`), which for fields start from a string
Departs    from the paper, which minimises with the same functional by descent in the path and ascent in the
           momentum with a string step; here the momentum is solved for, and the descent is quasi-Newton
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core import AbstractMethod, Paper
from ._descent import PathInfo, PathState, begin, check_path, descend, first_path, first_scales
from .hamiltonian import AbstractSystem
from .path import Path, lengths
from .problem import Crossing
from .transition import Transition, transition


class Geometric(AbstractMethod[Crossing, PathState, PathInfo, Transition]):
    """Minimise the geometric action; `solve` until what is left to gain is below `tolerance`.

    Fields:
        segments: of the path, at least 4.
        bend: size of the random bend of the first path, relative to the distance; 0 for a straight line.
        guess: a path to start from instead, with any number of nodes; its ends are replaced with the problem's.
        tolerance: what may be left to gain, relative to int |b| |dx|; by default 1e-9 in float64, 1e-6 in float32.

    Raises:
        InputError: for fewer segments than 4, a negative bend, or a tolerance that is not positive.
    """

    paper: ClassVar[Paper] = Paper(
        "minimum-action",
        "Minimum Action Method for Nonequilibrium Phase Transitions",
        "2202.06936",
        2022,
        "S = min max int theta . d rho, H = 0",
        "reproduced",
    )
    segments: int = eqx.field(static=True, default=100)
    bend: float = eqx.field(static=True, default=0.1)
    guess: Path | None = None
    tolerance: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_path("Geometric", self)

    @property
    def evenly(self) -> bool:
        """Nodes are kept evenly spaced in length."""
        return True

    def init(self, problem, *, key):
        """The first path; the first step evaluates it."""
        path = first_path(self, problem, key)
        return begin(path, first_scales(problem.system, path))

    def step(self, problem, state, *, key):
        """One quasi-Newton step; a new layout where nodes have come apart, a kick where the path has come to rest."""
        return descend(self, self._objective(problem.system, state.scales), problem, state, key)

    def value(self, problem, state):
        """The path with its action, momenta and residuals."""
        path = state.lowest()
        costs, (momentum, speed) = geometric_costs(problem.system, path, state.momentum)
        return transition(problem.system, path, momentum, speed, costs, state.resampled)

    def _objective(self, system, scales):
        def total(path, guess):
            costs, (momentum, _) = geometric_costs(system, path, guess)
            sizes = lengths(path)
            return jnp.sum(costs) + scales.action * jnp.mean((sizes / jnp.mean(sizes) - 1) ** 2), momentum

        return total


def evaluate(system: AbstractSystem, path: Path) -> Transition:
    """The geometric action of any path, such as one of the string method, with its residuals."""
    costs, (momentum, speed) = geometric_costs(system, path, jnp.zeros_like(path[1:]))
    return transition(system, path, momentum, speed, costs, jnp.asarray(0))


def geometric_costs(system: AbstractSystem, path: Path, guess):
    """p . dx of each segment with H = 0 at its middle; and p with lambda, for arclength from 0 to 1.

    `guess` are momenta to start the iteration from; derivatives follow the envelope theorem.
    """
    n = path.shape[0] - 1
    middle, v = 0.5 * (path[1:] + path[:-1]), n * jnp.diff(path, axis=0)
    fixed = jax.lax.stop_gradient((middle, v, guess))
    p, speed = jax.lax.stop_gradient(jax.vmap(system.momentum)(*fixed))
    still = speed == 0
    times = jnp.where(still, 0.0, 1 / jnp.where(still, 1.0, speed))
    power = jnp.sum((p * v).reshape(n, -1), axis=1)
    # H is 0 here; its derivative is not.
    return (power - times * jax.vmap(system.hamiltonian)(middle, p)) / n, (p, speed)
