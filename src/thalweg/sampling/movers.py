"""How particles go from one rung to the next, and what that does to their weights.

Answers    which moves may a weighted cloud make without its weights becoming wrong?
Equations  Invariant   w <- w rho_{beta'}(x)/rho_beta(x), then moves that keep rho_{beta'}                 (Neal 2001)
           Jarzynski   x' from one unadjusted Langevin step at beta;
                       w <- w rho_{beta'}(x') q_{beta'}(x', x) / rho_beta(x) q_beta(x, x')          (eq. 13-14)
Symbols    q -> the transition density of `langevin`, h -> step_size, s -> scale
Cost       Invariant: one gradient and those of the moves; Jarzynski: two
Source     Neal, arXiv physics/9803008; arXiv 2305.19414
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import Cloud, InputError, Paper
from ..core.checks import positive
from ..problems import AbstractDensity
from .kernels import AbstractKernel, langevin, log_transition
from .tempering import Tempering


class AbstractMover(eqx.Module):
    """Moves particles from one rung to the next, and says by which factor their weights change."""

    @property
    def adapts(self) -> bool:
        """Whether moves that are refused now may be accepted later."""
        return False

    @abc.abstractmethod
    def before(self, x: Cloud, log_ratio, beta, new) -> Float[Array, " n"]:
        """Log weight increments that are known before the move; particles may be resampled after them."""

    @abc.abstractmethod
    def __call__(self, problem: Tempering, kernel: Any, x: Cloud, beta, new, *, key) -> tuple:
        """The moved particles, log increments of the move, the mean acceptance, how many were broken, the kernel."""

    @abc.abstractmethod
    def cost(self) -> int:
        """Gradients a particle and step."""


class Invariant(AbstractMover):
    """Reweight, then `moves` steps of a kernel that keeps the new rung: AIS and SMC.

    Fields:
        kernel: any kernel with a test; those without one leave a bias that no weight corrects.
        moves: steps a rung.
        tuning: how fast the step size follows the kernel's target acceptance, from move to move, with the particles'
            own spread as the kernel's scale; 0 leaves the kernel as it is, and Z unbiased.
    """

    kernel: AbstractKernel
    moves: int = eqx.field(static=True, default=1)
    tuning: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if self.moves < 1:
            raise InputError(f"Invariant(moves={self.moves}): expected at least 1")

    def before(self, x, log_ratio, beta, new):
        """(beta' - beta) log(target/base)."""
        return (new - beta) * log_ratio

    def __call__(self, problem, kernel, x, beta, new, *, key):
        """Moves at the new rung; the increments are zero."""
        density = problem.at(new)
        start_key, move_key = jax.random.split(key)
        walkers = jax.vmap(lambda p, k: kernel.init(density, p, key=k))(x, jax.random.split(start_key, len(x)))
        # The cloud's own lengths, as of before the moves.
        kernel = self._scaled(kernel, x)
        numbers, rest = eqx.partition(kernel, eqx.is_array)

        def once(carry, i):
            walkers, numbers = carry
            now = eqx.combine(numbers, rest)
            keys = jax.random.split(jax.random.fold_in(move_key, i), len(x))
            walkers, move = jax.vmap(lambda w, k: now.step(density, w, key=k))(walkers, keys)
            accept = jnp.mean(move.accept)
            now = self._tuned(now, accept)
            return (walkers, eqx.filter(now, eqx.is_array)), (accept, jnp.sum(move.broken))

        (walkers, numbers), (accept, broken) = jax.lax.scan(once, (walkers, numbers), jnp.arange(self.moves))
        kernel = eqx.combine(numbers, rest)
        return walkers.x, jnp.zeros(len(x), x.dtype), jnp.mean(accept), jnp.sum(broken), kernel

    @property
    def adapts(self):
        """Whether the step size follows the acceptance."""
        return self.tuning > 0 and self.kernel.target is not None

    def _scaled(self, kernel, x):
        if not self.adapts:
            return kernel
        spread = jnp.std(x, axis=0)
        # A coordinate on which all particles agree gives no length.
        return kernel.tuned(kernel.step_size, jnp.where(spread > 0, spread, 1.0))

    def _tuned(self, kernel, accept):
        if not self.adapts:
            return kernel
        return kernel.tuned(kernel.step_size * jnp.exp(self.tuning * (accept - kernel.target)), kernel.scale)

    def cost(self):
        """The kernel's, and one to begin with."""
        return 1 + self.moves * self.kernel.gradients


class Jarzynski(AbstractMover):
    """One unadjusted Langevin step a rung, with weights that are exact for every step size.

    Fields:
        step_size: h of y = x + h s^2 grad log rho + sqrt(2h) s xi.
        scale: s, a length for each coordinate.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    scale: Float[Array, "..."] = eqx.field(converter=jnp.asarray, default=1.0)
    paper: ClassVar[Paper] = Paper(
        "jarzynski-ebm",
        "Efficient Training of Energy-Based Models Using Jarzynski Equality",
        "2305.19414",
        2023,
        "13, 14 (weights of the discrete path)",
        "reproduced",
    )

    def __check_init__(self):
        for name in ("step_size", "scale"):
            positive("Jarzynski", name, getattr(self, name))

    def before(self, x, log_ratio, beta, new):
        """Nothing is known before the step."""
        return jnp.zeros_like(log_ratio)

    def __call__(self, problem, kernel, x, beta, new, *, key):
        """The step, and the ratio of the backward to the forward path."""
        old, new_density = problem.at(beta), problem.at(new)
        step = lambda p, k: unadjusted(old, new_density, p, self.step_size, self.scale, key=k)  # noqa: E731
        y, log_w = jax.vmap(step)(x, jax.random.split(key, len(x)))
        return y, log_w, jnp.ones((), x.dtype), jnp.sum(~jnp.isfinite(log_w) & (log_w != -jnp.inf)), kernel

    def cost(self):
        """The forward and the backward gradient."""
        return 2


def unadjusted(old: AbstractDensity, new: AbstractDensity, x, step_size, scale, *, key):
    """One Langevin step at `old`, and the log weight that makes the cloud stand for `new` (eq. 13-14).

    log new(y) q_new(y, x) - log old(x) q_old(x, y); exact for every step size, since it is the ratio of the two
    densities of the pair (x, y).
    """
    h, s = step_size.astype(x.dtype), scale.astype(x.dtype)
    before, forward = jax.value_and_grad(old.log_prob)(x)
    y = langevin(x, forward, h, s, key)
    after, backward = jax.value_and_grad(new.log_prob)(y)
    return y, after - before + log_transition(y, x, backward, h, s) - log_transition(x, y, forward, h, s)
