"""The short certificate on digits, end to end."""

import pytest

from thalweg.reproduce import digits


@pytest.mark.slow
def test_digits_are_learned_in_seconds():
    found = digits(short=True)
    assert found.name == "certificate-digits"
    held = {c.claim: c.holds for c in found.claims}
    assert held["certificate: sliced W2, ODE"]
    assert held["certificate: memorisation"]
    assert held["SDE: a classifier of real images recognises the samples"]
