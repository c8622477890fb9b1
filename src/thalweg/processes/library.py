"""Processes with closed forms: the exact answers that the numerical methods are held against.

Answers    which law does X_t have, given X_s?
Equations  ODE                 dX = v(t, X) dt
           OU                  dX = -theta (X - mu) dt + sigma dW
               X_t = e^(-theta h) X_s + (1 - e^(-theta h)) mu + sqrt(sigma^2 (1 - e^(-2 theta h)) / (2 theta)) z
           GeometricBrownian   dX = mu X dt + sigma X dW,   X_t = X_s exp((mu - sigma^2/2) h + sigma sqrt(h) z)
Symbols    h = t - s >= 0, z -> a standard normal of the point's shape
Cost       a transition costs one exponential a coordinate, at any h
Fails      a transition back in time (t < s) has no such law and gives NaN
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractAffine, AbstractProcess
from ..core.checks import at_least_zero, finite, real


class AbstractODE(AbstractProcess):
    """A process without noise: the only kind that the deterministic methods take."""

    def diffusion(self, t, x):
        """Zero."""
        return jnp.zeros((), x.dtype)


class ODE(AbstractODE):
    """No noise at all: dX = velocity(t, X) dt."""

    velocity: Callable

    def drift(self, t, x):
        """The velocity at one point."""
        return self.velocity(t, x)


class AbstractExact(AbstractProcess):
    """A process whose transitions can be drawn exactly, over any length of time."""

    @abc.abstractmethod
    def transition(self, s, t, x, z) -> Float[Array, "*event"]:
        """Where a standard normal `z` carries the point `x` from time `s` to the later time `t`; exact in law."""

    def sample_at(self, t, x, *, key, s=0.0) -> Float[Array, "*event"]:
        """Draw X_t for one point, given X_s = x."""
        return self.transition(s, t, x, jax.random.normal(key, x.shape, x.dtype))


class AbstractGaussian(AbstractAffine, AbstractExact):
    """A process that is Gaussian given any earlier point: X_t = factor X_s + shift + std z.

    `scale(t)`, `shift(t)` and `std(t)` are those given X_0. They have the shape of the parameters: numbers for the
    noising processes, arrays of the event's shape where a parameter has one value a coordinate.
    """

    @abc.abstractmethod
    def between(self, s, t) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """(factor, shift, std) of X_t given X_s, without cancellation when t is close to s."""

    def scale(self, t) -> Float[Array, "..."]:
        """The factor on the starting point, one at t = 0."""
        return self.between(0.0, t)[0]

    def shift(self, t) -> Float[Array, "..."]:
        """What is added to the scaled starting point, zero at t = 0."""
        return self.between(0.0, t)[1]

    def std(self, t) -> Float[Array, "..."]:
        """The standard deviation given the starting point, zero at t = 0."""
        return self.between(0.0, t)[2]

    def mean(self, t, x0) -> Float[Array, "*event"]:
        """E[X_t | X_0 = x0] for one point."""
        factor, shift, _ = self.between(0.0, t)
        return (factor * x0 + shift).astype(x0.dtype)

    def transition(self, s, t, x, z):
        """Where `z` carries `x`: factor x + shift + std z."""
        factor, shift, std = self.between(s, t)
        return (factor * x + shift + std * z).astype(x.dtype)


class OU(AbstractGaussian):
    """The Ornstein-Uhlenbeck process, a coordinate at a time.

    Fields:
        theta: rate of return, 1/time; 0 gives Brownian motion, a negative rate an unstable process.
        mu: where it returns to.
        sigma: coefficient of the noise, at least 0; the stationary variance is sigma^2 / (2 theta).

    Each is a number or an array of the event's shape.
    """

    theta: Float[Array, "..."] = eqx.field(converter=real, default=1.0)
    mu: Float[Array, "..."] = eqx.field(converter=real, default=0.0)
    sigma: Float[Array, "..."] = eqx.field(converter=real, default=1.0)

    def __check_init__(self):
        finite("OU", "theta", self.theta)
        finite("OU", "mu", self.mu)
        at_least_zero("OU", "sigma", self.sigma, "only its square matters, so give its size")

    def drift(self, t, x):
        """-theta (x - mu)."""
        return self.theta * (self.mu - x)

    def diffusion(self, t, x):
        """sigma."""
        return self.sigma

    def between(self, s, t):
        """(factor, shift, std) of X_t given X_s."""
        h = t - s
        lost = -jnp.expm1(-self.theta * h)
        return 1 - lost, lost * self.mu, self.sigma * jnp.sqrt(h * _decay_mean(2 * self.theta * h))


class GeometricBrownian(AbstractExact):
    """Geometric Brownian motion; positive when it starts so, and log-normal.

    Fields:
        mu: growth rate of the mean, 1/time.
        sigma: volatility, at least 0.

    Each is a number or an array of the event's shape.
    """

    mu: Float[Array, "..."] = eqx.field(converter=real, default=0.0)
    sigma: Float[Array, "..."] = eqx.field(converter=real, default=1.0)

    def __check_init__(self):
        finite("GeometricBrownian", "mu", self.mu)
        at_least_zero("GeometricBrownian", "sigma", self.sigma, "only its square matters, so give its size")

    def drift(self, t, x):
        """Mu x."""
        return self.mu * x

    def diffusion(self, t, x):
        """Sigma x."""
        return self.sigma * x

    def log_mean(self, t, x0) -> Float[Array, "*event"]:
        """E[log X_t | X_0 = x0], for x0 > 0."""
        return jnp.log(x0) + (self.mu - self.sigma**2 / 2) * t

    def log_std(self, t) -> Float[Array, "..."]:
        """Standard deviation of log X_t given X_0."""
        return self.sigma * jnp.sqrt(t)

    def mean(self, t, x0) -> Float[Array, "*event"]:
        """E[X_t | X_0 = x0] for one point."""
        return x0 * jnp.exp(self.mu * t)

    def transition(self, s, t, x, z):
        """Where `z` carries `x`: x exp((mu - sigma^2/2) h + sigma sqrt(h) z)."""
        h = t - s
        grown = jnp.exp((self.mu - self.sigma**2 / 2) * h + self.sigma * jnp.sqrt(h) * z)
        return (x * grown).astype(x.dtype)


def _decay_mean(a):
    """(1 - e^-a) / a, the mean of e^-u over u in [0, a]; one at a = 0, with finite derivatives there."""
    near = jnp.abs(a) < 1e-3
    safe = jnp.where(near, 1.0, a)
    return jnp.where(near, 1 - a / 2 + a**2 / 6, -jnp.expm1(-safe) / safe)
