"""Wasserstein distances in one dimension, and their average over directions.

Answers    how far apart are two samples, in the units of the data, and with what error?
Equations  W_p^p(u, v) = int_0^1 |F_u^-1(q) - F_v^-1(q)|^p dq;   SW_p^p = E_theta W_p^p(theta.x, theta.y), theta uniform
Symbols    theta -> directions, p -> p
Cost       O(k (n + m) log(n + m)) for k directions; memory of one block of directions
Fails      by saying nothing of the sampling error of x and y: the standard error is that of the directions alone
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core import Estimate, InputError, Key, estimate


def wasserstein_1d(u: Float[Array, " n"], v: Float[Array, " m"], p: float = 2.0) -> Float[Array, ""]:
    """W_p^p (not W_p) of two samples on the line, exact for unequal sizes. Sizes are read at trace time."""
    left, right, mass = _quantiles(u.shape[0], v.shape[0])
    gap = jnp.abs(jnp.sort(u)[left] - jnp.sort(v)[right])
    return jnp.sum(mass.astype(u.dtype) * gap**p)


def directions(k: int, d: int, dtype, *, key: Key) -> Float[Array, "k d"]:
    """`k` independent directions, uniform on the sphere."""
    theta = jax.random.normal(key, (k, d), dtype)
    return theta / jnp.linalg.norm(theta, axis=1, keepdims=True)


def sliced_wasserstein(x, y, *, key: Key, projections: int = 256, p: float = 2.0) -> Estimate:
    """SW_p (the p-th root is taken: units of the data) with the standard error over directions (delta method).

    Args:
        x: (n, *event).
        y: (m, *event), the same event.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.shape[1:] != y.shape[1:]:
        raise InputError(f"two samples to compare have events {x.shape[1:]} and {y.shape[1:]}; expected the same")
    powers = _slices(x.reshape(len(x), -1), y.reshape(len(y), -1), key, projections, p)
    total = estimate(powers)
    root = total.mean ** (1 / p)
    slope = jnp.where(total.mean > 0, root / (p * total.mean), 0.0)
    return Estimate(root, slope * total.stderr, total.ess)


@partial(jax.jit, static_argnums=(3, 4))
def _slices(x, y, key, projections, p):
    theta = directions(projections, x.shape[1], x.dtype, key=key)
    return jax.lax.map(lambda d: wasserstein_1d(x @ d, y @ d, p), theta, batch_size=32)


def _quantiles(n, m):
    # Both quantile functions are constant between consecutive levels i/n and j/m; integers keep the levels exact.
    levels = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    start = np.concatenate([[0], levels[:-1]])
    return start // m, start // n, jnp.asarray((levels - start) / (n * m))
