"""Paths as arrays of nodes: their length, their spacing, and where one starts from.

Answers    how is a path laid out, kept evenly spaced, untangled and first guessed?
Equations  arclength s_i = sum_{j<i} |x_{j+1} - x_j|; resampling is linear between nodes
           a bump: sum_j xi_j sin(pi j s) / j, with xi_j random directions of length 1
Symbols    x -> path (n + 1, *event), n -> segments
Fails      two nodes in one place are allowed; a path of one place only is spread evenly over it. A straight
           guess can lie on a symmetric manifold that no descent ever leaves: add a bump
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.types import Key, Point

# Modes along the path that a bump has.
MODES = 3

Path = Float[Array, "nodes *event"]


def lengths(path: Path) -> Float[Array, " segments"]:
    """Euclidean length of each segment."""
    steps = jnp.diff(path, axis=0).reshape(path.shape[0] - 1, -1)
    square = jnp.sum(steps * steps, axis=1)
    # The square root has no derivative at 0.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def arclength(path: Path) -> Float[Array, " nodes"]:
    """Length from the first node to each."""
    return jnp.concatenate([jnp.zeros(1, path.dtype), jnp.cumsum(lengths(path))])


def resample(path: Path, nodes: int) -> Float[Array, "laid *event"]:
    """The same line through `nodes` nodes, evenly spaced in arclength."""
    s = arclength(path)
    even = jnp.linspace(0.0, 1.0, nodes, dtype=path.dtype) * s[-1]
    flat = path.reshape(path.shape[0], -1)
    found = jax.vmap(lambda column: jnp.interp(even, s, column), in_axes=1, out_axes=1)(flat)
    # The ends stay what they are, whatever interpolation rounds to.
    return found.reshape(nodes, *path.shape[1:]).at[0].set(path[0]).at[-1].set(path[-1])


def spacing(path: Path) -> Float[Array, ""]:
    """Longest over shortest segment: 1 when evenly spaced."""
    sizes = lengths(path)
    return jnp.max(sizes) / jnp.maximum(jnp.min(sizes), jnp.finfo(path.dtype).tiny)


def sharpest(path: Path) -> Float[Array, ""]:
    """The smallest cosine between two segments in a row: -1 where a path turns back on itself."""
    steps = jnp.diff(path, axis=0).reshape(path.shape[0] - 1, -1)
    sizes = lengths(path)
    cosine = jnp.sum(steps[1:] * steps[:-1], axis=1) / jnp.maximum(sizes[1:] * sizes[:-1], jnp.finfo(path.dtype).tiny)
    return jnp.min(cosine, initial=1.0)


def untangled(path: Path, every: int = 3) -> Path:
    """Evenly spaced again, through every third node only, which leaves small loops out."""
    n = path.shape[0]
    kept = jnp.concatenate([path[: n - 1 : every], path[-1:]])
    return resample(kept, n)


def bump(like: Point, nodes: int, smooth, *, key: Key) -> Path:
    """A random displacement that vanishes at both ends; `smooth` maps a direction to one that the system can follow."""
    s = jnp.linspace(0.0, 1.0, nodes, dtype=like.dtype)
    directions = jax.vmap(smooth)(jax.random.normal(key, (MODES, *like.shape), like.dtype)).reshape(MODES, -1)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    j = jnp.arange(1, MODES + 1)
    waves = jnp.sin(jnp.pi * j * s[1:-1, None]) / j
    return jnp.zeros((nodes, *like.shape), like.dtype).at[1:-1].set((waves @ directions).reshape(-1, *like.shape))


def straight(start: Point, end: Point, nodes: int) -> Path:
    """Evenly spaced nodes on a line."""
    s = jnp.linspace(0.0, 1.0, nodes, dtype=start.dtype).reshape((-1,) + (1,) * start.ndim)
    return (start + s * (end - start)).at[-1].set(end)
