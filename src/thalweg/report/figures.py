"""Figures as inline SVG that follows the page from light to dark.

Answers    what training, samples and trajectories look like
Why        each colour is drawn as a stand-in and replaced by a CSS variable, and text stays text: one drawing serves
           both themes, in the page's own type, sharp at any size
"""

import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

from .evidence import Draws, Evidence, Plane

# No window, whatever the user's own settings.
matplotlib.use("agg", force=False)

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

# Stand-in -> variable of the style sheet.
INK, MUTED, RULE, REAL, ODE, SDE = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", REAL: "--real", ODE: "--ode", SDE: "--sde"}
# The same where there is no style sheet, in a file of its own or in somebody else's page: readable on white.
FIXED = {INK: "#1d2529", MUTED: "#5f6b70", RULE: "#d9dcdb", REAL: "#8a9296", ODE: "#1b6f93", SDE: "#c2591f"}
COLOURS = (ODE, SDE)
STYLE: Any = {
    "svg.fonttype": "none",
    # The same figure, the same bytes.
    "svg.hashsalt": "thalweg",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}


def training_figure(evidence: Evidence) -> str:
    """Loss and gradient norm against the step: every step faint, smoothed on top."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots(1, 2)
        panels = ((axes[0], "loss", evidence.loss, ODE), (axes[1], "gradient norm", evidence.grad_norm, SDE))
        for ax, name, values, colour in panels:
            steps = np.arange(1, len(values) + 1)
            # A long run has more steps than a page has pixels.
            show = slice(None, None, max(1, len(values) // 1500))
            smooth = _smoothed(values)
            ax.plot(steps[show], values[show], color=colour, alpha=0.25, linewidth=0.8)
            ax.plot(steps[show], smooth[show], color=colour, linewidth=2)
            ax.set(title=name, xlabel="step")
            if name == "loss":
                _without_start(ax, values)
            elif 0 < np.nanmin(values, initial=np.inf) < 0.1 * np.nanmax(values, initial=0.0):
                ax.set_yscale("log")
        return to_svg(figure)


def samples_figure(evidence: Evidence) -> str:
    """Held-out data and samples in one plane (or their densities in one dimension), a panel a sampler."""
    real = evidence.plane(some(evidence.held_out))
    sets = {name: evidence.plane(d.samples) for name, d in evidence.draws.items()}
    with matplotlib.rc_context(STYLE):
        if real.shape[1] == 1:
            return to_svg(_densities(real[:, 0], {k: v[:, 0] for k, v in sets.items()}, evidence.plane))
        figure = Figure(figsize=(4.4 * (len(sets) + 1), 4.4), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(sets) + 1, sharex=True, sharey=True))
        low, high = _limits(real)
        panels = {"held-out data": (real, REAL)}
        panels |= {f"samples, {name}": (x, COLOURS[i]) for i, (name, x) in enumerate(sets.items())}
        for ax, (name, (x, colour)) in zip(axes, panels.items(), strict=True):
            ax.scatter(x[:, 0], x[:, 1], s=7, color=colour, alpha=0.6, linewidths=0)
            ax.set(title=name, xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=evidence.plane.names[0])
            ax.set_box_aspect(1)
        axes[0].set_ylabel(evidence.plane.names[1])
        return to_svg(figure)


def trajectories_figure(evidence: Evidence, most: int = 60) -> str:
    """Paths of samples from base to data, a panel a sampler; against time in one dimension."""
    with matplotlib.rc_context(STYLE):
        sets = evidence.draws
        figure = Figure(figsize=(5.2 * len(sets), 4.4), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(sets), sharex=True, sharey=True))
        for i, (ax, (name, draws)) in enumerate(zip(axes, sets.items(), strict=True)):
            _paths(ax, evidence.plane, draws, COLOURS[i], most)
            ax.set_title(f"paths, {name}")
        one = len(evidence.plane.names) == 1
        axes[0].set_ylabel(evidence.plane.names[0 if one else 1])
        for ax in axes:
            ax.set_xlabel("time" if one else evidence.plane.names[0])
        return to_svg(figure)


def compare_figure(
    path: Path, x: np.ndarray, y: np.ndarray, names: tuple[str, str], columns: tuple[str, ...] | None = None
) -> None:
    """Write a picture of two samples: overlaid in one plane, or as densities in one dimension.

    Args:
        names: of the samples; of a file, its last part.
        columns: names of the coordinates.

    Raises:
        InputError: for a suffix that is neither .png nor .svg, or when it cannot be written.
    """
    check_picture(path)
    names = (Path(names[0]).name, Path(names[1]).name)
    plane = Plane.of(np.concatenate([x, y]), columns)
    a, b = plane(some(x)), plane(some(y))

    def draw():
        if a.shape[1] == 1:
            return _densities(a[:, 0], {names[1]: b[:, 0]}, plane, real=names[0], tint=fixed)
        figure = Figure(figsize=(6, 5.4), layout="constrained")
        ax = figure.subplots()
        for z, name, colour in ((a, names[0], ODE), (b, names[1], SDE)):
            ax.scatter(z[:, 0], z[:, 1], s=9, color=fixed(colour), alpha=0.55, linewidths=0, label=name)
        ax.set(xlabel=plane.names[0], ylabel=plane.names[1])
        ax.legend()
        return figure

    write_picture(path, draw)


def check_picture(path: Path) -> None:
    """Refuse, before anything is drawn, what is neither .png nor .svg."""
    from ..core.errors import InputError

    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"cannot draw to {path}; expected .png or .svg")


def write_picture(path: Path, draw: Callable[[], Figure]) -> None:
    """What `draw` returns as a file of its own, atomically, in the style whose colours need no page."""
    from ..core.io import write_atomic

    style: Any = {k: fixed(v) if isinstance(v, str) else v for k, v in STYLE.items()}
    with matplotlib.rc_context(style):
        stream = io.BytesIO()
        draw().savefig(stream, format=path.suffix.lower()[1:], dpi=160, facecolor="white")
    write_atomic(path, stream.getvalue())


def to_svg(figure: Figure) -> str:
    """The figure as an inline SVG element whose colours are the page's variables, where the page has any."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    # The drawing takes the width of the page; the view box keeps its shape.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var({name}, {FIXED[colour]})")
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans, sans-serif)", text)
    text = re.sub(r"(font: [^;\"]*?px )[^;\"]*", r"\1var(--sans, sans-serif)", text)
    # Names that nothing refers to would be given twice in a page with several figures.
    used = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", text)
    # What is referred to is named by its content, and the same content may be drawn in two figures.
    mark = f"fig-{zlib.crc32(text.encode()):x}-"
    for name in used:
        text = text.replace(f'id="{name}"', f'id="{mark}{name}"').replace(f"#{name}", f"#{mark}{name}")
    return text


