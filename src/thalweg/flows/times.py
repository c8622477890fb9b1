"""Which times a model is trained at.

Answers    how is t drawn, and with which weight does its loss count?
Equations  E_{t ~ U} [l(t)] = E_{t ~ p} [l(t) / p(t)]
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core import InputError, Key, Times


class AbstractTimes(eqx.Module):
    """Draws times and the weights of their losses."""

    @abc.abstractmethod
    def __call__(self, n: int, *, key: Key) -> tuple[Times, Times]:
        """`n` independent times in [0, 1] and their weights."""


class Uniform(AbstractTimes):
    """Uniform on [lo, hi], weight one.

    The ends are kept a little off 0 and 1 by default: there some targets (z/gamma) are infinite.
    """

    lo: float = 1e-4
    hi: float = 1 - 1e-4

    def __check_init__(self):
        if not 0 <= self.lo < self.hi <= 1:
            raise InputError(f"Uniform(lo={self.lo}, hi={self.hi}): expected 0 <= lo < hi <= 1")

    def __call__(self, n, *, key):
        """`n` times, each of weight one."""
        return jax.random.uniform(key, (n,), minval=self.lo, maxval=self.hi), jnp.ones(n)


class LogitNormal(AbstractTimes):
    """logit t ~ N(mean, std^2), weight one: trains the middle more than the ends."""

    mean: float = 0.0
    std: float = 1.0

    def __check_init__(self):
        if not self.std > 0:
            raise InputError(f"LogitNormal(std={self.std}): expected a positive number")

    def __call__(self, n, *, key):
        """`n` times, each of weight one."""
        return jax.nn.sigmoid(self.mean + self.std * jax.random.normal(key, (n,))), jnp.ones(n)


class BetaTimes(AbstractTimes):
    """t ~ Beta(a, b), kept `edge` off both ends, weight one. t = 1 is the data."""

    a: float = 1.0
    b: float = 1.0
    edge: float = 1e-5

    def __check_init__(self):
        if not (self.a > 0 and self.b > 0):
            raise InputError(f"BetaTimes(a={self.a}, b={self.b}): expected positive shapes")

    def __call__(self, n, *, key):
        """`n` times, each of weight one."""
        t = jax.random.beta(key, self.a, self.b, (n,))
        return jnp.clip(t, self.edge, 1 - self.edge), jnp.ones(n)


class Reweighted(AbstractTimes):
    """The uniform-time loss, estimated from `LogitNormal` times: each loss is divided by the density of its time.

    A defensive share of uniform times keeps the weights below 1/share.
    """

    times: LogitNormal
    share: float = 0.1

    def __check_init__(self):
        if not 0 < self.share <= 1:
            raise InputError(f"Reweighted(share={self.share}): expected a share in (0, 1]")

    def __call__(self, n, *, key):
        """`n` times and 1/p(t)."""
        which, first, second = jax.random.split(key, 3)
        uniform = jax.random.uniform(first, (n,), minval=1e-4, maxval=1 - 1e-4)
        t = jnp.where(jax.random.bernoulli(which, self.share, (n,)), uniform, self.times(n, key=second)[0])
        t = jnp.clip(t, 1e-4, 1 - 1e-4)
        logit = jnp.log(t) - jnp.log1p(-t)
        normal = jax.scipy.stats.norm.pdf(logit, self.times.mean, self.times.std) / (t * (1 - t))
        return t, 1 / (self.share + (1 - self.share) * normal)
