"""The nudged elastic band: a path held apart by springs that falls down a potential, its top climbing to the saddle.

Answers    how high is the barrier between two minima, from energies and forces alone?
Equations  force on image i: F - (F . t) t + k (|x_{i+1} - x_i| - |x_i - x_{i-1}|) t, with t the tangent towards the
           higher neighbour, weighted at the top and bottom        (Henkelman and Jonsson 2000, (8)-(12))
           the highest image climbs: F - 2 (F . t) t               (Henkelman, Uberuaga, Jonsson 2000, (5))
           FIRE moves the band: velocity v <- (1 - c) v + c |v| F/|F| where v . F > 0, else 0   (Bitzek et al. 2006)
Symbols    k -> spring, t -> tangent
Cost       one energy and force an image and step; they need not be traceable under `run_host`
Fails      max_steps where forces are left: more steps, or a shorter `step_size`
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..core import AbstractInfo, AbstractMethod, InputError, Status
from ..core.checks import positive, real
from ..core.types import Point
from ._descent import check_path, first_path
from .hamiltonian import AbstractGradient
from .path import Path, arclength
from .problem import Crossing

# FIRE: mixing at first, its decay, growth and fall of the step, steps downhill before it grows, its longest.
MIX, MIX_DECAY, GROW, FALL, PATIENCE, LONGEST = 0.1, 0.99, 1.1, 0.5, 5, 10.0


class Calculator(AbstractGradient):
    """The potential of an `ase.Atoms` with a calculator, for `run_host`; a point is its positions, (atoms, 3).

    Fields:
        atoms: with its calculator; its positions are changed. Fixed atoms feel no force, as ASE's constraints say.
        noise: a; 2 makes eps the temperature in the calculator's units of energy.
    """

    atoms: Any
    noise: Float[Array, ""] = eqx.field(converter=real, default=2.0)

    def __check_init__(self):
        if getattr(self.atoms, "calc", None) is None:
            raise InputError("Calculator(atoms): the atoms have no calculator; expected atoms.calc to be set")

    def potential(self, x):
        """The potential energy."""
        return jnp.asarray(self._at(x).get_potential_energy(), x.dtype)

    def drift(self, x):
        """The forces."""
        return jnp.asarray(self._at(x).get_forces(), x.dtype)

    def drifts(self, x):
        """The forces of one image after another."""
        return jnp.stack([self.drift(one) for one in x])

    def energies(self, x):
        """The energies of one image after another."""
        return jnp.stack([self.potential(one) for one in x])

    def _at(self, x):
        if isinstance(x, Tracer):
            raise InputError("a Calculator cannot be traced: drive the method with run_host(...)")
        self.atoms.set_positions(np.asarray(x, np.float64))
        return self.atoms


class BandState(eqx.Module):
    """The images with their energies and forces, and the state of FIRE."""

    path: Path
    energies: Float[Array, " nodes"]
    forces: Float[Array, "inner *event"]
    velocity: Float[Array, "inner *event"]
    time_step: Float[Array, ""]
    mix: Float[Array, ""]
    downhill: Int[Array, ""]


class BandInfo(AbstractInfo):
    """The largest force on an image, springs included, before the step; and the barrier."""

    force: Float[Array, ""]
    barrier: Float[Array, ""]
    status: Any


class Band(eqx.Module):
    """A path of least energy.

    Fields:
        path: the images.
        energies: of each.
    """

    path: Path
    energies: Float[Array, " nodes"]

    @property
    def barrier(self) -> Float[Array, ""]:
        """The highest energy above that of the start."""
        return jnp.max(self.energies) - self.energies[0]

    @property
    def arclength(self) -> Float[Array, " nodes"]:
        """From the start to each image."""
        return arclength(self.path)

    @property
    def transition_state(self) -> Point:
        """The highest image."""
        return self.path[jnp.argmax(self.energies)]


class ElasticBand(AbstractMethod[Crossing, BandState, BandInfo, Band]):
    """Relax a band of images; `solve` (or `run_host`) until no force is above `tolerance`.

    Fields:
        step_size: the first time step of FIRE, which grows up to ten times of it.
        segments: images less one, at least 4.
        spring: k, in units of force over length.
        climb: whether the highest image climbs to the saddle.
        bend: size of the random bend of the first path, relative to the distance; 0 for a straight line.
        guess: a path to start from instead.
        tolerance: the largest force that is left.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.05)
    segments: int = eqx.field(static=True, default=20)
    spring: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    climb: bool = eqx.field(static=True, default=True)
    bend: float = eqx.field(static=True, default=0.0)
    guess: Path | None = None
    tolerance: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        check_path("ElasticBand", self)
        positive("ElasticBand", "step_size", self.step_size)
        positive("ElasticBand", "spring", self.spring)

    @property
    def evenly(self) -> bool:
        """Nodes are kept evenly spaced in length."""
        return True

    def init(self, problem, *, key):
        """The first band, at rest."""
        if not isinstance(problem.system, AbstractGradient):
            raise InputError(
                f"ElasticBand on a {type(problem.system).__name__}: it has no potential; expected an AbstractGradient. "
                "Take String for the flow, Geometric for the crossing"
            )
        path = first_path(self, problem, key)
        energies, forces = problem.system.energies(path), problem.system.drifts(path[1:-1])
        still = jnp.zeros_like(forces)
        numbers = self.step_size.astype(path.dtype), jnp.asarray(MIX, path.dtype), jnp.asarray(0)
        return BandState(path, energies, forces, still, *numbers)

    def step(self, problem, state, *, key):
        """One step of FIRE with the nudged forces."""
        dtype = state.path.dtype
        force = nudged(state, self.spring.astype(dtype), self.climb)
        most = jnp.max(jnp.abs(force))
        power = jnp.sum(force * state.velocity)
        forward = power > 0
        sizes = jnp.linalg.norm(state.velocity.ravel()) / jnp.maximum(jnp.linalg.norm(force.ravel()), 1e-30)
        mixed = (1 - state.mix) * state.velocity + state.mix * sizes * force
        downhill = jnp.where(forward, state.downhill + 1, 0)
        late = forward & (downhill > PATIENCE)
        first = self.step_size.astype(dtype)
        grown = jnp.where(late, jnp.minimum(GROW * state.time_step, LONGEST * first), state.time_step)
        dt = jnp.where(forward, grown, FALL * state.time_step)
        mix = jnp.where(late, MIX_DECAY * state.mix, jnp.where(forward, state.mix, MIX)).astype(dtype)
        velocity = jnp.where(forward, mixed, 0.0) + dt * force
        done = most < self.tolerance
        path = state.path.at[1:-1].add(jnp.where(done, 0.0, dt * velocity))
        # `init` has seen that it has energies.
        system: Any = problem.system
        energies, forces = system.energies(path), system.drifts(path[1:-1])
        status = Status.where(done, Status.converged, Status.running)
        new = BandState(path, energies, forces, velocity, dt, mix, downhill)
        return new, BandInfo(force=most, barrier=jnp.max(energies) - energies[0], status=status)

    def value(self, problem, state):
        """The images with their energies."""
        return Band(state.path, state.energies)


