"""Several runs as one: the same answers as one by one, and the failure of one."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status, solve, succeeded
from thalweg.problems import Density, Normal, two_modes
from thalweg.sampling import HMC, Adaptive, Annealing, Invariant, Ladder, Replicates, Tempering

PROBLEM = Tempering(Normal(jnp.asarray([0.3, 0.2]), 3.0), two_modes())
METHOD = Annealing(Invariant(HMC(0.4, leaps=2)), Adaptive(0.95), 40)


def test_all_end_and_those_that_have_ended_wait(key):
    found = solve(Replicates(METHOD, 5), PROBLEM, max_steps=60, key=key)
    assert found.status == Status.converged
    ended = np.asarray(found.info.ended)
    assert ended[-1].all()
    # Not all at once, or waiting would not be tested; and nobody starts again.
    assert len(set(ended.sum(0).tolist())) > 1
    assert (np.diff(ended.astype(int), axis=0) >= 0).all()
    betas = np.asarray(found.state.state.each.beta)
    np.testing.assert_array_equal(betas, 1.0)
    taken = np.asarray(found.state.state.each.taken)
    np.testing.assert_array_equal(taken, found.num_steps - ended.sum(0) + 1)
    assert found.value.evidence().log_z.mean.shape == ()
    assert len(set(np.asarray(found.value.tally.log_z).tolist())) == 5


def test_the_failure_of_one_is_said_when_all_have_ended(key):
    """Zero to the left: some clouds of two particles start all on that side."""
    half = Density(lambda x: jnp.where(x[0] > 0, -0.5 * jnp.sum(x**2), -jnp.inf), (2,))
    method = Replicates(Annealing(Invariant(HMC(0.4, leaps=2), tuning=0.0), Ladder.power(4), 2), 16)
    found = solve(method, Tempering(Normal(jnp.zeros(2)), half), max_steps=10, key=key, throw=False)
    assert not bool(succeeded(found.status))
    statuses = np.asarray(eqx.filter_vmap(lambda s: s == Status.converged)(found.state.state.statuses))
    assert statuses.any()
    assert not statuses.all()


def test_bad_input():
    with pytest.raises(InputError, match="runs=0"):
        Replicates(METHOD, 0)
