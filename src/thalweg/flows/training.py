"""Fitting a transport to data: the choices, made once, and the run.

Answers    from arrays to a learned transport
Equations  those of `matching`; Adam with a cosine learning rate, clipped gradients, averaged parameters
Cost       one gradient of the net a step; whole chunks of steps in one compiled scan
Fails      at the first non-finite loss, with the last good state kept and the step named; status = nonfinite
"""

import os
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..core import Denoiser, Fit, InputError, Key, Result, Velocity, describe, progress_bar, run_chunks
from ..core.sharding import Sharded, replicate
from ..nets import MLP, Labels
from .coupling import AbstractCoupling, Independent, Paired
from .data import Empirical, Gaussian, Pairs, Units
from .latent import Brownian
from .matching import Fields, Matching
from .path import AbstractOneSided, AbstractPath, Linear, OneSided
from .times import AbstractTimes, Uniform
from .transport import Transport


class Training(eqx.Module):
    """Everything that a run needs, built from arrays by `Training.of`: the method, the problem, and what comes of them.

    `run` trains and returns the core's `Result`, `transport(result)` makes the learned transport of it.
    """

    fit: Fit
    pairs: Pairs
    template: Transport

    @classmethod
    def of(
        cls,
        target,
        *,
        key: Key,
        source=None,
        condition=None,
        labels: tuple[str, ...] | None = None,
        path: AbstractPath | None = None,
        coupling: AbstractCoupling | None = None,
        times: AbstractTimes | None = None,
        fields: Fields | None = None,
        net: Callable | None = None,
        steps: int = 2000,
        batch: int = 256,
        learning_rate: float = 5e-3,
        ema: float | None = 0.995,
        clip: float | None = 1.0,
        drop: float = 0.0,
        quantum: float | None = None,
        bounds: tuple[float, float] | None = None,
        per_feature: bool | None = None,
    ) -> "Training":
        """Make the choices that were left open.

        Args:
            target: (n, *event) data to learn.
            source: (m, *event) data to start from; standard normal when None.
            condition: (n,) integer labels from 0 or (n, k) numbers belonging to the target.
            labels: names of the integer labels.
            path: one-sided linear without a source, linear with Brownian latent noise with one, by default.
            coupling: independent by default.
            fields: what to learn; by default a velocity, and with latent noise a denoiser too, so that the SDE can run.
            net: `net(event, condition_encoder, key=...)`, an MLP by default; called once a field.
            drop: share of conditions dropped in training; needed for classifier-free guidance.
            quantum, bounds: the grid and range of integer data (see `Units`).
            per_feature: whether each feature has its own unit; by default for events of one axis.

        Raises:
            InputError: for data that cannot be learned from, saying what and where.
        """
        target = _checked("target", target)
        event = target.shape[1:]
        units = Units.of(target, quantum=quantum, bounds=bounds, per_feature=per_feature)
        path, coupling = path or _default_path(source), coupling or Independent()
        start = _source(source, event, path, coupling, units, len(target))
        c, classes = _condition(condition, len(target), labels)
        net_key, encoder_key = jax.random.split(key)
        encoder = None if c is None else _encoder(c, classes, encoder_key)
        fields = fields or _default_fields(path, net or _mlp, event, encoder, net_key)
        pairs = Pairs(start, jnp.asarray(target), c, units, coupling, batch, drop)
        schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(100, steps // 10 + 1), max(steps, 2), 0.0)
        fit = Fit(Matching(path, times or Uniform()), fields, optax.adam(schedule), ema, clip)
        return cls(fit, pairs, Transport(fields, path, coupling, _base(start, path), units, event, c, labels))

    def run(self, steps: int, *, key: Key, mesh=None, label: str = "fit", quiet: bool = False, **chunks) -> Result:
        """Train up to step `steps`; `chunks` are those of `run_chunks` (directory, resume, chunk, save_seconds)."""
        fit, pairs = self.fit, self.pairs
        if mesh is not None:
            fit, pairs, key = replicate(fit, mesh), Sharded(replicate(pairs, mesh), mesh), replicate(key, mesh)
        with progress_bar(label, quiet=quiet) as progress:
            return run_chunks(fit, pairs, steps=steps, key=key, progress=progress, **chunks)

    def transport(self, result: Result) -> Transport:
        """The learned transport."""
        return eqx.tree_at(lambda t: t.fields, self.template, result.value)


def fit(
    target,
    *,
    key: Key,
    steps: int = 2000,
    directory: str | os.PathLike | None = None,
    resume: bool = False,
    mesh=None,
    quiet: bool = False,
    **choices,
) -> Transport:
    """Learn a transport to `target` (n, *event), from a standard normal or from `source=...`.

    Args:
        steps: training steps.
        directory: where checkpoints go, so that `resume=True` can go on after an interruption.
        mesh: devices to divide the batches over (`core.data_mesh()`).
        quiet: no progress on stderr.
        choices: those of `Training.of`: source, condition, path, coupling, net, batch, ...

    Raises:
        InputError: for data that cannot be learned from.
        StatusError: when a loss was not finite; its `result` holds the last good state.
    """
    from ..core import StatusError, succeeded

    training = Training.of(target, key=key, steps=steps, **choices)
    where = None if directory is None else Path(directory)
    result = training.run(steps, key=key, directory=where, resume=resume, mesh=mesh, quiet=quiet)
    if not bool(succeeded(result.status)):
        raise StatusError(f"training stopped {describe(result)}", result)
    return training.transport(result)


def _default_path(source) -> AbstractPath:
    return OneSided(Linear()) if source is None else Linear(Brownian())


def _default_fields(path, net, event, encoder, key):
    first, second = jax.random.split(key)
    velocity = Velocity(net(event, encoder, key=first))
    noisy = not isinstance(path, AbstractOneSided) and float(path.gamma2(jnp.asarray(0.5))) > 0
    return Fields(velocity=velocity, denoiser=Denoiser(net(event, encoder, key=second)) if noisy else None)


def _mlp(event, encoder, *, key):
    return MLP(event, width=256, depth=3, condition=encoder, key=key)


def _source(source, event, path, coupling, units, n):
    if source is None:
        if isinstance(coupling, Paired):
            raise InputError("the paired coupling needs a source: pass source=..., one row for each row of the target")
        return Gaussian(event)
    if isinstance(path, AbstractOneSided):
        raise InputError(
            "a one-sided path starts from a standard normal; drop the source or use a two-sided path such as Linear()"
        )
    source = _checked("source", source)
    if source.shape[1:] != event:
        raise InputError(f"source has events of shape {source.shape[1:]}, target {event}; expected the same")
    if isinstance(coupling, Paired) and len(source) != n:
        raise InputError(f"the paired coupling got {len(source)} source rows and {n} target rows; expected as many")
    return Empirical(units.encode(jnp.asarray(source)))


def _base(start, path):
    # Pairs hold z, which the path multiplies by alpha; samples start from x at t = 0, for VE far from N(0, 1).
    return Gaussian(start.event, float(path.alpha(jnp.asarray(0.0)))) if isinstance(path, AbstractOneSided) else start


def _condition(condition, n, labels):
    if condition is None:
        return None, None
    c = np.asarray(condition)
    if len(c) != n:
        raise InputError(f"{n} rows of data have {len(c)} conditions; expected one each")
    if np.issubdtype(c.dtype, np.integer) and c.ndim == 1:
        if c.min() < 0:
            raise InputError(f"labels start at {c.min()}; expected integers from 0")
        return jnp.asarray(c, jnp.int32), len(labels) if labels is not None else int(c.max()) + 1
    if not np.issubdtype(c.dtype, np.number) or not np.isfinite(c.astype(float)).all():
        raise InputError("conditions are neither integer labels (n,) nor finite numbers (n, k)")
    return jnp.asarray(c, jnp.float32).reshape(n, -1), None


def _encoder(c, classes, key):
    from ..nets import Continuous

    return Labels(classes, 32, key=key) if classes is not None else Continuous(c.shape[1], 32, key=key)


def _checked(name, x):
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.number):
        raise InputError(f"{name} holds {x.dtype}; expected numbers")
    if x.ndim < 2:
        raise InputError(f"{name} has shape {x.shape}; expected (n, d), or (n, height, width)")
    if len(x) < 2:
        raise InputError(f"{name} has {len(x)} rows; expected at least two")
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        at = np.argwhere(~np.isfinite(x))[0]
        raise InputError(
            f"{name} has a non-finite number at row {at[0]}, column {', '.join(map(str, at[1:]))}; remove or fill it"
        )
    return x
