"""The certificate of the intervals for log Z: what it counts, and that intervals too short are caught."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import Estimate, Status
from thalweg.reproduce import coverage
from thalweg.sampling import Evidence

CASE = coverage.cases(short=True)[0]
N = 200


def made(stderr, trusted, seed=0):
    """Normal estimates with spread 0.1 around the truth that report `stderr`, trusted where told."""
    z = float(CASE.problem.target.log_z) + 0.1 * np.random.default_rng(seed).normal(size=N)

    def one(z, trusted):
        error, unit = jnp.asarray(stderr, jnp.float32), jnp.ones(())
        status = Status.where(trusted, Status.converged, Status.weights_degenerate)
        return Evidence(Estimate(z, error, unit), error, error, unit, unit, status)

    return eqx.filter_vmap(one)(jnp.asarray(z, jnp.float32), jnp.asarray(trusted))


@pytest.mark.parametrize(
    ("stderr", "trusted", "holds"),
    [
        (0.1, np.ones(N, bool), True),
        # The twin: error bars of half the length.
        (0.05, np.ones(N, bool), False),
        (0.3, np.ones(N, bool), False),
        (0.1, np.arange(N) < 40, True),
        (0.02, np.zeros(N, bool), True),
        (0.1, np.zeros(N, bool), None),
        (0.1, np.arange(N) < 10, None),
        (0.02, np.arange(N) < 10, False),
    ],
    ids=["honest", "too short", "too long", "some refused", "all refused", "for nothing", "few", "few and wrong"],
)
def test_what_a_row_says(stderr, trusted, holds, monkeypatch):
    monkeypatch.setattr(coverage, "estimated", lambda case, estimates, seed: made(stderr, trusted))
    claim = coverage.judged(CASE, N)
    assert claim.holds is holds
    assert f"{int(trusted.sum())} of {N} trusted" in claim.here


@pytest.mark.slow
def test_a_real_one():
    """Forty estimates: the share that covers is known to five hundredths."""
    claim = coverage.judged(CASE, 40)
    assert claim.holds is True
    assert claim.here.startswith("40 of 40 trusted")
