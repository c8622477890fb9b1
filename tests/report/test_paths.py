"""Paths there and back, drawn."""

import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.report import transition_figure
from thalweg.report.figures import VARIABLES


def run(sign, d=2):
    s = np.linspace(0, 1, 21)
    path = np.stack([2 * s - 1, sign * 0.4 * np.sin(np.pi * s), *([s] * (d - 2))], 1)[:: int(sign)]
    return SimpleNamespace(
        path=path,
        arclength=2 * s,
        cumulative=np.minimum(s, 0.5),
        transition_state=path[10],
        transition_index=10,
    )


def test_both_ways_over_a_landscape(tmp_path):
    text = transition_figure(
        run(1.0), run(-1.0), landscape=lambda x, y: (x**2 - 1) ** 2 + y**2, path=tmp_path / "a.png", grid=21
    )
    ElementTree.fromstring(text)
    assert "var(--ode, " in text
    assert "var(--sde, " in text
    assert not [c for c in VARIABLES if c in text]
    assert "S = 0.5" in text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_one_way_in_another_plane(tmp_path):
    text = transition_figure(run(1.0, 3), plane=(1, 2), names=("b", "c"), path=tmp_path / "a.svg")
    assert "var(--sde, " not in text
    data = (tmp_path / "a.svg").read_text()
    assert not any(c in data for c in VARIABLES)


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="2 coordinates; expected more than 2"):
        transition_figure(run(1.0), plane=(0, 2))
    with pytest.raises(InputError, match=r"expected \.png or \.svg"):
        transition_figure(run(1.0), path=tmp_path / "a.gif")
