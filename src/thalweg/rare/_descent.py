"""What the minimum action methods share: a path that descends, is laid out again, and is shaken before it is believed.

Equations  a path at rest may be a saddle of the action (a symmetric path is): it is kicked, and descends again, until a
           kick leads to nothing lower by more than GAIN of the action
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core import AbstractInfo, InputError, Status
from ..core.types import Key
from ._lbfgs import Memory, Scales, direction, empty, preconditioned, remember, search
from .hamiltonian import AbstractSystem
from .path import Path, bump, lengths, resample, sharpest, spacing, straight, untangled
from .problem import Crossing

# Spacing and sharpest turn beyond which a path is laid out again.
UNEVEN, SHARP = 3.0, -0.8
# Size of a kick relative to the first bend, and what it must gain of the action's scale to be followed by another.
KICK, GAIN = 0.5, 1e-4
# Trials of a step from which on what it gains is believed rather than what its slope promises.
HALVED = 4


class PathState(eqx.Module):
    """The path, its objective with gradient and momenta, the memory of the descent, and the best path that was at rest.

    `fresh` says that the path has been laid out or kicked and not been evaluated yet; `rest` is the objective of the
    best path, infinite as long as there is none; `resampled` counts new layouts.
    """

    path: Path
    value: Float[Array, ""]
    gradient: Float[Array, "inner *event"]
    momentum: Float[Array, "segments *event"]
    memory: Memory
    scales: Scales
    fresh: Bool[Array, ""]
    best: Path
    rest: Float[Array, ""]
    resampled: Int[Array, ""]

    def lowest(self) -> Path:
        """The path of now, or that of an earlier rest where it was lower."""
        return jnp.where((self.rest <= self.value) | (self.fresh & jnp.isfinite(self.rest)), self.best, self.path)


class PathInfo(AbstractInfo):
    """The action, what a step would still gain of it, evenness, trials of the step, layouts so far, kicked or not."""

    action: Float[Array, ""]
    decrement: Float[Array, ""]
    spacing: Float[Array, ""]
    trials: Int[Array, ""]
    resampled: Int[Array, ""]
    kicked: Any
    status: Any


def first_path(method, problem: Crossing, key: Key) -> Path:
    """The guess of the method between the problem's ends, or a straight line with a random bend."""
    nodes, start, end = method.segments + 1, problem.start, problem.end
    if method.guess is None:
        reach = method.bend * jnp.linalg.norm((end - start).ravel())
        return _laid_out(method, straight(start, end, nodes) + reach * bump(start, nodes, _smooth(problem), key=key))
    guess = method.guess.astype(start.dtype)
    if guess.shape[1:] != start.shape or guess.shape[0] < 2:
        raise InputError(f"guess of shape {guess.shape}: expected two nodes or more of shape {start.shape}")
    return _laid_out(method, guess.at[0].set(start).at[-1].set(end))


def _laid_out(method, path):
    """With the method's number of nodes, evenly spaced in length, or as they are in time."""
    nodes = method.segments + 1
    if method.evenly:
        return resample(path, nodes)
    if path.shape[0] == nodes:
        return path
    times, old = jnp.linspace(0.0, 1.0, nodes), jnp.linspace(0.0, 1.0, path.shape[0])
    flat = path.reshape(path.shape[0], -1)
    return jax.vmap(lambda c: jnp.interp(times, old, c), 1, 1)(flat).reshape(nodes, *path.shape[1:]).astype(path.dtype)


