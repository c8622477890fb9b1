"""Predictor and corrector: after each step towards the data, a few Langevin steps towards the density at that time.

Answers    how can evaluations of the score mend the errors of too coarse a sampler?
Equations  corrector   x <- x + delta s + sqrt(2 delta) z,  delta = 2 a (snr |z|/|s|)^2          (2011.13456, algs 4, 5)
               norms averaged over the cloud;  a = (beta(t)/beta(t'))^2 <= 1 on the path of a diffusion, else 1
           ReverseDiffusion, from t to a later t':  r = beta(t)/beta(t'),  G^2 = alpha(t)^2 - r^2 alpha(t')^2
               x' = (2 - r) x + G^2 s(t, x) + G z                                             (2011.13456, (46)-(47))
               VP: r = sqrt(1 - beta_i), G^2 = beta_i;  VE: r = 1, G^2 = sigma_i^2 - sigma_(i-1)^2
Symbols    s -> the motion's score, z -> a standard normal, a -> `_slowing`, t' -> t + dt
Time       0 is noise and 1 the data (the paper's runs the other way): a step's end t' is the paper's less noisy time
Cost       one evaluation of the score a correction, on top of the predictor's
Fails      the corrections have no accept step: each leaves a variance v at about v (1 + delta/2v), 2.6 % above for
           snr = 0.16. snr > 1 is refused
Departure  the paper's a is 1 - beta_i; (beta(t)/beta(t'))^2 = exp(-int beta) agrees with it to first order in the step
           and needs nothing but the path. Where no noise is left (t' = 1) no correction is made and ReverseDiffusion
           adds none, which is the paper's noise-free last step.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import Cloud, InputError, Key, Paper, Time
from ..processes import SCORE_SDE, AbstractStepper, EulerMaruyama
from .convert import inner
from .motion import AbstractMotion, FlowODE, FlowSDE
from .path import AbstractOneSided, DiffusionPath


class PredictorCorrector(AbstractStepper):
    """A step of any predictor, then Langevin corrections at the time where it arrived.

    Fields:
        predictor: a method that fits the motion, as `EulerMaruyama()`, `ReverseDiffusion()` or, for an ODE, `DDIM()`.
        snr: size of the corrections, in (0, 1]; the paper's 0.16.
        corrections: how many a step.
    """

    paper: ClassVar[Paper] = SCORE_SDE
    predictor: AbstractStepper = EulerMaruyama()
    snr: float = 0.16
    corrections: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if isinstance(self.snr, float) and not 0 < self.snr <= 1:
            raise InputError(f"PredictorCorrector(snr={self.snr:g}): expected a number in (0, 1]; the paper's is 0.16")
        if self.corrections < 0:
            raise InputError(f"PredictorCorrector(corrections={self.corrections}): expected at least 0")

    def check(self, problem):
        """Refuse a motion without a score, and what the predictor refuses."""
        _needs_score("PredictorCorrector", problem.process)
        self.predictor.check(problem)

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`, then correct it there."""
        first, second = jax.random.split(key)
        x = self.predictor.advance(process, t, dt, x, key=first)
        # Past the end of the grid, where dt = 0, nothing may change.
        slowing = jnp.where(dt == 0, 0.0, _slowing(process.path, t, t + dt))
        for i in range(self.corrections):
            x = correct(process, t + dt, x, self.snr, slowing, key=jax.random.fold_in(second, i))
        return x


def correct(
    motion: AbstractMotion,
    t: Time,
    x: Cloud,
    snr: float | Float[Array, ""],
    slowing: float | Float[Array, ""] = 1.0,
    *,
    key: Key,
) -> Cloud:
    """One Langevin step towards the density at time t, whose length follows from the norms of noise and score.

    Where the path has no noise at t there is no score and the cloud is left as it is.
    """
    score: Any = motion.score
    s = motion.each(score, inner(t), x)
    z = jax.random.normal(key, x.shape, x.dtype)
    path = motion.path
    level = path.alpha(t) if isinstance(path, AbstractOneSided) else path.gamma2(t)
    delta = 2 * slowing * (snr * _mean_norm(z) / _mean_norm(s)) ** 2
    delta = jnp.where(level > 0, delta, 0.0)
    return (x + delta * s + jnp.sqrt(2 * delta) * z).astype(x.dtype)


class ReverseDiffusion(AbstractStepper):
    """The reversed noising process, discretised as its forward transitions are: a predictor for one-sided paths."""

    paper: ClassVar[Paper] = SCORE_SDE

    def check(self, problem):
        """Refuse two-sided paths, a motion without a score, and times that fall."""
        _needs_score("ReverseDiffusion", problem.process)
        path = getattr(problem.process, "path", None)
        if not isinstance(path, AbstractOneSided):
            got = type(path).__name__
            raise InputError(f"ReverseDiffusion got a motion on {got}; expected a one-sided path: take EulerMaruyama")
        if problem.backward:
            raise InputError("ReverseDiffusion got falling times; expected rising ones, from noise to data")

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        path = process.path
        ratio = path.beta(t) / path.beta(t + dt)
        variance = jnp.maximum(path.alpha(t) ** 2 - (ratio * path.alpha(t + dt)) ** 2, 0.0)
        noise = jnp.where(path.alpha(t + dt) > 0, jnp.sqrt(variance), 0.0)
        z = jax.random.normal(key, x.shape, x.dtype)
        return ((2 - ratio) * x + variance * process.each(process.score, t, x) + noise * z).astype(x.dtype)


def _slowing(path, t, end):
    if not isinstance(path, DiffusionPath):
        return jnp.ones_like(t)
    return jnp.minimum(path.beta(t) / path.beta(end), 1.0) ** 2


def _mean_norm(x):
    return jnp.mean(jnp.linalg.norm(x.reshape(x.shape[0], -1), axis=1))


def _needs_score(name, process):
    if not isinstance(process, FlowODE | FlowSDE) or process.score is None:
        got = type(process).__name__
        raise InputError(f"{name} got the process {got}; expected a FlowODE or FlowSDE with a score: learn s or eta")
