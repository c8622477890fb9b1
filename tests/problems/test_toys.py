"""Toy shapes: each lies where its description says."""

import hashlib

import numpy as np
import pytest

from thalweg.problems import TOYS

# Digests of 200 points of seed 0 in sixteenths: what a seed gives must not change unnoticed.
DIGESTS = {
    "checkerboard": "f1fd8d396441",
    "two-moons": "9e4295c93117",
    "circles": "810f05b140ed",
    "eight-gaussians": "6a3800cd61d2",
    "eight-modes": "ca96f25df5c6",
    "two-modes": "9932d0d5aa24",
    "spiral": "7ac784fcbd9d",
    "pinwheel": "cca942225424",
    "swiss-roll": "5713fd7fdcc0",
}


@pytest.mark.parametrize("name", TOYS)
def test_shapes_labels_and_digest(name):
    x, labels = TOYS[name](np.random.default_rng(0), 200)
    assert x.shape == (200, 2)
    assert np.isfinite(x).all()
    assert labels is None or (labels.shape == (200,) and labels.min() == 0)
    assert hashlib.sha256(np.round(16 * x).astype(np.int32).tobytes()).hexdigest()[:12] == DIGESTS[name]


def draw(name, n=20_000):
    return TOYS[name](np.random.default_rng(1), n)


def test_checkerboard_fills_dark_squares_evenly():
    x, _ = draw("checkerboard")
    cells = np.floor((x + 4) / 2).astype(int)
    assert ((cells.sum(1) % 2) == 0).all()
    counts = np.bincount(4 * cells[:, 0] + cells[:, 1], minlength=16)
    assert (counts > 0).sum() == 8
    assert abs(counts[counts > 0] / len(x) - 1 / 8).max() < 0.015


def test_circles_and_gaussians_have_their_radii():
    x, labels = draw("circles")
    radius = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose([radius[labels == 0].mean(), radius[labels == 1].mean()], [1, 2], atol=0.01)
    x, labels = draw("eight-gaussians")
    np.testing.assert_allclose(np.linalg.norm(x[labels == 3].mean(0)), 4, atol=0.05)
    np.testing.assert_allclose(x[labels == 3].std(0), 0.3, atol=0.02)


def test_moons_are_on_their_arcs():
    x, labels = draw("two-moons")
    centre = np.where(labels[:, None] == 0, [0.0, 0.0], [1.0, 0.5])
    np.testing.assert_allclose(np.linalg.norm(x - centre, axis=1).mean(), 1, atol=0.01)
    assert x[labels == 0, 1].mean() > 0.5 > 0 > x[labels == 1, 1].mean()


def test_spiral_and_pinwheel_turn_onto_themselves():
    for name, turn in (("spiral", np.pi), ("pinwheel", 2 * np.pi / 5)):
        x, labels = draw(name)
        c, s = np.cos(turn), np.sin(turn)
        turned = x[labels == 0].mean(0) @ np.array([[c, s], [-s, c]])
        np.testing.assert_allclose(turned, x[labels == 1].mean(0), atol=0.08)
        assert np.linalg.norm(x[labels == 0].mean(0)) > 0.25


def test_swiss_roll_is_a_spiral_of_growing_radius():
    x, _ = draw("swiss-roll")
    radius = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose([radius.min(), radius.max()], [0.3 * 1.5 * np.pi, 0.3 * 4.5 * np.pi], atol=0.5)


@pytest.mark.parametrize("name", ["two-modes", "eight-modes"])
def test_mixtures_agree_with_their_densities(name):
    from thalweg.problems import eight_modes, two_modes

    x, labels = draw(name)
    mixture = {"two-modes": two_modes, "eight-modes": eight_modes}[name]()
    np.testing.assert_allclose(x.mean(0), mixture.mean, atol=0.08)
    np.testing.assert_allclose(np.cov(x.T), mixture.covariance, atol=0.2)
    np.testing.assert_allclose(np.bincount(labels) / len(x), mixture.weights, atol=0.015)
