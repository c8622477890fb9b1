"""Markov kernels: one step of one walker, that leaves a density as it is (or nearly so).

Answers    given a log density at a point, where does the walker go next, and was the step a good one?
Equations  RandomWalk   y = x + h s xi;                                         accept min(1, rho(y)/rho(x))
           ULA          y = x + h s^2 grad log rho(x) + sqrt(2 h) s xi          no test: a bias of order h
           MALA         the same y;                          accept min(1, rho(y) q(y, x) / rho(x) q(x, y))
           HMC          v ~ N(0, I); leapfrog `leaps` times;                    accept min(1, e^{-dH})
           Underdamped  B A O A B of (x, v), friction gamma;                    no test: a bias of order h^2
           GHMC         O(h/2), one leapfrog with the test of HMC (v -> -v when refused), O(h/2)
Symbols    rho = e^{log_prob}, xi ~ N(0, I), h -> step_size, s -> scale (a length for each coordinate), v -> momentum
Cost       one gradient a step; RandomWalk none, HMC `leaps`
Source     Roberts and Tweedie 1996 (ULA, MALA); Neal, arXiv 1206.1901 (HMC); Leimkuhler and Matthews, arXiv 1203.5428
           (BAOAB); Horowitz 1991 (GHMC)
Fails      a proposal at which the log density is NaN or +inf is refused AND counted in `Move.broken`; a refused step
           with an energy error above 1000 is counted in `Move.divergent`. The kernels without a test have no remedy:
           there a number that is not finite stays, and ends the run

A kernel sees one walker; runners `vmap`. `h` is the Langevin time of ULA and MALA, and the step of the leapfrog for
HMC, Underdamped and GHMC, in units of `scale`; both may be traced, so that a warm-up can tune them.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core import InputError, Key, Point
from ..core.checks import at_least_zero, positive
from ..problems import AbstractDensity

# Stan's bound: an energy error that no accident explains.
DIVERGENT = 1000.0


class Walker(eqx.Module):
    """Where a walker is, the log density and its gradient there, and its momentum where the kernel keeps one."""

    x: Point
    log_prob: Float[Array, ""]
    score: Any = None
    momentum: Any = None


class Move(eqx.Module):
    """How a step went: the probability of acceptance, the energy error, and what must not pass unseen."""

    accept: Float[Array, ""]
    energy_error: Float[Array, ""]
    divergent: Bool[Array, ""]
    broken: Bool[Array, ""]


class AbstractKernel(eqx.Module):
    """A step of one walker.

    `target` is the rate of acceptance that a warm-up aims at, None for a kernel without a test, which leaves the
    density only nearly as it is.
    """

    target: eqx.AbstractClassVar[float | None]

    @property
    @abc.abstractmethod
    def gradients(self) -> int:
        """Gradients a step costs."""

    @abc.abstractmethod
    def init(self, density: AbstractDensity, x: Point, *, key: Key) -> Any:
        """A walker at `x`."""

    @abc.abstractmethod
    def step(self, density: AbstractDensity, walker: Any, *, key: Key) -> tuple[Any, Move]:
        """The walker after one step, and how it went."""

    def tuned(self, step_size, scale) -> "AbstractKernel":
        """The same kernel with another step size and scale."""
        raise InputError(f"{type(self).__name__} has no step size to tune; run it without warm-up")


class AbstractScaled(AbstractKernel):
    """A kernel with a step size, in units of a length for each coordinate; a warm-up can tune both.

    Fields:
        step_size: h.
        scale: s, a length for each coordinate, or one for all.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    scale: Float[Array, "..."] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        for name in ("step_size", "scale"):
            positive(type(self).__name__, name, getattr(self, name))

    def init(self, density, x, *, key):
        """A walker at `x`, with the log density's gradient there."""
        return _with_score(density, x)

    def tuned(self, step_size, scale) -> "AbstractScaled":
        """The same kernel with another step size and scale."""
        return eqx.tree_at(lambda k: (k.step_size, k.scale), self, (step_size, scale))

    def following(self, x: Point) -> "AbstractScaled":
        """The same kernel in the precision of `x`, with a length for each coordinate: what a loop can tune."""
        scale = jnp.broadcast_to(self.scale.astype(x.dtype), x.shape)
        return self.tuned(self.step_size.astype(x.dtype), scale)


class RandomWalk(AbstractScaled):
    """Random-walk Metropolis; needs no gradient."""

    target: ClassVar[float | None] = 0.234

    @property
    def gradients(self):
        """None."""
        return 0

    def init(self, density, x, *, key):
        """A walker at `x`."""
        return Walker(x, density.log_prob(x))

    def step(self, density, walker, *, key):
        """One proposal."""
        noise_key, test_key = jax.random.split(key)
        y = walker.x + _like(self.step_size * self.scale, walker.x) * _normal(noise_key, walker.x)
        new = Walker(y, density.log_prob(y))
        return _metropolis(walker, new, new.log_prob - walker.log_prob, test_key)


