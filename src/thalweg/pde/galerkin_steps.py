"""One step in time of the parameters of an ansatz.

Answers    where are the parameters a moment later, and can the step be trusted?
Equations  ExplicitSteps  k_i = eta(t + c_i h, theta + h sum_j a_ij k_j);   theta' = theta + h sum_i b_i k_i
           AdaptiveSteps  the same with a second set of weights: |u_theta' - u_theta''| < tolerance |u_theta'|
           ImplicitSteps  eta = argmin |J(theta + h eta) eta - f(t + h, u_{theta + h eta})|,  theta' = theta + h eta,
                          by Gauss-Newton from the last rate
Symbols    a, b, c -> the scheme's tableau; h -> step_size
Cost       a least-squares solve a stage, or a Gauss-Newton iteration, which also differentiates f in theta
Source     arXiv 2203.01360, section 3.2; the pairs are Bogacki and Shampine 1989, Dormand and Prince 1980
Fails      explicit steps of an equation with diffusion or dispersion are stable only below a step size that its finest
           unit sets. Implicit steps are stable, but one in which the solution leaves the points makes both sides of its
           equation vanish there: `info.bend` tells. Errors are of the solution, not of the parameters, of which many
           move nothing
"""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core import InputError
from ..core.checks import positive
from .galerkin_problem import Look, System, look


class Scheme(eqx.Module):
    """An explicit Runge-Kutta method by its coefficients; `error` is None where it has no second set of weights."""

    a: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    b: tuple[float, ...] = eqx.field(static=True)
    c: tuple[float, ...] = eqx.field(static=True)
    order: int = eqx.field(static=True)
    error: tuple[float, ...] | None = eqx.field(static=True, default=None)


def _paired(tableau: Any, order: int) -> Scheme:
    """One of diffrax's tableaus."""
    rows = ((), *tableau.a_lower)
    plain = lambda row: tuple(map(float, row))  # noqa: E731
    return Scheme(
        tuple(map(plain, rows)), plain(tableau.b_sol), (0.0, *plain(tableau.c)), order, plain(tableau.b_error)
    )


EULER = Scheme(((),), (1.0,), (0.0,), 1)
RK4 = Scheme(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.5, 0.5, 1.0), 4)
BOGACKI_SHAMPINE = _paired(diffrax.Bosh3.tableau, 3)
DORMAND_PRINCE = _paired(diffrax.Dopri5.tableau, 5)


class Moved(eqx.Module):
    """New parameters and their last rate, the least-squares problem, the error that the step knows of (0 where it knows
    none), whether the step was taken, and the next step size."""

    theta: Float[Array, " p"]
    eta: Float[Array, " p"]
    look: Look
    error: Float[Array, ""]
    accepted: Bool[Array, ""]
    step_size: Float[Array, ""]


class AbstractStepper(eqx.Module):
    """How the parameters go from one time to the next."""

    step_size: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def __call__(self, system: System, t: Any, theta: Any, eta: Any, h: Any) -> Moved:
        """One step of length `h`, from the last rate `eta`."""

    def stuck(self, h: Any) -> Bool[Array, ""]:
        """Whether the next step is too small to go on."""
        del h
        return jnp.asarray(False)


