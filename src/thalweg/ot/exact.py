"""Exact transport, by well-kept libraries: the network simplex of POT, the assignment of SciPy.

Answers    the plan of least cost without regularisation, and the potentials that prove it
Equations  min <P, C> with marginals a, b;  dual max <f, a> + <g, b> with f_i + g_j <= C_ij
Cost       about O(n^3) time on the host and memory of the costs: up to some thousand points
Fails      InputError for unbalanced problems, or without POT when the weights are not equal; not differentiable by
           itself, but `value` has the derivative of the plan held fixed
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..core import InputError
from .plan import Potentials, averages, missed
from .problem import Transport


class ExactPlan(eqx.Module):
    """A plan as a matrix, with the potentials that prove it optimal.

    Fields:
        problem: what was solved.
        matrix: P, (n, m), with at most n + m - 1 entries that are not zero.
        potentials: f and g, with f_i + g_j at most C_ij.
        value: <P, C>, in `unit`; differentiable in the costs.
        unit: of the value.
    """

    problem: Transport
    matrix: Float[Array, "n m"]
    potentials: Potentials
    value: Float[Array, ""]
    unit: str = eqx.field(static=True)

    def transport_cost(self) -> Float[Array, ""]:
        """<P, C>."""
        return self.value

    def apply(self, v: Float[Array, "m ..."]) -> Float[Array, "n ..."]:
        """P v."""
        return jnp.tensordot(self.matrix, v, axes=1)

    def apply_T(self, v: Float[Array, "n ..."]) -> Float[Array, "m ..."]:
        """P^T v."""
        return jnp.tensordot(self.matrix.T, v, axes=1)

    def marginals(self) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
        """Row and column sums."""
        return jnp.sum(self.matrix, axis=1), jnp.sum(self.matrix, axis=0)

    def marginal_error(self) -> Float[Array, ""]:
        """|P 1 - a|_1 + |P^T 1 - b|_1: rounding only."""
        return missed(self.matrix, self.problem.a, self.problem.b)

    def duality_gap(self) -> Float[Array, ""]:
        """<P, C> less the value of the potentials, once they are lowered to be feasible."""
        p, (f, g) = self.problem, (self.potentials.f, self.potentials.g)
        over = jnp.maximum(jnp.max(f[:, None] + g - p.geometry.matrix()), 0.0)
        return self.value - (jnp.dot(p.a, f - over) + jnp.dot(p.b, g))

    def barycentric(self, y: Float[Array, "m *event"]) -> Float[Array, "n *event"]:
        """Where each x_i goes on average; `y` are the places of the columns."""
        return averages(self.apply, jnp.sum(self.matrix, axis=1), y)


def exact(problem: Transport) -> ExactPlan:
    """The plan of least cost. Runs on the host, in double precision.

    Raises:
        InputError: for an unbalanced problem, or for unequal weights when POT is not installed.
    """
    if not problem.balanced:
        raise InputError("exact transport meets both weights; this problem may miss them: take solve(problem, epsilon)")
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(problem)):
        raise InputError("exact transport runs on the host and cannot be compiled; take solve, or `assignment`")
    cost = problem.stored().geometry.matrix()
    c, a, b = (np.asarray(x, np.float64) for x in (cost, problem.a, problem.b))
    n, m = c.shape
    if n == m and np.ptp(a) == 0 and np.ptp(b) == 0:
        plan, f, g = _assigned(c)
    else:
        plan, f, g = _simplex(c, a / a.sum(), b / b.sum())
    dtype = cost.dtype
    plan, potentials = jnp.asarray(plan, dtype), Potentials(jnp.asarray(f, dtype), jnp.asarray(g, dtype))
    return ExactPlan(problem, plan, potentials, jnp.sum(plan * cost), problem.geometry.unit)


def _assigned(c):
    from scipy.optimize import linear_sum_assignment

    n = len(c)
    column = linear_sum_assignment(c)[1]
    plan = np.zeros_like(c)
    plan[np.arange(n), column] = 1 / n
    # Potentials of an optimal permutation: shortest distances in the graph whose edge i -> k costs what it takes to
    # give k's column to i, less what i pays now; no cycle is negative, since the permutation is optimal.
    edge = c[:, column] - np.diagonal(c[:, column])[:, None]
    potential = np.empty(n)
    potential[column] = _distances(edge)
    f = np.min(c - potential, axis=1)
    return plan, f, potential


def _distances(edge):
    """Bellman and Ford: the least distance to every node from any, where no cycle is negative."""
    d = np.zeros(len(edge))
    for _ in range(len(edge)):
        new = np.minimum(d, np.min(d[:, None] + edge, axis=0))
        if np.array_equal(new, d):
            break
        d = new
    return d


def _simplex(c, a, b):
    try:
        import ot
    except ImportError:
        raise InputError("exact transport with weights needs POT: pip install 'thalweg[ot]'") from None
    plan, log = ot.emd(a, b, c, numItermax=10_000_000, log=True)
    if log["warning"]:
        raise InputError(f"the network simplex did not finish: {log['warning']}")
    return plan, log["u"], log["v"]
