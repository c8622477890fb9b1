"""Exact optimal transport on the line and on the circle.

Answers    how far apart are two samples of one number each (or of angles), and where does each point go?
Equations  line:   W_p^p(u, v) = int_0^1 |F_u^-1(q) - F_v^-1(q)|^p dq
           circle: W_p^p(u, v) = min over s of int_0^1 |F_u^-1(q) - F_v^-1(q - s)|^p dq,  F^-1(q + 1) = F^-1(q) + 1
           circle: W_1(u, v) = int_0^1 |F_u - F_v - c| dt,  c the median of F_u - F_v          (Cabrelli, Molter 1995)
           On the circle the integral is convex in the shift s, and linear between the shifts at which a level of one
           sample meets a level of the other                                      (Delon, Salomon, Sobolevski 2010)
Symbols    u, v -> u, v; their weights -> a, b (relative: divided by their sum); s -> shift
Cost       O((n + m) log(n + m)); the circle with p > 1 about 30 (in double 60) times the search of m levels among n.
           Sizes are read at trace time, weights may be traced
Fails      a non-finite point or weight makes the answer non-finite
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..core import InputError

# Integer levels, moved by up to a period either way, have to fit 32 bits.
MOST_LEVELS = 2**29


class MonotonePlan(eqx.Module):
    """The optimal plan on the line, sparse: `mass[k]` goes from u[rows[k]] to v[columns[k]]; masses may be zero."""

    rows: Int[Array, " k"]
    columns: Int[Array, " k"]
    mass: Float[Array, " k"]


def wasserstein_1d(
    u: Float[Array, " n"],
    v: Float[Array, " m"],
    p: float = 2.0,
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
) -> Float[Array, ""]:
    """W_p^p (not W_p) of two samples on the line, exact for unequal sizes and weights.

    Args:
        p: at least one.
        a, b: relative weights, equal when None; at least zero, not all zero.

    Raises:
        InputError: for an empty sample, p < 1, or weights that are none.
    """
    check(u, v, p, a, b)
    if a is not None or b is not None:
        plan = monotone_plan(u, v, a, b)
        return jnp.sum(plan.mass * jnp.abs(u[plan.rows] - v[plan.columns]) ** p)
    # Sorting values alone is faster than sorting places, and this is what slices call.
    if u.shape == v.shape:
        return jnp.mean(jnp.abs(jnp.sort(u) - jnp.sort(v)) ** p)
    left, right, mass = _uniform(u.shape[0], v.shape[0])
    gap = jnp.abs(jnp.sort(u)[left] - jnp.sort(v)[right])
    return jnp.sum(mass.astype(u.dtype) * gap**p)


def monotone_plan(
    u: Float[Array, " n"],
    v: Float[Array, " m"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
) -> MonotonePlan:
    """The plan that keeps the order, optimal for every convex cost of u - v; at most n + m entries.

    Equal points are taken in the order of their places.

    Raises:
        InputError: as `wasserstein_1d`.
    """
    check(u, v, 1.0, a, b)
    by_u, by_v = jnp.argsort(u), jnp.argsort(v)
    if a is None and b is None:
        left, right, mass = _uniform(u.shape[0], v.shape[0])
    else:
        left, right, mass = _merged(_cumulative(a, by_u, u), _cumulative(b, by_v, v), 1.0)
    return MonotonePlan(by_u[left], by_v[right], mass.astype(u.dtype))


def monotone_map(
    u: Float[Array, " n"],
    v: Float[Array, " m"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
) -> Float[Array, " n"]:
    """Where each u goes: the mean of the v that it is sent to (barycentric where its mass is divided).

    A point of weight zero goes to the mean of the v at its level.

    Raises:
        InputError: as `wasserstein_1d`.
    """
    plan = monotone_plan(u, v, a, b)
    total = lambda w: jax.ops.segment_sum(w, plan.rows, u.shape[0])  # noqa: E731
    weight = jnp.where(total(plan.mass)[plan.rows] > 0, plan.mass, 1.0)
    return total(weight * v[plan.columns]) / total(weight)


def wasserstein_circle(
    u: Float[Array, " n"],
    v: Float[Array, " m"],
    p: float = 1.0,
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    period: float = 1.0,
) -> Float[Array, ""]:
    """W_p^p (not W_p) on a circle of circumference `period`, for the distance along it; exact.

    Args:
        u, v: coordinates along the circle, of any turn.
        p: at least one.
        a, b: relative weights, equal when None.

    Raises:
        InputError: as `wasserstein_1d`, or for a period that is not positive.
    """
    check(u, v, p, a, b)
    if not (period > 0 and math.isfinite(period)):
        raise InputError(f"a circle of period {period}: expected a positive number, in units of the points")
    x, y = jnp.mod(u / period, 1), jnp.mod(v / period, 1)
    by_x, by_y = jnp.argsort(x), jnp.argsort(y)
    n, m = u.shape[0], v.shape[0]
    turn = math.lcm(n, m)
    if a is None and b is None and turn < MOST_LEVELS:
        levels = jnp.arange(1, n + 1) * (turn // n), jnp.arange(1, m + 1) * (turn // m)
    else:
        turn, levels = 1.0, (_cumulative(a, by_x, u), _cumulative(b, by_y, v))
    cost = _median_level if p == 1 else _best_shift
    return period**p * cost(x[by_x], y[by_y], *levels, turn, p)


def check(u, v, p, a, b) -> None:
    """Refuse empty samples, a power below one, and weights that are not."""
    if 0 in (u.shape[0], v.shape[0]):
        raise InputError(f"two samples of {u.shape[0]} and {v.shape[0]} points: expected at least one in each")
    if not p >= 1:
        raise InputError(f"W_p with p = {p}: expected p >= 1")
    for name, w, size in (("a", a, u.shape[0]), ("b", b, v.shape[0])):
        if w is None:
            continue
        if w.shape != (size,):
            raise InputError(f"weights {name} have shape {w.shape}; expected one for each of the {size} points")
        if not isinstance(w, Tracer) and not (np.isfinite(w).all() and np.min(w) >= 0 and np.max(w) > 0):
            raise InputError(f"weights {name}: expected finite numbers of at least zero, and one above zero")


def _uniform(n, m):
    # Both quantile functions are constant between consecutive levels i/n and j/m; integers keep the levels exact.
    levels = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    start = np.concatenate([[0], levels[:-1]])
    return start // m, start // n, jnp.asarray((levels - start) / (n * m))


def _cumulative(weights, order, points):
    if weights is None:
        return (jnp.arange(points.shape[0], dtype=points.dtype) + 1) / points.shape[0]
    total = jnp.cumsum(weights[order])
    return total / total[-1]


def _merged(first, second, turn):
    """Places in both of the intervals between the levels of both, and their masses; levels end at `turn`."""
    levels = jnp.concatenate([first, second])
    order = jnp.argsort(levels)
    of_first = (order < first.shape[0]).astype(order.dtype)
    # Places are counted, not searched: rounding then cannot send an interval to a wrong neighbour.
    left = jnp.minimum(jnp.cumsum(of_first) - of_first, first.shape[0] - 1)
    right = jnp.minimum(jnp.cumsum(1 - of_first) - (1 - of_first), second.shape[0] - 1)
    levels = levels[order]
    return left, right, jnp.diff(levels, prepend=levels.dtype.type(0)) / turn


def _median_level(x, y, first, second, turn, p):
    """W_1: the difference of the distribution functions about its median level."""
    at = jnp.concatenate([x, y])
    order = jnp.argsort(at)
    zero = jnp.zeros(1, first.dtype)
    jumps = jnp.concatenate([jnp.diff(first, prepend=zero), -jnp.diff(second, prepend=zero)])[order]
    at, level = at[order], jnp.cumsum(jumps) / turn
    length = jnp.diff(at, append=at[:1] + 1)
    by_level = jnp.argsort(level)
    middle = jnp.searchsorted(jnp.cumsum(length[by_level]), 0.5)
    median = level[by_level][jnp.minimum(middle, level.shape[0] - 1)]
    return jnp.sum(length * jnp.abs(level - median))


def _best_shift(x, y, first, second, turn, p):
    still = jax.lax.stop_gradient((x, y, first, second))
    shift = _search(*still, turn, p)
    if jnp.issubdtype(first.dtype, jnp.floating):
        shift = _snapped(shift, first, second)
    # Three turns of the second sample cover every shift by up to a turn.
    turns = jnp.concatenate([second - turn, second, second + turn]) + shift
    left, right, mass = _merged(first, jnp.clip(turns, 0, turn), turn)
    return jnp.sum(mass * jnp.abs(x[left] - jnp.concatenate([y - 1, y, y + 1])[right]) ** p)


def _search(x, y, first, second, turn, p):
    """The smallest shift at which the cost does not fall to the right, by bisection over [-turn, turn]."""
    after = jnp.concatenate([y[1:], y[:1] + 1])

    def rises(shift):
        # As the level between y_j and the next moves right, what lies just above it changes from the next to y_j.
        level = second + shift
        place = jnp.minimum(jnp.searchsorted(first, jnp.mod(level, turn), side="right"), first.shape[0] - 1)
        above = x[place] + jnp.floor_divide(level, turn)
        return jnp.sum(jnp.abs(above - y) ** p - jnp.abs(above - after) ** p) >= 0

    def halve(_, ends):
        low, high = ends
        middle = (low + high) // 2 if integers else (low + high) / 2
        up = rises(middle)
        return jnp.where(up, low, middle), jnp.where(up, middle, high)

    integers = jnp.issubdtype(first.dtype, jnp.integer)
    rounds = math.ceil(math.log2(2 * turn + 1)) if integers else jnp.finfo(first.dtype).nmant + 3
    one = first.dtype.type(turn)
    return jax.lax.fori_loop(0, rounds, halve, (-one - (1 if integers else 0), one))[1]


def _snapped(shift, first, second):
    """The shift at which two levels meet that is nearest to `shift`, as a function of the levels."""
    ends = jnp.concatenate([jnp.zeros(1, first.dtype), first])
    level = second + shift
    turns = jnp.floor(level)
    place = jnp.searchsorted(ends, level - turns)
    near = jnp.clip(jnp.stack([place - 1, place]), 0, first.shape[0])
    far = jnp.abs(ends[near] - (level - turns))
    i, j = jnp.unravel_index(jnp.argmin(far), far.shape)
    return jax.lax.stop_gradient(turns[j]) + ends[near[i, j]] - second[j]
