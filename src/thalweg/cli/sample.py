"""`thalweg sample`: draws from a run, by ODE or SDE, with densities if asked.

Answers    which condition, solver and file do the words stand for
Writes     samples in the data's units; beside .npy, and inside .npz and .csv, the conditions and log densities
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, choose
from .files import npy_bytes, write_samples
from .rundir import RunDir

# Points in one likelihood pass: bounds its memory.
CHUNK = 4096


@dataclass(frozen=True)
class SampleOptions:
    """The options of `sample`."""

    n: int = 1000
    sde: float | None = None
    solver: str | None = None
    steps: int = 100
    condition: str | None = None
    guidance: float | None = None
    log_prob: bool = False
    seed: int = 0
    devices: int | None = None


def parse_condition(transport, text: str) -> Any:
    """A label by its text or its number; for numbers, a number or a JSON list.

    Raises:
        InputError: for a label that was not in training, or what is no number.
    """
    if transport.conditions is None:
        raise InputError("this run was fitted without conditions; sample it without --condition")
    if transport.labels is not None:
        labels = transport.labels
        if text in labels:
            return labels.index(text)
        if text.isdigit() and int(text) < len(labels):
            return int(text)
        try:
            choose("label", text, labels)
        except InputError as error:
            raise InputError(f"{error}; it was not in training") from None
    try:
        value = np.asarray(json.loads(text), np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"--condition {text!r}: expected a number or a JSON list of numbers") from error
    expected = transport.conditions.shape[1:]
    value = value.reshape(1) if value.ndim == 0 and expected == (1,) else value
    if value.shape != expected or not np.isfinite(value).all():
        raise InputError(f"--condition {text!r} has shape {value.shape}; expected {expected[0]} finite numbers")
    return value


def draw(run: RunDir, options: SampleOptions) -> dict[str, np.ndarray]:
    """Samples `x`, the conditions `c` they were drawn under, and log densities when asked for.

    Raises:
        InputError: for a bad option, or a run without a model.
    """
    import jax
    import jax.numpy as jnp

    from ..core import data_mesh

    for name, value in (("n", options.n), ("steps", options.steps)):
        if value < 1:
            raise InputError(f"--{name} is {value}; expected at least 1")
    if options.sde is not None and not 0 <= options.sde < float("inf"):
        raise InputError(f"--sde is {options.sde:g}; expected a number of at least 0")
    method = None
    if options.solver is not None:
        from ..flows import solver

        method = solver(options.solver)
    transport: Any = run.transport()
    if options.guidance is not None:
        transport = transport.guided(options.guidance)
    key = jax.random.key(options.seed)
    if options.condition is None:
        c = transport.draw_conditions(options.n, key=jax.random.fold_in(key, 2**31 - 1))
    else:
        one = jnp.asarray(parse_condition(transport, options.condition), transport.conditions.dtype)
        c = jnp.broadcast_to(one, (options.n, *one.shape))
    mesh = None if options.devices is None else data_mesh(options.devices)
    x = transport.sample(
        options.n, key=key, sde=options.sde, condition=c, steps=options.steps, method=method, mesh=mesh
    )
    found = {"x": np.asarray(x)} if c is None else {"x": np.asarray(x), "c": np.asarray(c)}
    if options.log_prob:
        found |= _log_prob(transport, x, c, key)
    return found


def _log_prob(transport, x, c, key):
    from ..core import Exact, Probes

    if not transport.has_likelihood:
        raise InputError("--log-prob: this run started from data whose density is not known, so there is no likelihood")
    how = Exact() if x[0].size <= 16 else Probes(8)
    parts = [
        transport.log_prob(x[i : i + CHUNK], key=key, condition=None if c is None else c[i : i + CHUNK], how=how)
        for i in range(0, len(x), CHUNK)
    ]
    join = lambda name: np.concatenate([np.asarray(getattr(p, name)) for p in parts])  # noqa: E731
    return {"log_prob": join("mean"), "log_prob_stderr": join("stderr")}


def save(run: RunDir, found: dict[str, np.ndarray], out: Path | None, *, sde: bool, png: bool) -> list[Path]:
    """Write samples where they were asked for (`-` is standard output) and, for images, a PNG beside them."""
    columns = run.record.get("columns")
    if out is not None and str(out) == "-":
        if png:
            raise InputError("--png writes beside a file; give --out a file name")
        sys.stdout.buffer.write(npy_bytes(found["x"]))
        sys.stdout.buffer.flush()
        return []
    target = out if out is not None else run.path / f"samples-{'sde' if sde else 'ode'}.npy"
    target.parent.mkdir(parents=True, exist_ok=True)
    extra = {k: v for k, v in found.items() if k != "x"}
    if target.suffix.lower() == ".npy":
        # One array a file: conditions only where a reader would look for them.
        extra.pop("c", None)
    write_samples(target, found["x"], extra, None if columns is None else tuple(columns))
    return [target, _png(target, found["x"], run)] if png else [target]


def _png(target, x, run):
    from ..core.io import write_atomic
    from ..report import is_image, sample_png

    if not is_image(x.shape[1:]):
        raise InputError(f"--png draws images; these samples have events of shape {x.shape[1:]}")
    path = target.with_suffix(".png")
    write_atomic(path, sample_png(x[:100], limits=run.transport().units.bounds))
    return path
