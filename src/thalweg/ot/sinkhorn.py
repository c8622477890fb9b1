"""Entropic optimal transport by Sinkhorn's iteration in the log domain.

Answers    the plan P that minimises <P, C> + eps KL(P | a b^T) with marginals a and b, met or paid for
Equations  f <- (1 - w) f + w damp(T(g)),  T(g)_i = -eps log sum_j b_j exp((g_j - C_ij)/eps), and the same for g
                                                              (1306.0895; unbalanced 1607.05816; w > 1 1711.01851)
           the rate r of the plain iteration gives the best factor w = 2/(1 + sqrt(1 - r))       (2012.12562, sec. 4);
           r follows from the rate that is seen at the factor of now, as in successive over-relaxation
Symbols    eps -> epsilon, C -> geometry, f, g -> potentials, damp -> the problem's marginals
Cost       O(n m) time a sweep; memory of the costs, or of one block of them for point clouds
Fails      slowly as epsilon shrinks; then status = max_steps and the marginal error says how far it got. When the
           precision of the numbers cannot resolve the plan at this epsilon, status = precision
"""

from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from ..core import AbstractInfo, AbstractMethod, InputError, Paper, Status
from .plan import Plan, Potentials, best, mismatch
from .problem import KL, Transport

# Sweeps between two looks at the rate.
LOOK = 20


class SinkhornState(eqx.Module):
    """Potentials, the regularisation of now, and what the over-relaxation is steered by."""

    potentials: Potentials
    epsilon: Float[Array, ""]
    factor: Float[Array, ""]
    before: Float[Array, ""]
    sweeps: Int[Array, ""]


class SinkhornInfo(AbstractInfo):
    """L1 error of the marginals before the sweep, and the regularisation of the sweep."""

    marginal_error: Float[Array, ""]
    epsilon: Float[Array, ""]
    status: Any


