"""From a base that can be drawn from to a density that cannot, in steps; with weights that make it exact.

Answers    what is Z of this density, and what are its averages, when no exact draws exist?
Equations  E[w] = Z / Z_base after every rung, for any mover; resample when ESS < threshold n
Symbols    w -> e^{log_w}, n -> particles
Cost       a rung: one evaluation of both densities a particle, and the moves
Source     Neal, arXiv physics/9803008 (AIS); Del Moral, Doucet and Jasra 2006 (SMC samplers); arXiv 2305.19414
Fails      `weights_degenerate` when the particles' weights collapse; `rejecting` when the moves do not move;
           `nonfinite` for a NaN. A schedule or a kernel tuned by the particles themselves biases Z by order 1/n

    AIS is `Annealing(Invariant(HMC(0.3)), Ladder(betas), resampler=None)`; SMC is the default with `Adaptive()`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import (
    AbstractInfo,
    AbstractMethod,
    AbstractResampler,
    Cloud,
    InputError,
    Status,
    Systematic,
    Weighted,
    ess,
    log_mean,
)
from .diagnostics import pareto_khat
from .evidence import Evidence, Tally, ancestral_variance, evidence
from .kernels import AbstractScaled
from .movers import AbstractMover, Invariant
from .tempering import AbstractSchedule, Adaptive, Tempering

# Fewer acceptances than this, and the moves might as well not have been made.
STUCK = 0.01


class Particles(eqx.Module):
    """The cloud and its weights, log Z so far, the rung, each particle's first ancestor, and the kernel as tuned."""

    x: Cloud
    log_w: Float[Array, " n"]
    log_z: Float[Array, ""]
    beta: Float[Array, ""]
    eve: Int[Array, " n"]
    khat: Float[Array, ""]
    taken: Int[Array, ""]
    kernel: Any


class AnnealInfo(AbstractInfo):
    """The rung, log Z so far, ESS of the weights before resampling, acceptance, broken moves, resampled or not."""

    beta: Float[Array, ""]
    log_z: Float[Array, ""]
    ess: Float[Array, ""]
    accept: Float[Array, ""]
    broken: Int[Array, ""]
    resampled: Any
    status: Any


class Annealed(eqx.Module):
    """What a run leaves: a weighted cloud of the target, and what it says of log Z."""

    cloud: Weighted
    tally: Tally
    kernel: Any

    def evidence(self) -> Evidence:
        """log Z of this run, or of all runs when there is an axis of them."""
        return evidence(self.tally)


class Annealing(AbstractMethod[Tempering, Particles, AnnealInfo, Annealed]):
    """Annealed importance sampling, sequential Monte Carlo and Jarzynski's estimator, by their factors.

    Done when beta is 1: `solve(Annealing(...), Tempering(base, target), max_steps=..., key=key)`.

    Fields:
        mover: `Invariant(kernel)` or `Jarzynski(step_size)`.
        schedule: `Adaptive()` or `Ladder(betas)`.
        particles: how many.
        resampler: None for AIS: then the weights are independent.
        threshold: resample when the ESS is below this share of the particles.
    """

    mover: AbstractMover
    schedule: AbstractSchedule = Adaptive()
    particles: int = eqx.field(static=True, default=1000)
    resampler: AbstractResampler | None = Systematic()
    threshold: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        if self.particles < 2:
            raise InputError(f"Annealing(particles={self.particles}): expected at least 2")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"Annealing(threshold={self.threshold}): expected a share between 0 and 1")

    def init(self, problem, *, key):
        """Independent draws of the base with equal weights."""
        x = problem.base.sample(key, self.particles)
        dtype = x.dtype
        kernel = self.mover.kernel if isinstance(self.mover, Invariant) else None
        # The state keeps its structure from step to step, however the kernel is tuned.
        kernel = kernel.following(x[0]) if isinstance(kernel, AbstractScaled) else kernel
        return Particles(
            x,
            jnp.zeros(self.particles, dtype),
            jnp.asarray(problem.base.log_z, dtype),
            jnp.zeros((), dtype),
            jnp.arange(self.particles),
            jnp.asarray(-jnp.inf, dtype),
            jnp.asarray(0),
            kernel,
        )

    def step(self, problem, state, *, key):
        """Choose the rung, reweight, resample if need be, move."""
        move_key, resample_key = jax.random.split(key)
        log_ratio = jax.vmap(problem.log_ratio)(state.x)
        new = self.schedule(state.taken, state.beta, state.log_w, log_ratio)
        log_w = state.log_w + self.mover.before(state.x, log_ratio, state.beta, new)
        # Weights that are all zero have no effective draw; a NaN among them stays one.
        size = jnp.where(jnp.max(log_w) == -jnp.inf, 0.0, ess(log_w))
        x, log_w, log_z, eve, khat, resampled = self._resample(state, log_w, size, resample_key)
        x, moved, accept, broken, kernel = self.mover(problem, state.kernel, x, state.beta, new, key=move_key)
        log_w = log_w + moved
        lost = ~jnp.isfinite(log_mean(log_w)) | (size < 1 + 1e-3)
        done = new >= 1
        status = Status.where(done, Status.converged, Status.running)
        # A step size that is being tuned may come too late for one rung; not for the last.
        stuck = (accept < STUCK) & (done | (not self.mover.adapts))
        status = Status.where(stuck, Status.rejecting, status)
        status = Status.where(lost, Status.weights_degenerate, status)
        total = log_z + log_mean(log_w)
        # -inf is a collapse, which has its own status; NaN is not.
        shown = jnp.where(total == -jnp.inf, jnp.finfo(total.dtype).min, total)
        info = AnnealInfo(new, shown, size, accept, broken, resampled, status)
        return Particles(x, log_w, log_z, new, eve, khat, state.taken + 1, kernel), info

    def _resample(self, state, log_w, size, key):
        if self.resampler is None:
            return state.x, log_w, state.log_z, state.eve, state.khat, jnp.asarray(False)
        wanted = size < self.threshold * self.particles
        index = self.resampler(log_w, self.particles, key=key)
        index = jnp.where(wanted, index, jnp.arange(self.particles))
        log_z = jnp.where(wanted, state.log_z + log_mean(log_w), state.log_z)
        # Only weights that are averaged can do harm: these, and the last.
        khat = jnp.where(wanted, jnp.fmax(state.khat, pareto_khat(log_w)), state.khat)
        log_w = jnp.where(wanted, jnp.zeros_like(log_w), log_w)
        return state.x[index], log_w, log_z, state.eve[index], khat, wanted

    def value(self, problem, state):
        """The weighted cloud and the tally of log Z."""
        variance, ancestors = ancestral_variance(state.log_w, state.eve)
        log_z = state.log_z + log_mean(state.log_w)
        khat = jnp.fmax(state.khat, pareto_khat(state.log_w))
        found = Tally(log_z, variance, ess(state.log_w), khat, ancestors)
        return Annealed(Weighted(state.x, state.log_w), found, state.kernel)

    def gradients(self, steps: int) -> int:
        """How many gradients `steps` rungs cost, over all particles."""
        return steps * self.particles * self.mover.cost()
