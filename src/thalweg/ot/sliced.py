"""The Wasserstein distance averaged over directions, with and without control variates.

Answers    how far apart are two samples, in the units of the data, and with what error?
Equations  SW_p^p = E W_p^p(theta.x, theta.y), theta uniform on the sphere;  W(theta) the term of one direction, p = 2
           C_low = (theta.D)^2 <= W(theta) <= C_up = (theta.D)^2 + theta.(S_x + S_y) theta             (2305.00402, 3.1)
           E C_low = |D|^2/d,  E C_up = (|D|^2 + tr S_x + tr S_y)/d;  D = mean x - mean y, S the covariances (over n)
           Z = mean W - gamma (mean C - E C),  gamma = cov(W, C)/var(C);  SW_2 = Z^(1/2)
Symbols    theta -> directions, C_low -> LowerVariate, C_up -> UpperVariate, gamma -> coefficient, Z -> squared
Cost       O(k (n + m) log(n + m)) for k directions; memory of one block of directions
Fails      by saying nothing of the sampling error of x and y: the standard error is that of the directions alone.
           Z has a bias of order 1/k, and may be negative: then SW_2 is 0, its standard error NaN, and `clipped` True.
           A NaN in a sample makes the distance NaN
Departure  the authors' code divides by mean (C - E C)^2 = var(C) + (mean C - E C)^2. This makes gamma too small, and
           spoils exactness when one sample is the other, shifted; about the mean of C the error is then zero
"""

import abc
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core import Estimate, InputError, Key, Paper, estimate
from ..core.spd import safe_root
from .line import check, wasserstein_1d

paper = Paper(
    "sliced-wasserstein-cv",
    "Sliced Wasserstein Estimation with Control Variates",
    "2305.00402",
    2024,
    "lower and upper control variate, with the coefficient about the mean",
)


class Slices(eqx.Module):
    """W_2^2 along directions is `shift + excess`, and at most `shift + spread`; the means are over all directions.

    The parts are kept apart because their sum would lose the digits of the smaller one.
    """

    shift: Float[Array, " k"]
    excess: Float[Array, " k"]
    spread: Float[Array, " k"]
    mean_shift: Float[Array, ""]
    mean_spread: Float[Array, ""]

    @property
    def squared(self) -> Float[Array, " k"]:
        """W_2^2 along each direction."""
        return self.shift + self.excess


class AbstractVariate(eqx.Module):
    """A function of the direction with a known mean, that goes along with W_2^2."""

    @abc.abstractmethod
    def __call__(self, slices: Slices) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, ""]]:
        """C, W - C without cancellation, and E C."""


class LowerVariate(AbstractVariate):
    """The squared difference of the projected means: a lower bound of W_2^2 (LCV). Exact for a pure shift."""

    def __call__(self, slices):
        """C, W - C and E C."""
        return slices.shift, slices.excess, slices.mean_shift


class UpperVariate(AbstractVariate):
    """That and both projected variances: an upper bound of W_2^2 (UCV)."""

    def __call__(self, slices):
        """C, W - C and E C."""
        bound = slices.shift + slices.spread
        return bound, slices.excess - slices.spread, slices.mean_shift + slices.mean_spread


class SlicedEstimate(eqx.Module):
    """SW_2 by one estimator: `distance` in the data's units, and `squared`, whose error bar is the one to average.

    Fields:
        coefficient: gamma; zero for the plain mean, and where the variate does not vary.
        reduction: estimated variance of the plain mean over that of this estimator.
        clipped: whether `squared` is negative, so that `distance` is 0 for want of a better value.
    """

    distance: Estimate
    squared: Estimate
    coefficient: Float[Array, ""]
    reduction: Float[Array, ""]
    clipped: Bool[Array, ""]


class SlicedVariates(eqx.Module):
    """The plain mean over directions and both variates, from the same directions."""

    plain: SlicedEstimate
    lower: SlicedEstimate
    upper: SlicedEstimate


def directions(k: int, d: int, dtype, *, key: Key) -> Float[Array, "k d"]:
    """`k` independent directions, uniform on the sphere."""
    theta = jax.random.normal(key, (k, d), dtype)
    return theta / jnp.linalg.norm(theta, axis=1, keepdims=True)


def sliced_wasserstein(
    x,
    y,
    *,
    key: Key,
    projections: int = 256,
    p: float = 2.0,
    variate: AbstractVariate | None = None,
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
) -> Estimate:
    """SW_p (the p-th root is taken: units of the data) with the standard error over directions (delta method).

    Args:
        x: (n, *event).
        y: (m, *event), the same event.
        variate: what reduces the variance over directions; only for p = 2.
        a, b: relative weights of the points, equal when None.

    Raises:
        InputError: for different events, an empty sample, weights that are none, p < 1, no directions, or a variate
            with another p than 2.
    """
    if variate is not None and p != 2:
        raise InputError(f"a control variate is known for p = 2 only, and p is {p}; leave it out, or take p = 2")
    x, y = _checked(x, y, projections, p, a, b)
    if p == 2:
        return _squared(x, y, a, b, variate, key, projections).distance
    return _powers(x, y, a, b, key, projections, p)


