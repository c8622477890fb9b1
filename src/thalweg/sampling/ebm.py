"""Energies trained by cross-entropy, with walkers that know their own weights.

Answers    which energy U_theta fits these data, e^{-U_theta}/Z_theta, and what is its cross-entropy while it learns?
Equations  H(theta) = log Z_theta + E_data[U_theta];   grad H = E_data[dU_theta] - E_{rho_theta}[dU_theta]
           E_{rho_theta}[f] = sum_i p_i f(X_i),   p = softmax(A),   Z_theta = Z_ref mean e^A
           AllMove    X' = X - h s^2 grad U_k(X) + sqrt(2h) s xi,   A' = A - alpha_{k+1}(X', X) + alpha_k(X, X'),
                      alpha_k(x, y) = U_k(x) + (y - x).grad U_k(x)/2 + h s^2 |grad U_k(x)|^2 / 4           (13, 14)
           SomeMove   A += U_k(X) - U_{k+1}(X) for all; a batch of walkers then moves at theta_{k+1}, with
                      A += alpha_{k+1}(X, X') - alpha_{k+1}(X', X)
           start      X ~ base, A = -U_0(X) - log base(X), Z_ref = Z_base; constant where base is rho_{theta_0}
           ESS < threshold n: log Z_ref += log mean e^A, resample, A = 0
Symbols    A -> log_w, log Z_ref -> log_ref, h -> step_size, s -> scale, p -> weights; k is a step, U_k has theta_k
Cost       a step: dU/dtheta at the data and at all walkers; AllMove two more gradients in x a walker, SomeMove two
           values a walker and two gradients for each move of those in the batch
Source     arXiv 2305.19414, Algorithm 1 and its variant for large nets
Fails      `weights_degenerate` when the ESS falls below 2: the parameters, or the walkers, take too large steps
           (h above 2/curvature diverges; its weights stay exact and collapse). `nonfinite` for a NaN; the model then
           stays as it was before that step. A base without exact draws or without log Z is refused
           A path of parameters that is fixed beforehand has exact weights for every h, E[mean e^A] = Z/Z_ref. In
           training the walkers pull theta away from where they are, and then find Z too small: by order 1/n at each
           step, which adds up over thousands of them. `referees` are exact
Departure  the referees, which the paper has not; no penalty on the energies, which is the model's matter
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core import AbstractInfo, AbstractMethod, AbstractResampler, Cloud, InputError, Key, Paper
from ..core.checks import positive
from ..core.method import Status
from ..core.weights import Systematic, Weighted, ess, log_mean
from ..problems import AbstractDensity, check_base
from .movers import Jarzynski, unadjusted

# Fewer effective walkers than this are one walker: nothing is averaged any more.
COLLAPSED = 2.0


class EnergyDensity(AbstractDensity):
    """e^{-U} of an energy, `model(x)` at one point, as a density on points of this `shape`."""

    model: Any
    shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def event(self):
        """The shape of one point."""
        return self.shape

    def log_prob(self, x):
        """-U(x)."""
        return -self.model(x)


class EnergyData(eqx.Module):
    """The data, and where walkers start.

    Fields:
        data: N points.
        base: a density with exact draws and a known log Z. It should be that of the first energy, up to a constant; the
            walkers' first weights correct for what it is not.
        batch: rows a step, drawn with replacement; None takes all.

    Raises:
        InputError: for no data, points of another shape than the base's, a base whose log Z is not known, or an
            impossible batch.
    """

    data: Cloud
    base: AbstractDensity
    batch: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not self.data.ndim or not len(self.data):
            raise InputError(f"got data of shape {self.data.shape}; expected (N, *event) with N of at least 1")
        check_base(self.base, self.data.shape[1:], "data")
        if self.batch is not None and (isinstance(self.batch, bool) or not 1 <= self.batch <= len(self.data)):
            raise InputError(f"batch is {self.batch}; expected 1 to {len(self.data)}, the rows of the data, or None")

    def rows(self, key: Key) -> Cloud:
        """The rows of one step."""
        n = self.batch
        return self.data if n is None else self.data[jax.random.randint(key, (n,), 0, len(self.data))]

    def draw(self, key: Key, n: int) -> Cloud:
        """`n` rows without repeats, where there are as many: all of them, for n = N."""
        return self.data[jax.random.choice(key, len(self.data), (n,), replace=n > len(self.data))]


class Walkers(eqx.Module):
    """The walkers, their log weights, and log Z up to the mean of those."""

    x: Cloud
    log_w: Float[Array, " n"]
    log_ref: Float[Array, ""]

    @property
    def log_z(self) -> Float[Array, ""]:
        """log Z_ref + log mean e^A."""
        return self.log_ref + log_mean(self.log_w)


class AbstractMoves(eqx.Module):
    """How walkers go from theta_k to theta_{k+1}, and by which factor their weights change.

    Fields:
        step_size: h of an unadjusted Langevin step, a time.
        scale: s, a length for each coordinate.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    scale: Float[Array, "..."] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        for name in ("step_size", "scale"):
            positive(type(self).__name__, name, getattr(self, name))

    def langevin(self, old: AbstractDensity, new: AbstractDensity, x: Cloud, *, key: Key) -> tuple:
        """One step of each point, forward at `old` and backward at `new`, with the log increments (13, 14)."""
        step = lambda p, k: unadjusted(old, new, p, self.step_size, self.scale, key=k)  # noqa: E731
        return jax.vmap(step)(x, jax.random.split(key, len(x)))

    @abc.abstractmethod
    def __call__(self, old: AbstractDensity, new: AbstractDensity, x: Cloud, *, key: Key) -> tuple:
        """The walkers after the step, and the increments of their log weights."""


