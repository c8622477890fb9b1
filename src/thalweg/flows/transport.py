"""A learned transport: what was learned, on which path, in which units; and how to run it.

Answers    give me samples, by ODE or SDE, forwards or backwards, with densities, from one trained model
Equations  as in `motion` (processes), `convert` (fields) and `likelihood`
Cost       one evaluation of the net a point and step (two with Heun, four with RK4); memory of one chunk of points
Fails      a step too long for the noise (eps dt beyond the variance that is left) is warned of before it is run
"""

import dataclasses
import os
import warnings
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from ..core import (
    AbstractDivergence,
    CheckpointError,
    Cloud,
    Denoiser,
    Estimate,
    InputError,
    Key,
    Score,
    Velocity,
    choose,
    finish,
    load,
    save,
)
from ..core.sharding import split
from ..processes import AbstractSimulator, Adaptive, EulerMaruyama, HeunODE, simulate
from . import convert, likelihood
from .coupling import AbstractCoupling
from .data import AbstractSource, Gaussian, Units
from .exponential import AbstractExponential, denoise
from .guidance import ClassifierFree
from .matching import Fields
from .motion import AbstractMotion, AbstractNoise, ConstantNoise, CustomNoise, FlowODE, FlowSDE, VanishingNoise
from .path import AbstractOneSided, AbstractPath

# Points carried at once: many for throughput, few enough for memory. Smaller requests share the shape of the second
# size, so that one compiled function serves them.
CHUNK, SMALL_CHUNK = 2**15, 2**10


