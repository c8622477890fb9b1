"""Two-sample distances: power against a shift, honest p-values without one, errors, units, places of bad numbers."""

import numpy as np
import ot
import pytest
from scipy.stats import ks_2samp

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.ot import compare
from thalweg.ot.twosample import _exact, _feature, _holm, _largest, _pairwise

RNG = np.random.default_rng(0)


def by_name(rows):
    return {row.distance.split(" (")[0]: row for row in rows}


def test_a_shift_is_seen_by_every_distance(key):
    x, y = RNG.normal(size=(80, 3)), RNG.normal([1.0, 0.0, -0.5], size=(120, 3))
    rows = by_name(compare(x, y, key=key, permutations=99))
    names = ["sliced W2", "W1", "W2", "energy distance", "MMD", "KS: column 0, largest of 3", "PSI"]
    assert list(rows) == names
    for name in ("sliced W2", "energy distance", "MMD", "KS: column 0, largest of 3", "PSI"):
        assert rows[name].pvalue == pytest.approx(0.01)
        assert rows[name].value > 3 * rows[name].stderr
    assert "not squared" in rows["W2"].unit
    assert all(row.converged for row in rows.values())


def test_p_values_are_uniform_without_a_difference():
    found = []
    for seed in range(40):
        z = np.random.default_rng(seed).normal(size=(60, 2))
        euclid = np.sqrt(ot.dist(z, z))
        found.append(_pairwise("energy", "none", -euclid, 30, 39, np.random.default_rng(seed)).pvalue)
    # Mean 1/2 with standard deviation 0.29: the mean of 40 has a standard error of 0.046.
    assert abs(np.mean(found) - 0.51) < 4.5 * 0.046
    assert np.mean(np.array(found) <= 0.05) < 0.25


def test_values_against_pot(key):
    x, y = RNG.normal(size=(40, 2)).astype(np.float32), RNG.exponential(size=(40, 2)).astype(np.float32)
    rows = by_name(compare(x, y, key=key, permutations=0))
    cost = ot.dist(x.astype(float), y.astype(float))
    weights = np.full(40, 1 / 40)
    np.testing.assert_allclose(rows["W2"].value, np.sqrt(ot.emd2(weights, weights, cost)), rtol=1e-4)
    np.testing.assert_allclose(rows["W1"].value, ot.emd2(weights, weights, np.sqrt(cost)), rtol=1e-4)
    assert (rows["W1"].distance, rows["W1"].unit) == ("W1 (exact)", "the data's unit (W1)")
    euclid = lambda a, b: np.sqrt(ot.dist(a.astype(float), b.astype(float))).mean()  # noqa: E731
    energy = np.sqrt(2 * euclid(x, y) - euclid(x, x) - euclid(y, y))
    np.testing.assert_allclose(rows["energy distance"].value, energy, rtol=1e-3)
    assert np.isnan(rows["MMD"].pvalue)


def test_one_dimension_and_few_points(key):
    rows = by_name(compare(RNG.normal(size=(25, 1)), RNG.normal(size=(31, 1)) + 2, key=key, permutations=19))
    assert 1.5 < rows["W2"].value < 2.6
    assert np.isfinite(rows["W2"].stderr)
    assert (rows["W1"].pvalue, rows["W2"].pvalue) == (0.05, 0.05)
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
    for words, message in (
        ({"permutations": -1}, "expected at least 0 and 2"),
        ({"most": 1}, "expected at least 0 and 2"),
        ({"names": ("a",)}, "1 names for 2 features"),
    ):
        with pytest.raises(InputError, match=message):
            compare(good, good, key=key, **words)


def test_unequal_sizes_are_exact_where_that_is_affordable():
    """6 and 10 points are 30 and 30; 7 and 1009 are drawn from."""
    x, y = RNG.normal(size=(6, 2)).astype(np.float32), RNG.exponential(size=(10, 2)).astype(np.float32)
    row = _exact(x, y, 2, 1000, 0, RNG)
    cost = ot.dist(x.astype(float), y.astype(float))
    np.testing.assert_allclose(row.value, np.sqrt(ot.emd2([], [], cost)), rtol=1e-4)
    assert row.distance == "W2 (exact)"
    assert _exact(x, RNG.normal(size=(1009, 2)).astype(np.float32), 2, 1000, 0, RNG).distance == "W2 (6 points each)"


