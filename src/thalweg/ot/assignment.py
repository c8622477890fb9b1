"""Exact optimal assignment of two equal samples.

Answers    which permutation pairs x0 with x1 at the least total cost?
Equations  min over permutations sigma of sum_i c(i, sigma(i))
Cost       O(n^3) time on the host (SciPy's shortest augmenting paths), O(n^2) memory
Fails      a non-finite cost is answered with the identity, which the caller sees as a non-finite loss
"""

import jax
import numpy as np
from jaxtyping import Array, Float, Int


def assignment(cost: Float[Array, "n n"]) -> Int[Array, " n"]:
    """The optimal permutation: row i is paired with column `assignment(cost)[i]`. Works inside `jit`, on the host."""
    shape = jax.ShapeDtypeStruct(cost.shape[:1], np.int32)
    return jax.pure_callback(_solve, shape, cost, vmap_method="sequential")


def _solve(cost):
    from scipy.optimize import linear_sum_assignment

    cost = np.asarray(cost)
    if not np.isfinite(cost).all():
        return np.arange(len(cost), dtype=np.int32)
    return linear_sum_assignment(cost)[1].astype(np.int32)
