"""Rungs between two densities, and how to choose them.

Answers    which densities lead from a base that can be drawn from to a target that cannot?
Equations  rho_beta = base^{1 - beta} target^beta,  0 = beta_0 < ... < beta_K = 1
           conditional ESS (sum W v)^2 / sum W v^2 = share,  v = (target/base)^{beta' - beta}        (`Adaptive`)
Symbols    beta -> beta, W -> normalised weights
Source     Zhou, Johansen and Aston, arXiv 1303.3123, section 3.3 (conditional ESS)
Fails      where either density is zero the log of the product is -inf, at the ends too, but never NaN
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..core import InputError
from ..core.checks import known
from ..problems import AbstractDensity, check_base


class Tempered(AbstractDensity):
    """base^{1 - beta} target^beta: one rung between two densities."""

    base: AbstractDensity
    target: AbstractDensity
    beta: Float[Array, ""]

    @property
    def event(self):
        """The shape of one point."""
        return self.target.event

    def log_prob(self, x):
        """(1 - beta) log base + beta log target."""
        return _power(self.base.log_prob(x), 1 - self.beta) + _power(self.target.log_prob(x), self.beta)


class Tempering(eqx.Module):
    """The problem: a base with exact draws and a known Z, and the target.

    Raises:
        InputError: when their points differ in shape, or the base's Z is not known.
    """

    base: AbstractDensity
    target: AbstractDensity

    def __check_init__(self):
        check_base(self.base, self.target.event)

    def at(self, beta) -> Tempered:
        """The rung at `beta`."""
        return Tempered(self.base, self.target, beta)

    def log_ratio(self, x) -> Float[Array, ""]:
        """log target - log base at one point: the derivative of the rung's log density in beta."""
        return self.target.log_prob(x) - self.base.log_prob(x)


class AbstractSchedule(eqx.Module):
    """Chooses the next beta."""

    @abc.abstractmethod
    def __call__(self, step, beta, log_w, log_ratio) -> Float[Array, ""]:
        """The next beta, from the number of steps taken, the present beta, weights and log ratios."""


class Ladder(AbstractSchedule):
    """Fixed rungs from 0 to 1: log Z is then unbiased in Z.

    Raises:
        InputError: rungs that do not rise from 0 to 1.
    """

    betas: Float[Array, " k"]

    def __init__(self, betas):
        self.betas = jnp.asarray(betas, float)
        if (rungs := known(self.betas)) is None:
            return
        if rungs.ndim != 1 or len(rungs) < 2 or rungs[0] != 0 or rungs[-1] != 1 or not np.all(np.diff(rungs) > 0):
            raise InputError(f"Ladder: got {rungs}; expected a list that rises from 0 to 1")

    @classmethod
    def power(cls, steps: int, power: float = 1.0) -> "Ladder":
        """beta_k = (k / steps)^power: above one, closer rungs near the base."""
        if steps < 1:
            raise InputError(f"Ladder.power(steps={steps}): expected at least 1")
        return cls((np.arange(steps + 1) / steps) ** power)

    def __call__(self, step, beta, log_w, log_ratio):
        """The next rung."""
        return self.betas[jnp.minimum(step + 1, len(self.betas) - 1)].astype(log_w.dtype)


class Adaptive(AbstractSchedule):
    """The next beta leaves this share of the particles effective (conditional ESS).

    Fields:
        share: between 0 and 1; nearer to one for more rungs.
    """

    share: float = 0.9

    def __check_init__(self):
        if not 0 < self.share < 1:
            raise InputError(f"Adaptive(share={self.share}): expected a number between 0 and 1")

    def __call__(self, step, beta, log_w, log_ratio):
        """By bisection: forty halvings resolve any beta."""
        w = jax.nn.log_softmax(log_w)

        def enough(new):
            moved = (new - beta) * log_ratio
            top = jnp.max(moved)
            return 2 * logsumexp(w + moved - top) - logsumexp(w + 2 * (moved - top)) >= jnp.log(self.share)

        def halve(bracket, _):
            low, high = bracket
            middle = 0.5 * (low + high)
            good = enough(middle)
            return (jnp.where(good, middle, low), jnp.where(good, high, middle)), None

        one = jnp.ones_like(beta)
        (low, _), _ = jax.lax.scan(halve, (beta, one), None, length=40)
        # However steep the target, the ladder has an end.
        return jnp.where(enough(one), one, jnp.maximum(low, beta + (1 - beta) * 1e-6))


def _power(log_prob, beta):
    # A density may be zero, and 0 log 0 is no number; nor is its derivative, hence the second `where`.
    return jnp.where(beta > 0, beta * jnp.where(beta > 0, log_prob, 0.0), 0.0)
