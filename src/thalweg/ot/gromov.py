"""Entropic Gromov-Wasserstein: match two spaces that share no coordinates, by their inner distances alone.

Answers    which point of one space plays the part of which point of the other, and how far is that from an isometry?
Equations  min over P with marginals a, b of E(P) + <P, M> + eps KL(P | a b^T),
           E(P) = sum_ijkl (C_ik - D_jl)^2 P_ij P_kl = <L(P), P>,
           L(P) = (C^2 p)_i + (D^2 q)_j - 2 (C P D)_ij,  p = P 1, q = P^T 1                  (Prop. 1 of the paper)
           mirror descent with step s/eps: P <- Sinkhorn(G, eps),  G <- (1 - s) G + s (2 L(P) + M)     (eq. 8, Prop. 2)
           barycentric map  y_i = sum_j P_ij e_j / a_i
Symbols    C, D -> C, D, M -> linear, eps -> epsilon, s -> step_size, G -> cost
Departure  the gradient of E is 2 L(P); Prop. 2 of the paper leaves out the 2, which is a regularisation twice as large.
           Each run cools from the largest cost to `epsilon`, since at a fixed small epsilon most starts end in a local
           minimum; `noise` kicks the plan while it is still hot, so that runs differ
Cost       O(n^2 m + n m^2) a step, and the sweeps of the inner Sinkhorn, O(n m) each; memory O(n^2 + m^2 + n m)
Fails      E is not convex: restarts may differ, and `values` shows by how much. Spaces with a symmetry have several
           equally good plans. An epsilon that is too small for the sweeps or for the precision of the numbers ends in
           max_steps, precision or nonfinite, with the last finite plan, its `epsilon` and its marginal error
"""

from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int

from ..core import AbstractInfo, AbstractMethod, InputError, Key, Paper, Status, StatusError, solve, succeeded
from .cost import squared_distances
from .plan import Potentials, averages, missed
from .problem import Transport
from .sinkhorn import Sinkhorn, check_epsilon

papers = (
    Paper(
        "moe-modality",
        "Exploiting Mixture-of-Experts Redundancy Unlocks Multimodal Generative Abilities",
        "2503.22517",
        2025,
        "Gromov-Wasserstein initialisation of embeddings",
    ),
)

# Both sides of a symmetric matrix may differ by rounding, relative to its largest number.
ASYMMETRY = 1e-4


class GromovProblem(eqx.Module):
    """Two spaces and their weights.

    Fields:
        C, D: symmetric matrices, such as of distances; for a meaningful `epsilon` divide each by its largest number.
        a, b: weights, which sum to one; equal when None.
        linear: costs of pairing i with j that are added (the fused problem), in the unit of C squared.

    Raises:
        InputError: matrices that are not square, symmetric and finite; weights that are no distribution.
    """

    C: Float[Array, "n n"]
    D: Float[Array, "m m"]
    a: Float[Array, " n"]
    b: Float[Array, " m"]
    linear: Float[Array, "n m"] | None

    def __init__(self, C, D, a=None, b=None, linear=None):
        self.C, self.D = _space("C", C), _space("D", D)
        n, m, dtype = len(self.C), len(self.D), self.C.dtype
        if self.D.dtype != dtype:
            raise InputError(f"C is {dtype} and D is {self.D.dtype}; expected one precision")
        self.a = jnp.full(n, 1 / n, dtype) if a is None else jnp.asarray(a, dtype)
        self.b = jnp.full(m, 1 / m, dtype) if b is None else jnp.asarray(b, dtype)
        self.linear = None if linear is None else jnp.asarray(linear, dtype)
        # The inner problem knows what is asked of weights and of linear costs.
        Transport(jnp.zeros((n, m), dtype) if self.linear is None else self.linear, self.a, self.b)


class GromovState(eqx.Module):
    """The plan and its regularisation, the potentials that made it, and the linearised cost that they are for."""

    plan: Float[Array, "n m"]
    epsilon: Float[Array, ""]
    potentials: Potentials
    cost: Float[Array, "n m"]


class GromovInfo(AbstractInfo):
    """L1 change of the plan, L1 error of its marginals, its regularisation, and E + <P, M>."""

    change: Float[Array, ""]
    marginal_error: Float[Array, ""]
    epsilon: Float[Array, ""]
    value: Float[Array, ""]
    status: Any


