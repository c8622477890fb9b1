"""The short reproduction of the dimer on a Gaussian process, and the statistics of its table."""

import jax
import numpy as np
import pytest

from thalweg.reproduce import baker
from thalweg.reproduce import ot_gp_dimer as module


@pytest.mark.slow
def test_the_short_reproduction():
    found = module.gp_dimer_saddles(short=True)
    assert found.name == "ot-gp-dimer"
    wrong = [c for c in found.claims if c.holds is False]
    assert not wrong
    untold = [c for c in found.claims if c.holds is None]
    # Sizes too small to time, and of molecules two are too few, where their packages are there.
    assert len(untold) == (2 if baker.missing() else 5)
    assert all("Baker" in c.claim or "time of a fit" in c.claim for c in untold)


def test_copper_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    (claim,) = module._copper()
    assert claim.holds is None
    assert "thalweg[atoms]" in claim.here


def test_means_and_shares_have_their_errors():
    assert module.mean([1.0, 3.0]) == "2.0 ± 1.0"
    assert module.rate(8, 8).startswith("8 of 8 (100% ± ")
    # Even then the error is not 0.
    assert "± 0%" not in module.rate(8, 8)


def test_every_seed_is_another_start_near_the_reactants():
    with jax.enable_x64(True):
        problems = [module.search(k) for k in range(3)]
    starts = np.stack([np.asarray(p.start) for p in problems])
    assert np.ptp(starts, axis=0).max() > 1e-3
    lengths = np.linalg.norm(np.diff(starts, axis=1), axis=2)
    np.testing.assert_allclose(lengths, np.broadcast_to(module.REACTANTS, lengths.shape), atol=6 * module.NOISE)
