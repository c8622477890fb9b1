"""The short reproduction of the Gromov-Wasserstein initialisation."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.reproduce import moe


def test_steps_are_counted_until_the_loss_is_reached():
    # x <- x (1 - 2 rate): 1, 0.5, 0.25, ... whose squares fall below 0.01 after four steps.
    x, steps = moe._descend(lambda x: x**2, jnp.asarray(1.0), 0.25, 0.01, 100)
    assert int(steps) == 4
    np.testing.assert_allclose(x, 1 / 16)
    assert int(moe._descend(lambda x: x**2, jnp.asarray(1.0), 0.25, 0.01, 3)[1]) == 3


def test_a_run_that_was_cut_off_says_so():
    assert moe._mean(np.asarray([10.0, 20.0])) == "15 ± 5"
    assert moe._mean(np.asarray([10.0, moe.MAX_STEPS])).startswith("over ")


@pytest.mark.slow
def test_the_short_reproduction():
    found = moe.moe_map(short=True)
    assert found.name == "moe-modality"
    held = {c.claim: c.holds for c in found.claims}
    assert held["the plan finds the old token behind each new one"]
    gains = [h for c, h in held.items() if c.endswith(": GW map")]
    assert gains == [True, True]
    assert sum(h is None for h in held.values()) == 3
