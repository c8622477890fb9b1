"""The page and the plots of Markov chains: have they met, where did they go, and what are the averages worth?

Symbols    R-hat -> spread between the chains over the spread within, ESS -> independent draws that they are worth
Holds      plots as inline SVG; the chains in one order of colours in all of them
"""

import html
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .density import MOST, Drawn, marginals_figure, plane_figure
from .evidence import Record
from .figures import INK, MUTED, ODE, REAL, SDE, STYLE, to_svg
from .page import document, facts, plot, section

CHAINS = (ODE, SDE, REAL, INK, MUTED)
MARKS = {True: ("pass", "✓ met"), False: ("fail", "✗ apart")}


@dataclass(frozen=True)
class ChainsRun:
    """What chains left.

    Fields:
        summary: the answer of `thalweg sample-density --method chains --json`.
        x, log_prob: draws (chains, draws, *event) and their log densities (chains, draws).
        warmup: `accept`, `log_prob` and `step_size` of each step of the warm-up, (steps,); empty without one.
    """

    summary: dict[str, Any]
    x: np.ndarray
    log_prob: np.ndarray
    warmup: dict[str, np.ndarray]

    @property
    def drawn(self) -> Drawn:
        """The draws, all of one weight, grouped by chain."""
        chains, draws = self.x.shape[:2]
        flat = self.x.reshape(-1, *self.x.shape[2:])
        return Drawn(flat, np.zeros(len(flat)), np.repeat(np.arange(chains), draws))

    def of(self, name: str) -> np.ndarray:
        """A diagnostic of each coordinate, (d,), NaN where it is no finite number."""
        return np.ravel(np.asarray(self.summary[name], float))

    @property
    def shown(self) -> np.ndarray:
        """The coordinates that are drawn: all, or those whose R-hat is largest, in their own order."""
        rhat = self.of("rhat")
        # One without a finite R-hat has not met at all.
        return np.sort(np.argsort(-np.nan_to_num(rhat, nan=np.inf), kind="stable")[:MOST])


def render_chains(run: ChainsRun, record: Record) -> str:
    """The whole page of chains."""
    summary, shown = run.summary, run.shown
    names = tuple(f"x[{i}]" for i in shown)
    flat = run.x.reshape(*run.x.shape[:2], -1)
    d = flat.shape[2]
    which = f" Of {d} coordinates the {MOST} whose R-hat is largest; the others are in run.json." if d > MOST else ""
    parts = [_verdict(run), _coordinates(run, names, which)]
    traces = np.concatenate([run.log_prob[:, :, None], flat[:, :, shown]], axis=2)
    accept = ", ".join(f"{a:.2f}" for a in summary["acceptance"])
    parts.append(
        section(
            "Traces",
            "A colour a chain. Chains that have met cover each other like a band of noise; a line that stays away, "
            f"drifts or stands still has not. Acceptance, chain by chain: {accept}.",
            plot(
                f"traces of {summary['chains']} chains: log density and {len(names)} coordinates",
                trace_figure(traces, ("log density", *names), MOST + 1),
                "",
            ),
        )
    )
    body = plot(
        f"histograms of {len(names)} coordinates",
        marginals_figure(run.drawn, names, shown.tolist(), CHAINS),
        "Filled: all chains together. Lines: each chain, in the colours of the traces.",
    )
    if d > 1:
        body += plot("scatter plot of the draws", plane_figure(run.drawn), "Draws of all chains.")
    parts.append(section("Draws", "Chains that have met have one histogram.", body))
    if run.warmup:
        parts.append(
            section(
                "Warm-up",
                "The step that was found, and how often steps of it were accepted, on average over the chains. The "
                "search begins anew at three quarters, once the length of each coordinate is known.",
                plot("step size, acceptance and log density during the warm-up", warmup_figure(run.warmup), ""),
            )
        )
    parts.append(section("What was run", "", facts(record)))
    lede = f"{summary['chains']} × {summary['draws']} draws, {summary['steps']} steps, {summary['gradients']} gradients"
    return document(record, f"{lede}, {summary['seconds']:.0f} s", parts)


