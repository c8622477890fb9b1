"""Grids of images: where each pixel goes, and what range means."""

import io

import numpy as np
import pytest
from PIL import Image

from thalweg.report import data_uri, grid, sample_png


def test_grey_is_ink_on_nothing():
    images = np.array([[[0.0, 2.0], [4.0, 8.0]]] * 3)
    images[1] *= 0.5
    pixels = grid(images, 2)
    size = (pixels.shape[0] - 16) // 2
    assert pixels.shape == (2 * size + 16, 2 * size + 16, 4)
    assert not pixels[..., :3].any()
    first, second = pixels[:size, :size, 3], pixels[:size, size + 16 :, 3]
    half = size // 2
    np.testing.assert_array_equal(first[::half, ::half], [[0, 64], [128, 255]])
    np.testing.assert_array_equal(second[::half, ::half], [[0, 32], [64, 128]])
    # The gap and the place of the missing fourth are empty.
    assert not pixels[size : size + 16].any()
    assert not pixels[size + 16 :, size + 16 :].any()


def test_limits_are_shared_and_clip():
    pixels = grid(np.full((1, 4, 4), 9.0), 1, limits=(0.0, 3.0))
    assert (pixels[..., 3] == 255).all()


def test_colours_stay():
    images = np.zeros((1, 4, 5, 3))
    images[..., 1] = 1.0
    pixels = grid(images, 1)
    assert (pixels == [0, 255, 0, 255]).all()


@pytest.mark.parametrize("event", [(8, 8), (8, 6, 1), (5, 7, 3)])
def test_files_and_addresses(event):
    images = np.random.default_rng(0).uniform(size=(13, *event))
    picture = np.asarray(Image.open(io.BytesIO(sample_png(images))))
    assert picture.shape[2] == 3
    # Nothing is white paper.
    assert (picture[0, -1] > 0).all() or picture.std() > 0
    assert data_uri(grid(images, 4)).startswith("data:image/png;base64,")
