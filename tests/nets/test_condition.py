"""Conditions: the row of a label, and the null that stands for no condition."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, load, save
from thalweg.nets import Continuous, Labels


def test_labels_are_rows_and_minus_one_is_the_null(key):
    labels = Labels(3, 4, key=key)
    rows = jax.vmap(labels)(jnp.asarray([0, 1, 2, -1]))
    np.testing.assert_array_equal(rows, labels.table)
    np.testing.assert_array_equal(labels(None), labels(-1))
    assert len(np.unique(np.asarray(rows), axis=0)) == 4


@pytest.mark.parametrize("bad", [3, -2])
def test_a_label_out_of_range_never_passes_for_another(key, bad):
    labels = Labels(3, 4, key=key)
    with pytest.raises(InputError, match="0 to 2"):
        labels(bad)
    assert bool(jnp.all(jnp.isnan(eqx.filter_jit(labels)(jnp.asarray(bad)))))


def test_labels_refuse_what_is_not_one_integer(key):
    labels = Labels(3, 4, key=key)
    with pytest.raises(InputError, match="one integer"):
        labels(1.5)
    with pytest.raises(InputError, match="vmap"):
        labels(jnp.asarray([0, 1]))
    with pytest.raises(InputError, match="num_classes=0"):
        Labels(0, 4, key=key)


def test_only_the_rows_in_use_are_trained(key):
    labels = Labels(3, 4, key=key)
    grads = jax.grad(lambda m: jnp.sum(jax.vmap(m)(jnp.asarray([0, -1, 0])) ** 2))(labels)
    used = np.any(np.asarray(grads.table) != 0, axis=1)
    np.testing.assert_array_equal(used, [True, False, False, True])


def test_continuous_has_a_null_for_none_and_for_nan(key):
    encode = Continuous(2, 5, key=key)
    c = jnp.asarray([0.4, -1.0])
    assert encode(c).shape == (5,)
    assert bool(jnp.any(encode(c) != encode(2 * c)))
    np.testing.assert_array_equal(encode(None), encode.null)
    np.testing.assert_array_equal(encode(jnp.asarray([0.4, jnp.nan])), encode.null)
    grads = jax.grad(lambda m: jnp.sum(m(jnp.asarray([jnp.nan, 1.0])) ** 2))(encode)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))
    assert Continuous(1, 5, key=key)(0.3).shape == (5,)
    with pytest.raises(InputError, match="dim=2"):
        encode(jnp.zeros(3))


@pytest.mark.parametrize("make", [lambda k: Labels(3, 4, key=k), lambda k: Continuous(1, 4, key=k)])
def test_saved_and_loaded_is_the_same(tmp_path, key, make):
    encoder = make(key)
    save(tmp_path / "c", encoder)
    again = load(tmp_path / "c")[0]
    assert jax.tree.structure(again) == jax.tree.structure(encoder)
    np.testing.assert_array_equal(again(1), encoder(1))