class ExplicitSteps(AbstractStepper):
    """Explicit steps of one length.

    Fields:
        step_size: the longest step; times to keep divide the time between them evenly.
        scheme: `EULER`, `RK4`, or a pair, whose error is then reported.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    scheme: Scheme = RK4

    def __check_init__(self):
        positive("ExplicitSteps", "step_size", self.step_size)

    def __call__(self, system, t, theta, eta, h):
        """All stages at the same points."""
        new, first, error = _stages(self.scheme, system, t, theta, h)
        return Moved(new, first.eta, first, error, jnp.asarray(True), self.step_size.astype(theta.dtype))


class AdaptiveSteps(AbstractStepper):
    """Explicit steps whose length follows from their own error; a step that misses it is tried again.

    Fields:
        tolerance: relative L2 error of the solution, at the points, that one step may make.
        step_size: the first.
        longest, smallest: bounds; a step that would have to be smaller ends the run.
        scheme: `BOGACKI_SHAMPINE` or `DORMAND_PRINCE`.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-5)
    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    longest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    smallest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-7)
    scheme: Scheme = BOGACKI_SHAMPINE

    def __check_init__(self):
        for name in ("tolerance", "step_size", "longest", "smallest"):
            positive("AdaptiveSteps", name, getattr(self, name))
        if self.scheme.error is None:
            raise InputError("AdaptiveSteps(scheme): expected a pair with an error, such as DORMAND_PRINCE; got none")

    def __call__(self, system, t, theta, eta, h):
        """One attempt."""
        new, first, error = _stages(self.scheme, system, t, theta, h)
        miss = jax.lax.stop_gradient(error) / self.tolerance.astype(theta.dtype)
        accepted = miss <= 1
        # A step that gave NaN is one that was far too long.
        power = -1.0 / self.scheme.order
        factor = jnp.where(jnp.isfinite(miss), jnp.clip(0.9 * jnp.maximum(miss, 1e-10) ** power, 0.2, 4.0), 0.2)
        wanted = jnp.minimum(h * factor, self.longest.astype(theta.dtype))
        # A step of nothing at the last time, says nothing of the next one.
        wanted = jnp.where(h > 0, wanted, self.step_size.astype(theta.dtype))
        kept = jnp.where(accepted, new, theta)
        return Moved(kept, first.eta, first, jnp.where(jnp.isfinite(error), error, 1.0), accepted, wanted)

    def stuck(self, h):
        """Below the smallest step."""
        return h < self.smallest.astype(h.dtype)


class ImplicitSteps(AbstractStepper):
    """Implicit Euler steps: stable at any length, of order 1.

    Fields:
        step_size: the longest step.
        iterations: of Gauss-Newton; the last rate is a good start, so that one or two are enough. `info.error` is the
            relative change of the rate in the last.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    iterations: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        positive("ImplicitSteps", "step_size", self.step_size)
        if self.iterations < 1:
            raise InputError(f"ImplicitSteps(iterations={self.iterations}): expected at least 1")

    def __call__(self, system, t, theta, eta, h):
        """Gauss-Newton on the residual at the end of the step."""

        def residual(eta, x):
            after = theta + h * eta
            slope = jax.jvp(lambda row: system.build(row)(x), (after,), (eta,))[1]
            return slope - system.rate(t + h, x, system.build(after))

        def iterate(eta, _):
            r, a = jax.vmap(jax.value_and_grad(residual), (None, 0))(eta, system.points)
            # For the whole rate and not for its change, so that the regularisation is of the rate.
            fitted = system.least_squares(a, a @ eta - r)
            return fitted.eta, (fitted, eta)

        eta, (fitted, before) = jax.lax.scan(iterate, eta, None, length=self.iterations)
        fitted, before = jax.tree.map(lambda x: x[-1], (fitted, before))
        new = theta + h * eta
        moved, target = system.slopes(new, eta), system.targets(t + h, new)
        found = look(fitted, system.jacobian(new), moved, target)
        change = jnp.linalg.norm(system.slopes(new, eta - before)) / _size(moved)
        return Moved(new, eta, found, change, jnp.asarray(True), self.step_size.astype(theta.dtype))


def _stages(scheme: Scheme, system: System, t, theta, h):
    """The new parameters, the problem of the first stage, and the relative error of a pair (else 0)."""
    count, dtype = len(scheme.b), theta.dtype
    a = np.zeros((count, count))
    for i, row in enumerate(scheme.a):
        a[i, : len(row)] = row

    def stage(rates, coefficients):
        i, row, c = coefficients
        found = system.direction(t + c * h, theta + h * (row @ rates))
        return rates.at[i].set(found.eta), found

    # A scan, so that a stage is compiled once.
    table = jnp.arange(count), jnp.asarray(a, dtype), jnp.asarray(scheme.c, dtype)
    rates, looks = jax.lax.scan(stage, jnp.zeros((count, theta.size), dtype), table)
    first = jax.tree.map(lambda x: x[0], looks)
    new = theta + h * (jnp.asarray(scheme.b, dtype) @ rates)
    if scheme.error is None:
        return new, first, jnp.zeros((), dtype)
    other = new - h * (jnp.asarray(scheme.error, dtype) @ rates)
    here = system.values(new)
    return new, first, jnp.linalg.norm(here - system.values(other)) / _size(here)


def _size(values):
    """The norm, or 1 where it is 0."""
    size = jnp.linalg.norm(values)
    return jnp.where(size == 0, 1.0, size)