class AllMove(AbstractMoves):
    """One step of every walker, forward at theta_k and backward at theta_{k+1}."""

    def __call__(self, old, new, x, *, key):
        """The step."""
        return self.langevin(old, new, x, key=key)


class SomeMove(AbstractMoves):
    """All walkers are weighed anew; a random batch of them takes steps at theta_{k+1}.

    Fields:
        batch: how many walkers move; chosen without looking at them, or the weights would be wrong.
        moves: steps of each of those.
    """

    batch: int = eqx.field(static=True, kw_only=True)
    moves: int = eqx.field(static=True, kw_only=True, default=1)

    def __check_init__(self):
        if self.batch < 1 or self.moves < 1:
            raise InputError(f"SomeMove(batch={self.batch}, moves={self.moves}): expected at least 1 each")

    def __call__(self, old, new, x, *, key):
        """The change of the parameters, then the moves of a batch."""
        choice_key, move_key = jax.random.split(key)
        log_w = jax.vmap(lambda p: new.log_prob(p) - old.log_prob(p))(x)
        index = jax.random.choice(choice_key, len(x), (min(self.batch, len(x)),), replace=False)

        def once(carry, i):
            y, moved = carry
            y, more = self.langevin(new, new, y, key=jax.random.fold_in(move_key, i))
            return (y, moved + more), None

        (y, moved), _ = jax.lax.scan(once, (x[index], jnp.zeros_like(log_w[index])), jnp.arange(self.moves))
        return x.at[index].set(y), log_w.at[index].add(moved)


class AbstractNegative(eqx.Module):
    """The negative phase: where E_{rho_theta}[dU] comes from. `weighted` is whether the walkers stand for rho_theta."""

    weighted: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def start(self, problem: EnergyData, density: AbstractDensity, n: int, *, key: Key) -> Walkers:
        """`n` walkers for the first energy."""

    def reform(self, problem: EnergyData, walkers: Walkers, step: Int[Array, ""], *, key: Key) -> tuple:
        """Walkers that are resampled or put back where that is due, and whether it was; before they move."""
        return walkers, jnp.asarray(False)


class JarzynskiWalkers(AbstractNegative):
    """Walkers with exact weights, resampled when few of them are effective.

    Fields:
        resampler: None never resamples.
        threshold: share of the walkers below which the ESS makes them resample; 1/(1 + c) for the paper's CV^2 > c.
    """

    resampler: AbstractResampler | None = Systematic()
    threshold: float = eqx.field(static=True, default=0.5)
    weighted: ClassVar[bool] = True

    def __check_init__(self):
        if not 0 <= self.threshold <= 1:
            raise InputError(f"JarzynskiWalkers(threshold={self.threshold}): expected a share between 0 and 1")

    def start(self, problem, density, n, *, key):
        """Draws of the base, weighed for the first energy."""
        x = problem.base.sample(key, n)
        log_w = jax.vmap(lambda p: density.log_prob(p) - problem.base.log_prob(p))(x)
        return Walkers(x, log_w, jnp.asarray(problem.base.log_z, log_w.dtype))

    def reform(self, problem, walkers, step, *, key):
        """Resample when the ESS is low; the mean weight goes into log Z_ref."""
        resampler, n = self.resampler, len(walkers.log_w)
        if resampler is None:
            return walkers, jnp.asarray(False)
        due = ess(walkers.log_w) < self.threshold * n

        def resampled():
            index = resampler(walkers.log_w, n, key=key)
            return Walkers(walkers.x[index], jnp.zeros_like(walkers.log_w), walkers.log_z)

        return jax.lax.cond(due, resampled, lambda: walkers), due


