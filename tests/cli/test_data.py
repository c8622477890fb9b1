"""Data by file or by name, their conditions, and a split that can be made again."""

import dataclasses

import numpy as np
import pytest

from thalweg.cli.data import Data, load_data, split_rows
from thalweg.cli.files import Want
from thalweg.core.errors import InputError


def saved(tmp_path, x, name="a.npy"):
    np.save(tmp_path / name, x)
    return str(tmp_path / name)


def test_a_named_set_and_its_size():
    data = load_data("checkerboard:30", seed=4)
    assert data.x.shape == (30, 2)
    assert data.sha256 == load_data("checkerboard:30", seed=4).sha256 != load_data("checkerboard:30", seed=5).sha256
    digits = load_data("digits", Want(condition="label"))
    assert (digits.x.shape[1:], digits.quantum, digits.bounds) == ((8, 8), 1.0, (0.0, 16.0))
    assert digits.labels == tuple("0123456789")


def test_a_line_of_numbers_is_a_column(tmp_path):
    assert load_data(saved(tmp_path, np.arange(4))).x.shape == (4, 1)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([[1.0, 2.0], [np.nan, 1.0]], "row 1, column 0 is missing or NaN"),
        ([[1.0, np.inf], [1.0, np.inf]], r"row 0, column 1 is infinite \(2 such numbers\)"),
        ([[1.0, 2.0]], "has 1 row; expected at least two"),
        ([["a", "b"], ["c", "d"]], "expected numbers"),
    ],
)
def test_numbers_that_cannot_be_learned(x, words, tmp_path):
    with pytest.raises(InputError, match=words):
        load_data(saved(tmp_path, np.array(x)))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("digit", "unknown data set 'digit'; did you mean 'digits'"),
        ("nowhere/a.csv", "there is no file nowhere/a.csv"),
        ("checkerboard:many", "expected a number of points"),
        ("checkerboard:1", "at least two"),
    ],
)
def test_no_such_data(spec, words):
    with pytest.raises(InputError, match=words):
        load_data(spec)


def test_conditions_are_labels_or_numbers(cells):
    kind = load_data(str(cells), Want(condition="kind", columns=("x", "y")))
    assert kind.labels == ("left", "right")
    assert set(kind.c) == {0, 1}
    # The label is the sign of x in this table.
    np.testing.assert_array_equal(kind.c, kind.x[:, 0] > 1)
    dose = load_data(str(cells), Want(condition="dose", columns=("x", "y")))
    assert (dose.labels, dose.c.shape) == (None, (90, 1))
    np.testing.assert_allclose(dose.c[:, 0], 7 * kind.x[:, 0], atol=1e-3)


def test_the_split_is_stratified_and_the_same_again():
    c = np.repeat([0, 1, 2], [60, 30, 1]).astype(np.int32)
    data = Data("a", np.zeros((91, 2), np.float32), c, ("a", "b", "c"))
    train, held = split_rows(data, 0.2, 5)
    assert sorted([*train, *held]) == list(range(91))
    # A label with one row is trained on.
    assert list(np.bincount(c[held], minlength=3)) == [12, 6, 0]
    np.testing.assert_array_equal(held, split_rows(data, 0.2, 5)[1])
    assert not np.array_equal(held, split_rows(data, 0.2, 6)[1])
    with pytest.raises(InputError, match="between 0 and 1"):
        split_rows(data, 1.0, 5)
    with pytest.raises(InputError, match="without two rows"):
        split_rows(dataclasses.replace(data, x=data.x[:3], c=None, labels=None), 0.2, 5)
