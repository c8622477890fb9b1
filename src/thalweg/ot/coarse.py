"""Coarse to fine: large clouds are transported cell by cell first, and the answer is where the points begin.

Answers    how is most of the way to the potentials of two large clouds gone at a small part of the cost?
Equations  cells: halve the points at the median of the coordinate in which they are widest, and each half again;
           a cell has the weight of its points and lies at their weighted mean
           from the cells to the points: f(x_i) = -eps log sum_cells b_k exp((g_k - c(x_i, y_k))/eps), and so for g
           (the kernel truncation and the multiscale scheme of 1610.06519 share the idea; nothing is truncated here)
Symbols    cells, k -> the points of `coarsened`, c -> the cost
Cost       each rung has a quarter of the points of the next, so a sixteenth of its cost; O(n log n) for the cells.
           What that saves in sweeps of full size is measured by benchmarks/bench_ot.py
Fails      never by itself: it gives a start, and the iteration that follows says whether it converged. In many
           dimensions cells are wide, and what is saved is little more than the fall of epsilon
"""

import math
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core import InputError
from ..core import solve as iterate
from .cost import Euclidean, Manhattan, SquaredEuclidean
from .geometry import PointCloud
from .plan import Potentials, best
from .problem import Transport

# Pairs of points from which on coarser problems are worth their compilation.
LARGE = 2**24
# Points that no side is coarsened below, roughly.
FEWEST = 1000
# Steps at most on one rung: a start need not be an answer.
MOST = 500
# Costs for which the mean of some points is a fair place for all of them.
AVERAGED = (SquaredEuclidean, Euclidean, Manhattan)


def ladder(problem: Transport, rungs: int | None = None) -> list[Transport]:
    """Coarser problems, the coarsest first, each with about a quarter of the points of the next; without `problem`.

    Args:
        rungs: how many; when None as many as leave a thousand points, for clouds of more than `LARGE` pairs.
    """
    g = problem.geometry
    if not (isinstance(g, PointCloud) and isinstance(g.cost, AVERAGED)):
        return []
    if rungs is None:
        most = max(g.shape)
        rungs = int(math.log(most / FEWEST, 4)) if g.shape[0] * g.shape[1] > LARGE else 0
    return [coarsened(problem, rung) for rung in range(rungs, 0, -1)]


@eqx.filter_jit
def coarsened(problem: Transport, rung: int) -> Transport:
    """The problem between cells of about 4^rung points each; a side of a thousand points or less stays as it is.

    Raises:
        InputError: for a matrix of costs.
    """
    g = _cloud(problem)
    (x, a), (y, b) = (_cells(z, w, rung) for z, w in ((g.x, problem.a), (g.y, problem.b)))
    return Transport(PointCloud(x, y, g.cost, g.block), a, b, problem.left, problem.right)


@eqx.filter_jit
def refined(fine: Transport, coarse: Transport, potentials: Potentials, epsilon) -> Potentials:
    """Potentials of the points from those of the cells, by one half sweep between the two."""
    near, far = _cloud(fine), _cloud(coarse)
    to_cells = Transport(PointCloud(near.x, far.y, near.cost, near.block), fine.a, coarse.b, fine.left, fine.right)
    from_cells = Transport(PointCloud(far.x, near.y, near.cost, near.block), coarse.a, fine.b, fine.left, fine.right)
    return Potentials(best(to_cells, potentials.g, epsilon), best(from_cells.T, potentials.f, epsilon))


def descend(method, problem: Transport, rungs: list[Transport]):
    """The method, set to start where the coarser problems lead to."""
    for rung, finer in pairwise([*rungs, problem]):
        found = iterate(method, rung.stored(), max_steps=MOST, key=jax.random.key(0), throw=False)
        epsilon = method.epsilon.astype(problem.a.dtype)
        method = method.started(refined(finer, rung, found.value.potentials, epsilon), found.state.state)
    return method


def _cloud(problem: Transport) -> PointCloud:
    if not isinstance(problem.geometry, PointCloud):
        raise InputError("cells are made of points, not of a matrix of costs; take Transport.points(x, y)")
    return problem.geometry


def _cells(x, w, rung):
    """Means and weights of the cells; the points themselves where they are few."""
    n = x.shape[0]
    halvings = int(math.log2(n)) - 2 * rung
    halvings = max(halvings, min(int(math.log2(n)), int(math.log2(FEWEST))))
    if 2**halvings >= n // 2:
        return x, w
    flat = x.reshape(n, -1)
    size = -(-n // 2**halvings)
    # Cells are of one size: what is missing is filled up with points without weight.
    more = size * 2**halvings - n
    flat = jnp.concatenate([flat, jnp.broadcast_to(flat[-1], (more, flat.shape[1]))])[None]
    mass = jnp.concatenate([w, jnp.zeros(more, w.dtype)])[None]
    for _ in range(halvings):
        wide = jnp.argmax(jnp.max(flat, axis=1) - jnp.min(flat, axis=1), axis=-1)
        order = jnp.argsort(jnp.take_along_axis(flat, wide[:, None, None], axis=2)[..., 0], axis=1)
        flat, mass = jnp.take_along_axis(flat, order[..., None], axis=1), jnp.take_along_axis(mass, order, axis=1)
        flat = flat.reshape(2 * len(flat), -1, flat.shape[-1])
        mass = mass.reshape(2 * len(mass), -1)
    total = jnp.sum(mass, axis=1)
    mean = jnp.sum(flat * mass[..., None], axis=1) / jnp.where(total > 0, total, 1.0)[:, None]
    # A cell without weight may lie anywhere.
    return jnp.where((total > 0)[:, None], mean, flat[:, 0]).reshape(-1, *x.shape[1:]), total
