"""Paths between two points: what the density is carried along.

Answers    where is the particle at time t, given where it starts and ends?
Equations  x_t = alpha(t) x0 + beta(t) x1 + gamma(t) z,   alpha(0) = beta(1) = 1, alpha(1) = beta(0) = 0
           one-sided: x_t = alpha(t) z + beta(t) x1, x0 = z standard normal         (2303.08797, defs 2.1, 3.1 and 4.1)
Symbols    alpha, beta -> the same; gamma^2 -> gamma2 (see `latent`); derivatives in t by forward mode
Time       0 is the base, 1 is the data. `DiffusionPath` turns a noising process, whose own time runs the other way
           (s = 1 - t), into a one-sided path.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core import AbstractAffine, InputError, Paper, Point, Time
from ..processes import VE, VP, SubVP
from .latent import AbstractLatent, Brownian, NoLatent, SineSquared

paper = Paper(
    "stochastic-interpolants",
    "Stochastic Interpolants: A Unifying Framework for Flows and Diffusions",
    "2303.08797",
    2023,
    "defs 2.1, 3.1, 4.1; (2.9)-(2.13), (2.32), (2.35)",
    "reproduced",
)


def rate(fn: Callable, t: Time) -> Time:
    """The time derivative of a scalar schedule."""
    return jax.jvp(fn, (t,), (jnp.ones_like(t),))[1]


class Frame(eqx.Module):
    """One point of a path and how it moves: x = mean + gamma z."""

    mean: Point
    mean_dot: Point
    gamma: Time
    gamma_dot: Time


class AbstractPath(eqx.Module):
    """A path x_t = mean(t, x0, x1) + gamma(t) z."""

    @abc.abstractmethod
    def mean(self, t: Time, x0: Point, x1: Point) -> Point:
        """The noise-free part, I(t, x0, x1)."""

    @abc.abstractmethod
    def gamma2(self, t: Time) -> Time:
        """The square of the latent noise."""

    def frame(self, t: Time, x0: Point, x1: Point) -> Frame:
        """The path and its rate at one time. The slope of gamma is infinite at the ends of some latents."""
        mean, mean_dot = jax.jvp(lambda s: self.mean(s, x0, x1), (t,), (jnp.ones_like(t),))
        square, square_dot = jax.jvp(self.gamma2, (t,), (jnp.ones_like(t),))
        gamma = jnp.sqrt(square)
        gamma_dot = jnp.where(square > 0, square_dot / (2 * jnp.where(square > 0, gamma, 1.0)), 0.0)
        return Frame(mean, mean_dot, gamma, gamma_dot)


class AbstractLinearPath(AbstractPath):
    """A spatially linear path: mean = alpha x0 + beta x1."""

    @abc.abstractmethod
    def alpha(self, t: Time) -> Time:
        """The weight of x0."""

    @abc.abstractmethod
    def beta(self, t: Time) -> Time:
        """The weight of x1."""

    def mean(self, t, x0, x1):
        """alpha x0 + beta x1."""
        return self.alpha(t) * x0 + self.beta(t) * x1


class Linear(AbstractLinearPath):
    """alpha = 1 - t, beta = t."""

    latent: AbstractLatent = NoLatent()

    def alpha(self, t):
        """1 - t."""
        return 1 - t

    def beta(self, t):
        """t."""
        return t

    def gamma2(self, t):
        """The latent's square."""
        return self.latent.square(t)


class Trigonometric(AbstractLinearPath):
    """alpha = sqrt(1 - gamma^2) cos(pi t/2), beta = sqrt(1 - gamma^2) sin(pi t/2): keeps unit variance."""

    latent: AbstractLatent = NoLatent()

    def __check_init__(self):
        largest = float(jnp.max(jax.vmap(self.latent.square)(jnp.linspace(0.0, 1.0, 65))))
        if largest > 1:
            raise InputError(
                f"Trigonometric: gamma^2 reaches {largest:.3g}; expected at most 1 (alpha = sqrt(1 - gamma^2) cos). "
                "Use a smaller latent or Linear"
            )

    def alpha(self, t):
        """sqrt(1 - gamma^2) cos(pi t/2)."""
        return jnp.sqrt(1 - self.latent.square(t)) * jnp.cos(jnp.pi * t / 2)

    def beta(self, t):
        """sqrt(1 - gamma^2) sin(pi t/2)."""
        return jnp.sqrt(1 - self.latent.square(t)) * jnp.sin(jnp.pi * t / 2)

    def gamma2(self, t):
        """The latent's square."""
        return self.latent.square(t)


