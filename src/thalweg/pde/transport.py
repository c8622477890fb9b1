"""Solving the Fokker-Planck equation with particles that feel no noise: the score that replaces it is learned on them.

Answers    what is the density, its entropy, the current, in dimensions where no grid fits?
Equations  X' = X + dt v(t, X),   v = b - div D - D s,   then s is fitted to the cloud anew, from where it was
                                                                                        (2206.04642, sequential SBTM)
           log rho_t(X_t) = log rho_0(X_0) - int div v;   dH/dt = E[div v]
           grad log rho_t(X_t) = q,   dq/dt = -(grad v)^T q - grad div v                on particles that are held out
           d/dt KL(rho || rho*) <= 1/4 E|s - q|_D^2,   rho the law of the particles, rho* the solution     (`kl_bound`)
Symbols    s -> scores, q -> slope; |u|_D^2 = u.D u; H -> entropy
Cost       a step: the fit, one evaluation of the drift and d derivatives of v a particle (k with `Probes(k)`); a
           held-out particle about four times that
Fails      Euler's method: first order in dt, and dt below 1 over the largest rate of v. The error of the score is not
           seen by the loss, whose minimum is not known; it is seen by `held_out` particles. There it grows through the
           run when the score lags behind (too few steps of the optimiser), explodes when it jitters (too large ones).
           rising: a fit ended higher than it began. nonfinite: a NaN, or particles that ran away
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import (
    AbstractDivergence,
    AbstractInfo,
    AbstractMethod,
    Cloud,
    Estimate,
    Exact,
    InputError,
    Paper,
    Score,
    Status,
    estimate,
)
from .fokker_planck import FokkerPlanck, spread, velocity
from .scores import AbstractScores, Learned

# A loss that rose by this share of its size, and by this many standard errors, has risen.
RISE, BOUND = 0.1, 4.5


class TransportState(eqx.Module):
    """All particles, those held out last; log rho along them; q at those held out; what the scores know; the step."""

    x: Cloud
    log_prob: Float[Array, " n"]
    slope: Float[Array, "m *event"] | None
    learned: Learned
    step: Int[Array, ""]


class TransportInfo(AbstractInfo):
    """One step, from `time` to the next.

    Fields:
        time: where it began.
        entropy_rate: E[div v] there, over the held-out particles where there are any.
        speed: E|v|^2 there, the square of the probability current over the density.
        residual: E|s - q|_D^2 there, of the held-out particles; None without.
        variance: trace of the covariance of the cloud at the end.
        loss: E[s.D s + 2 div(D s)] or its denoised form at the end, after the fit; about -E|grad log rho|_D^2.
        grad_norm, inner: of the fit.
    """

    time: Float[Array, ""]
    entropy_rate: Estimate
    speed: Estimate
    residual: Estimate | None
    variance: Float[Array, ""]
    loss: Estimate
    grad_norm: Float[Array, ""]
    inner: Int[Array, ""]
    status: Any


class Transported(eqx.Module):
    """The density at the end of the run, by its particles.

    Fields:
        x: the particles that the score was fitted on, (n, *event).
        log_prob: log rho at each of them.
        score: grad log rho, a field of (t, x) that does not depend on t.
        held_out, held_log_prob: the particles that it was not fitted on, maybe none.
    """

    x: Cloud
    log_prob: Float[Array, " n"]
    score: Score
    held_out: Float[Array, "m *event"]
    held_log_prob: Float[Array, " m"]

    @property
    def mean(self) -> Estimate:
        """E[x]; the error bar is that of independent draws."""
        return estimate(self.x)

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Of the flattened points."""
        flat = self.x.reshape(self.x.shape[0], -1)
        centred = flat - jnp.mean(flat, axis=0)
        return centred.T @ centred / self.x.shape[0]

    @property
    def entropy(self) -> Estimate:
        """-E[log rho], over the held-out particles where there are any."""
        return estimate(-self.held_log_prob if self.held_log_prob.shape[0] > 1 else -self.log_prob)


