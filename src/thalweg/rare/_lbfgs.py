"""Limited-memory quasi-Newton descent of a path, in the metric of the second variation of its action.

Equations  P_jk = (lambda n (2 - 2 cos(pi j / n)) + r_k^2 / (lambda n)) / a: sine mode j along the path, mode k of the
           system's stiff linear part with rate r_k; the start of the two-loop recursion of L-BFGS is 1 / P
           steps are halved until F falls by 1e-4 of what the slope promises (Armijo)
Cost       an iteration: one action with its gradient, and two sine transforms, O(n^2) a coordinate
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .path import Path, lengths

# Pairs remembered, halvings of a step, and the share of the promised descent that is asked for.
MEMORY, HALVINGS, SUFFICIENT = 12, 25, 1e-4
# The most that a node may move in one step, relative to the length of the path.
LEAP = 0.2


class Memory(eqx.Module):
    """The last steps and changes of gradient; an inverse product of 0 marks a place that is empty."""

    steps: Float[Array, "memory inner *event"]
    changes: Float[Array, "memory inner *event"]
    inverse: Float[Array, " memory"]


class Scales(eqx.Module):
    """Of the first path: the action of the noise alone, the speed in units of path per unit of time, the noise."""

    action: Float[Array, ""]
    speed: Float[Array, ""]
    noise: Float[Array, ""]


class Trial(eqx.Module):
    """A step that was tried: how far, where to, what it gave."""

    size: Float[Array, ""]
    path: Path
    value: Float[Array, ""]
    gradient: Float[Array, "inner *event"]
    momentum: Float[Array, "segments *event"]
    accepted: Bool[Array, ""]
    trials: Int[Array, ""]


def empty(path: Path) -> Memory:
    """Nothing remembered."""
    pairs = jnp.zeros((MEMORY, path.shape[0] - 2, *path.shape[1:]), path.dtype)
    return Memory(pairs, pairs, jnp.zeros(MEMORY, path.dtype))


def remember(memory: Memory, step, change) -> Memory:
    """With one more pair, unless its curvature is not positive."""
    product = jnp.sum(step * change)
    sizes = jnp.sqrt(jnp.sum(step * step) * jnp.sum(change * change))
    good = product > 1e-8 * sizes
    new = Memory(
        jnp.roll(memory.steps, -1, 0).at[-1].set(step),
        jnp.roll(memory.changes, -1, 0).at[-1].set(change),
        jnp.roll(memory.inverse, -1).at[-1].set(jnp.where(good, 1 / jnp.where(good, product, 1.0), 0.0)),
    )
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, memory)


def preconditioned(system, scales: Scales, gradient):
    """The gradient divided by P."""
    n = gradient.shape[0] + 1
    dtype = gradient.dtype
    j = np.arange(1, n)
    sines = jnp.asarray(np.sqrt(2 / n) * np.sin(np.pi * np.outer(j, j) / n), dtype)
    along = jnp.asarray(n * (2 - 2 * np.cos(np.pi * j / n)), dtype) * scales.speed

    def divide(mode, row):
        return system.filtered(row, lambda rates: scales.noise / (mode + rates**2 / (scales.speed * n)))

    modes = jnp.tensordot(sines, gradient, 1)
    return jnp.tensordot(sines, jax.vmap(divide)(along, modes), 1)


def direction(memory: Memory, gradient, precondition):
    """Minus the inverse Hessian, as far as it is remembered, times the gradient."""

    def back(q, pair):
        s, y, inverse = pair
        weight = inverse * jnp.sum(s * q)
        return q - weight * y, weight

    pairs = (memory.steps, memory.changes, memory.inverse)
    q, weights = jax.lax.scan(back, gradient, pairs, reverse=True)
    last = memory.changes[-1]
    of_last = jnp.sum(last * precondition(last)) * memory.inverse[-1]
    known = of_last > 0
    r = precondition(q) * jnp.where(known, 1 / jnp.where(known, of_last, 1.0), 1.0)

    def forth(r, pair):
        (s, y, inverse), weight = pair
        return r + s * (weight - inverse * jnp.sum(y * r)), None

    return -jax.lax.scan(forth, r, (pairs, weights))[0]


def search(objective, state, along, fresh, slack) -> Trial:
    """Halve a step along `along` until it descends enough; `slack` is what rounding alone may add.

    A path that is `fresh` has not been evaluated yet: it is taken as it is, without a step.
    """
    path = state.path
    slope = jnp.sum(state.gradient * along)
    longest = jnp.sqrt(jnp.max(jnp.sum(along.reshape(along.shape[0], -1) ** 2, axis=1)))
    size = jnp.minimum(1.0, LEAP * jnp.sum(lengths(path)) / jnp.maximum(longest, jnp.finfo(path.dtype).tiny))
    size = jnp.where(fresh, 0.0, size)
    start = Trial(size, path, state.value, state.gradient, state.momentum, jnp.asarray(False), jnp.asarray(0))

    def trying(trial):
        return ~trial.accepted & (trial.trials < HALVINGS)

    def attempt(trial):
        moved = path.at[1:-1].add(trial.size * along)
        (new, p), g = objective(moved, state.momentum)
        good = (new <= state.value + SUFFICIENT * trial.size * slope + slack) & jnp.all(jnp.isfinite(g))
        good = good | fresh
        found = Trial(trial.size, moved, new, g, p, good, trial.trials + 1)
        missed = Trial(0.5 * trial.size, *start_of(state), good, trial.trials + 1)
        return jax.tree.map(lambda a, b: jnp.where(good, a, b), found, missed)

    return jax.lax.while_loop(trying, attempt, start)


def start_of(state):
    """What a step begins with: path, value, gradient, momenta."""
    return state.path, state.value, state.gradient, state.momentum
