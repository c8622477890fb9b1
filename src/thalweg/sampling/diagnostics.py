"""Have the chains met, how many independent draws are they worth, and can the weights be trusted?

Answers    split R-hat, bulk and tail effective sample size, standard error of a mean; Pareto k-hat of weights
Equations  R-hat = sqrt(var^+ / W) of rank-normalised split chains, the larger of bulk and folded         (eq. 4, 14)
           ESS = C N / tau,  tau = -1 + 2 sum of Geyer's initial monotone sequence of rho_t               (eq. 10-13)
           tail ESS = the smaller ESS of the indicators x <= q_05 and x <= q_95                          (section 4.3)
           k-hat: shape of the generalised Pareto law of the largest min(N/5, 3 sqrt N) weights
Symbols    draws are (chains, draws, *event); every function works on each coordinate of the event
Cost       one FFT of each chain; a sort
Source     Vehtari, Gelman, Simpson, Carpenter and Buerkner, arXiv 1903.08008; Zhang and Stephens 2009 (the fit of k);
           Vehtari et al., arXiv 1507.02646, section 6 (its prior). Equal to ArviZ's up to rounding
Fails      fewer than four draws a chain give NaN, as does a coordinate with a draw that is not finite; a coordinate
           that never moves has R-hat 1 (ArviZ: NaN) and an ESS of all its draws. Both are blind to a mode that no
           chain has found
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from ..core import Estimate

Draws = Float[Array, "chains draws *event"]
PerCoordinate = Float[Array, "*event"]

# Above this, means of weights converge too slowly for a standard error to be believed.
KHAT = 0.7


def rhat(draws: Draws) -> PerCoordinate:
    """Rank-normalised split R-hat; near 1 when the chains agree, alarming above 1.01."""
    return _each(draws, _rhat)


def ess_bulk(draws: Draws) -> PerCoordinate:
    """Effective number of draws for the centre of the distribution (rank-normalised, split chains)."""
    return _each(draws, _bulk)


def ess_tail(draws: Draws) -> PerCoordinate:
    """Effective number of draws for the 5 % and 95 % quantiles, the smaller."""
    return _each(draws, _tail)


def ess_mean(draws: Draws) -> PerCoordinate:
    """Effective number of draws for the mean itself, which is what its standard error needs."""
    return _each(draws, _mean)


def chain_estimate(draws: Draws) -> Estimate:
    """The mean of each coordinate over all draws, with the standard error that their correlation leaves."""
    mean, n = jnp.mean(draws, axis=(0, 1)), ess_mean(draws)
    return Estimate(mean, jnp.std(draws, axis=(0, 1), ddof=1) / jnp.sqrt(n), n)


def pareto_khat(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """Shape of the upper tail of importance weights: below 0.5 they have a variance, above 0.7 distrust them.

    Weights that are all equal, or too few for a tail (fewer than 25), have no tail to fit: -inf and NaN.
    """
    n = log_w.shape[0]
    # ArviZ's rule; the smallest of the tail's own weights is the threshold.
    tail = min(math.ceil(min(0.2 * n, 3 * n**0.5)), n - 1)
    if tail < 5:
        return jnp.asarray(jnp.nan, log_w.dtype)
    return _khat(log_w, tail)


@partial(jax.jit, static_argnums=1)
def _khat(log_w, tail):
    ordered = jnp.sort(log_w) - jnp.max(log_w)
    cut = jnp.exp(ordered[-tail - 1])
    excess = jnp.exp(ordered[-tail:]) - cut
    flat = excess[-1] <= 0
    k = _pareto_shape(jnp.where(flat, 1.0, excess))
    return jnp.where(jnp.isnan(jnp.max(log_w)), jnp.nan, jnp.where(flat, -jnp.inf, k))


def _pareto_shape(x):
    # Zhang and Stephens' posterior mean over a grid of b = -k / sigma, with ArviZ's weak prior towards k = 1/2.
    n = x.shape[0]
    grid = 30 + int(n**0.5)
    quarter = jnp.maximum(x[int(n / 4 + 0.5) - 1], jnp.finfo(x.dtype).tiny)
    points = jnp.arange(1, grid + 1)
    b = (1 - jnp.sqrt(grid / (points - 0.5))) / (3 * quarter) + 1 / x[-1]
    k = jnp.mean(jnp.log1p(-b[:, None] * x), axis=1)
    log_likelihood = n * (jnp.log(-(b / k)) - k - 1)
    weight = jax.nn.softmax(log_likelihood)
    # Negligible points of the grid are dropped, as by ArviZ.
    weight = jnp.where(weight >= 10 * jnp.finfo(x.dtype).eps, weight, 0.0)
    best = jnp.sum(b * weight) / jnp.sum(weight)
    shape = jnp.mean(jnp.log1p(-best * x))
    return (n * shape + 10 * 0.5) / (n + 10)


# One compilation a shape: op by op, the first call would take seconds.
@partial(jax.jit, static_argnums=1)
def _each(draws, fn):
    flat = draws.reshape(*draws.shape[:2], -1)
    if flat.shape[1] < 4 or not jnp.issubdtype(draws.dtype, jnp.floating):
        return jnp.full(draws.shape[2:], jnp.nan)
    found = jax.lax.map(fn, jnp.moveaxis(flat, 2, 0))
    finite = jnp.all(jnp.isfinite(flat), axis=(0, 1))
    return jnp.where(finite, found, jnp.nan).reshape(draws.shape[2:])


def _bulk(x):
    return _ess(_normal_ranks(_split(x)))


def _tail(x):
    low, high = jnp.quantile(x, jnp.asarray([0.05, 0.95], x.dtype))
    count = lambda q: _ess(_split((x <= q).astype(x.dtype)))  # noqa: E731
    return jnp.minimum(count(low), count(high))


def _mean(x):
    return _ess(_split(x))


def _split(x):
    half = x.shape[1] // 2
    return jnp.concatenate([x[:, :half], x[:, -half:]])


def _normal_ranks(x):
    flat = x.reshape(-1)
    ordered = jnp.sort(flat)
    # The average rank of ties: half of the sum of the first and the last place.
    rank = 0.5 * (jnp.searchsorted(ordered, flat, side="left") + 1 + jnp.searchsorted(ordered, flat, side="right"))
    return ndtri((rank.astype(x.dtype) - 0.375) / (flat.size + 0.25)).reshape(x.shape)


def _plain_rhat(x):
    n = x.shape[1]
    between = n * jnp.var(jnp.mean(x, axis=1), ddof=1)
    within = jnp.mean(jnp.var(x, axis=1, ddof=1))
    still = within == 0
    ratio = jnp.sqrt((between / jnp.where(still, 1.0, within) + n - 1) / n)
    # Chains that stand still agree only if they stand in one place.
    return jnp.where(still, jnp.where(between == 0, 1.0, jnp.inf), ratio)


def _rhat(x):
    halves = _split(x)
    folded = jnp.abs(halves - jnp.median(halves))
    return jnp.maximum(_plain_rhat(_normal_ranks(halves)), _plain_rhat(_normal_ranks(folded)))


def _autocovariance(x):
    n = x.shape[1]
    centred = x - jnp.mean(x, axis=1, keepdims=True)
    spectrum = jnp.fft.rfft(centred, 2 * n, axis=1)
    return jnp.fft.irfft(jnp.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n] / n


def _ess(x):
    chains, n = x.shape
    cov = _autocovariance(x)
    mean_var = jnp.mean(cov[:, 0]) * n / (n - 1)
    var_plus = mean_var * (n - 1) / n
    if chains > 1:
        var_plus = var_plus + jnp.var(jnp.mean(x, axis=1), ddof=1)
    still = var_plus == 0
    safe = jnp.where(still, 1.0, var_plus)
    rho = 1 - (mean_var - jnp.mean(cov, axis=0)) / safe
    rho = rho.at[0].set(1.0)
    # Geyer: sums of neighbouring pairs are positive and falling; stop at the first that is not positive.
    pairs = (n - 3) // 2 + 1
    even, odd = rho[0 : 2 * pairs : 2], rho[1 : 2 * pairs : 2]
    total = even + odd
    positive = jnp.cumprod(total > 0)
    kept = jnp.minimum(jax.lax.associative_scan(jnp.minimum, jnp.where(positive, total, jnp.inf)), total)
    stop = jnp.minimum(jnp.sum(positive), pairs - 1)
    # The term after the last pair improves antithetic chains, as in Stan.
    tau = -1 + 2 * jnp.sum(jnp.where(jnp.arange(pairs) < stop, kept, 0.0)) + jnp.maximum(even[stop], 0.0)
    size = chains * n
    tau = jnp.maximum(tau, 1 / jnp.log10(jnp.asarray(float(size), x.dtype)))
    return jnp.where(still, float(size), size / tau)
