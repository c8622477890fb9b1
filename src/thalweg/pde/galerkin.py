"""Neural Galerkin: an evolution equation as an ordinary differential equation for the parameters of an ansatz.

Answers    how does a field evolve where no grid can hold it, from nothing but its equation and its start?
Equations  eta(t, theta) = argmin_eta E_nu |grad_theta u_theta . eta - f(t, x, u_theta)|^2;   d theta / dt = eta
                                                                                          (2203.01360, (9)-(13))
Symbols    nu -> points, d/dt -> stepper, argmin -> least_squares, f -> problem.rate
Cost       a step: stages * (n p^2 + p^3 + n evaluations of f) for n points and p parameters; memory n p
Fails      unresolved: no direction was found (rank 0), or all of them together explain less than 1 % of an f that
             matters over the time to go. The points do not see the solution, or the ansatz cannot follow it
           step_size: in one step the solution bent by more than half of its size, or adaptive steps became too small
           nonfinite: parameters or f are NaN, as after too large a step or too weak a regularisation
           None of them sees a good fit of too few points: compare `info.seen` with `info.rank`

Errors of the start stay: fit it well (`fit_start`). Work in double precision: with J^T J the digits of single are gone
at once, and Tikhonov then smooths the rate more than most solutions allow.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core import AbstractInfo, AbstractMethod, Paper, Status
from .galerkin_points import AbstractPoints
from .galerkin_problem import Evolution, Evolved, System, view
from .galerkin_solve import AbstractLeastSquares, Tikhonov
from .galerkin_steps import AbstractStepper

# A rate that leaves this share of f explains nothing; it matters when f over the time to go is this share of u.
NOTHING, MATTERS = 0.99, 1e-2
# A step may bend the solution by this share of its size.
BENT = 0.5


class GalerkinState(eqx.Module):
    """Parameters and their last rate, time and step size, what the points carry, and what was kept at the times."""

    t: Float[Array, ""]
    theta: Float[Array, " p"]
    eta: Float[Array, " p"]
    step_size: Float[Array, ""]
    points: Any
    kept: Float[Array, "k p"]
    reached: Int[Array, ""]


class GalerkinInfo(AbstractInfo):
    """One time step.

    `t` is the time before it and `step_size` its length; `residual` is |J eta - f| / |f|, `rank` the number of
    directions that the rate could use, `condition` that of the regularised problem, `speed` |eta|, `seen` how many
    points carry the Jacobian, `bend` what the solution moved beyond its rate, relative to its size, `error` what the
    stepper knows of its own error, `accepted` whether the step was taken.
    """

    t: Float[Array, ""]
    step_size: Float[Array, ""]
    residual: Float[Array, ""]
    rank: Float[Array, ""]
    condition: Float[Array, ""]
    speed: Float[Array, ""]
    seen: Float[Array, ""]
    bend: Float[Array, ""]
    error: Float[Array, ""]
    accepted: Bool[Array, ""]
    status: Any


class NeuralGalerkin(AbstractMethod[Evolution, GalerkinState, GalerkinInfo, Evolved]):
    """Done at the last time: `solve(NeuralGalerkin(...), Evolution(rate, u, times), max_steps=..., key=key)`.

    Fields:
        points: where the residual is looked at: `UnitPoints()` where the ansatz has units.
        stepper: `ExplicitSteps(h)`, `AdaptiveSteps(tolerance)` or `ImplicitSteps(h)`.
        least_squares: `Tikhonov(relative)` or `Truncated(rcond)`.
    """

    paper: ClassVar[Paper] = Paper(
        "neural-galerkin",
        "Neural Galerkin Schemes with Active Learning for High-Dimensional Evolution Equations",
        "2203.01360",
        2022,
        "(9)-(13)",
    )
    points: AbstractPoints
    stepper: AbstractStepper
    least_squares: AbstractLeastSquares = Tikhonov()

    def init(self, problem, *, key):
        """The starting parameters, at the first time."""
        self.points.check(problem.u)
        theta, build = problem.family()
        times = problem.times.astype(theta.dtype)
        eta = jnp.zeros_like(theta)
        points = self.points.init(view(problem.rate, build, times[0], theta, eta), key=key)
        kept = jnp.full((times.size, theta.size), jnp.nan, theta.dtype).at[0].set(theta)
        return GalerkinState(
            times[0], theta, eta, self.stepper.step_size.astype(theta.dtype), points, kept, jnp.asarray(0)
        )

    def step(self, problem, state, *, key):
        """One step, or what is left to the next time to keep."""
        _, build = problem.family()
        t, theta = state.t, state.theta
        times = problem.times.astype(theta.dtype)
        following = jnp.minimum(state.reached + 1, times.size - 1)
        gap = times[following] - t
        # In equal parts, so that no sliver is left; a part in a thousand is rounding.
        h = gap / jnp.maximum(jnp.ceil(gap / state.step_size - 1e-3), 1.0)
        seen_by = view(problem.rate, build, t, theta, state.eta)
        points, carried = self.points(seen_by, state.points, key=key)
        system = System(problem.rate, build, points, self.least_squares)
        moved = self.stepper(system, t, theta, state.eta, h)
        arrived = moved.accepted & (gap - h <= 1e-3 * h)
        kept = jnp.where(arrived, state.kept.at[following].set(moved.theta), state.kept)
        reached = jnp.where(arrived, following, state.reached)
        after = jnp.where(moved.accepted, jnp.where(arrived, times[following], t + h), t)
        # A step that was cut short by a time to keep says nothing against the length of the one before.
        cut = moved.accepted & (h < 0.9 * state.step_size)
        size = jnp.where(cut, jnp.maximum(moved.step_size, state.step_size), moved.step_size)
        info = self._info(system, state, moved, h, times[-1], reached == times.size - 1)
        return GalerkinState(after, moved.theta, moved.eta, size, carried, kept, reached), info

    def _info(self, system, state, moved, h, end, done):
        """What the step was like, and whether to go on."""
        look = moved.look
        before, after = system.values(state.theta), system.values(moved.theta)
        size = jnp.maximum(jnp.linalg.norm(before), jnp.linalg.norm(after))
        bend = jnp.linalg.norm(after - before - jnp.where(moved.accepted, h, 0.0) * look.moved)
        bend = jnp.where(size == 0, 0.0, bend / jnp.where(size == 0, 1.0, size))
        # At rest f is what the ansatz cannot express, and no rate explains it: that is no failure.
        matters = (end - state.t) * look.size > MATTERS * size
        lost = (look.rank < 0.5) | ((look.residual > NOTHING) & matters)
        status = Status.where(done, Status.converged, Status.running)
        stuck = (bend > BENT) | (~done & self.stepper.stuck(moved.step_size))
        status = Status.where(stuck, Status.step_size, status)
        status = Status.where(lost & (h > 0), Status.unresolved, status)
        speed = jnp.linalg.norm(look.eta)
        return GalerkinInfo(
            t=state.t,
            step_size=h,
            residual=look.residual,
            rank=look.rank,
            condition=look.condition,
            speed=speed,
            seen=look.seen,
            bend=bend,
            error=moved.error,
            accepted=moved.accepted,
            status=status,
        )

    def value(self, problem, state):
        """The ansatz at all times."""
        _, build = problem.family()
        return Evolved(problem.times, eqx.filter_vmap(build)(state.kept))
