"""Who is paired with whom: joint draws of base and data for training.

Answers    given a batch of x0 and a batch of x1, in which pairs are they used?
Equations  independent: rho0 x rho1;  optimal: argmin over pairings of sum |x0 - x1|^2      (2302.00482, 2304.14772)
Cost       exact: O(n^3) on the host a batch;  entropic: O(n^2) a sweep on the device
Fails      optimal pairing within a batch is biased towards the plan of that batch size: the score of a one-sided
           path is then no longer known, and `convert` refuses it
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..core import Cloud, InputError, Key, Paper, solve
from ..ot import Sinkhorn, Transport, assignment, squared_distances


class AbstractCoupling(eqx.Module):
    """Chooses, for each row of x0, a row of x1."""

    @abc.abstractmethod
    def __call__(self, x0: Cloud, x1: Cloud, c: PyTree, *, key: Key) -> Int[Array, " n"]:
        """Indices into x1 (and the conditions `c` that belong to it)."""


class Independent(AbstractCoupling):
    """No choice: the rows are independent draws already."""

    def __call__(self, x0, x1, c, *, key):
        """The identity."""
        return jnp.arange(x0.shape[0])


class Paired(AbstractCoupling):
    """The data come in pairs: row i of the source belongs to row i of the target."""

    def __call__(self, x0, x1, c, *, key):
        """The identity."""
        return jnp.arange(x0.shape[0])


_MINIBATCH = Paper(
    "minibatch-ot",
    "Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport",
    "2302.00482",
    2023,
    "alg. 3",
)


class MinibatchOT(AbstractCoupling):
    """The exact optimal pairing of the batch, found on the host."""

    paper: ClassVar[Paper] = _MINIBATCH

    def __call__(self, x0, x1, c, *, key):
        """The optimal permutation."""
        return assignment(squared_distances(x0, x1))


class MinibatchSinkhorn(AbstractCoupling):
    """A draw from the entropic plan of the batch, found on the device.

    Fields:
        epsilon: regularisation relative to the mean cost of the batch.
        max_steps: sweeps at most; an unconverged plan is still a coupling of x0, with the x1 marginal off by the
            tolerance not reached.
    """

    paper: ClassVar[Paper] = _MINIBATCH
    epsilon: float = 0.05
    max_steps: int = 200

    def __check_init__(self):
        if not self.epsilon > 0:
            raise InputError(
                f"MinibatchSinkhorn(epsilon={self.epsilon}): expected a positive number; 0 is MinibatchOT()"
            )

    def __call__(self, x0, x1, c, *, key):
        """One column for each row, drawn from the plan."""
        cost = jax.lax.stop_gradient(squared_distances(x0, x1))
        problem = Transport.uniform(cost / jnp.mean(cost))
        method = Sinkhorn(self.epsilon, tolerance=1e-2)
        result = solve(method, problem, max_steps=self.max_steps, key=key, throw=False)
        return jax.random.categorical(key, result.value.log_matrix, axis=1)


class WithinCondition(AbstractCoupling):
    """Optimal pairing that never crosses conditions: x0 is matched to x1 among the rows that share its label.

    Rows of x0 have no labels of their own, so each is first dealt the label of its row's x1; with the labels of the
    batch as quotas, the exact pairing is then solved with crossing forbidden. Without this, mini-batch transport
    makes p(x0 | c) depend on c, and conditional samples started from the whole base are biased.
    """

    paper: ClassVar[Paper] = Paper(
        "condition-aware-ot",
        "The Curse of Conditions: Analyzing and Improving Optimal Transport for Conditional Flow-Based Generation",
        "2503.10636",
        2025,
        "sec. 4, in the limit of an infinite cost of crossing",
    )

    def __call__(self, x0, x1, c, *, key):
        """The optimal permutation that keeps conditions."""
        if c is None:
            raise InputError("WithinCondition pairs within conditions, but the data have none; use MinibatchOT()")
        rows = c.reshape(c.shape[0], -1)
        crossing = jnp.any(rows[:, None] != rows[None], axis=-1)
        cost = squared_distances(x0, x1)
        # Larger than any sum that a pairing without crossing could have, and finite.
        return assignment(jnp.where(crossing, jnp.max(cost) * (cost.shape[0] + 1), cost))


COUPLINGS = {
    "independent": Independent,
    "paired": Paired,
    "ot": MinibatchOT,
    "sinkhorn": MinibatchSinkhorn,
    "within-condition": WithinCondition,
}
