"""The short reproduction holds, and its oracle is not its own code."""

import jax.numpy as jnp
import pytest

from thalweg.processes import VP
from thalweg.reproduce import score_sde
from thalweg.reproduce.score_sde import TABLE, _recursion


@pytest.mark.slow
def test_every_testable_claim_holds():
    found = score_sde(short=True)
    assert found.holds, str(found)
    assert sum(c.holds is None for c in found.claims) == 1


def test_the_recursion_is_not_the_one_of_another_sampler():
    process = VP(jnp.asarray(0.1), jnp.asarray(20.0))
    assert _recursion(process, 50, "SDE") == pytest.approx(TABLE["SDE"][50], abs=2e-4)
    assert _recursion(process, 50, "ODE") == pytest.approx(TABLE["ODE"][50], abs=2e-4)
    assert abs(_recursion(process, 50, "SDE") - TABLE["ODE"][50]) > 5e-3
