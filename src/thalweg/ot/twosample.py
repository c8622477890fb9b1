"""Distances between two samples, each with its unit, its error and a p-value.

Answers    are these two samples from one distribution, and if not, how far apart are they, and in which feature?
Equations  W_p^p = min over couplings of E|x - y|^p;  SW2 as in `sliced`, with the lower control variate
           energy^2 = 2 E|x - y| - E|x - x'| - E|y - y'|  (Szekely and Rizzo 2013; V-statistic)
           MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),  k Gaussian of the median distance  (Gretton et al. 2012, 3)
           KS = max_t |F(t) - G(t)|, one feature at a time
           PSI = sum over bins of (f - g) log(f/g), f and g the shares of both samples with half a point more in each
           bin, the bins between the deciles of the first sample; without a difference (1/n + 1/m) chi^2 of (bins - 1)
           degrees of freedom, so that its mean is (bins - 1)(1/n + 1/m)                          (Yurdakul 2018)
Cost       O(n^2) time and memory for the pairwise ones and O(n^3) time for W1 and W2 in several dimensions, which look
           at no more than `most` points of each sample; the rest is sorting, once for all permutations
Fails      never silently: a distance that could not be had is returned with converged = False and a NaN value
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..core import InputError, Key
from .cost import squared_distances
from .line import wasserstein_1d
from .sliced import LowerVariate, SlicedEstimate, sliced_wasserstein, sliced_with_variates

# Bins of the population stability index.
BINS = 10
# Sizes, multiplied by what makes two samples equal, up to which that is affordable.
AFFORDABLE = 1000


@dataclass(frozen=True)
class Distance:
    """One distance: `value` in `unit`, with standard error and permutation p-value (NaN where there is none)."""

    distance: str
    value: float
    unit: str
    stderr: float
    pvalue: float
    converged: bool


def compare(
    x,
    y,
    *,
    key: Key,
    permutations: int = 200,
    most: int = 1000,
    projections: int = 256,
    names: Sequence[str] | None = None,
    features: bool = False,
) -> list[Distance]:
    """All distances between two samples.

    The p-value is the share of random relabellings of the pooled points with a statistic at least as large, the
    observed one counted; its smallest value is 1/(permutations + 1). That of KS is exact in one dimension; in several,
    for the largest over the features, it is by relabelling too, which allows for the number of features; without
    permutations it is the smallest exact one times their number (Bonferroni). Standard errors are by the bootstrap-free
    jackknife over ten blocks of points (those of KS and PSI by the delta method), so they include the sampling error
    of both samples. Distances of finite samples are biased upwards; PSI says how much is expected without a difference.

    Args:
        x: (n, *event).
        y: (m, *event).
        permutations: relabellings for the p-values; 0 for none.
        most: points of each sample that the quadratic-cost distances and the p-values look at, drawn without
            replacement.
        projections: directions for sliced W2.
        names: a name for each number of an event; its place when None.
        features: whether to have KS and PSI of every feature too, largest KS first; their p-values are exact for KS
            and of the chi-squared law for PSI, after Holm for the number of features.

    Raises:
        InputError: for different events, fewer than two points, non-finite numbers, or as many names as there are not
            features.
    """
    x, y = (_checked(name, z) for name, z in (("first", x), ("second", y)))
    if x.shape[1] != y.shape[1]:
        raise InputError(f"two samples to compare have {x.shape[1]} and {y.shape[1]} columns; expected the same")
    if permutations < 0 or most < 2:
        raise InputError(f"permutations = {permutations}, most = {most}: expected at least 0 and 2")
    names = names or [f"column {i}" for i in range(x.shape[1])]
    if len(names) != x.shape[1]:
        raise InputError(f"{len(names)} names for {x.shape[1]} features; expected one for each")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    # Rows that come in an order would make blocks of the jackknife that are not alike.
    x, y = rng.permutation(x), rng.permutation(y)
    a, b = _some(x, most, rng), _some(y, most, rng)
    pooled = np.concatenate([a, b])
    squared = np.array(squared_distances(jnp.asarray(pooled), jnp.asarray(pooled)), np.float64)
    np.fill_diagonal(squared, 0.0)
    euclid = np.sqrt(squared)
    width = np.median(squared[np.triu_indices(len(pooled), 1)]) or 1.0
    rows = [_feature(u, v) for u, v in zip(x.T, y.T, strict=True)]
    return [
        _sliced(x, y, a, b, key, projections, min(permutations, 100), rng),
        *(_exact(x, y, p, most, permutations, rng) for p in (1, 2)),
        _pairwise("energy distance", "square root of the data's unit", -euclid, len(a), permutations, rng),
        _pairwise("MMD (Gaussian, median width)", "none", np.exp(-squared / (2 * width)), len(a), permutations, rng),
        *_largest(rows, x, y, a, b, permutations, names, rng),
        *(_by_feature(rows, names) if features else []),
    ]


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


def _sliced(x, y, a, b, key, projections, permutations, rng):
    found: SlicedEstimate = sliced_with_variates(x, y, key=key, projections=projections).lower
    few = partial(sliced_wasserstein, key=key, projections=64, variate=LowerVariate())
    jack = _jackknife(lambda u, v: float(few(u, v).mean), x, y)
    pvalue = float("nan")
    if permutations:
        pooled = np.concatenate([a, b])
        fewer = partial(sliced_wasserstein, key=key, projections=32)
        statistic = lambda z: float(fewer(z[: len(a)], z[len(a) :]).mean)  # noqa: E731
        observed = statistic(pooled)
        larger = sum(statistic(pooled[rng.permutation(len(pooled))]) >= observed for _ in range(permutations))
        pvalue = (1 + larger) / (permutations + 1)
    value, stderr = float(found.distance.mean), float(np.hypot(jack, float(found.distance.stderr)))
    return Distance("sliced W2", value, _unit(2), stderr, pvalue, not bool(found.clipped))


def _unit(p):
    return "the data's unit (W2, not squared)" if p == 2 else "the data's unit (W1)"


def _exact(x, y, p, most, permutations, rng):
    """Exact W1 or W2; the bias of finite samples is part of the value, as it is for anybody's."""
    if x.shape[1] == 1:
        line = jax.jit(lambda u, v: wasserstein_1d(u, v, float(p)) ** (1 / p))
        statistic = lambda u, v: float(line(jnp.asarray(u[:, 0]), jnp.asarray(v[:, 0])))  # noqa: E731
        value, pvalue = statistic(x, y), float("nan")
        if permutations:
            pooled, n = np.concatenate([x, y]), len(x)
            draws = (pooled[rng.permutation(len(pooled))] for _ in range(permutations))
            larger = sum(statistic(z[:n], z[n:]) >= value * (1 - 1e-6) for z in draws)
            pvalue = (1 + larger) / (permutations + 1)
        return Distance(f"W{p}", value, _unit(p), _jackknife(statistic, x, y), pvalue, True)
    statistic = partial(_matched, p=p)
    whole = np.lcm(len(x), len(y))
    if len(x) == len(y) <= most or whole <= min(most, AFFORDABLE):
        name = f"W{p} (exact)"
    else:
        size = min(len(x), len(y), most)
        x, y, name = _some(x, size, rng), _some(y, size, rng), f"W{p} ({size} points each)"
    return Distance(name, statistic(x, y), _unit(p), _jackknife(statistic, x, y), float("nan"), True)


