"""Jump rates against their limits, the law that they keep against Gibbs', points between cells; what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import AbstractCorrelated, Diffusion, InputError
from thalweg.processes import OU, Faces, Grid, assemble, faces, generator, invariant


def test_rates_are_those_of_the_generator(x64):
    """Columns sum to zero, nothing off the diagonal is negative, in three dimensions and without noise on an axis."""
    process = OU(jnp.asarray([1.0, 0.5, 0.8]), 0.1, jnp.asarray([0.5, 0.0, 0.7]))
    A = generator(process, Grid((-1.0, -1.0, -2.0), (1.5, 1.0, 2.0), (5, 4, 6), (False, False, True)))
    assert np.abs(A.sum(axis=0)).max() < 1e-12
    off = A.toarray() - np.diag(A.diagonal())
    assert off.min() == 0
    assert ((off > 0).sum(axis=0) <= 6).all()
    # Every limit of the exponential fitting meets its neighbour.
    u, D, h = np.asarray([1e-4, -1e-4, 2.0, -2.0, 0.0]), np.asarray([0.3, 0.3, 0.3, 0.0, 0.3]), 0.1
    f = Faces(np.zeros(5, int), np.ones(5, int), u, D, h)
    right, left = f.rates()
    np.testing.assert_allclose(h * (right - left), u, atol=1e-12)
    np.testing.assert_allclose((right[:3] / left[:3])[[0, 2]], np.exp(u * h / 0.3)[[0, 2]], rtol=1e-9)
    assert right[3] == 0
    np.testing.assert_allclose(f.added()[3], 0.1)


def test_the_law_that_is_kept_is_accurate_where_it_is_small(x64):
    """Linear drift at the faces gives Gibbs' law exactly: every cell to round-off, over two hundred orders."""
    grid = Grid((-9.5,), (10.5,), (200,))
    A = generator(OU(1.0, 0.3, 0.6), grid)
    x = grid.axis(0)
    log_p = -((x - 0.3) ** 2) / 0.36
    found = np.log(invariant(A))
    np.testing.assert_allclose(found - found.max(), log_p - log_p.max(), atol=1e-8)
    assert found.min() < -230
    assert np.abs(A @ invariant(A)).max() < 1e-12 * np.abs(A.data).max()


def test_noise_that_depends_on_place_moves_the_flux(x64):
    """u = b - dD/dx, an axis at a time."""
    process = Diffusion(lambda t, x: x**2 - t, lambda t, x: 0.5 + 0.2 * x**2)
    grid = Grid((-1.0, 0.0), (1.0, 2.0), (4, 3))
    for axis, f in enumerate(faces(process, grid, 0.7)):
        points, *_ = grid.faces(axis, np.arange(12).reshape(4, 3))
        z = points[:, axis]
        g = 0.5 + 0.2 * z**2
        np.testing.assert_allclose(f.D, 0.5 * g**2, rtol=1e-12)
        np.testing.assert_allclose(f.u, z**2 - 0.7 - g * 0.4 * z, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(assemble(faces(process, grid, 0.7), grid).toarray(),
                                  generator(process, grid, 0.7).toarray())  # fmt: skip


def test_points_between_the_middles_of_cells():
    grid = Grid((-1.0, 0.0), (2.0, 1.0), (6, 5))
    values = 2 * grid.centres[:, 0] - 3 * grid.centres[:, 1] + 0.4
    x = np.asarray([[[0.3, 0.4], [1.1, 0.77]], [[-0.6, 0.2], [5.0, 0.5]]])
    got = grid.between(values, x)
    want = 2 * x[..., 0] - 3 * x[..., 1] + 0.4
    want[1, 1] = np.nan
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert grid.between(values.reshape(6, 5), x[0, 0]).shape == ()


class Turned(AbstractCorrelated):
    """Noise mixed by a matrix."""

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return jnp.asarray([[1.0, 0.2], [0.0, 0.5]])


def test_what_is_refused():
    for fields, told in (
        (((0.0,), (0.0,), (10,)), "lower < upper"),
        (((0.0,), (1.0,), (2,)), "at least 3"),
        (((0.0, 0.0), (1.0, 1.0), (10,)), "one length"),
        (((0.0,) * 4, (1.0,) * 4, (4,) * 4), "1 to 3 axes"),
    ):
        with pytest.raises(InputError, match=told):
            Grid(*fields)
    with pytest.raises(InputError, match="coordinate by coordinate"):
        generator(Turned(), Grid((-3.0, -3.0), (4.0, 3.0), (20, 27)))
    broken = Diffusion(lambda t, x: jnp.where(x > 2, jnp.nan, -x), lambda t, x: 1.0)
    with pytest.raises(InputError, match=r"at t = 0, x = \(2\.\d+\) the drift is nan"):
        generator(broken, Grid((-3.0,), (4.0,), (20,)))
    still = OU(0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="not unique"):
        invariant(generator(still, Grid((0.0,), (1.0,), (10,))))
