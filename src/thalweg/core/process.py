"""Diffusions: dX = drift(t, x) dt + diffusion(t, x) dW, in Ito's sense.

Leaf functions see one point; `drifts` and `diffusions` see the whole cloud, and are what the integrators call, so that
particles may carry conditions of their own or feel one another. `diffusion` multiplies the noise coordinate by
coordinate (a scalar or an array of the event's shape); `AbstractCorrelated` hands back a matrix instead.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .types import Cloud, Point, Time


class AbstractProcess(eqx.Module):
    """An Ito diffusion with noise that acts coordinate by coordinate."""

    @abc.abstractmethod
    def drift(self, t: Time, x: Point) -> Point:
        """The drift at one point."""

    @abc.abstractmethod
    def diffusion(self, t: Time, x: Point) -> Float[Array, "..."]:
        """The coefficient of dW at one point: a scalar, or an array of the event's shape."""

    def drifts(self, t: Time, x: Cloud) -> Cloud:
        """The drift at every particle. Override where particles interact or differ."""
        return jax.vmap(self.drift, in_axes=(None, 0))(t, x)

    def diffusions(self, t: Time, x: Cloud) -> Float[Array, "n ..."]:
        """The coefficient of dW at every particle."""
        return jax.vmap(self.diffusion, in_axes=(None, 0))(t, x)

    def alone(self) -> tuple[Callable, PyTree]:
        """For particles that do not interact: `drift(t, x, own)`, and what each particle owns, with a leading axis n.

        What lets every particle take steps of its own. Override with `drifts` where particles differ.
        """
        return lambda t, x, _: self.drift(t, x), None


class AbstractAffine(AbstractProcess):
    """A process that is Gaussian given its start: X_t = scale(t) X_0 + shift + std(t) z, with z standard normal.

    The shift is zero for the noising processes; `scale` and `std` are numbers, or have one value a coordinate.
    """

    @abc.abstractmethod
    def scale(self, t: Time) -> Float[Array, "..."]:
        """The factor on the starting point, one at t = 0."""

    @abc.abstractmethod
    def std(self, t: Time) -> Float[Array, "..."]:
        """The standard deviation given the starting point, zero at t = 0."""


class AbstractCorrelated(eqx.Module):
    """An Ito diffusion on vectors whose noise is mixed by a matrix."""

    @abc.abstractmethod
    def drift(self, t: Time, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """The drift at one point."""

    @abc.abstractmethod
    def diffusion(self, t: Time, x: Float[Array, " d"]) -> Float[Array, "d w"]:
        """The matrix in front of dW at one point."""

    def drifts(self, t: Time, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The drift at every particle."""
        return jax.vmap(self.drift, in_axes=(None, 0))(t, x)

    def diffusions(self, t: Time, x: Float[Array, "n d"]) -> Float[Array, "n d w"]:
        """The matrix at every particle."""
        return jax.vmap(self.diffusion, in_axes=(None, 0))(t, x)


class Diffusion(AbstractProcess):
    """A process from two functions, `drift(t, x)` and `diffusion(t, x)`."""

    drift_fn: Callable
    diffusion_fn: Callable

    def drift(self, t, x):
        """The drift at one point."""
        return self.drift_fn(t, x)

    def diffusion(self, t, x):
        """The coefficient of dW at one point."""
        return jnp.asarray(self.diffusion_fn(t, x), x.dtype)
