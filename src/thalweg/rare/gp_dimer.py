"""The dimer on a Gaussian process: climb on the surrogate, and ask the oracle only where the climb ends.

Answers    where is the saddle, when every energy is a calculation of minutes?
Equations  the dimer of `dimer.py` on the posterior mean, until its largest force is below
           T = max(least true force / divisor, tolerance / 10), or a step leaves the trust radius of all data
           trust: max_t w_t <= min(0.15 + 0.35 (1 - 2^{-n/50}), max(0.2, 1.3/sqrt(atoms))), or a constant
           no atom moves by more than 1/2 (1 - 2/3) of the distance to its nearest neighbour in a step
           a climb begins where the last one came to rest that the trust radius did not end, at first at the start
           found when the true largest force is below `tolerance` and the true curvature along the dimer is negative
           (2510.06030; the numbers of its code, lode-org/ChemGP)
Symbols    n -> data.count, w_t -> `transport`, T -> threshold
Cost       a step: one call of the oracle, and one more where the force is below the tolerance; a fit on the subset,
           cubic in its size; one factorisation of all data, cubic in `capacity`
Fails      precision where the covariance cannot be factorised: points on top of each other, or single precision;
           max_steps where the force is left. When the data are full the one farthest from the dimer is dropped
Departs    from the code: the least true force so far decides T as in the paper, not the latest; the curvature at the
           end is asked of the oracle
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core import AbstractInfo, AbstractMethod, InputError, Paper, Status
from ..core.checks import positive, real
from ..core.types import Point
from ._lbfgs import Memory
from ._rotation import (
    across,
    best_turn,
    curved,
    effective,
    evaluate,
    learnt,
    limited,
    no_memory,
    step_along,
    turned,
    unit,
    when,
    without_rigid,
)
from .dimer import FIRST, SHARE, Saddle, SaddleSearch
from .farthest import Farthest, transport
from .surrogate import Data, Hyper, Posterior, Surrogate


class Trust(eqx.Module):
    """How far from all data the surrogate is believed, in the units of the points.

    Fields:
        first: with few data.
        more: what many data add to it.
        half: the data that add half of that.
        spread: over the square root of the atoms, the most that it may become,
        floor: unless that is less.
    """

    first: Float[Array, ""] = eqx.field(converter=real, default=0.15)
    more: Float[Array, ""] = eqx.field(converter=real, default=0.35)
    half: Float[Array, ""] = eqx.field(converter=real, default=50.0)
    spread: Float[Array, ""] = eqx.field(converter=real, default=1.3)
    floor: Float[Array, ""] = eqx.field(converter=real, default=0.2)

    def __check_init__(self):
        for name in ("first", "half", "spread", "floor"):
            positive("Trust", name, getattr(self, name))

    @classmethod
    def constant(cls, radius: float) -> "Trust":
        """The same however many data there are."""
        return cls(radius, 0.0, floor=radius)

    def radius(self, count: Int[Array, ""], atoms: int) -> Float[Array, ""]:
        """With so many data, of so many atoms."""
        earned = self.first + self.more * (1 - 2.0 ** (-count / self.half))
        return jnp.minimum(earned, jnp.maximum(self.floor, self.spread / np.sqrt(atoms)))


class GPDimerState(eqx.Module):
    """The dimer, what the oracle said there, all data, and what was fitted to them.

    `history` are the logarithms of the last fits, NaN where there was none; `size` that of the subset; `least` the
    smallest force so far; `curvature` the oracle's, NaN until it was asked. The next climb begins at `base` along
    `heading`: a climb that left the trust radius ended anywhere, and is only learnt from.
    """

    point: Point
    orientation: Point
    energy: Float[Array, ""]
    gradient: Point
    curvature: Float[Array, ""]
    least: Float[Array, ""]
    data: Data
    hyper: Hyper
    history: Float[Array, "rows parameters"]
    size: Int[Array, ""]
    calls: Int[Array, ""]
    done: Bool[Array, ""]
    base: Point
    heading: Point


class GPDimerInfo(AbstractInfo):
    """After the step: energy and largest force of the oracle; curvature and threshold on the surrogate; the fit.

    `climbed` are steps on the surrogate, `rejected` whether the trust radius ended them, `size` and `count` those of
    the subset and of the data, `jitter` what the covariance needed.
    """

    energy: Float[Array, ""]
    force: Float[Array, ""]
    curvature: Float[Array, ""]
    threshold: Float[Array, ""]
    variance: Float[Array, ""]
    scales: Float[Array, " groups"]
    loss: Float[Array, ""]
    jitter: Float[Array, ""]
    climbed: Int[Array, ""]
    rejected: Any
    size: Int[Array, ""]
    count: Int[Array, ""]
    calls: Int[Array, ""]
    status: Any


class Climb(eqx.Module):
    """The dimer on the surrogate; `still` says that it has ended, `rejected` that the trust radius ended it."""

    point: Point
    orientation: Point
    curvature: Float[Array, ""]
    memory: Memory
    steps: Int[Array, ""]
    still: Bool[Array, ""]
    rejected: Bool[Array, ""]


class _Fit(eqx.Module):
    """What a step has learnt before it climbs."""

    hyper: Hyper
    loss: Float[Array, ""]
    size: Int[Array, ""]
    sound: Bool[Array, ""]
    jitter: Float[Array, ""]
    threshold: Float[Array, ""]


class GPDimer(AbstractMethod[SaddleSearch, GPDimerState, GPDimerInfo, Saddle]):
    """Climb on a surrogate; `solve`, or `run_host` for a calculator, until the true force is below `tolerance`.

    Fields:
        surrogate: kernel, noise and barrier.
        subset: which data the kernel is fitted to; None for all of them.
        trust: how far from the data a climb may go.
        tolerance: the largest entry of the true gradient that is left.
        separation: of the two images.
        longest: step on the surrogate.
        angle: the turn, in radians, that is small enough.
        divisor: of the least true force, for the force at which a climb ends.
        capacity: how many data are kept, at least 3.
        climb: steps on the surrogate between two calls, at most.
        rotations: trial turns a step of these.

    Raises:
        InputError: values that are not positive, or a subset that may grow beyond the capacity.
    """

    paper: ClassVar[Paper] = Paper(
        "ot-gp-dimer",
        "Adaptive Pruning for Increased Robustness and Reduced Computational Overhead in GP Accelerated Saddle Point "
        "Searches",
        "2510.06030",
        2025,
        "the subset by transport distance, the barrier on the variance, trust, oscillation",
    )
    surrogate: Surrogate = eqx.field(default_factory=Surrogate)
    subset: Farthest | None = eqx.field(default_factory=Farthest)
    trust: Trust = eqx.field(default_factory=Trust)
    tolerance: Float[Array, ""] = eqx.field(converter=real, default=0.01)
    separation: Float[Array, ""] = eqx.field(converter=real, default=0.01)
    longest: Float[Array, ""] = eqx.field(converter=real, default=0.05)
    angle: Float[Array, ""] = eqx.field(converter=real, default=np.pi / 36)
    divisor: Float[Array, ""] = eqx.field(converter=real, default=10.0)
    capacity: int = eqx.field(static=True, default=60)
    climb: int = eqx.field(static=True, default=200)
    rotations: int = eqx.field(static=True, default=3)

    def __check_init__(self):
        for name in ("tolerance", "separation", "longest", "angle", "divisor"):
            positive("GPDimer", name, getattr(self, name))
        most = 0 if self.subset is None else self.subset.most
        if self.capacity < max(most, 3) or self.climb < 1 or self.rotations < 1:
            raise InputError(
                f"GPDimer(capacity={self.capacity}, climb={self.climb}, rotations={self.rotations}): expected at "
                f"least {max(most, 3)} (3, or subset.most), 1 and 1"
            )

    def init(self, problem, *, key):
        """Both images, evaluated."""
        x = problem.start
        axis = unit(without_rigid(problem.orientation.astype(x.dtype), x, problem.rigid))
        energy, g = evaluate(problem.system, x)
        image = x + self.separation.astype(x.dtype) * axis
        data = Data.first(self.capacity, x, energy, g).added(image, *evaluate(problem.system, image))
        hyper = self.surrogate.first(x.shape, x.dtype)
        rows = 3 if self.subset is None else self.subset.window + 2
        history = jnp.full((rows, hyper.logs.size), jnp.nan, x.dtype)
        size = jnp.asarray(self.capacity if self.subset is None else self.subset.size)
        unknown, force = jnp.asarray(jnp.nan, x.dtype), jnp.max(jnp.abs(g))
        return GPDimerState(
            x, axis, energy, g, unknown, force, data, hyper, history, size, jnp.asarray(2), jnp.asarray(False), x, axis
        )  # fmt: skip

    def step(self, problem, state, *, key):
        """Fit, climb, and ask the oracle; neither once the saddle has been found."""
        fit, climb = when(
            state.done, lambda: _rested(state), lambda: _climbed(self, problem.kinds, problem.rigid, state)
        )
        history = jnp.roll(state.history, -1, axis=0).at[-1].set(fit.hyper.logs)
        fitted = eqx.tree_at(lambda s: (s.hyper, s.history, s.size), state, (fit.hyper, history, fit.size))
        idle = state.done | ~fit.sound
        new = when(idle, lambda: state, lambda: self._ask(problem, fitted, climb))
        status = Status.where(fit.sound, Status.running, Status.precision)
        status = Status.where(new.done, Status.converged, status)
        # What was not found has a status of its own, unless the oracle is what is not finite.
        finite = lambda v: jnp.where(fit.sound, v, 0.0)  # noqa: E731
        return new, GPDimerInfo(
            energy=new.energy,
            force=jnp.max(jnp.abs(new.gradient)),
            curvature=finite(climb.curvature),
            threshold=fit.threshold,
            variance=finite(fit.hyper.variance),
            scales=finite(fit.hyper.scales),
            loss=finite(fit.loss),
            jitter=fit.jitter,
            climbed=climb.steps,
            rejected=climb.rejected,
            size=fit.size,
            count=new.data.count,
            calls=new.calls,
            status=status,
        )

    def value(self, problem, state):
        """The last point that the oracle has seen."""
        force = jnp.max(jnp.abs(state.gradient))
        return Saddle(state.point, state.orientation, state.energy, force, state.curvature, state.calls)

    def _ask(self, problem, state, climb):
        """The oracle at the end of the climb, and at the image where that looks like a saddle."""
        x, axis = climb.point, climb.orientation
        energy, g = evaluate(problem.system, x)
        data = _stored(state.data, x, energy, g, problem.kinds)
        force = jnp.max(jnp.abs(g))
        least = jnp.minimum(state.least, force)
        separation = self.separation.astype(x.dtype)

        def image():
            at = x + separation * axis
            e1, g1 = evaluate(problem.system, at)
            return _stored(data, at, e1, g1, problem.kinds), curved(g, g1, axis, separation).value, jnp.asarray(2)

        unseen = lambda: (data, jnp.full((), jnp.nan, x.dtype), jnp.asarray(1))  # noqa: E731
        data, curvature, spent = when(force < self.tolerance, image, unseen)
        done = (force < self.tolerance) & (curvature < 0)
        rested = climb.still & ~climb.rejected
        base, heading = jnp.where(rested, x, state.base), jnp.where(rested, axis, state.heading)
        return GPDimerState(
            x, axis, energy, g, curvature, least, data, state.hyper, state.history, state.size,
            state.calls + spent, done, base, heading,
        )  # fmt: skip


@eqx.filter_jit
def _stored(data: Data, x, energy, g, kinds) -> Data:
    """With one more; when there is no place, the one farthest from it is dropped."""

    def dropped(data):
        far = jnp.max(transport(x, data.points, kinds), axis=1)
        return data.without(jnp.argmax(far))

    data = jax.lax.cond(data.count == data.capacity, dropped, lambda d: d, data)
    return data.added(x, energy, g)


@eqx.filter_jit
def _climbed(method: GPDimer, kinds, rigid: bool, state: GPDimerState):
    """Fit and climb: everything between two calls of the oracle."""
    surrogate, subset, data = method.surrogate, method.subset, state.data
    if subset is None:
        size, few = state.size, data
    else:
        size = subset.grown(state.size, state.history)
        places = subset.chosen(data.points, data.count, size, kinds, rigid)
        few = data.taken(places, jnp.minimum(size, data.count))
    hyper, loss, _ = surrogate.fitted(few, state.hyper)
    posterior = surrogate.posterior(data, hyper)
    threshold = jnp.maximum(state.least / method.divisor, 0.1 * method.tolerance).astype(state.least.dtype)
    climb = _climb(method, kinds, rigid, posterior, data, state, threshold)
    return _Fit(hyper, loss, size, posterior.sound, posterior.jitter, threshold), climb


def _rested(state: GPDimerState):
    """In place of a fit and a climb, where the search is over."""
    zero = jnp.zeros((), state.point.dtype)
    fit = _Fit(state.hyper, zero, state.size, jnp.asarray(True), zero, zero)
    curvature = jnp.where(jnp.isnan(state.curvature), 0.0, state.curvature)
    no, yes = jnp.asarray(False), jnp.asarray(True)
    return fit, Climb(state.point, state.orientation, curvature, no_memory(state.point), jnp.asarray(0), yes, no)


def _climb(method, kinds, rigid, posterior: Posterior, data: Data, state: GPDimerState, threshold) -> Climb:
    dtype = state.point.dtype
    atoms = state.point.shape[0] if state.point.ndim == 2 else 1
    radius = method.trust.radius(data.count, atoms).astype(dtype)
    separation, longest = method.separation.astype(dtype), method.longest.astype(dtype)

    def distance(x):
        apart = jnp.max(transport(x, data.points, kinds, rigid), axis=1)
        return jnp.min(jnp.where(data.there, apart, jnp.inf))

    def turn(_, carry):
        x, g0, axis, image = carry
        found = curved(g0, image, axis, separation)

        def better():
            trial = turned(axis, across(found), found.angle)
            g1 = posterior.gradient(x + separation * trial)
            new = best_turn(found, g0, image, g1, axis, separation)[0]
            new = unit(without_rigid(new, x, rigid))
            return new, posterior.gradient(x + separation * new)

        return x, g0, *jax.lax.cond(found.angle > method.angle, better, lambda: (axis, image))

    def body(climb):
        x, axis = climb.point, climb.orientation
        g0, image = posterior.gradient(x), posterior.gradient(x + separation * axis)
        _, _, axis, image = jax.lax.fori_loop(0, method.rotations, turn, (x, g0, axis, image))
        curvature = curved(g0, image, axis, separation).value
        there = (jnp.max(jnp.abs(g0)) < threshold) & (curvature < 0)
        before = effective(g0, axis, curvature)
        step = step_along(climb.memory, before, curvature, jnp.asarray(FIRST, dtype), longest)
        step = limited(without_rigid(step, x, rigid), x, SHARE)
        # The first step is taken whatever it leads to: a climb that is rejected at once would ask the same again.
        rejected = ~there & (climb.steps > 0) & (distance(x + step) > radius)
        still = there | rejected
        after = effective(posterior.gradient(x + step), axis, curvature)
        memory = learnt(climb.memory, step, before, after, curvature)
        moved = jnp.where(still, x, x + step)
        return Climb(moved, axis, curvature, memory, climb.steps + ~still, still, rejected)

    first = Climb(
        state.base, state.heading, jnp.zeros((), dtype), no_memory(state.base), jnp.asarray(0),
        ~posterior.sound, jnp.asarray(False),
    )  # fmt: skip
    return jax.lax.while_loop(lambda c: ~c.still & (c.steps < method.climb), body, first)
