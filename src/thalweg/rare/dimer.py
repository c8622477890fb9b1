"""The dimer method: climb to a saddle from one point, with gradients alone.

Answers    which saddle is near here, when the other side of the barrier is not known?
Equations  two images, g0 at x and g1 at x + sep N:  C = (g1 - g0) . N / sep is the curvature along N
           N turns to where C is least, by a trial turn and a parabola in the double angle, which also gives g1 there
           without a call of the oracle                                                    (Kastner, Sherwood 2008)
           x moves by L-BFGS along F = -g0 + 2 (g0 . N) N where C < 0, up along N where C > 0  (Henkelman, Jonsson 1999)
           found when the largest entry of g0 is below `tolerance` and C < 0
Symbols    N -> orientation, sep -> separation, F -> `effective`
Cost       a step: one gradient at the middle, one at the image, and one more when the dimer turns by more than `angle`
Fails      max_steps where the force is left. A saddle of higher index is taken for one of the first where the dimer
           follows one of its unstable directions: count with `growth_rates`. `nonfinite` where atoms collide
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core import AbstractInfo, AbstractMethod, InputError, Status
from ..core.checks import all_known, known, positive, real
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
from .hamiltonian import AbstractGradient
from .problem import show

# The first step along a force, before any curvature is known, and the share of the nearest distance that an atom moves.
FIRST, SHARE = 0.01, 0.5 * (1 - 2 / 3)
# Atoms closer than this share of the largest distance are the same place.
COINCIDENT = 1e-6


class SaddleSearch(eqx.Module):
    """A potential, a point to climb from, and a first guess at the direction across the barrier.

    Fields:
        system: an `AbstractGradient`: a JAX potential (`Gradient`), or a `Calculator` for `run_host`.
        start: where the search begins; points of two axes are atoms, (atoms, dim).
        orientation: like start, of any length but 0.
        kinds: of each atom, whole numbers; None for all alike. Only atoms of a kind are exchanged when two
            configurations are compared.
        rigid: whether motions of all atoms together are left out, for free molecules.

    Raises:
        InputError: shapes that differ, numbers that are not finite, an orientation of length 0, coincident atoms,
            as many kinds as there are no atoms.
    """

    system: AbstractGradient
    start: Point = eqx.field(converter=real)
    orientation: Point = eqx.field(converter=real)
    kinds: tuple[int, ...] | None = eqx.field(static=True, default=None)
    rigid: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        start, axis = self.start, self.orientation
        if not isinstance(self.system, AbstractGradient):
            raise InputError(
                f"SaddleSearch on a {type(self.system).__name__}: it has no potential; expected an AbstractGradient, "
                "such as Gradient(potential) or Calculator(atoms)"
            )
        if start.ndim == 0 or start.shape != axis.shape:
            raise InputError(
                f"SaddleSearch(start of shape {start.shape}, orientation of shape {axis.shape}): expected the same "
                "shape, of at least one axis"
            )
        if start.ndim != 2 and (self.kinds is not None or self.rigid):
            raise InputError(f"SaddleSearch(start of shape {start.shape}): kinds and rigid need atoms, (atoms, dim)")
        if self.kinds is not None and len(self.kinds) != start.shape[0]:
            raise InputError(f"SaddleSearch({len(self.kinds)} kinds for {start.shape[0]} atoms): expected one for each")
        if not all_known((start, axis)):
            return
        for name, x in (("start", start), ("orientation", axis)):
            # A start of NaN would only be found out by the oracle.
            if not np.isfinite(np.asarray(x)).all():
                raise InputError(f"SaddleSearch: {name} = {show(x)} is not finite")
        _check_atoms(start)
        if not np.linalg.norm(np.asarray(without_rigid(axis, start, self.rigid))) > 1e-6 * np.linalg.norm(axis):
            raise InputError(
                "SaddleSearch(orientation): its length is 0, rigid motions taken out; expected a direction across the "
                "barrier, such as a random one, or end - start"
            )


def _check_atoms(x):
    """Refuse two atoms in one place."""
    if x.ndim != 2 or x.shape[0] < 2 or (at := known(x)) is None:
        return
    gaps = np.linalg.norm(at[:, None] - at, axis=-1)
    i, j = np.triu_indices(len(at), 1)
    least = int(np.argmin(gaps[i, j]))
    if gaps[i, j][least] <= COINCIDENT * max(gaps.max(), 1e-300):
        raise InputError(f"SaddleSearch: atoms {i[least]} and {j[least]} of the start coincide; move them apart")


class Clamped(AbstractGradient):
    """A potential of atoms of which only some move; a point holds their positions, (moving, dim).

    Fields:
        system: of all atoms, such as a `Calculator`.
        frame: all positions, (atoms, dim).
        moving: which atoms move, in the order of the point.
        noise: a; 2 makes eps the temperature.
    """

    system: AbstractGradient
    frame: Float[Array, "atoms dim"] = eqx.field(converter=real)
    moving: tuple[int, ...] = eqx.field(static=True)
    noise: Float[Array, ""] = eqx.field(converter=real, default=2.0)

    def __check_init__(self):
        inside = all(0 <= i < self.frame.shape[0] for i in self.moving)
        if not self.moving or not inside or len(set(self.moving)) != len(self.moving):
            raise InputError(
                f"Clamped(moving={self.moving}): expected different atoms, at least one, of 0 to "
                f"{self.frame.shape[0] - 1}"
            )

    @property
    def first(self) -> Point:
        """The moving atoms as they are in the frame."""
        return self.frame[np.asarray(self.moving)]

    @property
    def fixed(self) -> Float[Array, "fixed dim"]:
        """The atoms that do not move."""
        return self.frame[np.setdiff1d(np.arange(self.frame.shape[0]), self.moving)]

    def potential(self, x):
        """The system's, with the other atoms in place."""
        return self.system.potential(self._all(x))

    def drift(self, x):
        """The system's, of the moving atoms."""
        return self.system.drift(self._all(x))[np.asarray(self.moving)]

    def drifts(self, x):
        """The forces of one image after another, as the system may be a calculator."""
        return jnp.stack([self.drift(one) for one in x])

    def energies(self, x):
        """The energies of one image after another."""
        return jnp.stack([self.potential(one) for one in x])

    def _all(self, x):
        return self.frame.astype(x.dtype).at[np.asarray(self.moving)].set(x)


