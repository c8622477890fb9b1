"""Gromov-Wasserstein against POT, isometric copies, and what must follow when a space is changed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest

from thalweg.core import InputError, Status, StatusError, run, solve
from thalweg.ot import gromov
from thalweg.ot.gromov import (
    GromovProblem,
    GromovWasserstein,
    barycentric_map,
    gromov_loss,
    gromov_wasserstein,
    initialise_embeddings,
)

KEY = jax.random.key(0)
# Clouds without a symmetry, of unequal size, off the origin, stretched, with weights that differ.
X = jax.random.normal(jax.random.key(1), (11, 2)) * jnp.asarray([1.0, 2.5]) + 3
Y = jax.random.normal(jax.random.key(2), (8, 3)) * jnp.asarray([2.0, 0.6, 1.0]) - 1
A = jax.random.dirichlet(jax.random.key(3), jnp.full(11, 3.0))
B = jax.random.dirichlet(jax.random.key(4), jnp.full(8, 3.0))


def distances(x):
    x = np.asarray(x, np.float64)
    found = np.sqrt(((x[:, None] - x) ** 2).sum(-1))
    return jnp.asarray(found / found.max(), jnp.result_type(float))


def double(*arrays):
    return [np.asarray(x, np.float64) / (1 if np.ndim(x) == 2 else np.asarray(x, np.float64).sum()) for x in arrays]


def copy_of(x, seed):
    """The cloud turned, reflected and shuffled; row i of the copy is row order[i] of the cloud."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(x.shape[1], x.shape[1])))[0]
    order = rng.permutation(len(x))
    return (np.asarray(x) @ turn)[order], order


@pytest.mark.parametrize("epsilon", [0.3, 0.05])
def test_the_plan_and_the_value_are_those_of_pot(epsilon, x64):
    C, D = distances(X), distances(Y)
    a, b = double(A, B)
    # Without cooling both iterate from the product at the same regularisation.
    method = GromovWasserstein(epsilon, tolerance=1e-9, decay=1.0, sweeps=5000)
    found = solve(method, GromovProblem(C, D, a, b), max_steps=500, key=KEY).value
    options = dict(numItermax=20_000, stopThr=1e-12)
    expected, log = ot.gromov.entropic_gromov_wasserstein(
        *double(C, D), a, b, epsilon=epsilon, tol=1e-12, log=True, **options
    )
    np.testing.assert_allclose(found.matrix, expected, atol=1e-7)
    np.testing.assert_allclose(found.value(), log["gw_dist"], rtol=1e-6)
    # POT's regularisation is this one: at twice the regularisation, as with the 2 left out, the plan is another.
    other = solve(
        GromovWasserstein(2 * epsilon, 1e-9, 1.0, sweeps=5000), GromovProblem(C, D, a, b), max_steps=500, key=KEY
    )
    assert np.abs(np.asarray(other.value.matrix) - expected).sum() > 0.01