class Sinkhorn(AbstractMethod[Transport, SinkhornState, SinkhornInfo, Plan]):
    """Alternate the two updates until the marginals are met to `tolerance` in L1.

    Fields:
        epsilon: the regularisation, in units of the cost.
        tolerance: sum of the L1 errors of both marginals (relative to a mass of one) that is good enough.
        relax: whether to over-relax once the rate is known; only balanced problems are.
        decay: factor of the regularisation a sweep, from the largest cost down to `epsilon`; 1 starts at `epsilon`.
        warm: potentials to start from, of an earlier plan; zeros when None.
        factor: of over-relaxation to begin with; 1 is the plain iteration.

    Raises:
        InputError: for a regularisation or tolerance that is not positive, a decay outside (0, 1], or a factor
            outside [1, 2).
    """

    paper: ClassVar[Paper] = Paper(
        "sinkhorn", "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", "1306.0895", 2013, "(2)-(4)"
    )
    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    relax: bool = eqx.field(static=True, default=True)
    decay: float = eqx.field(static=True, default=0.5)
    warm: Potentials | None = None
    factor: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        check_iteration("Sinkhorn", self)
        if not isinstance(self.factor, Tracer) and not 1 <= float(self.factor) < 2:
            raise InputError(f"Sinkhorn(factor={float(self.factor)}): expected a number in [1, 2)")

    def init(self, problem, *, key):
        """The given potentials or zeros, at the regularisation to begin with."""
        f, g = jnp.zeros_like(problem.a), jnp.zeros_like(problem.b)
        potentials = Potentials(f, g) if self.warm is None else self.warm
        factor = self.factor.astype(problem.a.dtype)
        return SinkhornState(potentials, first_epsilon(self, problem), factor, jnp.inf * factor, jnp.asarray(0))

    def started(self, potentials: Potentials, state: SinkhornState) -> "Sinkhorn":
        """The same, from `potentials` and with the over-relaxation that `state` of a like problem has come to."""
        return replace(self, warm=potentials, factor=state.factor)

    def step(self, problem, state, *, key):
        """One update of each potential."""
        eps = state.epsilon
        f0, g0 = state.potentials.f, state.potentials.g
        wanted_f = best(problem, g0, eps)
        error = mismatch(problem, f0, wanted_f, eps)
        # The best factor is that of the neighbourhood of the solution; far away the plain sweep is the surer step.
        w = jnp.where(error < 1, state.factor, 1.0).astype(error.dtype)
        f = f0 + w * (wanted_f - f0)
        wanted_g = best(problem.T, f, eps)
        error = error + jnp.where(state.factor == 1, 0.0, mismatch(problem.T, g0, wanted_g, eps))
        g = g0 + w * (wanted_g - g0)
        shift = _shift(problem, f, g)
        f, g = f + shift, g - shift
        last = eps <= self.epsilon.astype(eps.dtype)
        status = verdict(last & (state.sweeps > 0), error, self.tolerance, resolution(f, g, eps))
        factor, before, sweeps = self._steer(problem, state, error, last)
        epsilon = jnp.maximum(self.epsilon.astype(eps.dtype), self.decay * eps) if self.decay < 1 else eps
        new = SinkhornState(Potentials(f, g), epsilon, factor, before, sweeps)
        return new, SinkhornInfo(marginal_error=error, epsilon=eps, status=status)

    def value(self, problem, state):
        """The plan of the potentials, with the second marginal met exactly."""
        eps = self.epsilon.astype(problem.a.dtype)
        g = best(problem.T, state.potentials.f, eps)
        return Plan(problem, Potentials(state.potentials.f, g), eps)

    def _steer(self, problem, state, error, last):
        """Every LOOK sweeps at the final epsilon: the rate seen, what the plain one must be, the best factor."""
        sweeps = jnp.where(last, state.sweeps + 1, 0)
        if not (self.relax and problem.balanced):
            return state.factor, state.before, sweeps
        w, error = state.factor, jax.lax.stop_gradient(error)
        # Measured over the second half, when the change of the factor has died out.
        middle, look = last & (sweeps % LOOK == LOOK // 2), last & (sweeps % LOOK == 0)
        seen = jnp.clip((error / state.before) ** (2 / LOOK), 1e-6, 1 - 1e-9)
        # Below the best factor w the rate s of over-relaxation obeys (s + w - 1)^2 = s w^2 r, r being the plain rate.
        plain = jnp.clip((seen + w - 1) ** 2 / (seen * w**2), 0.0, 1 - 1e-9)
        best_factor = jnp.minimum(2 / (1 + jnp.sqrt(1 - plain)), 1 + 0.5 * w)
        # Above the best factor the rate is w - 1, whatever the problem's: then, or when errors grow, step back.
        lower = jnp.where(error > state.before, 1 + 0.5 * (w - 1), 1 + 0.9 * (w - 1))
        new = jnp.where((error > state.before) | (seen < 1.02 * (w - 1)), lower, jnp.maximum(w, best_factor))
        factor = jnp.where(look & jnp.isfinite(state.before), new, w)
        before = jnp.where(middle, error, state.before)
        return factor.astype(w.dtype), before, sweeps


def _shift(problem, f, g):
    """The constant that is best moved from g to f where both sides may be missed; it does not change the plan.

    Without it the total mass converges at the rate of rho/(rho + eps), however close the plan is (2201.00730).
    """
    left, right = problem.left, problem.right
    if not (isinstance(left, KL) and isinstance(right, KL)):
        return jnp.zeros((), f.dtype)
    p, q = left.reach.astype(f.dtype), right.reach.astype(f.dtype)
    a, b = logsumexp(-f / p, b=problem.a), logsumexp(-g / q, b=problem.b)
    return p * q / (p + q) * (a - b)


def check_epsilon(owner: str, epsilon) -> None:
    """Refuse a regularisation that is not one positive number."""
    if isinstance(epsilon, Tracer):
        return
    if jnp.ndim(epsilon) != 0 or not float(epsilon) > 0:
        raise InputError(f"{owner}(epsilon={epsilon}): expected a positive regularisation, in units of the cost")


def check_iteration(owner: str, method) -> None:
    """Refuse a regularisation, tolerance or decay outside its range."""
    check_epsilon(owner, method.epsilon)
    if not isinstance(method.tolerance, Tracer) and not float(method.tolerance) > 0:
        raise InputError(f"{owner}(tolerance={float(method.tolerance)}): expected a positive number")
    if not 0 < method.decay <= 1:
        raise InputError(f"{owner}(decay={method.decay}): expected a number in (0, 1]; 1 keeps epsilon fixed")


def first_epsilon(method, problem) -> Float[Array, ""]:
    """The regularisation to begin with: that of the method, or from a cold start with a decay the spread of costs."""
    epsilon = method.epsilon.astype(problem.a.dtype)
    if method.decay == 1 or method.warm is not None:
        return epsilon
    return jnp.maximum(epsilon, problem.geometry.spread().astype(epsilon.dtype))


def default_tolerance(dtype) -> float:
    """The L1 error of the marginals to ask for in this precision."""
    return 1e-6 if dtype == jnp.float64 else 1e-3


def verdict(last, error, tolerance, floor):
    """The status of a step with this marginal error; `floor` is what rounding makes, and `last` the final epsilon."""
    done, stuck = last & (error < tolerance), last & (error < floor) & (floor > tolerance)
    return Status.where(done, Status.converged, Status.where(stuck, Status.precision, Status.running))


def resolution(f, g, epsilon) -> Float[Array, ""]:
    """The L1 error of the marginals that rounding alone makes: exponents of size |f|/eps have so many digits."""
    size = (jnp.max(jnp.abs(f)) + jnp.max(jnp.abs(g))) / epsilon
    # Three roundings of a sum of that size, and one of the exponential.
    return 4 * jnp.finfo(f.dtype).eps * jnp.maximum(size, 1.0)
