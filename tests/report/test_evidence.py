"""The plane that points are looked at in, and what is drawn from a transport."""

import jax
import numpy as np
import pytest

from thalweg.flows import Training
from thalweg.nets import MLP
from thalweg.report import Plane, gather, is_image


def test_which_events_are_pictures():
    assert is_image((8, 8))
    assert is_image((28, 20, 3))
    assert not any(map(is_image, [(), (2,), (64,), (3, 3), (8, 8, 7), (4, 4, 4, 1)]))


def test_points_in_the_plane_are_themselves():
    x = np.random.default_rng(0).normal((3, -1), 1.0, (20, 2))
    np.testing.assert_allclose(Plane.of(x)(x), x)
    assert Plane.of(x, ["dose", "time"]).names == ("dose", "time")
    assert Plane.of(x[:, :1])(x[:, :1]).shape == (20, 1)


def test_the_first_axes_carry_the_most_variance_whatever_the_rotation():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    x = (rng.normal(size=(500, 5)) * [0.1, 3.0, 0.2, 1.0, 0.3]) @ rotation + 7
    plane = Plane.of(x)
    np.testing.assert_allclose(plane.axes.T @ plane.axes, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(plane(x).std(0), [3.0, 1.0], rtol=0.1)
    # Both axes are directions of the large variances, to sampling error.
    np.testing.assert_allclose(np.abs(rotation[[1, 3]] @ plane.axes), np.eye(2), atol=0.05)


@pytest.fixture(scope="module")
def flow():
    """An untrained transport to labelled images away from zero."""
    rng = np.random.default_rng(0)
    x = (5 + 2 * rng.normal(size=(60, 4, 5))).astype(np.float32)
    labels = (np.arange(60) % 3).astype(np.int32)

    def net(event, condition, *, key):
        return MLP(event, width=8, depth=1, condition=condition, key=key)

    made = Training.of(x, key=jax.random.key(0), condition=labels, labels=("a", "b", "c"), net=net, steps=10)
    return made.template, x, labels


def test_gathered_from_a_transport(flow):
    transport, x, labels = flow
    found = gather(
        transport, x[:20], x[20:], key=jax.random.key(1), steps=6, held_out_condition=labels[:20], loss=[1.0, None]
    )
    assert list(found.draws) == ["ODE", "SDE, ε = 0.5"]
    for draws in found.draws.values():
        assert draws.samples.shape[1:] == (4, 5)
        assert draws.paths.shape[0] == len(draws.times) == 7
        # Every label is drawn as often, give or take one.
        assert np.ptp(np.bincount(draws.labels)) <= 1
        # The paths end in the samples, in the data's units.
        np.testing.assert_allclose(draws.paths[-1], draws.samples[: draws.paths.shape[1]], rtol=1e-4, atol=1e-3)
    assert not np.array_equal(found.ode.samples, found.sde.samples)
    assert np.isnan(found.loss[1])
