"""The page of a sampled density: what it says, its plots, and that nothing sticks out of it in a browser."""

import re

import numpy as np
import pytest

from thalweg.report import DensityRun, Record, render_density
from thalweg.report.density import marginals_figure, runs_figure, weighted_quantiles, weights_figure

from .test_page import Tags, visit

RNG = np.random.default_rng(3)
RECORD = Record(
    "target.py:f <1>", facts={"kernel": "hmc"}, versions={"thalweg": "0.1.0"}, commands=["thalweg report r"]
)


def sampled(d=3, trusted=True, runs=3, n=200):
    """Draws off the centre with unequal weights, and runs that end on different rungs."""
    x = 2 + RNG.normal(size=(runs * n, d)) * np.linspace(0.5, 3, d)
    log_w = RNG.normal(size=runs * n)
    log_w -= np.log(np.exp(log_w).sum())
    beta = np.linspace(0.1, 1, 7)[:, None] * np.ones(runs)
    beta[6, 0] = np.nan
    summary = {
        "trusted": trusted, "status": "the weights & all", "log_z": -3.25, "log_z_stderr": 0.05, "level": 0.9,
        "interval": [-3.33, -3.17] if trusted else None, "run_stderr": 0.05, "replicate_stderr": 0.04,
        "replicates": [-3.2, -3.3, -3.25][:runs], "replicate_errors": [0.08, 0.09, 0.07][:runs], "ess": 321.0,
        "khat": 0.21, "rungs": 7, "gradients": 123456, "seconds": 2.0, "mean": [2.0] * d, "std": [1.0] * d,
    }  # fmt: skip
    rungs = {"beta": beta, "log_z": -3 * beta, "ess": n * (1 - 0.5 * beta), "accept": 0.3 + 0.4 * beta}
    return DensityRun(x, log_w, np.repeat(np.arange(runs), n), summary, rungs)


@pytest.mark.parametrize(("d", "trusted"), [(1, True), (3, False), (9, True)])
def test_the_page_is_whole_and_says_first_whether_to_believe_it(d, trusted):
    page = render_density(sampled(d, trusted), RECORD)
    assert not Tags(page).open
    head = "✓ log Z = -3.2500 ± 0.05" if trusted else "✗ log Z refused"
    assert 0 < page.index(head) < page.index("<h2")
    assert ("the weights &amp; all" in page) is not trusted
    assert "<title>target.py:f &lt;1&gt;" in page
    assert page.count("<svg") == (4 if d == 1 else 5)
    assert ("more coordinates" in page) is (d == 9)
    names = re.findall(r'\sid="([^"]*)"', page)
    assert len(names) == len(set(names))


def test_one_run_has_no_spread():
    page = render_density(sampled(2, runs=1), RECORD)
    assert "from their spread" not in page
    assert "from their spread" in render_density(sampled(2), RECORD)


def test_the_figures_differ_when_the_numbers_do():
    run, other = sampled(2), sampled(2)
    assert weights_figure(run) != weights_figure(other)
    assert marginals_figure(run, ("a", "b")) != marginals_figure(other, ("a", "b"))
    assert runs_figure(run.summary) != runs_figure({**run.summary, "replicates": [-3.2, -3.3, -9.0]})


def test_weighted_quantiles_are_plain_ones_for_equal_weights():
    x = np.asarray([5.0, 1.0, 3.0, 2.0, 4.0])
    np.testing.assert_array_equal(weighted_quantiles(x, np.ones(5), (0.1, 0.5, 0.9)), [1, 3, 5])
    np.testing.assert_array_equal(weighted_quantiles(x, np.asarray([0, 0, 1, 0, 0.0]), (0.1, 0.9)), [3, 3])


@pytest.mark.chromium
@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 500)])
def test_in_a_browser(dark, width, chromium, tmp_path):
    found, screen, console = visit(chromium, render_density(sampled(), RECORD), tmp_path, dark=dark, width=width)
    assert not console
    assert not found["wide"]
    assert (screen[2, 2].max() < 60) if dark else (screen[2, 2].min() > 230)
    assert len(found["boxes"]) == 5
    for _, left, top, wide, high in found["boxes"]:
        box = screen[round(top) : round(top + high), round(left) : round(min(left + wide, width))].reshape(-1, 3)
        colours, counts = np.unique(box, axis=0, return_counts=True)
        away = np.abs(box.astype(int) - colours[counts.argmax()].astype(int)).max(axis=1) > 40
        assert away.mean() > 0.001
