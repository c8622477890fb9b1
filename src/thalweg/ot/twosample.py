"""Distances between two samples, each with its unit, its error and a p-value.

Answers    are these two samples from one distribution, and if not, how far apart are they?
Equations  energy^2 = 2 E|x - y| - E|x - x'| - E|y - y'|  (Szekely and Rizzo 2013; V-statistic)
           MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),  k Gaussian of the median distance  (Gretton et al. 2012, 3)
           W2^2 = min over couplings of E|x - y|^2;  SW2 as in `sliced`
Cost       O(n^2) time and memory for the pairwise ones, which look at no more than `most` points of each sample
Fails      never silently: a distance that could not be had is returned with converged = False and a NaN value
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..core import InputError, Key
from .assignment import squared_distances
from .sliced import sliced_wasserstein, wasserstein_1d


@dataclass(frozen=True)
class Distance:
    """One distance: `value` in `unit`, with standard error and permutation p-value (NaN where there is none)."""

    distance: str
    value: float
    unit: str
    stderr: float
    pvalue: float
    converged: bool


def compare(x, y, *, key: Key, permutations: int = 200, most: int = 1000, projections: int = 256) -> list[Distance]:
    """All distances between two samples.

    The p-value is the share of random relabellings of the pooled points with a statistic at least as large, the
    observed one counted; its smallest value is 1/(permutations + 1). Standard errors are by the bootstrap-free
    jackknife over ten blocks of points, so they include the sampling error of both samples.

    Args:
        x: (n, *event).
        y: (m, *event).
        permutations: relabellings for the p-values; 0 for none.
        most: points of each sample that the quadratic-cost distances look at, drawn without replacement.
        projections: directions for sliced W2.

    Raises:
        InputError: for different events, fewer than two points, or non-finite numbers.
    """
    x, y = (_checked(name, z) for name, z in (("first", x), ("second", y)))
    if x.shape[1] != y.shape[1]:
        raise InputError(f"two samples to compare have {x.shape[1]} and {y.shape[1]} columns; expected the same")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    a, b = _some(x, most, rng), _some(y, most, rng)
    pooled = np.concatenate([a, b])
    squared = np.array(squared_distances(jnp.asarray(pooled), jnp.asarray(pooled)), np.float64)
    np.fill_diagonal(squared, 0.0)
    euclid = np.sqrt(squared)
    width = np.median(squared[np.triu_indices(len(pooled), 1)]) or 1.0
    rows = [
        _pairwise("energy distance", "square root of the data's unit", -euclid, len(a), permutations, rng),
        _pairwise("MMD (Gaussian, median width)", "none", np.exp(-squared / (2 * width)), len(a), permutations, rng),
    ]
    sliced = sliced_wasserstein(x, y, key=key, projections=projections)
    jack = _jackknife(lambda u, v: float(sliced_wasserstein(u, v, key=key, projections=64).mean), x, y)
    pvalue = _permuted_sliced(a, b, key, min(permutations, 100), rng)
    stderr = float(np.hypot(jack, float(sliced.stderr)))
    rows.insert(0, Distance("sliced W2", float(sliced.mean), "the data's unit (W2, not squared)", stderr, pvalue, True))
    rows.insert(1, _exact_w2(x, y, most, rng))
    return rows


def _checked(name, z):
    z = np.asarray(z, np.float32)
    if z.ndim < 1 or len(z) < 2:
        raise InputError(f"the {name} sample has shape {z.shape}; expected at least two rows")
    z = z.reshape(len(z), -1)
    if not np.isfinite(z).all():
        row, column = np.argwhere(~np.isfinite(z))[0]
        raise InputError(f"the {name} sample has a non-finite number at row {row}, column {column}; remove or fill it")
    return z


def _some(z, most, rng):
    return z if len(z) <= most else z[rng.choice(len(z), most, replace=False)]


def _pairwise(name, unit, kernel, n, permutations, rng):
    """An MMD-like statistic of a kernel on the pooled points; -|x - y| gives the energy distance."""
    sign = np.concatenate([np.full(n, 1 / n), np.full(len(kernel) - n, -1 / (len(kernel) - n))])

    def statistic(signs):
        return np.einsum("pi,ij,pj->p", signs, kernel, signs, optimize=True)

    observed = statistic(sign[None])[0]
    pvalue = float("nan")
    if permutations:
        shuffled = np.stack([rng.permutation(sign) for _ in range(permutations)])
        # Rounding must not turn a tie with the observed value into evidence.
        slack = 1e-12 * np.abs(kernel).max()
        pvalue = (1 + np.sum(statistic(shuffled) >= observed - slack)) / (permutations + 1)
    value = float(np.sqrt(max(observed, 0.0)))
    witness = kernel @ sign
    # First-order (Hoeffding) variance of the squared statistic, then the delta method for its root.
    spread = sum(4 * np.var(witness[part]) / np.size(witness[part]) for part in (slice(0, n), slice(n, None)))
    stderr = float(np.sqrt(spread) / (2 * value)) if value > 0 else float("nan")
    return Distance(name, value, unit, stderr, float(pvalue), True)


def _exact_w2(x, y, most, rng):
    """Exact W2 between equal-sized draws; the bias of finite samples is part of the value, as it is for anybody's."""
    unit = "the data's unit (W2, not squared)"
    if x.shape[1] == 1:
        value = float(jnp.sqrt(wasserstein_1d(jnp.asarray(x[:, 0]), jnp.asarray(y[:, 0]))))
        stderr = _jackknife(
            lambda u, v: float(jnp.sqrt(wasserstein_1d(jnp.asarray(u[:, 0]), jnp.asarray(v[:, 0])))), x, y
        )
        return Distance("W2", value, unit, stderr, float("nan"), True)
    from scipy.optimize import linear_sum_assignment

    size = min(len(x), len(y), most)
    a, b = _some(x, size, rng), _some(y, size, rng)
    cost = np.asarray(squared_distances(jnp.asarray(a), jnp.asarray(b)), np.float64)
    row, column = linear_sum_assignment(cost)
    matched = cost[row, column]
    value = float(np.sqrt(matched.mean()))
    stderr = float(matched.std(ddof=1) / np.sqrt(size) / (2 * value)) if value > 0 else 0.0
    return Distance(f"W2 ({size} points each)", value, unit, stderr, float("nan"), True)


def _jackknife(statistic, x, y, blocks=10):
    """Delete-a-block standard error of a statistic of both samples."""
    blocks = min(blocks, len(x), len(y))
    if blocks < 2 or min(len(x), len(y)) // blocks < 1:
        return float("nan")
    # Equal blocks keep the shapes, and so the compiled function, the same.
    nx, ny = len(x) // blocks * blocks, len(y) // blocks * blocks
    keep = [np.arange(blocks) != i for i in range(blocks)]
    cut = lambda z, n, k: z[:n].reshape(blocks, n // blocks, -1)[k].reshape(-1, z.shape[1])  # noqa: E731
    values = np.array([statistic(cut(x, nx, k), cut(y, ny, k)) for k in keep])
    return float(np.sqrt((blocks - 1) / blocks * np.sum((values - values.mean()) ** 2)))


def _permuted_sliced(a, b, key, permutations, rng):
    if not permutations:
        return float("nan")
    pooled = np.concatenate([a, b])

    def statistic(points):
        return float(sliced_wasserstein(points[: len(a)], points[len(a) :], key=key, projections=32).mean)

    observed = statistic(pooled)
    larger = sum(statistic(pooled[rng.permutation(len(pooled))]) >= observed for _ in range(permutations))
    return (1 + larger) / (permutations + 1)
