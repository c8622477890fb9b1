"""The Fokker-Planck equation on a grid of one, two or three dimensions: the reference for everything else.

Answers    what is rho(t, x), with its mass kept, never negative, and an error that falls with the grid?
Equations  dp/dt = A(t) p, with the jump rates A of `processes.grid`
           BackwardEuler   (1 - dt A(t + dt)) p' = p           order 1 in time, positive at any dt
           Exponential     p' = e^(dt A(t + dt/2)) p           order 2; exact where nothing depends on t
               = sum_k Poisson(k; dt r) (1 + A/r)^k p,  r = max |A_ii|: sums of positive numbers only
Symbols    A -> generator, P = u h / D -> the cell Peclet number
Cost       memory O(cells); BackwardEuler a sparse factorisation for every change of A (dear in three dimensions),
           Exponential about dt r products, r ~ sum_i 2 D_i / h_i^2: a finer grid costs more of them, never stability
Fails      mass is kept to round-off and no density is negative, at any step and any grid. Order 2 in h; cells whose
           mean P is above `max_peclet` under the density are refused, as is a grid that misses some of the initial
           density. Rates come in JAX's precision: single by default, so that moments are good to about 1e-6
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from ..core import AbstractCorrelated, AbstractProcess, InputError
from ..processes import Grid, assemble, faces, generator, invariant
from ._cells import GridDensity, project
from .fokker_planck import FokkerPlanck

# Poisson sums longer than this are split: e^-rate must not underflow.
LONGEST = 100.0


class AbstractGridStep(eqx.Module):
    """How a density is carried over one step."""

    @abc.abstractmethod
    def time(self, t: float, dt: float) -> float:
        """When the generator is taken."""

    @abc.abstractmethod
    def prepare(self, A: Any, dt: float) -> Any:
        """What `advance` needs of this generator: made once while A and dt stay the same."""

    @abc.abstractmethod
    def advance(self, prepared: Any, p: np.ndarray) -> np.ndarray:
        """The flattened density after the step."""


class BackwardEuler(AbstractGridStep):
    """One linear system a step: order 1 in time, positive at any step."""

    def time(self, t, dt):
        """The end of the step."""
        return t + dt

    def prepare(self, A, dt):
        """A factorisation without pivoting, which an M-matrix does not need: no density can come out negative."""
        matrix = sp.eye_array(A.shape[0], format="csc") - dt * A
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def advance(self, prepared, p):
        """Solve."""
        return prepared.solve(p)


class Exponential(AbstractGridStep):
    """The exponential of the generator of the middle of the step: order 2, and exact where nothing depends on t."""

    def time(self, t, dt):
        """The middle of the step."""
        return t + dt / 2

    def prepare(self, A, dt):
        """The matrix 1 + A/r of probabilities, the Poisson weights of one part of the step, and how many parts."""
        rate = float(np.abs(A.diagonal()).max())
        if rate == 0:
            return sp.eye_array(A.shape[0], format="csr"), np.ones(1), 1
        parts = max(1, int(np.ceil(dt * rate / LONGEST)))
        mean = dt * rate / parts
        count = int(mean + 9 * np.sqrt(mean)) + 20
        weights = np.exp(-mean) * np.cumprod(np.concatenate([[1.0], mean / np.arange(1, count)]))
        return (sp.eye_array(A.shape[0]) + A / rate).tocsr(), weights / weights.sum(), parts

    def advance(self, prepared, p):
        """Sum the Poisson series."""
        matrix, weights, parts = prepared
        for _ in range(parts):
            total = weights[0] * p
            for w in weights[1:]:
                p = matrix @ p
                total += w * p
            p = total
        return p


@dataclass(frozen=True)
class GridEvolution:
    """What `evolve` leaves behind.

    Fields:
        final: the density at the last time.
        saved: those after the steps that were asked for.
        ts: all times, (k,).
        mass, entropy, mean: of the density at each of them, (k,), (k,) and (k, d).
        peclet: the largest mean cell Peclet number under the density, an axis; 0 where there is no noise at all.
        added: the largest mean diffusion that the scheme added, an axis.
    """

    final: GridDensity
    saved: tuple[GridDensity, ...]
    ts: np.ndarray
    mass: np.ndarray
    entropy: np.ndarray
    mean: np.ndarray
    peclet: np.ndarray
    added: np.ndarray


def evolve(
    problem: FokkerPlanck,
    grid: Grid,
    *,
    step: AbstractGridStep | None = None,
    save_at: Sequence[int] = (),
    max_peclet: float = 2.0,
) -> GridEvolution:
    """Carry the initial density through the problem's times, on the host and in double precision.

    Args:
        problem: the process, with points of shape (d,), and its initial density.
        grid: with d axes.
        step: `Exponential()` (default) or `BackwardEuler()`.
        save_at: numbers of steps after which the density is kept, 0 for the start.
        max_peclet: the largest mean of |u| h / D under the density, on axes with noise.

    Raises:
        InputError: for a grid of other dimension, too coarse, or missing part of the initial density; a drift that is
            not finite.
    """
    step = Exponential() if step is None else step
    ts = np.asarray(problem.ts, np.float64)
    if any(not 0 <= k < len(ts) for k in save_at):
        raise InputError(f"save_at is {tuple(save_at)}; expected numbers of steps from 0 to {len(ts) - 1}")
    density = project(problem.initial, grid, float(ts[0]))
    p, kept, rows = density.p.ravel(), {}, [_row(density)]
    peclet, added = np.zeros(grid.dim), np.zeros(grid.dim)
    last, prepared = None, None
    if 0 in save_at:
        kept[0] = density
    for k in range(len(ts) - 1):
        dt = float(ts[k + 1] - ts[k])
        found = faces(problem.process, grid, step.time(float(ts[k]), dt))
        peclet, added = _coarseness(found, p, peclet, added, float(ts[k]), max_peclet, grid)
        A = assemble(found, grid)
        # Times that are rounded differ in their last digits, and a factorisation is worth more than those.
        same = last is not None and np.isclose(dt, last[1], rtol=1e-6) and np.array_equal(A.data, last[0].data)
        if not same:
            last, prepared = (A, dt), step.prepare(A, dt)
        p = step.advance(prepared, p)
        density = GridDensity(grid, p.reshape(grid.cells), float(ts[k + 1]))
        rows.append(_row(density))
        if k + 1 in save_at:
            kept[k + 1] = density
    mass, entropy, mean = (np.asarray(x) for x in zip(*rows, strict=True))
    return GridEvolution(density, tuple(kept[k] for k in save_at), ts, mass, entropy, mean, peclet, added)


def _row(density):
    return density.mass, density.entropy, density.mean


def _coarseness(found, p, peclet, added, t, limit, grid):
    """The mean Peclet number and added diffusion under the density, an axis at a time; refuses too much of it."""
    peclet, added = peclet.copy(), added.copy()
    for axis, f in enumerate(found):
        weight = 0.5 * (p[f.left] + p[f.right])
        weight = weight / weight.sum()
        added[axis] = max(added[axis], weight @ f.added())
        if not (f.D > 0).any():
            continue
        loud = f.D > 0
        mean = float(weight[loud] @ f.peclet[loud])
        if mean > limit:
            cells = int(np.ceil(grid.cells[axis] * mean / limit))
            raise InputError(
                f"the grid is too coarse at t = {t:.4g}: the mean cell Peclet number |u| h / D is {mean:.3g} on axis "
                f"{axis}, expected at most {limit:g}; take {cells} cells there instead of {grid.cells[axis]}"
            )
        peclet[axis] = max(peclet[axis], mean)
    return peclet, added


def stationary(process: AbstractProcess | AbstractCorrelated, grid: Grid, t: float = 0.0) -> GridDensity:
    """The density that the process at time `t` leaves as it is, with mass 1; in or out of equilibrium.

    Raises:
        InputError: when there is more than one, or none can be told: cells that cannot reach each other.
    """
    pi = invariant(generator(process, grid, t))
    return GridDensity(grid, (pi / grid.volume).reshape(grid.cells), t)


def current(process: AbstractProcess | AbstractCorrelated, density: GridDensity) -> np.ndarray:
    """J = u rho - D grad rho at the middle of the cells, (*cells, d): means of the fluxes through their faces."""
    grid, p = density.grid, density.p.ravel()
    result = np.zeros((p.size, grid.dim))
    for axis, f in enumerate(faces(process, grid, density.t)):
        right, left = f.rates()
        flux = f.h * (right * p[f.left] - left * p[f.right])
        # A wall counts as a face without flux.
        np.add.at(result[:, axis], f.left, 0.5 * flux)
        np.add.at(result[:, axis], f.right, 0.5 * flux)
    return result.reshape(*grid.cells, grid.dim)


def entropy_rate(process: AbstractProcess | AbstractCorrelated, density: GridDensity) -> float:
    """dH/dt = -integral of d rho/dt log rho at the density's time, in nats a unit of time."""
    p = density.p.ravel()
    rate = generator(process, density.grid, density.t) @ p
    return float(-density.grid.volume * rate[p > 0] @ np.log(p[p > 0]))
