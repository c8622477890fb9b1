"""Systems with weak noise, seen through their Hamiltonian: the face that every method of this room takes.

Answers    what does it cost a noisy system to move from x with velocity v, and which force does the noise exert?
Equations  rate of an event ~ e^{-S/eps},   S = min over paths of int sup_p (p . x' - H(x, p)) dt
           diffusions       dX = b dt + sqrt(eps) sigma dW,  a = sigma sigma^T:   H = b . p + 1/2 p . a p
           jump processes   n -> n + nu_r at rate w_r(n/Omega) Omega, eps = 1/Omega:  H = sum_r w_r (e^{nu_r . p} - 1)
           geometric form   S = min int p . dx,  where H(x, p) = 0 and dH/dp = lambda x'
                            diffusions: lambda = |b| / |x'|, p = a^{-1} (lambda x' - b), norms |v|^2 = v . a^{-1} v
                            others: Newton's iteration of Heymann and Vanden-Eijnden (2008), eq. (3.17)
Symbols    b -> drift, a -> covariance, p -> momentum, lambda -> speed (of arc per unit of time), nu -> changes
Cost       a momentum: one drift for diffusions; for others a few Hessians in p, O(d^3), of a point of d numbers
Fails      a noise that does not reach every direction has no geometric action: a must be positive definite. Rates that
           turn negative (a concentration below 0) make the action NaN
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

from ..core import InputError
from ..core.checks import known, positive, real
from ..core.types import Point

# Newton's iteration for the momentum: its length, and the most that an exponent may change in one step.
ITERATIONS, REACH = 40, 1.0

Noise = Float[Array, "..."]


class AbstractSystem(eqx.Module):
    """A system with weak noise. `hamiltonian` is all that must be given."""

    @abc.abstractmethod
    def hamiltonian(self, x: Point, p: Point) -> Float[Array, ""]:
        """H at one point and one momentum of its shape; convex in the momentum, zero for none."""

    @property
    def weight(self) -> float:
        """The measure of one coordinate: what sums over coordinates are multiplied with to give the action."""
        return 1.0

    def drift(self, x: Point) -> Point:
        """The motion without noise, dH/dp at p = 0."""
        return self.velocity(x, jnp.zeros_like(x))

    def velocity(self, x: Point, p: Point) -> Point:
        """dH/dp."""
        return jax.grad(self.hamiltonian, argnums=1)(x, p)

    def curvature(self, x: Point, p: Point) -> Float[Array, "d d"]:
        """The second derivative of H in the momentum, of the flattened point."""
        return jax.hessian(self.hamiltonian, argnums=1)(x, p).reshape(x.size, x.size)

    def covariance(self, x: Point) -> Noise:
        """a: the covariance of the noise per unit of time, a number, an array like x, or a matrix."""
        return self.curvature(x, jnp.zeros_like(x))

    def momentum(self, x: Point, v: Point, guess: Point) -> tuple[Point, Float[Array, ""]]:
        """p and lambda with H(x, p) = 0 and dH/dp = lambda v; both are 0 where v is."""

        def move(p):
            h, g = self.hamiltonian(x, p), self.velocity(x, p).ravel()
            factor = cho_factor(self.curvature(x, p))
            of_g, of_v = cho_solve(factor, g), cho_solve(factor, v.ravel())
            # The momentum of the quadratic that H is replaced with: the largest p . v where it vanishes.
            speed = jnp.sqrt(jnp.maximum(g @ of_g - 2 * h, 0) / (v.ravel() @ of_v))
            return speed * of_v - of_g, speed

        p, speed = _newton(move, guess)
        still = jnp.all(v == 0)
        return jnp.where(still, 0.0, p), jnp.where(still, 0.0, speed)

    def conjugate(self, x: Point, u: Point, guess: Point) -> Point:
        """The momentum that moves the system with velocity u: dH/dp = u."""

        def move(p):
            rest = (u - self.velocity(x, p)).ravel()
            return cho_solve(cho_factor(self.curvature(x, p)), rest), jnp.zeros((), x.dtype)

        return _newton(move, guess)[0]

    def filtered(self, x: Point, fn: Callable) -> Point:
        """fn(rates) applied to x in the modes of the stiff linear part of the drift; here there is none, of rate 0."""
        return fn(jnp.zeros((), x.dtype)) * x

    def drifts(self, x: Float[Array, "n *event"]) -> Float[Array, "n *event"]:
        """The drift at every point of a path."""
        return jax.vmap(self.drift)(x)


class AbstractSmallNoise(AbstractSystem):
    """A diffusion with weak noise. Subclasses write `drift` and `covariance`."""

    @abc.abstractmethod
    def drift(self, x: Point) -> Point:
        """b."""

    @abc.abstractmethod
    def covariance(self, x: Point) -> Noise:
        """a: a number, an array like x (independent noises), or a (d, d) matrix for points of shape (d,)."""

    def hamiltonian(self, x, p):
        """b . p + 1/2 p . a p."""
        return jnp.sum(self.drift(x) * p) + 0.5 * jnp.sum(p * times(self.covariance(x), p))

    def velocity(self, x, p):
        """The drift, and the noise applied to p."""
        return self.drift(x) + times(self.covariance(x), p)

    def curvature(self, x, p):
        """The noise as a matrix."""
        return as_matrix(self.covariance(x), x)

    def momentum(self, x, v, guess):
        """The closed form."""
        a, b = self.covariance(x), self.drift(x)
        of_b, of_v = over(a, b), over(a, v)
        length, still = jnp.sum(v * of_v), jnp.all(v == 0)
        speed = jnp.where(still, 0.0, jnp.sqrt(jnp.sum(b * of_b) / jnp.where(still, 1.0, length)))
        return jnp.where(still, 0.0, speed * of_v - of_b), speed

    def conjugate(self, x, u, guess):
        """The closed form."""
        return over(self.covariance(x), u - self.drift(x))


class SmallNoise(AbstractSmallNoise):
    """A diffusion with weak noise from two functions.

    Fields:
        drift_fn: x -> b, like x.
        noise: a = sigma sigma^T: a number, an array like x, a (d, d) matrix, or a function x -> one of these.
    """

    drift_fn: Callable
    noise: Noise | Callable = eqx.field(converter=lambda a: a if callable(a) else real(a), default=1.0)

    def drift(self, x):
        """The function's value."""
        return self.drift_fn(x)

    def covariance(self, x):
        """The noise at x."""
        return jnp.asarray(self.noise(x) if callable(self.noise) else self.noise, x.dtype)