class GromovPlan(eqx.Module):
    """A plan between two spaces, at the regularisation that it was made with."""

    problem: GromovProblem
    matrix: Float[Array, "n m"]
    epsilon: Float[Array, ""]

    def value(self) -> Float[Array, ""]:
        """E(P) + <P, M>, in the unit of C squared."""
        p = self.problem
        return gromov_loss(p.C, p.D, self.matrix) + (0.0 if p.linear is None else jnp.sum(self.matrix * p.linear))

    def objective(self) -> Float[Array, ""]:
        """What is minimised: the value plus epsilon KL(P | a b^T)."""
        product = self.problem.a[:, None] * self.problem.b
        there = (self.matrix > 0) & (product > 0)
        ratio = jnp.where(there, self.matrix, 1.0) / jnp.where(there, product, 1.0)
        return self.value() + self.epsilon * jnp.sum(self.matrix * jnp.log(ratio) - self.matrix + product)

    def marginal_error(self) -> Float[Array, ""]:
        """|P 1 - a|_1 + |P^T 1 - b|_1."""
        return missed(self.matrix, self.problem.a, self.problem.b)


class GromovWasserstein(AbstractMethod[GromovProblem, GromovState, GromovInfo, GromovPlan]):
    """Linearise, solve by Sinkhorn from the last potentials, repeat; cooling on the way.

    Done when, at `epsilon`, a step changes the plan by less than `tolerance` in L1 and its marginals are met as well.

    Fields:
        epsilon: the regularisation, in units of C squared.
        tolerance: L1 change of the plan and L1 error of its marginals (of a mass of one) that are good enough.
        decay: factor of the regularisation a step, from the largest cost down to `epsilon`; 1 starts at `epsilon`.
        step_size: s in (0, 1]; below 1 for matrices on which the plan goes back and forth.
        noise: while cooling, each entry of the plan is multiplied by exp(noise z), z normal.
        sweeps: Sinkhorn sweeps a step, at most.

    Raises:
        InputError: for numbers that are not positive, or a decay or step size outside (0, 1].
    """

    paper: ClassVar[Paper] = Paper(
        "gromov-wasserstein",
        "Gromov-Wasserstein Averaging of Kernel and Distance Matrices",
        "",
        2016,
        "(8), Prop. 1-2 (ICML 2016)",
    )
    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tolerance: float = 1e-3
    decay: float = eqx.field(static=True, default=0.8)
    step_size: float = eqx.field(static=True, default=1.0)
    noise: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    sweeps: int = eqx.field(static=True, default=300)

    def __check_init__(self):
        check_epsilon("GromovWasserstein", self.epsilon)
        if not self.tolerance > 0 or self.sweeps < 1:
            raise InputError(
                f"GromovWasserstein(tolerance={self.tolerance}, sweeps={self.sweeps}): expected positive numbers"
            )
        for name, x in (("decay", self.decay), ("step_size", self.step_size)):
            if not 0 < x <= 1:
                raise InputError(f"GromovWasserstein({name}={x}): expected a number in (0, 1]")
        if not isinstance(self.noise, Tracer) and not (self.noise.ndim == 0 and 0 <= float(self.noise) < jnp.inf):
            raise InputError(f"GromovWasserstein(noise={self.noise}): expected one number of at least 0")

    def init(self, problem, *, key):
        """The product a b^T, and its linearised cost, whose largest number is the first regularisation."""
        product = problem.a[:, None] * problem.b
        cost = _linearised(problem, product)
        final = self.epsilon.astype(cost.dtype)
        hot = jnp.maximum(final, jnp.max(jnp.abs(cost))) if self.decay < 1 else final
        # Costs that are not finite are reported by the first step; the state stays finite.
        epsilon = jnp.where(jnp.isfinite(hot), hot, final)
        return GromovState(product, epsilon, Potentials(jnp.zeros_like(problem.a), jnp.zeros_like(problem.b)), cost)

    def step(self, problem, state, *, key):
        """One entropic transport problem at the linearised cost."""
        final = self.epsilon.astype(state.epsilon.dtype)
        epsilon = jnp.maximum(final, self.decay * state.epsilon) if self.decay < 1 else final
        s = self.step_size
        cost = (1 - s) * state.cost + s * _linearised(problem, state.plan)
        kick = self.noise.astype(cost.dtype) * jax.random.normal(key, cost.shape, cost.dtype)
        cost = cost + jnp.where(epsilon > final, epsilon, 0.0) * kick
        inner = Sinkhorn(epsilon, tolerance=0.5 * self.tolerance, warm=state.potentials)
        sides = Transport(cost, problem.a, problem.b)
        found = solve(inner, sides, max_steps=self.sweeps, key=key, throw=False)
        new = GromovState(found.value.matrix, epsilon, found.value.potentials, cost)
        plan = self.value(problem, new)
        change, error = jnp.sum(jnp.abs(new.plan - state.plan)), plan.marginal_error()
        done = (epsilon <= final) & (change < self.tolerance) & (error < self.tolerance)
        # What the numbers cannot resolve now they cannot resolve at a smaller regularisation.
        stuck = found.status == Status.precision
        status = Status.where(done, Status.converged, Status.where(stuck, Status.precision, Status.running))
        finite = jnp.isfinite(change + error + jnp.sum(new.potentials.f) + jnp.sum(new.potentials.g) + jnp.sum(cost))
        change = jnp.where(finite, change, jnp.nan)
        info = GromovInfo(change=change, marginal_error=error, epsilon=epsilon, value=plan.value(), status=status)
        # A plan that is not finite is in `info`, and so in the status; the last finite one is kept.
        return jax.tree.map(lambda x, y: jnp.where(finite, x, y), new, state), info

    def value(self, problem, state):
        """The plan."""
        return GromovPlan(problem, state.plan, state.epsilon)