def trace_figure(x: np.ndarray, names: tuple[str, ...] | None = None, most: int = MOST) -> str:
    """Traces of chains, a panel a coordinate and a line a chain.

    Args:
        x: (chains, draws, *event); the first coordinates are drawn.
        names: of the coordinates.
        most: how many are drawn.
    """
    flat = np.asarray(x).reshape(*x.shape[:2], -1)
    shown = min(flat.shape[2], most)
    step = max(1, flat.shape[1] // 1000)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.5 * shown + 0.4), layout="constrained")
        axes = figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
        for i, ax in enumerate(axes):
            for c, chain in enumerate(flat[:, ::step, i]):
                at = np.arange(len(chain)) * step
                ax.plot(at, chain, color=CHAINS[c % len(CHAINS)], alpha=0.7, linewidth=0.8)
            ax.set_ylabel(names[i] if names is not None else f"x[{i}]")
        axes[-1].set_xlabel("draw")
        return to_svg(figure)


def warmup_figure(warmup: dict[str, np.ndarray]) -> str:
    """Step size, acceptance and log density of each step of the warm-up."""
    panels = {"step size": "step_size", "acceptance": "accept", "log density": "log_prob"}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        for ax, (title, name) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            ax.plot(np.arange(1, len(warmup[name]) + 1), warmup[name], color=ODE, linewidth=1.0)
            ax.set(title=title, xlabel="step")
        figure.axes[0].set_yscale("log")
        figure.axes[1].set_ylim(-0.04, 1.04)
        return to_svg(figure)


def _verdict(run):
    summary, rhat = run.summary, run.of("rhat")
    good = bool(summary["trusted"])
    worst = f"R-hat up to {rhat.max():.3f}" if np.isfinite(rhat).all() else "R-hat without a finite value"
    if good:
        head = f"✓ {summary['chains']} chains have met: {worst}"
        words = f"The draws are worth at least {run.of('ess_bulk').min():.0f} independent ones for averages and "
        words += f"{run.of('ess_tail').min():.0f} for quantiles of 5 and 95 %."
    else:
        head = f"✗ draws refused: {worst}, {summary['max_rhat']:g} is allowed"
        words = summary["status"]
    low, high = min(summary["acceptance"]), max(summary["acceptance"])
    counts = f"Acceptance {low:.2f} to {high:.2f}; {_steps(summary['divergent'])} with an energy error above 1000, "
    counts += f"{_steps(summary['broken'])} refused at a NaN."
    blind = "No diagnostic of chains can know of a mode that none of them has found."
    return f"""<section class="verdict{"" if good else " fails"}" aria-label="Verdict">
<p class="head">{html.escape(head)}</p>
<p>{html.escape(words)}</p>
<p class="note">{html.escape(counts)}</p>
<p class="note">{html.escape(summary["note"][0].upper() + summary["note"][1:])}. {html.escape(blind)}</p>
</section>
"""


def _steps(n):
    return "no step" if n == 0 else "1 step" if n == 1 else f"{n} steps"


def _coordinates(run, names, which):
    summary = run.summary
    rhat, bulk, tail = (run.of(name) for name in ("rhat", "ess_bulk", "ess_tail"))
    rows = []
    for i, name in zip(run.shown, names, strict=True):
        kind, text = MARKS[bool(rhat[i] <= summary["max_rhat"])]
        cells = [_with_error(run, "mean", i), _with_error(run, "std", i), _number(rhat[i], ".4f")]
        cells += [_number(bulk[i], ".0f"), _number(tail[i], ".0f")]
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f'<tr><td><span class="mark {kind}">{text}</span></td><th scope="row">{name}</th>{numbers}</tr>')
    titles = ("", "coordinate", "mean", "standard deviation", "R-hat", "bulk ESS", "tail ESS")
    head = "".join(f'<th scope="col">{h}</th>' for h in titles)
    errors = (
        "± one standard error, which counts the correlation of the draws."
        if summary["trusted"]
        else ("Without standard errors, which chains that are refused do not have.")
    )
    return section(
        "Coordinates",
        f"{errors} R-hat of rank-normalised split chains, up to {summary['max_rhat']:g} is believed; ESS, the number "
        f"of independent draws that these are worth.{which}",
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>',
    )


def _with_error(run, name, i):
    text, error = _number(run.of(name)[i], ".5g"), run.summary[f"{name}_stderr"]
    return text if error is None else f"{text} ± {_number(run.of(f'{name}_stderr')[i], '.2g')}"


def _number(value, form):
    return format(value, form) if np.isfinite(value) else "–"
