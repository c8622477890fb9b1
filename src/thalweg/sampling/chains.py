"""Several chains of any kernel: a warm-up that tunes it, draws, and whether they can be believed.

Answers    draws of this density from a few starts, with the step size found for me, and a verdict
Equations  warm-up   log h <- log h + (k + 1)^{-0.6} (accept - target), accept the mean over the chains; then the scale
                     of each coordinate is the standard deviation of all chains over the middle half, and h is found
                     again; the h that is kept is the mean of log h over the last quarter
Symbols    h -> step_size, s -> scale
Cost       the kernel's, a chain and step; memory for every draw that is kept
Source     Andrieu and Thoms 2008, section 5 (Robbins-Monro steps); arXiv 1903.08008 (the verdict)
Fails      `rejecting` below 5 % acceptance; `unmixed` when any coordinate's R-hat is above `max_rhat`; `unbounded` when
           the chains have not met and still run away from their starts; `nonfinite` for a NaN or an infinity. No
           verdict on these draws can know of a mode that no chain has found: anneal where there may be one
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import (
    AbstractInfo,
    AbstractMethod,
    Cloud,
    Estimate,
    InputError,
    Key,
    Result,
    Status,
    StatusError,
    run,
    succeeded,
)
from ..problems import AbstractDensity, check
from .diagnostics import chain_estimate, ess_bulk, ess_tail, rhat
from .kernels import AbstractKernel, AbstractScaled

# The least acceptance, over all draws, with which chains can be said to move.
MOVING = 0.05
# Chains that have not met, and are this many times as far from their starts at the end as at the beginning, run away.
RUNAWAY = 4.0


class Starts(eqx.Module):
    """The problem: a density, and where each chain begins."""

    density: AbstractDensity
    x0: Cloud

    def __check_init__(self):
        if self.x0.shape[1:] != self.density.event:
            raise InputError(
                f"the starts have shape {self.x0.shape}; expected (chains, {', '.join(map(str, self.density.event))})"
            )


class ChainsInfo(AbstractInfo):
    """Every chain's position and log density after the step, its acceptance, and steps that must not pass unseen."""

    x: Cloud
    log_prob: Float[Array, " n"]
    accept: Float[Array, " n"]
    divergent: Int[Array, " n"]
    broken: Int[Array, " n"]
    status: Any


class Chains(AbstractMethod[Starts, Any, ChainsInfo, Cloud]):
    """Independent chains in parallel; the draws are `info.x`, (steps, chains, *event).

    Fields:
        kernel: any kernel; one without a test leaves a bias that no diagnostic shows.
        thin: steps of the kernel from one draw to the next.
    """

    kernel: AbstractKernel
    thin: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.thin < 1:
            raise InputError(f"Chains(thin={self.thin}): expected at least 1")

    def init(self, problem, *, key):
        """A walker at each start."""
        keys = jax.random.split(key, len(problem.x0))
        return jax.vmap(lambda x, k: self.kernel.init(problem.density, x, key=k))(problem.x0, keys)

    def step(self, problem, state, *, key):
        """`thin` steps of every chain."""
        n = len(problem.x0)

        def once(walkers, i):
            keys = jax.random.split(jax.random.fold_in(key, i), n)
            return jax.vmap(lambda w, k: self.kernel.step(problem.density, w, key=k))(walkers, keys)

        walkers, moves = jax.lax.scan(once, state, jnp.arange(self.thin))
        info = ChainsInfo(
            x=walkers.x,
            log_prob=walkers.log_prob,
            accept=jnp.mean(moves.accept, axis=0),
            divergent=jnp.sum(moves.divergent, axis=0),
            broken=jnp.sum(moves.broken, axis=0),
            status=Status.running,
        )
        return walkers, info

    def value(self, problem, state):
        """Where the chains are."""
        return state.x


class WarmState(eqx.Module):
    """The walkers, the kernel as tuned so far, running moments of the positions, the mean of log h, and the step."""

    walkers: Any
    kernel: Any
    total: Float[Array, "*event"]
    squares: Float[Array, "*event"]
    log_step: Float[Array, ""]
    step: Int[Array, ""]


class WarmInfo(AbstractInfo):
    """Means over the chains of the acceptance and the log density, and the step size that was taken."""

    accept: Float[Array, ""]
    log_prob: Float[Array, ""]
    step_size: Float[Array, ""]
    status: Any