class ScoreTransport(AbstractMethod[FokkerPlanck, TransportState, TransportInfo, Transported]):
    """Score-based transport modelling, one step of time after the other.

    `run(ScoreTransport(Linear()), problem, steps=problem.steps, key=key)`.

    Fields:
        scores: `Linear()` or `Trained(net, optimiser)`.
        particles: that the score is fitted on.
        held_out: particles carried along besides, on which the error of the score is measured.
        how: the divergence of v: `Exact()`, or `Probes(k)` for many coordinates.

    Raises:
        InputError: for fewer than two particles, one held-out particle, or too few particles for the scores.
    """

    paper: ClassVar[Paper] = Paper(
        "score-based-transport",
        "Probability flow solution of the Fokker-Planck equation",
        "2206.04642",
        2022,
        "sequential SBTM, denoising loss, entropy production, KL bound",
        "reproduced",
    )
    scores: AbstractScores
    particles: int = eqx.field(static=True, default=1000)
    held_out: int = eqx.field(static=True, default=0)
    how: AbstractDivergence = Exact()

    def __check_init__(self):
        for name, least in (("particles", 2), ("held_out", 0)):
            n = getattr(self, name)
            if isinstance(n, bool) or not isinstance(n, int) or n < least:
                raise InputError(f"ScoreTransport({name}={n!r}): expected a whole number of at least {least}")
        if self.held_out == 1:
            raise InputError("ScoreTransport(held_out=1): one particle has no standard error; take 0 or at least 2")

    def init(self, problem, *, key):
        """Draws of the initial density, and its score."""
        self.scores.check(self.particles, problem.initial.event)
        draw, fit = jax.random.split(key)
        x = problem.initial.sample(draw, self.particles + self.held_out)
        log_z = problem.initial.log_z
        log_prob = jax.vmap(problem.initial.log_prob)(x) - (0.0 if log_z is None else log_z)
        slope = jax.vmap(problem.initial.score)(x[self.particles :]) if self.held_out else None
        learned = self.scores.start(problem, x[: self.particles], key=fit)
        return TransportState(x, log_prob.astype(x.dtype), slope, learned, jnp.asarray(0, jnp.int32))

    def step(self, problem, state, *, key):
        """Move all particles, then fit the score to those that are not held out."""
        n, process = self.particles, problem.process
        t, dt = problem.along(state.x).span(state.step)
        probe_key, fit_key = jax.random.split(key)
        score = self.scores.score(state.learned)

        def v(x):
            return velocity(process, t, x, score(t, x))

        def move(x, key):
            moved, div = self.how(v, x, self.how.probes(x, key=key))
            return moved, jnp.mean(div)

        keys = jax.random.split(probe_key, state.x.shape[0])
        moved, div = jax.vmap(move)(state.x, keys)
        judges = slice(n, None) if self.held_out else slice(None)
        slope, residual = state.slope, None
        if slope is not None:
            error = jax.vmap(lambda x, q: score(t, x) - q)(state.x[n:], slope)
            residual = estimate(jax.vmap(lambda x, e: jnp.sum(e * spread(process, t, x, e)))(state.x[n:], error))
            slope = slope - dt * jax.vmap(lambda x, q, key: self._slope_rate(v, x, q, key))(
                state.x[n:], slope, keys[n:]
            )
        x = state.x + dt * moved
        learned, fitted = self.scores.fit(problem, state.learned, t + dt, x[:n], key=fit_key)
        loss, rise = estimate(fitted.after), estimate(fitted.after - fitted.before)
        risen = (rise.mean > BOUND * rise.stderr) & (rise.mean > RISE * jnp.abs(estimate(fitted.before).mean))
        new = TransportState(x, state.log_prob - dt * div, slope, learned, state.step + 1)
        return new, TransportInfo(
            time=t,
            entropy_rate=estimate(div[judges]),
            speed=estimate(jnp.sum((moved**2).reshape(moved.shape[0], -1), axis=1)),
            residual=residual,
            variance=jnp.sum(jnp.var(x[:n], axis=0)),
            loss=loss,
            grad_norm=fitted.grad_norm,
            inner=fitted.steps,
            status=Status.where(risen, Status.rising, Status.running),
        )

    def _slope_rate(self, v, x, q, key):
        """(grad v)^T q + grad div v at one particle; the gradient of an unbiased divergence is unbiased."""
        probes = self.how.probes(x, key=key)
        _, pull = jax.vjp(v, x)
        return pull(q)[0] + jax.grad(lambda y: jnp.mean(self.how(v, y, probes)[1]))(x)

    def value(self, problem, state):
        """The particles, their log densities and the score."""
        n = self.particles
        score = self.scores.score(state.learned)
        return Transported(state.x[:n], state.log_prob[:n], score, state.x[n:], state.log_prob[n:])


def kl_bound(problem: FokkerPlanck, info: TransportInfo) -> Estimate:
    """A bound on KL(rho || rho*) after a run, in nats: 1/4 of the integral of the residual over the run's steps.

    rho is the law of the moved particles and rho* the solution, both from the same initial density; steps in time count
    as exact. The error bars of all steps are added, as the same particles are seen in each.

    Raises:
        InputError: for a run without held-out particles.
    """
    if info.residual is None:
        raise InputError("the run held no particles out, so the error of its score is not known: "
                         "ScoreTransport(..., held_out=200)")  # fmt: skip
    dt = jnp.diff(problem.ts)[: info.time.shape[0]].astype(info.time.dtype) / 4
    residual = info.residual
    return Estimate(jnp.sum(dt * residual.mean), jnp.sum(dt * residual.stderr), jnp.min(residual.ess))
