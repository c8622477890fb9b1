"""The short reproduction runs through, on the same code as the full one."""

import jax
import numpy as np
import pytest

from thalweg.ot import Transport
from thalweg.reproduce import sns


@pytest.mark.slow
def test_the_short_reproduction_counts_fewer_steps():
    found = sns.sinkhorn_newton_sparse(short=True)
    assert found.name == "sinkhorn-newton-sparse"
    assert all(claim.holds is None for claim in found.claims)  # too small to test the paper's sizes
    assert "Newton steps" in found.claims[0].here
    ratio = float(found.claims[1].baseline.split(": ")[1].split()[0])
    assert ratio > 5


def test_peers_that_are_absent_are_not_counted_as_beaten(x64, monkeypatch):
    problem = Transport.uniform(jax.numpy.asarray(np.random.default_rng(0).uniform(size=(30, 30))))
    monkeypatch.setattr(sns.importlib.util, "find_spec", lambda name: None)
    sinkhorns, regot = sns._peers(problem)
    assert sinkhorns.holds is None
    assert regot.holds is None
    assert sinkhorns.baseline == "POT: not installed; ott-jax: not installed"
    assert regot.baseline == "regot: not installed"


def test_both_iterations_solve_the_same_problem(x64):
    problem = Transport.uniform(jax.numpy.asarray(np.random.default_rng(0).uniform(size=(40, 40))))
    newton, _ = sns._newton(problem, 1e-10)
    plain, _ = sns._plain(problem, 1e-10, relax=True)
    # At this epsilon the plan is much less well determined than its marginals.
    np.testing.assert_allclose(newton.value.matrix, plain.value.matrix, atol=1e-5)
    np.testing.assert_allclose(newton.value.transport_cost(), plain.value.transport_cost(), rtol=1e-5)
