"""Curved and many-welled densities whose every answer is known.

Answers    does a sampler find its way along a neck, round a bend, and between wells?
Equations  Funnel      x_1 ~ N(0, s^2),  x_i ~ N(0, e^{x_1})                                     (Neal 2003)
           Banana      x_1 ~ N(0, s^2),  x_2 ~ N(b (x_1^2 - s^2), 1)                             (Haario et al. 1999)
           ManyWell    U = sum_{i <= wells} (a x_i^4 - b x_i^2 - c x_i) + sum_{i > wells} x_i^2 / 2
Symbols    s -> spread, b -> bend, (a, b, c) -> quartic, quadratic, tilt
Cost       O(d); ManyWell's Z, moments and draws come from one quadrature in one dimension
Fails      a quartic that is not positive has no finite integral and is refused
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core.errors import InputError
from .density import AbstractDensity

_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)


class Funnel(AbstractDensity):
    """Neal's funnel: a neck of any narrowness and a mouth of any width; normalised.

    Fields:
        dim: d, at least 2.
        spread: standard deviation of the first coordinate, the log of the others' variance.
    """

    dim: int = eqx.field(static=True, default=10)
    spread: float = eqx.field(static=True, default=3.0)

    def __check_init__(self):
        if self.dim < 2 or not self.spread > 0:
            raise InputError(f"Funnel(dim={self.dim}, spread={self.spread}): expected dim >= 2 and spread > 0")

    @property
    def event(self):
        """(d,)."""
        return (self.dim,)

    def log_prob(self, x):
        """Normalised log density."""
        v, rest = x[0], x[1:]
        first = -0.5 * (v / self.spread) ** 2 - np.log(self.spread) - _LOG_ROOT_2PI
        return first - 0.5 * jnp.sum(rest**2) * jnp.exp(-v) - rest.size * (0.5 * v + _LOG_ROOT_2PI)

    @property
    def log_z(self):
        """Zero."""
        return jnp.zeros(())

    def sample(self, key, n):
        """Exact draws."""
        z = jax.random.normal(key, (n, self.dim))
        v = self.spread * z[:, :1]
        return jnp.concatenate([v, jnp.exp(0.5 * v) * z[:, 1:]], axis=1)

    @property
    def mean(self) -> Float[Array, " d"]:
        """The mean."""
        return jnp.zeros(self.dim)

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Diagonal: s^2, then E e^{x_1} = e^{s^2 / 2}."""
        return jnp.diag(jnp.full(self.dim, np.exp(0.5 * self.spread**2)).at[0].set(self.spread**2))


class Banana(AbstractDensity):
    """A Gaussian bent along its long axis; normalised, in two dimensions.

    Fields:
        bend: b; 0 is a Gaussian.
        spread: s, along the banana.
    """

    bend: float = eqx.field(static=True, default=0.1)
    spread: float = eqx.field(static=True, default=5.0)

    def __check_init__(self):
        if not self.spread > 0:
            raise InputError(f"Banana(spread={self.spread}): expected more than 0")

    @property
    def event(self):
        """(2,)."""
        return (2,)

    def log_prob(self, x):
        """Normalised log density."""
        across = x[1] - self.bend * (x[0] ** 2 - self.spread**2)
        return -0.5 * (x[0] / self.spread) ** 2 - np.log(self.spread) - 0.5 * across**2 - 2 * _LOG_ROOT_2PI

    @property
    def log_z(self):
        """Zero."""
        return jnp.zeros(())

    def sample(self, key, n):
        """Exact draws."""
        z = jax.random.normal(key, (n, 2))
        x = self.spread * z[:, 0]
        return jnp.stack([x, z[:, 1] + self.bend * (x**2 - self.spread**2)], axis=1)

    @property
    def mean(self) -> Float[Array, " 2"]:
        """The mean: zero in both coordinates, by the shift of the bend."""
        return jnp.zeros(2)

    @property
    def covariance(self) -> Float[Array, "2 2"]:
        """Diagonal: s^2 and 1 + 2 b^2 s^4; the bend shows in no second moment between them."""
        return jnp.diag(jnp.asarray([self.spread**2, 1 + 2 * self.bend**2 * self.spread**4]))


class ManyWell(AbstractDensity):
    """2^wells wells of unequal depth, in a product; the double well is `ManyWell(1, 1)`.

    Fields:
        dim: d.
        wells: how many coordinates have two wells; the others are standard normal.
        quartic, quadratic, tilt: a > 0, b, c of the energy above; c makes the wells unequal.
    """

    dim: int = eqx.field(static=True, default=8)
    wells: int = eqx.field(static=True, default=4)
    quartic: float = eqx.field(static=True, default=1.0)
    quadratic: float = eqx.field(static=True, default=6.0)
    tilt: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        if not 0 <= self.wells <= self.dim or self.dim < 1:
            raise InputError(f"ManyWell(dim={self.dim}, wells={self.wells}): expected 0 <= wells <= dim, dim >= 1")
        if not self.quartic > 0:
            raise InputError(f"ManyWell(quartic={self.quartic}): expected more than 0, or there is no finite integral")

    @property
    def event(self):
        """(d,)."""
        return (self.dim,)

    def log_prob(self, x):
        """-U(x)."""
        y, rest = x[: self.wells], x[self.wells :]
        return -jnp.sum(self._energy(y)) - 0.5 * jnp.sum(rest**2)

    def _energy(self, y):
        return self.quartic * y**4 - self.quadratic * y**2 - self.tilt * y

    def _table(self):
        # The energy exceeds its minimum by more than 60 outside; a trapezoidal rule converges exponentially there.
        reach = np.sqrt(abs(self.quadratic) / self.quartic) + (80 / self.quartic) ** 0.25 + abs(self.tilt) + 1
        y = np.linspace(-reach, reach, 20_001)
        log_p = -self._energy(y)
        return y, log_p, np.exp(log_p - log_p.max())

    @property
    def log_z(self):
        """By quadrature: each welled coordinate has the same factor."""
        y, log_p, p = self._table()
        one = np.log(np.sum(p) * (y[1] - y[0])) + log_p.max()
        return jnp.asarray(self.wells * one + (self.dim - self.wells) * 0.5 * np.log(2 * np.pi))

    @property
    def mean(self) -> Float[Array, " d"]:
        """The mean, by quadrature."""
        y, _, p = self._table()
        return jnp.zeros(self.dim).at[: self.wells].set(float(np.sum(y * p) / np.sum(p)))

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Diagonal, by quadrature."""
        y, _, p = self._table()
        mean = np.sum(y * p) / np.sum(p)
        return jnp.diag(jnp.ones(self.dim).at[: self.wells].set(float(np.sum((y - mean) ** 2 * p) / np.sum(p))))

    @property
    def right(self) -> Float[Array, ""]:
        """The probability of y > 0, the right well of each welled coordinate: what a sampler stuck in a well misses."""
        y, _, p = self._table()
        return jnp.asarray(np.sum(p[y > 0]) / np.sum(p))

    def sample(self, key, n):
        """Draws through the inverse of the tabled distribution function."""
        y, _, p = self._table()
        c = np.cumsum(p)
        welled, rest = jax.random.split(key)
        u = jax.random.uniform(welled, (n, self.wells))
        drawn = jnp.interp(u, jnp.asarray(c / c[-1]), jnp.asarray(y, u.dtype))
        return jnp.concatenate([drawn, jax.random.normal(rest, (n, self.dim - self.wells))], axis=1)