def _paths(ax, plane, draws: Draws, colour, most):
    points = np.stack([plane(x) for x in draws.paths[:, :most]])
    if points.shape[2] == 1:
        lines = [np.column_stack([draws.times, points[:, i, 0]]) for i in range(points.shape[1])]
    else:
        lines = list(np.swapaxes(points, 0, 1))
    ax.add_collection(LineCollection(lines, colors=colour, linewidths=0.8, alpha=0.45))
    start, end = (np.array([line[k] for line in lines]) for k in (0, -1))
    ax.scatter(*start.T, s=8, color=MUTED, linewidths=0, zorder=3, label="start")
    ax.scatter(*end.T, s=14, color=colour, linewidths=0, zorder=3, label="end")
    ax.autoscale_view()
    ax.legend(loc="upper right", handletextpad=0.1)


def _densities(first, sets, plane, real="held-out data", tint: Callable[[str], str] = str):
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ax = figure.subplots()
    pooled = np.concatenate([first, *sets.values()])
    low, high = _limits(pooled[:, None])
    # Rice's rule on the smallest sample: more bins than points make a comb.
    fewest = min(len(first), *map(len, sets.values())) if sets else len(first)
    edges = np.linspace(low[0], high[0], int(np.clip(2 * fewest ** (1 / 3), 10, 60)) + 1)
    ax.hist(first, edges, density=True, color=tint(REAL), alpha=0.4, label=real)
    for i, (name, x) in enumerate(sets.items()):
        ax.hist(x, edges, density=True, histtype="step", linewidth=1.8, color=tint(COLOURS[i]), label=name)
    ax.set(xlabel=plane.names[0], ylabel="density")
    ax.legend()
    return figure


def _limits(x):
    """A frame for the data that a few samples far out do not stretch."""
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    room = 0.12 * np.maximum(high - low, 1e-9)
    return low - room, high + room


def _without_start(ax, values):
    """The first steps are far above the rest; the frame is for what follows."""
    good = values[np.isfinite(values)]
    if len(good) > 20:
        low, high = np.quantile(good[len(good) // 50 :], [0.0005, 0.9995])
        room = 0.08 * max(high - low, 1e-9)
        ax.set_ylim(low - room, high + room)


def _smoothed(values):
    """A running mean over a fiftieth of the run; steps that are not finite are left out."""
    width = max(1, len(values) // 50)
    good = np.isfinite(values)
    sums, counts = (np.cumsum(np.concatenate([[0.0], a])) for a in (np.where(good, values, 0.0), good.astype(float)))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - width, 0)
    return (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1)


def some(x: np.ndarray, most: int = 1200) -> np.ndarray:
    """At most this many of the rows, chosen at random, always the same ones."""
    return x if len(x) <= most else x[np.random.default_rng(0).choice(len(x), most, replace=False)]


def fixed(colour: str) -> str:
    """The colour of a file of its own; any other text as it is."""
    return FIXED.get(colour, colour)
