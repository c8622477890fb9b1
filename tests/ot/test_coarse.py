"""Cells carry the mass of their points, and what starts from them ends where a cold start ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.ot import (
    KL,
    PointCloud,
    Sinkhorn,
    SinkhornNewton,
    SquaredEuclidean,
    Transport,
    coarse,
    coarsened,
    refined,
    solve,
)
from thalweg.ot.coarse import LARGE, descend, ladder

RNG = np.random.default_rng(0)
N, M = 600, 300
X, Y = RNG.normal(size=(N, 2)), RNG.normal(size=(M, 2)) * [1.5, 0.5] + [0.5, -1]
A, B = RNG.dirichlet(np.full(N, 3.0)), RNG.dirichlet(np.full(M, 3.0))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(coarse, "FEWEST", 100)


def problem(**options):
    return Transport.points(jnp.asarray(X), jnp.asarray(Y), A, B, **options)


def test_cells_have_the_mass_and_the_mean_of_their_points(x64):
    cells = coarsened(problem(), 1)
    cloud = cells.geometry
    assert isinstance(cloud, PointCloud)
    assert cloud.x.shape == (*cells.a.shape, 2) == (128, 2)
    np.testing.assert_allclose(cells.a.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(cells.a @ cloud.x, A @ X, rtol=1e-10)
    # Cells are small: hardly any variance is lost; the twin, means of points at random, would lose most of it.
    kept = float(cells.a @ (cloud.x - A @ X) ** 2 @ jnp.ones(2)) / float(A @ (X - A @ X) ** 2 @ np.ones(2))
    assert 0.95 < kept < 1
    assert cloud.y.shape == (64, 2)


def test_permuting_and_moving_the_points_moves_the_cells(x64):
    # A number of points that cells divide: otherwise the cells of the last points depend on the order.
    n, shift = 512, jnp.asarray([3.0, -2.0])
    order, a = RNG.permutation(n), A[:n] / A[:n].sum()
    base = coarsened(Transport.points(X[:n], Y, a, B), 1)
    turned = coarsened(Transport.points(X[order] + shift, Y + shift, a[order], B), 1)
    first, second = (
        np.sort(np.column_stack([p.geometry.x - s, p.a]), axis=0) for p, s in ((base, 0.0), (turned, shift))
    )
    np.testing.assert_allclose(second, first, atol=1e-12)


@pytest.mark.parametrize(
    ("cost", "sides"),
    [("squared-euclidean", {}), ("squared-euclidean", {"left": KL(0.9), "right": KL(0.5)}), ("euclidean", {})],
)
def test_the_answer_is_that_of_a_cold_start_in_fewer_sweeps(cost, sides, x64):
    p = problem(cost=cost, **sides)
    cold = solve(p, 0.3, tolerance=1e-7, rungs=0)
    warm = solve(p, 0.3, tolerance=1e-7, rungs=1)
    assert warm.converged
    np.testing.assert_allclose(warm.value, cold.value, rtol=1e-7)
    np.testing.assert_allclose(warm.transport_cost, cold.transport_cost, rtol=1e-6)
    assert int(warm.sinkhorn_steps) < int(cold.sinkhorn_steps)
    assert warm.method == "Sinkhorn, after 1 coarser"


def test_newton_steps_start_from_cells_too(x64):
    newton = SinkhornNewton(0.03, tolerance=1e-6)
    cold, warm = (solve(problem(), 0.03, method=newton, rungs=r) for r in (0, 1))
    assert warm.method == "SinkhornNewton, after 1 coarser"
    np.testing.assert_allclose(warm.value, cold.value, rtol=1e-6)
    assert int(warm.newton_steps) < int(cold.newton_steps)


def test_it_compiles_and_differentiates(x64):
    slope = lambda rungs: jax.grad(  # noqa: E731
        lambda s: solve(Transport.points(s * X, Y, A, B), 0.5, tolerance=1e-9, rungs=rungs).value
    )
    np.testing.assert_allclose(jax.jit(slope(1))(1.0), slope(0)(1.0), rtol=1e-7)


def test_refining_is_half_a_sweep_from_the_cells(x64):
    fine, cells = problem(), coarsened(problem(), 1)
    found = solve(cells, 0.3, tolerance=1e-8)
    start = refined(fine, cells, found.potentials, jnp.asarray(0.3))
    cloud = cells.geometry
    assert isinstance(cloud, PointCloud)
    cost = SquaredEuclidean().matrix(jnp.asarray(X), cloud.y)
    expected = -0.3 * jax.nn.logsumexp((found.potentials.g - cost) / 0.3, b=cells.b, axis=1)
    np.testing.assert_allclose(start.f, expected, rtol=1e-9)
    # Refining to the cells themselves is an update of converged potentials: it changes nothing but the constant.
    again = refined(cells, cells, found.potentials, jnp.asarray(0.3))
    np.testing.assert_allclose(again.f, found.potentials.f, atol=1e-5)


def test_which_problems_are_coarsened():
    assert [p.geometry.shape for p in ladder(problem(), 2)] == [(64, 64), (128, 64)]
    assert ladder(problem()) == []
    assert ladder(Transport.uniform(jnp.ones((5, 5))), 2) == []
    assert ladder(problem(cost="cosine"), 1) == []
    many = jnp.zeros((5000, 3)) + jnp.arange(5000.0)[:, None]
    assert LARGE < 5000**2
    assert [p.geometry.shape for p in ladder(Transport.points(many, many))] == [(256, 256), (1024, 1024)]
    with pytest.raises(InputError, match=r"made of points"):
        coarsened(Transport.uniform(jnp.ones((5, 5))), 1)


def test_the_method_takes_over_what_was_learned(x64):
    method = descend(Sinkhorn(0.05, 1e-7), problem(), ladder(problem(), 1))
    assert method.warm is not None
    assert 1 < float(method.factor) < 2
    with pytest.raises(InputError, match=r"factor=2.5"):
        Sinkhorn(0.1, factor=2.5)