class Gromov(eqx.Module):
    """The best of several runs, and what all of them came to.

    Fields:
        plan: the plan of the best run; `plan.matrix` is (n, m).
        value: E(P) + <P, M>, in the unit of C squared (its root is a distance between spaces).
        marginal_error: L1 error of both marginals of the plan.
        num_steps: steps of the best run.
        status: how the best run ended.
        values, statuses: (restarts,) of every run.
    """

    plan: GromovPlan
    value: Float[Array, ""]
    marginal_error: Float[Array, ""]
    num_steps: Int[Array, ""]
    status: Any
    values: Float[Array, " restarts"]
    statuses: Any

    @property
    def spread(self) -> Float[Array, ""]:
        """Largest less smallest value over the restarts: 0 when all found the same minimum."""
        return jnp.max(self.values) - jnp.min(self.values)


def gromov_wasserstein(
    C: ArrayLike,
    D: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: ArrayLike,
    key: Key,
    linear: ArrayLike | None = None,
    restarts: int = 8,
    noise: float = 0.5,
    tolerance: float = 1e-3,
    max_steps: int = 300,
    throw: bool = True,
) -> Gromov:
    """The best of `restarts` runs of `GromovWasserstein`: the first without noise, the others with their own.

    Best is the least objective among the runs that converged; when none did, the one whose marginals are met best.

    Args:
        C, D: symmetric (n, n) and (m, m).
        a, b: weights; equal when None.
        epsilon: in units of C squared; 5e-3 times the largest squared number of C is a sharp plan for a hundred points.
        linear: (n, m), added costs.
        noise, tolerance: as for `GromovWasserstein`.
        max_steps: of each run.
        throw: raise when the best run failed; `False` returns it with its status.

    Raises:
        InputError: as for `GromovProblem` and `GromovWasserstein`, or fewer than one restart.
        StatusError: no run converged; `result` is what would have been returned.
    """
    if restarts < 1:
        raise InputError(f"restarts is {restarts}; expected at least 1")
    problem = GromovProblem(C, D, a, b, linear)
    dtype = problem.C.dtype
    GromovWasserstein(epsilon, tolerance, noise=noise)
    kicks = jnp.where(jnp.arange(restarts) == 0, 0.0, noise).astype(dtype)
    keys = jax.vmap(lambda r: jax.random.fold_in(key, r))(jnp.arange(restarts))
    found = _restarts(problem, jnp.asarray(epsilon, dtype), kicks, keys, tolerance, max_steps)
    good = succeeded(found.status)
    if throw and not isinstance(good, Tracer) and not bool(good):
        error = float(found.marginal_error)
        raise StatusError(f"{Status[found.status]} (best of {restarts} runs: marginal error {error:.2g})", found)
    return found


@eqx.filter_jit
def _restarts(problem, epsilon, kicks, keys, tolerance, max_steps):
    def one(kick, key):
        method = GromovWasserstein(epsilon, tolerance, noise=kick)
        end = solve(method, problem, max_steps=max_steps, key=key, throw=False)
        plan = end.value
        told = plan.value(), plan.objective(), plan.marginal_error()
        return plan.matrix, plan.epsilon, *told, end.num_steps, end.status

    matrices, epsilons, values, objectives, errors, steps, statuses = eqx.filter_vmap(one)(kicks, keys)
    good = jax.vmap(succeeded)(statuses)
    order = jnp.lexsort((jnp.where(good, objectives, errors), ~good))
    best = order[0]
    plan = GromovPlan(problem, matrices[best], epsilons[best])
    status = jax.tree.map(lambda x: x[best], statuses)
    return Gromov(plan, values[best], errors[best], steps[best], status, values, statuses)


