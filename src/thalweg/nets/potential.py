"""A log density as a net: the score is then a gradient, and the density can be evaluated.

Answers    a score that is exactly conservative, and log rho_t(x) up to a constant in x
Equations  u(t, x) = net(t, x) - (k / 2) |x - centre|^2;   s(t, x) = grad_x u(t, x)
Symbols    k -> confinement; u -> the call itself
Cost       one backward pass of the net for the score
Fails      without confinement exp(u) need not be normalisable: a net grows at most linearly. With k > 0 it is, and the
           net only has to learn what differs from a Gaussian
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..core.errors import InputError
from ..core.types import Point


class Potential(eqx.Module):
    """u(t, x, c): a scalar net, minus an optional quadratic that makes exp(u) integrable.

    Args:
        net: a net whose result is a scalar, such as `MLP((d,), out=(), key=key)`.
        confinement: k, at least 0; 1 over the variance of the data (or of the base) is a good start.
        centre: where the quadratic is centred; the origin unless given.

    Raises:
        InputError: for a negative confinement, or a net whose result is not a scalar.
    """

    net: Any
    confinement: float = eqx.field(default=0.0, static=True)
    centre: Float[Array, "*event"] | float = 0.0

    def __check_init__(self):
        if not self.confinement >= 0:
            raise InputError(f"Potential(confinement={self.confinement}): expected a number of at least 0")
        if getattr(self.net, "out", ()) != ():
            raise InputError(f"Potential needs a scalar net; got one of shape {self.net.out}. Make it with out=()")

    def __call__(self, t: ArrayLike, x: Point, c: ArrayLike | None = None) -> Float[Array, ""]:
        """u at one point: log rho_t(x) up to a constant in x."""
        u = self.net(t, x, c)
        if jnp.shape(u) != ():
            raise InputError(f"Potential needs a scalar net; got a value of shape {jnp.shape(u)}. Make it with out=()")
        if self.confinement == 0:
            return u
        return u - 0.5 * self.confinement * jnp.sum((x - self.centre) ** 2)

    def score(self, t: ArrayLike, x: Point, c: ArrayLike | None = None) -> Point:
        """grad_x u at one point."""
        return jax.grad(self, argnums=1)(t, x, c)


class Gradient(eqx.Module):
    """grad_x of a potential as a field that can be saved: `Score(Gradient(potential))`."""

    potential: Potential

    def __call__(self, t: ArrayLike, x: Point, c: ArrayLike | None = None) -> Point:
        """grad_x u at one point."""
        return self.potential.score(t, x, c)
