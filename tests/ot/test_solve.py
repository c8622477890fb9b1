"""The front door: it chooses, it falls back, it says what it did, and it transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status, StatusError
from thalweg.ot import KL, Sinkhorn, SinkhornNewton, Transport, exact, solve
from thalweg.ot import solve as front

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 2)), RNG.normal(size=(40, 2)) * [1.5, 0.5] + [0.5, -1]
A, B = RNG.dirichlet(np.full(30, 3.0)), RNG.dirichlet(np.full(40, 3.0))


def problem(x=X, y=Y, **options):
    return Transport.points(jnp.asarray(x), jnp.asarray(y), A, B, **options)


@pytest.mark.parametrize("relative", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_every_rung_converges_and_approaches_the_exact_cost(relative, x64):
    top = float(problem().geometry.extremes()[1])
    found = solve(problem(), relative * top)
    assert found.converged
    assert float(found.marginal_error) < 1e-5
    assert abs(float(found.duality_gap)) < 1e-4 * float(found.value)
    best = float(exact(problem()).value)
    assert best - 1e-6 <= float(found.transport_cost) <= best + relative * top * np.log(1200) + 1e-6
    assert ("Newton" in found.method) == (int(found.newton_steps) > 0)
    assert (int(found.newton_steps) > 0) == (relative < 5e-5)


def test_it_prints_what_it_found(x64):
    text = str(solve(problem(), 0.5))
    for part in ("W2 squared", "converged", "marginal error", "duality gap", "sweeps"):
        assert part in text, text
    np.testing.assert_allclose(solve(problem(), 0.01).distance ** 2, solve(problem(), 0.01).transport_cost)
    with pytest.raises(InputError, match=r"only a squared distance has a root"):
        _ = solve(problem(cost="euclidean"), 0.5).distance


def test_a_matrix_gets_newton_steps_earlier_than_a_cloud(x64):
    top = float(problem().geometry.extremes()[1])
    cloud, matrix = (solve(p, 1e-3 * top) for p in (problem(), problem().stored()))
    assert (cloud.method, matrix.method) == ("Sinkhorn", "SinkhornNewton")
    np.testing.assert_allclose(cloud.value, matrix.value, rtol=1e-6)


def test_where_sinkhorn_is_slow_newton_goes_on(x64, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["thalweg.ot.solve"], "PATIENCE", 5)
    found = front(problem(), 0.2, tolerance=1e-9)
    assert found.method == "Sinkhorn, then SinkhornNewton"
    assert found.converged
    assert int(found.sinkhorn_steps) >= 5
    assert int(found.newton_steps) > 0


def test_what_does_not_converge_is_refused_with_what_there_is(x64):
    with pytest.raises(StatusError, match=r"Sinkhorn at epsilon 0.05: marginal error .* max_steps") as caught:
        solve(problem(), 0.05, method=Sinkhorn(0.05, 1e-12), max_steps=3)
    assert float(caught.value.result.marginal_error) > 1e-6
    left = solve(problem(), 0.05, method=Sinkhorn(0.05, 1e-12), max_steps=3, throw=False)
    assert left.status == Status.max_steps
    assert "NOT converged" in str(left)


def test_single_precision_is_refused_where_it_cannot_resolve():
    x, y = (jnp.asarray(z, jnp.float32) for z in (X, Y))
    top = float(Transport.points(x, y).geometry.extremes()[1])
    for relative in (1e-3, 1e-5, 1e-7):
        found = solve(Transport.points(x, y), relative * top, throw=False)
        assert bool(found.converged) or found.status in (Status.precision, Status.max_steps)
        assert np.isfinite(float(found.marginal_error))
        assert np.isfinite(float(found.value))


def test_translations_scalings_permutations_and_sides(x64):
    base = solve(problem(), 0.3, tolerance=1e-11)
    shift = jnp.asarray([3.0, -1.0])
    moved = solve(problem(X + shift, Y + shift), 0.3, tolerance=1e-11)
    np.testing.assert_allclose(moved.value, base.value, rtol=1e-9)
    scaled = solve(problem(3 * X, 3 * Y), 2.7, tolerance=1e-11)
    np.testing.assert_allclose(scaled.value, 9 * base.value, rtol=1e-9)
    order = RNG.permutation(30)
    mixed = solve(Transport.points(X[order], Y, A[order], B), 0.3, tolerance=1e-11)
    np.testing.assert_allclose(mixed.plan.matrix, base.plan.matrix[order], atol=1e-10)
    turned = solve(problem().T, 0.3, tolerance=1e-11)
    np.testing.assert_allclose(turned.plan.matrix.T, base.plan.matrix, atol=1e-10)
    # Carrying one cloud by a further shift d adds |d|^2 + 2 d.(mean y - mean x) exactly: no entropy is involved.
    further = solve(problem(X, Y + shift), 0.3, tolerance=1e-11)
    gain = shift @ shift + 2 * shift @ (B @ Y - A @ X)
    np.testing.assert_allclose(further.value - base.value, gain, rtol=1e-9)


def test_gaussians_have_the_closed_form(x64):
    # Entropic transport between N(m, s^2) and N(n, r^2) on a fine grid, with eps KL(P | a x b) and squared distance.
    grid = jnp.linspace(-9, 9, 500)
    law = lambda m, s: jax.nn.softmax(-0.5 * ((grid - m) / s) ** 2)  # noqa: E731
    m, s, n, r, eps = -0.5, 0.7, 1.0, 1.6, 0.8
    found = solve(Transport((grid[:, None] - grid) ** 2, law(m, s), law(n, r)), eps, tolerance=1e-12)
    h = eps / 2
    root = np.sqrt(4 * s**2 * r**2 + h**2)
    closed = (m - n) ** 2 + s**2 + r**2 - root + h * (1 - np.log(2 * h) + np.log(root + h))
    np.testing.assert_allclose(found.value, closed, rtol=2e-5)  # the ends of the grid
    assert abs(float(found.value) / (closed + 2 * h * np.log(2)) - 1) > 1e-2  # a twin: another normalisation


def test_unbalanced_mass_has_the_closed_form(x64):
    # One point against one point at cost c: the mass p solves p^(eps + 2 rho) = e^-c a^(eps + rho) b^(eps + rho).
    c, a, b, rho, eps = 0.9, 1.4, 0.6, 0.7, 0.3
    one = Transport(jnp.asarray([[c]]), jnp.asarray([a]), jnp.asarray([b]), KL(rho), KL(rho))
    p = float(solve(one, eps, tolerance=1e-12).plan.matrix[0, 0])
    expected = np.exp((-c + (eps + rho) * np.log(a * b)) / (eps + 2 * rho))
    np.testing.assert_allclose(p, expected, rtol=1e-8)
    assert abs(p / np.exp((-c + rho * np.log(a * b)) / (eps + 2 * rho)) - 1) > 1e-2  # a twin without the reference
    huge = solve(problem(left=KL(1e7), right=KL(1e7)), 0.3, tolerance=1e-8)
    np.testing.assert_allclose(huge.value, solve(problem(), 0.3, tolerance=1e-10).value, rtol=1e-5)


def test_pot_agrees_on_unbalanced_problems(x64):
    import ot

    found = solve(problem(left=KL(0.6), right=KL(1.7)), 0.4, tolerance=1e-11)
    cost = np.asarray(found.plan.problem.geometry.matrix())
    plan = ot.unbalanced.sinkhorn_unbalanced(
        A, B, cost, 0.4, (0.6, 1.7), stopThr=1e-14, numItermax=50_000, reg_type="kl"
    )
    np.testing.assert_allclose(found.plan.matrix, plan, atol=1e-8)


def test_it_compiles_and_vmaps(x64):
    value = lambda x: solve(problem(x), 0.4, tolerance=1e-10).value  # noqa: E731
    xs = jnp.stack([X, X + 0.3])
    singles = [float(value(x)) for x in xs]
    np.testing.assert_allclose(jax.vmap(value)(xs), singles, rtol=1e-8)
    np.testing.assert_allclose(jax.jit(value)(xs[1]), singles[1], rtol=1e-8)
    newton = lambda x: solve(problem(x), 0.01, method=SinkhornNewton(0.01, 1e-10)).value  # noqa: E731
    np.testing.assert_allclose(jax.vmap(newton)(xs)[1], newton(xs[1]), rtol=1e-8)


def test_warm_starts_save_sweeps(x64):
    first = solve(problem(), 0.1, tolerance=1e-8)
    again = solve(problem(X + 0.001 * RNG.normal(size=X.shape)), 0.1, tolerance=1e-8, warm=first.potentials)
    assert int(again.sinkhorn_steps) < int(first.sinkhorn_steps)


def test_single_points_and_zero_mass(x64):
    one = solve(Transport.points(jnp.asarray([[1.0, 2.0]]), jnp.asarray(Y)), 0.1)
    np.testing.assert_allclose(one.plan.matrix, 1 / 40)
    with pytest.raises(InputError, match=r"positive regularisation"):
        solve(problem(), -0.1)
