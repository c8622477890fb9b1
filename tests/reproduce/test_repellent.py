"""The short reproduction of self-repellent walks: theory and measurement agree, and what fails says so."""

import pytest

from thalweg.reproduce import repellent


@pytest.mark.slow
def test_the_short_reproduction():
    found = repellent.self_repellent_walk(short=True)
    assert found.name == "self-repellent-walk"
    held = {c.claim: c.holds for c in found.claims}
    measured = {c: h for c, h in held.items() if c.endswith("n MSE is f V f")}
    assert [h for c, h in measured.items() if "self-repellent" in c] == [True] * 3
    assert len(measured) == 5
    # The history-driven walk is far from its limit after so few steps, and on its way there.
    assert [h for c, h in held.items() if "nearer to f V f" in c] == [True]
    assert [h for c, h in held.items() if "beats i.i.d." in c] == [True, True]
    # The known negative: at this size a bias outweighs what forgetting gains.
    assert [h for c, h in held.items() if "lower n MSE than a = 1" in c] == [False]
    assert sum(h is None for h in held.values()) == 2
    theory = next(c for c in found.claims if "self-repellent, alpha 10: n MSE" in c.claim)
    assert theory.paper.startswith("1.31")
    assert theory.baseline == "i.i.d. 14.595"
