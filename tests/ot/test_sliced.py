"""Sliced distances: exact cases, error bars that hold, and control variates that neither bias nor boast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.ot.line import wasserstein_1d
from thalweg.ot.sliced import (
    LowerVariate,
    UpperVariate,
    along,
    controlled,
    directions,
    sliced_wasserstein,
    sliced_with_variates,
)


def test_directions_are_uniform(key):
    theta = directions(4000, 3, jnp.float32, key=key)
    np.testing.assert_allclose(jnp.linalg.norm(theta, axis=1), 1, rtol=1e-5)
    outer = np.einsum("ki,kj->kij", theta, theta)
    assert_z(outer.mean(0), np.eye(3) / 3, outer.std(0) / 4000**0.5 + 1e-9)


def test_a_shift_has_the_known_sliced_distance_and_an_honest_error(key):
    x = jax.random.normal(key, (60, 4))
    shift = jnp.asarray([1.0, -2.0, 0.5, 0.0])
    truth = float(jnp.linalg.norm(shift)) / 2  # SW2^2 = |shift|^2 / d
    keys = jax.random.split(key, 60)
    found = [sliced_wasserstein(x, x + shift, key=k, projections=100) for k in keys]
    means, errors = np.array([float(f.mean) for f in found]), np.array([float(f.stderr) for f in found])
    assert_z(means.mean(), truth, means.std() / 60**0.5 + 2e-3, max_stderr=0.02)
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), means.std(), rtol=0.3)
    with pytest.raises(AssertionError):  # the twin: W2^2 where W2 is said
        assert_z((means**2).mean(), truth, means.std() / 60**0.5 + 2e-3)


def test_it_is_zero_only_between_equals_and_takes_images(key):
    x = jax.random.normal(key, (20, 3, 2))
    assert float(sliced_wasserstein(x, x[::-1], key=key).mean) < 1e-6
    assert float(sliced_wasserstein(x, x[:13] + 1, key=key).mean) > 0.3
    with pytest.raises(InputError, match=r"events \(3, 2\) and \(6,\)"):
        sliced_wasserstein(x, x.reshape(20, 6), key=key)


SHIFT = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
BOTH = (LowerVariate(), UpperVariate())


def pair(key, n=60, m=45):
    """Two samples of different sizes, means and widths, far from the origin."""
    first, second = jax.random.split(key)
    widths = jnp.asarray([1.0, 2.0, 0.5, 3.0])
    return jax.random.normal(first, (n, 4)) * widths + 20, jax.random.normal(second, (m, 4)) * 1.5 + 20 + SHIFT


def replicas(x, y, k, count, key, **weights):
    """`count` estimates of SW_2^2 (plain, lower, upper) along `k` directions each, and their standard errors."""

    @jax.jit
    def one(key):
        slices = along(x, y, directions(k, x.shape[1], x.dtype, key=key), **weights)
        found = [controlled(slices, variate).squared for variate in BOTH]
        return jnp.stack([jnp.mean(slices.squared), *(f.mean for f in found)]), jnp.stack([f.stderr for f in found])

    means, errors = jax.lax.map(one, jax.random.split(key, count), batch_size=50)
    return np.asarray(means, np.float64), np.asarray(errors, np.float64)


def test_a_pure_shift_is_exact_with_the_lower_variate(key):
    x, _ = pair(key)
    y = x[::-1] + SHIFT
    found = sliced_with_variates(x, y, key=key, projections=7)
    truth = float(np.sum(np.square(np.mean(np.asarray(y, np.float64), 0) - np.mean(np.asarray(x, np.float64), 0)))) / 4
    np.testing.assert_allclose(found.lower.squared.mean, truth, rtol=2e-6)
    assert float(found.lower.squared.stderr) < 1e-6 * truth
    np.testing.assert_allclose(found.lower.coefficient, 1.0, atol=1e-6)
    # The twin: the plain mean of seven directions is wrong by far more than that.
    assert abs(float(found.plain.squared.mean) - truth) > 0.02 * truth
    slices = along(x, y, directions(7, 4, x.dtype, key=key))
    off = slices.shift - slices.mean_shift
    w = slices.squared
    official = jnp.mean(w) - jnp.mean((w - jnp.mean(w)) * off) / jnp.mean(off**2) * jnp.mean(off)
    assert abs(float(official) - truth) > 2e-5 * truth


def test_the_variates_bound_every_slice_and_their_means_are_known(key):
    x, y = pair(key)
    theta = directions(20_000, 4, x.dtype, key=key)
    slices = along(x, y, theta)
    for i in (0, 17):
        np.testing.assert_allclose(slices.squared[i], wasserstein_1d(x @ theta[i], y @ theta[i]), rtol=1e-4)
    lower, _, mean_low = LowerVariate()(slices)
    upper, rest, mean_up = UpperVariate()(slices)
    assert (lower <= slices.squared * (1 + 1e-5)).all()
    assert (upper >= slices.squared * (1 - 1e-5)).all()
    np.testing.assert_allclose(upper + rest, slices.squared, rtol=1e-4)
    for c, mean in ((lower, mean_low), (upper, mean_up)):
        error = float(jnp.std(c)) / 20_000**0.5
        assert_z(float(jnp.mean(c)), float(mean), error, max_stderr=0.02 * float(mean))
        with pytest.raises(AssertionError):  # the twin: the mean over directions divided by d - 1
            assert_z(float(jnp.mean(c)), float(mean) * 4 / 3, error)


def test_no_bias_a_known_error_and_a_smaller_variance(key):
    x, y = pair(key)
    means, errors = replicas(x, y, 40, 600, key)
    truth = float(controlled(along(x, y, directions(100_000, 4, x.dtype, key=key)), LowerVariate()).squared.mean)
    spread = means.std(0, ddof=1)
    # 600 replicas; a bias of order 1/40 of a standard deviation is below what this can see.
    assert_z(means.mean(0), truth, spread / 600**0.5, max_stderr=0.02)
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2, axis=0)), spread[1:], rtol=0.15)
    assert spread[1] ** 2 < spread[0] ** 2 / 2.5
    # The twin: gamma with the other sign doubles the error of the plain mean.
    wrong = 2 * means[:, 0] - means[:, 1]
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(np.sqrt(np.mean(errors[:, 0] ** 2)), wrong.std(ddof=1), rtol=0.15)


def test_weights_are_copies(key):
    x, y = pair(key, 12, 9)
    counts = np.array([1, 2, 0, 3, 1, 1, 2, 1, 1])
    copied = jnp.asarray(np.repeat(np.asarray(y), counts, axis=0))
    weights = jnp.asarray(counts, jnp.float32)
    for words in ({"p": 1.0}, {"variate": UpperVariate()}):
        one = sliced_wasserstein(x, y, key=key, projections=20, b=weights, **words)
        other = sliced_wasserstein(x, copied, key=key, projections=20, **words)
        np.testing.assert_allclose([one.mean, one.stderr], [other.mean, other.stderr], rtol=1e-3)


def test_scale_order_and_the_plain_value_beside(key):
    x, y = pair(key)
    found = sliced_with_variates(x, y, key=key, projections=32)
    np.testing.assert_allclose(found.plain.distance.mean, sliced_wasserstein(x, y, key=key, projections=32).mean)
    alone = sliced_wasserstein(x, y, key=key, projections=32, variate=UpperVariate())
    np.testing.assert_allclose(found.upper.distance.mean, alone.mean, rtol=1e-5)
    scaled = sliced_with_variates(3 * y, 3 * x, key=key, projections=32)
    for kind in ("plain", "lower", "upper"):
        one, other = getattr(found, kind), getattr(scaled, kind)
        np.testing.assert_allclose(other.distance.mean, 3 * one.distance.mean, rtol=1e-4)
        np.testing.assert_allclose(other.distance.stderr, 3 * one.distance.stderr, rtol=1e-3)
        np.testing.assert_allclose(one.squared.stderr, 2 * one.distance.mean * one.distance.stderr, rtol=1e-4)
    ratio = (found.plain.squared.stderr / found.lower.squared.stderr) ** 2
    np.testing.assert_allclose(found.lower.reduction, ratio, rtol=1e-4)
    assert float(found.plain.reduction) == 1


def test_nothing_to_regress_on(key):
    x, y = pair(key)
    same = sliced_with_variates(x, x, key=key, projections=8)
    assert all(float(e.squared.mean) == 0 and not bool(e.clipped) for e in (same.plain, same.lower))
    centred = x - jnp.mean(x, 0)
    flat = sliced_with_variates(centred, 2 * centred, key=key, projections=8)
    assert float(flat.lower.coefficient) == 0
    np.testing.assert_allclose(flat.lower.squared.mean, flat.plain.squared.mean, rtol=1e-6)
    np.testing.assert_allclose(flat.lower.squared.stderr, flat.plain.squared.stderr, rtol=1e-4)
    one = sliced_with_variates(x, y, key=key, projections=1)
    np.testing.assert_allclose(one.lower.squared.mean, one.plain.squared.mean, rtol=1e-6)
    assert np.isnan(one.lower.squared.stderr)
    assert np.isnan(sliced_with_variates(x, y, key=key, projections=2).lower.squared.stderr)


def test_a_negative_square_is_clipped_and_said(key):
    """W = C^2 of a C whose mean over directions is far above its mean: the line goes below zero."""
    c = jnp.asarray([4.0, 5.0, 6.0])
    slices = along(jnp.zeros((2, 3)), jnp.ones((2, 3)), directions(3, 3, jnp.float32, key=key))
    slices = type(slices)(c, 10 * c - 39.9, c, jnp.asarray(1.0), jnp.asarray(1.0))
    found = controlled(slices, LowerVariate())
    np.testing.assert_allclose(found.squared.mean, 10 - 39.9 + 1, rtol=1e-5)
    assert bool(found.clipped)
    assert float(found.distance.mean) == 0
    assert np.isnan(found.distance.stderr)


def test_gradients_are_finite_and_point_downhill(key):
    x, y = pair(key, 20, 20)
    value = jax.jit(lambda x, y: sliced_with_variates(x, y, key=key, projections=12).lower.distance.mean)
    slope = jax.grad(value)(x, y)
    assert np.isfinite(slope).all()
    assert float(value(x - 0.05 * slope, y)) < float(value(x, y))
    assert np.isfinite(jax.grad(value)(x, x + 0.0)).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (dict(p=1.0, variate=LowerVariate()), r"p = 2 only, and p is 1.0"),
        (dict(projections=0), r"along 0 directions"),
        (dict(p=0.5), r"expected p >= 1"),
        (dict(a=jnp.ones(3)), r"weights a have shape \(3,\)"),
        (dict(b=-jnp.ones(4)), r"weights b: expected finite numbers"),
    ],
    ids=lambda w: "",
)
def test_bad_input(words, message, key):
    with pytest.raises(InputError, match=message):
        sliced_wasserstein(jnp.zeros((5, 2)), jnp.ones((4, 2)), key=key, **words)


def test_a_nan_is_never_a_distance_of_zero(key):
    y = jnp.arange(12.0).reshape(6, 2)
    x = y.at[2, 1].set(jnp.nan)
    found = sliced_with_variates(x, y, key=key, projections=8)
    for each in (found.plain.distance, found.lower.distance, sliced_wasserstein(x, y, key=key, projections=8, p=1.0)):
        assert bool(jnp.isnan(each.mean))
