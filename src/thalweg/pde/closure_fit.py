"""Training a closure on the kinetic equation: by its own moments first, then through the moment equation, and where.

Answers    how are the parameters of a closure found, and which runs of the kinetic equation should they be found on?
Equations  a priori    E |w(z, g) - w*|^2, over the moments z, w* and strains g of kinetic runs
           in time     E |z(t) - z*(t)|^2, z the moment equation's with the closure, z* the kinetic equation's
           active      the next run is the one of the drawn settings where max_t |D - D*| is largest
                                                                                   (2308.06675, training the closure)
Symbols    w(z, g) -> closure.fourth, * -> runs
Cost       a step in time: the batch's moment equations, there and back; a round: kinetic runs of all candidates
Fails      nonfinite from `Fit` when a moment equation left what a density can have; widths, rates and the size of the
           data are not the paper's, which could not be found

Runs are of rods in one constant gradient each: what a closure sees at a place of a flow is a gradient and a D.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Complex, Float, Int

from ..core import AbstractObjective, Fit, InputError, Key, Times, run
from ..core.checks import at_least_zero, finite, known, positive, real
from .closures import AbstractClosure, bingham_density
from .kinetic import kinetic_in_gradient
from .moments import moments_in_gradient
from .suspension import Suspension, deviator


class Setting(eqx.Module):
    """One run of the kinetic equation, or a row of them with a leading axis everywhere.

    Fields:
        gradient: d u_i / d x_j, (2, 2), without trace.
        zeta: strength of alignment.
        D: second moment of the Bingham density to start from, (2, 2).
    """

    gradient: Float[Array, "*runs 2 2"] = eqx.field(converter=real)
    zeta: Float[Array, "*runs"] = eqx.field(converter=real)
    D: Float[Array, "*runs 2 2"] = eqx.field(converter=real)


class KineticRuns(eqx.Module):
    """What closures are trained on and measured by.

    Fields:
        setting: of every run.
        d_R: rotational diffusion, the same in all.
        times: of every run.
        z, w: <e^(2 i theta)> and <e^(4 i theta)> of the kinetic equation, (runs, k).
        count: how many of the rows are there already; the others wait to be filled.
    """

    setting: Setting
    d_R: Float[Array, ""]
    times: Times
    z: Complex[Array, "runs k"]
    w: Complex[Array, "runs k"]
    count: Int[Array, ""]

    def errors(self, closure: AbstractClosure, *, substeps: int = 2) -> Float[Array, "runs k"]:
        """The largest entry of |D - D*| at every time, with this closure in the moment equation."""
        apart = _series(closure, self, self.setting, substeps) - self.z
        return jnp.maximum(jnp.abs(apart.real), jnp.abs(apart.imag)) / 2


def kinetic_runs(
    setting: Setting, d_R: ArrayLike, times: ArrayLike, *, angles: int = 64, substeps: int = 4
) -> KineticRuns:
    """Run the kinetic equation in every setting of a row.

    Args:
        setting: with a leading axis.
        d_R: rotational diffusion, at least 0.
        times: rising.
        angles, substeps: as for `kinetic_in_gradient`.

    Raises:
        InputError: for settings without a leading axis, or with a number that is not finite; for negative d_R.
    """
    if setting.zeta.ndim != 1:
        raise InputError(f"kinetic_runs(zeta of shape {setting.zeta.shape}): expected one number for every run")
    for name in ("gradient", "zeta", "D"):
        finite("kinetic_runs", name, getattr(setting, name))
    at_least_zero("kinetic_runs", "d_R", d_R := real(d_R))
    found = _runs(setting, d_R, real(times), angles, substeps)
    if (z := known(found[0])) is not None and not np.isfinite(z).all():
        raise InputError(f"kinetic_runs(substeps={substeps}): a number is not finite; take more substeps")
    return KineticRuns(setting, d_R, real(times), *found, jnp.asarray(setting.zeta.shape[0]))


@eqx.filter_jit
def _runs(setting, d_R, times, angles, substeps):
    def one(setting):
        psi = bingham_density(setting.D, angles)
        moved = kinetic_in_gradient(Suspension(d_R, setting.zeta), setting.gradient, psi, times, substeps=substeps)
        return moved.harmonics[:, 2], moved.harmonics[:, 4]

    return jax.vmap(one)(setting)


@eqx.filter_jit
def _series(closure, runs, setting, substeps):
    def one(setting):
        medium = Suspension(runs.d_R, setting.zeta)
        D = moments_in_gradient(closure, medium, setting.gradient, setting.D, runs.times, substeps=substeps).D
        return 2 * deviator(D)

    return jax.vmap(one)(setting)


class PriorBatch(eqx.Module):
    """Draws moments and strains of the runs: a problem of `Fit` with `PriorLoss`."""

    runs: KineticRuns
    size: int = eqx.field(static=True, default=256)

    def __call__(self, key: Key) -> tuple[Array, Array, Array]:
        """z, g and w at `size` draws of a run and a time."""
        rows, columns = jax.random.split(key)
        i = jax.random.randint(rows, (self.size,), 0, self.runs.count)
        j = jax.random.randint(columns, (self.size,), 0, self.runs.times.shape[0])
        z, setting = self.runs.z[i, j], self.runs.setting
        return z, deviator(setting.gradient[i]) + setting.zeta[i] * z, self.runs.w[i, j]


class PriorLoss(AbstractObjective):
    """The mean square of the error of w."""

    def __call__(self, model, batch, *, key):
        """One batch of `PriorBatch`."""
        z, g, w = batch
        apart = model.fourth(z, g) - w
        return jnp.mean(apart.real**2 + apart.imag**2)


class SeriesBatch(eqx.Module):
    """Draws whole runs: a problem of `Fit` with `SeriesLoss`."""

    runs: KineticRuns
    size: int = eqx.field(static=True, default=8)

    def __call__(self, key: Key) -> tuple[KineticRuns, Setting, Array]:
        """The runs they came from, `size` settings, and z of each."""
        i = jax.random.randint(key, (self.size,), 0, self.runs.count)
        return self.runs, jax.tree.map(lambda x: x[i], self.runs.setting), self.runs.z[i]


class SeriesLoss(AbstractObjective):
    """The mean square of the error of z along the moment equation, differentiated through its solver.

    Fields:
        substeps: of the moment equation between two times of the runs.
    """

    substeps: int = eqx.field(static=True, default=2)

    def __call__(self, model, batch, *, key):
        """One batch of `SeriesBatch`."""
        runs, setting, z = batch
        apart = _series(model, runs, setting, self.substeps) - z
        return jnp.mean(apart.real**2 + apart.imag**2)


class Trainer(eqx.Module):
    """How long and how fast a closure is trained, each time that it is.

    Fields:
        prior, prior_steps: the optimiser of the a-priori loss, and its steps.
        series, series_steps: those of the loss in time.

    Two trainers that share their optimisers and steps share what is compiled.
    """

    prior: optax.GradientTransformation = eqx.field(default_factory=lambda: optax.adam(3e-3))
    prior_steps: int = eqx.field(static=True, default=3000)
    series: optax.GradientTransformation = eqx.field(default_factory=lambda: optax.adam(2e-4))
    series_steps: int = eqx.field(static=True, default=200)

    def __check_init__(self):
        if self.prior_steps < 0 or self.series_steps < 0:
            raise InputError(
                f"Trainer(prior_steps={self.prior_steps}, series_steps={self.series_steps}): expected 0 up"
            )

    def __call__(self, closure: Any, runs: KineticRuns, *, key: Key) -> Any:
        """The trained closure.

        Raises:
            StatusError: when a loss is not finite.
        """
        first, second = jax.random.split(key)
        if self.prior_steps:
            fit = Fit(PriorLoss(), closure, self.prior)
            closure = run(fit, PriorBatch(runs), steps=self.prior_steps, key=first).value
        if self.series_steps:
            fit = Fit(SeriesLoss(), closure, self.series, clip=1.0)
            closure = run(fit, SeriesBatch(runs), steps=self.series_steps, key=second).value
        return closure


class Round(eqx.Module):
    """One round of active learning: errors of the candidates, the largest of which was added, and its setting."""

    errors: Float[Array, " candidates"]
    added: Setting


class LearnedClosure(eqx.Module):
    """What `learn_closure` leaves behind: the closure, the runs it was trained on, and the rounds."""

    closure: Any
    runs: KineticRuns
    rounds: tuple[Round, ...]


def learn_closure(
    closure: Any,
    draw: Callable[[Key], Setting],
    d_R: ArrayLike,
    times: ArrayLike,
    *,
    key: Key,
    first: int = 8,
    rounds: int = 8,
    candidates: int = 16,
    trainer: Trainer | None = None,
    again: Trainer | None = None,
) -> LearnedClosure:
    """Train a closure on `first` drawn settings, and `rounds` times on one more: the worst of those drawn anew.

    Args:
        closure: to start from, as `Learned.start(d_R, key=key)`.
        draw: key -> a `Setting`, the parameters that the closure is for.
        d_R: rotational diffusion, positive.
        times: of every run.
        trainer: for the first settings; `again` for each of the rounds, from where the closure was.

    Raises:
        InputError: for counts below 1, or negative rounds.
        StatusError: when a loss is not finite.
    """
    if first < 1 or candidates < 1 or rounds < 0:
        raise InputError(f"learn_closure(first={first}, rounds={rounds}, candidates={candidates}): expected 1, 0, 1")
    positive("learn_closure", "d_R", d_R := real(d_R))
    trainer = Trainer() if trainer is None else trainer
    again = trainer if again is None else again
    start, *keys = jax.random.split(key, rounds + 2)
    many = eqx.filter_jit(lambda keys: jax.vmap(draw)(keys))
    # Room for all, so that nothing is compiled anew: rows that wait are copies, and are not drawn.
    runs = _padded(kinetic_runs(many(jax.random.split(start, first)), d_R, times), rounds)
    closure = trainer(closure, runs, key=keys[0])
    told = []
    for key in keys[1:]:
        drawn, training = jax.random.split(key)
        found = kinetic_runs(many(jax.random.split(drawn, candidates)), d_R, times)
        errors = jnp.max(found.errors(closure), axis=1)
        worst = int(jnp.argmax(errors))
        told.append(Round(errors, jax.tree.map(lambda x, i=worst: x[i], found.setting)))
        runs = _added(runs, found, worst)
        closure = again(closure, runs, key=training)
    return LearnedClosure(closure, runs, tuple(told))


def _padded(runs, more):
    longer = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], more, axis=0)])  # noqa: E731
    setting = jax.tree.map(longer, runs.setting)
    return KineticRuns(setting, runs.d_R, runs.times, longer(runs.z), longer(runs.w), runs.count)


def _added(runs, found, i):
    at = lambda x, y: x.at[runs.count].set(y[i])  # noqa: E731
    setting = jax.tree.map(at, runs.setting, found.setting)
    return KineticRuns(setting, runs.d_R, runs.times, at(runs.z, found.z), at(runs.w, found.w), runs.count + 1)
