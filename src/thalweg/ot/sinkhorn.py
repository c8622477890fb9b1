"""Entropic optimal transport by Sinkhorn's iteration in the log domain.

Answers    the plan P that minimises <P, C> + epsilon KL(P | a b^T) with marginals a and b.
Equations  f_i = -eps log sum_j b_j exp((g_j - C_ij)/eps),  g_j = -eps log sum_i a_i exp((f_i - C_ij)/eps)
           P_ij = a_i b_j exp((f_i + g_j - C_ij)/eps)  (Cuturi 2013; Peyre and Cuturi 2019, 4.2)
Symbols    eps -> epsilon, C -> cost, f, g -> potentials
Cost       O(nm) time a sweep, O(nm) memory
Fails      slowly as epsilon shrinks; then status = max_steps and the marginal error says how far it got
"""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..core import AbstractInfo, AbstractMethod, InputError, Paper, Status


class Transport(eqx.Module):
    """Balanced transport between weights `a` (n,) and `b` (m,) at a cost (n, m)."""

    cost: Float[Array, "n m"]
    a: Float[Array, " n"]
    b: Float[Array, " m"]

    @classmethod
    def uniform(cls, cost):
        """Equal weights on both sides."""
        n, m = cost.shape
        return cls(cost, jnp.full(n, 1 / n, cost.dtype), jnp.full(m, 1 / m, cost.dtype))


class Potentials(eqx.Module):
    """The dual potentials."""

    f: Float[Array, " n"]
    g: Float[Array, " m"]


class SinkhornInfo(AbstractInfo):
    """L1 error of the first marginal after the sweep."""

    marginal_error: Float[Array, ""]
    status: Any


class Plan(eqx.Module):
    """The answer: potentials and log plan; `plan` is its exponential."""

    potentials: Potentials
    log_plan: Float[Array, "n m"]

    @property
    def plan(self):
        """The transport plan, (n, m)."""
        return jnp.exp(self.log_plan)


class Sinkhorn(AbstractMethod[Transport, Potentials, SinkhornInfo, Plan]):
    """Alternate the two updates until the first marginal is met to `tolerance` in L1."""

    paper: ClassVar[Paper] = Paper(
        "sinkhorn", "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", "1306.0895", 2013, "(2)-(4)"
    )
    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tolerance: float = 1e-3

    def __check_init__(self):
        if not isinstance(self.epsilon, Tracer) and not float(self.epsilon) > 0:
            raise InputError(
                f"Sinkhorn(epsilon={float(self.epsilon)}): expected a positive regularisation, in units of the cost"
            )

    def init(self, problem, *, key):
        """Zero potentials."""
        return Potentials(jnp.zeros_like(problem.a), jnp.zeros_like(problem.b))

    def step(self, problem, state, *, key):
        """One update of each potential."""
        eps = self.epsilon.astype(problem.cost.dtype)
        f = -eps * logsumexp((state.g - problem.cost) / eps, b=problem.b[None], axis=1)
        g = -eps * logsumexp((f[:, None] - problem.cost) / eps, b=problem.a[:, None], axis=0)
        new = Potentials(f, g)
        rows = jnp.exp(logsumexp(self._log_plan(problem, new), axis=1))
        error = jnp.sum(jnp.abs(rows - problem.a))
        status = Status.where(error < self.tolerance, Status.converged, Status.running)
        return new, SinkhornInfo(marginal_error=error, status=status)

    def value(self, problem, state):
        """Potentials and log plan."""
        return Plan(state, self._log_plan(problem, state))

    def _log_plan(self, problem, state):
        eps = self.epsilon.astype(problem.cost.dtype)
        inner = (state.f[:, None] + state.g[None] - problem.cost) / eps
        return inner + jnp.log(problem.a)[:, None] + jnp.log(problem.b)[None]
