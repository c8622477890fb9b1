"""The room's front door: entropic transport at any regularisation, with its evidence.

    found = ot.solve(Transport.points(x, y), epsilon=0.01)
    found.value, found.distance, found.plan.push(new_points)

Answers    which method suits this epsilon, did it converge, to what error, and in which unit is the answer?
Cost       that of the method chosen, and three passes for the evidence
Fails      StatusError when the marginals were not met to the tolerance; with throw=False the status says why
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..core import InputError, Result, Status, StatusError, describe, succeeded
from ..core.chunks import Progress
from .coarse import descend, ladder
from .cost import SquaredEuclidean
from .geometry import PointCloud
from .implicit import attach, envelope
from .newton import NewtonInfo, SinkhornNewton
from .plan import Plan, Potentials
from .problem import Transport
from .progress import advance
from .sinkhorn import Sinkhorn, check_epsilon, default_tolerance

# Relative to the spread of the costs: below, a Sinkhorn sweep forgets so slowly that a Newton step is worth its cost.
# Between clouds over-relaxed sweeps go much further, and many points share in a row, which a sparse Hessian misses
# (benchmarks/results/ot.json).
SMALL, SMALL_CLOUD = 2e-3, 5e-5
# Sweeps before Newton steps are tried where Sinkhorn was chosen.
PATIENCE = 1000


class Solution(eqx.Module):
    """An entropic plan and the evidence for it.

    Fields:
        plan: lazily; see `Plan` for what it answers.
        value: <P, C> + eps KL(P | a b^T) and the penalties of missed marginals: the dual value, in `unit`.
        transport_cost: <P, C>, in `unit`.
        marginal_error: L1, of both sides.
        duality_gap: the value is known to so much, in `unit`; NaN where it was not asked for.
        status: how the iterations ended.
        sinkhorn_steps, newton_steps, cg_steps, fallbacks: iterations of each kind; `fallbacks` are Newton steps that
            failed and were replaced by sweeps, and are counted among the sweeps too.
        unit: of the value.
        method: the names of what was run.
    """

    plan: Plan
    value: Float[Array, ""]
    transport_cost: Float[Array, ""]
    marginal_error: Float[Array, ""]
    duality_gap: Float[Array, ""]
    status: Status
    sinkhorn_steps: Int[Array, ""]
    newton_steps: Int[Array, ""]
    cg_steps: Int[Array, ""]
    fallbacks: Int[Array, ""]
    unit: str = eqx.field(static=True)
    method: str = eqx.field(static=True)

    @property
    def converged(self):
        """Whether the tolerance was reached."""
        return self.status == Status.converged

    @property
    def potentials(self) -> Potentials:
        """f and g."""
        return self.plan.potentials

    @property
    def distance(self) -> Float[Array, ""]:
        """The root of the transport cost for squared Euclidean costs: an upper estimate of W2, in the data's unit.

        Raises:
            InputError: for other costs, whose transport cost is what there is.
        """
        if self.unit != SquaredEuclidean.unit:
            raise InputError(f"the cost is measured in {self.unit}; only a squared distance has a root to take")
        return jnp.sqrt(jnp.maximum(self.transport_cost, 0.0))

    def __str__(self):
        state = "converged" if bool(self.converged) else f"NOT converged ({Status[self.status]})"
        kinds = {"sweeps": self.sinkhorn_steps, "Newton steps": self.newton_steps, "fall-backs": self.fallbacks}
        counts = ", ".join(f"{int(count)} {name}" for name, count in kinds.items() if int(count))
        return (
            f"value {float(self.value):.6g}, transport cost {float(self.transport_cost):.6g}, in {self.unit}\n"
            f"{state}\n"
            f"marginal error {float(self.marginal_error):.1e}, duality gap {float(self.duality_gap):.1e}\n"
            f"{self.method}: {counts}"
        )


def solve(
    problem: Transport,
    epsilon,
    *,
    method: Sinkhorn | SinkhornNewton | None = None,
    tolerance: float | None = None,
    max_steps: int = 5000,
    warm: Potentials | None = None,
    rungs: int | None = None,
    progress: Progress | None = None,
    gap: bool = True,
    throw: bool = True,
) -> Solution:
    """Entropic transport, balanced or not. Works under `jit`, `vmap` and any order of derivatives.

    Large clouds, whose matrix is never built, are first transported cell by cell (`coarse.py`), which changes the
    start and not the answer.

    Args:
        epsilon: the regularisation, in units of the cost.
        method: what to iterate; by default `Sinkhorn` for a regularisation above 0.002 of the spread of the costs in a
            matrix, 0.00005 between clouds (and for unbalanced problems, and where epsilon is traced), else
            `SinkhornNewton`.
        tolerance: L1 error of the marginals; 1e-6 in double precision and 1e-3 in single by default.
        max_steps: of the method.
        warm: potentials of an earlier solution to start from.
        rungs: coarser problems to solve first, each with a quarter of the points of the next; 0 for none. By default
            none with a method or a warm start of your own or for less than about 4000 points, else as many as leave a
            thousand points.
        progress: called every few seconds of work with (step, max_steps, seconds a step, last row of info), such as
            what `core.progress_bar` makes; not inside `jit`.
        gap: whether to measure the duality gap, which takes five passes over the costs.
        throw: raise when it did not converge.

    Raises:
        InputError: for a regularisation that is not positive, or a method with one of its own that differs.
        StatusError: max_steps, precision or nonfinite; `result` holds the solution as far as it got.
    """
    check_epsilon("solve", epsilon)
    dtype = problem.a.dtype
    epsilon = jnp.asarray(epsilon, dtype)
    small = problem.stored()
    fixed, cloud = jax.tree.map(jax.lax.stop_gradient, ((small, epsilon), problem))
    tolerance = tolerance or default_tolerance(dtype)
    coarser = ladder(cloud, 0 if rungs is None and not (method is None and warm is None) else rungs)
    below = SMALL_CLOUD if isinstance(problem.geometry, PointCloud) else SMALL
    chosen = method or _choose([*coarser, fixed[0]][0], fixed[1], below, tolerance, warm)
    chosen = descend(chosen, cloud, coarser)
    given = method is not None or isinstance(chosen, SinkhornNewton) or _traced(fixed)
    budget = max_steps if given or not problem.balanced else min(max_steps, PATIENCE)
    result = advance(chosen, fixed[0], max_steps=budget, progress=progress)
    counts, name = _counts(chosen, result), type(chosen).__name__
    if budget < max_steps and not bool(succeeded(result.status)):
        # Sinkhorn is slower here than the regularisation lets expect: go on from where it got.
        start = result.value.potentials
        finer = SinkhornNewton(epsilon, tolerance, sweeps=1, warm=start)
        result = advance(finer, fixed[0], max_steps=max_steps - budget, progress=progress)
        more = _counts(SinkhornNewton(epsilon), result)
        counts, name = tuple(a + b for a, b in zip(counts, more, strict=True)), "Sinkhorn, then SinkhornNewton"
    name += f", after {len(coarser)} coarser" if coarser else ""
    solution = _evidence(small, problem, epsilon, result, counts, gap, name)
    if throw:
        _raise(solution, result)
    return solution


def _traced(tree):
    return any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))


def _choose(problem, epsilon, smallest, tolerance, warm):
    known = problem.balanced and not _traced((problem, epsilon))
    if known and float(epsilon) < smallest * float(eqx.filter_jit(problem.geometry.spread)()):
        return SinkhornNewton(epsilon, tolerance, warm=warm)
    return Sinkhorn(epsilon, tolerance, warm=warm)


def _counts(method, result: Result):
    steps, info = result.num_steps, result.info
    none = jnp.zeros_like(steps)
    if not isinstance(info, NewtonInfo):
        return steps, none, none, none
    newton, cg, fallback = (
        jnp.sum(jnp.asarray(x), dtype=steps.dtype) for x in (info.newton, info.cg_steps, info.fallback)
    )
    return steps - newton, newton, cg, fallback


@eqx.filter_jit
def _evidence(small, problem, epsilon, result, counts, gap, name):
    potentials = jax.lax.stop_gradient(result.value.potentials)
    potentials = attach(small, epsilon, potentials)
    plan = Plan(small, potentials, epsilon)
    value = envelope(small, epsilon, jax.lax.stop_gradient(potentials))
    return Solution(
        Plan(problem, potentials, epsilon),
        value,
        plan.transport_cost(),
        jax.lax.stop_gradient(plan.marginal_error()),
        jax.lax.stop_gradient(plan.duality_gap()) if gap else jnp.full((), jnp.nan, value.dtype),
        result.status,
        *counts,
        unit=problem.geometry.unit,
        method=name,
    )


def _raise(solution, result):
    good = succeeded(result.status)
    if isinstance(good, Tracer) or bool(good):
        return
    reached = f"marginal error {float(np.asarray(solution.marginal_error)):.1e} after {int(result.num_steps)} steps"
    what = f"{solution.method} at epsilon {float(solution.plan.epsilon):.3g}"
    raise StatusError(f"{what}: {reached}; {describe(result)}", solution)
