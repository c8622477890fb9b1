"""Paths of rare transitions in one picture.

Answers    which way does the system go, which way back, over which landscape, and where does it pay?
Why        two panels: the plane, with the drift's speed as shading and both paths; the action along each path's length
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

from ..core.errors import InputError
from .figures import INK, MUTED, ODE, SDE, STYLE, check_picture, fixed, to_svg, write_picture

# No window, whatever the user's own settings.
matplotlib.use("agg", force=False)

from matplotlib.figure import Figure

# How far the frame reaches beyond the paths, relative to their extent.
ROOM = 0.25


def transition_figure(
    forward,
    backward=None,
    *,
    landscape: Callable | None = None,
    names: tuple[str, str] = ("x", "y"),
    plane: tuple[int, int] = (0, 1),
    grid: int = 81,
    path: Path | None = None,
) -> str:
    """Forward and backward paths in a plane, and the action along each.

    Args:
        forward: a `Transition` (its `path`, `arclength`, `cumulative` and `transition_state`).
        backward: the way back, drawn beside it, or None.
        landscape: (x, y) -> a number drawn as contours, such as a potential or the speed of the drift.
        names: of the two coordinates.
        plane: which two coordinates of the flattened points are drawn.
        grid: points a side at which the landscape is asked for.
        path: where to write a .png or .svg as well.

    Returns:
        An inline SVG that follows the page's colours.

    Raises:
        InputError: paths of less than two coordinates, or a file that is neither .png nor .svg.
    """
    runs = {"there": (forward, ODE)} | ({} if backward is None else {"back": (backward, SDE)})
    flat = {k: np.asarray(r.path, np.float64).reshape(len(r.path), -1) for k, (r, _) in runs.items()}
    if min(x.shape[1] for x in flat.values()) <= max(plane):
        got = min(x.shape[1] for x in flat.values())
        raise InputError(
            f"transition_figure: paths of {got} coordinates; expected more than {max(plane)}, as `plane` says"
        )
    if path is not None:
        check_picture(path)
    lines = {k: x[:, list(plane)] for k, x in flat.items()}
    draw = lambda tint: _figure(runs, lines, plane, landscape, names, grid, tint)  # noqa: E731
    if path is not None:
        write_picture(path, lambda: draw(fixed))
    with matplotlib.rc_context(STYLE):
        return to_svg(draw(str))


def _figure(runs, lines, plane, landscape, names, grid, tint):
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    points = np.concatenate(list(lines.values()))
    room = ROOM * np.maximum(np.ptp(points, axis=0), 0.2 * np.ptp(points))
    low, high = points.min(0) - room, points.max(0) + room
    if landscape is not None:
        x, y = (np.linspace(a, b, grid) for a, b in zip(low, high, strict=True))
        heights = np.asarray([[float(landscape(u, v)) for u in x] for v in y])
        # Walls far above the paths would take all the levels.
        top = np.quantile(heights[np.isfinite(heights)], 0.8)
        levels = np.linspace(np.nanmin(heights), top, 14)
        left.contour(x, y, heights, levels=levels, colors=tint(MUTED), linewidths=0.6, alpha=0.7)
    for name, (run, colour) in runs.items():
        line = lines[name]
        left.plot(line[:, 0], line[:, 1], color=tint(colour), linewidth=2, label=name)
        _arrow(left, line, tint(colour))
        mark = {"marker": "x", "color": tint(colour), "markersize": 8, "markeredgewidth": 2, "linestyle": "none"}
        saddle = np.asarray(run.transition_state, np.float64).ravel()[list(plane)]
        left.plot(*saddle, **mark)
        right.plot(np.asarray(run.arclength), np.asarray(run.cumulative), color=tint(colour), linewidth=2, label=name)
        k = int(run.transition_index)
        right.plot(float(run.arclength[k]), float(run.cumulative[k]), **mark)
        total = float(run.cumulative[-1])
        style = {"textcoords": "offset points", "xytext": (-4, 5), "ha": "right", "color": tint(colour)}
        right.annotate(f"S = {total:.4g}", (float(run.arclength[-1]), total), **style)
    first = lines["there"]
    for end, mark in ((first[0], "o"), (first[-1], "s")):
        left.plot(*end, marker=mark, color=tint(INK), markersize=6, linestyle="none")
    left.set(title="paths", xlabel=names[0], ylabel=names[1], xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    right.set(title="action along the path", xlabel="arclength")
    right.margins(y=0.15)
    left.legend(loc="best")
    right.legend(loc="upper left")
    return figure


def _arrow(ax, line, colour):
    """Which way: an arrow a third of the way along."""
    k = len(line) // 3
    ax.annotate("", line[k + 1], line[k], arrowprops={"arrowstyle": "-|>", "color": colour, "mutation_scale": 16})
