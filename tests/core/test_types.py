"""The shapes that signatures speak of mean what they say."""

import jax.numpy as jnp
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from thalweg.core import Cloud, Point, Scalar, Time, Times


def test_shapes():
    assert isinstance(jnp.zeros((5, 2, 3)), Cloud)
    assert isinstance(jnp.zeros(()), Time)
    assert isinstance(jnp.zeros(()), Scalar)
    assert isinstance(jnp.zeros(4), Times)
    assert not isinstance(jnp.zeros(4), Time)
    assert not isinstance(jnp.zeros(()), Cloud)


def test_an_event_is_one_shape_within_a_signature():
    @jaxtyped(typechecker=beartype)
    def nearest(x: Point, cloud: Cloud) -> Point:
        return cloud[0]

    assert nearest(jnp.zeros((2, 3)), jnp.zeros((7, 2, 3))).shape == (2, 3)
    with pytest.raises(Exception, match=r"cloud"):
        nearest(jnp.zeros((2, 3)), jnp.zeros((7, 3, 2)))
