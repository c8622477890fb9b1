"""The assertions that other tests lean on must themselves fail when they should."""

import numpy as np
import pytest

from tests.stats import assert_slope, assert_z, fit_slope, z_score


def test_z_score_is_signed_and_elementwise():
    np.testing.assert_allclose(z_score([1.0, 2.0], [0.0, 3.0], [0.5, 0.25]), [2.0, -4.0])


def test_assert_z_names_the_worst_component():
    with pytest.raises(AssertionError, match=r"z = -10\.00 at \(1,\) \(1 of 3 out\)"):
        assert_z([0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.1, 0.1, 0.1])


def test_assert_z_passes_noise():
    rng = np.random.default_rng(3)
    x = rng.normal(2.0, 3.0, size=(4000, 5))
    assert_z(x.mean(0), 2.0, x.std(0, ddof=1) / np.sqrt(4000), max_stderr=0.1)


@pytest.mark.parametrize("bad", [(np.nan, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, np.inf, 1.0)])
def test_a_meaningless_score_is_refused(bad):
    with pytest.raises(AssertionError, match=r"finite|positive"):
        assert_z(*bad)


def test_a_blunt_test_is_refused():
    with pytest.raises(AssertionError, match="too blunt"):
        assert_z(5.0, 0.0, 10.0, max_stderr=1.0)


def test_slope_of_an_exact_power():
    steps = np.array([0.4, 0.2, 0.1, 0.05])
    fit = assert_slope(steps, 7.0 * steps**1.5, 1.5, 1e-9)
    assert fit.stderr < 1e-9


@pytest.mark.parametrize("weighted", [False, True])
def test_slope_reports_its_own_error(weighted):
    rng = np.random.default_rng(11)
    steps, noise = np.geomspace(0.01, 1.0, 9), 0.05
    clean = 3.0 * steps**0.5
    z = []
    for _ in range(400):
        errors = clean * np.exp(noise * rng.normal(size=9))
        fit = fit_slope(steps, errors, noise * errors if weighted else None)
        z.append((fit.slope - 0.5) / fit.stderr)
    # Student's t with seven degrees of freedom where the scatter is estimated, a normal where it is given.
    assert np.std(z) == pytest.approx(1.0 if weighted else np.sqrt(7 / 5), abs=0.15)


def test_a_wrong_rate_is_caught():
    steps = np.array([0.4, 0.2, 0.1])
    with pytest.raises(AssertionError, match="expected 1"):
        assert_slope(steps, steps**0.5, 1.0, 0.2)


def test_an_undetermined_rate_is_refused():
    with pytest.raises(AssertionError, match="not determined"):
        assert_slope([0.4, 0.2, 0.1], [1.0, 0.1, 1.0], 1.0, 0.2)
