"""What the page shows, gathered from a transport: draws, trajectories, and the plane they are looked at in.

Answers    which points and paths are drawn, in which coordinates
Equations  plane: the first two principal axes of the held-out data; the points themselves in two dimensions or one
Cost       a few hundred trajectories by ODE and by SDE, and two sample sets
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Key

# Points in a scatter, particles in the animation, frames of it.
POINTS, PARTICLES, FRAMES = 1200, 500, 41
# Bytes of one animation before its text encoding; larger images get fewer particles.
BUDGET = 400_000
# Numbers in the paths of all samples.
MEMORY = 20_000_000


@dataclass(frozen=True)
class Record:
    """What was run: a title, facts in a few words, the options given, data, versions, and the lines to do it again."""

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Draws:
    """Samples (n, *event) in the data's units, their paths (k, m, *event) at times (k,), and their labels."""

    samples: np.ndarray
    labels: np.ndarray | None
    times: np.ndarray
    paths: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Everything that is drawn.

    `sde` is None when no score is known. `event` decides how: images as pictures, one dimension as densities, anything
    else in a plane.
    """

    event: tuple[int, ...]
    held_out: np.ndarray
    held_out_labels: np.ndarray | None
    ode: Draws
    sde: Draws | None
    eps: float
    plane: "Plane"
    label_names: tuple[str, ...] | None = None
    loss: np.ndarray = field(default_factory=lambda: np.zeros(0))
    grad_norm: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def image(self) -> bool:
        """Whether points are drawn as pictures."""
        return is_image(self.event)

    @property
    def draws(self) -> dict[str, Draws]:
        """The samplers by name."""
        both = {"ODE": self.ode}
        return both if self.sde is None else {**both, f"SDE, ε = {self.eps:g}": self.sde}


@dataclass(frozen=True)
class Plane:
    """Two (or one) directions to look along: (x - centre) . axes, with the names of the axes."""

    centre: np.ndarray
    axes: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, x: np.ndarray, columns: Sequence[str] | None = None) -> "Plane":
        """The points themselves up to two dimensions, else the first two principal axes of `x`."""
        flat = np.asarray(x, np.float64).reshape(len(x), -1)
        d = flat.shape[1]
        if d <= 2:
            names = tuple(columns) if columns is not None and len(columns) == d else ("x", "y")[:d]
            return cls(np.zeros(d), np.eye(d), names)
        centre = flat.mean(0)
        _, s, vt = np.linalg.svd(flat - centre, full_matrices=False)
        share = s**2 / np.sum(s**2)
        names = tuple(f"principal axis {i + 1} ({share[i]:.0%})" for i in range(2))
        return cls(centre, vt[:2].T, names)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Coordinates (n, 2), or (n, 1) in one dimension."""
        return (np.asarray(x, np.float64).reshape(len(x), -1) - self.centre) @ self.axes


def is_image(event: tuple[int, ...]) -> bool:
    """Whether an event is (h, w), or (h, w, channels) with one or three channels, and worth a picture."""
    return len(event) >= 2 and min(event[:2]) >= 4 and (len(event) == 2 or (len(event) == 3 and event[2] in (1, 3)))


def gather(
    transport: Any,
    held_out: np.ndarray,
    train: np.ndarray,
    *,
    key: Key,
    sde: float = 0.5,
    steps: int = 100,
    held_out_condition: np.ndarray | None = None,
    columns: Sequence[str] | None = None,
    loss: Sequence[float | None] = (),
    grad_norm: Sequence[float | None] = (),
) -> Evidence:
    """Draw what the page shows.

    Args:
        transport: a `thalweg.flows.Transport`.
        held_out, train: (n, *event) in the data's units.
        sde: eps of the SDE that is drawn beside the ODE.
        steps: steps of both.
        held_out_condition: labels of the held-out data, to arrange pictures by.
        columns: names of the features.
        loss, grad_norm: one number a step of training.
    """
    first, second = jax.random.split(key)
    held_out = np.asarray(held_out, np.float32)
    noisy = _draws(transport, second, sde, steps) if transport.has_score else None
    labelled = transport.labels is not None and held_out_condition is not None
    return Evidence(
        event=tuple(transport.event),
        held_out=held_out,
        held_out_labels=np.asarray(held_out_condition) if labelled else None,
        ode=_draws(transport, first, None, steps),
        sde=noisy,
        eps=sde,
        plane=Plane.of(np.concatenate([held_out, np.asarray(train, np.float32)]), columns),
        label_names=transport.labels,
        loss=np.asarray([np.nan if v is None else v for v in loss], float),
        grad_norm=np.asarray([np.nan if v is None else v for v in grad_norm], float),
    )


def _draws(transport, key, sde, steps) -> Draws:
    event, size = transport.event, int(np.prod(transport.event))
    frames = min(25 if is_image(event) else FRAMES, steps + 1)
    particles = min(60, max(6, BUDGET // (frames * size))) if is_image(event) else PARTICLES
    # One run gives both samples and paths; large images get fewer of both.
    n = max(particles, min(POINTS, MEMORY // (frames * size)))
    labels, c = None, transport.draw_conditions(n, key=jax.random.fold_in(key, 7))
    if transport.labels is not None:
        # In turn, so that every label is seen.
        labels = np.arange(n) % len(transport.labels)
        c = jnp.asarray(labels, transport.conditions.dtype)
    times, paths = transport.trajectories(n, key=key, saves=frames, sde=sde, condition=c, steps=steps)
    samples = np.asarray(transport.units.decode(paths[-1]))
    return Draws(samples, labels, np.asarray(times), np.asarray(transport.units.decode(paths[:, :particles])))