class AbstractGradient(AbstractSmallNoise):
    """dX = -grad V dt + sqrt(eps a) dW with a number a: e^{-2 V / (a eps)} is stationary, and S = 2 dV / a uphill."""

    noise: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def potential(self, x: Point) -> Float[Array, ""]:
        """V at one point."""

    def drift(self, x):
        """-grad V."""
        return -jax.grad(self.potential)(x)

    def covariance(self, x):
        """The noise, a number."""
        return self.noise.astype(x.dtype)

    def energies(self, x: Float[Array, "n *event"]) -> Float[Array, " n"]:
        """V at every point of a path."""
        return jax.vmap(self.potential)(x)


class Gradient(AbstractGradient):
    """A potential of one's own.

    Fields:
        potential_fn: x -> V, a number.
        noise: a; 2 makes eps the temperature, and S the barrier.
    """

    potential_fn: Callable
    noise: Float[Array, ""] = eqx.field(converter=real, default=2.0)

    def __check_init__(self):
        positive("Gradient", "noise", self.noise, "2 makes eps the temperature")

    def potential(self, x):
        """The function's value."""
        return self.potential_fn(x)


class Stirred(AbstractSmallNoise):
    """dX = -(M + J) grad V dt + sqrt(2 eps M) dW: e^{-V / eps} is stationary whatever the antisymmetric J.

    Fields:
        potential_fn: x -> V, a number, of points of shape (d,).
        mobility: M, a symmetric positive definite (d, d) matrix.
        circulation: J, an antisymmetric (d, d) matrix.
    """

    potential_fn: Callable
    mobility: Float[Array, "d d"] = eqx.field(converter=real)
    circulation: Float[Array, "d d"] = eqx.field(converter=real)

    def __check_init__(self):
        m, j = known(self.mobility), known(self.circulation)
        if m is not None and not (np.allclose(m, m.T) and np.linalg.eigvalsh(m).min() > 0):
            raise InputError("Stirred(mobility): expected a symmetric positive definite matrix")
        if j is not None and not np.allclose(j, -j.T):
            raise InputError("Stirred(circulation): expected an antisymmetric matrix; its symmetric part is mobility")

    def potential(self, x):
        """The function's value."""
        return self.potential_fn(x)

    def drift(self, x):
        """-(M + J) grad V."""
        return -(self.mobility + self.circulation).astype(x.dtype) @ jax.grad(self.potential)(x)

    def covariance(self, x):
        """Twice the mobility."""
        return 2 * self.mobility.astype(x.dtype)


