"""The short reproduction holds."""

import pytest

from thalweg.reproduce import interflow


@pytest.mark.slow
def test_every_testable_claim_holds():
    found = interflow(short=True)
    assert found.name == "interflow"
    assert found.holds, str(found)