class ULA(AbstractScaled):
    """Unadjusted Langevin; the density it keeps differs from the target by order h."""

    target: ClassVar[float | None] = None

    @property
    def gradients(self):
        """One."""
        return 1

    def step(self, density, walker, *, key):
        """One step."""
        h, s = _like(self.step_size, walker.x), _like(self.scale, walker.x)
        new = _with_score(density, langevin(walker.x, walker.score, h, s, key))
        error = walker.log_prob - new.log_prob - _log_ratio(walker, new, h, s)
        return new, _move(jnp.ones_like(error), error)


class MALA(AbstractScaled):
    """Langevin proposals with Metropolis's test."""

    target: ClassVar[float | None] = 0.574

    @property
    def gradients(self):
        """One."""
        return 1

    def step(self, density, walker, *, key):
        """One proposal."""
        noise_key, test_key = jax.random.split(key)
        h, s = _like(self.step_size, walker.x), _like(self.scale, walker.x)
        new = _with_score(density, langevin(walker.x, walker.score, h, s, noise_key))
        log_ratio = new.log_prob - walker.log_prob + _log_ratio(walker, new, h, s)
        return _metropolis(walker, new, log_ratio, test_key)


class HMC(AbstractScaled):
    """Hamiltonian Monte Carlo with a fixed number of leapfrog steps and fresh momenta.

    Fields:
        leaps: leapfrog steps of a trajectory.
        jitter: each trajectory's step is h times a number between 1 - jitter and 1 + jitter; with 0, trajectories as
            long as a period of the density come back to where they began (Neal, section 5.4.2.2).
    """

    leaps: int = eqx.field(static=True, default=8, kw_only=True)
    jitter: float = eqx.field(static=True, default=0.0, kw_only=True)
    target: ClassVar[float | None] = 0.65

    def __check_init__(self):
        if self.leaps < 1:
            raise InputError(f"HMC(leaps={self.leaps}): expected at least 1")
        if not 0 <= self.jitter < 1:
            raise InputError(f"HMC(jitter={self.jitter}): expected at least 0 and less than 1")

    @property
    def gradients(self):
        """One a leap."""
        return self.leaps

    def step(self, density, walker, *, key):
        """One trajectory."""
        momentum_key, test_key = jax.random.split(key)
        v = _normal(momentum_key, walker.x)
        kernel = self
        if self.jitter:
            # A key of its own, so that without jitter nothing changes; the step knows nothing of x, so the test holds.
            u = jax.random.uniform(jax.random.fold_in(key, 2), (), walker.x.dtype, 1 - self.jitter, 1 + self.jitter)
            kernel = self.tuned(self.step_size * u, self.scale)
        new, v_new = _leapfrog(kernel, density, walker, v, self.leaps)
        log_ratio = new.log_prob - walker.log_prob + 0.5 * (jnp.sum(v**2) - jnp.sum(v_new**2))
        return _metropolis(walker, new, log_ratio, test_key)


class Underdamped(AbstractScaled):
    """Underdamped Langevin by the BAOAB splitting, without a test; positions biased by order h^2.

    Fields:
        friction: gamma, in units of 1 over the time of `step_size`; at least 0.
    """

    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0, kw_only=True)
    target: ClassVar[float | None] = None

    @property
    def gradients(self):
        """One."""
        return 1

    def __check_init__(self):
        at_least_zero(type(self).__name__, "friction", self.friction)

    def init(self, density, x, *, key):
        """A walker at `x` with a momentum at equilibrium."""
        return _with_score(density, x, _normal(key, x))

    def step(self, density, walker, *, key):
        """One B A O A B."""
        h, s = _like(self.step_size, walker.x), _like(self.scale, walker.x)
        before = walker.momentum + h / 2 * s * walker.score
        half = walker.x + h / 2 * s * before
        after = _ornstein_uhlenbeck(before, _like(self.friction, walker.x) * h, key)
        new = _with_score(density, half + h / 2 * s * after)
        v = after + h / 2 * s * new.score
        # The energy that the deterministic parts did not conserve: zero as h goes to 0.
        error = (
            walker.log_prob
            - new.log_prob
            + 0.5 * (jnp.sum(before**2) - jnp.sum(walker.momentum**2) + jnp.sum(v**2) - jnp.sum(after**2))
        )
        new = Walker(new.x, new.log_prob, new.score, v)
        return new, _move(jnp.ones_like(error), error)


