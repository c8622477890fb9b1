"""Units, sources and batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.flows import Empirical, Gaussian, Independent, MinibatchOT, Paired, Pairs, Units

ROWS = np.random.default_rng(0).normal([5.0, -1.0], [3.0, 0.1], (400, 2)).astype(np.float32)


def test_units_are_unit_variance_per_feature_and_invertible():
    units = Units.of(ROWS)
    y = units.encode(jnp.asarray(ROWS))
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-4)
    np.testing.assert_allclose(units.decode(y), ROWS, rtol=1e-4, atol=1e-5)


def test_images_share_one_unit():
    images = np.random.default_rng(1).uniform(0, 16, (50, 4, 4)).astype(np.float32)
    units = Units.of(images)
    assert units.scale.shape == ()
    np.testing.assert_allclose(units.log_volume((4, 4)), -16 * np.log(units.scale), rtol=1e-5)


def test_grid_data_come_back_exactly(key):
    digits = np.random.default_rng(1).integers(0, 17, (200, 3)).astype(np.float32)
    units = Units.of(digits, quantum=1.0, bounds=(0.0, 16.0))
    for spread in (key, None):
        np.testing.assert_array_equal(units.snap(units.decode(units.encode(jnp.asarray(digits), key=spread))), digits)
    y = units.encode(jnp.asarray(digits), key=key)
    np.testing.assert_allclose(y.std(0), 1, rtol=0.02)
    assert len(np.unique(np.asarray(y))) > 500
    assert float(units.snap(units.decode(jnp.full((1, 3), 99.0))).max()) == 16


def test_log_volume_is_the_change_of_variables():
    units = Units.of(ROWS)
    jacobian = jax.jacfwd(lambda x: units.encode(x[None])[0])(jnp.asarray(ROWS[0]))
    np.testing.assert_allclose(units.log_volume((2,)), jnp.log(jnp.linalg.det(jacobian)), rtol=1e-5)


def test_constant_columns_are_named():
    bad = ROWS.copy()
    bad[:, 1] = 3
    with pytest.raises(InputError, match=r"column 1 is constant"):
        Units.of(bad)


def test_gaussian_density():
    source = Gaussian((2, 3), 1.7)
    x = jnp.arange(6.0).reshape(2, 3) / 3
    expected = jax.scipy.stats.norm.logpdf(x, 0, 1.7).sum()
    np.testing.assert_allclose(source.log_prob(x), expected, rtol=1e-5)


def test_batches_keep_rows_and_labels_together(key):
    target = jnp.arange(50.0)[:, None] * jnp.asarray([1.0, -2.0])
    pairs = Pairs(Gaussian((2,)), target, jnp.arange(50), Units.of(np.asarray(target)), MinibatchOT(), batch=16)
    batch = pairs(key)
    back = pairs.units.decode(batch.x1)[:, 0]
    np.testing.assert_allclose(back, batch.c, atol=1e-3)


def test_paired_rows_stay_paired(key):
    target = jnp.asarray(ROWS)
    units = Units.of(ROWS)
    source = Empirical(units.encode(target) * 2)
    batch = Pairs(source, target, None, units, Paired(), batch=32)(key)
    np.testing.assert_allclose(batch.x0, 2 * batch.x1, rtol=1e-3, atol=1e-5)
    loose = Pairs(source, target, None, units, Independent(), batch=32)(key)
    assert not np.allclose(loose.x0, 2 * loose.x1, atol=1e-2)


@pytest.mark.parametrize("c", [jnp.arange(400) % 3, jnp.ones((400, 2))], ids=["labels", "numbers"])
def test_dropped_conditions_are_null(c, key):
    pairs = Pairs(Gaussian((2,)), jnp.asarray(ROWS), c, Units.of(ROWS), Independent(), batch=4000, drop=0.2)
    got = pairs(key).c
    null = got == -1 if got.ndim == 1 else jnp.isnan(got).all(1)
    assert_z(float(null.mean()), 0.2, (0.16 / 4000) ** 0.5)


def test_bad_batches():
    units = Units.of(ROWS)
    with pytest.raises(InputError, match=r"expected at least 1"):
        Pairs(Gaussian((2,)), jnp.asarray(ROWS), None, units, Independent(), batch=0)
    with pytest.raises(InputError, match=r"400 rows of data have 3 conditions"):
        Pairs(Gaussian((2,)), jnp.asarray(ROWS), jnp.arange(3), units, Independent())
