"""The page and the plots of a sampled density: its log Z, the rungs, the weights, the draws.

Answers    is log Z to be believed, did the runs agree, where did the weights go, and what do the draws look like?
Symbols    runs -> independent replicates, k-hat -> Pareto shape of the weights' tail
Holds      plots as inline SVG; histograms and a scatter of any draws in groups, which the page of chains shows too
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .evidence import Plane, Record
from .figures import MUTED, ODE, REAL, SDE, STYLE, some, to_svg
from .page import document, facts, plot, section

# Coordinates that are drawn, at most.
MOST = 6


@dataclass(frozen=True)
class Drawn:
    """Draws in groups: independent runs, or chains.

    Fields:
        x, log_w, replicate: draws (n, *event), their log weights up to a constant, and the group of each.
    """

    x: np.ndarray
    log_w: np.ndarray
    replicate: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        """Draws (n, d)."""
        return self.x.reshape(len(self.x), -1)

    @property
    def weights(self) -> np.ndarray:
        """Of all draws; they sum to one."""
        w = np.exp(self.log_w - self.log_w.max())
        return w / w.sum()

    def each(self):
        """Draws (m, d) and weights of each run, those summing to one."""
        for r in np.unique(self.replicate):
            at = self.replicate == r
            # By its own largest: a run may have next to nothing of the whole.
            w = np.exp(self.log_w[at] - self.log_w[at].max())
            yield self.flat[at], w / w.sum()


@dataclass(frozen=True)
class DensityRun(Drawn):
    """What runs of weighted particles left.

    Fields:
        summary: the answer of `thalweg sample-density --json`.
        rungs: `beta`, `log_z`, `ess` and `accept` of each rung and run, (rungs, runs); NaN once a run has ended.
    """

    summary: dict[str, Any]
    rungs: dict[str, np.ndarray]


def render_density(run: DensityRun, record: Record) -> str:
    """The whole page of a sampled density."""
    summary, parts = run.summary, [_verdict(run.summary)]
    runs = len(summary["replicates"])
    parts.append(
        section(
            "Independent runs",
            "Each run's log Z with the error that it reports itself; the band is the interval from all of them. Runs "
            "that differ by more than their errors have not seen the same density.",
            plot(f"log Z of {runs} runs with error bars", runs_figure(summary), ""),
        )
    )
    parts.append(
        section(
            "Rungs",
            "From the base (0) to the density (1). A fall of the effective share between two rungs is a step too wide; "
            "moves that are never accepted do not move.",
            plot("rung, log Z, effective share and acceptance of each run", rungs_figure(run), ""),
        )
    )
    caption = "Left: on the diagonal all draws count alike; in the corner one has everything. Right: a straight tail "
    caption += "is a power law, flatter than slope −1 beyond what a mean can be taken of."
    parts.append(
        section(
            "Weights",
            f"Where the weight is. Pareto k-hat, the worst of the runs and their rungs: {summary['khat']:.2f}; up to "
            "0.7 an average can be trusted.",
            plot("cumulative share of the weight, and the tail of the weights", weights_figure(run), caption),
        )
    )
    parts.append(_draws(run))
    parts.append(section("What was run", "", facts(record)))
    lede = f"{runs} × {len(run.x) // runs} particles, {summary['gradients']} gradients, {summary['seconds']:.0f} s"
    return document(record, lede, parts)


def runs_figure(summary: dict[str, Any]) -> str:
    """log Z of each run with its own error, and of all together."""
    z, errors = np.asarray(summary["replicates"], float), np.asarray(summary["replicate_errors"], float)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.2 + 0.32 * len(z)), layout="constrained")
        ax = figure.subplots()
        if summary["interval"] is not None:
            ax.axvspan(*summary["interval"], color=REAL, alpha=0.25, linewidth=0)
        ax.axvline(summary["log_z"], color=ODE, linewidth=1.6)
        ax.errorbar(z, np.arange(1, len(z) + 1), xerr=errors, fmt="o", color=SDE, markersize=5, linewidth=1.4)
        ax.set(xlabel="log Z", ylabel="run", ylim=(len(z) + 0.6, 0.4), yticks=range(1, len(z) + 1))
        return to_svg(figure)


def rungs_figure(run: DensityRun) -> str:
    """Rung, log Z so far, effective share of the particles and acceptance; a line a run."""
    n = len(run.x) / len(run.summary["replicates"])
    panels = {
        "rung": run.rungs["beta"],
        "log Z so far": run.rungs["log_z"],
        "effective share of the particles": run.rungs["ess"] / n,
        "acceptance": run.rungs["accept"],
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        for ax, (name, values) in zip(figure.subplots(2, 2, sharex=True).flat, panels.items(), strict=True):
            at = np.arange(1, len(values) + 1)
            ax.plot(at, values, color=ODE, alpha=0.6, linewidth=1.4, marker="o", markersize=2.5)
            ax.set_title(name)
            if name != "log Z so far":
                ax.set_ylim(-0.04, 1.04)
        for ax in figure.axes[2:]:
            ax.set_xlabel("step")
        return to_svg(figure)


def weights_figure(run: DensityRun) -> str:
    """How unequally the weight lies, and its tail."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        shares, tail = figure.subplots(1, 2)
        shares.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle="--")
        for _, w in run.each():
            largest = np.sort(w)[::-1]
            at = np.arange(len(w) + 1) / len(w)
            shares.plot(at, np.concatenate([[0.0], np.cumsum(largest)]), color=ODE, alpha=0.7, linewidth=1.4)
            tail.plot(len(w) * largest, at[1:], color=SDE, alpha=0.7, linewidth=1.4)
        shares.set(
            title="share of the weight", xlabel="share of the draws, heaviest first", xlim=(0, 1), ylim=(0, 1.02)
        )
        tail.set(title="draws at least this heavy", xlabel="weight over the mean weight", xscale="log", yscale="log")
        lightest = min(len(w) * w.max() for _, w in run.each())
        tail.set_xlim(left=min(1e-3, lightest / 10))
        return to_svg(figure)


