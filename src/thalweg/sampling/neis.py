"""NEIS: importance sampling averaged along the orbits of a velocity field, which is trained to leave no variance.

Answers    what is the normalising constant of a density, and what are its averages, from i.i.d. starting points alone?
Equations  F_k(t) = rho_k(X_t) J_t,   dX/dt = b(X), X_0 = x,   log J_t = int_0^t (div b)(X_s) ds for both signs of t
           A(x) = int_{t-}^{t+} F_1(t) / [int_{t - t+}^{t - t-} F_0(s) ds] dt,   t+ = t- + 1,   -1 <= t- <= 0  (finite)
           A(x) = int F_1(t) dt / int F_0(t) dt over all times                                             (infinite)
           E_{rho_0} A = Z_1 / Z_0 for any b;   E_{rho_1} f = E[A_f] / E[A],  A_f with f(X_t) F_1(t) for F_1(t)
           zero variance: any orbit that holds as much mass of rho_1 as of rho_0, as when div b = rho_1 - rho_0 and
           J -> 0 at both ends
Symbols    b -> field, [t-, t+] and N -> horizon, rho_0 and rho_1 -> base and target, log A -> info.log_a
Derived    substitute y = X_t(x) in E[A]: rho_0(x) dx = F_0(-t; y) dy, and the window of s moves to [-t+, -t-], which
           does not depend on t; numerator and denominator cancel and int rho_1(y) dy is left. Where orbits are cut off
           at the boundary of a domain, F_k = 0 beyond it and the same cancellation holds
Cost       an orbit is 8 N evaluations of the field and its divergence, 2 N + 1 of log rho_0, N + 1 of log rho_1 and no
           gradient of it; training needs N + 1 gradients an orbit. The check at half the step costs twice as much again
           for the orbits that are checked
Fails      too few steps make A biased: `grid_error` is the relative bias that halving the step shows. An infinite time
           that is cut short: `cut_off`. Heavy tails: `top_share`, `log_z.ess`, and status weights_degenerate when fewer
           than a handful of orbits carry everything. `neis` raises on each of them
Departure  the published code integrates by trapezoids or inside the ODE; here by end-corrected trapezoids of order 4 in
           log space. Its orbits stand still beyond the boundary and go on counting there, here they stop counting
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core import (
    AbstractInfo,
    AbstractMethod,
    Cloud,
    Estimate,
    InputError,
    Key,
    Paper,
    Point,
    Result,
    Status,
    StatusError,
    Weighted,
    run,
)
from ..problems import AbstractDensity, check_base
from .autonomous import AbstractStill, papers
from .orbits import AbstractHorizon, orbits

# exp of this is 0 in every precision; a density that is 0 keeps finite logs, so that derivatives pass.
NOTHING = -1e4


class NEISProblem(eqx.Module):
    """A base that can be drawn from, a target, and where both live.

    Fields:
        base: rho_0; its own constant is used where it is known, else the estimates are of Z_1 / Z_0.
        target: rho_1, unnormalised, on points of the same shape; may be 0 (log_prob of minus infinity).
        domain: x -> whether x is inside, where the densities or the field end at a boundary; None for everywhere.

    Raises:
        InputError: for a base without exact draws, or shapes that differ.
    """

    base: AbstractDensity
    target: AbstractDensity
    domain: Callable[[Point], Bool[Array, ""]] | None = None

    def __check_init__(self):
        check_base(self.base, self.target.event, constant=False)
        eqx.filter_eval_shape(lambda: self.base.sample(jax.random.key(0), 1))


class Averaged(eqx.Module):
    """Orbits as weighted points: A(x_i) is the sum over j of exp(log_w[i, j]).

    Fields:
        x: (n, m, *event), the points of each orbit at the times of the average.
        log_w: (n, m), their weights; minus infinity is written as a very negative number.
        cut_off: (n,), the share of an infinite integral that lies at its end.
    """

    x: Float[Array, "n m *event"]
    log_w: Float[Array, "n m"]
    cut_off: Float[Array, " n"]

    @property
    def log_a(self) -> Float[Array, " n"]:
        """log A(x_i): logs of i.i.d. estimates of the normalising constant."""
        return jax.nn.logsumexp(self.log_w, axis=1)

    def within(self, fn: Callable) -> Float[Array, "n ..."]:
        """A_f / A: the average of fn along each orbit."""
        values = jax.vmap(jax.vmap(fn))(self.x)
        return jnp.einsum("nm,nm...->n...", jax.nn.softmax(self.log_w, axis=1), values)

    def expectation(self, fn: Callable) -> Estimate:
        """E_{rho_1}[fn(x)], self-normalised, with the delta-method standard error over independent orbits."""
        cloud = Weighted(self.within(fn), self.log_a)
        return cloud.expectation(lambda average: average)

    def cloud(self, *, key: Key) -> Weighted:
        """One point of each orbit, drawn in proportion to its weight: i.i.d. weighted draws from the target."""
        at = jax.random.categorical(key, self.log_w, axis=1)
        return Weighted(self.x[jnp.arange(len(at)), at], self.log_a)


def orbit_average(problem: NEISProblem, field: AbstractStill, horizon: AbstractHorizon, x0: Cloud) -> Averaged:
    """The estimator itself, for given starting points (n, *event).

    Raises:
        InputError: for no points, or a field that does not give back the shape of its point.
    """
    if x0.shape[0] < 1 or x0.shape[1:] != problem.base.event:
        raise InputError(f"starting points are {x0.shape}; expected (n, *{problem.base.event}) with n of at least 1")
    got = eqx.filter_eval_shape(field, x0[0])
    if getattr(got, "shape", None) != x0.shape[1:]:
        name, shape = type(field).__name__, getattr(got, "shape", got)
        raise InputError(f"{name} gives {shape} at a point of shape {x0.shape[1:]}; expected the shape of the point")
    return _average(problem, field, horizon, x0)


@eqx.filter_jit
def _average(problem, field, horizon, x0):
    path = orbits(field, x0, reach=horizon.span, steps=horizon.steps, domain=problem.domain)
    at = horizon.nodes
    x, inside = path.x[:, at], path.inside[:, at]
    density0, density1 = (jax.vmap(jax.vmap(d.log_prob)) for d in (problem.base, problem.target))
    log_f0 = jnp.where(path.inside, density0(path.x) + path.log_j, -jnp.inf)
    log_f1 = jnp.where(inside, density1(x) + path.log_j[:, at], -jnp.inf)
    # The largest log F_0 of the orbit is the zero of both: no Jacobian overflows, however volume is stretched.
    largest = jax.lax.stop_gradient(jnp.max(log_f0, axis=1, keepdims=True))
    shifted = [jnp.maximum(f - largest, NOTHING) for f in (log_f0, log_f1)]
    log_w = jax.vmap(horizon.log_weights)(*shifted)
    started = path.inside[:, horizon.steps][:, None]
    log_w = jnp.where(started, log_w, NOTHING)
    constant = problem.base.log_z
    return Averaged(x, log_w if constant is None else log_w + constant, jax.vmap(horizon.cut_off)(*shifted))


class NEISState(eqx.Module):
    """Running moments, all in units of exp(shift), the largest A so far.

    `mean` and `square` are the mean of A and its summed squared deviations; `centre`, `first`, `second` the estimate of
    the observable and the sums of A^2 (g - centre)^k, k = 1, 2, over orbits, g the average along one; `error` and
    `checked` the sums of |A - A'| and A' over checked orbits; `tail` that of A times the share that was cut off.
    """

    n: Float[Array, ""]
    shift: Float[Array, ""]
    mean: Float[Array, ""]
    square: Float[Array, ""]
    error: Float[Array, ""]
    checked: Float[Array, ""]
    tail: Float[Array, ""]
    centre: Float[Array, "..."]
    first: Float[Array, "..."]
    second: Float[Array, "..."]


class NEISInfo(AbstractInfo):
    """log A of every orbit of the step, and the effective number of orbits up to now.

    The `log_a` of a run, (steps, n), is what `evidence` takes, for Pareto's k-hat and an interval.
    """

    log_a: Float[Array, " n"]
    ess: Float[Array, ""]
    status: Any


class NEISValue(eqx.Module):
    """What the orbits amount to.

    Fields:
        log_z: log of the mean of A, with its delta-method standard error and effective number of orbits.
        relative_variance: variance of A over its squared mean, from the orbits that were drawn.
        top_share: of the sum, in the largest A; near 1 when one orbit is all.
        grid_error: sum of |A - A'| over sum of A' on the checked orbits, A' with half the step.
        cut_off: share of the infinite integrals that lies at their ends; 0 for a finite time.
        expectation: of the observable under rho_1, or None.
    """

    log_z: Estimate
    relative_variance: Float[Array, ""]
    top_share: Float[Array, ""]
    grid_error: Float[Array, ""]
    cut_off: Float[Array, ""]
    expectation: Estimate | None

    def complaint(self, tolerance: float) -> str | None:
        """One line on what makes the estimate biased, or None.

        The error of the grid is small when it is below half the standard error or below `tolerance`.
        """
        stderr = float(self.log_z.stderr)
        if not float(self.grid_error) <= max(tolerance, 0.5 * stderr):
            told = f"halving the step moves the estimate by {float(self.grid_error):.2g} of itself"
            return f"{told}, its standard error is {stderr:.2g}: take more steps, or a slower field"
        if not float(self.cut_off) <= max(tolerance, 0.5 * stderr):
            return f"{float(self.cut_off):.2g} of an integral over all times lies at its ends: raise reach and steps"
        return None


class NEIS(AbstractMethod[NEISProblem, NEISState, NEISInfo, NEISValue]):
    """Each step draws `particles` orbits and adds them to the estimate.

    Fields:
        field: b; any field gives an unbiased estimate, a trained one a precise one.
        horizon: `FiniteTime` or `InfiniteTime`.
        particles: orbits a step.
        checked: how many of them are computed once more with half the step, at most `particles`.
        observable: x -> an array whose average under rho_1 is wanted, or None.

    Raises:
        InputError: for fewer than one particle, or a negative number of checked ones.
    """

    paper: ClassVar[Paper] = papers[0]
    field: AbstractStill
    horizon: AbstractHorizon
    particles: int = eqx.field(static=True)
    checked: int = eqx.field(static=True, default=64)
    observable: Callable | None = None

    def __check_init__(self):
        if self.particles < 1 or self.checked < 0:
            got = f"particles={self.particles}, checked={self.checked}"
            raise InputError(f"NEIS({got}): expected at least one particle, and no negative number")

    def init(self, problem, *, key):
        """Nothing drawn yet."""
        dtype = eqx.filter_eval_shape(lambda: problem.base.sample(key, 1)).dtype
        zero = jnp.zeros((), dtype)
        shape = () if self.observable is None else _shape(self.observable, problem, key)
        low = jnp.asarray(jnp.finfo(dtype).min / 4, dtype)
        return NEISState(zero, low, *[zero] * 5, *[jnp.zeros(shape, dtype)] * 3)

    def step(self, problem, state, *, key):
        """Draw a batch of orbits; merge its moments with those so far."""
        x0 = problem.base.sample(key, self.particles)
        found = orbit_average(problem, self.field, self.horizon, x0)
        log_a = found.log_a
        shift = jnp.maximum(state.shift, jnp.max(log_a))
        a, old = jnp.exp(log_a - shift), jnp.exp(state.shift - shift)
        n = state.n + self.particles
        delta = jnp.mean(a) - old * state.mean
        mean = old * state.mean + delta * self.particles / n
        between = delta**2 * state.n * self.particles / n
        square = old**2 * state.square + jnp.sum((a - jnp.mean(a)) ** 2) + between
        some = x0[: self.checked]
        twice = (
            jnp.exp(orbit_average(problem, self.field, self.horizon.finer(), some).log_a - shift)
            if len(some)
            else a[:0]
        )
        error = old * state.error + jnp.sum(jnp.abs(a[: self.checked] - twice))
        checked, tail = old * state.checked + jnp.sum(twice), old * state.tail + jnp.sum(a * found.cut_off)
        new = NEISState(n, shift, mean, square, error, checked, tail, state.centre, state.first, state.second)
        if self.observable is not None:
            new = _observe(state, new, old, a, found.within(self.observable))
        ess = n * mean**2 / (square / n + mean**2)
        nothing = jnp.max(log_a) < NOTHING / 2
        # Fewer orbits than fingers on a hand: the largest ones have not been seen yet, and the error bar is not one.
        poor = nothing | (ess < min(5.0, 0.5 * self.particles))
        return new, NEISInfo(log_a=log_a, ess=ess, status=Status.where(poor, Status.weights_degenerate, Status.running))

    def value(self, problem, state):
        """log Z and what speaks for or against it."""
        n, mean = state.n, state.mean
        relative = state.square / jnp.maximum(n - 1, 1) / mean**2
        ess = n / (state.square / n / mean**2 + 1)
        stderr = jnp.where(n > 1, jnp.sqrt(relative / n), jnp.nan)
        log_z = Estimate(jnp.log(mean) + state.shift, stderr, ess)
        seen = None
        if self.observable is not None:
            seen = Estimate(
                state.centre, jnp.sqrt(state.second) / (n * mean), jnp.broadcast_to(ess, state.centre.shape)
            )
        checked = state.error / state.checked if self.checked else jnp.zeros_like(mean)
        return NEISValue(log_z, relative, 1 / (n * mean), checked, state.tail / (n * mean), seen)


def _shape(observable, problem, key):
    return eqx.filter_eval_shape(lambda: observable(problem.base.sample(key, 1)[0])).shape


def _observe(state, new, old, a, g):
    """Move the sums of the observable to the new centre."""
    before, now = old * state.n * state.mean, jnp.sum(a)
    a = a.reshape((-1,) + (1,) * (g.ndim - 1))
    centre = state.centre + jnp.sum(a * (g - state.centre), axis=0) / (before + now)
    move = state.centre - centre
    spread = old**2 * (state.square + state.n * state.mean**2)
    first, second = old**2 * state.first, old**2 * state.second
    second = second + 2 * move * first + move**2 * spread + jnp.sum((a * (g - centre)) ** 2, axis=0)
    first = first + move * spread + jnp.sum(a**2 * (g - centre), axis=0)
    return eqx.tree_at(lambda s: (s.centre, s.first, s.second), new, (centre, first, second))


def neis(method: NEIS, problem: NEISProblem, *, steps: int = 1, key: Key, tolerance=1e-3, throw: bool = True) -> Result:
    """`run`, and a refusal of estimates that the time grid makes biased.

    Args:
        method, problem: what to estimate, and how.
        steps: batches of `method.particles` orbits.
        tolerance: relative bias that is accepted even where the standard error is smaller still.
        throw: raise; `False` returns the result as it is.

    Raises:
        StatusError: as `run` does; too coarse a grid; an infinite time that was cut too short.
    """
    result = run(method, problem, steps=steps, key=key, throw=throw)
    told = result.value.complaint(tolerance) if throw else None
    if told:
        raise StatusError(told, result)
    return result
