"""The short reproduction of minimum action paths."""

import jax
import pytest

from thalweg.core import solve
from thalweg.rare import Geometric
from thalweg.reproduce import minimum_action


@pytest.mark.slow
def test_the_short_reproduction():
    found = minimum_action.minimum_action_paths(short=True)
    assert found.name == "minimum-action"
    wrong = [c for c in found.claims if c.holds is False]
    assert not wrong
    # Only the paper's own sizes are left out.
    assert [c.here for c in found.claims if c.holds is None] == ["not run"]
    assert len(found.claims) == 10


def test_the_barrier_of_a_nucleus_has_its_limits():
    """Two walls of (2 sqrt 2 / 3) sqrt D each on a long ring, all at once on the shortest."""
    assert minimum_action.nucleus(12.0, 0.05) == pytest.approx(2 * (8**0.5 / 3) * 0.05**0.5, rel=1e-4)
    assert minimum_action.nucleus(1.41, 0.05) == pytest.approx(1.41 / 4, rel=1e-3)


def test_a_descent_that_does_not_end_is_a_claim_that_does_not_hold():
    def _falling_short():
        yield from minimum_action._schlogl_volume()
        problem = minimum_action._sites(0.26)
        solve(Geometric(20), problem, max_steps=2, key=minimum_action.KEY)

    with jax.enable_x64(True):
        *kept, last = minimum_action._told(_falling_short)
    assert [c.holds for c in kept] == [True, True]
    assert last.holds is False
    assert last.claim.startswith("falling short")
    assert "max_steps" in last.here