def first_scales(system: AbstractSystem, path: Path) -> Scales:
    """What the metric of the descent is made of."""
    n = path.shape[0] - 1
    middle = 0.5 * (path[1:] + path[:-1])
    drifts = system.drifts(middle).reshape(n, -1)
    fast = jnp.mean(jnp.sqrt(jnp.sum(drifts**2, axis=1)))
    length = jnp.sum(lengths(path))
    a = jnp.asarray(system.covariance(middle[n // 2]), path.dtype)
    noise = jnp.mean(jnp.diagonal(a)) if a.ndim == 2 and path.ndim == 2 else jnp.mean(a)
    tiny = jnp.finfo(path.dtype).tiny
    return Scales(fast * length / noise + tiny, fast / jnp.maximum(length, tiny) + tiny, noise)


def begin(path: Path, scales: Scales) -> PathState:
    """The state of a path that has not been evaluated yet: the first step does that, and nothing else."""
    never, none = jnp.asarray(jnp.inf, path.dtype), jnp.zeros_like(path[1:])
    return PathState(
        path, never, none[1:], none, empty(path), scales, jnp.asarray(True), path, never, jnp.asarray(0)
    )  # fmt: skip


def descend(method, total, problem: Crossing, state: PathState, key: Key) -> tuple[PathState, PathInfo]:
    """One step for any method whose state is a `PathState`; `total` is (path, guess) -> (objective, momenta)."""
    system, scales, fresh = problem.system, state.scales, state.fresh
    along = direction(state.memory, state.gradient, lambda g: preconditioned(system, scales, g))
    decrement = -jnp.sum(along * state.gradient)
    slack = 10 * jnp.finfo(along.dtype).eps * scales.action
    trial = search(_with_gradient(total), state, along, fresh, slack)
    memory = remember(state.memory, (trial.path - state.path)[1:-1], trial.gradient - state.gradient)
    # A step that could not be made is tried again without the memory; after that it never will be.
    stuck = ~trial.accepted & (jnp.max(state.memory.inverse) == 0)
    folded = (sharpest(trial.path) < SHARP) & method.evenly
    # A path that has just been laid out is given a step before it is laid out again.
    loose = (((spacing(trial.path) > UNEVEN) & method.evenly) | folded) & ~fresh
    tolerance = method.tolerance if method.tolerance is not None else default_tolerance(along.dtype)
    # A kick out of the domain (a rate below 0) has no action: then the path that was at rest is what can be had.
    lost = fresh & ~jnp.isfinite(trial.value) & jnp.isfinite(state.rest)
    # |b| has a cone at a saddle: a node that sits on it has a slope that no step gains by.
    gained = state.value - trial.value
    flat = stuck | (trial.accepted & (trial.trials >= HALVED) & (gained <= tolerance * scales.action))
    resting = ((decrement <= tolerance * scales.action) | flat) & ~loose & ~fresh
    settled = lost | (resting & ((method.bend == 0) | (trial.value > state.rest - GAIN * scales.action)))
    kicked = resting & ~settled
    lower = resting & (trial.value < state.rest)
    best, rest = jnp.where(lower, trial.path, state.best), jnp.where(lower, trial.value, state.rest)
    path = jnp.where(loose, _laid_out(method, jnp.where(folded, untangled(trial.path), trial.path)), trial.path)
    path = jnp.where(kicked, _kick(method, problem, trial.path, key), jnp.where(lost, state.best, path))
    moved = loose | kicked
    memory = jax.tree.map(lambda m: jnp.where(trial.accepted & ~moved & ~fresh, m, 0.0), memory)
    value = jnp.where(lost, state.rest, trial.value)
    gradient = jnp.where(lost, 0.0, trial.gradient)
    # What is left to gain cannot be told from rounding.
    floor = jnp.finfo(along.dtype).eps
    blind = (resting | (decrement <= floor * scales.action)) & (tolerance < floor) & ~loose & ~fresh
    status = Status.where(settled, Status.converged, Status.running)
    status = Status.where(blind, Status.precision, status)
    resampled = state.resampled + loose
    new = PathState(path, value, gradient, trial.momentum, memory, scales, moved, best, rest, resampled)
    return new, PathInfo(
        system.weight * value, decrement, spacing(trial.path), trial.trials, resampled, kicked, status
    )  # fmt: skip


def _kick(method, problem, path, key):
    reach = KICK * method.bend * jnp.linalg.norm((problem.end - problem.start).ravel())
    return _laid_out(method, path + reach * bump(problem.start, path.shape[0], _smooth(problem), key=key))


def _smooth(problem):
    return lambda x: problem.system.filtered(x, lambda rates: 1 / (1 + rates))


def _with_gradient(total):
    with_gradient = jax.value_and_grad(total, has_aux=True)

    def objective(path, guess):
        found, gradient = with_gradient(path, guess)
        return found, gradient[1:-1]

    return objective


def check_path(owner: str, method) -> None:
    """Refuse what no path can start from, and a tolerance that nothing meets; None leaves it to the method."""
    if method.segments < 4:
        raise InputError(f"{owner}(segments={method.segments}): expected at least 4")
    if not method.bend >= 0:
        raise InputError(
            f"{owner}(bend={method.bend}): expected at least 0; it is relative to the distance of the ends"
        )
    if method.tolerance is not None and not method.tolerance > 0:
        raise InputError(f"{owner}(tolerance={method.tolerance}): expected a positive number")


def default_tolerance(dtype) -> float:
    """What may be left to gain, in this precision."""
    return 1e-9 if dtype == jnp.float64 else 1e-6