class Persistent(AbstractNegative):
    """Persistent contrastive divergence: the same walkers, from the base on, with equal weights for ever."""

    weighted: ClassVar[bool] = False

    def start(self, problem, density, n, *, key):
        """Draws of the base."""
        return _equal(problem.base.sample(key, n))


class Contrastive(AbstractNegative):
    """Contrastive divergence: walkers put back on the data `every` k steps; None is once, PCD begun there."""

    every: int | None = eqx.field(static=True, default=1)
    weighted: ClassVar[bool] = False

    def __check_init__(self):
        if self.every is not None and self.every < 1:
            raise InputError(f"Contrastive(every={self.every}): expected at least 1 step, or None")

    def start(self, problem, density, n, *, key):
        """Rows of the data."""
        return _equal(problem.draw(key, n))

    def reform(self, problem, walkers, step, *, key):
        """Back to the data when it is time."""
        if self.every is None:
            return super().reform(problem, walkers, step, key=key)
        due = step % self.every == 0
        x = jax.lax.cond(due, lambda: problem.draw(key, len(walkers.x)).astype(walkers.x.dtype), lambda: walkers.x)
        return Walkers(x, walkers.log_w, walkers.log_ref), due


class EnergyState(eqx.Module):
    """Trainable arrays, the optimiser's state, the walkers for these arrays, and whether training is still sound."""

    params: PyTree
    optimiser: PyTree
    walkers: Walkers
    referees: Walkers | None
    alive: Bool[Array, ""]
    step: Int[Array, ""]


class EnergyInfo(AbstractInfo):
    """All of theta_k, before its update: log Z + mean energy, log Z (both None without weights), mean energy of the
    step's rows, ESS, norm of the gradient, and whether walkers were resampled or put back."""

    cross_entropy: Float[Array, ""] | None
    log_z: Float[Array, ""] | None
    energy: Float[Array, ""]
    ess: Float[Array, ""]
    grad_norm: Float[Array, ""]
    resampled: Bool[Array, ""]
    status: Any


class TrainedEnergy(eqx.Module):
    """The energy, its walkers, and log Z (None where the walkers carry no weights)."""

    model: Any
    cloud: Weighted
    log_z: Float[Array, ""] | None

    def cross_entropy(self, x: Cloud) -> Float[Array, ""]:
        """log Z + mean U(x): minus the mean log-likelihood of points; an `InputError` where log Z is not known."""
        if self.log_z is None:
            raise InputError("these walkers carry no weights and know no log Z; anneal to EnergyDensity(model, shape)")
        return self.log_z + jnp.mean(jax.vmap(self.model)(x))


