"""A path with what it costs: the answer of every minimum action method, with its own evidence.

Answers    how much does this path cost, where is it paid, where is the transition state, and is the path one of H = 0?
Equations  S = w int p . dx, rate ~ e^{-S/eps};   density dS/ds against arclength s
           evidence at the nodes, with p averaged over the two segments: |H| / (lambda |p . x'| + |b . p|), and
           |dH/dp - lambda x'| / lambda |x'|, both O(1/n^2) away from corners of the path
Symbols    w -> the measure of one coordinate (`system.weight`), p -> momentum (at the middle of segments, without w)
Cost       a momentum a segment
Fails      `transition_state` is a node: as near to the saddle as the nodes are. `fixed_point` polishes it
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core.types import Point
from .hamiltonian import AbstractSystem
from .path import Path, arclength, lengths

# The climb is over where less than this share of the action is left; the saddle is the slowest node about there.
LEFT = 0.02


class Transition(eqx.Module):
    """A path and its action.

    Fields:
        path: the nodes.
        momentum: the force of the noise at the middle of each segment.
        speed: lambda there, for arclength running from 0 to 1.
        costs: the action of each segment, measure included.
        drift_norm: |b| at each node, whose lowest value marks the transition state.
        energy_error: the largest |H| at inner nodes, relative.
        velocity_error: the mean |dH/dp - lambda x'| at inner nodes, relative.
        resampled: how often the path had to be laid out again.
    """

    path: Path
    momentum: Float[Array, "segments *event"]
    speed: Float[Array, " segments"]
    costs: Float[Array, " segments"]
    drift_norm: Float[Array, " nodes"]
    energy_error: Float[Array, ""]
    velocity_error: Float[Array, ""]
    resampled: Int[Array, ""]

    @property
    def action(self) -> Float[Array, ""]:
        """S: the rate of the crossing is e^{-S/eps} to leading order."""
        return jnp.sum(self.costs)

    @property
    def arclength(self) -> Float[Array, " nodes"]:
        """From the start to each node."""
        return arclength(self.path)

    @property
    def cumulative(self) -> Float[Array, " nodes"]:
        """The action from the start to each node."""
        return jnp.concatenate([jnp.zeros(1, self.costs.dtype), jnp.cumsum(self.costs)])

    @property
    def density(self) -> Float[Array, " segments"]:
        """The action per arclength, of each segment."""
        return self.costs / lengths(self.path)

    @property
    def transition_index(self) -> Int[Array, ""]:
        """The node where the action stops to grow; 0 for a path that costs nothing."""
        total, nodes = self.cumulative, self.path.shape[0]
        climbed = jnp.argmax(total >= (1 - LEFT) * total[-1])
        i = jnp.arange(nodes)
        near = (i >= climbed) & (i <= climbed + nodes // 5)
        slowest = jnp.argmin(jnp.where(near, self.drift_norm, jnp.inf))
        # Where the end itself is reached uphill, the path has no saddle before it.
        return jnp.where(total[-1] > 0, slowest, 0)

    @property
    def transition_state(self) -> Point:
        """The node where the action stops to grow."""
        return self.path[self.transition_index]

    def at(self, s: float) -> Point:
        """The point at a share `s` of the arclength, between 0 and 1."""
        along = self.arclength
        flat = self.path.reshape(self.path.shape[0], -1)
        place = jnp.asarray(s, along.dtype) * along[-1]
        return jax.vmap(lambda c: jnp.interp(place, along, c), in_axes=1)(flat).reshape(self.path.shape[1:])


def transition(
    system: AbstractSystem, path: Path, momentum, speed, costs, resampled, level: float | None = 0.0
) -> Transition:
    """A path with its momenta, and what they leave of Hamilton's equations; `level` is H, None for its own mean."""
    n = path.shape[0] - 1
    p = 0.5 * (momentum[1:] + momentum[:-1])
    rate = 0.5 * (speed[1:] + speed[:-1])
    v = 0.5 * n * (path[2:] - path[:-2])
    x = path[1:-1]
    wanted = jax.vmap(lambda a, b: a * b)(rate, v)
    got = jax.vmap(system.velocity)(x, p)
    energy = jax.vmap(system.hamiltonian)(x, p)
    energy = energy - (jnp.mean(energy) if level is None else level)
    drifts = jax.vmap(system.drift)(path)
    tiny = jnp.finfo(path.dtype).tiny
    power = _sums(p * wanted), _sums(drifts[1:-1] * p)
    scale = jnp.max(jnp.abs(power[0]) + jnp.abs(power[1]))
    return Transition(
        path,
        momentum,
        speed,
        system.weight * costs,
        jnp.sqrt(_sums(drifts * drifts)),
        jnp.max(jnp.abs(energy)) / jnp.maximum(scale, tiny),
        jnp.sum(jnp.sqrt(_sums((got - wanted) ** 2))) / jnp.maximum(jnp.sum(jnp.sqrt(_sums(wanted**2))), tiny),
        resampled,
    )


def _sums(x):
    return jnp.sum(x.reshape(x.shape[0], -1), axis=1)
