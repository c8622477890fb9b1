"""A cloud in blocks gives exactly what its matrix gives, from either side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.ot import CustomCost, Euclidean, Matrix, PointCloud, SquaredEuclidean

X = jax.random.normal(jax.random.key(0), (11, 2)) + 3
Y = jax.random.normal(jax.random.key(1), (7, 2)) * jnp.asarray([1.0, 2.0])
F, H = jax.random.normal(jax.random.key(2), (11,)), jax.random.normal(jax.random.key(3), (7,))
V = jax.random.normal(jax.random.key(4), (7, 3))
COSTS = {"squared": SquaredEuclidean(), "norm": Euclidean(), "own": CustomCost(lambda x, y: (x[0] - y[1]) ** 2 + x[1])}


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("block", [1, 4, 100, None])
def test_blocks_change_nothing(name, block):
    cloud = PointCloud(X, Y, COSTS[name], block)
    matrix = Matrix(COSTS[name].matrix(X, Y))
    questions = (
        lambda g: g.softmin(H, 0.7),
        lambda g: g.T.softmin(F, 0.7),
        lambda g: g.sums(F, H, 2.0),
        lambda g: g.sums(F, H, 2.0, V),
        lambda g: g.T.cost_sums(H, F, 2.0),
        lambda g: g.largest(F, H, 2.0, 3)[0],
        lambda g: jnp.stack(g.extremes()),
        lambda g: g.matrix(),
    )
    for ask in questions:
        np.testing.assert_allclose(ask(cloud), ask(matrix), rtol=2e-4, atol=1e-5)
    np.testing.assert_array_equal(cloud.largest(F, H, 2.0, 3)[1], matrix.largest(F, H, 2.0, 3)[1])
    assert cloud.T.T.shape == cloud.shape == (11, 7)


def test_the_sums_are_those_of_the_definition():
    c = np.asarray(COSTS["norm"].matrix(X, Y), float)
    p = np.exp((np.asarray(F)[:, None] + np.asarray(H) - c) / 2)
    g = PointCloud(X, Y, COSTS["norm"], 3)
    np.testing.assert_allclose(g.sums(F, H, 2.0, V), p @ np.asarray(V), rtol=1e-4)
    np.testing.assert_allclose(g.cost_sums(F, H, 2.0), (p * c).sum(1), rtol=1e-4)
    np.testing.assert_allclose(g.softmin(H, 2.0), -2 * np.log(np.exp((np.asarray(H) - c) / 2).sum(1)), rtol=1e-4)
    value, column = g.largest(F, H, 2.0, 2)
    np.testing.assert_array_equal(column, np.argsort(-p, axis=1)[:, :2])
    np.testing.assert_allclose(value, -np.sort(-p, axis=1)[:, :2], rtol=1e-4)


def test_a_far_away_cloud_keeps_its_digits():
    wide = jax.random.normal(jax.random.key(5), (6, 20))
    near, far = PointCloud(wide, wide[:4] + 0.1), PointCloud(wide + 500, wide[:4] + 500.1)
    np.testing.assert_allclose(far.matrix(), near.matrix(), atol=2e-2)


def test_memory_is_that_of_a_block():
    n = 20_000
    x = jnp.ones((n, 3))
    compiled = jax.jit(lambda x, h: PointCloud(x, x).softmin(h, 1.0)).lower(x, jnp.zeros(n)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 2**20 < n * n * 4


def test_clouds_of_different_points_are_refused():
    with pytest.raises(InputError, match=r"shapes \(2,\) and \(3,\)"):
        PointCloud(X, jnp.ones((4, 3)))
    with pytest.raises(InputError, match=r"at least one row"):
        PointCloud(X, Y, block=0)
