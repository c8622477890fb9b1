"""The short reproduction of stochastic-gradient MCMC: the exact part holds, and blocked intervals are said to be so."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.reproduce import potentials


def test_the_observable_is_what_it_says():
    x = jnp.asarray([[0.0, 0, 0], [2.0, 0, 0], [0, 3.0, 0]])
    found = potentials._observable(x)
    centre = np.asarray([2 / 3, 1, 0])
    np.testing.assert_allclose(found[0], np.sqrt(((np.asarray(x) - centre) ** 2).sum(1).mean()), rtol=1e-5)
    # Distances 2, 3 and 3.61 against LENGTHS 2.5, 2.75, 3.5, 4.25, 5: shares 1/3, 1/3, 2/3, 1, 1, up to the smoothing.
    np.testing.assert_allclose(found[1:], [1 / 3, 1 / 3, 2 / 3, 1, 1], atol=0.05)


def test_a_coverage_far_from_its_level_does_not_hold():
    rng = np.random.default_rng(0)
    drawn = jnp.asarray(rng.normal(size=(4, 200, 500)), jnp.float32)
    truth = jnp.asarray(rng.normal(size=500), jnp.float32)
    good = list(potentials._intervals("x", drawn, drawn[:, 0], truth, "500"))
    assert good[2].holds
    assert good[3].holds
    narrow = list(potentials._intervals("x", 0.5 * drawn, drawn[:, 0], truth, "500"))
    assert not narrow[2].holds
    apart = list(potentials._intervals("x", drawn + jnp.arange(4.0)[:, None, None], drawn[:, 0], truth, "500"))
    assert not apart[3].holds
    assert "R-hat blocks 100%" in apart[0].here


@pytest.mark.slow
def test_the_short_reproduction():
    pytest.importorskip("ase")
    found = potentials.sgmcmc_potentials(short=True)
    assert found.name == "sgmcmc-potentials"
    held = {c.claim: c.holds for c in found.claims}
    assert [h for c, h in held.items() if "trace of the covariance" in c] == [True] * 2
    assert held["steps that decay from 1e-03 to 2e-05 remove the bias"]
    # So short a chain cannot have met the others, and the table says so.
    assert [h for c, h in held.items() if "the chains agree" in c] == [False, False]
    assert sum(h is None for h in held.values()) == 2