def test_the_error_of_w2_is_that_of_samples():
    """Far apart, W2 is the distance of the means: variance |S D|^2 (1/n + 1/m)/|D|^2, not that of costs."""
    shift, widths = np.array([6.0, 8.0]), np.array([1.0, 2.0])
    truth = np.sqrt(np.sum((widths * shift) ** 2) * (1 / 40 + 1 / 40)) / 10
    draws = [RNG.normal(size=(2, 40, 2)) * widths for _ in range(30)]
    found = [_exact(x, y + shift, 2, 100, 0, RNG).stderr for x, y in draws]
    # A jackknife over ten blocks has nine degrees of freedom: its square scatters by sqrt(2/9).
    assert_z(np.mean(np.square(found)), truth**2, truth**2 * np.sqrt(2 / 9 / 30))
    with pytest.raises(AssertionError):  # the twin: one sample's error alone
        assert_z(np.mean(np.square(found)), truth**2 / 2, truth**2 / 2 * np.sqrt(2 / 9 / 30))


def test_ks_and_psi_of_one_feature():
    """Against SciPy and a count by hand, with ties and unequal sizes."""
    u, v = RNG.poisson(3.0, 50).astype(float), RNG.poisson(4.0, 70).astype(float)
    ks, psi = _feature(u, v)
    wanted = ks_2samp(u, v, method="exact")
    np.testing.assert_allclose([ks.value, ks.pvalue], [wanted.statistic, wanted.pvalue], rtol=1e-9)
    edges = np.unique(np.quantile(u, np.arange(1, 10) / 10, method="inverted_cdf"))
    edges = edges[edges < max(u.max(), v.max())]
    f, g = (np.bincount(np.searchsorted(edges, z), minlength=len(edges) + 1) for z in (u, v))
    f, g = ((c + 0.5) / (c.sum() + 0.5 * len(c)) for c in (f, g))
    np.testing.assert_allclose(psi.value, np.sum((f - g) * np.log(f / g)), rtol=1e-9)
    assert f"({len(f)} bins" in psi.distance
    np.testing.assert_allclose(float(psi.unit.split()[-1]), (len(f) - 1) * (1 / 50 + 1 / 70), rtol=0.1)


def test_psi_and_ks_have_the_errors_and_the_noise_that_they_state():
    """400 pairs each, without a difference (the stated mean and spread of PSI) and with one (both errors)."""
    rng = np.random.default_rng(5)
    n, m, count = 150, 250, 400
    none = np.array([_feature(*_split(rng, n, m, 0.0))[1].value for _ in range(count)])
    noise = 9 * (1 / n + 1 / m)
    # Half a point more in each bin takes off some five in a hundred.
    assert_z(none.mean(), 0.95 * noise, np.hypot(none.std() / count**0.5, 0.02 * noise))
    with pytest.raises(AssertionError):  # the twin: the noise of one sample
        assert_z(none.mean(), 0.95 * 9 / m, np.hypot(none.std() / count**0.5, 0.02 * noise))
    rows = [_feature(*_split(rng, n, m, 0.7)) for _ in range(count)]
    for k in range(2):
        values, errors = (np.array([getattr(r[k], name) for r in rows]) for name in ("value", "stderr"))
        # The spread of 400 values is known to 1/sqrt(800) = 0.035; the delta method to a tenth.
        np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), values.std(ddof=1), rtol=0.25)


def _split(rng, n, m, shift):
    return rng.normal(size=n), rng.normal(size=m) * (1 + shift / 3) + shift


def test_relabelled_p_values_of_the_largest_feature_are_uniform():
    """Two correlated features, one with ties: the mean of 60 p-values is 1/2 to 0.29/sqrt(60) = 0.037."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(50, 1)) + rng.normal(size=(50, 2)) / 2
        z[:, 1] = np.round(z[:, 1])
        a, b = z[:20], z[20:]
        rows = [_feature(u, v) for u, v in zip(a.T, b.T, strict=True)]
        found.append([row.pvalue for row in _largest(rows, a, b, a, b, 39, ["a", "b"], rng)])
    # With 40 values and ties that count against, the mean is a little above 1/2.
    means = np.mean(found, axis=0)
    assert (np.abs(means - 0.53) < 4.5 * 0.037).all()
    assert (np.mean(np.array(found) <= 0.05, axis=0) < 0.05 + 4.5 * 0.028).all()


def test_features_by_name_and_after_holm(key):
    x, y = RNG.normal(size=(60, 3)), RNG.normal([0.0, 2.0, 0.0], size=(50, 3))
    names = ("one", "two", "three")
    rows = compare(x, y, key=key, permutations=0, names=names, features=True)
    assert rows[5].distance == "KS: two, largest of 3"
    each = rows[7:]
    assert len(each) == 6
    assert each[0].distance == "KS: two"
    # Bonferroni of the smallest is Holm's of the smallest.
    assert each[0].pvalue == pytest.approx(rows[5].pvalue)
    np.testing.assert_allclose(_holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
