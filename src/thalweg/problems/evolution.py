"""Evolution equations whose solution is known at every time.

Answers    does a solver follow a wave that deforms, a front in five dimensions, a density of interacting particles?
Equations  KdV        u_t = -6 u u_x - u_xxx;   u = 2 d_x^2 log(1 + e^{h1} + e^{h2} + c e^{h1 + h2}),
                      h_i = k_i x - k_i^3 t + s_i,   c = ((k1 - k2) / (k1 + k2))^2
           Advection  u_t = -c(t) . grad u,   c_i(t) = a_i (sin(w_i pi t) + b);   u(t, x) = u_0(x - int_0^t c)
           Trap       u_t = div((x - a(t) + alpha (x - mean x)) u) + lap u / beta,   a(t) = 5/4 (sin(pi t) + 3/2):
                      d particles on a line in a moving trap; the drift is linear, so a Gaussian stays one
Symbols    k -> k, s -> shift, a_i -> amplitude, w_i -> frequency, b -> offset
Cost       O(1), O(d) and O(d^3) a point
Source     Taha and Ablowitz 1984 (solitons); arXiv 2203.01360, section 5 (the other two, and the numbers of defaults)
Fails      the solitons live on the whole line: on a periodic box they are exact up to their tails at its ends

Each has `rate(t, x, u)`, the right-hand side for any function `u` of a point, and `exact(t, x)`.
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..core.checks import known, positive, real
from ..core.errors import InputError
from ..core.types import Point, Scalar, Time
from .mixtures import Mixture


class AbstractEvolution(eqx.Module):
    """du/dt = rate(t, x, u), with its solution."""

    @abc.abstractmethod
    def rate(self, t: Time, x: Point, u: Callable) -> Scalar:
        """The right-hand side at one point, for a function `u` of one point."""

    @abc.abstractmethod
    def exact(self, t: Time, x: Point) -> Scalar:
        """The solution at one time and point."""


class KdV(AbstractEvolution):
    """Two solitons of the Korteweg-de Vries equation, of heights k_i^2 / 2, one of which overtakes the other.

    Fields:
        k: wave numbers of the two, positive and different.
        shift: s, where they are at time 0: the one alone would be at -s_i / k_i.
    """

    k: Float[Array, "2"] = eqx.field(converter=real, default=(1.0, math.sqrt(5.0)))
    shift: Float[Array, "2"] = eqx.field(converter=real, default=(0.0, 10.73))

    def __check_init__(self):
        positive("KdV", "k", self.k)
        if (k := known(self.k)) is not None and k[0] == k[1]:
            raise InputError(f"KdV(k={k}): expected two different wave numbers; equal ones are one soliton")

    def rate(self, t, x, u):
        """-6 u u_x - u_xxx, for points that are numbers."""
        slope = jax.grad(u)
        return -6 * u(x) * slope(x) - jax.grad(jax.grad(slope))(x)

    def exact(self, t, x):
        """Twice the variance of the slopes 0, k1, k2, k1 + k2 under the weights of the four exponentials."""
        a, b = (self.k * x - self.k**3 * t + self.shift).astype(x.dtype)
        k1, k2 = self.k.astype(x.dtype)
        merged = a + b + 2 * jnp.log(jnp.abs(k1 - k2) / (k1 + k2))
        exponents = jnp.stack([jnp.zeros_like(a), a, b, merged])
        weights = jnp.exp(exponents - logsumexp(exponents))
        slopes = jnp.stack([jnp.zeros_like(k1), k1, k2, k1 + k2])
        return 2 * jnp.sum(weights * (slopes - jnp.sum(weights * slopes)) ** 2)


class Advection(AbstractEvolution):
    """Anything carried along by a velocity that depends on time alone.

    Fields:
        start: u_0, a function of one point.
        amplitude, frequency: a and w, for each coordinate.
        offset: b.
    """

    start: Callable
    amplitude: Float[Array, " d"]
    frequency: Float[Array, " d"]
    offset: Float[Array, ""] = eqx.field(converter=real, default=1.25)

    def __check_init__(self):
        positive("Advection", "frequency", self.frequency)

    @classmethod
    def bumps(cls, dim: int = 5) -> "Advection":
        """The recipe of 2203.01360: the sum of two Gaussian densities, narrower along some coordinates than others."""
        i = jnp.arange(1.0, dim + 1)
        means = jnp.stack([jnp.full(dim, 1.1), 0.75 * (1.5 - i * (-1.0) ** i / (dim + 1))])
        variances = jnp.stack([0.01 * i, 0.005 * (dim + 2 - i)])
        # The paper adds two normalised densities, so that the mass is 2.
        return cls(
            Bumps(Mixture(jnp.full(2, 0.5), means, jax.vmap(jnp.diag)(variances))), i, 2 + 2 * (i - 1) / max(dim - 1, 1)
        )

    def velocity(self, t) -> Float[Array, " d"]:
        """c(t)."""
        return self.amplitude * (jnp.sin(self.frequency * jnp.pi * t) + self.offset)

    def displacement(self, t) -> Float[Array, " d"]:
        """The integral of c from 0 to t."""
        turn = self.frequency * jnp.pi
        return self.amplitude * ((1 - jnp.cos(turn * t)) / turn + self.offset * t)

    def rate(self, t, x, u):
        """-c(t) . grad u."""
        return -jnp.dot(self.velocity(t).astype(x.dtype), jax.grad(u)(x))

    def exact(self, t, x):
        """u_0 where the point came from."""
        return self.start(x - self.displacement(t).astype(x.dtype))


class Bumps(eqx.Module):
    """The density of a mixture times its number of components: a sum of normalised densities."""

    mixture: Mixture

    def __call__(self, x: Point) -> Scalar:
        """At one point."""
        return self.mixture.weights.shape[0] * jnp.exp(self.mixture.log_prob(x))


class Trap(AbstractEvolution):
    """d particles on a line that attract each other, in a harmonic trap that swings to and fro.

    Fields:
        mean, cov: of the Gaussian at time 0.
        attraction: alpha, toward the mean of all particles.
        beta: inverse temperature.
    """

    mean: Float[Array, " d"]
    cov: Float[Array, "d d"]
    attraction: Float[Array, ""] = eqx.field(converter=real, default=0.25)
    beta: Float[Array, ""] = eqx.field(converter=real, default=100.0)

    def __check_init__(self):
        positive("Trap", "beta", self.beta)

    @classmethod
    def particles(cls, dim: int = 8) -> "Trap":
        """The recipe of 2203.01360: particles from 0.9 to 3 with variance 0.1."""
        return cls(jnp.linspace(0.9, 3.0, dim), 0.1 * jnp.eye(dim))

    def centre(self, t) -> Float[Array, ""]:
        """a(t), where the trap is."""
        return 1.25 * (jnp.sin(jnp.pi * t) + 1.5)

    def rate(self, t, x, u):
        """div((x - a + alpha (x - mean x)) u) + lap u / beta."""
        d, alpha, beta = x.size, self.attraction.astype(x.dtype), self.beta.astype(x.dtype)
        pull = x - self.centre(t) + alpha * (x - jnp.mean(x))
        # div of the pull: each coordinate counts 1 + alpha (1 - 1/d).
        spread = d + alpha * (d - 1)
        laplacian = jnp.trace(jax.hessian(u)(x))
        return spread * u(x) + jnp.dot(pull, jax.grad(u)(x)) + laplacian / beta

    def moments(self, t) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Mean and covariance at one time: the mean of all particles decays at rate 1, differences at 1 + alpha."""
        d, rate, pi = self.mean.size, 1 + self.attraction, jnp.pi
        whole, apart = jnp.exp(-t), jnp.exp(-rate * t)
        # int_0^t e^{-(t - s)} a(s) ds
        swing = (jnp.sin(pi * t) - pi * jnp.cos(pi * t) + pi * whole) / (1 + pi**2)
        middle = jnp.mean(self.mean)
        mean = whole * middle + 1.25 * (swing + 1.5 * (1 - whole)) + apart * (self.mean - middle)
        together = jnp.full((d, d), 1 / d, self.cov.dtype)
        rest = jnp.eye(d, dtype=self.cov.dtype) - together
        decay = whole * together + apart * rest
        noise = (1 - whole**2) * together + (1 - apart**2) / rate * rest
        return mean, decay @ self.cov @ decay + noise / self.beta

    def exact(self, t, x):
        """The Gaussian density with these moments."""
        mean, cov = self.moments(t)
        factor = jnp.linalg.cholesky(cov)
        z = jax.scipy.linalg.solve_triangular(factor, x - mean.astype(x.dtype), lower=True)
        log_volume = jnp.sum(jnp.log(jnp.diag(factor))) + 0.5 * x.size * math.log(2 * math.pi)
        return jnp.exp(-0.5 * jnp.sum(z**2) - log_volume)
