"""The noising processes of score-based models: VP, VE and sub-VP.

TIME HERE IS THE PAPER'S FORWARD TIME s: 0 IS DATA AND 1 IS NOISE. Everywhere else in the library t = 0 is the base
and t = 1 the data, so t = 1 - s; the paths of `thalweg.flows` make that translation, and nothing in this file does.

Answers    how is a data point turned into noise, and what is its law at each s?
Equations  VP      dX = -beta/2 X ds + sqrt(beta) dW              scale e^(-B/2)   std sqrt(1 - e^-B)
           sub-VP  dX = -beta/2 X ds + sqrt(beta (1 - e^-2B)) dW  scale e^(-B/2)   std 1 - e^-B
           VE      dX = g dW,  g = sigma_s sqrt(2 log(sigma_max/sigma_min))
                   scale 1     std sqrt(sigma_s^2 - sigma_0^2),  sigma_s = sigma_min (sigma_max/sigma_min)^s
           beta = beta0 + s (beta1 - beta0),  B = beta0 s + s^2 (beta1 - beta0) / 2
Symbols    s -> the argument `t` that every process takes first; B -> `_integral`
Cost       a few exponentials a call
Fails      a transition back in time gives NaN. The score's target z/std is infinite at s = 0: start at s > 0

Departure: the paper's std for VE is sigma_s, as if the data already had a noise of sigma_min at s = 0. Given X_0 the
process of the equation has sqrt(sigma_s^2 - sigma_min^2), which is zero at s = 0 as for any process. The two differ
by less than 1e-4 relative once sigma_s > 71 sigma_min.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import InputError, Paper
from ..core.checks import at_least_zero, known, positive, real, show
from .library import AbstractGaussian

SCORE_SDE = Paper(
    "score-sde",
    title="Score-Based Generative Modeling through Stochastic Differential Equations",
    arxiv="2011.13456",
    year=2021,
    eqs="25-30",
    maturity="reproduced",
)


class VP(AbstractGaussian):
    """Variance preserving: noise comes in as the data shrinks, so that unit variance stays unit variance.

    Fields:
        beta0, beta1: noising rate at s = 0 and at s = 1, linear in between; at least 0.
    """

    paper: ClassVar[Paper] = SCORE_SDE
    beta0: Float[Array, ""] = eqx.field(converter=real, default=0.1)
    beta1: Float[Array, ""] = eqx.field(converter=real, default=20.0)

    def __check_init__(self):
        _check_rates("VP", self)

    def drift(self, t, x):
        """-beta/2 x."""
        return -0.5 * _rate(self, t) * x

    def diffusion(self, t, x):
        """sqrt(beta)."""
        return jnp.sqrt(_rate(self, t))

    def between(self, s, t):
        """(factor, shift, std) of X_t given X_s."""
        b = _integral(self, s, t)
        return jnp.exp(-b / 2), jnp.zeros_like(b), jnp.sqrt(-jnp.expm1(-b))


class SubVP(AbstractGaussian):
    """Sub-variance preserving: VP's shrinking with less noise, for better likelihoods.

    Fields:
        beta0, beta1: noising rate at s = 0 and at s = 1, linear in between; at least 0.
    """

    paper: ClassVar[Paper] = SCORE_SDE
    beta0: Float[Array, ""] = eqx.field(converter=real, default=0.1)
    beta1: Float[Array, ""] = eqx.field(converter=real, default=20.0)

    def __check_init__(self):
        _check_rates("SubVP", self)

    def drift(self, t, x):
        """-beta/2 x."""
        return -0.5 * _rate(self, t) * x

    def diffusion(self, t, x):
        """sqrt(beta (1 - e^-2B))."""
        return jnp.sqrt(_rate(self, t) * -jnp.expm1(-2 * _integral(self, 0.0, t)))

    def between(self, s, t):
        """(factor, shift, std) of X_t given X_s."""
        before, b = _integral(self, 0.0, s), _integral(self, s, t)
        # (1 - aq)^2 - q (1 - a)^2 = (1 - q)(1 - a^2 q) with a = e^-before, q = e^-b: nothing cancels.
        variance = jnp.expm1(-b) * jnp.expm1(-(2 * before + b))
        return jnp.exp(-b / 2), jnp.zeros_like(b), jnp.sqrt(variance)


class VE(AbstractGaussian):
    """Variance exploding: the data stays where it is and noise piles up on it, geometrically in s.

    Fields:
        sigma_min: scale of the first noise; above 0, far below the spacing of the data.
        sigma_max: scale of the last noise; above the data's diameter, so that the data no longer shows.
    """

    paper: ClassVar[Paper] = SCORE_SDE
    sigma_min: Float[Array, ""] = eqx.field(converter=real, default=0.01)
    sigma_max: Float[Array, ""] = eqx.field(converter=real, default=50.0)

    def __check_init__(self):
        positive("VE", "sigma_min", self.sigma_min, "the schedule is geometric, so it cannot start at 0")
        low, high = known(self.sigma_min), known(self.sigma_max)
        if low is not None and high is not None and not (low < high).all():
            raise InputError(
                f"VE(sigma_min={show(low)}, sigma_max={show(high)}): expected sigma_min < sigma_max; "
                "take sigma_max above the data's diameter"
            )

    def sigma(self, t) -> Float[Array, ""]:
        """The schedule sigma_min (sigma_max/sigma_min)^s: the paper's std, with sigma_min counted as data noise."""
        return self.sigma_min * jnp.exp(t * self._log_ratio())

    def drift(self, t, x):
        """Zero."""
        return jnp.zeros_like(x)

    def diffusion(self, t, x):
        """sigma_s sqrt(2 log(sigma_max/sigma_min))."""
        return self.sigma(t) * jnp.sqrt(2 * self._log_ratio())

    def between(self, s, t):
        """(factor, shift, std) of X_t given X_s."""
        std = self.sigma(s) * jnp.sqrt(jnp.expm1(2 * (t - s) * self._log_ratio()))
        return jnp.ones_like(std), jnp.zeros_like(std), std

    def _log_ratio(self):
        return jnp.log(self.sigma_max / self.sigma_min)


def _rate(process, t):
    return process.beta0 + t * (process.beta1 - process.beta0)


def _integral(process, s, t):
    # The integral of beta from s to t by the midpoint, exact for a linear rate and free of cancellation.
    return (t - s) * _rate(process, (s + t) / 2)


def _check_rates(owner, process):
    for name in ("beta0", "beta1"):
        at_least_zero(owner, name, getattr(process, name), "the noising rate is a variance per unit of time")
    low, high = known(process.beta0), known(process.beta1)
    if low is not None and high is not None and not (low + high > 0).all():
        raise InputError(f"{owner}(beta0=0, beta1=0): expected some noise; the paper's values are 0.1 and 20")
