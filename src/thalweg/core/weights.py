"""Weighted clouds, and numbers with their error bars.

Equations  ESS = (sum w)^2 / sum w^2
Symbols    log_w -> unnormalised log weights, any common offset; w -> softmax(log_w)
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PyTree

from .errors import InputError
from .types import Key


class Estimate(eqx.Module):
    """A number with its standard error and the effective number of draws behind it.

    `float(estimate.mean) +- float(estimate.stderr)`; a `stderr` of NaN means that it cannot be known (one draw).
    """

    mean: Float[Array, "..."]
    stderr: Float[Array, "..."]
    ess: Float[Array, "..."]

    def __str__(self):
        if self.mean.ndim:
            return f"Estimate of shape {self.mean.shape}"
        return f"{float(self.mean):.4g} ± {float(self.stderr):.2g}"

    def __format__(self, spec):
        if not spec:
            return str(self)
        return f"{float(self.mean):{spec}} ± {float(self.stderr):{spec}}"


def estimate(draws: Float[Array, "n ..."]) -> Estimate:
    """The mean of independent draws along the first axis, with its standard error."""
    n = draws.shape[0]
    if n == 0:
        raise InputError("an estimate needs at least one draw; got an empty first axis")
    spread = jnp.std(draws, axis=0, ddof=1) if n > 1 else jnp.full(draws.shape[1:], jnp.nan, draws.dtype)
    return Estimate(jnp.mean(draws, axis=0), spread / jnp.sqrt(n), jnp.full(draws.shape[1:], float(n), draws.dtype))


class Weighted(eqx.Module):
    """A cloud with unnormalised log weights: `x` is any pytree whose leaves have `n` rows."""

    x: PyTree
    log_w: Float[Array, " n"]

    def __check_init__(self):
        rows = {leaf.shape[0] for leaf in jax.tree.leaves(self.x) if eqx.is_array(leaf)}
        if eqx.is_array(self.log_w) and rows and rows != {self.log_w.shape[0]}:
            raise InputError(f"a weighted cloud has {sorted(rows)} points and {self.log_w.shape[0]} weights")

    @property
    def weights(self) -> Float[Array, " n"]:
        """Normalised weights; they sum to one."""
        return jax.nn.softmax(self.log_w)

    @property
    def ess(self) -> Float[Array, ""]:
        """Effective sample size, between 1 and n."""
        return ess(self.log_w)

    @property
    def log_mean_weight(self) -> Float[Array, ""]:
        """log of the mean weight: an estimate of log Z when the weights are importance weights."""
        return log_mean(self.log_w)

    def expectation(self, fn) -> Estimate:
        """Self-normalised estimate of E[fn(x)] with the delta-method standard error (any leaf shape of `fn`)."""
        values = jax.vmap(fn)(self.x)
        w = self.weights.reshape((-1,) + (1,) * (values.ndim - 1))
        mean = jnp.sum(w * values, axis=0)
        stderr = jnp.sqrt(jnp.sum((w * (values - mean)) ** 2, axis=0))
        return Estimate(mean, stderr, jnp.broadcast_to(self.ess, mean.shape))

    def resample(self, resampler: "AbstractResampler", *, key: Key) -> "Weighted":
        """Draw an equally weighted cloud of the same size; the mean weight is kept."""
        index = resampler(self.log_w, self.log_w.shape[0], key=key)
        flat = jnp.full_like(self.log_w, self.log_mean_weight)
        return Weighted(jax.tree.map(lambda leaf: leaf[index], self.x), flat)


def log_mean(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """log of the mean of e^{log_w}."""
    return logsumexp(log_w) - jnp.log(log_w.shape[0])


def ess(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """Effective sample size of unnormalised log weights: 1 when one particle has all, n when all are equal."""
    return 1 / jnp.sum(jax.nn.softmax(log_w) ** 2)


class AbstractResampler(eqx.Module):
    """Draws ancestors so that particle i is expected `m * weights[i]` times."""

    @abc.abstractmethod
    def __call__(self, log_w: Float[Array, " n"], m: int, *, key: Key) -> Int[Array, " m"]:
        """Indices of `m` ancestors."""


class Multinomial(AbstractResampler):
    """Independent draws: the largest variance of the four, and the reference for the others."""

    def __call__(self, log_w, m, *, key):
        """Indices of `m` ancestors."""
        return _search(log_w, jax.random.uniform(key, (m,), log_w.dtype))


class Stratified(AbstractResampler):
    """One uniform in each of `m` equal strata."""

    def __call__(self, log_w, m, *, key):
        """Indices of `m` ancestors."""
        return _search(log_w, (jnp.arange(m) + jax.random.uniform(key, (m,), log_w.dtype)) / m)


class Systematic(AbstractResampler):
    """One uniform shared by all strata: each particle is drawn floor(m w) or ceil(m w) times."""

    def __call__(self, log_w, m, *, key):
        """Indices of `m` ancestors."""
        return _search(log_w, (jnp.arange(m) + jax.random.uniform(key, (), log_w.dtype)) / m)


class Residual(AbstractResampler):
    """floor(m w) copies for certain, the rest multinomially from what is left over."""

    def __call__(self, log_w, m, *, key):
        """Indices of `m` ancestors."""
        expected = m * jax.nn.softmax(log_w)
        copies = jnp.floor(expected).astype(int)
        certain = jnp.repeat(jnp.arange(log_w.shape[0]), copies, total_repeat_length=m)
        rest = _search(jnp.log(expected - copies), jax.random.uniform(key, (m,), log_w.dtype))
        return jnp.where(jnp.arange(m) < jnp.sum(copies), certain, rest)


def _search(log_w, u):
    cumulative = jnp.cumsum(jax.nn.softmax(log_w))
    # Dividing by the last entry keeps a rounded total below one from sending u past the end.
    index = jnp.searchsorted(cumulative / cumulative[-1], u, side="right")
    return jnp.minimum(index, log_w.shape[0] - 1)
