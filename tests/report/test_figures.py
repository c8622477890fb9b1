"""Figures: colours are the page's variables, names do not collide, and every figure draws."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.report import compare_figure, samples_figure, training_figure, trajectories_figure
from thalweg.report.figures import VARIABLES, _smoothed

from .conftest import evidence

FIGURES = (training_figure, samples_figure, trajectories_figure)


@pytest.mark.parametrize("draw", FIGURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("sde", [True, False])
def test_every_figure_of_every_kind(draw, sde, kind):
    text = draw(evidence(kind, sde=sde))
    ElementTree.fromstring(text)
    assert "var(--ode, " in text
    assert ("var(--sde, " in text) == (sde or draw is training_figure)
    # No stand-in is left, and no colour that would not follow the theme.
    assert not [c for c in VARIABLES if c in text]
    themed = re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", text)
    assert set(re.findall(r"#[0-9a-f]{6}", themed)) <= {"#ffffff", "#000000"}
    # Text is text, in the page's own type.
    assert "var(--sans, " in text
    assert not re.search(r" (width|height)=\"[\d.]+pt\"", text)


def test_names_are_given_once_in_a_page_of_figures():
    text = "".join(draw(evidence((2,))) for draw in FIGURES)
    names = re.findall(r' id="([^"]*)"', text)
    assert names
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) == set(names)


def test_the_same_evidence_gives_the_same_bytes():
    assert samples_figure(evidence((5,))) == samples_figure(evidence((5,)))


def test_the_running_mean_leaves_out_what_is_not_finite():
    values = np.arange(200.0)
    np.testing.assert_allclose(_smoothed(values)[3:], values[3:] - 1.5)
    values[100] = np.nan
    assert np.isfinite(_smoothed(values)).all()
    np.testing.assert_allclose(_smoothed(values)[101], (98 + 99 + 101) / 3)


@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_two_samples_in_one_picture(d, suffix, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, d)).astype(np.float32)
    compare_figure(tmp_path / f"a{suffix}", x, x[:20] + 3, ("one", "two"))
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data.startswith(b"\x89PNG") if suffix == ".png" else b"<svg" in data
    assert not any(c.encode() in data for c in VARIABLES)


def test_an_unknown_kind_of_picture(tmp_path):
    with pytest.raises(InputError, match=r"expected \.png or \.svg"):
        compare_figure(tmp_path / "a.gif", np.zeros((3, 2)), np.zeros((3, 2)), ("one", "two"))