def sliced_with_variates(
    x,
    y,
    *,
    key: Key,
    projections: int = 256,
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
) -> SlicedVariates:
    """SW_2 three ways from the same directions: plain, with the lower variate, with the upper one.

    Raises:
        InputError: as `sliced_wasserstein`.
    """
    x, y = _checked(x, y, projections, 2.0, a, b)
    return _all(x, y, a, b, key, projections)


def along(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    theta: Float[Array, "k d"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
) -> Slices:
    """What is known of two samples along the directions `theta`."""
    (x, mean_x, wa), (y, mean_y, wb) = (_centred(z, w) for z, w in ((x, a), (y, b)))
    delta, d = mean_x - mean_y, x.shape[1]

    def one(direction):
        u, v = x @ direction, y @ direction
        return wasserstein_1d(u, v, 2.0, a, b), wa @ u**2 + wb @ v**2

    excess, spread = jax.lax.map(one, theta, batch_size=32)
    total = jnp.sum(wa @ x**2) + jnp.sum(wb @ y**2)
    return Slices((theta @ delta) ** 2, excess, spread, jnp.sum(delta**2) / d, total / d)


def controlled(slices: Slices, variate: AbstractVariate) -> SlicedEstimate:
    """The mean over directions with a control variate, by regression of W on C about its mean.

    The standard error is that of a fitted line at C = E C: the residuals' variance with k - 2 degrees of freedom (so
    that two directions have none: NaN), times 1/k + (mean C - E C)^2 / sum (C - mean C)^2.
    """
    c, rest, mean = variate(slices)
    k = c.shape[0]
    # W = C + rest, so gamma = 1 + slope, and the sum of what is known is taken last.
    moved = c - jnp.mean(c)
    var = jnp.mean(moved**2)
    # Where C varies by no more than rounding there is nothing to regress on.
    varies = var > (jnp.finfo(c.dtype).eps * jnp.mean(slices.squared)) ** 2
    safe = jnp.where(varies, var, 1.0)
    slope = jnp.where(varies, jnp.mean((rest - jnp.mean(rest)) * moved) / safe, -1.0)
    off = jnp.mean(c) - mean
    # With gamma = 0 the plain mean is left.
    value = jnp.where(varies, jnp.mean(rest) - slope * off + mean, jnp.mean(slices.squared))
    residual = jnp.sum((rest - jnp.mean(rest) - slope * moved) ** 2)
    free = jnp.where(varies, k - 2, k - 1)
    spread = jnp.where(free > 0, residual / jnp.maximum(free, 1), jnp.nan)
    leverage = jnp.where(varies, off**2 / safe, 0.0)
    squared = Estimate(value, safe_root(spread * (1 + leverage) / k), jnp.full_like(value, k))
    plain = estimate(slices.squared)
    both = (plain.stderr > 0) | (squared.stderr > 0)
    reduction = jnp.where(both, plain.stderr**2 / squared.stderr**2, 1.0)
    return SlicedEstimate(_root(squared, 2.0), squared, 1 + slope, reduction, value < 0)


def _plain(slices):
    squared = estimate(slices.squared)
    zero = jnp.zeros_like(squared.mean)
    return SlicedEstimate(_root(squared, 2.0), squared, zero, zero + 1, squared.mean < 0)


def _checked(x, y, projections, p, a, b):
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.shape[1:] != y.shape[1:]:
        raise InputError(f"two samples to compare have events {x.shape[1:]} and {y.shape[1:]}; expected the same")
    if projections < 1:
        raise InputError(f"a sliced distance along {projections} directions; expected at least one")
    check(x, y, p, a, b)
    return x.reshape(len(x), -1), y.reshape(len(y), -1)


@partial(jax.jit, static_argnums=6)
def _squared(x, y, a, b, variate, key, projections):
    slices = _slices(x, y, a, b, key, projections)
    return _plain(slices) if variate is None else controlled(slices, variate)


@partial(jax.jit, static_argnums=5)
def _all(x, y, a, b, key, projections):
    slices = _slices(x, y, a, b, key, projections)
    return SlicedVariates(_plain(slices), controlled(slices, LowerVariate()), controlled(slices, UpperVariate()))


@partial(jax.jit, static_argnums=(5, 6))
def _powers(x, y, a, b, key, projections, p):
    theta = directions(projections, x.shape[1], x.dtype, key=key)
    return _root(estimate(jax.lax.map(lambda d: wasserstein_1d(x @ d, y @ d, p, a, b), theta, batch_size=32)), p)


def _slices(x, y, a, b, key, projections):
    return along(x, y, directions(projections, x.shape[1], x.dtype, key=key), a, b)


def _centred(z, w):
    w = jnp.full(z.shape[0], 1 / z.shape[0], z.dtype) if w is None else w / jnp.sum(w)
    mean = w @ z
    return z - mean, mean, w


def _root(total, p):
    positive = total.mean > 0
    safe = jnp.where(positive, total.mean, 1.0)
    # NaN is neither positive nor negative, and must not become a distance of zero.
    root = jnp.where(positive, safe ** (1 / p), jnp.where(jnp.isnan(total.mean), jnp.nan, 0.0))
    slope = jnp.where(positive, root / (p * safe), jnp.where(total.mean < 0, jnp.nan, 0.0))
    return Estimate(root, slope * total.stderr, total.ess)
