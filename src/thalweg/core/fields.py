"""Fields over time and space, and their divergence.

`Velocity`, `Score` and `Denoiser` share one shape, `(t, x, c=None) -> like x` for one point, and differ in meaning:

    velocity   b(t, x) = E[dx_t/dt | x_t = x]      dX = b dt moves the density
    score      s(t, x) = grad log rho_t(x)
    denoiser   eta(t, x) = E[z | x_t = x]           z the standard normal in x_t

One is turned into another only where that is true; those functions take the path and the coupling that make it
true (`thalweg.flows.convert`), so a wrong conversion cannot be written down.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .errors import InputError
from .types import Key, Point
from .weights import Estimate, estimate


class AbstractField(eqx.Module):
    """A function of time, one point and, optionally, a condition, with a meaning."""

    fn: eqx.AbstractVar[Callable]

    def __call__(self, t, x, c=None):
        """Evaluate at one time and one point; the result has the shape of `x`."""
        return self.fn(t, x) if c is None else self.fn(t, x, c)


class Velocity(AbstractField):
    """b(t, x): the velocity of the probability flow."""

    fn: Callable


class Score(AbstractField):
    """s(t, x): the gradient of the log density."""

    fn: Callable


class Denoiser(AbstractField):
    """eta(t, x): the mean of the standard normal noise in x, given x."""

    fn: Callable


class AbstractDivergence(eqx.Module):
    """How tr(dv/dx) is found: exactly, or by random probes with a standard error."""

    @abc.abstractmethod
    def probes(self, x: Point, *, key: Key) -> Float[Array, "k *event"]:
        """The directions to differentiate along. Keep them fixed along one path: the estimate then stays unbiased."""

    @abc.abstractmethod
    def combine(self, quadratic: Float[Array, " k"]) -> Float[Array, " draws"]:
        """Turn the values v^T J v into independent draws of the trace (one draw when exact)."""

    def __call__(self, fn, x: Point, probes: Float[Array, "k *event"]):
        """Return `fn(x)` and draws of the divergence of `fn` at `x`, from one linearisation."""
        y, jvp = jax.linearize(fn, x)
        tangents = jax.vmap(jvp)(probes)
        return y, self.combine(jnp.sum((probes * tangents).reshape(probes.shape[0], -1), axis=1))


class Exact(AbstractDivergence):
    """The trace itself: d forward derivatives a point."""

    def probes(self, x, *, key):
        """The coordinate directions."""
        return jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)

    def combine(self, quadratic):
        """Sum the diagonal."""
        return jnp.sum(quadratic, keepdims=True)


class Probes(AbstractDivergence):
    """Hutchinson's estimator with `k` Rademacher probes: unbiased, and with its own standard error when k > 1.

    Rademacher signs have the smallest variance of all probes with independent coordinates.
    """

    k: int = 1

    def __check_init__(self):
        if self.k < 1:
            raise InputError(f"Probes(k={self.k}): expected at least one probe")

    def probes(self, x, *, key):
        """`k` independent vectors of signs."""
        return jax.random.rademacher(key, (self.k, *x.shape), x.dtype)

    def combine(self, quadratic):
        """Each probe is a draw of its own."""
        return quadratic


def divergence(fn, x: Point, how: AbstractDivergence | None = None, *, key: Key | None = None):
    """The divergence of `fn` at one point as an `Estimate`; exact (standard error 0) unless `how` says otherwise.

    Raises:
        InputError: when random probes are asked for without a key.
    """
    how = Exact() if how is None else how
    if key is None:
        if not isinstance(how, Exact):
            raise InputError("divergence by random probes needs key=...; got None")
        key = jax.random.key(0)
    _, draws = how(fn, x, how.probes(x, key=key))
    if isinstance(how, Exact):
        return Estimate(draws[0], jnp.zeros_like(draws[0]), jnp.asarray(jnp.inf, draws.dtype))
    return estimate(draws)