class Transport(eqx.Module):
    """A transport from `source` to the data it was trained on.

    Fields:
        fields: the learned fields.
        path, coupling: what they were learned on; they decide which other fields follow.
        source: draws of x0 (a Gaussian one has a density, so the transport has a likelihood).
        units: from the data's units to the model's and back.
        event: the shape of one data point.
        conditions: the training conditions (n, ...), from which `sample` draws when none is asked for; None without.
        labels: names of the integer conditions, or None.
    """

    fields: Fields
    path: AbstractPath
    coupling: AbstractCoupling
    source: AbstractSource
    units: Units
    event: tuple[int, ...] = eqx.field(static=True)
    conditions: Array | None = None
    labels: tuple[str, ...] | None = eqx.field(static=True, default=None)

    @property
    def velocity(self) -> Velocity:
        """b, learned or derived.

        Raises:
            InputError: when what was learned does not determine it.
        """
        f = self.fields
        if f.velocity is not None:
            return f.velocity
        if f.split is not None:
            return convert.velocity_from_split(f.split, self.score, self.path)
        return convert.velocity_from_denoiser(self.denoiser, *convert.one_sided(self.path, self.coupling))

    @property
    def score(self) -> Score:
        """s, learned or derived.

        Raises:
            InputError: when what was learned does not determine it, saying what would.
        """
        f = self.fields
        if f.score is not None:
            return f.score
        if f.denoiser is not None:
            return convert.score_from_denoiser(f.denoiser, self.path, self.coupling)
        return convert.score_from_velocity(self._learned_velocity(), *convert.one_sided(self.path, self.coupling))

    @property
    def denoiser(self) -> Denoiser:
        """eta, learned or derived; raises as `score` does."""
        f = self.fields
        if f.denoiser is not None:
            return f.denoiser
        if f.score is not None:
            return convert.denoiser_from_score(f.score, self.path, self.coupling)
        return convert.denoiser_from_velocity(self._learned_velocity(), *convert.one_sided(self.path, self.coupling))

    def _learned_velocity(self) -> Velocity:
        if self.fields.velocity is None:
            raise InputError("a split velocity alone fixes no score; learn a score or denoiser with it")
        return self.fields.velocity

    @property
    def has_score(self) -> bool:
        """Whether the transport can be run as an SDE."""
        try:
            return self.score is not None
        except InputError:
            return False

    @property
    def has_likelihood(self) -> bool:
        """Whether the density of the base is known."""
        return isinstance(self.source, Gaussian)

    def noise(self, eps: "float | AbstractNoise | Callable") -> AbstractNoise:
        """eps(t) from a number, a function of t, or itself.

        A number means eps(t) = eps on a two-sided path, and eps alpha(t) on a one-sided one, whose score is infinite at
        t = 1; for another eps(t) there, pass a function.
        """
        if isinstance(eps, AbstractNoise):
            return eps
        if callable(eps):
            return CustomNoise(eps)
        return VanishingNoise(eps, self.path) if isinstance(self.path, AbstractOneSided) else ConstantNoise(eps)

    def guided(self, weight: float) -> "Transport":
        """The same transport with classifier-free guidance: every field f becomes f_null + weight (f_c - f_null)."""
        if self.conditions is None:
            raise InputError("guidance needs a conditional transport; fit with a condition")
        wrap = lambda f: None if f is None else type(f)(ClassifierFree(f.fn, weight))  # noqa: E731
        f = self.fields
        return dataclasses.replace(
            self, fields=Fields(wrap(f.velocity), wrap(f.split), wrap(f.score), wrap(f.denoiser))
        )

    def motion(self, *, sde=None, condition: Array | None = None, backward: bool = False) -> AbstractMotion:
        """The process that carries points: the probability flow, or the SDE with noise `sde`; in the model's units.

        Raises:
            InputError: for an SDE without a score.
        """
        score, denoiser = (self.score, self.denoiser) if self.has_score else (None, None)
        if sde is None:
            return FlowODE(self.velocity, self.path, score, denoiser, condition)
        noise, score = self.noise(sde), self.score if score is None else score
        fields = {"velocity": self.velocity, "path": self.path, "score": score, "denoiser": denoiser, "c": condition}
        return FlowSDE(**fields, noise=noise, backward=backward)

    def draw_conditions(self, n: int, *, key: Key) -> Array | None:
        """Conditions with the training frequencies, or None for an unconditional transport."""
        if self.conditions is None:
            return None
        return self.conditions[jax.random.randint(key, (n,), 0, self.conditions.shape[0])]

    def sample(
        self,
        n: int,
        *,
        key: Key,
        sde: "float | AbstractNoise | Callable | None" = None,
        condition: PyTree = None,
        steps: int = 100,
        method: AbstractSimulator | Adaptive | None = None,
        mesh: Mesh | None = None,
    ) -> Cloud:
        """Draw (n, *event) samples of the data, in the data's units.

        Args:
            sde: None for the probability flow, else eps(t) >= 0 (see `noise`). No retraining is needed.
            condition: one condition for all, or (n, ...) of them; drawn from the training ones when None.
            steps: fixed steps from t = 0 to 1.
            method: integrator; Heun for the ODE, Euler-Maruyama for the SDE by default; `Adaptive()` for a tolerance
                instead of `steps`.
            mesh: devices to divide the samples over.

        Raises:
            InputError: for n < 1, an unknown condition, or an SDE without a score.
            StatusError: when a sample is not finite.
        """
        n = _positive("n", n)
        c = self._conditions(n, condition, key)
        return self._chunked(n, c, key, sde, steps, method, mesh, None)

    def push(self, x0, *, key: Key, sde=None, condition: PyTree = None, steps: int = 100, method=None) -> Cloud:
        """Carry given points (n, *event) of the source, in the data's units, to the data."""
        x0 = self._points(x0)
        start = self.units.encode(x0) if not self.has_likelihood else x0
        return self._chunked(len(x0), self._conditions(len(x0), condition, key), key, sde, steps, method, None, start)

    def pull(self, x1, *, key: Key, sde=None, condition: PyTree = None, steps: int = 100, method=None) -> Cloud:
        """Carry data (n, *event) back to the source, by the backward ODE or SDE; in the model's units."""
        x1 = self.units.encode(self._points(x1))
        c = self._conditions(len(x1), condition, key)
        motion = self.motion(sde=sde, condition=c, backward=True)
        ts = self._times(steps, sde, method)[::-1]
        return simulate(motion, x1, ts, method=method or self._default(sde), key=key).value

    def log_prob(
        self, x, *, key: Key, condition: PyTree = None, how: AbstractDivergence | None = None, steps: int = 50
    ) -> Estimate:
        """log density (n,) of data in the data's units, in nats, with the standard error of the probes.

        For data on a grid it is the density of the uniformly dequantised point (one draw), so that its mean bounds the
        log probability of the cells from below.
        """
        x = self._points(x)
        y = self.units.encode(x, key=jax.random.fold_in(key, 1))
        c = None if self.conditions is None else self._given(len(x), condition)
        found = likelihood.log_prob(self.motion(condition=c), self.source, y, key=key, how=how, steps=steps)
        return Estimate(found.mean + self.units.log_volume(self.event), found.stderr, found.ess)

    def trajectories(self, n: int, *, key: Key, saves: int = 32, sde=None, condition: PyTree = None, steps: int = 100):
        """Times (saves,) and paths (saves, n, *event) of samples, in the model's units, for looking at."""
        c = self._conditions(n, condition, key)
        ts = self._times(steps, sde)
        at = tuple(int(i) for i in np.unique(np.linspace(0, steps, saves).round()))
        x0 = self.source.sample(n, key=jax.random.fold_in(key, 0))
        motion = self.motion(sde=sde, condition=c)
        result = simulate(motion, x0, ts, method=self._default(sde), key=key, save_at=at)
        return result.value.times, result.value.x

    def save(self, path: str | os.PathLike) -> None:
        """Write to a directory; read it back with `Transport.load`."""
        save(path, self)

    @staticmethod
    def load(path: str | os.PathLike) -> "Transport":
        """Read what `save` wrote.

        Raises:
            CheckpointError: when it is not a saved transport.
        """
        found, _ = load(path)
        if not isinstance(found, Transport):
            raise CheckpointError(f"{path} holds a {type(found).__name__}; expected a Transport")
        return found

    def _chunked(self, n, c, key, sde, steps, method, mesh, start):
        """Run in equal chunks, so that memory is bounded and one compiled function serves all."""
        motion = self.motion(sde=sde)
        ts, method = self._times(steps, sde, method), method or self._default(sde)
        if isinstance(method, Adaptive) and method.solver is None and sde is not None:
            # Compiled, the noise cannot be looked at, but that of a flow depends on time alone.
            method = dataclasses.replace(method, solver=diffrax.SRA1())
        size = CHUNK if n >= CHUNK else min(SMALL_CHUNK, CHUNK) if n > SMALL_CHUNK // 4 else n
        parts = []
        for index, first in enumerate(range(0, n, size)):
            rows = np.minimum(np.arange(first, first + size), n - 1)
            part = jax.random.fold_in(key, index)
            given = None if start is None else start[rows]
            chosen = None if c is None else c[rows]
            result = finish(_carry(self, motion, ts, method, part, size, given, chosen, mesh), throw=True)
            parts.append(result.value[: n - first])
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    def _times(self, steps, sde, method=None):
        steps = _positive("steps", steps)
        if isinstance(method, AbstractExponential):
            return method.grid(self.path, steps)
        ts = jnp.linspace(0.0, 1.0, steps + 1)
        if sde is not None and not isinstance(method, Adaptive):
            self._warn_stiff(ts, self.noise(sde))
        return ts

    def _default(self, sde):
        return HeunODE() if sde is None else EulerMaruyama()

    def _warn_stiff(self, ts, noise):
        middle = 0.5 * (ts[:-1] + ts[1:])
        level = jax.vmap(self.path.alpha if isinstance(self.path, AbstractOneSided) else _root(self.path.gamma2))(
            middle
        )
        stiff = jax.vmap(noise)(middle) * jnp.diff(ts) / jnp.maximum(level, 1e-6) ** 2
        worst = int(jnp.argmax(stiff))
        if float(stiff[worst]) > 4.0 and level[worst] > 2 * convert.EDGE:
            warnings.warn(
                f"the SDE is stiff: eps dt is {float(stiff[worst]):.1f} times the noise variance at "
                f"t = {float(middle[worst]):.3f}; take more steps or a smaller eps",
                stacklevel=4,
            )

    def _points(self, x):
        x = jnp.asarray(x, jnp.float32)
        if x.shape[1:] != self.event or x.ndim < 1:
            raise InputError(f"points have shape {x.shape}; expected (n, {', '.join(map(str, self.event))})")
        return x

    def _conditions(self, n, condition, key):
        if self.conditions is None:
            if condition is not None:
                raise InputError("this transport was fitted without conditions; sample it without one")
            return None
        if condition is None:
            return self.draw_conditions(n, key=jax.random.fold_in(key, 2**31))
        return self._given(n, condition)

    def _given(self, n, condition):
        if condition is None:
            raise InputError("this transport is conditional: pass condition=..., one for all points or one each")
        pool = self.conditions
        if pool is None:
            raise InputError("this transport was fitted without conditions; use it without one")
        if isinstance(condition, str):
            condition = self._label(condition)
        c = jnp.asarray(condition, pool.dtype)
        if c.shape == pool.shape[1:]:
            c = jnp.broadcast_to(c, (n, *pool.shape[1:]))
        if c.shape != (n, *pool.shape[1:]):
            raise InputError(f"conditions have shape {c.shape}; expected {pool.shape[1:]} or {(n, *pool.shape[1:])}")
        if self.labels is not None:
            bad = np.asarray((c < -1) | (c >= len(self.labels)))
            if bad.any():
                known = f"0 to {len(self.labels) - 1} ({', '.join(self.labels)})"
                raise InputError(f"label {int(np.asarray(c)[bad][0])} was not in training; known: {known}")
        return c

    def _label(self, name):
        if self.labels is None:
            raise InputError(f"condition {name!r}: this transport's conditions are numbers, not labels")
        return self.labels.index(choose("label", name, self.labels))


@eqx.filter_jit
def _carry(transport, motion, ts, method, key, n, start, c, mesh):
    """One chunk, from the source to the data's units, in one compiled call."""
    x0 = transport.source.sample(n, key=jax.random.fold_in(key, 0)) if start is None else start
    if mesh is not None:
        x0, c = split((x0, c), mesh)
    motion = dataclasses.replace(motion, c=c)
    result = simulate(motion, x0, ts, method=method, key=jax.random.fold_in(key, 1), throw=False)
    x1 = denoise(motion, ts[-1], result.value) if isinstance(method, AbstractExponential) else result.value
    return eqx.tree_at(lambda r: r.value, result, transport.units.decode(x1))


def _root(fn):
    return lambda t: jnp.sqrt(fn(t))


def _positive(name, value):
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} is {value!r}; expected an integer of at least 1")
    return int(value)
