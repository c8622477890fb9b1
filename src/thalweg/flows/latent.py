"""The latent noise gamma(t) of a two-sided interpolant, by its square.

Answers    how much noise is added between the two ends?
Equations  x_t = I(t, x0, x1) + gamma(t) z,  gamma(0) = gamma(1) = 0 < gamma  (2303.08797, def. 2.1 and table 8)
Symbols    gamma^2 -> square, gamma -> __call__
Why        gamma itself has an infinite slope at the ends (sqrt(t(1 - t))), while gamma^2 and gamma gamma' are smooth
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core import InputError, Time


class AbstractLatent(eqx.Module):
    """gamma(t), given by its square."""

    @abc.abstractmethod
    def square(self, t: Time) -> Time:
        """gamma(t)^2."""

    def __call__(self, t: Time) -> Time:
        """gamma(t)."""
        return jnp.sqrt(self.square(t))


class NoLatent(AbstractLatent):
    """gamma = 0: a plain (flow matching) interpolant."""

    def square(self, t):
        """Zero."""
        return jnp.zeros_like(t)


class Brownian(AbstractLatent):
    """gamma = sqrt(a t (1 - t)): the Brownian bridge; a = 2 epsilon for a bridge at temperature epsilon."""

    a: float = 1.0

    def __check_init__(self):
        if not self.a > 0:
            raise InputError(f"Brownian(a={self.a}): expected a positive variance rate; for no noise use NoLatent()")

    def square(self, t):
        """a t (1 - t)."""
        return self.a * t * (1 - t)


class Quadratic(AbstractLatent):
    """gamma = t (1 - t)."""

    def square(self, t):
        """t^2 (1 - t)^2."""
        return (t * (1 - t)) ** 2


class SineSquared(AbstractLatent):
    """gamma = sin^2(pi t)."""

    def square(self, t):
        """sin^4(pi t)."""
        return jnp.sin(jnp.pi * t) ** 4


class SigmoidDifference(AbstractLatent):
    """gamma = S(f(t - 1/2) + 1) - S(f(t - 1/2) - 1) - S(-f/2 + 1) + S(-f/2 - 1), with slope f and the logistic S."""

    slope: float = 10.0

    def square(self, t):
        """The square of the difference."""
        u, end = self.slope * (t - 0.5), -self.slope / 2
        bump = jax.nn.sigmoid(u + 1) - jax.nn.sigmoid(u - 1)
        return (bump - jax.nn.sigmoid(end + 1) + jax.nn.sigmoid(end - 1)) ** 2


class CustomLatent(AbstractLatent):
    """gamma^2 from a function of t; zero at both ends, positive between.

    Raises:
        InputError: when it is not, at build.
    """

    fn: Callable

    def __check_init__(self):
        ends = [float(self.fn(jnp.asarray(t))) for t in (0.0, 1.0)]
        middle = float(self.fn(jnp.asarray(0.5)))
        if max(map(abs, ends)) > 1e-6:
            raise InputError(f"gamma^2 is {ends[0]:g} at t = 0 and {ends[1]:g} at t = 1; expected zero at both ends")
        if not middle > 0:
            raise InputError(
                f"gamma^2 is {middle:g} at t = 1/2; expected a positive number (for no noise use NoLatent())"
            )

    def square(self, t):
        """The given function."""
        return self.fn(t)


LATENTS: dict[str, Callable[[], AbstractLatent]] = {
    "none": NoLatent,
    "brownian": Brownian,
    "quadratic": Quadratic,
    "sine-squared": SineSquared,
    "sigmoid": SigmoidDifference,
}
