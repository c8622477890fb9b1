"""Langevin dynamics in a potential: overdamped (positions) and underdamped (positions and velocities).

Answers    how does a system at temperature T move in a potential U?
Equations  overdamped   dX = -grad U dt + sqrt(2 T) dW                       stationary: e^(-U/T)
           underdamped  dx = v dt,  m dv = (F(x) - gamma m v) dt + sqrt(2 gamma m T) dW
                                                                  stationary: e^(-(U + m |v|^2 / 2) / T)
Symbols    U -> potential, F = -grad U -> force, gamma -> friction (1/time), m -> mass, T -> temperature (k_B T)
Cost       one gradient of the potential a call
Fails      a force that is not a gradient has no such stationary law (the dynamics are still right)

A point of the underdamped process is one array with a leading axis of two, position and velocity: `phase` makes a
cloud of them. So it is a process like any other, and every method, recorder and observable works on it.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractProcess, InputError
from ..core.checks import at_least_zero, positive, real

_COLD = "temperature is k_B T in the units of the potential; 0 switches the noise off"


class OverdampedLangevin(AbstractProcess):
    """Brownian motion down a potential, with unit mobility.

    Fields:
        potential: x -> a number; its negative gradient is the force.
        temperature: k_B T in the units of the potential, at least 0.
        force_fn: x -> the force, like x; give it instead of a potential when the force is what is known.
    """

    potential: Callable | None = None
    temperature: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    force_fn: Callable | None = None

    def __check_init__(self):
        _check_one("OverdampedLangevin", self)
        at_least_zero("OverdampedLangevin", "temperature", self.temperature, _COLD)

    def force(self, x) -> Float[Array, "*event"]:
        """The force at one position."""
        return _force(self, x)

    def drift(self, t, x):
        """The force."""
        return self.force(x)

    def diffusion(self, t, x):
        """sqrt(2 T)."""
        return jnp.sqrt(2 * self.temperature)


class UnderdampedLangevin(AbstractProcess):
    """Newton's equations with friction and noise; a point is `(2, *event)`, position and velocity.

    Fields:
        potential: x -> a number; its negative gradient is the force.
        temperature: k_B T in the units of the potential, at least 0.
        friction: gamma, 1/time, at least 0; 0 is Newton's equations.
        mass: a number, or an array of the event's shape; more than 0.
        force_fn: x -> the force, like x; give it instead of a potential when the force is what is known.
    """

    potential: Callable | None = None
    temperature: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    friction: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    mass: Float[Array, "..."] = eqx.field(converter=real, default=1.0)
    force_fn: Callable | None = None

    def __check_init__(self):
        _check_one("UnderdampedLangevin", self)
        at_least_zero("UnderdampedLangevin", "temperature", self.temperature, _COLD)
        at_least_zero("UnderdampedLangevin", "friction", self.friction, "negative friction would heat without end")
        positive("UnderdampedLangevin", "mass", self.mass, "for the limit of no mass take OverdampedLangevin")

    def force(self, x) -> Float[Array, "*event"]:
        """The force at one position (not one phase point)."""
        return _force(self, x)

    def thermal_speed(self) -> Float[Array, "..."]:
        """sqrt(T/m): the standard deviation of a velocity at equilibrium."""
        return jnp.sqrt(self.temperature / self.mass)

    def drift(self, t, x):
        """(v, F/m - gamma v) at one phase point."""
        position, velocity = x[0], x[1]
        return jnp.stack([velocity, self.force(position) / self.mass - self.friction * velocity])

    def diffusion(self, t, x):
        """(0, sqrt(2 gamma T / m)) at one phase point."""
        kick = jnp.sqrt(2 * self.friction) * self.thermal_speed()
        return jnp.stack([jnp.zeros_like(x[0]), jnp.broadcast_to(kick, x[1].shape).astype(x.dtype)])


def phase(x: Float[Array, "n *event"], v: Float[Array, "n *event"]) -> Float[Array, "n 2 *event"]:
    """A cloud of phase points from positions and velocities; `cloud[:, 0]` and `cloud[:, 1]` take it apart."""
    return jnp.stack([x, v], axis=1)


def _check_one(owner, process):
    if (process.potential is None) == (process.force_fn is None):
        got = "neither" if process.potential is None else "both"
        raise InputError(f"{owner}: got {got} of potential and force_fn; expected exactly one of them")


def _force(process, x):
    return process.force_fn(x) if process.potential is None else -jax.grad(process.potential)(x)