class Saddle(eqx.Module):
    """Where a search ended.

    Fields:
        point: the middle of the dimer.
        orientation: of the dimer, of length 1.
        energy: at the point.
        force: the largest entry of the gradient there.
        curvature: along the orientation, from the oracle's gradients; NaN where it was not asked for.
        calls: of the oracle, energies and gradients counted as one.
    """

    point: Point
    orientation: Point
    energy: Float[Array, ""]
    force: Float[Array, ""]
    curvature: Float[Array, ""]
    calls: Int[Array, ""]


class DimerState(eqx.Module):
    """The dimer with the energy and gradient of its middle, what it remembers, what it has cost, whether it is done."""

    point: Point
    orientation: Point
    energy: Float[Array, ""]
    gradient: Point
    curvature: Float[Array, ""]
    memory: Memory
    calls: Int[Array, ""]
    done: Bool[Array, ""]


class DimerInfo(AbstractInfo):
    """Energy, largest entry of the gradient and curvature before the step, the turn made in it, calls so far."""

    energy: Float[Array, ""]
    force: Float[Array, ""]
    curvature: Float[Array, ""]
    angle: Float[Array, ""]
    calls: Int[Array, ""]
    status: Any


class Dimer(AbstractMethod[SaddleSearch, DimerState, DimerInfo, Saddle]):
    """Climb with the oracle's own gradients; `solve` or `run_host` until the force is below `tolerance` and C < 0.

    Fields:
        tolerance: the largest entry of the gradient that is left.
        separation: of the two images.
        longest: step of the middle.
        angle: the turn, in radians, that is not worth another call.
        rotations: trial turns a step, at least 1.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=real, default=0.01)
    separation: Float[Array, ""] = eqx.field(converter=real, default=0.01)
    longest: Float[Array, ""] = eqx.field(converter=real, default=0.1)
    angle: Float[Array, ""] = eqx.field(converter=real, default=np.pi / 36)
    rotations: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        for name in ("tolerance", "separation", "longest", "angle"):
            positive("Dimer", name, getattr(self, name))
        if self.rotations < 1:
            raise InputError(f"Dimer(rotations={self.rotations}): expected at least 1, or the dimer cannot turn")

    def init(self, problem, *, key):
        """The middle, evaluated."""
        x = problem.start
        axis = unit(without_rigid(problem.orientation.astype(x.dtype), x, problem.rigid))
        energy, g = evaluate(problem.system, x)
        unknown = jnp.asarray(jnp.nan, x.dtype)
        return DimerState(x, axis, energy, g, unknown, no_memory(x), jnp.asarray(1), jnp.asarray(False))

    def step(self, problem, state, *, key):
        """Turn, and move; nothing, and no call, once the saddle has been found."""
        return when(state.done, lambda: (state, self._info(state)), lambda: self._move(problem, state))

    def value(self, problem, state):
        """The middle of the dimer."""
        force = jnp.max(jnp.abs(state.gradient))
        return Saddle(state.point, state.orientation, state.energy, force, state.curvature, state.calls)

    def _move(self, problem, state):
        x, g0, dtype = state.point, state.gradient, state.point.dtype
        separation = self.separation.astype(dtype)
        image = evaluate(problem.system, x + separation * state.orientation)[1]
        axis, calls, angle = state.orientation, state.calls + 1, jnp.zeros((), dtype)
        for _ in range(self.rotations):
            axis, image, turn, spent = self._turn(problem, x, g0, axis, image)
            calls, angle = calls + spent, angle + turn
        curvature = _curved(g0, image, axis, separation).value
        done = (jnp.max(jnp.abs(g0)) < self.tolerance) & (curvature < 0)
        here = DimerState(x, axis, state.energy, g0, curvature, state.memory, calls, jnp.asarray(done))
        status = Status.where(done, Status.converged, Status.running)
        info = self._info(here, angle, status)
        return when(done, lambda: here, lambda: self._translate(problem, here)), info

    def _turn(self, problem, x, g0, axis, image):
        separation = self.separation.astype(x.dtype)
        found = _curved(g0, image, axis, separation)

        def turn():
            trial = turned(axis, across(found), found.angle)
            g = evaluate(problem.system, x + separation * trial)[1]
            new, at, angle = _best_turn(found, g0, image, g, axis, separation, x, problem.rigid)
            return new, at, angle, jnp.asarray(1)

        stay = lambda: (axis, image, jnp.zeros((), x.dtype), jnp.asarray(0))  # noqa: E731
        return when(found.angle > self.angle, turn, stay)

    def _translate(self, problem, state):
        longest = self.longest.astype(state.point.dtype)
        step = _proposed(state, longest, problem.rigid)
        energy, g = evaluate(problem.system, state.point + step)
        axis, curvature = state.orientation, state.curvature
        memory = _remembered(state, step, g)
        return DimerState(state.point + step, axis, energy, g, curvature, memory, state.calls + 1, state.done)

    def _info(self, state, angle=None, status=Status.converged):
        angle = jnp.zeros((), state.point.dtype) if angle is None else angle
        force = jnp.max(jnp.abs(state.gradient))
        return DimerInfo(
            energy=state.energy, force=force, curvature=state.curvature, angle=angle, calls=state.calls, status=status
        )


# Compiled one by one, as the oracle between them may be a calculator: a host loop would compile their loops anew in
# every step.
_curved = eqx.filter_jit(curved)


@eqx.filter_jit
def _best_turn(found, g0, image, trial, axis, separation, x, rigid: bool):
    """The best axis of the plane, the gradient at its image, and how far it is from the last."""
    new, at = best_turn(found, g0, image, trial, axis, separation)
    # A gradient of rounding may carry rigid motions with it.
    new = unit(without_rigid(new, x, rigid))
    return new, at, jnp.arccos(jnp.clip(jnp.abs(jnp.sum(new * axis)), 0.0, 1.0))


@eqx.filter_jit
def _proposed(state: DimerState, longest, rigid: bool) -> Point:
    """Where the middle would go from here."""
    x, axis, curvature = state.point, state.orientation, state.curvature
    force = effective(state.gradient, axis, curvature)
    step = step_along(state.memory, force, curvature, jnp.asarray(FIRST, x.dtype), longest)
    return limited(without_rigid(step, x, rigid), x, SHARE)


@eqx.filter_jit
def _remembered(state: DimerState, step: Point, gradient: Point) -> Memory:
    """With what a step has shown of the force."""
    axis, curvature = state.orientation, state.curvature
    before, after = effective(state.gradient, axis, curvature), effective(gradient, axis, curvature)
    return learnt(state.memory, step, before, after, curvature)
