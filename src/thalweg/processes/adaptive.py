"""Adaptive steps, by diffrax: each particle with its own step sizes, to a tolerance instead of a grid.

Answers    where is the cloud at t1, to a given accuracy of each path?
Equations  error of a step < atol + rtol |x|, in the root mean square over the coordinates
           time of the solver: u = |t - t0|, so that both directions of time are the same problem (see `problem.py`)
Symbols    solver   ODE: Tsit5 (order 5);  additive noise: SRA1;  diagonal noise: Milstein with step doubling
Cost       all particles step until the slowest is done. For noise, a virtual Brownian tree: about log2(1/resolution)
           draws a step, 10 to 40 times a fixed-step scan. Take `simulate` unless a tolerance is what is needed
Fails      max_steps when a particle needs more steps than allowed; nonfinite when the drift or the result is not finite
"""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from jaxtyping import Array, ArrayLike, Int

from ..core import (
    AbstractCorrelated,
    AbstractInfo,
    AbstractProcess,
    Carry,
    InputError,
    Key,
    Result,
    Status,
    finish,
)
from ..core.checks import all_known, finite, known, positive, real, show
from .library import AbstractODE
from .observe import Recording
from .sde import is_additive


class Adaptive(eqx.Module):
    """The method of `simulate` that takes steps of its own: only the ends of the grid of times count.

    Fields:
        rtol, atol: tolerances of one step, as in `simulate_adaptive`.
        max_steps: most steps of one particle.
        solver: any diffrax solver for the kind of process; chosen by the process when None.
    """

    rtol: float = 1e-4
    atol: float = 1e-6
    max_steps: int = eqx.field(static=True, default=4096)
    solver: diffrax.AbstractSolver | None = None


class AdaptiveInfo(AbstractInfo):
    """One row for the whole run: the steps accepted and rejected for each particle."""

    accepted: Int[Array, " n"]
    rejected: Int[Array, " n"]
    status: Any


def simulate_adaptive(
    process,
    x0,
    t0,
    t1,
    *,
    key: Key | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    save_at: Sequence[float] | ArrayLike | None = None,
    solver: diffrax.AbstractSolver | None = None,
    max_steps: int = 4096,
    resolution: float = 2.0**-12,
    throw: bool = True,
) -> Result:
    """Run a process from `t0` to `t1` with steps that keep the error of each path below a tolerance.

    Args:
        process: an `ODE`, or an `AbstractProcess` with additive or diagonal noise.
        x0: the cloud at t0, (n, *event).
        t0, t1: different times; t1 < t0 runs backward, with the reversed process, as in `simulate`.
        key: the chance; may be left out for an `ODE`.
        rtol, atol: tolerances of one step; in single precision little is gained below 1e-6.
        save_at: times strictly between t0 and t1, in the direction of time; the value is then a `Recording`.
        solver: any diffrax solver for the kind of process, instead of the one above.
        max_steps: most steps of one particle.
        resolution: the shortest step of a process with noise, and twice the finest detail of its Brownian path, as a
            fraction of |t1 - t0|; at it, steps are accepted whatever their error.
        throw: raise on a failing status.

    Returns:
        A `Result` like that of `simulate`: `value`, `status`, `num_steps` (the most accepted by a particle). `info` has
        one row for the whole run, and `state` cannot be resumed.

    Raises:
        InputError: times that are equal or not finite, `save_at` outside them, tolerances not above 0, noise mixed by
            a matrix, or noise without a key.
        StatusError: max_steps or nonfinite.
    """
    x0, t0, t1 = real(x0), real(t0), real(t1)
    save = None if save_at is None else real(save_at)
    _check(process, t0, t1, save, key, {"rtol": rtol, "atol": atol, "resolution": resolution})
    noisy = not isinstance(process, AbstractODE)
    if solver is None:
        solver = _solver(process, t0, x0) if noisy else diffrax.Tsit5()
    key = jax.random.key(0) if key is None else key
    result = _solve(process, x0, (t0, t1, save), key, (rtol, atol), solver, max_steps, resolution, noisy)
    return finish(result, throw)


def _solver(process, t0, x0):
    if all_known((process, t0, x0)) and is_additive(process, t0.astype(x0.dtype), x0[:8]):
        return diffrax.SRA1()
    return diffrax.HalfSolver(diffrax.ItoMilstein())


