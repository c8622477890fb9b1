"""Fixed steps for Ito diffusions.

Answers    draw paths of dX = a(t, X) dt + g(t, X) dW, in Ito's sense, from a cloud.
Equations  W -> dw, a normal of variance |h|;  h -> dt;  all coefficients at (t, x) unless said otherwise
  EulerMaruyama    x + h a + g W                                      any noise       strong 1/2, weak 1
                                                                      (additive noise: strong 1)
  Milstein         x + h a + g W + g g' (W^2 - |h|)/2                 diagonal noise  strong 1, weak 1
  StochasticHeun   x + h/2 (a- + a-*) + (g + g*) W/2                  diagonal noise  strong 1, weak 1
      a- h = a h - g g' |h|/2 (Stratonovich drift); * at (t + h, x + h a- + g W)      (additive: weak 2)
  SRA1             x + h (a/3 + 2 a*/3) + g(t+h) W + (g(t) - g(t+h)) J
      J = (W + Z sqrt|h|/sqrt 3)/2;  * at (t + 3h/4, x + 3h/4 a + 3/2 g(t+h) J)       additive noise  strong 3/2
  InterpolantHeun  y + h/2 (k1 + k2),  y = x + g W
      k1 = a(t+h, y),  k2 = a(t+h, y + h k1)                          additive noise  weak 1
  ExactTransition  the process's own `transition`                     AbstractExact   exact in law
Symbols    Z -> a second standard normal, independent of W; g' = dg_i/dx_i, by one forward derivative
Cost       evaluations of (a, g) a step: 1,1  1,1  2,2  2,2  2,1; memory of a few clouds
Fails      nonfinite when h is longer than about 2/L. Diagonal noise means that g_i may depend on t and x_i alone,
           additive that it does not depend on x: `simulate` checks either on a few points of the cloud
Sources    Kloeden and Platen, Numerical Solution of Stochastic Differential Equations (1992), 10.2-10.4 and 15.1;
           Roessler, SIAM J. Numer. Anal. 48 (2010) 922, SRA1; arXiv 2303.08797, the SDE sampler (InterpolantHeun)

On InterpolantHeun: all noise first, then the drift alone, is a Lie splitting. Its weak error per step is
h^2 [noise, drift]/2, so it is first order however well the drift is integrated, and with both slopes at t + h it is
first order for a(t, x) even without noise. It is here because the paper's samples were drawn with it;
`StochasticHeun` has weak order 2 for the same noise at the same cost.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..core import AbstractCorrelated, Cloud, InputError, Key, Time
from ..core.checks import all_known
from .library import AbstractExact
from .problem import AbstractStepper, diffuse, drift, increment


class EulerMaruyama(AbstractStepper):
    """The Euler-Maruyama method: strong order 1/2 (1 for additive noise), weak order 1. Takes any noise."""

    def check(self, problem):
        """Refuse correlated noise on anything but vectors."""
        if isinstance(problem.process, AbstractCorrelated) and problem.x0.ndim != 2:
            raise InputError(f"x0 has shape {problem.x0.shape}; expected (n, d), as the noise is mixed by a matrix")

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        if isinstance(process, AbstractCorrelated):
            matrices = jax.vmap(process.diffusion, (None, 0))(t, x).astype(x.dtype)
            dw = increment(key, dt, matrices[:, 0, :])
            return x + dt * drift(process, t, x) + jnp.einsum("ndw,nw->nd", matrices, dw)
        return x + dt * drift(process, t, x) + diffuse(process, t, x, increment(key, dt, x))


class ExactTransition(AbstractStepper):
    """Steps drawn from the exact transition law, at any length: no error in time at all."""

    def check(self, problem):
        """Refuse a process without exact transitions, and time that runs down."""
        if not isinstance(problem.process, AbstractExact):
            got = type(problem.process).__name__
            raise InputError(f"ExactTransition got the process {got}; expected one with a `transition`, such as OU")
        refuse_backward("ExactTransition", problem)

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        z = jax.random.normal(key, x.shape, x.dtype)
        return jax.vmap(process.transition, (None, None, 0, 0))(t, t + dt, x, z).astype(x.dtype)


class AbstractUncorrelated(AbstractStepper):
    """A method for noise that acts coordinate by coordinate, and perhaps less.

    A step is `move` with the noise that `draw` gives; the two are apart so that runs can share one Brownian path.
    """

    @abc.abstractmethod
    def draw(self, key: Key, dt: Time, x: Cloud) -> PyTree[Cloud]:
        """The noise of one step of length `dt`."""

    @abc.abstractmethod
    def move(self, process, t: Time, dt: Time, x: Cloud, noise: PyTree[Cloud]) -> Cloud:
        """Move the cloud from `t` to `t + dt` under that noise."""

    def advance(self, process, t, dt, x, *, key):
        """Move the cloud from `t` to `t + dt`."""
        return self.move(process, t, dt, x, self.draw(key, dt, x))

    @abc.abstractmethod
    def fits(self, process, t, x) -> tuple[bool, str]:
        """Whether the noise is of the method's kind at the points of a small cloud, and what that kind is."""

    def check(self, problem):
        """Refuse noise that the method's order does not hold for."""
        name, process = type(self).__name__, problem.process
        if isinstance(process, AbstractCorrelated):
            raise InputError(f"{name} got noise mixed by a matrix; expected one noise a coordinate: take EulerMaruyama")
        if all_known((process, problem.x0, problem.ts)):
            fits, kind = self.fits(process, problem.ts[0].astype(problem.x0.dtype), problem.x0[:8])
            if not fits:
                got = type(process).__name__
                raise InputError(f"{name} got the process {got}; expected {kind}: take EulerMaruyama or smaller steps")


