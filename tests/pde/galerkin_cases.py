"""Evolutions with an answer in closed form, in the precision of the moment.

What a test changes is a number in a module, not another function, so that nothing is compiled twice.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.pde import DensityUnits, Evolution
from thalweg.problems import Trap


class Pulled(eqx.Module):
    """A trap that is `factor` times as strong, and whose clock runs `clock` times as fast."""

    problem: Trap
    factor: Array
    clock: Array

    def __call__(self, t, x, u):
        return self.factor * self.problem.rate(self.clock * t, x, u)


def one_gaussian(times=(0.0, 0.4), *, beta=7.0, factor=1.0, clock=1.0):
    """Two particles that ignore each other: one Gaussian of independent coordinates, started in the solution itself."""
    problem = Trap(jnp.asarray([0.4, 2.2]), jnp.diag(jnp.asarray([0.3, 0.08])), 0.0, 7.0)
    u = DensityUnits(jnp.ones(1), 0.5 * jnp.log(jnp.diag(problem.cov))[None], problem.mean[None])
    # Through `tree_at`, so that a test may turn diffusion round.
    pulled = eqx.tree_at(lambda p: p.beta, problem, jnp.asarray(beta))
    rate = Pulled(pulled, jnp.asarray(factor), jnp.asarray(clock))
    return problem, Evolution(rate, u, jnp.asarray(times))


def moment_error(problem, u, t):
    """Largest error of mean and covariance."""
    mean, cov = problem.moments(jnp.asarray(t))
    return float(jnp.maximum(jnp.abs(u.mean - mean).max(), jnp.abs(u.cov - cov).max()))
