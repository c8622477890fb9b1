"""Log densities over arrays, with what is known of them: the face that every sampler sees.

Answers    what does a sampler need to be told, and what can its answer be checked against?
Equations  rho(x) = e^{log_prob(x)} / Z,   log Z = log of the integral of e^{log_prob}
Symbols    log_prob -> unnormalised log density at ONE point, grad log_prob -> score, log Z -> log_z (None: not known)
Fails      draws that cannot be made exactly are refused; a log density that is not one number is refused by `check`
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core.checks import positive
from ..core.errors import InputError
from ..core.types import Cloud, Key, Point


class AbstractDensity(eqx.Module):
    """An unnormalised density on arrays of the shape `event`."""

    @property
    @abc.abstractmethod
    def event(self) -> tuple[int, ...]:
        """The shape of one point."""

    @abc.abstractmethod
    def log_prob(self, x: Point) -> Float[Array, ""]:
        """Unnormalised log density at one point."""

    def score(self, x: Point) -> Point:
        """Gradient of the log density at one point."""
        return jax.grad(self.log_prob)(x)

    @property
    def log_z(self) -> Float[Array, ""] | None:
        """log of the integral of e^{log_prob}, or None where it is not known."""
        return None

    def sample(self, key: Key, n: int) -> Cloud:
        """`n` independent exact draws.

        Raises:
            InputError: for a density that cannot be drawn from exactly.
        """
        raise InputError(f"{type(self).__name__} cannot be drawn from exactly; run a sampler on it")


class Density(AbstractDensity):
    """A log density of one's own: `Density(lambda x: -jnp.sum(x**4), (3,))`.

    Fields:
        fn: x -> log density at one point, up to a constant.
        shape: of one point.
        exact: log Z, where it is known.
        draw: (key, n) -> n exact draws, where there is a way; a base distribution of an annealing needs one.
    """

    fn: Callable
    shape: tuple[int, ...] = eqx.field(static=True)
    exact: Float[Array, ""] | None = None
    draw: Callable | None = None

    def __check_init__(self):
        if any(n < 1 for n in self.shape):
            raise InputError(f"Density(shape={self.shape!r}): expected a tuple of whole numbers of at least 1")

    @property
    def event(self):
        """The shape of one point."""
        return self.shape

    def log_prob(self, x):
        """The function's value."""
        return self.fn(x)

    @property
    def log_z(self):
        """What was given as `exact`."""
        return self.exact

    def sample(self, key, n):
        """What was given as `draw`."""
        return super().sample(key, n) if self.draw is None else self.draw(key, n)


class Normal(AbstractDensity):
    """A Gaussian with independent coordinates, the usual base; any event shape.

    Fields:
        mean: the mean, of the event's shape.
        std: standard deviations, more than 0, of the event's shape.
    """

    mean: Float[Array, "*event"]
    std: Float[Array, "*event"]

    def __init__(self, mean, std=1.0):
        self.mean = jnp.asarray(mean, jnp.result_type(float, jnp.asarray(mean).dtype))
        self.std = jnp.broadcast_to(jnp.asarray(std, self.mean.dtype), self.mean.shape)
        positive("Normal", "std", self.std)

    @property
    def event(self):
        """The shape of one point."""
        return self.mean.shape

    def log_prob(self, x):
        """Normalised log density."""
        z = (x - self.mean) / self.std
        return -0.5 * jnp.sum(z**2) - jnp.sum(jnp.log(self.std)) - 0.5 * x.size * np.log(2 * np.pi)

    @property
    def log_z(self):
        """Zero: the density is normalised."""
        return jnp.zeros((), self.mean.dtype)

    def sample(self, key, n):
        """`n` independent draws."""
        return self.mean + self.std * jax.random.normal(key, (n, *self.event), self.mean.dtype)


def check(density: AbstractDensity, x: Point, name: str = "log_prob", *, inside: bool = True) -> None:
    """See that a log density can be evaluated and differentiated at one point.

    Args:
        name: what the density is called in the error.
        inside: whether the point must be in the support; without, -inf is a value like another.

    Raises:
        InputError: when its value is no single number of floating type, is NaN or +inf, or its gradient is not finite.
    """
    try:
        shape = eqx.filter_eval_shape(density.log_prob, x)
    except InputError:
        raise
    except Exception as error:
        line = str(error).strip().splitlines()[0]
        raise InputError(f"{name} failed at a point of shape {x.shape}: {type(error).__name__}: {line}") from error
    got = getattr(shape, "shape", None)
    if got != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        what = type(shape).__name__ if got is None else f"shape {got}, dtype {shape.dtype}"
        raise InputError(
            f"{name} of one point of shape {x.shape} gave {what}; expected a single floating-point number, shape ()"
        )
    value, grad = jax.value_and_grad(density.log_prob)(x)
    if not inside and bool(value == -jnp.inf):
        return
    if not bool(jnp.isfinite(value)):
        raise InputError(
            f"{name} is {float(value)} at a starting point; expected a finite number: start inside the support"
        )
    if not bool(jnp.all(jnp.isfinite(grad))):
        raise InputError(f"the gradient of {name} is not finite at a starting point; start where it is, or smooth it")


def check_base(base: AbstractDensity, event: tuple[int, ...], of: str = "target", *, constant: bool = True) -> None:
    """Refuse a base whose points have another shape than `event`, those of the target or the data, or without log Z.

    Args:
        of: what the points of shape `event` belong to.
        constant: whether log Z must be known.

    Raises:
        InputError: for either.
    """
    if base.event != event:
        raise InputError(f"the base has points of shape {base.event}, the {of} {event}; expected one shape")
    if constant and base.log_z is None:
        raise InputError(f"the base {type(base).__name__} has no known log_z; take one such as Normal")
