"""Paths: even spacing keeps the line, loops go, bumps leave the ends alone."""

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.rare import arclength, lengths, resample, spacing, straight
from thalweg.rare.path import bump, sharpest, untangled


def quarter(n, power=1.0):
    angle = 0.5 * np.pi * np.linspace(0, 1, n) ** power
    return jnp.asarray(np.stack([2 * np.cos(angle), 2 * np.sin(angle)], 1))


def test_lengths_and_arclength():
    path = jnp.asarray([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [3.0, 5.0]])
    np.testing.assert_allclose(lengths(path), [5, 0, 1])
    np.testing.assert_allclose(arclength(path), [0, 5, 5, 6])
    grads = jax.grad(lambda p: jnp.sum(lengths(p) ** 2))(path)
    assert np.isfinite(grads).all()


def test_an_uneven_path_is_laid_out_on_the_same_line(x64):
    even = resample(quarter(4001, 2.0), 41)
    assert float(spacing(even)) < 1.001
    np.testing.assert_allclose(even, quarter(41), atol=1e-5)
    np.testing.assert_array_equal(even[0], quarter(2)[0])
    # Even paths stay what they are.
    np.testing.assert_allclose(resample(even, 41), even, atol=1e-6)


def test_fields_are_paths_too():
    path = jnp.arange(24.0).reshape(4, 2, 3)
    np.testing.assert_allclose(resample(path, 4), path, rtol=1e-6)
    assert resample(path, 7).shape == (7, 2, 3)


def test_a_path_that_does_not_move_has_a_layout():
    path = jnp.ones((5, 2))
    np.testing.assert_array_equal(resample(path, 9), jnp.ones((9, 2)))
    assert np.isfinite(float(spacing(path)))


def test_loops_are_taken_out():
    line = straight(jnp.zeros(2), jnp.asarray([4.0, 1.0]), 13)
    folded = line.at[5].set(line[7]).at[7].set(line[5])
    assert float(sharpest(line)) > 0.999
    assert float(sharpest(folded)) < -0.999
    assert float(sharpest(untangled(folded))) > 0.999
    np.testing.assert_array_equal(untangled(folded)[jnp.asarray([0, -1])], line[jnp.asarray([0, -1])])


def test_a_bump_leaves_the_ends_alone(key):
    found = bump(jnp.zeros((3, 2)), 11, lambda x: x, key=key)
    assert found.shape == (11, 3, 2)
    assert float(jnp.abs(found[0]).max()) == float(jnp.abs(found[-1]).max()) == 0
    assert float(jnp.abs(found[1:-1]).max()) > 0
