"""Velocity fields that do not depend on time, with their divergence, and points of phase space for one of them.

Answers    along which field shall a point be carried, and how fast does volume change there?
Equations  b(x) and (div b)(x);  (div b) of a softplus net U softplus(W x + c) is sum_j (W U)_jj softplus'(W x + c)_j,
           and of its gradient form grad [u . softplus(W x + c)] it is sum_j u_j |W_j|^2 softplus''(W x + c)_j
Symbols    W, c -> inner, bias;  U or u -> outer
Cost       closed forms cost as much as the field; `NeuralField` and `GradientField` d derivatives a point more
Fails      a field of the wrong shape is refused by `neis.average`. A divergence by random probes would make the
           exponential of its integral biased, so all of them are exact
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import Exact, InputError, Key, Paper, Point
from ..problems import AbstractDensity

papers = (
    Paper(
        "neis",
        "Learning Optimal Flows for Non-Equilibrium Importance Sampling",
        "2206.09908",
        2022,
        "finite- and infinite-time estimators, training by E[A^2], assisted starts",
        "reproduced",
    ),
)


class AbstractStill(eqx.Module):
    """A velocity b(x) that does not depend on time, with its divergence."""

    @abc.abstractmethod
    def __call__(self, x: Point) -> Point:
        """The velocity at one point, in units of x per unit of time."""

    def rates(self, x: Point) -> tuple[Point, Float[Array, ""]]:
        """The velocity and its divergence at one point."""
        exact = Exact()
        value, trace = exact(self, x, exact.probes(x, key=jax.random.key(0)))
        return value, trace[0]

    @property
    def gradients(self) -> int:
        """Evaluations of a target's gradient in one call."""
        return 0


class Affine(AbstractStill):
    """b(x) = A x + shift."""

    matrix: Float[Array, "d d"] = eqx.field(converter=jnp.asarray)
    shift: Float[Array, " d"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if self.matrix.ndim != 2 or self.matrix.shape != 2 * self.shift.shape:
            raise InputError(f"Affine: got matrix {self.matrix.shape}, shift {self.shift.shape}; expected (d, d), (d,)")

    def __call__(self, x):
        """A x + shift."""
        return self.matrix @ x + self.shift

    def rates(self, x):
        """The velocity, and the trace of A."""
        return self(x), jnp.trace(self.matrix)


class FunnelField(AbstractStill):
    """b(x) = (-beta, -alpha x_2, ..., -alpha x_d): down the first axis at a constant speed while the others contract.

    On orbits of this field the others are proportional to e^{(alpha / beta) x_1}, as in a funnel at alpha / beta = 1/2.
    """

    beta: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    alpha: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        """(-beta, -alpha x_2, ...)."""
        return -jnp.concatenate([self.beta[None], self.alpha * x[1:]]).astype(x.dtype)

    def rates(self, x):
        """The velocity, and -alpha (d - 1)."""
        return self(x), (-self.alpha * (x.size - 1)).astype(x.dtype)


class TwoLayer(AbstractStill):
    """b(x) = U softplus(W x + c) + shift: the generic net of the paper, with its divergence in closed form."""

    inner: Float[Array, "width d"]
    bias: Float[Array, " width"]
    outer: Float[Array, "d width"]
    shift: Float[Array, " d"]

    @classmethod
    def random(cls, d: int, width: int, *, scale: float = 1.0, key: Key) -> "TwoLayer":
        """Uniform weights as Glorot's; `scale` multiplies the last layer."""
        a, b, c = jax.random.split(key, 3)
        bias = _glorot(b, (width,), width, 1)
        return cls(
            _glorot(a, (width, d), width, d), bias, scale * _glorot(c, (d, width), d, width), jnp.zeros(d, bias.dtype)
        )

    def __call__(self, x):
        """The net."""
        return self.outer @ jax.nn.softplus(self.inner @ x + self.bias) + self.shift

    def rates(self, x):
        """The net, and sum_j (W U)_jj softplus'(y_j)."""
        y = self.inner @ x + self.bias
        pairs = jnp.sum(self.inner * self.outer.T, axis=1)
        return self.outer @ jax.nn.softplus(y) + self.shift, pairs @ jax.nn.sigmoid(y)


class TwoLayerGradient(AbstractStill):
    """b = grad V with V(x) = u . softplus(W x + c): the gradient net of the paper, divergence in closed form."""

    inner: Float[Array, "width d"]
    bias: Float[Array, " width"]
    outer: Float[Array, " width"]

    @classmethod
    def random(cls, d: int, width: int, *, scale: float = 1.0, key: Key) -> "TwoLayerGradient":
        """Uniform weights as Glorot's; `scale` multiplies the last layer."""
        a, b, c = jax.random.split(key, 3)
        outer = scale * _glorot(c, (width,), 1, width)
        return cls(_glorot(a, (width, d), width, d), _glorot(b, (width,), width, 1), outer)

    def __call__(self, x):
        """grad V."""
        return (self.outer * jax.nn.sigmoid(self.inner @ x + self.bias)) @ self.inner

    def rates(self, x):
        """grad V, and the Laplacian sum_j u_j |W_j|^2 softplus''(y_j)."""
        s = jax.nn.sigmoid(self.inner @ x + self.bias)
        laplacian = (self.outer * s * (1 - s)) @ jnp.sum(self.inner**2, axis=1)
        return (self.outer * s) @ self.inner, laplacian


class NeuralField(AbstractStill):
    """b(x) = net(0, x) for any net of this library that gives back the shape of its point."""

    net: Callable

    def __call__(self, x):
        """The net at time 0."""
        return self.net(jnp.zeros((), x.dtype), x)


class GradientField(AbstractStill):
    """b = grad_x potential(0, x) for any scalar net, such as `Potential(MLP((d,), out=(), key=key))`."""

    potential: Callable

    def __call__(self, x):
        """The gradient at time 0."""
        return jax.grad(self.potential, argnums=1)(jnp.zeros((), x.dtype), x)


class UnderdampedField(AbstractStill):
    """b(q, v) = (v, grad log rho(q) - friction v) on phase points of shape (2, *event); mass 1.

    Fields:
        density: rho, as a rule the target; it is not trained.
        friction: 1/time; positive contracts volume as time runs on. Trained.
    """

    density: AbstractDensity
    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        """(v, F(q) - friction v)."""
        still = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, self.density)
        return jnp.stack([x[1], still.score(x[0]) - self.friction.astype(x.dtype) * x[1]])

    def rates(self, x):
        """The velocity, and -friction d."""
        return self(x), (-self.friction * x[1].size).astype(x.dtype)

    @property
    def gradients(self):
        """One score."""
        return 1


