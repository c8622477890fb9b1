"""Entropic transport at small regularisation by Newton's method with a sparse Hessian.

Answers    the same plan as `Sinkhorn`, in tens of steps where that needs thousands
Equations  semi-dual  H(f) = <f, a> + <T(f), b>,  T(f)_j = -eps log sum_i a_i exp((f_i - C_ij)/eps)
           gradient   a - P 1;   -Hessian = (diag(P 1) - P diag(1/b) P^T)/eps                  (2401.12253, sec. 3)
           direction  (diag(P 1) - S diag(1/b) S^T + shift) df = eps (a - P 1), S the k largest entries of each row of P
Symbols    eps -> epsilon, k -> entries, df -> direction
Departure  the paper takes both potentials as unknowns, with the Hessian [[diag(P 1), P], [P^T, diag(P^T 1)]]. Here g is
           always T(f), which is the same direction in f with g eliminated: half the unknowns, and since T is a
           logsumexp, no step of at most FAR epsilons overflows; longer ones are refused. Full diagonals with the sparse
           S keep the matrix diagonally dominant, hence positive, whatever is dropped
Cost       a step is about three passes over the costs and the conjugate gradients, O(n k) each; memory O(n k) and that
           of the geometry
Fails      a direction or a line search that fails is replaced by one Sinkhorn sweep and counted (`info.fallback`). At
           large epsilon P is not sparse and Sinkhorn is faster: `thalweg.ot.solve` chooses
"""

from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from ..core import AbstractInfo, AbstractMethod, InputError, Paper
from .implicit import conjugate_gradients
from .plan import Plan, Potentials, best, mismatch
from .problem import Transport
from .sinkhorn import check_iteration, first_epsilon, resolution, verdict

# Halvings of a step before a sweep is taken instead.
HALVINGS = 8
# No potential is moved by more than so many epsilons at once: ten times the costs at the smallest sensible epsilon.
FAR = 1e6


class NewtonState(eqx.Module):
    """f, g = T(f), the update of f that g asks for, the regularisation of now, the L1 error of the first marginal, and
    sweeps left before Newton steps."""

    f: Float[Array, " n"]
    g: Float[Array, " m"]
    wanted: Float[Array, " n"]
    epsilon: Float[Array, ""]
    error: Float[Array, ""]
    sweeps: Int[Array, ""]


class NewtonInfo(AbstractInfo):
    """What a step did: L1 error of the marginal after it, whether it was a Newton step, and how that went."""

    marginal_error: Float[Array, ""]
    epsilon: Float[Array, ""]
    newton: Bool[Array, ""]
    fallback: Bool[Array, ""]
    cg_steps: Int[Array, ""]
    length: Float[Array, ""]
    status: Any


