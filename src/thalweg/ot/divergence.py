"""The debiased Sinkhorn divergence: an entropic distance that is zero exactly when the samples agree.

Answers    how far apart are two weighted clouds, smoothly, without the bias of the entropy?
Equations  S_eps(a, b) = OT_eps(a, b) - OT_eps(a, a)/2 - OT_eps(b, b)/2 + eps (m(a) - m(b))^2/2 (1810.08278, 1910.12958)
           the symmetric problems have one potential: f <- (f + damp T(f))/2
Symbols    OT_eps -> the value of `solve`, m -> total mass
Cost       the cross problem by Sinkhorn with a falling epsilon, the symmetric ones in a few sweeps each; for clouds in
           blocks, so that memory does not grow with n m
Fails      StatusError when one of the three did not converge; a divergence slightly below zero is the tolerance's
"""

from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractInfo, AbstractMethod, InputError, Paper, Status, finish
from ..core.chunks import Progress
from .coarse import descend, ladder
from .geometry import PointCloud
from .implicit import envelope
from .plan import Plan, Potentials, best, mismatch
from .problem import Transport
from .progress import advance
from .sinkhorn import check_iteration, default_tolerance, first_epsilon, resolution, verdict
from .solve import Solution, solve


class SymmetricState(eqx.Module):
    """The one potential, and the regularisation of now."""

    f: Float[Array, " n"]
    epsilon: Float[Array, ""]


class SymmetricInfo(AbstractInfo):
    """L1 error of the marginal before the sweep."""

    marginal_error: Float[Array, ""]
    status: Any


class SymmetricSinkhorn(AbstractMethod[Transport, SymmetricState, SymmetricInfo, Plan]):
    """A measure carried to itself: both potentials are one, and its averaged iteration contracts in a few sweeps.

    Fields:
        epsilon, tolerance, decay: as for `Sinkhorn`.
        warm: the potential to start from, of an earlier plan; zeros when None.

    Raises:
        InputError: for numbers outside their range, or costs that are not between one cloud and itself.
    """

    paper: ClassVar[Paper] = Paper(
        "sinkhorn-divergence",
        "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences",
        "1810.08278",
        2019,
        "(3), (25)",
    )
    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    decay: float = eqx.field(static=True, default=0.5)
    warm: Float[Array, " n"] | None = None

    def __check_init__(self):
        check_iteration("SymmetricSinkhorn", self)

    def init(self, problem, *, key):
        """The given potential or zero, at the regularisation to begin with."""
        if problem.geometry.shape[0] != problem.geometry.shape[1]:
            raise InputError(f"SymmetricSinkhorn got costs of shape {problem.geometry.shape}; expected one cloud twice")
        f = jnp.zeros_like(problem.a) if self.warm is None else self.warm
        return SymmetricState(f, first_epsilon(self, problem))

    def started(self, potentials: Potentials, state: SymmetricState) -> "SymmetricSinkhorn":
        """The same, from `potentials`; `state` of a like problem has learned nothing else."""
        return replace(self, warm=potentials.f)

    def step(self, problem, state, *, key):
        """The mean of the potential and its update."""
        eps = state.epsilon
        target = self.epsilon.astype(eps.dtype)
        wanted = best(problem, state.f, eps)
        error = 2 * mismatch(problem, state.f, wanted, eps)
        f = 0.5 * (state.f + wanted)
        status = verdict(eps <= target, error, self.tolerance, 2 * resolution(f, f, eps))
        new = SymmetricState(f, jnp.maximum(target, self.decay * eps) if self.decay < 1 else eps)
        return new, SymmetricInfo(marginal_error=error, status=status)

    def value(self, problem, state):
        """The plan of the potential with itself."""
        return Plan(problem, Potentials(state.f, state.f), self.epsilon.astype(problem.a.dtype))