class EncodingDecoding(AbstractLinearPath):
    """alpha = cos^2(pi t) before t = 1/2, beta = cos^2(pi t) after, gamma = sin^2(pi t): pure noise half way."""

    def alpha(self, t):
        """cos^2(pi t) up to one half, then 0."""
        return jnp.where(t < 0.5, jnp.cos(jnp.pi * t) ** 2, 0.0)

    def beta(self, t):
        """0 up to one half, then cos^2(pi t)."""
        return jnp.where(t > 0.5, jnp.cos(jnp.pi * t) ** 2, 0.0)

    def gamma2(self, t):
        """sin^4(pi t)."""
        return SineSquared().square(t)


class Mirror(AbstractLinearPath):
    """x_t = x1 + gamma(t) z: noise added to the data and taken away; x0 plays no part, so b = gamma' eta."""

    latent: AbstractLatent = Brownian()

    def __check_init__(self):
        if isinstance(self.latent, NoLatent):
            raise InputError("Mirror(latent=NoLatent()) does not move; give it a latent such as Brownian()")

    def alpha(self, t):
        """Zero."""
        return jnp.zeros_like(t)

    def beta(self, t):
        """One."""
        return jnp.ones_like(t)

    def gamma2(self, t):
        """The latent's square."""
        return self.latent.square(t)


class Custom(AbstractLinearPath):
    """A spatially linear path from two functions of t; the ends are checked at build."""

    alpha_fn: Callable
    beta_fn: Callable
    latent: AbstractLatent = NoLatent()

    def __check_init__(self):
        for name, fn, ends in (("alpha", self.alpha_fn, (1.0, 0.0)), ("beta", self.beta_fn, (0.0, 1.0))):
            for t, expected in zip((0.0, 1.0), ends, strict=True):
                got = float(fn(jnp.asarray(t)))
                if not abs(got - expected) < 1e-5:
                    raise InputError(f"Custom: {name}({t:g}) is {got:g}; expected {expected:g}")

    def alpha(self, t):
        """The given function."""
        return self.alpha_fn(t)

    def beta(self, t):
        """The given function."""
        return self.beta_fn(t)

    def gamma2(self, t):
        """The latent's square."""
        return self.latent.square(t)


class AbstractOneSided(AbstractLinearPath):
    """A path whose x0 is standard normal noise, so that velocity, score and denoiser determine one another."""

    def gamma2(self, t):
        """Zero: the noise is x0 itself."""
        return jnp.zeros_like(t)


class OneSided(AbstractOneSided):
    """Read a spatially linear path without latent noise as one-sided: its x0 is standard normal."""

    path: AbstractLinearPath

    def __check_init__(self):
        latent = getattr(self.path, "latent", None)
        if isinstance(self.path, EncodingDecoding | Mirror) or not isinstance(latent, NoLatent):
            raise InputError("OneSided(path): the path has latent noise of its own; expected one with NoLatent()")

    def alpha(self, t):
        """The path's alpha."""
        return self.path.alpha(t)

    def beta(self, t):
        """The path's beta."""
        return self.path.beta(t)


class DiffusionPath(AbstractOneSided):
    """The noising of an affine process, read from noise to data: alpha = std(1 - t), beta = scale(1 - t).

    The ends are met as well as the process meets them: a trace of the data is left at t = 0.
    """

    process: AbstractAffine
    # The paper's smallest time: the slope of std is infinite at zero.
    earliest: float = 1e-5

    def alpha(self, t):
        """The process's standard deviation."""
        return self.process.std(jnp.maximum(1 - t, self.earliest))

    def beta(self, t):
        """The process's factor on the data."""
        return self.process.scale(jnp.maximum(1 - t, self.earliest))


# What the command line calls them; each takes a latent, except those whose noise is fixed.
TWO_SIDED: dict[str, Callable[..., AbstractLinearPath]] = {
    "linear": Linear,
    "trigonometric": Trigonometric,
    "encoding-decoding": EncodingDecoding,
    "mirror": Mirror,
}
DIFFUSIONS: dict[str, Callable[[], AbstractAffine]] = {"vp": VP, "ve": VE, "sub-vp": SubVP}
