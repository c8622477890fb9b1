"""Guidance: sharpen a conditional transport, or steer an unconditional one.

Answers    how are samples pushed towards a condition more than the data are?
Equations  classifier-free: f = f_null + w (f_c - f_null), for any of the fields  (2510.21890, ch. 8; 2207.12598)
           classifier:      s' = s + w grad_x log p(c | x_t)                                (2011.13456, (14))
           and the velocity of a one-sided path moves with its score: b' = b + k(t) w grad log p,
               k = alpha (alpha beta'/beta - alpha')  (from b = alpha' eta + beta'/beta (x - alpha eta))
Symbols    w -> weight
Fails      w > 1 samples a sharpened law, not the data's: certify without guidance
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from ..core import InputError, Paper, Score, Velocity
from .convert import inner, score_gain
from .path import AbstractOneSided

paper = Paper(
    "principles-of-diffusion", "The Principles of Diffusion Models", "2510.21890", 2025, "guidance and fast solvers"
)


class ClassifierFree(eqx.Module):
    """A field pushed from its unconditional towards its conditional value; weight 1 changes nothing."""

    fn: Callable
    weight: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if not isinstance(self.weight, Tracer) and not float(self.weight) >= 0:
            raise InputError(f"guidance weight is {float(self.weight):g}; expected a number of at least 0 (1 is none)")

    def __call__(self, t, x, c=None):
        """f_null + weight (f_c - f_null); without a condition, f_null."""
        null = self.fn(t, x)
        if c is None:
            return null
        return null + self.weight.astype(x.dtype) * (self.fn(t, x, c) - null)


class ClassifierScore(eqx.Module):
    """s + weight grad log p(c | x_t), from a classifier of noisy points `log_prob(t, x, c)`."""

    score: Score
    log_prob: Callable
    weight: float = 1.0

    def __call__(self, t, x, c=None):
        """The guided score at one point."""
        return self.score(t, x) + self.weight * jax.grad(lambda y: self.log_prob(t, y, c))(x)


class ClassifierVelocity(eqx.Module):
    """The velocity that goes with `ClassifierScore` on a one-sided path."""

    velocity: Velocity
    log_prob: Callable
    path: AbstractOneSided
    weight: float = 1.0

    def __call__(self, t, x, c=None):
        """The guided velocity at one point."""
        k = score_gain(self.path, inner(t))
        return self.velocity(t, x) + k * self.weight * jax.grad(lambda y: self.log_prob(t, y, c))(x)


def classifier_guided(transport: Any, log_prob: Callable, weight: float = 1.0) -> tuple[Velocity, Score]:
    """Velocity and score of a one-sided transport steered by a classifier of noisy points.

    Args:
        transport: an unconditional `Transport` on a one-sided path.
        log_prob: `log_prob(t, x, c)`, log p(c | x_t = x) at one point.
        weight: 1 samples p(x | c) when the classifier is exact.
    """
    if not isinstance(transport.path, AbstractOneSided):
        raise InputError("classifier guidance moves velocity and score together, which needs a one-sided path")
    score = Score(ClassifierScore(transport.score, log_prob, weight))
    return Velocity(ClassifierVelocity(transport.velocity, log_prob, transport.path, weight)), score
