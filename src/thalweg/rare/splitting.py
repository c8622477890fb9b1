"""Adaptive multilevel splitting: the probability of a rare crossing, without bias and without large deviations.

Answers    with which probability does a trajectory from here reach B before A, when no direct simulation ever sees it?
Equations  N trajectories; every iteration kills those whose highest level is at most the k-th lowest, Z, and replaces
           each by a survivor's trajectory up to where it first exceeds Z, continued with new noise
           P = prod_i (1 - K_i / N) (share that reached B),  E P is the probability for every N, k and level function
                                                       (Cerou, Guyader 2007; Brehier et al. 2016, theorem 3.2)
Symbols    level -> the function of a point that says how far it has come, Z, K_i -> how many were killed (ties too)
Cost       log(1/P) N/k iterations of k trajectories; memory N times steps times the point
Fails      the level must be larger the nearer to B; a poor one gives a large variance, never a bias. One run says
           nothing of its error: take independent ones (`Replicates` of the room sampling, `probability`).
           `cut_short` when trajectories reach neither set in time
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ..core import AbstractInfo, AbstractMethod, Diffusion, Estimate, InputError, Status, estimate
from ..core.checks import all_known, positive, real
from ..core.process import AbstractCorrelated, AbstractProcess
from ..core.types import Point
from .hamiltonian import AbstractSmallNoise, as_matrix, is_matrix

# Steps between two looks at which trajectories are still under way.
CHUNK = 32


class Reach(eqx.Module):
    """From a point, reach B before A.

    Fields:
        process: whose drift and diffusion do not depend on time; `noisy(system, eps, like=start)` makes one.
        start: where all trajectories begin, outside of both sets.
        level: x -> a number that is larger the nearer to B.
        failed: x -> whether the point is in A.
        reached: x -> whether the point is in B.
        dt: of the Euler-Maruyama steps; the probability is that of the chain which they make.
    """

    process: AbstractProcess | AbstractCorrelated
    start: Point = eqx.field(converter=real)
    level: Callable
    failed: Callable
    reached: Callable
    dt: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        positive("Reach", "dt", self.dt)
        if all_known(self.start) and (bool(self.failed(self.start)) or bool(self.reached(self.start))):
            raise InputError("Reach: the start lies in A or in B; expected a point outside of both")

    def move(self, x, noise):
        """One step of one trajectory."""
        t, dt = jnp.zeros((), x.dtype), self.dt.astype(x.dtype)
        g = jnp.asarray(self.process.diffusion(t, x), x.dtype)
        kick = g @ noise if isinstance(self.process, AbstractCorrelated) else g * noise
        return x + dt * self.process.drift(t, x) + jnp.sqrt(dt) * kick


def noisy(system: AbstractSmallNoise, eps, *, like: ArrayLike) -> AbstractProcess | AbstractCorrelated:
    """The diffusion dX = b dt + sqrt(eps a) dW of points `like` this one; roots of matrices are Cholesky factors."""
    eps, like = real(eps), real(like)
    positive("noisy", "eps", eps)
    if is_matrix(system.covariance(like), like):
        return _Mixed(system, eps)
    return Diffusion(lambda t, x: system.drift(x), lambda t, x: jnp.sqrt(eps.astype(x.dtype) * system.covariance(x)))


class _Mixed(AbstractCorrelated):
    system: AbstractSmallNoise
    eps: Float[Array, ""]

    def drift(self, t, x):
        return self.system.drift(x)

    def diffusion(self, t, x):
        return jnp.linalg.cholesky(self.eps.astype(x.dtype) * as_matrix(self.system.covariance(x), x))


class SplitState(eqx.Module):
    """The trajectories with their levels, where each ends and how high it came, and the probability so far."""

    paths: Float[Array, "n times *event"]
    heights: Float[Array, "n times"]
    ends: Int[Array, " n"]
    highest: Float[Array, " n"]
    log_p: Float[Array, ""]
    unfinished: Int[Array, ""]
    extinct: Bool[Array, ""]


class SplitInfo(AbstractInfo):
    """The level that was passed, log of the share above it, how many were killed and cut short, how many arrived."""

    level: Float[Array, ""]
    log_share: Float[Array, ""]
    killed: Int[Array, ""]
    unfinished: Int[Array, ""]
    arrived: Int[Array, ""]
    status: Any


class Split(eqx.Module):
    """What a run leaves.

    Fields:
        probability: unbiased; 0 when all trajectories were lost.
        paths: the trajectories, of which those with `arrived` reached B and are valid up to `ends`.
        ends: index of the last point of each.
        arrived: which reached B.
    """

    probability: Float[Array, ""]
    paths: Float[Array, "n times *event"]
    ends: Int[Array, " n"]
    arrived: Bool[Array, " n"]


class Splitting(AbstractMethod[Reach, SplitState, SplitInfo, Split]):
    """Adaptive multilevel splitting; `solve` until nothing is left to be killed.

    Fields:
        trajectories: N, at least 2.
        kill: k, how many are killed at least an iteration, less than N.
        longest: steps after which a trajectory is cut short.
    """

    trajectories: int = eqx.field(static=True, default=100)
    kill: int = eqx.field(static=True, default=1)
    longest: int = eqx.field(static=True, default=2000)

    def __check_init__(self):
        if not 1 <= self.kill < self.trajectories:
            raise InputError(
                f"Splitting(trajectories={self.trajectories}, kill={self.kill}): expected 1 <= kill < trajectories"
            )
        if self.longest < 1:
            raise InputError(f"Splitting(longest={self.longest}): expected at least 1")

    def init(self, problem, *, key):
        """Independent trajectories from the start."""
        n, x = self.trajectories, problem.start
        paths = jnp.broadcast_to(x, (n, self.longest + 1, *x.shape))
        height = problem.level(x)
        heights = jnp.broadcast_to(height, (n, self.longest + 1))
        grown = self._grow(problem, paths, heights, jnp.zeros(n, int), jnp.ones(n, bool), key)
        paths, heights, ends, highest, cut = grown
        zero = jnp.zeros((), x.dtype)
        return SplitState(paths, heights, ends, highest, zero, jnp.sum(cut), jnp.asarray(False))

    def step(self, problem, state, *, key):
        """Kill the lowest, and branch survivors in their place."""
        n, z = self.trajectories, jnp.sort(state.highest)[self.kill - 1]
        done = (z == jnp.inf) | state.extinct
        dead = self.condemned(state.highest, z) & ~done
        killed = jnp.sum(dead)
        extinct = killed == n
        # With none left to copy, the probability is 0 and stays so.
        share = jnp.where(extinct, 1.0, 1 - killed / n).astype(state.log_p.dtype)
        choose, grow = jax.random.split(key)
        parents = jax.random.categorical(choose, jnp.where(dead & ~extinct, -jnp.inf, 0.0), shape=(n,))
        new, cut = self._replace(problem, state, dead & ~extinct, parents, z, grow)
        log_p = state.log_p + self.log_share(share, killed)
        paths, heights, ends, highest = new
        cuts, lost = state.unfinished + cut, state.extinct | extinct
        new = SplitState(paths, heights, ends, highest, log_p, cuts, lost)
        arrived = jnp.sum(new.highest == jnp.inf)
        ended = (jnp.sort(new.highest)[self.kill - 1] == jnp.inf) | new.extinct
        status = Status.where(ended, Status.converged, Status.running)
        status = Status.where(ended & (new.unfinished > 0), Status.cut_short, status)
        shown = jnp.where(z == jnp.inf, jnp.max(jnp.where(state.heights == jnp.inf, 0, state.heights)), z)
        return new, SplitInfo(
            level=shown, log_share=log_p, killed=killed, unfinished=new.unfinished, arrived=arrived, status=status
        )

    def condemned(self, highest, z) -> Bool[Array, " n"]:
        """Who is killed: all that did not exceed the level, ties included."""
        return highest <= z

    def log_share(self, share, killed) -> Float[Array, ""]:
        """log of the share that exceeded the level."""
        return jnp.log(share)

    def value(self, problem, state):
        """The probability, and the trajectories."""
        arrived = state.highest == jnp.inf
        probability = jnp.where(state.extinct, 0.0, jnp.exp(state.log_p) * jnp.mean(arrived))
        return Split(probability.astype(state.log_p.dtype), state.paths, state.ends, arrived)

    def _replace(self, problem, state, dead, parents, z, key):
        """The killed first, in groups of k, so that as much is simulated as is needed."""
        n, k = self.trajectories, self.kill
        order, count = jnp.argsort(~dead, stable=True), jnp.sum(dead)

        def going(carry):
            return carry[0] * k < count

        def group(carry):
            i, paths, heights, ends, highest, cut = carry
            place = i * k + jnp.arange(k)
            used = place < count
            who = order[jnp.minimum(place, n - 1)]
            parent = parents[who]
            branch = jnp.argmax(state.heights[parent] > z, axis=1)
            grown = self._grow(
                problem, state.paths[parent], state.heights[parent], branch, used, jax.random.fold_in(key, i)
            )
            # Places past the last of the killed write nowhere.
            into = jnp.where(used, who, n)
            new = (a.at[into].set(b, mode="drop") for a, b in zip((paths, heights, ends, highest), grown, strict=False))
            return (i + 1, *new, cut + jnp.sum(grown[4] & used))

        first = (jnp.asarray(0), state.paths, state.heights, state.ends, state.highest, jnp.asarray(0))
        _, *new, cut = jax.lax.while_loop(going, group, first)
        return new, cut

    def _grow(self, problem, paths, heights, start, wanted, key):
        """Continue each trajectory from its index `start` until it ends; heights after the end are minus infinity."""
        lanes, event = jnp.arange(paths.shape[0]), paths.shape[2:]
        chunks = -(-self.longest // CHUNK)
        failed, reached = jax.vmap(problem.failed), jax.vmap(problem.reached)
        room = self.longest - start

        def step(carry, noise):
            x, active, taken = carry
            moved = jax.vmap(problem.move)(x, noise)
            x = jnp.where(active.reshape(-1, *[1] * len(event)), moved, x)
            taken = taken + active
            return (x, active & ~failed(x) & ~reached(x) & (taken < room), taken), x

        def going(carry):
            return jnp.any(carry[1][1]) & (carry[2] < chunks)

        def chunk(carry):
            # Writing every step by itself would copy the whole of the new piece every time when runs are mapped over.
            piece, walk, c = carry
            noise = jax.random.normal(jax.random.fold_in(key, c), (CHUNK, len(lanes), *event), paths.dtype)
            walk, visited = jax.lax.scan(step, walk, noise)
            return jax.lax.dynamic_update_slice_in_dim(piece, visited, c * CHUNK, 0), walk, c + 1

        x = paths[lanes, start]
        active = wanted & ~failed(x) & ~reached(x) & (room > 0)
        piece = jnp.zeros((chunks * CHUNK, len(lanes), *event), paths.dtype)
        piece, (last, _, taken), _ = jax.lax.while_loop(going, chunk, (piece, (x, active, jnp.zeros_like(start)), 0))
        piece = jnp.moveaxis(piece, 1, 0)
        tall = jnp.where(jax.vmap(reached)(piece), jnp.inf, jax.vmap(jax.vmap(problem.level))(piece))
        # The new piece follows on the old trajectory's index `start`.
        place = jnp.arange(self.longest + 1) - start[:, None] - 1
        new, inside = place >= 0, jnp.clip(place, 0, chunks * CHUNK - 1)
        rows = lanes[:, None]
        paths = jnp.where(new.reshape(*new.shape, *[1] * len(event)), piece[rows, inside], paths)
        heights = jnp.where(new, tall.astype(heights.dtype)[rows, inside], heights)
        ends = start + taken
        heights = jnp.where(jnp.arange(self.longest + 1) > ends[:, None], -jnp.inf, heights)
        cut = wanted & ~failed(last) & ~reached(last)
        return paths, heights, ends, jnp.max(heights, axis=1), cut


def probability(runs: Split) -> Estimate:
    """The mean over independent runs (a leading axis, as `Replicates` leaves it), with its standard error."""
    return estimate(runs.probability)