def _matched(x, y, p):
    """W_p by an assignment; points are repeated until both samples have as many."""
    from scipy.optimize import linear_sum_assignment

    cost = np.asarray(squared_distances(jnp.asarray(x), jnp.asarray(y)), np.float64) ** (p / 2)
    if len(x) != len(y):
        whole = np.lcm(len(x), len(y))
        if whole > AFFORDABLE:
            # What the jackknife leaves of samples that could be repeated may be of sizes that cannot.
            size = min(len(x), len(y))
            cost = cost[:size, :size]
        else:
            cost = np.repeat(np.repeat(cost, whole // len(x), 0), whole // len(y), 1)
    return float(cost[linear_sum_assignment(cost)].mean() ** (1 / p))


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


def _largest(rows, x, y, a, b, permutations, names, rng):
    """KS and PSI of the feature where they are largest."""
    d = x.shape[1]
    signs = np.concatenate([np.ones(len(a), bool), np.zeros(len(b), bool)])
    shuffled = np.stack([signs, *(rng.permutation(signs) for _ in range(permutations))])
    tops = np.zeros((2, permutations + 1))
    for column in np.concatenate([a, b]).T if permutations else ():
        tops = np.maximum(tops, _statistics(column, shuffled)[:2])
    # Rounding must not turn a tie with the observed value into evidence.
    larger = 1 + np.sum(tops[:, 1:] >= tops[:, :1] * (1 - 1e-9), axis=1)
    for k in range(2):
        top = max(range(d), key=lambda i: rows[i][k].value)
        best = rows[top][k]
        pvalue = min(1.0, d * min(r[k].pvalue for r in rows))
        if permutations and (d > 1 or k == 1):
            pvalue = float(larger[k] / (permutations + 1))
        of = "" if d == 1 else f": {names[top]}, largest of {d}"
        unit = best.unit
        if permutations and k == 1:
            unit = f"none; without a difference {np.mean(tops[1, 1:]) * _ratio(x, y, a, b):.2g}"
        yield replace(best, distance=best.distance + of, unit=unit, pvalue=pvalue)


def _ratio(x, y, a, b):
    """Without a difference PSI goes as 1/n + 1/m; the relabelled points may be fewer."""
    return (1 / len(x) + 1 / len(y)) / (1 / len(a) + 1 / len(b))


def _by_feature(rows, names):
    corrected = [_holm(np.array([r[k].pvalue for r in rows])) for k in range(2)]
    for i in sorted(range(len(rows)), key=lambda i: -rows[i][0].value):
        for k, row in enumerate(rows[i]):
            yield replace(row, distance=f"{row.distance}: {names[i]}", pvalue=float(corrected[k][i]))


def _holm(pvalues):
    order = np.argsort(pvalues)
    steps = np.maximum.accumulate(pvalues[order] * np.arange(len(pvalues), 0, -1))
    found = np.empty(len(pvalues))
    found[order] = np.minimum(steps, 1.0)
    return found


def _feature(u, v):
    """KS and PSI of one feature."""
    from scipy.stats import chi2, ks_2samp

    n, m = len(u), len(v)
    labels = np.concatenate([np.ones(n, bool), np.zeros(m, bool)])[None]
    ks, psi, f_at, g_at, f, g = (z[0] for z in _statistics(np.concatenate([u, v]), labels))
    method = "exact" if n * m <= 10_000_000 else "asymp"
    _, exact = map(float, np.asarray(ks_2samp(u, v, method=method)))
    error = np.sqrt(f_at * (1 - f_at) / n + g_at * (1 - g_at) / m)
    f, g = f[f > 0], g[g > 0]
    free, noise = len(f) - 1, 1 / n + 1 / m
    slopes = np.log(f / g) + 1 - g / f, np.log(g / f) + 1 - f / g
    variance = sum((s @ (s * w) - (w @ s) ** 2) / size for s, w, size in zip(slopes, (f, g), (n, m), strict=True))
    # The first term is that of a difference, the second what is left without one.
    spread = np.sqrt(variance + 2 * free * noise**2)
    pvalue = float(chi2.sf(psi / noise, free)) if free else 1.0
    unit = f"none; without a difference {free * noise:.2g}"
    return (
        Distance("KS", float(ks), "none (0 to 1)", float(error), exact, True),
        Distance(f"PSI ({free + 1} bins: deciles of the first)", float(psi), unit, float(spread), pvalue, True),
    )


def _statistics(column, labels):
    """KS, PSI, where KS is attained F and G, and the shares in the bins, for each row of `labels` (True: first)."""
    order = np.argsort(column, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(column[order]) > 0]))
    n = int(labels[0].sum())
    m = labels.shape[1] - n
    # Counts of both samples up to and including each distinct value.
    ends = np.append(starts[1:], len(column)) - 1
    first = np.cumsum(labels[:, order], axis=1)[:, ends]
    second = ends + 1 - first
    gap = np.abs(first / n - second / m)
    rows = np.arange(len(labels))
    top = np.argmax(gap, axis=1)
    # The k-th edge is the smallest value that has k tenths of the first sample at or below it; the last bin is open.
    wanted = np.arange(1, BINS) * n
    edges = np.stack([np.sum(first * BINS < w, axis=1) for w in wanted] + [np.full(len(labels), len(ends) - 1)], 1)
    start = np.concatenate([np.full((len(labels), 1), -1), edges[:, :-1]], axis=1)
    width = edges > start
    counts = [np.diff(np.take_along_axis(z, edges, 1), axis=1, prepend=0) for z in (first, second)]
    bins = width.sum(1, keepdims=True)
    f, g = (np.where(width, (c + 0.5) / (size + 0.5 * bins), 0) for c, size in zip(counts, (n, m), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        psi = np.sum(np.where(width, (f - g) * np.log(f / g), 0), axis=1)
    return gap[rows, top], psi, first[rows, top] / n, second[rows, top] / m, f, g