class GHMC(AbstractScaled):
    """Underdamped Langevin made exact: one leapfrog under Metropolis's test, the momentum turned round when refused."""

    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0, kw_only=True)
    # A refusal sends the walker back along its path, so they must be rare.
    target: ClassVar[float | None] = 0.95

    @property
    def gradients(self):
        """One."""
        return 1

    def __check_init__(self):
        at_least_zero(type(self).__name__, "friction", self.friction)

    def init(self, density, x, *, key):
        """A walker at `x` with a momentum at equilibrium."""
        return _with_score(density, x, _normal(key, x))

    def step(self, density, walker, *, key):
        """O, one leapfrog with the test, O."""
        keys = jax.random.split(key, 3)
        damping = _like(self.friction, walker.x) * _like(self.step_size, walker.x) / 2
        v = _ornstein_uhlenbeck(walker.momentum, damping, keys[0])
        new, v_new = _leapfrog(self, density, walker, v, 1)
        log_ratio = new.log_prob - walker.log_prob + 0.5 * (jnp.sum(v**2) - jnp.sum(v_new**2))
        old = Walker(walker.x, walker.log_prob, walker.score, -v)
        new = Walker(new.x, new.log_prob, new.score, v_new)
        chosen, move = _metropolis(old, new, log_ratio, keys[1])
        turned = _ornstein_uhlenbeck(chosen.momentum, damping, keys[2])
        return Walker(chosen.x, chosen.log_prob, chosen.score, turned), move


class FromBlackjax(AbstractKernel):
    """Any of blackjax's samplers, such as NUTS (the extra `mcmc`).

        FromBlackjax(lambda log_prob: blackjax.nuts(log_prob, step_size=0.3, inverse_mass_matrix=jnp.ones(5)))

    Fields:
        build: a log density -> blackjax's `SamplingAlgorithm`.
        gradients: how many gradients a step counts as; NUTS has no fixed number.
    """

    build: Callable = eqx.field(static=True)
    gradients: int = eqx.field(static=True, default=1)
    target: ClassVar[float | None] = None

    def init(self, density, x, *, key):
        """blackjax's own state, behind a walker's face."""
        return Foreign(self.build(density.log_prob).init(x))

    def step(self, density, walker, *, key):
        """blackjax's own step."""
        inner, info = self.build(density.log_prob).step(key, walker.inner)
        new = Foreign(inner)
        accept = jnp.asarray(getattr(info, "acceptance_rate", 1.0), new.log_prob.dtype)
        divergent = jnp.asarray(getattr(info, "is_divergent", False))
        return new, Move(accept, jnp.zeros_like(accept), divergent, jnp.asarray(False))


class Foreign(eqx.Module):
    """blackjax's state with the names of `Walker`."""

    inner: Any

    @property
    def x(self):
        """Where the walker is."""
        return self.inner.position

    @property
    def log_prob(self):
        """The log density there."""
        return self.inner.logdensity


def langevin(x, score, h, s, key):
    """x + h s^2 score + sqrt(2 h) s xi: one step of Langevin time h."""
    return x + h * s**2 * score + jnp.sqrt(2 * h) * s * _normal(key, x)


def log_transition(x, y, score, h, s):
    """log of the density of `langevin`'s step from x to y, up to a constant of h and s."""
    return -jnp.sum(((y - x - h * s**2 * score) / s) ** 2) / (4 * h)


def _log_ratio(old, new, h, s):
    return log_transition(new.x, old.x, new.score, h, s) - log_transition(old.x, new.x, old.score, h, s)


def _with_score(density, x, momentum=None):
    log_prob, score = jax.value_and_grad(density.log_prob)(x)
    return Walker(x, log_prob, score, momentum)


def _leapfrog(kernel, density, walker, v, leaps):
    h, s = _like(kernel.step_size, walker.x), _like(kernel.scale, walker.x)

    def leap(carry, _):
        walker, v = carry
        v = v + h / 2 * s * walker.score
        new = _with_score(density, walker.x + h * s * v)
        return (new, v + h / 2 * s * new.score), None

    start = Walker(walker.x, walker.log_prob, walker.score)
    return jax.lax.scan(leap, (start, v), None, length=leaps)[0]


def _ornstein_uhlenbeck(v, damping, key):
    # 1 - c^2 through expm1: in single precision the noise of short steps would be lost.
    return jnp.exp(-damping) * v + jnp.sqrt(-jnp.expm1(-2 * damping)) * _normal(key, v)


def _metropolis(old, new, log_ratio, key):
    log_ratio = log_ratio.astype(old.log_prob.dtype)
    # +inf as a density would be accepted for ever; NaN compares as false, which would hide it.
    broken = jnp.isnan(log_ratio) | (new.log_prob == jnp.inf)
    accept = jnp.where(broken, 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
    taken = jax.random.uniform(key, (), accept.dtype) < accept
    chosen = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
    # Outside the support the error is infinite and no mistake.
    error = jnp.where(broken | jnp.isinf(log_ratio), 0.0, -log_ratio)
    return chosen, Move(accept, error, error > DIVERGENT, broken)


def _move(accept, error):
    return Move(accept, error, jnp.abs(error) > DIVERGENT, ~jnp.isfinite(error))


def _like(value, x):
    return value.astype(x.dtype)


def _normal(key, x):
    return jax.random.normal(key, x.shape, x.dtype)
