"""Families of functions: periods, closed-form moments, where units are, and which of their parameters move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.pde import DensityUnits, GaussianUnits, PeriodicMLP, PeriodicUnits, amplitudes, moving

MIXTURE = (
    np.asarray([0.8, -0.5]),
    np.log(np.asarray([[0.5, 0.9], [0.7, 0.4]])),
    np.asarray([[0.3, -0.2], [1.1, 0.6]]),
)


def mixture(kind, dtype=np.float32):
    return kind(*(jnp.asarray(a, dtype) for a in MIXTURE))


def waves():
    box = jnp.asarray([2.0, 3.0])
    return PeriodicUnits(jnp.asarray([0.7, -1.2]), jnp.asarray([1.5, 4.0]), jnp.asarray([[0.3, 0.2], [1.5, 2.5]]), box)


@pytest.mark.parametrize("make", [waves, lambda: PeriodicMLP(2, jnp.asarray([2.0, 3.0]), key=jax.random.key(1))])
def test_periodic_functions_have_their_period_and_no_shorter_one(make):
    u, x = make(), jnp.asarray([0.4, 1.3])
    for move, same in (([2.0, 0.0], True), ([0.0, 3.0], True), ([4.0, -3.0], True), ([3.0, 0.0], False)):
        assert (abs(float(u(x + jnp.asarray(move)) - u(x))) < 1e-5) is same, move


def test_points_that_are_numbers():
    u = PeriodicUnits.random(3, -1.0, 2.0, key=jax.random.key(0))
    net = PeriodicMLP(0, 3.0, key=jax.random.key(0))
    for f in (u, net):
        assert f(jnp.asarray(0.3)).shape == ()
        np.testing.assert_allclose(f(jnp.asarray(0.3)), f(jnp.asarray(3.3)), rtol=1e-4, atol=1e-5)
    assert u.draw(7, key=jax.random.key(1)).shape == (7,)
    wide = PeriodicUnits.random(3, 0.0, 1.0, period=5.0, key=jax.random.key(0))
    assert float(wide.period) == 5.0
    assert bool((wide.centre <= 1).all())


def test_mass_and_moments_of_a_density_are_those_of_a_quadrature(x64):
    u = mixture(DensityUnits, np.float64)
    axis = jnp.linspace(-6.0, 7.0, 301)
    x = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    w = jax.vmap(u)(x) * (axis[1] - axis[0]) ** 2
    assert float(w.min()) >= 0
    np.testing.assert_allclose(u.mass, w.sum(), rtol=1e-9)
    np.testing.assert_allclose(u.mass, 0.8**2 + 0.5**2)
    mean = w @ x / w.sum()
    np.testing.assert_allclose(u.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(u.cov, (w[:, None] * (x - mean)).T @ (x - mean) / w.sum(), rtol=1e-8)


def test_gaussian_units_are_the_density_without_its_volume(x64):
    density, plain, x = mixture(DensityUnits, np.float64), mixture(GaussianUnits, np.float64), jnp.asarray([0.5, 0.1])
    volume = 2 * np.pi * np.exp(MIXTURE[1].sum(1))
    same = GaussianUnits(jnp.asarray(MIXTURE[0] ** 2 / volume), plain.log_scale, plain.centre)
    np.testing.assert_allclose(density(x), same(x), rtol=1e-12)
    # Round units, with one width each.
    narrow = GaussianUnits(plain.amplitude, plain.log_scale[:, :1], plain.centre)
    wide = GaussianUnits(plain.amplitude, jnp.repeat(plain.log_scale[:, :1], 2, 1), plain.centre)
    assert float(narrow(x)) == float(wide(x))
    assert narrow.widths.shape == (2, 2)


@pytest.mark.parametrize("make", [lambda: mixture(DensityUnits), waves], ids=["density", "waves"])
def test_draws_come_from_the_units(make):
    u, n, spread = make(), 4000, 1.7
    x = np.asarray(u.draw(n, spread, key=jax.random.key(3)), float)
    for i in range(2):
        mine = x[i::2]
        width = spread * np.broadcast_to(np.asarray(u.widths, float), (2, 2))[i]
        assert_z(mine.mean(0), np.asarray(u.centre[i], float), width / np.sqrt(n / 2))
        assert_z(mine.var(0), width**2, width**2 * np.sqrt(2 / (n / 2)))


def test_the_width_of_a_sharp_periodic_unit_is_that_of_its_bump(x64):
    u = PeriodicUnits(jnp.ones(1), jnp.asarray([12.0]), jnp.asarray([0.4]), 3.0)
    x = jnp.linspace(-1.1, 1.9, 4001)[:-1]
    w = jax.vmap(u)(x)
    np.testing.assert_allclose(jnp.sqrt(w @ (x - 0.4) ** 2 / w.sum()), u.widths[0], rtol=1e-2)
    flat = PeriodicUnits(jnp.ones(1), jnp.asarray([1e-3]), jnp.asarray([0.4]), 3.0)
    assert float(flat.widths[0]) == 1.5


def test_around_has_the_moments_that_were_asked_for():
    u = DensityUnits.around([0.3, 2.0], [0.2, 0.5], 400, jitter=0.5, key=jax.random.key(0))
    np.testing.assert_allclose(u.mass, 1.0, rtol=1e-5)
    np.testing.assert_allclose(u.mean, [0.3, 2.0], atol=0.05)
    np.testing.assert_allclose(jnp.sqrt(jnp.diag(u.cov)), [0.2, 0.5], rtol=0.1)
    assert float(DensityUnits.around([0.3, 2.0], 0.2, 3, key=jax.random.key(0)).centre.std(0).max()) == 0


def test_what_moves():
    u = waves()
    assert [moving(u).amplitude, moving(u).centre, moving(u).period] == [True, True, False]
    spec = amplitudes(u)
    assert [spec.amplitude, spec.sharpness, spec.centre, spec.period] == [True, False, False, False]
    net = moving(PeriodicMLP(1, 2.0, key=jax.random.key(0)))
    assert net.layers[0].weight
    assert not net.period
    with pytest.raises(InputError, match="expected units"):
        amplitudes(PeriodicMLP(1, 2.0, key=jax.random.key(0)))


def test_bad_input():
    with pytest.raises(InputError, match="period"):
        PeriodicUnits(jnp.ones(2), jnp.ones(2), jnp.ones(2), -1.0)
    with pytest.raises(InputError, match="depth=0"):
        PeriodicMLP(1, 2.0, depth=0, key=jax.random.key(0))
