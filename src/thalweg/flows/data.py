"""From arrays to batches: sources, targets, units, and the sampler that `Fit` draws from.

Answers    what does one training batch look like, in which units, and how does one get back?
Equations  y = (x + u q - shift) / scale, u uniform in [-1/2, 1/2): data on a grid of step q are made continuous,
           so that they have a density, and the mass of a cell is the probability of its value (`snap` goes back)
Symbols    q -> quantum
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core import Cloud, InputError, Key, Point
from .coupling import AbstractCoupling, Paired
from .matching import Pair


class Units(eqx.Module):
    """The affine map between the data's units and the model's, with an optional grid.

    Fields:
        shift, scale: broadcastable to an event; scale is positive.
        quantum: step of the data's grid, or None for continuous data.
        bounds: least and largest value of the data, or None.
    """

    shift: Float[Array, "..."]
    scale: Float[Array, "..."]
    quantum: float | None = None
    bounds: tuple[float, float] | None = None

    @classmethod
    def of(cls, x: np.ndarray, *, quantum=None, bounds=None, per_feature: bool | None = None) -> "Units":
        """Zero mean and unit variance: per feature for tables, one number for images (events of two or more axes)."""
        per_feature = x.ndim <= 2 if per_feature is None else per_feature
        x = x.astype(np.float64)
        spread = 0.0 if quantum is None else quantum**2 / 12
        shift = x.mean(0) if per_feature else x.mean()
        scale = np.sqrt((x.var(0) if per_feature else x.var()) + spread)
        if not np.all(scale > 0):
            where = f"column {int(np.argmin(scale))}" if per_feature and np.ndim(scale) else "every entry"
            raise InputError(f"{where} is constant, so its distribution has no density; drop it")
        return cls(jnp.asarray(shift, jnp.float32), jnp.asarray(scale, jnp.float32), quantum, bounds)

    def encode(self, x: Cloud, *, key: Key | None = None) -> Cloud:
        """To the model's units; data on a grid are spread over their cells when a key is given."""
        if self.quantum is not None and key is not None:
            x = x + self.quantum * jax.random.uniform(key, x.shape, jnp.float32, -0.5, 0.5)
        return (x - self.shift) / self.scale

    def decode(self, y: Cloud) -> Cloud:
        """Back to the data's units; continuous, also for data on a grid."""
        return y * self.scale + self.shift

    def snap(self, x: Cloud) -> Cloud:
        """To the nearest value that the data could have: on the grid and within the bounds.

        Values that fall outside the bounds pile up there, so measure distances before snapping, not after.
        """
        x = x if self.quantum is None else self.quantum * jnp.round(x / self.quantum)
        return x if self.bounds is None else jnp.clip(x, *self.bounds)

    def log_volume(self, event: tuple[int, ...]) -> Float[Array, ""]:
        """log |dy/dx| of one event: add it to a density in the model's units to have one in the data's."""
        return -jnp.sum(jnp.log(jnp.broadcast_to(self.scale, event)))


class AbstractSource(eqx.Module):
    """Draws of x0, in the model's units."""

    @abc.abstractmethod
    def sample(self, n: int, *, key: Key) -> Cloud:
        """(n, *event)."""


class Gaussian(AbstractSource):
    """N(0, std^2) of a given event shape; its density is known, so likelihoods are."""

    event: tuple[int, ...]
    std: float = 1.0

    def sample(self, n, *, key):
        """(n, *event)."""
        return self.std * jax.random.normal(key, (n, *self.event))

    def log_prob(self, x: Point) -> Float[Array, ""]:
        """log density at one point."""
        size = x.size
        return -0.5 * jnp.sum((x / self.std) ** 2) - size * (jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi))


class Empirical(AbstractSource):
    """Rows of a data set, drawn with replacement; its density is not known."""

    x: Float[Array, "n *event"]

    def sample(self, n, *, key):
        """(n, *event)."""
        return self.x[jax.random.randint(key, (n,), 0, self.x.shape[0])]


class Pairs(eqx.Module):
    """The problem of a transport: `key -> Pair`, with rows drawn, spread over their cells, and coupled.

    Fields:
        source: draws of x0.
        target: all training data, in the data's units.
        c: conditions of the target's rows, or None.
        units: the map to the model's units.
        coupling: how a batch is paired.
        batch: rows a batch.
        drop: share of rows whose condition is replaced by the null one (-1 or NaN), for classifier-free guidance.
    """

    source: AbstractSource
    target: Float[Array, "n *event"]
    c: Array | None
    units: Units
    coupling: AbstractCoupling
    batch: int = eqx.field(static=True, default=256)
    drop: float = 0.0

    def __check_init__(self):
        if self.batch < 1:
            raise InputError(f"Pairs(batch={self.batch}): expected at least 1")
        if self.c is not None and self.c.shape[0] != self.target.shape[0]:
            raise InputError(
                f"{self.target.shape[0]} rows of data have {self.c.shape[0]} conditions; expected one each"
            )

    def __call__(self, key: Key) -> Pair:
        """One batch."""
        rows, source, spread, couple, drop = jax.random.split(key, 5)
        index = jax.random.randint(rows, (self.batch,), 0, self.target.shape[0])
        x1 = self.units.encode(self.target[index], key=spread)
        c = None if self.c is None else self.c[index]
        x0 = self._source_rows(index, source)
        chosen = self.coupling(x0, x1, c, key=couple)
        x1 = x1[chosen]
        if c is not None:
            c = self._dropped(c[chosen], drop)
        return Pair(x0, x1, c)

    def _source_rows(self, index, key):
        if isinstance(self.coupling, Paired) and isinstance(self.source, Empirical):
            return self.source.x[index]
        return self.source.sample(self.batch, key=key)

    def _dropped(self, c, key):
        if self.drop == 0:
            return c
        gone = jax.random.bernoulli(key, self.drop, c.shape[:1]).reshape((-1,) + (1,) * (c.ndim - 1))
        null = -1 if jnp.issubdtype(c.dtype, jnp.integer) else jnp.nan
        return jnp.where(gone, jnp.asarray(null, c.dtype), c)