class SinkhornNewton(AbstractMethod[Transport, NewtonState, NewtonInfo, Plan]):
    """Sinkhorn sweeps, then Newton steps with a sparse Hessian, down a ladder of regularisations.

    Fields:
        epsilon: the regularisation, in units of the cost.
        tolerance: L1 error of the first marginal (the second is exact) that is good enough.
        entries: kept of each row of the plan; the paper's density is entries / m.
        sweeps: Sinkhorn sweeps at the beginning.
        decay: factor between the rungs of the ladder, from the largest cost down to `epsilon`; 1 starts at `epsilon`,
            as in the paper.
        rung: the error at which the next rung is begun.
        cg_steps: conjugate gradient steps at most, for one direction.
        warm: potentials to start from; zeros when None.

    Raises:
        InputError: for numbers outside their range, or a problem that is not balanced.
    """

    paper: ClassVar[Paper] = Paper(
        "sinkhorn-newton-sparse",
        "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations",
        "2401.12253",
        2024,
        "alg. 2",
        "reproduced",
    )
    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-6)
    entries: int = eqx.field(static=True, default=16)
    sweeps: int = eqx.field(static=True, default=20)
    decay: float = eqx.field(static=True, default=0.25)
    rung: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    cg_steps: int = eqx.field(static=True, default=500)
    warm: Potentials | None = None

    def __check_init__(self):
        check_iteration("SinkhornNewton", self)
        if not isinstance(self.rung, Tracer) and not float(self.rung) > 0:
            raise InputError(f"SinkhornNewton(rung={float(self.rung)}): expected a positive number")
        for name, least in (("entries", 1), ("sweeps", 0), ("cg_steps", 1)):
            if getattr(self, name) < least:
                raise InputError(f"SinkhornNewton({name}={getattr(self, name)}): expected at least {least}")

    def init(self, problem, *, key):
        """The given potentials or zeros, on the first rung."""
        if not problem.balanced:
            raise InputError("SinkhornNewton solves balanced problems; take Sinkhorn for marginals that may be missed")
        f = jnp.zeros_like(problem.a) if self.warm is None else self.warm.f
        return self._at(problem, f, first_epsilon(self, problem), jnp.asarray(self.sweeps))

    def started(self, potentials: Potentials, state: NewtonState) -> "SinkhornNewton":
        """The same, from `potentials` that are close already; `state` of a like problem has learned nothing else."""
        return replace(self, warm=potentials, sweeps=1)

    def step(self, problem, state, *, key):
        """One sweep or one Newton step, at the regularisation of now."""

        def sweep(state):
            new = self._at(problem, state.wanted, state.epsilon, state.sweeps - 1)
            return new, jnp.asarray(0), jnp.ones_like(state.error), jnp.asarray(False)

        newton = state.sweeps <= 0
        new, cg, length, fallback = jax.lax.cond(newton, lambda s: self._newton(problem, s), sweep, state)
        last = new.epsilon <= self.epsilon.astype(new.epsilon.dtype)
        status = verdict(last, new.error, self.tolerance, resolution(new.f, new.g, new.epsilon))
        info = NewtonInfo(
            marginal_error=new.error,
            epsilon=new.epsilon,
            newton=newton & ~fallback,
            fallback=fallback,
            cg_steps=cg,
            length=length,
            status=status,
        )
        return self._down(problem, new, last), info

    def value(self, problem, state):
        """The plan of the potentials."""
        return Plan(problem, Potentials(state.f, state.g), self.epsilon.astype(problem.a.dtype))

    def _down(self, problem, state, last):
        """The next rung, once this one is good enough: the potentials carry over, the plan gets sharper."""
        if self.decay == 1:
            return state
        eps = jnp.maximum(self.epsilon.astype(state.epsilon.dtype), self.decay * state.epsilon)
        ready = ~last & (state.error < self.rung)
        return jax.lax.cond(ready, lambda s: self._at(problem, s.f, eps, jnp.asarray(1)), lambda s: s, state)

    def _at(self, problem, f, epsilon, sweeps):
        """The state of a potential f: the g that is best for it, and what g asks of f."""
        g = best(problem.T, f, epsilon)
        wanted = best(problem, g, epsilon)
        return NewtonState(f, g, wanted, epsilon, mismatch(problem, f, wanted, epsilon), sweeps)

    def _newton(self, problem, state):
        eps = state.epsilon
        rows = problem.a * jnp.exp((state.f - state.wanted) / eps)
        gradient = problem.a - rows
        direction, steps = self._direction(problem, state, rows, gradient)
        slope = jnp.dot(gradient, direction)
        value = _semidual(problem, state)

        def better(new, length):
            # Near the end the value no longer resolves a step, but the gradient does.
            risen = _semidual(problem, new) >= value + 1e-4 * length * slope
            # Rows that the plan has left empty can send the direction anywhere.
            near = length * jnp.max(jnp.abs(direction)) < FAR * eps
            return near & ((risen & jnp.isfinite(new.error)) | (new.error < (1 - 1e-2 * length) * state.error))

        def unfinished(loop):
            new, length, tries = loop
            return (tries == 0) | (~better(new, length) & (tries < HALVINGS))

        def shorter(loop):
            _, length, tries = loop
            length = jnp.where(tries == 0, 1.0, 0.5 * length)
            return self._at(problem, state.f + length * direction, eps, state.sweeps), length, tries + 1

        sound = (slope > 0) & jnp.all(jnp.isfinite(direction))
        begin = (state, jnp.ones_like(slope), jnp.where(sound, 0, HALVINGS))
        new, length, _ = jax.lax.while_loop(unfinished, shorter, begin)
        fallback = ~(sound & better(new, length))
        swept = lambda: self._at(problem, state.wanted, eps, state.sweeps)  # noqa: E731
        new = jax.lax.cond(fallback, swept, lambda: new)
        return new, steps, jnp.where(fallback, 0.0, length), fallback

    def _direction(self, problem, state, rows, gradient):
        """Conjugate gradients on the sparse Hessian, preconditioned by its diagonal."""
        eps, b = state.epsilon, problem.b
        f, h = state.f + eps * jnp.log(problem.a), state.g + eps * jnp.log(b)
        entries = min(self.entries, problem.b.shape[0])
        value, column = problem.geometry.largest(f, h, eps, entries)
        scaled = value / jnp.where(b > 0, b, 1.0)[column]
        diagonal = rows - jnp.sum(value * scaled, axis=1)
        # Levenberg's shift: keeps the direction short where the thresholded plan falls into pieces, and dies out.
        shift = jnp.minimum(1e-2, state.error) * 1e-2 * rows + jnp.finfo(f.dtype).tiny

        def hessian(v):
            carried = jnp.zeros_like(b).at[column].add(value * v[:, None])
            return (rows + shift) * v - jnp.sum(scaled * carried[column], axis=1)

        def precondition(v):
            return v / jnp.maximum(diagonal + shift, jnp.finfo(f.dtype).eps * rows + jnp.finfo(f.dtype).tiny)

        # As exact as the step deserves: the error left by the direction is of the order of the error squared.
        accuracy = jnp.clip(state.error, 1e-4, 1e-2)
        return conjugate_gradients(hessian, precondition, eps * gradient, accuracy, self.cg_steps)


def _semidual(problem, state):
    return problem.left.dual(state.f, problem.a) + problem.right.dual(state.g, problem.b)