class Divergence(eqx.Module):
    """The divergence and what it is made of.

    Fields:
        value: S_eps, in `unit`.
        cross: the solution between the two measures.
        left, right: OT_eps of each measure with itself.
        marginal_error: the largest of the three.
        status: converged, or the first failure of the three.
        unit: of the value.
    """

    value: Float[Array, ""]
    cross: Solution
    left: Float[Array, ""]
    right: Float[Array, ""]
    marginal_error: Float[Array, ""]
    status: Status
    unit: str = eqx.field(static=True)

    @property
    def converged(self):
        """Whether all three reached the tolerance."""
        return self.status == Status.converged

    def __str__(self):
        state = "converged" if bool(self.converged) else f"NOT converged ({Status[self.status]})"
        return (
            f"divergence {float(self.value):.6g}, in {self.unit}\n"
            f"{state}: marginal error {float(self.marginal_error):.1e}\n"
            f"cross {float(self.cross.value):.6g}, own {float(self.left):.6g} and {float(self.right):.6g}"
        )


def sinkhorn_divergence(
    problem: Transport,
    epsilon,
    *,
    tolerance: float | None = None,
    max_steps: int = 5000,
    rungs: int | None = None,
    progress: Progress | None = None,
    throw: bool = True,
) -> Divergence:
    """S_eps between the two sides of a problem of point clouds, made by `Transport.points`.

    Args:
        epsilon, tolerance, max_steps, rungs, throw: as for `solve`.
        progress: as for `solve`, in each of the three problems; its last argument says which as "problem": cross, left
            or right.

    Raises:
        InputError: for a matrix of costs, which says nothing of the costs within each side.
        StatusError: when one of the three problems did not converge.
    """
    g = problem.geometry
    if not isinstance(g, PointCloud):
        raise InputError(
            "a divergence needs the costs within each side too; make the problem with Transport.points(x, y)"
        )
    dtype = problem.a.dtype
    tolerance = tolerance or default_tolerance(dtype)
    options = {"tolerance": tolerance, "max_steps": max_steps, "rungs": rungs, "throw": throw}
    cross = solve(problem, epsilon, gap=False, progress=_named("cross", progress), **options)
    epsilon = jnp.asarray(epsilon, dtype)
    own, worst, status = [], cross.marginal_error, cross.status
    sides = (("left", g.x, problem.a, problem.left), ("right", g.y, problem.b, problem.right))
    for name, points, weights, side in sides:
        own_problem = Transport(PointCloud(points, points, g.cost, g.block), weights, weights, side, side)
        value, error, ended = _own(own_problem, epsilon, progress=_named(name, progress), **options)
        own.append(value)
        worst = jnp.maximum(worst, error)
        status = Status.where(status == Status.converged, ended, status)
    mass = jnp.sum(problem.a) - jnp.sum(problem.b)
    value = cross.value - 0.5 * (own[0] + own[1])
    if not problem.balanced:
        value = value + 0.5 * epsilon * mass**2
    return Divergence(value, cross, own[0], own[1], worst, status, g.unit)


def _own(problem, epsilon, *, tolerance, max_steps, rungs, progress, throw):
    """OT_eps of a measure with itself, its marginal error and its status."""
    cloud, at = jax.tree.map(jax.lax.stop_gradient, (problem, epsilon))
    method = descend(SymmetricSinkhorn(at, tolerance), cloud, ladder(cloud, rungs))
    problem = problem.stored()
    result = finish(advance(method, cloud.stored(), max_steps=max_steps, progress=progress), throw)
    potentials = jax.lax.stop_gradient(result.value.potentials)
    value, error = _own_evidence(problem, epsilon, potentials)
    return value, error, result.status


@eqx.filter_jit
def _own_evidence(problem, epsilon, potentials):
    fixed, at = jax.tree.map(jax.lax.stop_gradient, (problem, epsilon))
    # Both marginals are one.
    error = 2 * mismatch(fixed, potentials.f, best(fixed, potentials.f, at), at)
    return envelope(problem, epsilon, potentials), error


def _named(name, progress: Progress | None):
    if progress is None:
        return None
    return lambda step, steps, seconds, last: progress(step, steps, seconds, {**last, "problem": name})