class WarmUp(AbstractMethod[Starts, WarmState, WarmInfo, AbstractKernel]):
    """Finds a kernel's step size and scale; its value is the tuned kernel.

    Fields:
        kernel: with a target acceptance, so not ULA or Underdamped.
        steps: the length that the schedule is made for; run it for as many.
    """

    kernel: AbstractScaled
    steps: int = eqx.field(static=True, default=500)

    def __check_init__(self):
        if not isinstance(self.kernel, AbstractScaled) or self.kernel.target is None:
            raise InputError(
                f"WarmUp cannot tune {type(self.kernel).__name__}: it has no test and so no acceptance to aim at"
            )
        if self.steps < 20:
            raise InputError(f"WarmUp(steps={self.steps}): expected at least 20")

    def init(self, problem, *, key):
        """Walkers at the starts, the kernel as given."""
        walkers = Chains(self.kernel).init(problem, key=key)
        x = problem.x0[0]
        kernel = self.kernel.following(x)
        nothing = jnp.zeros(x.shape, x.dtype)
        return WarmState(walkers, kernel, nothing, nothing, jnp.zeros((), x.dtype), jnp.asarray(0))

    def step(self, problem, state, *, key):
        """One step of every chain, then h; at three quarters, the scale."""
        n, kernel = len(problem.x0), state.kernel
        keys = jax.random.split(key, n)
        walkers, move = jax.vmap(lambda w, k: kernel.step(problem.density, w, key=k))(state.walkers, keys)
        accept = jnp.mean(move.accept)
        quarter = self.steps // 4
        # The search starts afresh with the new scale.
        since = jnp.where(state.step < 3 * quarter, state.step, state.step - 3 * quarter)
        rate = (since + 1.0).astype(accept.dtype) ** -0.6
        log_step = jnp.log(kernel.step_size) + rate * (accept - kernel.target)
        middle = (state.step >= quarter) & (state.step < 3 * quarter)
        total = state.total + jnp.where(middle, jnp.mean(walkers.x, axis=0), 0.0)
        squares = state.squares + jnp.where(middle, jnp.mean(walkers.x**2, axis=0), 0.0)
        mean = total / (2 * quarter)
        spread = jnp.sqrt(jnp.maximum(squares / (2 * quarter) - mean**2, 0.0))
        now = state.step == 3 * quarter - 1
        known = spread > 1e-3 * jnp.max(spread)
        scale = jnp.where(now & known, spread, kernel.scale)
        # The geometric mean of the lengths stays with h, so that the new scale changes directions rather than size.
        ratio = jnp.mean(jnp.log(kernel.scale) - jnp.log(scale))
        log_step = log_step + ratio
        late = state.step >= self.steps - quarter // 2
        averaged = state.log_step + jnp.where(late, log_step / (quarter // 2), 0.0)
        new = WarmState(walkers, kernel.tuned(jnp.exp(log_step), scale), total, squares, averaged, state.step + 1)
        log_prob = jnp.mean(walkers.log_prob)
        return new, WarmInfo(accept=accept, log_prob=log_prob, step_size=kernel.step_size, status=Status.running)

    def value(self, problem, state):
        """The kernel, with the averaged step size once the warm-up is over."""
        over = state.step >= self.steps
        h = jnp.where(over, jnp.exp(state.log_step), state.kernel.step_size)
        return state.kernel.tuned(h, state.kernel.scale)


class Sampled(eqx.Module):
    """Draws and what is known of them.

    Fields:
        x: draws, (chains, draws, *event).
        log_prob: of each draw.
        accept, accepts: mean acceptance, of all chains and of each.
        divergent, broken: how many steps had an energy error above 1000; met a NaN or +inf.
        rhat, ess_bulk, ess_tail: of each coordinate.
        kernel: as tuned.
        status: `converged`, or why the draws should not be used.
    """

    x: Float[Array, "chains draws *event"]
    log_prob: Float[Array, "chains draws"]
    accept: Float[Array, ""]
    accepts: Float[Array, " chains"]
    divergent: Int[Array, ""]
    broken: Int[Array, ""]
    rhat: Float[Array, "*event"]
    ess_bulk: Float[Array, "*event"]
    ess_tail: Float[Array, "*event"]
    kernel: Any
    status: Any

    def expectation(self, fn) -> Estimate:
        """E[fn(x)], with the standard error that the chains' correlation leaves.

        Raises:
            StatusError: when the status says that the draws cannot be trusted.
        """
        if not bool(succeeded(self.status)):
            raise StatusError(f"no error bar from these chains: {Status[self.status]}", self)
        return chain_estimate(jax.vmap(jax.vmap(fn))(self.x))

    def __str__(self):
        worst = f"R-hat up to {float(jnp.max(self.rhat)):.3f}, ESS from {float(jnp.min(self.ess_bulk)):.0f}"
        words = f"{self.x.shape[0]} chains of {self.x.shape[1]} draws: {worst}, acceptance {float(self.accept):.2f}"
        return words if bool(succeeded(self.status)) else f"{words}  REFUSED: {Status[self.status]}"


def sample_chains(
    density: AbstractDensity,
    kernel: AbstractKernel,
    x0: Cloud,
    *,
    draws: int = 1000,
    warmup: int = 500,
    thin: int = 1,
    key: Key,
    max_rhat: float = 1.01,
    throw: bool = True,
    runner: Callable[..., Result] = run,
) -> Sampled:
    """Warm up, draw, and judge.

    Args:
        density: what to sample.
        kernel: any; tuned in the warm-up when it has a target acceptance.
        x0: a start for each chain, (chains, *event); spread them wider than the density, or R-hat cannot warn.
        draws, thin: draws of each chain, and steps from one to the next.
        warmup: steps before the first draw; 0 for none.
        max_rhat: the largest R-hat that is believed.
        throw: raise when the draws should not be used; False returns them with their status.
        runner: called as `run` is, once for the warm-up (a `WarmUp`) and once for the draws (`Chains`); one that
            takes `run_chunks` gives progress, checkpoints and the same bits.

    Raises:
        InputError: a log density that is no number at a start, or no draws; StatusError as `throw` says.
    """
    if draws < 4 or warmup < 0:
        raise InputError(f"got draws={draws}, warmup={warmup}; expected at least 4 draws and 0 steps of warm-up")
    problem = Starts(density, x0)
    for start in x0:
        check(density, start)
    first, second = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    warmed = Status.finished
    if warmup:
        tunes = WarmUp(kernel, warmup) if isinstance(kernel, AbstractScaled) and kernel.target is not None else None
        warm = runner(Chains(kernel) if tunes is None else tunes, problem, steps=warmup, key=first, throw=throw)
        kernel, x0 = (kernel, warm.value) if tunes is None else (warm.value, warm.state.state.walkers.x)
        warmed = warm.status
    found = runner(Chains(kernel, thin), Starts(density, x0), steps=draws, key=second, throw=throw)
    # Draws of a kernel that was tuned to nonsense are no better than its tuning.
    status = Status.where(succeeded(warmed), found.status, warmed)
    result = judge(found.info, kernel, status, problem.x0, max_rhat)
    if throw and not bool(succeeded(result.status)):
        raise StatusError(Status[result.status], result)
    return result


@eqx.filter_jit
def judge(info: ChainsInfo, kernel, status, x0: Cloud, max_rhat) -> Sampled:
    """The draws of `Chains`, with diagnostics and a verdict; `x0` is where the chains began."""
    x = jnp.moveaxis(info.x, 0, 1)
    split, accept = rhat(x), jnp.mean(info.accept)
    parted = ~(jnp.max(split) <= max_rhat)
    quarter = max(x.shape[1] // 4, 1)
    away = jnp.sqrt(jnp.sum((x - x0[:, None]) ** 2, axis=tuple(range(2, x.ndim))))
    gone = jnp.median(away[:, -quarter:]) > RUNAWAY * jnp.median(away[:, :quarter])
    verdict = Status.where(parted & gone, Status.unbounded, Status.where(parted, Status.unmixed, Status.converged))
    verdict = Status.where(accept < MOVING, Status.rejecting, verdict)
    verdict = Status.where(succeeded(status), verdict, status)
    log_prob = jnp.moveaxis(info.log_prob, 0, 1)
    counts = jnp.sum(info.divergent), jnp.sum(info.broken)
    accepts = jnp.mean(info.accept, axis=0)
    return Sampled(x, log_prob, accept, accepts, *counts, split, ess_bulk(x), ess_tail(x), kernel, verdict)
