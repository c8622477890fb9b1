"""Fits of a start: exact where they can be, told apart where they cannot, refused where they are poor."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status, StatusError
from thalweg.pde import GaussianUnits, PeriodicUnits, fit_start, relative_error

GRID = np.linspace(-1.0, 3.0, 121)[:-1]


def start(key):
    return PeriodicUnits.random(3, -1.0, 3.0, width=0.15, key=key)


def wave(x):
    return 0.7 * jnp.exp(-8 * jnp.sin(jnp.pi * (x - 0.4) / 4) ** 2) - 0.3 * jnp.exp(
        -30 * jnp.sin(jnp.pi * (x - 1.9) / 4) ** 2
    )


def test_a_function_of_the_family_is_found_to_rounding(key, x64):
    found = fit_start(start, wave, jnp.asarray(GRID), key=key, restarts=6, steps=150)
    assert found.status == Status.converged
    assert float(found.error) < 1e-8
    assert found.errors.shape == (6,)
    # Restarts end in different minima, so that one alone is a gamble.
    assert float(found.errors.max()) > 100 * float(found.error)
    between = jnp.asarray(GRID + 0.013)
    assert float(relative_error(found.u, wave, between)) < 1e-7


def test_the_fit_moves_with_its_target(key, x64):
    """Shifted points and target, and starts that go along: the same errors."""
    numbers = {"key": key, "restarts": 2, "steps": 15, "polish": 0, "throw": False}

    def along(key):
        u = start(key)
        return eqx.tree_at(lambda q: q.centre, u, u.centre + 0.7)

    one = fit_start(start, wave, jnp.asarray(GRID), **numbers)
    two = fit_start(along, lambda x: wave(x - 0.7), jnp.asarray(GRID + 0.7), **numbers)
    np.testing.assert_allclose(two.errors, one.errors, rtol=1e-6)


def test_polishing_does_not_hurt(key):
    args = (start, wave, jnp.asarray(GRID, jnp.float32))
    rough = fit_start(*args, key=key, restarts=3, steps=10, polish=0, throw=False)
    fine = fit_start(*args, key=key, restarts=3, steps=10, polish=40, throw=False)
    assert float(fine.error) <= float(rough.error)
    np.testing.assert_array_equal(rough.errors, fine.errors)
    assert fine.u.amplitude.dtype == jnp.float32


def test_a_poor_fit_is_refused(key):
    steep = lambda x: jnp.sign(x - 0.3)  # noqa: E731
    one = lambda k: GaussianUnits.random(1, [-1.0], [3.0], key=k)  # noqa: E731
    points, target = jnp.asarray(GRID, jnp.float32)[:, None], lambda x: steep(x[0])
    with pytest.raises(StatusError, match=r"relative error of 0\.\d+, asked for 0\.01"):
        fit_start(one, target, points, key=key, restarts=2, steps=20, polish=0)
    found = fit_start(one, target, points, key=key, restarts=2, steps=20, polish=0, throw=False)
    assert found.status == Status.max_steps


def test_bad_input(key):
    points = jnp.asarray(GRID, jnp.float32)
    with pytest.raises(InputError, match="restarts=0"):
        fit_start(start, wave, points, key=key, restarts=0)
    with pytest.raises(InputError, match="zero"):
        fit_start(start, lambda x: 0.0 * x, points, key=key)
