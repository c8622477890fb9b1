"""The pieces of a dimer: curvature, the best turn, the force, and steps that stay short."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.rare import _rotation as r

HESSIAN = np.asarray([[-2.0, 0.7, 0.1], [0.7, 3.0, -0.4], [0.1, -0.4, 1.5]])


def gradient(x):
    return jnp.asarray(HESSIAN) @ x + jnp.asarray([0.3, -0.2, 0.5])


def dimer():
    axis = r.unit(jnp.asarray([0.4, 1.0, -0.3]))
    x = jnp.asarray([0.2, -0.1, 0.4])
    return x, axis, r.curved(gradient(x), gradient(x + 0.01 * axis), axis, 0.01)


def test_the_curvature_and_what_is_left_of_the_change(x64):
    _, axis, found = dimer()
    assert float(found.value) == pytest.approx(float(axis @ HESSIAN @ axis), rel=1e-10)
    np.testing.assert_allclose(found.rest, HESSIAN @ axis - found.value * axis, atol=1e-10)
    assert float(jnp.sum(found.rest * axis)) == pytest.approx(0.0, abs=1e-10)
    assert float(found.angle) == pytest.approx(0.5 * np.arctan(float(found.size) / abs(float(found.value))))


@pytest.mark.parametrize("angle", [0.02, 0.4, -0.3])
def test_the_best_turn_is_the_least_curvature_of_the_plane_from_any_trial(x64, angle):
    x, axis, found = dimer()
    found = found._replace(angle=jnp.asarray(angle))
    side = r.across(found)
    plane = np.stack([axis, side])
    least = np.linalg.eigvalsh(plane @ HESSIAN @ plane.T)[0]
    trial = gradient(x + 0.01 * r.turned(axis, side, angle))
    new, image = r.best_turn(found, gradient(x), gradient(x + 0.01 * axis), trial, axis, 0.01)
    assert float(new @ HESSIAN @ new) == pytest.approx(least, rel=1e-8)
    assert least < float(found.value)
    # The gradient there is what a call would have said.
    np.testing.assert_allclose(image, gradient(x + 0.01 * new), atol=1e-8)


def test_the_force_climbs_along_the_axis_and_falls_across_it(x64):
    g, axis = jnp.asarray([0.5, -1.0, 2.0]), r.unit(jnp.asarray([1.0, 2.0, 2.0]))
    saddle, valley = r.effective(g, axis, jnp.asarray(-1.0)), r.effective(g, axis, jnp.asarray(1.0))
    along = float(g @ axis)
    assert float(saddle @ axis) == pytest.approx(along)
    np.testing.assert_allclose(saddle - along * axis, -(g - along * axis), atol=1e-12)
    np.testing.assert_allclose(valley, along * axis, atol=1e-12)


def test_rigid_motions_are_taken_out_and_nothing_else(x64):
    chance = np.random.default_rng(0)
    for dim, motions in ((1, 1), (2, 3), (3, 6)):
        x = jnp.asarray(chance.standard_normal((4, dim)) * 2 + 1)
        eye = jnp.eye(4 * dim).reshape(4 * dim, 4, dim)
        matrix = np.stack([np.asarray(r.without_rigid(e, x, True)).ravel() for e in eye])
        np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-10)
        assert np.trace(matrix) == pytest.approx(4 * dim - motions)
        turn = jnp.asarray(np.linalg.qr(chance.standard_normal((dim, dim)))[0])
        shift = x - x @ turn * 0 + 1.0
        np.testing.assert_allclose(r.without_rigid(shift - x, x, True), 0.0, atol=1e-10)
    # Atoms on a line have no rotation about it.
    line = jnp.zeros((3, 3)).at[:, 0].set(jnp.asarray([0.0, 1.0, 2.5]))
    matrix = np.stack([np.asarray(r.without_rigid(e, line, True)).ravel() for e in jnp.eye(9).reshape(9, 3, 3)])
    assert np.trace(matrix) == pytest.approx(9 - 5)


def test_no_atom_moves_far_relative_to_its_neighbours():
    x = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    step = jnp.asarray([[0.0, 0.9], [0.0, 0.1], [1.0, 0.0]])
    got = r.limited(step, x, 0.25)
    # The first atom may move by a quarter of 1: the whole step shrinks with it.
    np.testing.assert_allclose(got, step * 0.25 / 0.9, rtol=1e-6)
    np.testing.assert_array_equal(r.limited(0.1 * step, x, 0.25), 0.1 * step)
    np.testing.assert_array_equal(r.limited(step[0], x[0], 0.25), step[0])


def test_steps_are_no_longer_than_allowed_and_start_along_the_force():
    x, force = jnp.zeros(3), jnp.asarray([3.0, -4.0, 0.0])
    none = r.no_memory(x)
    np.testing.assert_allclose(r.step_along(none, force, jnp.asarray(-1.0), 0.01, 1.0), 0.01 * force, rtol=1e-6)
    np.testing.assert_allclose(r.step_along(none, force, jnp.asarray(-1.0), 0.01, 0.02), 0.004 * force, rtol=1e-6)
    np.testing.assert_allclose(r.step_along(none, force, jnp.asarray(1.0), 0.01, 0.5), 0.1 * force, rtol=1e-6)
    # What is learnt along a direction makes Newton's step there: force -2 x over a step of 1.
    step = jnp.asarray([1.0, 0.0, 0.0])
    memory = r.learnt(none, step, jnp.zeros(3), -2 * step, jnp.asarray(-1.0))
    got = r.step_along(memory, jnp.asarray([6.0, 0.0, 0.0]), jnp.asarray(-1.0), 0.01, 100.0)
    np.testing.assert_allclose(got, [3.0, 0.0, 0.0], rtol=1e-5)
    forgotten = r.learnt(memory, step, jnp.zeros(3), -2 * step, jnp.asarray(1.0))
    assert not np.asarray(forgotten.inverse).any()
