"""Coordinates of a cloud: what they make standard, and what they commute with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.pde import Raw, Scaled, Whitened

MIX = np.asarray([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.2, 0.4, 1.3]])


@pytest.fixture
def cloud(key, x64):
    return 0.7 + jax.random.normal(key, (40, 3), float) @ MIX.T


def net(z):
    return jnp.sin(z) + 0.3


def test_whitened_without_a_net_is_the_gaussian_of_the_cloud(cloud):
    frame = Whitened()
    found = jax.vmap(lambda x: frame.score(frame.measure(cloud), None, x))(cloud)
    C = np.cov(np.asarray(cloud).T, ddof=0)
    np.testing.assert_allclose(found, -(cloud - cloud.mean(0)) @ np.linalg.inv(C), rtol=1e-9, atol=1e-12)
    W = np.asarray(frame.measure(cloud).scale)
    np.testing.assert_allclose(W @ C @ W.T, np.eye(3), atol=1e-9)


def test_scaled_without_a_net_is_a_product_of_gaussians(cloud):
    frame = Scaled()
    found = frame.score(frame.measure(cloud), None, cloud[4])
    np.testing.assert_allclose(found, -(cloud[4] - cloud.mean(0)) / cloud.var(0), rtol=1e-9)
    rows = cloud.reshape(20, 2, 3)
    together = frame.measure(rows)
    np.testing.assert_allclose(together.mean, np.broadcast_to(cloud.mean(0), (2, 3)), rtol=1e-9)


@pytest.mark.parametrize("frame", [Whitened(), Scaled()], ids=lambda f: type(f).__name__)
def test_a_cloud_that_is_shifted_and_scaled_has_the_shifted_and_scaled_score(frame, cloud):
    size, shift = np.asarray([2.0, 0.5, 3.0]), np.asarray([1.0, -4.0, 0.5])
    score = lambda x, at: frame.score(frame.measure(x), net, at)  # noqa: E731
    moved = score(cloud * size + shift, cloud[7] * size + shift)
    np.testing.assert_allclose(moved, score(cloud, cloud[7]) / size, rtol=1e-8)
    # The twin: coordinates of the problem do not move along.
    assert not np.allclose(net(cloud[7] * size + shift), net(cloud[7]) / size, rtol=0.1)
    assert not np.allclose(score(cloud, cloud[7]), frame.score(frame.measure(cloud), None, cloud[7]))


def test_raw_is_the_net(cloud):
    assert Raw().measure(cloud) is None
    np.testing.assert_array_equal(Raw().score(None, net, cloud[0]), net(cloud[0]))
    np.testing.assert_array_equal(Raw().score(None, None, cloud[0]), jnp.zeros(3))


def test_scaled_commutes_with_permutations_of_rows_and_whitened_does_not(cloud):
    x = cloud[:39].reshape(13, 3, 3)
    order = np.asarray([2, 0, 1])
    whole = Scaled().measure(x)
    found = Scaled().score(whole, net, x[3][order])
    np.testing.assert_allclose(found, Scaled().score(whole, net, x[3])[order], rtol=1e-9)
    whole = Whitened().measure(x)
    found = Whitened().score(whole, None, x[3][order])
    assert not np.allclose(found, Whitened().score(whole, None, x[3])[order], rtol=0.1)


def test_too_few_particles_are_refused():
    with pytest.raises(InputError, match=r"6 particles for 6 coordinates"):
        Whitened().check(6, (3, 2))
    Whitened().check(7, (3, 2))
    Scaled().check(2, (3, 2))
