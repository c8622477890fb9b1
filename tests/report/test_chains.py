"""The page of chains: the verdict first, a row a coordinate, and every plot in a browser."""

import re

import numpy as np
import pytest

from thalweg.report import ChainsRun, Record, render_chains, trace_figure
from thalweg.report.chains import warmup_figure

from .test_page import Tags, visit

RNG = np.random.default_rng(5)
RECORD = Record(
    "target.py:f <1>", facts={"kernel": "hmc"}, versions={"thalweg": "0.1.0"}, commands=["thalweg report r"]
)


def sampled(d=3, trusted=True, chains=4, n=120):
    """Chains off the centre, of unequal spread; refused ones stay apart, and the last coordinate never moves."""
    x = 2 + RNG.normal(size=(chains, n, d)) * np.linspace(0.5, 3, d)
    rhat = [1.001 + 0.0005 * i for i in range(d)]
    if not trusted:
        x += 10.0 * np.arange(chains)[:, None, None]
        rhat = [1.7] * (d - 1) + [None]
    error = [0.01] * d if trusted else None
    summary = {
        "trusted": trusted, "status": "the chains & all", "note": "no log Z: run with <smc>", "chains": chains,
        "draws": n, "max_rhat": 1.01, "rhat": rhat, "ess_bulk": [321.0] * d, "ess_tail": [234.0] * d,
        "acceptance": [0.61, 0.62, 0.63, 0.05][:chains], "divergent": 1, "broken": 0, "mean": [2.0] * d,
        "mean_stderr": error, "std": [1.0] * d, "std_stderr": error, "steps": 4000, "gradients": 16000, "seconds": 2.0,
    }  # fmt: skip
    steps = np.linspace(0.3, 0.9, 50)
    warmup = {"accept": 1 - steps, "step_size": steps, "log_prob": -1 / steps}
    return ChainsRun(summary, x, -np.sum(x**2, axis=2), warmup)


@pytest.mark.parametrize(("d", "trusted"), [(1, True), (3, False), (9, True)])
def test_the_page_is_whole_and_says_first_whether_to_believe_it(d, trusted):
    page = render_chains(sampled(d, trusted), RECORD)
    assert not Tags(page).open
    head = "✓ 4 chains have met: R-hat up to 1.00" if trusted else "✗ draws refused: R-hat without a finite value"
    assert 0 < page.index(head) < page.index("<h2")
    assert ("the chains &amp; all" in page) is not trusted
    assert "No log Z: run with &lt;smc&gt;" in page
    assert "1 step with an energy error" in page
    assert "0.61, 0.62, 0.63, 0.05" in page
    assert page.count("<svg") == (3 if d == 1 else 4)
    assert ("± 0.01" in page) is trusted
    assert page.count("✗ apart") == (0 if trusted else d)
    names = re.findall(r'\sid="([^"]*)"', page)
    assert len(names) == len(set(names))


def test_of_many_coordinates_the_worst_are_shown():
    run = sampled(9)
    run.summary["rhat"][1] = 1.5
    np.testing.assert_array_equal(run.shown, [1, 4, 5, 6, 7, 8])
    page = render_chains(run, RECORD)
    assert "the 6 whose R-hat is largest" in page
    assert "x[4]" in page
    assert "x[3]" not in page


def test_without_a_warm_up_there_is_no_section_of_it():
    run = sampled()
    page = render_chains(ChainsRun(run.summary, run.x, run.log_prob, {}), RECORD)
    assert "Warm-up" not in page


def test_traces_of_chains():
    x = RNG.normal(size=(4, 300, 8))
    assert "x[5]" in trace_figure(x)
    assert "x[6]" not in trace_figure(x)
    assert "x[6]" in trace_figure(x, most=7)
    assert "slope" in trace_figure(x[..., :2], ("slope", "level"))


def test_the_figures_differ_when_the_numbers_do():
    run = sampled()
    assert warmup_figure(run.warmup) != warmup_figure({**run.warmup, "accept": 0.5 * run.warmup["accept"]})
    assert trace_figure(run.x) != trace_figure(run.x[::-1])


@pytest.mark.chromium
@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 500)])
def test_in_a_browser(dark, width, chromium, tmp_path):
    found, screen, console = visit(chromium, render_chains(sampled(), RECORD), tmp_path, dark=dark, width=width)
    assert not console
    assert not found["wide"]
    assert (screen[2, 2].max() < 60) if dark else (screen[2, 2].min() > 230)
    assert len(found["boxes"]) == 4
    for _, left, top, wide, high in found["boxes"]:
        box = screen[round(top) : round(top + high), round(left) : round(min(left + wide, width))].reshape(-1, 3)
        colours, counts = np.unique(box, axis=0, return_counts=True)
        away = np.abs(box.astype(int) - colours[counts.argmax()].astype(int)).max(axis=1) > 40
        assert away.mean() > 0.001
