"""BAOAB for underdamped Langevin dynamics: the splitting that samples positions best.

Answers    sample e^(-U(x)/T) and follow the dynamics, with steps close to the stability limit.
Equations  B  v += h/2 F(x)/m      A  x += h/2 v      O  v = c v + sqrt((1 - c^2) T/m) z,  c = e^(-gamma h)
           one step is B A O A B
Symbols    h -> dt, gamma -> friction, F -> force, z -> a standard normal
Cost       one force a step: the force at the end of a step is kept for the next
Fails      nonfinite above the stability limit h = 2/omega, omega the fastest frequency sqrt(U''/m)
Source     Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34; arXiv 1203.5428

Accuracy: weak order 2 for positions and velocities alike. For a harmonic potential the POSITIONS have exactly the
right variance T/k at any stable step; the VELOCITIES have T/m (1 - h^2 omega^2/4), so read temperatures off positions
(or half steps), not off `v`. For other potentials the positions' error is of order h^2, and of order h^4 in the limit
of high friction.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import Cloud, InputError, Paper
from .langevin import UnderdampedLangevin, phase
from .problem import AbstractSimulator, report
from .sde import refuse_backward


class PhaseState(eqx.Module):
    """Positions, velocities, the force at the positions, and the number of steps taken."""

    x: Cloud
    v: Cloud
    force: Cloud
    step: Int[Array, ""]


class BAOAB(AbstractSimulator[PhaseState, Float[Array, "n 2 *event"]]):
    """The BAOAB splitting for `UnderdampedLangevin`; second order, positions exact for a harmonic potential."""

    paper: ClassVar[Paper] = Paper(
        "baoab",
        title="Rational Construction of Stochastic Numerical Methods for Molecular Sampling",
        arxiv="1203.5428",
        year=2013,
    )

    def check(self, problem):
        """Refuse anything but underdamped Langevin dynamics forward in time."""
        if not isinstance(problem.process, UnderdampedLangevin):
            got = type(problem.process).__name__
            raise InputError(f"BAOAB got the process {got}; expected UnderdampedLangevin; others take EulerMaruyama")
        if problem.x0.ndim < 2 or problem.x0.shape[1] != 2:
            raise InputError(f"x0 has shape {problem.x0.shape}; expected (n, 2, *event): build it with phase(x, v)")
        refuse_backward("BAOAB", problem)

    def init(self, problem, *, key):
        """Start from the problem's phase points, with the force there."""
        self.check(problem)
        x, v = problem.x0[:, 0], problem.x0[:, 1]
        return PhaseState(x, v, _force(problem.process, x), jnp.asarray(0, jnp.int32))

    def step(self, problem, state, *, key):
        """One B A O A B."""
        process: Any = problem.process  # `check` has seen that it is UnderdampedLangevin
        _, h = problem.span(state.step)
        dtype = state.x.dtype
        mass = process.mass.astype(dtype)
        v = state.v + h / 2 * state.force / mass
        x = state.x + h / 2 * v
        keep = jnp.exp(-process.friction * h).astype(dtype)
        # 1 - c^2 through expm1: in single precision 1 - c*c would lose the noise of short steps.
        spread = jnp.sqrt(-jnp.expm1(-2 * process.friction * h)) * process.thermal_speed()
        v = keep * v + spread.astype(dtype) * jax.random.normal(key, v.shape, dtype)
        x = x + h / 2 * v
        force = _force(process, x)
        v = v + h / 2 * force / mass
        new = PhaseState(x, v, force, state.step + 1)
        return new, report(problem, state.step, self.cloud(new))

    def value(self, problem, state):
        """The cloud of phase points."""
        return self.cloud(state)

    def cloud(self, state):
        """The cloud of phase points."""
        return phase(state.x, state.v)


def _force(process, x):
    return jax.vmap(process.force)(x).astype(x.dtype)
