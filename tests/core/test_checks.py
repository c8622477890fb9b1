"""What constructors refuse, and what they cannot know inside a transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.core.checks import all_known, at_least_zero, finite, known, positive, real, show


@pytest.mark.parametrize("value", [0.0, -1.0, jnp.nan, jnp.inf, jnp.array([1.0, -2.0])])
def test_what_is_not_positive_is_refused_with_its_owner_and_name(value):
    with pytest.raises(InputError, match=r"Flow\(width="):
        positive("Flow", "width", jnp.asarray(value))


@pytest.mark.parametrize("value", [-1e-9, jnp.nan, -jnp.inf])
def test_what_is_negative_is_refused_and_zero_is_not(value):
    at_least_zero("Flow", "width", jnp.asarray(0.0))
    with pytest.raises(InputError, match=r"Flow\(width="):
        at_least_zero("Flow", "width", jnp.asarray(value))


def test_the_remedy_follows_where_there_is_one():
    with pytest.raises(InputError, match=r"more than 0; take a larger one$"):
        positive("Flow", "width", jnp.asarray(0.0), "take a larger one")
    with pytest.raises(InputError, match=r"more than 0$"):
        positive("Flow", "width", jnp.asarray(0.0))


def test_nothing_is_known_and_nothing_refused_inside_a_transformation():
    def traced(x):
        assert known(x) is None
        assert not all_known({"a": x, "b": 1.0})
        positive("Flow", "width", x)
        at_least_zero("Flow", "width", x)
        finite("Flow", "width", x)
        return x

    assert float(jax.jit(traced)(jnp.asarray(-1.0))) == -1.0
    assert all_known({"a": jnp.ones(2), "b": 1.0})
    assert known("no array") is None


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(2, jnp.zeros(()).dtype), (np.float32(2), np.float32), (np.arange(3, dtype=np.int32), jnp.zeros(()).dtype)],
    ids=["int", "float32", "integers"],
)
def test_a_number_becomes_a_floating_array_and_floats_keep_their_precision(value, dtype):
    assert real(value).dtype == dtype
    np.testing.assert_array_equal(real(value), value)


def test_an_array_is_shown_by_its_extremes():
    assert show(np.asarray(0.5)) == "0.5"
    assert show(np.array([3.0, -1.0])) == "array of shape (2,) from -1 to 3"
