"""log Z with an error bar, and a refusal when it cannot be trusted.

Answers    what is the normalising constant, how well is it known, and is that a number to act on?
Equations  Z = (1/R) sum_r Z_r;   se(log Z) = se(Z)/Z, from the spread of the Z_r and from each run's own variance
           independent weights:   Z_r = mean w,  var(Z_r)/Z_r^2 = sum (W - 1/n)^2
           resampled particles:   var(Z_r)/Z_r^2 = sum_e (sum_{i from e} W_i - 1/n)^2, e the ancestor at step 0
Symbols    w -> e^{log_w}, W -> their normalised weights, R -> replicates
Source     Lee and Whiteley, arXiv 1509.00394; Olsson and Douc, arXiv 1708.04221, section 3 (the ancestral variance)
Fails      `weights_degenerate`: k-hat above 0.7 (less for few weights), fewer than ten effective draws or ancestors a
           run, or an error of log Z above 0.5, where it is no longer Gaussian. `unmixed`: the runs differ by more than
           their own errors say, with probability below 0.001. A mode that no run has seen can be noticed by no
           statistic of these runs: only a wider base, or more of them, can find it
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaincc, ndtri
from jaxtyping import Array, Float, Int

from ..core import Estimate, InputError, Status, StatusError, ess, log_mean, succeeded
from .diagnostics import KHAT, pareto_khat

# Beyond this the law of log Z is too skewed for a symmetric interval.
WIDE = 0.5
# Fewer effective draws, or ancestors, than this say nothing of their own variance.
FEW = 10.0
# How improbable the spread of the runs must be before it is called a disagreement.
SURPRISE = 1e-3


class Evidence(eqx.Module):
    """An estimate of log Z, where its error bar comes from, and whether to believe it.

    Fields:
        log_z: log of the mean of Z over the replicates; its standard error is the larger of the two below.
        run_stderr: what the runs say of their own error.
        replicate_stderr: what their spread says; NaN for one run.
        ess: effective number of weighted draws, of all runs together.
        khat: Pareto k-hat of the weights, the worst over the runs and their steps.
        status: `converged` when log Z and its interval can be used.
    """

    log_z: Estimate
    run_stderr: Float[Array, ""]
    replicate_stderr: Float[Array, ""]
    ess: Float[Array, ""]
    khat: Float[Array, ""]
    status: Any

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """A central interval for log Z.

        Raises:
            StatusError: when the status says that it cannot be trusted; InputError for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise InputError(f"level is {level}; expected a number between 0 and 1, such as 0.9")
        if not bool(succeeded(self.status)):
            raise StatusError(f"no interval for log Z: {Status[self.status]}", self)
        half = float(ndtri((1 + level) / 2)) * float(self.log_z.stderr)
        return float(self.log_z.mean) - half, float(self.log_z.mean) + half

    def __str__(self):
        words = f"log Z = {self.log_z}, ESS {float(self.ess):.0f}, k-hat {float(self.khat):.2f}"
        return words if bool(succeeded(self.status)) else f"{words}  REFUSED: {Status[self.status]}"


class Tally(eqx.Module):
    """What one run knows of its Z: the log of its estimate, that estimate's relative variance, and its weights."""

    log_z: Float[Array, "*runs"]
    variance: Float[Array, "*runs"]
    ess: Float[Array, "*runs"]
    khat: Float[Array, "*runs"]
    ancestors: Float[Array, "*runs"]


def tally(log_w: Float[Array, " n"]) -> Tally:
    """What independent importance weights say: log mean w, with the relative variance of that mean."""
    n = log_w.shape[0]
    size = ess(log_w)
    variance = jnp.sum((jax.nn.softmax(log_w) - 1 / n) ** 2)
    return Tally(log_mean(log_w), variance * n / max(n - 1, 1), size, pareto_khat(log_w), size)


def ancestral_variance(log_w: Float[Array, " n"], eve: Int[Array, " n"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Relative variance of one run's Z from the ancestors at step 0, and the effective number of those."""
    n = log_w.shape[0]
    shares = jnp.zeros(n, log_w.dtype).at[eve].add(jax.nn.softmax(log_w))
    return jnp.sum((shares - 1 / n) ** 2) * n / max(n - 1, 1), 1 / jnp.sum(shares**2)


def evidence(weights: Float[Array, "*runs n"] | Tally) -> Evidence:
    """log Z from independent importance weights, or from what one or several runs have tallied.

    Args:
        weights: log weights whose mean weight estimates Z, (n,) or (replicates, n); or a `Tally` of runs.

    Raises:
        InputError: for no weights at all.
    """
    if isinstance(weights, Tally):
        return _combine(jax.tree.map(jnp.atleast_1d, weights), KHAT)
    if weights.ndim not in (1, 2) or weights.size == 0:
        raise InputError(f"got log weights of shape {weights.shape}; expected (n,) or (replicates, n), not empty")
    found = _tallies(weights)
    # With few weights k-hat itself is uncertain, and less of it is tolerable (Vehtari et al., arXiv 1507.02646).
    return _combine(found, min(KHAT, 1 - 1 / np.log10(max(weights.size, 11))))


@jax.jit
def _tallies(weights):
    found = jax.vmap(tally)(jnp.atleast_2d(weights))
    # All runs have one law of weights, and its tail is best seen in all of them.
    khat = pareto_khat(weights.reshape(-1))
    return eqx.tree_at(lambda t: t.khat, found, jnp.broadcast_to(khat, found.khat.shape))


@eqx.filter_jit
def _combine(found: Tally, limit) -> Evidence:
    runs = found.log_z.shape[0]
    dtype = found.log_z.dtype
    log_z = log_mean(found.log_z)
    # Each run's share of the mean: a run with a larger Z has more of the variance.
    relative = jnp.exp(found.log_z - log_z)
    run_stderr = jnp.sqrt(jnp.sum(relative**2 * found.variance)) / runs
    replicate_stderr = jnp.std(relative, ddof=1) / runs**0.5 if runs > 1 else jnp.asarray(jnp.nan, dtype)
    stderr = jnp.fmax(run_stderr, replicate_stderr)
    total, khat = jnp.sum(found.ess), jnp.max(found.khat)
    heavy = (khat > limit) | (jnp.mean(found.ancestors) < FEW) | ~(stderr <= WIDE)
    status = Status.where(heavy, Status.weights_degenerate, Status.converged)
    if runs > 1:
        spread = jnp.sum((found.log_z - jnp.mean(found.log_z)) ** 2 / jnp.maximum(found.variance, 1e-12))
        torn = gammaincc((runs - 1) / 2, spread / 2) < SURPRISE
        status = Status.where(torn & ~heavy, Status.unmixed, status)
    status = Status.where(jnp.any(jnp.isnan(found.log_z)), Status.nonfinite, status)
    return Evidence(Estimate(log_z, stderr, total), run_stderr, replicate_stderr, total, khat, status)
