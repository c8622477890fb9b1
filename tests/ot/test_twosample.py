"""Two-sample distances: power against a shift, honest p-values without one, units and places of bad numbers."""

import jax
import numpy as np
import ot
import pytest

from thalweg.core import InputError
from thalweg.ot import compare

RNG = np.random.default_rng(0)


def by_name(rows):
    return {row.distance.split(" (")[0]: row for row in rows}


def test_a_shift_is_seen_by_every_distance(key):
    x, y = RNG.normal(size=(80, 3)), RNG.normal([1.0, 0.0, -0.5], size=(120, 3))
    rows = by_name(compare(x, y, key=key, permutations=99))
    assert set(rows) == {"sliced W2", "W2", "energy distance", "MMD"}
    for name in ("sliced W2", "energy distance", "MMD"):
        assert rows[name].pvalue == pytest.approx(0.01)
        assert rows[name].value > 4.5 * rows[name].stderr
    assert "not squared" in rows["W2"].unit
    assert all(row.converged for row in rows.values())


def test_p_values_are_uniform_without_a_difference():
    found = []
    for seed in range(40):
        x, y = np.random.default_rng(seed).normal(size=(2, 30, 2))
        found.append(by_name(compare(x, y, key=jax.random.key(seed), permutations=39))["energy distance"].pvalue)
    # Mean 1/2 with standard deviation 0.29: the mean of 40 has a standard error of 0.046.
    assert abs(np.mean(found) - 0.51) < 4.5 * 0.046
    assert np.mean(np.array(found) <= 0.05) < 0.25


def test_values_against_pot(key):
    x, y = RNG.normal(size=(40, 2)).astype(np.float32), RNG.exponential(size=(40, 2)).astype(np.float32)
    rows = by_name(compare(x, y, key=key, permutations=0))
    cost = ot.dist(x.astype(float), y.astype(float))
    weights = np.full(40, 1 / 40)
    np.testing.assert_allclose(rows["W2"].value, np.sqrt(ot.emd2(weights, weights, cost)), rtol=1e-4)
    euclid = lambda a, b: np.sqrt(ot.dist(a.astype(float), b.astype(float))).mean()  # noqa: E731
    energy = np.sqrt(2 * euclid(x, y) - euclid(x, x) - euclid(y, y))
    np.testing.assert_allclose(rows["energy distance"].value, energy, rtol=1e-3)
    assert np.isnan(rows["MMD"].pvalue)


def test_one_dimension_and_few_points(key):
    rows = by_name(compare(RNG.normal(size=(25, 1)), RNG.normal(size=(31, 1)) + 2, key=key, permutations=19))
    assert 1.5 < rows["W2"].value < 2.6
    assert np.isfinite(rows["W2"].stderr)
    assert compare(np.zeros((2, 1)), np.ones((2, 1)), key=key, permutations=0)[0].value == pytest.approx(1.0)


def test_bad_samples(key):
    good = RNG.normal(size=(5, 2))
    bad = good.copy()
    bad[3, 1] = np.inf
    for x, y, message in (
        (good, bad, r"the second sample has a non-finite number at row 3, column 1"),
        (good[:1], good, r"expected at least two rows"),
        (good, good[:, :1], r"have 2 and 1 columns"),
    ):
        with pytest.raises(InputError, match=message):
            compare(x, y, key=key)