def gromov_loss(C: Float[Array, "n n"], D: Float[Array, "m m"], P: Float[Array, "n m"]) -> Float[Array, ""]:
    """E(P), for any P of at least 0, in O(n^2 m + n m^2), to within rounding of the largest C^2 and D^2.

    The derivative of the minimum of the entropic objective in C or D is that of E at the minimising plan held fixed.
    """
    p, q = jnp.sum(P, axis=1), jnp.sum(P, axis=0)
    return p @ (C**2) @ p + q @ (D**2) @ q - 2 * jnp.sum((C @ P @ D) * P)


def barycentric_map(
    plan_matrix: Float[Array, "n m"], a: Float[Array, " n"], targets: Float[Array, "m d"]
) -> Float[Array, "n d"]:
    """sum_j P_ij e_j / a_i: where each row of the plan goes on average.

    An average: the more a row is spread, the nearer its image lies to the mean of all targets.

    Raises:
        InputError: for a row without weight, which goes nowhere.
    """
    if not isinstance(a, Tracer) and not (np.asarray(a) > 0).all():
        at = int(np.argmin(np.asarray(a)))
        raise InputError(f"barycentric_map: a[{at}] is {float(a[at]):g}; expected weights above 0: leave that row out")
    return averages(lambda y: plan_matrix @ y, a, targets)


class Initialised(eqx.Module):
    """New embeddings (n, d), and the matching that they come from."""

    embeddings: Float[Array, "n d"]
    gromov: Gromov


def initialise_embeddings(
    new_features: ArrayLike,
    old_embeddings: ArrayLike,
    *,
    epsilon: ArrayLike = 5e-3,
    key: Key,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    restarts: int = 8,
    tolerance: float = 1e-3,
    max_steps: int = 300,
    throw: bool = True,
) -> Initialised:
    """Embeddings for new tokens from those of old ones, where only the distances within each set can be compared.

    Args:
        new_features: (n, p), such as the codebook of an image tokenizer.
        old_embeddings: (m, d), such as those of text tokens.
        epsilon: relative to the largest squared distance, since both sets of distances are divided by their largest.
        a, b, restarts, tolerance, max_steps, throw: as for `gromov_wasserstein`.
    """
    x, e = jnp.asarray(new_features), jnp.asarray(old_embeddings)
    C, D = _relative_distances("new_features", x), _relative_distances("old_embeddings", e)
    solver = partial(gromov_wasserstein, restarts=restarts, tolerance=tolerance, max_steps=max_steps, throw=throw)
    found = solver(C, D, a, b, epsilon=epsilon, key=key)
    return Initialised(barycentric_map(found.plan.matrix, found.plan.problem.a, e), found)


def _relative_distances(name, x):
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"{name} is {x.dtype} of shape {x.shape}; expected floating numbers (tokens, features)")
    x = x - jnp.mean(x, axis=0)
    distances = jnp.sqrt(jnp.maximum(squared_distances(x, x), 0.0)) * (1 - jnp.eye(len(x), dtype=x.dtype))
    largest = jnp.max(distances)
    if not isinstance(largest, Tracer) and not (jnp.isfinite(largest) and largest > 0):
        raise InputError(f"{name}: the largest distance is {float(largest):g}; expected finite points that differ")
    return distances / largest


def _linearised(problem, plan):
    """2 L(P) + M, the gradient of the value."""
    C, D = problem.C, problem.D
    p, q = jnp.sum(plan, axis=1), jnp.sum(plan, axis=0)
    gradient = 2 * ((C**2 @ p)[:, None] + D**2 @ q - 2 * C @ plan @ D)
    return gradient if problem.linear is None else gradient + problem.linear


def _space(name, x):
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    if x.ndim != 2 or x.shape[0] != x.shape[1] or x.size == 0:
        raise InputError(f"{name} has shape {x.shape}; expected a square matrix, such as of distances within one space")
    if isinstance(x, Tracer):
        return x
    known = np.asarray(x)
    if not np.isfinite(known).all():
        at = ", ".join(map(str, np.argwhere(~np.isfinite(known))[0]))
        raise InputError(f"{name} has a non-finite number at [{at}]; remove or fill it")
    gap = float(np.abs(known - known.T).max())
    if gap > ASYMMETRY * float(np.abs(known).max()):
        raise InputError(f"{name} differs from its transpose by up to {gap:.3g}; expected a symmetric matrix")
    return x
