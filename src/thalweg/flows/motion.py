"""The processes that move samples along a learned transport.

Answers    which ODE or SDE has the interpolant's density as its marginals?
Equations  dX = b dt                                   probability flow
           dX = (b + eps s) dt + sqrt(2 eps) dW        forward, any eps(t) >= 0
           dX = (b - eps s) dt + sqrt(2 eps) dW  backward in time, from t = 1  (2303.08797, thm 2.6, cor. 2.10)
Symbols    b -> velocity, s -> score, eps -> noise, eta -> denoiser
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from ..core import AbstractProcess, Cloud, Denoiser, InputError, Score, Time, Velocity
from ..processes import AbstractODE
from .path import AbstractOneSided, AbstractPath


class AbstractNoise(eqx.Module):
    """eps(t) >= 0: how much noise the SDE is run with."""

    @abc.abstractmethod
    def __call__(self, t: Time) -> Time:
        """eps(t), in squared units of the model per unit of time."""


class ConstantNoise(AbstractNoise):
    """eps(t) = eps."""

    eps: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        _not_negative(self.eps)

    def __call__(self, t):
        """eps."""
        return jnp.broadcast_to(self.eps, jnp.shape(t)).astype(t.dtype)


class VanishingNoise(AbstractNoise):
    """eps(t) = eps alpha(t): dies out where the score of a one-sided path grows like 1/alpha."""

    eps: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    path: AbstractOneSided

    def __check_init__(self):
        _not_negative(self.eps)

    def __call__(self, t):
        """eps alpha(t)."""
        return (self.eps * self.path.alpha(t)).astype(t.dtype)


class CustomNoise(AbstractNoise):
    """eps(t) from a function."""

    fn: Callable

    def __check_init__(self):
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            got = float(self.fn(jnp.asarray(t)))
            if not got >= 0:
                raise InputError(f"eps({t:g}) is {got:g}; expected a number of at least 0")

    def __call__(self, t):
        """The given function."""
        return jnp.asarray(self.fn(t), t.dtype)


def _not_negative(eps):
    if not isinstance(eps, Tracer) and not float(eps) >= 0:
        raise InputError(f"eps is {float(eps):g}; expected a number of at least 0")


class AbstractMotion(AbstractProcess):
    """What carries the density: the fields, the path whose schedule solvers need, the particles' conditions."""

    velocity: eqx.AbstractVar[Velocity]
    path: eqx.AbstractVar[AbstractPath]
    score: eqx.AbstractVar[Score | None]
    denoiser: eqx.AbstractVar[Denoiser | None]
    c: eqx.AbstractVar[Array | None]

    def drifts(self, t, x):
        """The drift at every particle, each under its own condition."""
        return self.each(self.drift, t, x)

    def alone(self):
        """The drift and each particle's condition."""
        return self.drift, self.c

    def each(self, field: Callable, t: Time, x: Cloud) -> Cloud:
        """Any field at every particle, each under its own condition."""
        if self.c is None:
            return jax.vmap(lambda point: field(t, point))(x)
        return jax.vmap(lambda point, c: field(t, point, c))(x, self.c)


class FlowODE(AbstractMotion, AbstractODE):
    """The probability flow dX = b dt.

    Fields:
        velocity: b.
        path: the interpolant.
        score, denoiser: s and eta where they are known, for the solvers that use them.
        c: one condition a particle (n, ...), or None.
    """

    velocity: Velocity
    path: AbstractPath
    score: Score | None = None
    denoiser: Denoiser | None = None
    c: Array | None = None

    def drift(self, t, x, c=None):
        """b at one point."""
        return self.velocity(t, x, c)


class FlowSDE(AbstractMotion):
    """dX = (b + eps s) dt + sqrt(2 eps) dW forward, or with b - eps s backward in time.

    Fields:
        velocity, score: b and s.
        noise: eps(t).
        path, denoiser, c: as for `FlowODE`.
        backward: whether times decrease, which turns the sign of the score's part.
    """

    velocity: Velocity
    path: AbstractPath
    score: Score
    noise: AbstractNoise
    denoiser: Denoiser | None = None
    c: Array | None = None
    backward: bool = eqx.field(static=True, default=False)

    def drift(self, t, x, c=None):
        """b +- eps s at one point."""
        pull = self.noise(t) * self.score(t, x, c)
        b = self.velocity(t, x, c)
        return b - pull if self.backward else b + pull

    def diffusion(self, t, x):
        """sqrt(2 eps)."""
        return jnp.sqrt(2 * self.noise(t)).astype(x.dtype)