class AbstractDiagonal(AbstractUncorrelated):
    """A method for diagonal noise: g_i depends on t and x_i alone."""

    def draw(self, key, dt, x):
        """A Brownian increment."""
        return increment(key, dt, x)

    def fits(self, process, t, x):
        """Whether the noise is diagonal."""
        return bool(_is_diagonal(process, t, x)), "diagonal noise, each coefficient a function of its own coordinate"


class AbstractAdditive(AbstractUncorrelated):
    """A method for additive noise: g depends on t alone."""

    def fits(self, process, t, x):
        """Whether the noise is additive."""
        return is_additive(process, t, x), "additive noise, the same at every point"


class Milstein(AbstractDiagonal):
    """Milstein's method for diagonal noise: strong order 1."""

    def move(self, process, t, dt, x, dw):
        """Move the cloud from `t` to `t + dt` under the increment `dw`."""
        g, gg = _noise_and_correction(process, t, x)
        return x + dt * drift(process, t, x) + g * dw + gg / 2 * (dw**2 - jnp.abs(dt))


class StochasticHeun(AbstractDiagonal):
    """Heun's method with the Ito correction: strong order 1; weak order 1, and 2 for additive noise."""

    def move(self, process, t, dt, x, dw):
        """Move the cloud from `t` to `t + dt` under the increment `dw`."""
        g0, gg0 = _noise_and_correction(process, t, x)
        # The correction belongs to the noise, whose clock runs forward in either direction of time: hence |dt|.
        k0 = dt * drift(process, t, x) - jnp.abs(dt) / 2 * gg0
        guess = x + k0 + g0 * dw
        g1, gg1 = _noise_and_correction(process, t + dt, guess)
        k1 = dt * drift(process, t + dt, guess) - jnp.abs(dt) / 2 * gg1
        return x + (k0 + k1) / 2 + (g0 + g1) / 2 * dw


class SRA1(AbstractAdditive):
    """Roessler's SRA1 for additive noise: strong order 3/2 with two evaluations of the drift."""

    def draw(self, key, dt, x):
        """A Brownian increment W, and the mean over the step of the path from its start."""
        first, second = jax.random.split(key)
        dw = increment(first, dt, x)
        return dw, (dw + increment(second, dt, x) / jnp.sqrt(jnp.asarray(3, x.dtype))) / 2

    def move(self, process, t, dt, x, noise):
        """Move the cloud from `t` to `t + dt` under the pair that `draw` gives."""
        dw, area = noise
        k1 = drift(process, t, x)
        late = diffuse(process, t + dt, x, area)
        k2 = drift(process, t + 0.75 * dt, x + 0.75 * dt * k1 + 1.5 * late)
        noise = diffuse(process, t + dt, x, dw) + diffuse(process, t, x, area) - late
        return x + dt / 3 * (k1 + 2 * k2) + noise


class InterpolantHeun(AbstractAdditive):
    """The sampler of the stochastic-interpolants paper, as printed: noise, then Heun with both slopes at t + dt."""

    def draw(self, key, dt, x):
        """A Brownian increment."""
        return increment(key, dt, x)

    def move(self, process, t, dt, x, dw):
        """Move the cloud from `t` to `t + dt` under the increment `dw`."""
        noisy = x + diffuse(process, t, x, dw)
        k1 = drift(process, t + dt, noisy)
        k2 = drift(process, t + dt, noisy + dt * k1)
        return noisy + dt / 2 * (k1 + k2)


def refuse_backward(name, problem) -> None:
    """Refuse a decreasing grid, for a method whose steps have no meaning on one."""
    if problem.backward:
        ts = problem.ts
        raise InputError(
            f"{name} got times from {float(ts[0]):.6g} down to {float(ts[-1]):.6g}; expected rising times: "
            "reverse ts, or simulate the reversed process with EulerMaruyama"
        )


def _coefficient(process, t):
    return lambda x: jnp.broadcast_to(process.diffusion(t, x), x.shape).astype(x.dtype)


def _noise_and_correction(process, t, x):
    """g and g_i dg_i/dx_i at every point; right for diagonal noise only."""

    def one(x):
        g, tangent = jax.linearize(_coefficient(process, t), x)
        return g, tangent(g)

    return jax.vmap(one)(x)


# The two checks see a few points and one direction, in which a wrong kind of noise is invisible only by accident.


@eqx.filter_jit
def _is_diagonal(process, t, x):
    direction = jax.random.normal(jax.random.key(7), x.shape, x.dtype)

    def gap(x, v):
        _, tangent = jax.linearize(_coefficient(process, t), x)
        whole, along = tangent(jnp.ones_like(x)), tangent(v)
        return jnp.max(jnp.abs(whole * v - along) - 1e-3 * (jnp.abs(whole * v) + jnp.abs(along)))

    return ~(jnp.max(jax.vmap(gap)(x, direction)) > 1e-6)


@eqx.filter_jit
def _slope(process, t, x):
    direction = jax.random.normal(jax.random.key(7), x.shape, x.dtype)
    return jnp.max(jnp.abs(jax.vmap(lambda x, v: jax.jvp(_coefficient(process, t), (x,), (v,))[1])(x, direction)))


def is_additive(process, t, x) -> bool:
    """Whether the noise is the same at every point, as far as the points of a small cloud can tell."""
    return not float(_slope(process, t, x)) > 1e-6