class PlanarPoisson(AbstractStill):
    """In the plane, the field with div b = rho_1 - rho_0 of two normals: along its whole orbits A has no variance.

    b = b_1 - b_0,  b_k(x) = (x - m_k) (1 - exp(-|x - m_k|^2 / (2 s_k^2))) / (2 pi |x - m_k|^2). Orbits lead from near
    m_1 to near m_0, some by way of very far away and all of them slowly: run through them with `Hastened`.

    Fields:
        mean0, std0: of the base.
        mean1, std1: of the target.
    """

    mean0: Float[Array, " 2"] = eqx.field(converter=jnp.asarray)
    std0: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    mean1: Float[Array, " 2"] = eqx.field(converter=jnp.asarray)
    std1: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        """The velocity."""
        return self.rates(x)[0]

    def rates(self, x):
        """The velocity, and rho_1 - rho_0."""
        (b1, rho1), (b0, rho0) = (_charge(x - m, s) for m, s in ((self.mean1, self.std1), (self.mean0, self.std0)))
        return (b1 - b0).astype(x.dtype), (rho1 - rho0).astype(x.dtype)


class Hastened(AbstractStill):
    """The orbits of another field at another speed: b r / sqrt(|b|^2 + slow^2 / r^4),  r^2 = 1 + |x|^2.

    The speed grows with the distance, so that a way by far away takes little time. Over all times A depends on the
    orbits alone, since a positive factor on b changes the volume of a tube and the time spent in it alike; over a
    finite time it does not.
    """

    field: AbstractStill
    slow: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        """The velocity."""
        b, square = self.field(x), 1 + jnp.sum(x**2)
        return b * jnp.sqrt(square / (jnp.sum(b**2) + (self.slow / square) ** 2)).astype(x.dtype)

    @property
    def gradients(self):
        """Those of the field."""
        return self.field.gradients


def _charge(r, std):
    """The field of a normal density at the origin, and that density."""
    u = jnp.sum(r**2) / (2 * std**2)
    small = u < 1e-6
    # (1 - e^{-u}) / u, with its limit where both are 0.
    ratio = jnp.where(small, 1 - u / 2, -jnp.expm1(-u) / jnp.where(small, 1.0, u))
    return r * ratio / (4 * jnp.pi * std**2), jnp.exp(-u) / (2 * jnp.pi * std**2)


class Phase(AbstractDensity):
    """density(q) times a standard normal for the velocity: points (2, *event), the same normalising constant."""

    density: AbstractDensity

    @property
    def event(self):
        """Position and velocity."""
        return (2, *self.density.event)

    def log_prob(self, x):
        """Log density of the position plus that of the velocity, which is normalised."""
        v = x[1]
        return self.density.log_prob(x[0]) - 0.5 * jnp.sum(v**2) - 0.5 * v.size * jnp.log(2 * jnp.pi).astype(x.dtype)

    @property
    def log_z(self):
        """That of the density."""
        return self.density.log_z

    def sample(self, key, n):
        """Positions from the density, velocities from the normal."""
        a, b = jax.random.split(key)
        q = self.density.sample(a, n)
        return jnp.stack([q, jax.random.normal(b, q.shape, q.dtype)], axis=1)


def _glorot(key, shape, rows, columns):
    edge = (6 / (rows + columns)) ** 0.5
    return jax.random.uniform(key, shape, minval=-edge, maxval=edge)