def marginals_figure(
    run: Drawn, names: tuple[str, ...], at: Sequence[int] | None = None, colours: tuple[str, ...] = (ODE,)
) -> str:
    """Weighted histograms: all groups filled, each group as a line.

    Args:
        run: the draws.
        names: of the coordinates that are drawn.
        at: which they are; the first ones without.
        colours: of the groups, in turn.
    """
    runs, flat, weights = list(run.each()), run.flat, run.weights
    with matplotlib.rc_context(STYLE):
        rows = -(-len(names) // 3)
        figure = Figure(figsize=(9, 2.5 * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, min(len(names), 3), squeeze=False)).ravel()
        for ax in axes[len(names) :]:
            ax.set_visible(False)
        for i, ax, name in zip(range(len(names)) if at is None else at, axes, names, strict=False):
            low, high = weighted_quantiles(flat[:, i], weights, (0.001, 0.999))
            room = 0.1 * max(high - low, 1e-9)
            edges = np.linspace(low - room, high + room, 31)
            ax.hist(flat[:, i], edges, weights=weights, density=True, color=REAL, alpha=0.35)
            for r, (x, w) in enumerate(runs):
                colour = colours[r % len(colours)]
                ax.hist(
                    x[:, i], edges, weights=w, density=True, histtype="step", color=colour, alpha=0.8, linewidth=1.1
                )
            ax.set(xlabel=name, yticks=[])
        return to_svg(figure)


def plane_figure(run: Drawn) -> str:
    """Draws in one plane, each drawn as often as its weight says."""
    w = run.weights
    x = some(run.x[np.random.default_rng(0).choice(len(w), len(w), p=w)])
    plane = Plane.of(x)
    at = plane(x)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        ax = figure.subplots()
        ax.scatter(at[:, 0], at[:, 1], s=8, color=ODE, alpha=0.5, linewidths=0)
        ax.set(xlabel=plane.names[0], ylabel=plane.names[1])
        return to_svg(figure)


def weighted_quantiles(x: np.ndarray, w: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles of weighted numbers, with no interpolation: each is one of the numbers."""
    order = np.argsort(x)
    cumulative = np.cumsum(w[order])
    return x[order][np.searchsorted(cumulative, np.asarray(levels) * cumulative[-1])]


def _verdict(summary):
    good = bool(summary["trusted"])
    if good:
        low, high = summary["interval"]
        head = f"✓ log Z = {summary['log_z']:.4f} ± {summary['log_z_stderr']:.2g}"
        words = f"{100 * summary['level']:.0f} % interval from {low:.4f} to {high:.4f}."
    else:
        head = f"✗ log Z refused; {summary['log_z']:.4g} would be the estimate"
        words = summary["status"]
    spread = "" if len(summary["replicates"]) == 1 else f", from their spread {summary['replicate_stderr']:.2g}"
    note = f"Errors: from the runs themselves {summary['run_stderr']:.2g}{spread}. "
    note += f"{summary['ess']:.0f} effective draws, {summary['rungs']} rungs."
    return f"""<section class="verdict{"" if good else " fails"}" aria-label="Verdict">
<p class="head">{html.escape(head)}</p>
<p>{html.escape(words)}</p>
<p class="note">{html.escape(note)}</p>
</section>
"""


def _draws(run):
    d = int(np.prod(run.x.shape[1:]))
    names = tuple(f"x[{i}]" for i in range(min(d, MOST)))
    mean, std = (np.ravel(run.summary[name]) for name in ("mean", "std"))
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td class="number">{mean[i]:.5g}</td><td class="number">{std[i]:.4g}</td></tr>'
        for i, name in enumerate(names)
    )
    head = "".join(f'<th scope="col">{h}</th>' for h in ("coordinate", "mean", "standard deviation"))
    more = f'<p class="note">{d - MOST} more coordinates in draws.npz.</p>' if d > MOST else ""
    body = plot(
        f"weighted histograms of {len(names)} coordinates",
        marginals_figure(run, names),
        "Filled: all runs together. Lines: each run.",
    )
    if d > 1:
        body += plot("scatter plot of the draws", plane_figure(run), "Draws, each as often as its weight says.")
    body += f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}"
    return section("Draws", "Weighted averages over all runs.", body)
