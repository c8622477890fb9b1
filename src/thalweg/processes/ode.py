"""Fixed steps for ordinary differential equations: Euler, midpoint, Heun and the classical Runge-Kutta method.

Answers    where does the velocity field of an `ODE` carry a cloud?
Equations  Euler     x' = x + h v(t, x)                                                      order 1, 1 evaluation
           Midpoint  x' = x + h v(t + h/2, x + h/2 v(t, x))                                   order 2, 2
           HeunODE   x' = x + h/2 (k1 + k2),  k1 = v(t, x),  k2 = v(t + h, x + h k1)          order 2, 2
           RK4       x' = x + h/6 (k1 + 2 k2 + 2 k3 + k4)                                     order 4, 4
Symbols    h -> dt (negative on a decreasing grid), v -> the drift of the process
Cost       the evaluations above a step; memory of the cloud
Fails      a step longer than about 2/L (2.8/L for RK4), L the largest rate of the field, blows up: nonfinite

They take only an `ODE`: to drop the noise of a process on purpose, say so with `ODE(process.drift)`.
"""

from ..core import InputError
from .library import AbstractODE
from .problem import AbstractStepper, drift


class AbstractDeterministic(AbstractStepper):
    """A method for ordinary differential equations."""

    def check(self, problem):
        """Refuse a process with noise, which would be dropped without a word."""
        if not isinstance(problem.process, AbstractODE):
            name, got = type(self).__name__, type(problem.process).__name__
            raise InputError(
                f"{name} got the process {got}; expected an ODE: its noise would be lost, "
                f"so take an SDE method such as EulerMaruyama, or drop it on purpose with ODE({got}.drift)"
            )


class Euler(AbstractDeterministic):
    """The explicit Euler method: order 1."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        return x + dt * drift(process, t, x)


class Midpoint(AbstractDeterministic):
    """The explicit midpoint method: order 2."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        half = x + dt / 2 * drift(process, t, x)
        return x + dt * drift(process, t + dt / 2, half)


class HeunODE(AbstractDeterministic):
    """Heun's method, the explicit trapezoid: order 2. It never looks between the times of the grid."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        k1 = drift(process, t, x)
        k2 = drift(process, t + dt, x + dt * k1)
        return x + dt / 2 * (k1 + k2)


class RK4(AbstractDeterministic):
    """The classical Runge-Kutta method: order 4."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        k1 = drift(process, t, x)
        k2 = drift(process, t + dt / 2, x + dt / 2 * k1)
        k3 = drift(process, t + dt / 2, x + dt / 2 * k2)
        k4 = drift(process, t + dt, x + dt * k3)
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
