"""Posterior ensembles of a neural interatomic potential, and what they say of observables.

Answers    how far can the forces, and a molecular dynamics run with them, be trusted?
Equations  E(x) = e sum_i (w . rho_i + v . tanh(W rho_i + b)),   rho_ik = sum_j exp(-(r_ij - c_k)^2 / 2 s^2) cut(r_ij)
           U(theta) = -sum log N(F; F_theta, sigma^2) - log p(theta) - log p(sigma),   p(sigma) exponential
           observable: one molecular dynamics run for each theta; its law over theta is the credible interval
Symbols    c -> centres, s -> width, e -> unit, sigma -> exp(log_sigma): sampled as a logarithm, so never below 0;
           the rate of its prior -> 1/sigma_scale
Cost       O(atoms^2 features) an energy; a run of molecular dynamics for each draw, all at once
Fails      chains that disagree (R-hat above 1.1) have no interval: `credible_interval` raises, and `throw=False`
           returns the numbers marked as blocked. What no network can fit (a systematic error) is in no interval of
           the mean, and members that were trained alike err alike
Departure  atoms of one kind; free boundaries; energies are fitted through forces alone
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from jaxtyping import Array, Bool, Float, PyTree

from ..core import AbstractObjective, Fit, InputError, Key, Status, StatusError, run, succeeded
from ..core.checks import known, positive
from ..processes import BAOAB, Observed, Simulate, UnderdampedLangevin, phase
from .diagnostics import rhat
from .sgmcmc import SGLD, Posterior

paper = SGLD.paper

# Above this the chains have not met.
RHAT = 1.1


class Weights(eqx.Module):
    """theta: the weights of the network, in units of its features, and the log of the error of a force component."""

    linear: Float[Array, " features"]
    inner: Float[Array, "width features"]
    bias: Float[Array, " width"]
    outer: Float[Array, " width"]
    log_sigma: Float[Array, ""]


class RadialPotential(eqx.Module):
    """A network on radial features of each atom's surroundings; what it is made of, without its weights.

    Fields:
        centres: of the Gaussians, in units of length.
        spread: their width.
        cutoff: the distance beyond which atoms do not see each other, smoothly.
        mean, std: of the features over the data, by which they are standardised.
        unit: of energy, so that the weights are of order 1.
    """

    centres: Float[Array, " features"]
    spread: Float[Array, ""]
    cutoff: Float[Array, ""]
    mean: Float[Array, " features"]
    std: Float[Array, " features"]
    unit: Float[Array, ""]

    @staticmethod
    def of(x: Array, forces: Array, features: int) -> "RadialPotential":
        """Centres over the distances in the data, units from its forces; both (rows, atoms, 3).

        Raises:
            InputError: for data that is no set of configurations with their forces, or is not finite.
        """
        if x.ndim != 3 or x.shape[2] != 3 or x.shape != forces.shape or x.shape[1] < 2:
            raise InputError(f"x, forces have shapes {x.shape}, {forces.shape}; expected (rows, atoms, 3) for both")
        if not bool(jnp.isfinite(x).all() & jnp.isfinite(forces).all()):
            raise InputError("x or forces have numbers that are not finite; leave those configurations out")
        return _fitted(x, forces, features)

    def features(self, x: Float[Array, "atoms 3"]) -> Float[Array, "atoms features"]:
        """Standardised features of each atom."""
        n = x.shape[0]
        other = 1 - jnp.eye(n, dtype=x.dtype)
        square = jnp.sum((x[:, None] - x[None]) ** 2, -1)
        # The distance to itself is moved away from 0, where the root has no derivative.
        r = jnp.sqrt(square + (1 - other))
        cut = jnp.where(r < self.cutoff, (1 - (r / self.cutoff) ** 2) ** 2, 0.0) * other
        bumps = jnp.exp(-0.5 * ((r[..., None] - self.centres) / self.spread) ** 2)
        return (jnp.sum(bumps * cut[..., None], axis=1) - self.mean) / self.std

    def init(self, key: Key, width: int) -> Weights:
        """Random weights."""
        k, dtype = jax.random.split(key, 4), self.centres.dtype
        size = len(self.centres)
        draw = lambda key, shape, s: s * jax.random.normal(key, shape, dtype)  # noqa: E731
        return Weights(
            draw(k[0], (size,), 0.1),
            draw(k[1], (width, size), size**-0.5),
            draw(k[2], (width,), 1.0),
            draw(k[3], (width,), width**-0.5),
            jnp.zeros((), dtype),
        )

    def energy(self, theta: Weights, x: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """Potential energy of one configuration."""
        rho = self.features(x)
        atoms = rho @ theta.linear + jnp.tanh(rho @ theta.inner.T + theta.bias) @ theta.outer
        return self.unit * jnp.sum(atoms)

    def forces(self, theta: Weights, x: Float[Array, "atoms 3"]) -> Float[Array, "atoms 3"]:
        """Minus the gradient of the energy."""
        return -jax.grad(self.energy, argnums=1)(theta, x)


@eqx.filter_jit
def _fitted(x, forces, features):
    r = jnp.sqrt(jnp.sum((x[:, :, None] - x[:, None]) ** 2, -1))
    r = r[:, ~np.eye(x.shape[1], dtype=bool)]
    low, high = jnp.min(r), jnp.max(r)
    centres, spread = jnp.linspace(low, high, features), (high - low) / features
    bare = RadialPotential(centres, spread, 1.3 * high, 0 * centres, 1 + 0 * centres, jnp.ones((), x.dtype))
    rho = jax.vmap(bare.features)(x).reshape(-1, features)
    return RadialPotential(centres, spread, bare.cutoff, rho.mean(0), jnp.std(rho, axis=0), jnp.std(forces) * spread)


class ForceLikelihood(eqx.Module):
    """log N(F; F_theta, sigma^2) of one row (x, F), and the prior.

    Fields:
        model: the potential.
        sigma_scale: mean of the exponential prior of sigma, in units of force.
        weight_std: of the normal prior of each weight.
    """

    model: RadialPotential
    sigma_scale: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    weight_std: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        for name, x in (("sigma_scale", self.sigma_scale), ("weight_std", self.weight_std)):
            positive("ForceLikelihood", name, x)

    def log_likelihood(self, theta: Weights, row) -> Float[Array, ""]:
        """Of one configuration."""
        x, F = row
        z = (F - self.model.forces(theta, x)) / self.sigma(theta)
        return -0.5 * jnp.sum(z**2) - z.size * (jnp.log(self.sigma(theta)) + 0.5 * np.log(2 * np.pi))

    def log_prior(self, theta: Weights) -> Float[Array, ""]:
        """Of the weights and of log sigma (hence the Jacobian), up to a constant."""
        weights = (theta.linear, theta.inner, theta.bias, theta.outer)
        square = sum(jnp.sum(w**2) for w in weights) / self.weight_std**2
        sigma = self.sigma(theta)
        return -0.5 * square - sigma / self.sigma_scale + jnp.log(sigma)

    def sigma(self, theta: Weights) -> Float[Array, ""]:
        """The error of a force component: log_sigma is relative to its scale."""
        return self.sigma_scale * jnp.exp(theta.log_sigma)

    def posterior(self, x, forces, *, chains: int, width: int, batch: int | None, key: Key) -> Posterior:
        """The problem for the samplers, with chains from independent random weights."""
        start = jax.jit(jax.vmap(lambda k: self.model.init(k, width)))(jax.random.split(key, chains))
        return Posterior((x, forces), self.log_likelihood, self.log_prior, start, batch)


class _Objective(AbstractObjective):
    posterior: Posterior

    def __call__(self, model, batch, *, key):
        return self.posterior.potential(model, batch) / self.posterior.size


def deep_ensemble(posterior: Posterior, optimiser: optax.GradientTransformation, *, steps: int, key: Key) -> PyTree:
    """Independent fits of the posterior's mode, one from each start of the posterior: the baseline of every chain.

    Returns:
        theta, with a leading axis of members.

    Raises:
        StatusError: a fit whose loss stopped being finite.
    """
    objective = _Objective(posterior)

    def one(start, key):
        return run(Fit(objective, start, optimiser), lambda key: key, steps=steps, key=key, throw=False)

    found = eqx.filter_jit(eqx.filter_vmap(one))(posterior.start, jax.random.split(key, posterior.chains))
    if not bool((good := jax.vmap(succeeded)(found.status)).all()):
        at = int(jnp.argmin(good))
        raise StatusError(f"member {at}: {Status[jax.tree.map(lambda s: s[at], found.status)]}", found)
    return found.value


class Interval(eqx.Module):
    """What an ensemble says of numbers.

    Fields:
        mean, low, high: of each.
        rhat: of each; NaN for independent fits.
        blocked: whether the chains disagree, so that `low` and `high` are no interval.
        level: the probability that was asked for.
    """

    mean: Float[Array, "*event"]
    low: Float[Array, "*event"]
    high: Float[Array, "*event"]
    rhat: Float[Array, "*event"]
    blocked: Bool[Array, "*event"]
    level: float = eqx.field(static=True)

    @property
    def text(self) -> str:
        """One line on whether to believe it."""
        bad = int(jnp.sum(self.blocked))
        if not bad:
            return f"{self.level:.0%} interval"
        return (
            f"blocked: R-hat is up to {float(jnp.max(self.rhat)):.3g}, above {RHAT} for {bad} of {self.blocked.size} "
            "numbers; run longer chains, or say that the chains disagree"
        )

    def coverage(self, truth: Float[Array, "*event"]) -> Float[Array, ""]:
        """The share of true numbers inside."""
        return jnp.mean((self.low <= truth) & (truth <= self.high))


def credible_interval(
    values: Float[Array, "chains draws *event"], *, level: float = 0.9, throw: bool = True
) -> Interval:
    """The central interval of draws from several chains; blocked where R-hat is above 1.1, or NaN.

    Raises:
        InputError: for a level outside (0, 1), or fewer than four draws a chain.
        StatusError: where an interval is blocked, with the `Interval`; `throw=False` returns it.
    """
    _check_level(level)
    if values.ndim < 2 or values.shape[1] < 4:
        raise InputError(f"values have shape {values.shape}; expected (chains, draws, ...) with four draws or more")
    found = _pooled(values, level)
    if throw and (blocked := known(found.blocked)) is not None and blocked.any():
        raise StatusError(found.text, found)
    return found


@eqx.filter_jit
def _pooled(values, level):
    pooled = values.reshape(-1, *values.shape[2:])
    low, high = jnp.quantile(pooled, jnp.asarray([(1 - level) / 2, (1 + level) / 2], values.dtype), axis=0)
    agreed = rhat(values)
    return Interval(pooled.mean(0), low, high, agreed, ~(agreed <= RHAT), level)


def ensemble_interval(values: Float[Array, "members *event"], *, level: float = 0.9) -> Interval:
    """mean ± t std sqrt(1 + 1/members) of a few independent fits, t of Student: too few for quantiles.

    Raises:
        InputError: for a level outside (0, 1), or fewer than two members.
    """
    _check_level(level)
    if (n := values.shape[0]) < 2:
        raise InputError(f"values have {n} members; expected at least 2")
    mean = values.mean(0)
    reach = float(scipy.stats.t.ppf((1 + level) / 2, n - 1)) * (1 + 1 / n) ** 0.5 * jnp.std(values, axis=0, ddof=1)
    return Interval(mean, mean - reach, mean + reach, jnp.full_like(mean, jnp.nan), jnp.zeros(mean.shape, bool), level)


class _Energy(eqx.Module):
    energy: Callable
    theta: PyTree

    def __call__(self, x):
        return self.energy(self.theta, x)


def propagate(
    energy: Callable,
    thetas: PyTree,
    x0: Float[Array, "n atoms 3"],
    observable: Callable,
    *,
    dt: float,
    steps: int,
    settle: int,
    temperature: float,
    friction: float,
    mass: Any = 1.0,
    key: Key,
) -> Float[Array, "members ..."]:
    """The observable's average over a molecular dynamics run, for each member of an ensemble.

    All members share their noise, so that what differs between them is the potential's doing.

    Args:
        energy: (theta, x) -> potential energy of one configuration.
        thetas: with a leading axis of members.
        x0: where the runs of each member begin; the average is over all n as well.
        observable: x -> a number or an array.
        dt, steps, settle: the step, how many are averaged over, and how many go before.
        temperature, friction, mass: k_B T in units of energy; 1/time; a number.
    """
    if steps < 1 or settle < 1:
        raise InputError(f"propagate(steps={steps}, settle={settle}): expected at least 1 of both")
    dtype = x0.dtype
    cold, rub, heavy = (jnp.asarray(v, dtype) for v in (temperature, friction, mass))

    def one(theta):
        process = UnderdampedLangevin(_Energy(energy, theta), cold, rub, heavy)
        v = process.thermal_speed() * jax.random.normal(jax.random.fold_in(key, 0), x0.shape, dtype)
        grids = (dt * jnp.arange(settle + 1, dtype=dtype), dt * jnp.arange(steps + 1, dtype=dtype))
        k1, k2 = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)
        warm = run(BAOAB(), Simulate(process, phase(x0, v), grids[0]), steps=settle, key=k1, throw=False)
        look = Observed(BAOAB(), lambda t, x: observable(x[0]))
        end = run(look, Simulate(process, warm.value, grids[1]), steps=steps, key=k2, throw=False)
        return jnp.mean(end.value.mean, axis=0)

    return eqx.filter_jit(eqx.filter_vmap(one))(thetas)


def _check_level(level):
    if not 0 < level < 1:
        raise InputError(f"level is {level}; expected a probability between 0 and 1")
