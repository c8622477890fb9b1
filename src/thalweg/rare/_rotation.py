"""What the searches for saddles share: the curvature along a dimer, its rotation, its force, and steps that stay short.

Equations  C = (g1 - g0) . N / sep,   R = (g1 - g0)/sep - C N: what is left of the change of gradient across N
           turned by phi towards -R/|R|:  C(phi) = C + a (cos 2 phi - 1) + b sin 2 phi with b = -|R|
           first angle 1/2 atan(|R| / |C|); a from the slope at a trial angle; the best angle is 1/2 atan(b / a), or a
           right angle from it                                     (Heyden, Bell, Keil 2005; Kastner, Sherwood 2008)
           F = -g + 2 (g . N) N where C < 0, (g . N) N elsewhere    (Henkelman, Jonsson 1999; Olsen et al. 2004)
Cost       as many gradients as are asked for; the rest is of the size of one point
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..core.types import Point
from ._lbfgs import MEMORY, Memory, direction, remember

# Below this share of the largest singular value a rigid motion does not move the atoms: they lie on its axis.
STILL = 1e-4


class Curved(NamedTuple):
    """The curvature along a dimer, the rest R of the change of gradient, its size, and the angle that it promises."""

    value: Float[Array, ""]
    rest: Point
    size: Float[Array, ""]
    angle: Float[Array, ""]


def when(condition, then, otherwise):
    """`then()` or `otherwise()`: one of the two is called where the condition is known, and traced where it is not."""
    if isinstance(condition, Tracer):
        return jax.lax.cond(condition, then, otherwise)
    return then() if bool(condition) else otherwise()


def evaluate(system: Any, x: Point) -> tuple[Float[Array, ""], Point]:
    """The energy and its gradient: one call of the oracle."""
    return system.potential(x), -system.drift(x)


def unit(v: Point) -> Point:
    """v over its length."""
    return v / jnp.linalg.norm(v.ravel())


def curved(g0: Point, g1: Point, axis: Point, separation) -> Curved:
    """What two gradients say of the curvature along the axis between them."""
    change = (g1 - g0) / separation
    value = jnp.sum(change * axis)
    rest = change - value * axis
    size = jnp.linalg.norm(rest.ravel())
    tiny = jnp.finfo(g0.dtype).tiny
    return Curved(value, rest, size, 0.5 * jnp.arctan(size / jnp.maximum(jnp.abs(value), tiny)))


def turned(axis: Point, across: Point, angle) -> Point:
    """The axis turned towards another unit vector."""
    return unit(jnp.cos(angle) * axis + jnp.sin(angle) * across)


def across(found: Curved) -> Point:
    """The direction in which turning lowers the curvature first."""
    return -found.rest / jnp.maximum(found.size, jnp.finfo(found.size.dtype).tiny)


def best_turn(found: Curved, g0: Point, g1: Point, trial: Point, axis: Point, separation):
    """The axis of least curvature in the plane of two, and the gradient that a linear one has there.

    `g1` belongs to `axis` with the curvature `found`, `trial` to the axis at its angle.
    """
    phi, side = found.angle, across(found)
    at = curved(g0, trial, turned(axis, side, phi), separation)
    # Half of the slope of C in the angle, here and at the trial.
    b, slope = -found.size, jnp.sum(at.rest * turned(side, -axis, phi))
    a = (b * jnp.cos(2 * phi) - slope) / jnp.sin(2 * phi)
    angle = 0.5 * jnp.arctan2(b, a)
    gain = lambda t: a * (jnp.cos(2 * t) - 1) + b * jnp.sin(2 * t)  # noqa: E731
    angle = jnp.where(gain(angle) > gain(angle - jnp.pi / 2), angle - jnp.pi / 2, angle)
    new = turned(axis, side, angle)
    # Exact where the gradient is linear (Kastner, Sherwood 2008, (8)).
    weights = jnp.sin(phi - angle) / jnp.sin(phi), jnp.sin(angle) / jnp.sin(phi)
    image = weights[0] * g1 + weights[1] * trial + (1 - weights[0] - weights[1]) * g0
    return new, image


def effective(g: Point, axis: Point, curvature) -> Point:
    """The force of the dimer's middle: up along the axis, and down across it where the curvature is negative."""
    up = jnp.sum(g * axis) * axis
    return jnp.where(curvature < 0, 2 * up - g, up)


def no_memory(x: Point) -> Memory:
    """Nothing remembered of the descent of one point."""
    pairs = jnp.zeros((MEMORY, *x.shape), x.dtype)
    return Memory(pairs, pairs, jnp.zeros(MEMORY, x.dtype))


def step_along(memory: Memory, force: Point, curvature, first, longest) -> Point:
    """A quasi-Newton step of at most the longest; where the curvature is positive, the longest along the force."""
    newton = direction(memory, -force, lambda g: first * g)
    size = lambda v: jnp.linalg.norm(v.ravel())  # noqa: E731
    tiny = jnp.finfo(force.dtype).tiny
    short = newton * jnp.minimum(1.0, longest / jnp.maximum(size(newton), tiny))
    return jnp.where(curvature < 0, short, longest * force / jnp.maximum(size(force), tiny))


def learnt(memory: Memory, step: Point, before: Point, after: Point, curvature) -> Memory:
    """With the change of force over a step remembered; forgotten where the curvature is positive."""
    new = remember(memory, step, before - after)
    return jax.tree.map(lambda m: jnp.where(curvature < 0, m, 0.0), new)


def rigid_motions(x: Point) -> Float[Array, "motions coordinates"]:
    """Shifts and turns of all atoms of x together, flattened; dependent where the atoms lie on a line."""
    atoms, dim = x.shape
    middle = x - jnp.mean(x, axis=0)
    shifts = [jnp.zeros((atoms, dim), x.dtype).at[:, k].set(1.0) for k in range(dim)]
    turns = [
        jnp.zeros((atoms, dim), x.dtype).at[:, i].set(middle[:, j]).at[:, j].set(-middle[:, i])
        for i, j in zip(*np.triu_indices(dim, 1), strict=True)
    ]
    return jnp.stack([m.ravel() for m in shifts + turns])


def without_rigid(v: Point, x: Point, rigid: bool) -> Point:
    """v without the part that moves or turns all atoms of x together."""
    if not rigid:
        return v
    _, values, basis = jnp.linalg.svd(rigid_motions(x), full_matrices=False)
    kept = jnp.where(values > STILL * values[0], basis @ v.ravel(), 0.0)
    return v - (kept @ basis).reshape(v.shape)


def limited(step: Point, x: Point, share) -> Point:
    """The step, made shorter until no atom moves by more than a share of the distance to its nearest neighbour."""
    if x.ndim != 2 or x.shape[0] < 2:
        return step
    gaps = jnp.sum((x[:, None] - x) ** 2, axis=-1) + jnp.where(jnp.eye(x.shape[0], dtype=bool), jnp.inf, 0.0)
    most = share * jnp.sqrt(jnp.min(gaps, axis=1))
    moves = jnp.sqrt(jnp.sum(step**2, axis=1))
    return step * jnp.minimum(1.0, jnp.min(most / jnp.maximum(moves, jnp.finfo(x.dtype).tiny)))