def test_the_fused_problem_is_that_of_pot(x64):
    C, D, (a, b) = distances(X), distances(Y), double(A, B)
    M = np.random.default_rng(0).uniform(size=(11, 8))
    method = GromovWasserstein(0.05, tolerance=1e-9, decay=1.0, sweeps=5000)
    found = solve(method, GromovProblem(C, D, a, b, linear=0.5 * M), max_steps=500, key=KEY).value.matrix
    # POT weighs alpha E + (1 - alpha) M, which at alpha of a half is half of E + M.
    expected = ot.gromov.entropic_fused_gromov_wasserstein(
        0.5 * M, *double(C, D), a, b, alpha=0.5, epsilon=0.025, tol=1e-12, numItermax=20_000, stopThr=1e-12
    )
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_the_loss_is_the_sum_over_four_indices():
    rng = np.random.default_rng(0)
    C, D, P = rng.normal(size=(5, 5)), rng.normal(size=(4, 4)), rng.uniform(size=(5, 4))
    C, D = C + C.T, D + D.T
    gaps = (C[:, None, :, None] - D[None, :, None, :]) ** 2
    expected = np.einsum("ijkl,ij,kl->", gaps, P, P)
    np.testing.assert_allclose(gromov_loss(*map(jnp.asarray, (C, D, P))), expected, rtol=1e-5)
    # Twice the sum over one pair of indices is the gradient that the method descends.
    gradient = 2 * np.einsum("ijkl,kl->ij", gaps, P)
    problem = GromovProblem(C, D)
    np.testing.assert_allclose(gromov._linearised(problem, jnp.asarray(P, jnp.float32)), gradient, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_an_isometric_copy_is_matched(seed):
    x = np.random.default_rng(100 + seed).gamma(1.0, size=(30, 3))
    y, order = copy_of(x, seed)
    found = gromov_wasserstein(distances(y), distances(x), epsilon=1e-3, key=jax.random.fold_in(KEY, seed), restarts=4)
    np.testing.assert_array_equal(np.argmax(found.plan.matrix, axis=1), order)
    assert found.status == Status.converged
    assert abs(float(found.value)) < 1e-3
    assert found.marginal_error < 1e-3
    assert found.spread >= 0


def test_the_wrong_sign_does_not_match_an_isometric_copy():
    """-D flips the sign of C P D, the only part of the linearised cost that the marginals do not fix."""
    x = np.random.default_rng(100).gamma(1.0, size=(30, 3))
    y, order = copy_of(x, 0)
    found = gromov_wasserstein(distances(y), -distances(x), epsilon=1e-3, key=KEY, restarts=4, throw=False)
    assert np.mean(np.argmax(found.plan.matrix, axis=1) == order) < 0.2


def test_scaling_the_spaces_scales_the_value():
    C, D = distances(X), distances(Y)
    plain = gromov_wasserstein(C, D, A, B, epsilon=0.02, key=KEY, restarts=1, tolerance=1e-4)
    scaled = gromov_wasserstein(3 * C, 3 * D, A, B, epsilon=0.18, key=KEY, restarts=1, tolerance=1e-4)
    np.testing.assert_allclose(scaled.plan.matrix, plain.plan.matrix, atol=2e-4)
    np.testing.assert_allclose(scaled.value, 9 * plain.value, rtol=2e-3)


def test_relabelling_and_exchanging_the_spaces():
    C, D, order = distances(X), distances(Y), np.random.default_rng(0).permutation(11)
    options = dict(epsilon=0.02, key=KEY, restarts=1, tolerance=1e-4)
    plain = gromov_wasserstein(C, D, A, B, **options)
    named = gromov_wasserstein(C[order][:, order], D, A[order], B, **options)
    np.testing.assert_allclose(named.plan.matrix, plain.plan.matrix[order], atol=2e-4)
    turned = gromov_wasserstein(D, C, B, A, **options)
    np.testing.assert_allclose(turned.plan.matrix.T, plain.plan.matrix, atol=5e-4)


def test_a_large_epsilon_gives_the_product_and_weights_of_zero_get_nothing():
    C, D = distances(X), distances(Y)
    a = A.at[2].set(0.0) / (1 - A[2])
    found = gromov_wasserstein(C, D, a, B, epsilon=1e3, key=KEY, restarts=2)
    np.testing.assert_allclose(found.plan.matrix, np.outer(a, B), atol=1e-4)
    sharp = gromov_wasserstein(C, D, a, B, epsilon=0.01, key=KEY, restarts=2).plan
    assert float(jnp.abs(sharp.matrix[2]).max()) == 0
    assert np.isfinite(sharp.objective())


def test_derivatives_at_the_plan_are_those_of_the_minimum(x64):
    """Envelope: the derivative of the least objective is that of the loss with the plan held fixed."""
    C, D, (a, b) = distances(X), distances(Y), double(A, B)
    bump = np.random.default_rng(0).normal(size=(11, 11))
    bump = bump + bump.T

    def least(step):
        problem = GromovProblem(C + step * bump, D, a, b)
        method = GromovWasserstein(0.05, tolerance=1e-9, decay=1.0, sweeps=5000)
        return solve(method, problem, max_steps=500, key=KEY).value

    slope = (least(1e-4).objective() - least(-1e-4).objective()) / 2e-4
    expected = jnp.sum(jax.grad(gromov_loss)(C, D, least(0.0).matrix) * bump)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_a_symmetric_space_needs_the_noise():
    """On a ring the product is a saddle, which the run without noise cannot leave."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    C = distances(np.stack([np.cos(angle), np.sin(angle)], 1))
    found = gromov_wasserstein(C, C, epsilon=2e-3, key=KEY, restarts=6)
    assert found.value < 1e-3
    assert found.values.shape == (6,)
    # One of the 24 isometries of the ring.
    match = np.argmax(found.plan.matrix, axis=1)
    assert len(set(match.tolist())) == 12
    np.testing.assert_allclose(C[match][:, match], C, atol=1e-5)
    still = gromov_wasserstein(C, C, epsilon=2e-3, key=KEY, restarts=1)
    assert still.value > 10 * found.value


@pytest.mark.parametrize("epsilon", [1e-9, 1e-20, 1e-38])
def test_too_small_an_epsilon_refuses_without_a_nan(epsilon):
    x = np.random.default_rng(3).normal(size=(12, 2))
    y = np.random.default_rng(4).normal(size=(15, 2))
    found = gromov_wasserstein(distances(x), distances(y), epsilon=epsilon, key=KEY, restarts=3, throw=False)
    assert found.status in (Status.max_steps, Status.precision, Status.nonfinite)
    assert found.plan.epsilon > epsilon
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(eqx.filter(found, eqx.is_inexact_array)))
    np.testing.assert_allclose(
        found.marginal_error,
        np.abs(found.plan.matrix.sum(1) - 1 / 12).sum() + np.abs(found.plan.matrix.sum(0) - 1 / 15).sum(),
        atol=1e-5,
    )
    with pytest.raises(StatusError, match=r"best of 3 runs: marginal error"):
        gromov_wasserstein(distances(x), distances(y), epsilon=epsilon, key=KEY, restarts=3)


def test_a_smaller_step_reaches_the_same_plan():
    problem = GromovProblem(distances(X), distances(Y), A, B)
    whole = solve(GromovWasserstein(0.03, 1e-4), problem, max_steps=300, key=KEY).value
    half = solve(GromovWasserstein(0.03, 1e-4, step_size=0.5), problem, max_steps=300, key=KEY).value
    np.testing.assert_allclose(half.matrix, whole.matrix, atol=1e-3)


def test_the_objective_falls_when_the_regularisation_stays(x64):
    """On squared distances E is concave on the plans, where mirror descent cannot go up."""
    C, D = distances(X) ** 2, distances(Y) ** 2
    problem = GromovProblem(C, D, *double(A, B))
    method = GromovWasserstein(0.02, 1e-9, decay=1.0, sweeps=5000)
    ends, state = [], None
    for _ in range(5):
        result = run(method, problem, steps=1, key=KEY, state=state)
        ends, state = [*ends, result.value.objective()], result.state
    assert (np.diff(ends) < 0).all()


def test_the_map_of_an_isometric_copy_returns_the_embeddings():
    x = np.random.default_rng(7).gamma(1.0, size=(25, 4)).astype(np.float32)
    y, order = copy_of(x, 5)
    found = initialise_embeddings(7 * y, x, epsilon=5e-4, key=KEY, restarts=4)
    np.testing.assert_allclose(found.embeddings, x[order], atol=0.05)
    np.testing.assert_allclose(
        found.embeddings, barycentric_map(found.gromov.plan.matrix, jnp.full(25, 1 / 25), jnp.asarray(x)), rtol=1e-5
    )
    # A plan that says nothing sends everything to the mean.
    flat = barycentric_map(jnp.outer(A, B), A, Y)
    np.testing.assert_allclose(flat, jnp.broadcast_to(B @ Y, (11, 3)), rtol=1e-4, atol=1e-5)


def test_bad_input():
    C, D = distances(X), distances(Y)
    with pytest.raises(InputError, match=r"C has shape \(11, 8\); expected a square matrix"):
        gromov_wasserstein(C[:, :8], D, epsilon=0.1, key=KEY)
    with pytest.raises(InputError, match=r"D differs from its transpose by up to 1"):
        gromov_wasserstein(C, D.at[0, 1].add(1.0), epsilon=0.1, key=KEY)
    with pytest.raises(InputError, match=r"C has a non-finite number at \[0, 3\]"):
        gromov_wasserstein(C.at[0, 3].set(jnp.nan), D, epsilon=0.1, key=KEY)
    with pytest.raises(InputError, match=r"weights a sum to 2"):
        gromov_wasserstein(C, D, 2 * A, B, epsilon=0.1, key=KEY)
    for epsilon in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"expected a positive regularisation"):
            gromov_wasserstein(C, D, epsilon=epsilon, key=KEY)
    with pytest.raises(InputError, match=r"restarts is 0"):
        gromov_wasserstein(C, D, epsilon=0.1, key=KEY, restarts=0)
    with pytest.raises(InputError, match=r"decay=1.5\): expected a number in \(0, 1\]"):
        GromovWasserstein(0.1, decay=1.5)
    with pytest.raises(InputError, match=r"sweeps=0\): expected positive"):
        GromovWasserstein(0.1, sweeps=0)
    with pytest.raises(InputError, match=r"noise=-1.0\)"):
        GromovWasserstein(0.1, noise=-1.0)
    with pytest.raises(InputError, match=r"a\[2\] is 0; expected weights above 0"):
        barycentric_map(jnp.outer(A, B), A.at[2].set(0.0), Y)
    with pytest.raises(InputError, match=r"largest distance is 0"):
        initialise_embeddings(jnp.ones((4, 2)), Y, key=KEY)
    with pytest.raises(InputError, match=r"expected floating numbers"):
        initialise_embeddings(jnp.ones((4, 2), int), Y, key=KEY)
