"""The short reproduction of InfiGFusion: what holds, what does not, and what was not run."""

import importlib

import pytest

from thalweg.reproduce import infigfusion

# The room exports the function under the name of its file.
module = importlib.import_module("thalweg.reproduce.infigfusion")


def test_the_bound_is_checked_by_brute_force():
    held = [c.holds for c in module._bound(10)]
    assert held == [True, True]


def test_a_wrong_bound_would_be_seen(monkeypatch):
    bound = module.gromov_lower_bound
    # Without the 1/k the sum is no bound.
    monkeypatch.setattr(module, "gromov_lower_bound", lambda C, D: len(C) * bound(C, D))
    assert next(iter(module._bound(10))).holds is False


@pytest.mark.slow
def test_the_short_reproduction():
    found = infigfusion(short=True)
    assert found.name == "infigfusion"
    held = {c.claim: c.holds for c in found.claims}
    assert held["Spearman correlation with entropic GW, C against relabelled C + e E"]
    assert held["GW~ is blind to an E whose rows sum to zero"]
    assert sum(h is None for h in held.values()) >= 2
