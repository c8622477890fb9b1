"""Couplings: permutations that cost the least, plans that keep marginals, conditions that are never crossed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.flows import COUPLINGS, Independent, MinibatchOT, MinibatchSinkhorn, Paired, WithinCondition


@pytest.fixture
def cloud(key):
    first, second = jax.random.split(key)
    return jax.random.normal(first, (6, 2)), jax.random.normal(second, (6, 2)) * jnp.asarray([2.0, 0.3]) + 1


def cost(x0, x1, index):
    return float(jnp.sum((x0 - x1[jnp.asarray(index)]) ** 2))


def test_independent_and_paired_leave_rows_as_they_are(cloud, key):
    for coupling in (Independent(), Paired()):
        np.testing.assert_array_equal(coupling(*cloud, None, key=key), np.arange(6))


def test_exact_pairing_is_the_best_of_all_permutations(cloud, key):
    x0, x1 = cloud
    found = MinibatchOT()(x0, x1, None, key=key)
    best = min(cost(x0, x1, p) for p in itertools.permutations(range(6)))
    np.testing.assert_allclose(cost(x0, x1, found), best, rtol=1e-5)
    assert cost(x0, x1, np.arange(6)) > 1.2 * best


def test_pairing_follows_a_permutation_of_the_problem(cloud, key):
    x0, x1 = cloud
    order = jnp.asarray([3, 0, 5, 1, 4, 2])
    first = x1[MinibatchOT()(x0, x1, None, key=key)]
    second = x1[order][MinibatchOT()(x0, x1[order], None, key=key)]
    np.testing.assert_allclose(first, second)


def test_entropic_pairing_keeps_the_marginal_and_costs_less_than_chance(key):
    x0 = jax.random.normal(key, (8, 1))
    x1 = jax.random.normal(jax.random.fold_in(key, 1), (8, 1)) * 2 + 1
    keys = jax.random.split(key, 2000)
    index = jax.vmap(lambda k: MinibatchSinkhorn(0.1)(x0, x1, None, key=k))(keys)
    counts = np.stack([np.bincount(np.asarray(row), minlength=8) for row in index])
    # Each column is drawn once a batch on average; the tolerance of the solver (1e-2 in L1) is the allowance.
    assert_z(counts.mean(0), 1.0, counts.std(0) / 2000**0.5 + 0.02)
    paired = np.mean([cost(x0, x1, row) for row in np.asarray(index[:200])])
    best = cost(x0, x1, MinibatchOT()(x0, x1, None, key=key))
    chance = np.mean([cost(x0, x1, jax.random.permutation(k, 8)) for k in keys[:200]])
    assert best < paired < 0.7 * chance


def test_conditions_are_never_crossed(key):
    x0 = jax.random.normal(key, (40, 2))
    x1 = jax.random.normal(jax.random.fold_in(key, 1), (40, 2)) + 2
    c = jnp.asarray(np.random.default_rng(0).integers(0, 3, 40))
    found = np.asarray(WithinCondition()(x0, x1, c, key=key))
    np.testing.assert_array_equal(np.sort(found), np.arange(40))
    np.testing.assert_array_equal(c[found], c)
    free = np.asarray(MinibatchOT()(x0, x1, c, key=key))
    assert np.any(np.asarray(c)[free] != np.asarray(c))
    assert cost(x0, x1, free) < cost(x0, x1, found) < cost(x0, x1, np.arange(40))


def test_within_a_condition_the_base_stays_the_base(key):
    """The reason for it: plain mini-batch transport makes x0 depend on c, this does not."""
    n, batches = 32, 300

    def gap(coupling, k):
        a, b, d = jax.random.split(k, 3)
        c = jax.random.bernoulli(a, 0.4, (n,)).astype(int)
        x0 = jax.random.normal(b, (n, 1))
        x1 = jax.random.normal(d, (n, 1)) * 0.3 + 3.0 * c[:, None]
        chosen = c[coupling(x0, x1, c, key=k)]
        return jnp.sum(x0[:, 0] * chosen) / jnp.maximum(jnp.sum(chosen), 1)

    keys = jax.random.split(key, batches)
    plain, aware = (np.asarray(jax.lax.map(lambda k, m=m: gap(m, k), keys)) for m in (MinibatchOT(), WithinCondition()))
    assert_z(aware.mean(), 0.0, aware.std() / batches**0.5, max_stderr=0.03)
    with pytest.raises(AssertionError):
        assert_z(plain.mean(), 0.0, plain.std() / batches**0.5)


def test_bad_use(cloud, key):
    with pytest.raises(InputError, match=r"the data have none"):
        WithinCondition()(*cloud, None, key=key)
    with pytest.raises(InputError, match=r"expected a positive number"):
        MinibatchSinkhorn(0.0)
    assert set(COUPLINGS) == {"independent", "paired", "ot", "sinkhorn", "within-condition"}