class Jumps(AbstractSystem):
    """Reactions in a well-stirred volume, or any jump process with small jumps at high rates.

    Fields:
        rates: x -> the rate of each reaction, (r,), at least 0, per volume and time.
        changes: what each reaction adds to the numbers, (r, d).
    """

    rates: Callable
    changes: Float[Array, "r d"] = eqx.field(converter=real)

    def __check_init__(self):
        changes = known(self.changes)
        if changes is not None and (changes.ndim != 2 or not changes.any(axis=1).all()):
            raise InputError(
                f"Jumps(changes of shape {changes.shape}): expected (reactions, species), none of them without change"
            )

    def hamiltonian(self, x, p):
        """The sum over reactions of w (e^{nu . p} - 1)."""
        return jnp.sum(self.rates(x) * jnp.expm1(self.changes.astype(x.dtype) @ p))

    def curvature(self, x, p):
        """The sum over reactions of w e^{nu . p} nu nu^T."""
        nu = self.changes.astype(x.dtype)
        return nu.T @ ((self.rates(x) * jnp.exp(nu @ p))[:, None] * nu)


def times(a: Noise, v: Point) -> Point:
    """The noise applied to v, for a number, a diagonal or a matrix."""
    return a @ v if is_matrix(a, v) else a * v


def over(a: Noise, v: Point) -> Point:
    """a^{-1} v, for a number, a diagonal or a matrix."""
    return cho_solve(cho_factor(a), v) if is_matrix(a, v) else v / a


def is_matrix(a: Noise, v: Point) -> bool:
    """Whether `a` acts on `v` as a matrix."""
    return v.ndim == 1 and a.ndim == 2


def as_matrix(a: Noise, x: Point) -> Float[Array, "d d"]:
    """The noise as a matrix on the flattened point."""
    return a if is_matrix(a, x) else jnp.diag(jnp.broadcast_to(a, x.shape).ravel())


def _newton(move, guess):
    """Follow `move` (p -> step, speed) to rest; steps are cut where an exponential could overflow."""
    tolerance = jnp.sqrt(jnp.finfo(guess.dtype).eps)

    def going(carry):
        p, step, _, k = carry
        return (k < ITERATIONS) & (step > tolerance * (1 + jnp.max(jnp.abs(p))))

    def body(carry):
        p, _, _, k = carry
        step, speed = move(p)
        size = jnp.max(jnp.abs(step))
        p = p + (step * jnp.minimum(1.0, REACH / size)).reshape(p.shape)
        return p, size, speed, k + 1

    # A NaN ends the loop, as it is not larger than the tolerance, and stays in the momentum.
    first = (guess, jnp.asarray(jnp.inf, guess.dtype), jnp.zeros((), guess.dtype), 0)
    p, _, speed, _ = jax.lax.while_loop(going, body, first)
    return p, speed