class EnergyTraining(AbstractMethod[EnergyData, EnergyState, EnergyInfo, TrainedEnergy]):
    """Minimise the cross-entropy over the inexact arrays of an energy.

    Fields:
        model: x -> U(x) at one point, with the parameters to start from.
        optimiser: an optax gradient transformation.
        moves: `AllMove(step_size)` or `SomeMove(step_size, batch, moves)`.
        negative: `JarzynskiWalkers()`, `Persistent()` or `Contrastive(every)`.
        walkers: how many.
        referees: further walkers that only tell log Z. The parameters never see them, so that their weights are exact;
            without them the walkers that pull the parameters also tell log Z, and tell it too low.
    """

    model: PyTree
    optimiser: optax.GradientTransformation
    moves: AbstractMoves
    negative: AbstractNegative = JarzynskiWalkers()
    walkers: int = eqx.field(static=True, default=1000)
    referees: int = eqx.field(static=True, default=0)
    paper: ClassVar[Paper] = Jarzynski.paper

    def __check_init__(self):
        if self.walkers < 4 or 0 < self.referees < 4 or self.referees < 0:
            got = f"walkers={self.walkers}, referees={self.referees}"
            raise InputError(f"EnergyTraining({got}): expected at least 4 walkers, and no referees or at least 4")
        if self.referees and not self.negative.weighted:
            raise InputError(f"referees={self.referees}: expected 0, {type(self.negative).__name__} has no weights")
        if isinstance(self.moves, SomeMove) and self.moves.batch > self.walkers:
            raise InputError(f"SomeMove(batch={self.moves.batch}): expected at most {self.walkers}, all the walkers")
        if not jax.tree.leaves(eqx.filter(self.model, eqx.is_inexact_array)):
            raise InputError("EnergyTraining got a model without floating-point arrays; expected one with parameters")

    def init(self, problem, *, key):
        """Walkers for the first energy."""
        params = eqx.filter(self.model, eqx.is_inexact_array)
        density = self._density(problem, params)
        shape = jax.eval_shape(density.log_prob, problem.data[0]).shape
        if shape != ():
            raise InputError(f"the energy of one point has the shape {shape}; expected a single number, shape ()")
        begin = lambda n, i: self.negative.start(problem, density, n, key=jax.random.fold_in(key, i))  # noqa: E731
        walkers, referees = begin(self.walkers, 0), begin(self.referees, 1) if self.referees else None
        return EnergyState(params, self.optimiser.init(params), walkers, referees, jnp.asarray(True), jnp.asarray(0))

    def step(self, problem, state, *, key):
        """The gradient by the weighted walkers, an update, and the walkers taken along."""
        rows_key, reform_key, move_key = jax.random.split(key, 3)
        rows, walkers, log_z = problem.rows(rows_key), state.walkers, self._log_z(state)
        p = jax.nn.softmax(walkers.log_w)

        def gap(params):
            energy = lambda x: -self._density(problem, params).log_prob(x)  # noqa: E731
            data = jnp.mean(jax.vmap(energy)(rows))
            return data - jnp.sum(p * jax.vmap(energy)(walkers.x)), data

        grads, energy = jax.grad(gap, has_aux=True)(state.params)
        norm = optax.tree.norm(grads)
        updates, optimiser = self.optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        old, new = self._density(problem, state.params), self._density(problem, params)

        def onward(group, i):
            first, second = jax.random.fold_in(reform_key, i), jax.random.fold_in(move_key, i)
            kept, due = self.negative.reform(problem, group, state.step, key=first)
            x, moved = self.moves(old, new, kept.x, key=second)
            moved = moved if self.negative.weighted else 0.0
            return Walkers(x, kept.log_w + moved, kept.log_ref), due

        moved_on, resampled = onward(walkers, 0)
        referees = None if state.referees is None else onward(state.referees, 1)[0]
        alive = state.alive & jnp.isfinite(energy) & jnp.isfinite(norm)
        after = EnergyState(params, optimiser, moved_on, referees, alive, state.step + 1)
        before = EnergyState(state.params, state.optimiser, walkers, state.referees, alive, state.step)
        state = jax.tree.map(lambda a, b: jnp.where(alive, a, b), after, before)
        size = ess(walkers.log_w)
        fewest = size if before.referees is None else jnp.minimum(size, ess(before.referees.log_w))
        info = EnergyInfo(
            cross_entropy=None if log_z is None else log_z + energy,
            log_z=log_z,
            energy=energy,
            ess=size,
            grad_norm=norm,
            resampled=resampled,
            status=Status.where(fewest < COLLAPSED, Status.weights_degenerate, Status.running),
        )
        return state, info

    def value(self, problem, state):
        """The energy with its walkers and, if they are weighted, its log Z."""
        cloud = Weighted(state.walkers.x, state.walkers.log_w)
        return TrainedEnergy(self._density(problem, state.params).model, cloud, self._log_z(state))

    def _log_z(self, state):
        told = state.walkers if state.referees is None else state.referees
        return told.log_z if self.negative.weighted else None

    def _density(self, problem, params):
        static = eqx.filter(self.model, eqx.is_inexact_array, inverse=True)
        return EnergyDensity(eqx.combine(params, static), problem.base.event)


def _equal(x):
    return Walkers(x, jnp.zeros(len(x), x.dtype), jnp.zeros((), x.dtype))
