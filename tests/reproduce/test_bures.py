"""The short reproduction: exact parts hold, and the table says what does not."""

import jax
import numpy as np
import pytest

from thalweg.reproduce import bures


@pytest.mark.slow
def test_the_short_reproduction_runs():
    found = bures.bures_batchnorm(short=True)
    assert found.name == "bures-wasserstein-batchnorm"
    held = {c.claim: c.holds for c in found.claims}
    assert held["squared distance: 2 x 2 and commuting matrices"]
    assert all(h for c, h in held.items() if c.startswith("one-step mean"))
    assert [h for c, h in held.items() if "MAMEM" in c] == [None]
    assert sum("classifies better" in c for c in held) == 2


def test_matrices_have_the_condition_number_that_is_asked_for():
    rng = np.random.default_rng(0)
    for condition in (10.0, 1e4):
        A = bures._random(rng, 8, condition)
        np.testing.assert_allclose(np.linalg.cond(A), condition, rtol=1e-6)
        assert abs(A[0, 1]) > 0


def test_the_batches_are_rows_of_the_held_in_part():
    x, labels, x_test, _, batches = bures._covariances(0, 50)
    assert batches.shape == (50, bures.BATCH)
    assert batches.max() < len(x) == len(labels)
    assert all(len(set(b)) == bures.BATCH for b in batches)
    assert len(x) + len(x_test) == 1797
    assert np.linalg.eigvalsh(x).min() > 0.5 * bures.RIDGE


def test_a_difference_that_is_noise_does_not_hold():
    one = [0.005, np.array([0.8, 0.9]), np.ones((2, 9)), np.ones((2, 9)), np.zeros((2, 9)), np.zeros((2, 9))]
    less = [0.005, np.array([0.7, 0.801]), *one[2:]]
    noisy = [0.005, np.array([0.6, 0.95]), *one[2:]]
    for rival, holds in ((less, True), (noisy, False), (one, False)):
        found = {"GBW": one, "affine-invariant": rival}
        claims = list(bures._report({n: 100 * r[1][None] for n, r in found.items()}, found, 1e5))
        assert claims[0].holds is holds


def test_every_kind_learns_from_the_same_start():
    with jax.enable_x64(True):
        nets = [bures._Net(metric, iters, jax.random.key(0)) for metric, iters in bures._kinds(False).values()]
    for net in nets[1:]:
        np.testing.assert_array_equal(net.first.weight, nets[0].first.weight)
        np.testing.assert_array_equal(net.last.weight, nets[0].last.weight)