def nudged(state: BandState, spring, climb: bool) -> Float[Array, "inner *event"]:
    """The force along the band from springs, across it from the potential; the top climbs."""
    n = state.path.shape[0]
    flat, forces = state.path.reshape(n, -1), state.forces.reshape(n - 2, -1)
    ahead, behind = flat[2:] - flat[1:-1], flat[1:-1] - flat[:-2]
    up, down = jnp.diff(state.energies)[1:], jnp.diff(state.energies)[:-1]
    high, low = jnp.maximum(jnp.abs(up), jnp.abs(down)), jnp.minimum(jnp.abs(up), jnp.abs(down))
    rising = state.energies[2:] > state.energies[:-2]
    towards = jnp.where(rising, high, low)[:, None] * ahead + jnp.where(rising, low, high)[:, None] * behind
    slope = (up > 0) & (down > 0)
    fall = (up < 0) & (down < 0)
    tangent = jnp.where(slope[:, None], ahead, jnp.where(fall[:, None], behind, towards))
    norm = jnp.linalg.norm(tangent, axis=1, keepdims=True)
    # Where all energies are equal there is no higher neighbour.
    tangent = jnp.where(norm > 0, tangent, flat[2:] - flat[:-2])
    tangent = tangent / jnp.maximum(jnp.linalg.norm(tangent, axis=1, keepdims=True), 1e-30)
    along = jnp.sum(forces * tangent, axis=1, keepdims=True)
    stretch = jnp.linalg.norm(ahead, axis=1) - jnp.linalg.norm(behind, axis=1)
    force = forces - along * tangent + spring * stretch[:, None] * tangent
    if climb:
        top = jnp.arange(n - 2) == jnp.argmax(state.energies[1:-1])
        force = jnp.where(top[:, None], forces - 2 * along * tangent, force)
    return force.reshape(state.forces.shape)
