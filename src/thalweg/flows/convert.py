"""One field from another, where that is true.

Answers    which of velocity, score and denoiser follow from the ones that were learned?
Equations  two-sided, any coupling (z is independent of the pair):   s = -eta / gamma,   b = v - gamma gamma' s
           one-sided, independent coupling (x0 = z is independent of x1):
               s = -eta / alpha,   b = alpha' eta + (beta'/beta)(x - alpha eta)
               eta = (beta b - beta' x) / (alpha' beta - alpha beta')  (2303.08797, (2.14), (2.24), (4.13)-(4.15))
Symbols    b -> velocity, s -> score, eta -> denoiser, v -> split velocity
Fails      at the ends, where gamma, alpha or beta vanish: times are kept `EDGE` away from 0 and 1 in the divisions

The signatures refuse what is false: a velocity alone fixes the score only on a one-sided path under an independent
coupling, so those two are arguments.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..core import Denoiser, InputError, Score, Time, Velocity
from .coupling import AbstractCoupling, Independent
from .path import AbstractOneSided, AbstractPath, rate

EDGE = 1e-3


class Split(eqx.Module):
    """v(t, x) = E[dI/dt | x_t = x]: the velocity less the part of the latent noise."""

    fn: Callable

    def __call__(self, t, x, c=None):
        """Evaluate at one time and one point."""
        return self.fn(t, x) if c is None else self.fn(t, x, c)


def inner(t):
    """A time kept off both ends, for divisions by gamma, alpha or beta."""
    return jnp.clip(t, EDGE, 1 - EDGE)


class _Scaled(eqx.Module):
    """-field / level(t): a denoiser read as a score."""

    field: Any
    path: AbstractPath

    def __call__(self, t, x, c=None):
        return -self.field(t, x, c) / _level(self.path, inner(t))


class _FromSplit(eqx.Module):
    """b = v + gamma' eta = v - gamma gamma' s."""

    split: Split
    score: Score
    path: AbstractPath

    def __call__(self, t, x, c=None):
        return self.split(t, x, c) - 0.5 * rate(self.path.gamma2, t) * self.score(t, x, c)


class _NoiseFromVelocity(eqx.Module):
    """eta from b on a one-sided path."""

    velocity: Velocity
    path: AbstractOneSided

    def __call__(self, t, x, c=None):
        # The net is asked at t itself, so that b + eps s evaluates it once; only the division is kept off the ends.
        b, t = self.velocity(t, x, c), inner(t)
        alpha, beta = self.path.alpha(t), self.path.beta(t)
        alpha_dot, beta_dot = rate(self.path.alpha, t), rate(self.path.beta, t)
        return (beta * b - beta_dot * x) / (alpha_dot * beta - alpha * beta_dot)


class _VelocityFromNoise(eqx.Module):
    """b from eta on a one-sided path."""

    denoiser: Denoiser
    path: AbstractOneSided

    def __call__(self, t, x, c=None):
        eta, t = self.denoiser(t, x, c), inner(t)
        clean = (x - self.path.alpha(t) * eta) / self.path.beta(t)
        return rate(self.path.alpha, t) * eta + rate(self.path.beta, t) * clean


class _NoiseFromScore(eqx.Module):
    """eta = -level s."""

    score: Score
    path: AbstractPath

    def __call__(self, t, x, c=None):
        return -_level(self.path, t) * self.score(t, x, c)


def _level(path, t):
    return path.alpha(t) if isinstance(path, AbstractOneSided) else jnp.sqrt(path.gamma2(t))


def score_gain(path: AbstractOneSided, t: Time) -> Time:
    """db/ds = alpha (alpha beta'/beta - alpha'): how far the velocity moves when the score does, as in guidance."""
    alpha = path.alpha(t)
    return alpha * (alpha * rate(path.beta, t) / path.beta(t) - rate(path.alpha, t))


def one_sided(path: AbstractPath, coupling: AbstractCoupling) -> tuple[AbstractOneSided, Independent]:
    """The same two, known to be what makes velocity, score and denoiser determine one another.

    Raises:
        InputError: when they are not, saying what to learn instead.
    """
    if not isinstance(path, AbstractOneSided):
        raise InputError(
            f"{type(path).__name__} is not one-sided, so velocity and score do not determine one another; "
            "learn both (Fields(velocity=..., denoiser=...)), or use OneSided(path) with standard normal x0"
        )
    if not isinstance(coupling, Independent):
        raise InputError(
            f"the noise of a one-sided path is x0, and {type(coupling).__name__} makes x0 depend on x1, so no score "
            "follows; use the Independent() coupling, or a two-sided path with latent noise"
        )
    return path, coupling


def _checked(path, coupling):
    """A latent noise is independent of the pair whatever the coupling; x0 as noise is not."""
    return one_sided(path, coupling)[0] if isinstance(path, AbstractOneSided) else path


def score_from_denoiser(denoiser: Denoiser, path: AbstractPath, coupling: AbstractCoupling) -> Score:
    """s = -eta / gamma (two-sided, any coupling) or -eta / alpha (one-sided, independent coupling)."""
    return Score(_Scaled(denoiser, _checked(path, coupling)))


def denoiser_from_score(score: Score, path: AbstractPath, coupling: AbstractCoupling) -> Denoiser:
    """eta = -gamma s (two-sided, any coupling) or -alpha s (one-sided, independent coupling)."""
    return Denoiser(_NoiseFromScore(score, _checked(path, coupling)))


def velocity_from_split(split: Split, score: Score, path: AbstractPath) -> Velocity:
    """b = v - gamma gamma' s on a two-sided path, under any coupling."""
    if isinstance(path, AbstractOneSided):
        raise InputError("the split velocity belongs to two-sided paths; on a one-sided path learn b, s or eta")
    return Velocity(_FromSplit(split, score, path))


def denoiser_from_velocity(velocity: Velocity, path: AbstractOneSided, coupling: Independent) -> Denoiser:
    """eta = (beta b - beta' x)/(alpha' beta - alpha beta')."""
    return Denoiser(_NoiseFromVelocity(velocity, one_sided(path, coupling)[0]))


def score_from_velocity(velocity: Velocity, path: AbstractOneSided, coupling: Independent) -> Score:
    """The score that goes with a velocity: true on a one-sided path with an independent coupling, and only there."""
    path = one_sided(path, coupling)[0]
    return Score(_Scaled(_NoiseFromVelocity(velocity, path), path))


def velocity_from_denoiser(denoiser: Denoiser, path: AbstractOneSided, coupling: Independent) -> Velocity:
    """b = alpha' eta + (beta'/beta)(x - alpha eta)."""
    return Velocity(_VelocityFromNoise(denoiser, one_sided(path, coupling)[0]))
