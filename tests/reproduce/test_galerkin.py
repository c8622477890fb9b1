"""The short reproduction of Neural Galerkin schemes: what follows the solutions, and what does not."""

import pytest

from thalweg.reproduce import galerkin


@pytest.mark.slow
def test_the_short_reproduction():
    found = galerkin.neural_galerkin(short=True)
    assert found.name == "neural-galerkin"
    held = {c.claim: c.holds for c in found.claims}
    assert len(held) == 6
    assert [h for c, h in held.items() if "solitons are followed" in c] == [True]
    assert [h for c, h in held.items() if "lost with uniform" in c] == [True]
    assert [h for c, h in held.items() if "points that carry" in c] == [True]
    assert [h for c, h in held.items() if "in a trap" in c] == [True, True]
