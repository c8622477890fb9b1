"""Coordinates in which a moving cloud stands still, so that a score learned for one step serves the next.

Answers    what is left to learn of a score, once mean and spread are known?
Equations  z = W (x - m);   s(x) = W^T (-z + f(z))
           Whitened   W^T W = C^-1, m and C of the cloud: f = 0 is the score of the Gaussian with these moments
           Scaled     W diagonal, with the mean and the standard deviation of each coordinate over all the rows of a
                      point: f = 0 is a product of Gaussians, the same for every row
           Raw        s(x) = f(x), as in the paper
Symbols    f -> a net of (0, z)
Cost       Whitened O(n d^2 + d^3) a step; Scaled O(n d)
Fails      Whitened needs more particles than coordinates. It does not commute with a permutation of the rows of a
           point, as the covariance of a finite cloud does not: take Scaled for particles that can be exchanged
Departure  2206.04642 learns s in the coordinates of x; it is Raw
"""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import cholesky, solve_triangular
from jaxtyping import Array, Float, PyTree

from ..core import Cloud, InputError, Point


class AbstractFrame(eqx.Module):
    """A rule that turns a cloud into coordinates, and a net in those into a score."""

    @abc.abstractmethod
    def measure(self, x: Cloud) -> PyTree:
        """The coordinates that the cloud asks for."""

    @abc.abstractmethod
    def score(self, measured: PyTree, net, x: Point) -> Point:
        """The score at one point; `net` is a function of one point, or None for zero."""

    def check(self, n: int, event: tuple[int, ...]) -> None:
        """Refuse a cloud that is too small."""


class Raw(AbstractFrame):
    """The coordinates of the problem."""

    def measure(self, x):
        """Nothing."""
        return None

    def score(self, measured, net, x):
        """What the net says; zero without one."""
        return jnp.zeros_like(x) if net is None else net(x)


class Moments(eqx.Module):
    """A mean, of the event's shape, and W: a triangular matrix, or one factor a coordinate."""

    mean: Float[Array, "*event"]
    scale: Float[Array, "..."]


class Scaled(AbstractFrame):
    """Mean and standard deviation of each coordinate; for points of shape (N, d), one pair for all N rows."""

    def measure(self, x):
        """Over all axes but the last."""
        axes = tuple(range(x.ndim - 1))
        mean, std = jnp.mean(x, axis=axes), jnp.std(x, axis=axes)
        return Moments(jnp.broadcast_to(mean, x.shape[1:]), jnp.broadcast_to(1 / std, x.shape[1:]))

    def score(self, measured, net, x):
        """W (-z + net(z))."""
        z = measured.scale * (x - measured.mean)
        return measured.scale * (-z if net is None else net(z) - z)


class Whitened(AbstractFrame):
    """Mean and covariance of the cloud: without a net, the exact minimiser among affine scores, -C^-1 (x - m)."""

    def check(self, n, event):
        """Refuse a cloud whose covariance is singular."""
        size = math.prod(event)
        if n <= size:
            raise InputError(
                f"the cloud has {n} particles for {size} coordinates, so that its covariance is singular; take more "
                f"than {size} particles, many more for accuracy, or the frame Scaled()"
            )

    def measure(self, x):
        """W is the inverse of the Cholesky factor of the covariance."""
        flat = x.reshape(x.shape[0], -1)
        mean = jnp.mean(flat, axis=0)
        centred = flat - mean
        root = cholesky(centred.T @ centred / x.shape[0], lower=True)
        W = solve_triangular(root, jnp.eye(flat.shape[1], dtype=x.dtype), lower=True)
        return Moments(mean.reshape(x.shape[1:]), W)

    def score(self, measured, net, x):
        """W^T (-z + net(z))."""
        W = measured.scale
        z = W @ (x - measured.mean).reshape(-1)
        f = -z if net is None else net(z.reshape(x.shape)).reshape(-1) - z
        return (W.T @ f).reshape(x.shape)
