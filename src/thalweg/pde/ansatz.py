"""Functions of a point whose parameters can follow an evolution equation.

Answers    which family u_theta(x) should the solution be looked for in?
Equations  PeriodicUnits  u = sum_i a_i exp(-(w_i^2 / 2) sum_j sin^2(pi (x_j - b_ij) / L_j))
           GaussianUnits  u = sum_i a_i exp(-|(x - b_i) / s_i|^2 / 2)
           DensityUnits   u = sum_i a_i^2 N(x; b_i, diag s_i^2)                     positive; mass sum_i a_i^2
           PeriodicMLP    a small net of sin and cos(2 pi x / L): any periodic function, no place of its own
Symbols    a -> amplitude, w -> sharpness, b -> centre, log s -> log_scale, L -> period
Cost       O(units d) a point; the net width^2 depth
Source     arXiv 2203.01360, section 4 (units), its squared and normalised weights for densities
Fails      a unit of amplitude 0 cannot move, and equal units move as one: both are null directions of the Jacobian,
           which a regularised least-squares solve leaves alone and `info.rank` does not count

An ansatz is a module called on one point, `u(x)`. Units know where they are: `draw` takes points from them.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import Cloud, InputError, Key, Point, Scalar
from ..core.checks import positive, real
from ..nets import Dense


class AbstractUnits(eqx.Module):
    """A sum of bumps, each with an amplitude and a centre of the shape of a point."""

    amplitude: eqx.AbstractVar[Float[Array, " units"]]
    centre: eqx.AbstractVar[Float[Array, "units *event"]]

    @abc.abstractmethod
    def __call__(self, x: Point) -> Scalar:
        """The function at one point."""

    @property
    @abc.abstractmethod
    def widths(self) -> Float[Array, "units *event"]:
        """The standard deviation of each bump along each coordinate; broadcasts against `centre`."""

    def draw(self, n: int, spread: float | Float[Array, ""] = 1.0, *, key: Key) -> Cloud:
        """`n` points, as many from each unit, normal about its centre with `spread` times its widths."""
        which = jnp.arange(n) % self.amplitude.shape[0]
        noise = jax.random.normal(key, (n, *self.centre.shape[1:]), self.centre.dtype)
        return self.centre[which] + spread * self.widths[which] * noise


class PeriodicUnits(AbstractUnits):
    """Bumps on a periodic box.

    Fields:
        amplitude: of each unit, of either sign.
        sharpness: w; only its square counts.
        centre: (units,) where a point is a number, else (units, d).
        period: of each coordinate.
    """

    amplitude: Float[Array, " units"]
    sharpness: Float[Array, " units"]
    centre: Float[Array, "units *event"]
    period: Float[Array, "..."] = eqx.field(converter=real)

    def __check_init__(self):
        positive("PeriodicUnits", "period", self.period, "the length of the box along each coordinate")

    @classmethod
    def random(cls, units: int, low, high, *, period=None, width=0.1, key: Key) -> "PeriodicUnits":
        """Centres anywhere from `low` to `high`, widths about `width` of that: a start for a fit.

        The period is high - low where it is not given; a fit is better for centres where the function is not flat.
        """
        low, high = real(low), real(high)
        keys = jax.random.split(key, 3)
        centre = jax.random.uniform(keys[0], (units, *low.shape), low.dtype, low, high)
        period = high - low if period is None else real(period).astype(low.dtype)
        widths = width * jnp.mean(high - low) * jnp.exp(0.5 * jax.random.normal(keys[1], (units,), low.dtype))
        amplitude = jax.random.normal(keys[2], (units,), low.dtype)
        return cls(amplitude, jnp.mean(period) / (math.pi * widths), centre, period)

    def __call__(self, x):
        """The sum over units at one point."""
        turn = jnp.sin(jnp.pi * (x - self.centre) / self.period)
        squares = jnp.sum((turn**2).reshape(self.amplitude.shape[0], -1), axis=1)
        return jnp.dot(self.amplitude, jnp.exp(-0.5 * self.sharpness**2 * squares))

    @property
    def widths(self):
        """L / (pi w), and at most the half of the box for a flat unit."""
        sharpness = self.sharpness.reshape(-1, *(1,) * (self.centre.ndim - 1))
        return self.period / jnp.maximum(jnp.pi * jnp.abs(sharpness), 2.0) * jnp.ones_like(self.centre)


class GaussianUnits(AbstractUnits):
    """Bumps on the whole space, of either sign, that decay in every direction.

    Fields:
        amplitude: a, the height of each unit.
        log_scale: log s, (units, d), or (units, 1) for round units.
        centre: (units, d).
    """

    amplitude: Float[Array, " units"]
    log_scale: Float[Array, "units _"]
    centre: Float[Array, "units d"]

    @classmethod
    def random(cls, units: int, low, high, *, width=0.2, key: Key) -> "GaussianUnits":
        """Round units with small amplitudes and centres anywhere in the box, `width` of its sides wide."""
        low, high = real(low), real(high)
        keys = jax.random.split(key, 3)
        centre = jax.random.uniform(keys[0], (units, *low.shape), low.dtype, low, high)
        log_scale = jnp.log(width * jnp.mean(high - low)) + 0.3 * jax.random.normal(keys[1], (units, 1), low.dtype)
        return cls(jax.random.normal(keys[2], (units,), low.dtype), log_scale, centre)

    def __call__(self, x):
        """The sum over units at one point."""
        z = (x - self.centre) * jnp.exp(-self.log_scale)
        return jnp.dot(self.amplitude, jnp.exp(-0.5 * jnp.sum(z**2, axis=1)))

    @property
    def widths(self):
        """s."""
        return jnp.exp(self.log_scale) * jnp.ones_like(self.centre)


class DensityUnits(AbstractUnits):
    """A mixture of Gaussians: never negative, with mass and moments in closed form.

    Fields:
        amplitude: a; the weight of a unit is its square.
        log_scale: log s, (units, d), or (units, 1) for round units.
        centre: (units, d).
    """

    amplitude: Float[Array, " units"]
    log_scale: Float[Array, "units _"]
    centre: Float[Array, "units d"]

    @classmethod
    def around(cls, mean, scale, units: int = 1, *, jitter=0.0, key: Key) -> "DensityUnits":
        """Units of equal weight about `mean`, with standard deviation `scale`, `jitter` of it apart in place and width.

        Units that are all alike move as one, so that more than one needs a `jitter` above 0.
        """
        mean = real(mean)
        scale = jnp.broadcast_to(real(scale).astype(mean.dtype), mean.shape)
        keys = jax.random.split(key)
        shape = (units, *mean.shape)
        centre = mean + jitter * scale * jax.random.normal(keys[0], shape, mean.dtype)
        # What the spread of the centres adds to the variance is taken from the widths.
        log_scale = jnp.log(scale) + 0.5 * math.log(max(1 - jitter**2, 0.1))
        log_scale = log_scale + 0.3 * jitter * jax.random.normal(keys[1], shape, mean.dtype)
        return cls(jnp.full(units, units**-0.5, mean.dtype), log_scale, centre)

    def __call__(self, x):
        """The density at one point."""
        d = x.shape[0]
        z = (x - self.centre) * jnp.exp(-self.log_scale)
        volume = jnp.sum(jnp.broadcast_to(self.log_scale, self.centre.shape), axis=1) + 0.5 * d * math.log(2 * math.pi)
        return jnp.dot(self.amplitude**2, jnp.exp(-0.5 * jnp.sum(z**2, axis=1) - volume))

    @property
    def widths(self):
        """s."""
        return jnp.exp(self.log_scale) * jnp.ones_like(self.centre)

    @property
    def mass(self) -> Scalar:
        """The integral over all space."""
        return jnp.sum(self.amplitude**2)

    @property
    def mean(self) -> Float[Array, " d"]:
        """Of the density divided by its mass."""
        return self.amplitude**2 @ self.centre / self.mass

    @property
    def cov(self) -> Float[Array, "d d"]:
        """Of the density divided by its mass."""
        weight, apart = self.amplitude**2 / self.mass, self.centre - self.mean
        return jnp.diag(weight @ self.widths**2) + (weight[:, None] * apart).T @ apart


class PeriodicMLP(eqx.Module):
    """A net of tanh layers on sin and cos of the coordinates: periodic with all its derivatives.

    Args:
        dim: of a point; 0 for points that are numbers.
        period: of each coordinate.
        width, depth: of the hidden layers.
    """

    layers: tuple[Dense, ...]
    period: Float[Array, "..."]
    dim: int = eqx.field(static=True)

    def __init__(self, dim: int, period, *, width: int = 10, depth: int = 2, key: Key):
        if dim < 0 or width < 1 or depth < 1:
            raise InputError(
                f"PeriodicMLP(dim={dim}, width={width}, depth={depth}): expected dim of at least 0 and the others 1"
            )
        self.period, self.dim = real(period), dim
        positive("PeriodicMLP", "period", self.period, "the length of the box along each coordinate")
        sizes = [2 * max(dim, 1), *[width] * depth, 1]
        keys = jax.random.split(key, depth + 1)
        self.layers = tuple(Dense(a, b, gain=1.5, key=k) for a, b, k in zip(sizes, sizes[1:], keys, strict=False))

    def __call__(self, x: Point) -> Scalar:
        """The value at one point."""
        angle = jnp.atleast_1d(2 * jnp.pi * x / self.period)
        h = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)])
        for layer in self.layers[:-1]:
            h = jnp.tanh(layer(h))
        return self.layers[-1](h)[0]


def moving(u: Any) -> Any:
    """Which leaves follow the equation: all arrays of real numbers, but not the box that they live in."""
    return _only(u, lambda name: name != "period")


def amplitudes(u: Any) -> Any:
    """Only the amplitudes: the classical Galerkin method on fixed features, the control that shows what moving buys.

    Raises:
        InputError: for an ansatz that has no amplitudes.
    """
    if not isinstance(u, AbstractUnits):
        raise InputError(f"amplitudes({type(u).__name__}): expected units such as GaussianUnits")
    return _only(u, lambda name: name == "amplitude")


def _only(u, wanted: Callable[[str], bool]):
    def leaf(path, x):
        name = getattr(path[0], "name", "") if path else ""
        return bool(eqx.is_inexact_array(x) and wanted(name))

    return jax.tree_util.tree_map_with_path(leaf, u)
