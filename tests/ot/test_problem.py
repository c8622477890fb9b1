"""Problems are checked when they are made, and say what is wrong with them."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.ot import KL, Fixed, Matrix, PointCloud, Transport, per_condition

C = jnp.asarray([[0.0, 1, 4], [1, 0, 2]])
A, B = jnp.asarray([0.3, 0.7]), jnp.asarray([0.2, 0.5, 0.3])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Transport(C, jnp.asarray([-0.1, 1.1]), B), r"weights a have -0.1 at 0"),
        (lambda: Transport(C, A, jnp.asarray([0.2, jnp.nan, 0.3])), r"weights b have nan at 1"),
        (lambda: Transport(C, 2 * A, B), r"weights a sum to 2; expected 1"),
        (lambda: Transport(C, 0 * A, B, KL(1.0), KL(1.0)), r"weights a sum to 0"),
        (lambda: Transport(C, B, A), r"costs of shape \(2, 3\)"),
        (lambda: Transport(C.at[1, 2].set(jnp.nan), A, B), r"the costs have a non-finite number at \[1, 2\]"),
        (lambda: Transport(jnp.zeros((0, 3)), jnp.zeros(0), B), r"at least one point"),
        (lambda: Transport.points(jnp.asarray([[1.0], [jnp.inf]]), jnp.ones((2, 1))), r"points x have .* at \[1, 0\]"),
        (lambda: Transport.points(jnp.ones(3), jnp.ones((2, 1))), r"x has shape \(3,\)"),
        (lambda: Transport.points(jnp.ones((3, 2)), jnp.ones((2, 1))), r"points of shapes \(2,\) and \(1,\)"),
        (lambda: Transport.points(jnp.ones((3, 2)), jnp.ones((2, 2)), cost="euclid"), r"did you mean 'euclidean'"),
        (lambda: KL(0.0), r"expected one positive number"),
        (lambda: KL(jnp.nan), r"expected one positive number"),
    ],
)
def test_bad_problems(make, text):
    with pytest.raises(InputError, match=text):
        make()


def test_a_matrix_and_clouds_make_the_same_problem():
    x, y = jnp.asarray([[0.0], [1.0]]), jnp.asarray([[0.0], [1.0], [2.0]])
    cloud = Transport.points(x, y, A, B)
    assert isinstance(cloud.geometry, PointCloud)
    np.testing.assert_allclose(cloud.stored().geometry.matrix(), [[0, 1, 4], [1, 0, 1]], atol=1e-6)
    assert isinstance(cloud.stored().geometry, Matrix)
    assert Transport.points(x, y, block=1).stored().geometry.block == 1
    np.testing.assert_allclose(Transport.uniform(C).b, 1 / 3)
    turned = Transport(C, A, B, KL(2.0), Fixed()).T
    np.testing.assert_array_equal(turned.geometry.matrix(), C.T)
    assert isinstance(turned.right, KL)
    assert not turned.balanced


def test_masses_need_not_agree_when_they_may_be_missed():
    assert not Transport(C, 3 * A, B, KL(1.0), KL(1.0)).balanced


def test_marginal_penalties_and_their_duals():
    a, mass = jnp.asarray([0.3, 0.7, 0.0]), jnp.asarray([0.5, 0.1, 0.0])
    f = jnp.asarray([0.4, -1.0, 7.0])
    kl = float(1.3 * (0.5 * np.log(0.5 / 0.3) - 0.5 + 0.3 + 0.1 * np.log(0.1 / 0.7) - 0.1 + 0.7))
    np.testing.assert_allclose(KL(1.3).penalty(mass, a), kl, rtol=1e-5)
    np.testing.assert_allclose(
        KL(1.3).dual(f, a), 1.3 * (1 - 0.3 * np.exp(-0.4 / 1.3) - 0.7 * np.exp(1 / 1.3)), rtol=1e-5
    )
    # Fenchel and Young: D(mass) >= <mass, -f> + dual(f), with equality at mass = a exp(-f/rho).
    best = a * jnp.exp(-f / 1.3)
    np.testing.assert_allclose(KL(1.3).penalty(best, a), KL(1.3).dual(f, a) - jnp.sum(best * f), rtol=1e-4)
    assert KL(1.3).penalty(mass, a) > KL(1.3).dual(f, a) - jnp.sum(mass * f)
    np.testing.assert_allclose(Fixed().dual(f, a), 0.12 - 0.7, rtol=1e-5)
    np.testing.assert_allclose(KL(3.0).damp(f, 1.0), 0.75 * f)


def test_one_problem_for_each_condition():
    x, cx = np.arange(8.0).reshape(4, 2), np.array(["b", "a", "b", "b"])
    y, cy = np.arange(6.0).reshape(3, 2) + 0.5, np.array(["a", "b", "a"])
    parts = per_condition(x, y, cx, cy, cost="euclidean")
    assert list(parts) == ["a", "b"]
    assert parts["a"].geometry.shape == (1, 2)
    np.testing.assert_array_equal(parts["b"].geometry.x, x[[0, 2, 3]])
    with pytest.raises(InputError, match=r"label 'b' is on one side only"):
        per_condition(x, y, cx, np.array(["a", "a", "a"]))
    with pytest.raises(InputError, match=r"labels of shape \(3,\)"):
        per_condition(x, y, cx[:3], cy)