@eqx.filter_jit
def _solve(process, x0, times, key, tolerances, solver, max_steps, resolution, noisy):
    dtype = x0.dtype
    t0, t1 = times[0].astype(dtype), times[1].astype(dtype)
    save = None if times[2] is None else times[2].astype(dtype)
    span, sign = jnp.abs(t1 - t0), jnp.sign(t1 - t0)
    ends = span[None] if save is None else jnp.append(jnp.abs(save - t0), span)
    shape, size = x0.shape[1:], x0[0].size
    shortest = resolution * span

    drift, owned = process.alone()

    def velocity(u, y, own):
        return sign * drift(t0 + sign * u, y.reshape(shape), own).astype(dtype).reshape(-1)

    def coefficient(u, y, args):
        g = process.diffusion(t0 + sign * u, y.reshape(shape))
        return lineax.DiagonalLinearOperator(jnp.broadcast_to(g, shape).astype(dtype).reshape(-1))

    def one(x, key, own):
        terms, begin = diffrax.ODETerm(velocity), None
        if noisy:
            tree = diffrax.VirtualBrownianTree(
                jnp.zeros_like(span), span, shortest / 2, (size,), key, levy_area=_levy_area(solver)
            )
            terms = diffrax.MultiTerm(terms, diffrax.ControlTerm(coefficient, tree))
            begin = jnp.maximum(span / 128, shortest)
        controller = diffrax.PIDController(*tolerances, dtmin=shortest if noisy else None)
        # Stepping on to the saved times, because between steps a diffusion cannot be interpolated.
        controller = diffrax.ClipStepSizeController(controller, step_ts=ends)
        return diffrax.diffeqsolve(
            terms,
            solver,
            jnp.zeros_like(span),
            span,
            begin,
            x.reshape(-1),
            args=own,
            saveat=diffrax.SaveAt(ts=ends),
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )

    solution = jax.vmap(one)(x0, jax.random.split(key, x0.shape[0]), owned)
    clouds = jnp.moveaxis(jnp.asarray(solution.ys), 1, 0).reshape(-1, *x0.shape)
    value = clouds[-1] if save is None else Recording(clouds[:-1], save, clouds[-1])
    start = jax.vmap(lambda x, own: velocity(jnp.zeros_like(span), x.reshape(-1), own))(x0, owned)
    status = _translate(solution.result, jnp.all(jnp.isfinite(start)), clouds)
    count = jnp.max(solution.stats["num_accepted_steps"])
    info = AdaptiveInfo(
        accepted=solution.stats["num_accepted_steps"], rejected=solution.stats["num_rejected_steps"], status=status
    )
    return Result(value, status, info, count, Carry(count, clouds[-1], status, jnp.asarray(-1)))


def _levy_area(solver):
    inner = solver.solver if isinstance(solver, diffrax.HalfSolver) else solver
    needs = isinstance(inner, diffrax.AbstractSRK)
    return diffrax.SpaceTimeLevyArea if needs else diffrax.BrownianIncrement


def _translate(results, sound, clouds):
    """diffrax's results of all particles as one status. A NaN drift also exhausts the steps, so it is asked first."""
    spent = jnp.any((results == diffrax.RESULTS.max_steps_reached) | (results == diffrax.RESULTS.max_steps_rejected))
    good = jnp.all(results == diffrax.RESULTS.successful) & jnp.all(jnp.isfinite(clouds))
    failure = Status.where(sound & spent, Status.max_steps, Status.nonfinite)
    return Status.where(good, Status.finished, failure)


def _check(process, t0, t1, save, key, numbers):
    if isinstance(process, AbstractCorrelated):
        raise InputError("simulate_adaptive got noise mixed by a matrix; expected one a coordinate: take simulate")
    kind = type(process)
    if kind.drifts is not AbstractProcess.drifts and kind.alone is AbstractProcess.alone:
        raise InputError(
            f"simulate_adaptive got {kind.__name__}, whose drift looks at the whole cloud; each particle takes "
            "steps of its own here: take simulate"
        )
    if key is None and not isinstance(process, AbstractODE):
        raise InputError("simulate_adaptive got no key; expected key=jax.random.key(seed), as the process has noise")
    for name, number in numbers.items():
        positive("simulate_adaptive", name, np.asarray(number), "a smaller error costs more steps, none is impossible")
    for name, time in (("t0", t0), ("t1", t1), ("save_at", save)):
        finite("simulate_adaptive", name, time)
    if (a := known(t0)) is None or (b := known(t1)) is None:
        return
    if a == b:
        raise InputError(f"simulate_adaptive(t0={a}, t1={b}): expected two different times")
    if save is not None and (s := known(save)) is not None:
        path = np.concatenate([[a], s.reshape(-1), [b]]) * np.sign(b - a)
        if s.ndim != 1 or s.size == 0 or (np.diff(path) <= 0).any():
            raise InputError(f"save_at is {show(s)}; expected times strictly between {a} and {b}, in that order")
