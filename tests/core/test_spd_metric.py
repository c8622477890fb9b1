"""Three metrics on covariances: closed forms, invariances, transport, and means with their residual."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from tests.core.test_spd import spd
from tests.stats import assert_slope
from thalweg.core import InputError
from thalweg.core.spd import powm, sym
from thalweg.core.spd_metric import AffineInvariant, BuresWasserstein, LogEuclidean, optimal_map


def tangent(seed, n=4, size=0.3):
    return sym(size * jnp.asarray(np.random.default_rng(seed).normal(size=(n, n))))


def factor(seed=7, n=4):
    return jnp.asarray(
        np.tril(0.4 * np.random.default_rng(seed).normal(size=(n, n))) + np.diag([1.0, 0.7, 1.6, 1.2][:n])
    )


METRICS = {
    "Bures": BuresWasserstein,
    "general Bures": lambda: BuresWasserstein(factor(), -0.6),
    "affine": AffineInvariant,
    "log-Euclidean": LogEuclidean,
}
each = pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)


@each
def test_the_operations_belong_together(x64, make):
    metric, A, B, V = make(), spd(0), spd(1), tangent(2)
    L = metric.log(A, B)
    end, inside = metric.exp(A, L)
    assert bool(inside)
    np.testing.assert_allclose(end, B, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(metric.distance(A, B), jnp.sqrt(metric.inner(A, L, L)), rtol=1e-9)
    np.testing.assert_allclose(metric.distance(A, B), metric.distance(B, A), rtol=1e-9)
    np.testing.assert_allclose(metric.from_origin(A, metric.to_origin(A, V)), V, rtol=1e-8, atol=1e-10)
    third = metric.geodesic(A, B, 0.3)
    np.testing.assert_allclose(metric.distance(A, third), 0.3 * metric.distance(A, B), rtol=1e-8)
    np.testing.assert_allclose(metric.distance(third, B), 0.7 * metric.distance(A, B), rtol=1e-8)


@each
def test_distances_are_lengths_of_short_vectors(x64, make):
    metric, A, V = make(), spd(0), tangent(2)
    h = 1e-5
    np.testing.assert_allclose(
        metric.distance(A - h * V, A + h * V) / (2 * h), jnp.sqrt(metric.inner(A, V, V)), rtol=1e-6
    )


@each
def test_transport_is_an_isometry_that_keeps_the_geodesic(x64, make):
    metric, A, V, W = make(), spd(0), tangent(2), tangent(3)
    origin = metric.origin(4)
    v, w = metric.to_origin(A, V), metric.to_origin(A, W)
    np.testing.assert_allclose(metric.inner(origin, v, w), metric.inner(A, V, W), rtol=1e-8)
    # The velocity of a geodesic is carried along: minus the one that leads back.
    along = metric.to_origin(A, metric.log(A, origin))
    np.testing.assert_allclose(along, -metric.log(origin, A), rtol=1e-7, atol=1e-9)


def test_bures_transport_is_the_limit_of_ladders(x64):
    """A ladder of geodesic parallelograms needs Log and Exp only; its error falls with the square of the rungs."""
    metric, A, V = BuresWasserstein(), spd(5) / 4, tangent(2, size=0.1)
    I = metric.origin(4)  # noqa: E741
    exact = metric.to_origin(A, V)

    @jax.jit
    def rung(P, Q, v):
        tip = metric.exp(P, v)[0]
        middle = metric.geodesic(tip, Q, 0.5)
        opposite = metric.exp(P, 2 * metric.log(P, middle))[0]
        return metric.log(Q, opposite)

    counts, errors = (8, 16, 32), []
    for count in counts:
        points = [metric.geodesic(A, I, k / count) for k in range(count + 1)]
        v = V / count
        for P, Q in pairwise(points):
            v = rung(P, Q, v)
        errors.append(float(jnp.max(jnp.abs(count * v - exact))))
    assert_slope(counts, errors, -1, 0.2)
    assert errors[-1] < 0.05 * float(jnp.max(jnp.abs(exact - V)))


def test_bures_of_two_by_two_and_of_commuting_matrices(x64):
    A, B = spd(0, 2), spd(1, 2)
    closed = jnp.trace(A + B) - 2 * jnp.sqrt(jnp.trace(A @ B) + 2 * jnp.sqrt(jnp.linalg.det(A @ B)))
    np.testing.assert_allclose(BuresWasserstein().squared_distance(A, B), closed, rtol=1e-10)
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    a, b = np.array([0.2, 1.0, 5.0]), np.array([1.3, 0.4, 2.0])
    A, B = jnp.asarray(q * a @ q.T), jnp.asarray(q * b @ q.T)
    found = [make().distance(A, B) for make in (BuresWasserstein, AffineInvariant, LogEuclidean)]
    logs = np.linalg.norm(np.log(a / b))
    np.testing.assert_allclose(found, [np.linalg.norm(np.sqrt(a) - np.sqrt(b)), logs, logs], rtol=1e-10)
    mean = BuresWasserstein().mean(jnp.stack([A, B]), [1.0, 3.0]).value
    np.testing.assert_allclose(mean, q * (0.25 * np.sqrt(a) + 0.75 * np.sqrt(b)) ** 2 @ q.T, rtol=1e-10)


def test_page_formulas_for_bures(x64):
    A, B, V = spd(0), spd(1), tangent(2)
    metric = BuresWasserstein()
    product = scipy.linalg.sqrtm(np.asarray(A @ B))
    np.testing.assert_allclose(metric.log(A, B), np.real(product + product.T - 2 * A), rtol=1e-7, atol=1e-8)
    L = scipy.linalg.solve_continuous_lyapunov(np.asarray(A), np.asarray(V))
    np.testing.assert_allclose(metric.exp(A, V)[0], A + V + L @ A @ L, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(optimal_map(A, B) @ A @ optimal_map(A, B), B, rtol=1e-9)


def test_exp_says_when_it_leaves_the_cone(x64):
    metric, A = BuresWasserstein(), spd(0)
    V = metric.log(A, 1e-6 * A)
    assert bool(metric.exp(A, V)[1])
    end, inside = metric.exp(A, 1.01 * V)
    assert not bool(inside)
    # It is a positive matrix all the same, and Log does not come back to where it was sent from.
    assert float(jnp.linalg.eigvalsh(end)[0]) > 0
    assert float(jnp.max(jnp.abs(metric.log(A, end) - 1.01 * V))) > 1e-3
    assert bool(AffineInvariant().exp(A, 3 * V)[1])


def test_invariances(x64):
    A, B, C = spd(0), spd(1), jnp.asarray(np.random.default_rng(4).normal(size=(4, 4)))
    q = jnp.linalg.qr(C)[0]
    for name, make in METRICS.items():
        metric = make()
        turned = metric.distance(q @ A @ q.T, q @ B @ q.T) / metric.distance(A, B)
        assert (abs(float(turned) - 1) < 1e-9) == ("general" not in name), name
    bures, affine = BuresWasserstein(), AffineInvariant()
    np.testing.assert_allclose(bures.distance(9 * A, 9 * B), 3 * bures.distance(A, B), rtol=1e-10)
    np.testing.assert_allclose(affine.distance(C @ A @ C.T, C @ B @ C.T), affine.distance(A, B), rtol=1e-9)
    np.testing.assert_allclose(affine.distance(jnp.linalg.inv(A), jnp.linalg.inv(B)), affine.distance(A, B), rtol=1e-9)
    # With M carried along, the general metric is invariant under congruence: this is what M adds.
    before = BuresWasserstein(factor()).distance(A, B)
    M = C @ factor() @ factor().T @ C.T
    after = BuresWasserstein(jnp.linalg.cholesky(M)).distance(C @ A @ C.T, C @ B @ C.T)
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_the_general_metric_in_its_own_terms(x64):
    A, B, L = spd(0), spd(1), factor()
    R = np.real(np.linalg.inv(scipy.linalg.sqrtm(np.asarray(L @ L.T))))
    R = jnp.asarray(R)
    whitened = BuresWasserstein().distance(R @ powm(A, 0.6) @ R, R @ powm(B, 0.6) @ R) / 0.6
    np.testing.assert_allclose(BuresWasserstein(L, 0.6).distance(A, B), whitened, rtol=1e-9)
    small = BuresWasserstein(power=1e-5).distance(A, B)
    np.testing.assert_allclose(small, 0.5 * LogEuclidean().distance(A, B), rtol=1e-4)


@each
def test_means_converge_and_say_how_far_they_are(x64, make):
    metric, X = make(), jnp.stack([spd(i) for i in range(6)])
    found = metric.mean(X)
    assert float(found.residual) < 1e-9 * float(found.spread)
    # No point nearby has a smaller sum of squares.
    cost = jax.jit(lambda G: jnp.mean(jax.vmap(lambda B: metric.squared_distance(G, B))(X)))
    best = float(cost(found.value))
    np.testing.assert_allclose(best, found.spread**2, rtol=1e-8)
    assert all(float(cost(found.value + 1e-2 * tangent(s))) > best for s in range(5))
    first = metric.mean(X, iters=1)
    assert float(first.residual) >= float(found.residual)
    assert float(metric.mean(X, iters=0).residual) >= float(first.residual)


def test_one_step_of_bures_is_the_formula_and_misses(x64):
    X = jnp.stack([spd(i, shift=1e-5) for i in range(6)])
    G = np.asarray(jnp.mean(X, axis=0))
    S = np.real(scipy.linalg.sqrtm(G))
    R = np.linalg.inv(S)
    middle = np.mean([np.real(scipy.linalg.sqrtm(S @ np.asarray(B) @ S)) for B in X], axis=0)
    metric = BuresWasserstein()
    one, full = metric.mean(X, iters=1), metric.mean(X, iters=100)
    np.testing.assert_allclose(one.value, R @ middle @ middle @ R, rtol=1e-8)
    miss = float(metric.distance(one.value, full.value))
    assert float(one.residual) < miss < 5 * float(one.residual)


def test_distances_of_close_matrices_keep_their_digits():
    """In single precision tr A + tr B - 2 tr(.) could not tell 1e-4 from 0."""
    A = jnp.asarray(spd(0), jnp.float32)
    gap = 1e-4 * jnp.asarray(tangent(1, size=1.0), jnp.float32)
    metric = BuresWasserstein()
    expected = jnp.sqrt(metric.inner(A, gap, gap))
    np.testing.assert_allclose(metric.distance(A, A + gap), expected, rtol=0.05)
    assert float(metric.distance(A, A)) < 1e-5


@each
def test_gradients_are_finite_at_ties_and_agree_with_differences(x64, make):
    metric, E = make(), tangent(3)
    A, B = jnp.diag(jnp.asarray([1.0, 1.0, 1.0, 2.0])), 1.7 * jnp.eye(4)
    for fn in (lambda A: metric.squared_distance(A, B), lambda A: metric.mean(jnp.stack([A, B]), iters=2).value[0, 0]):
        slope = (fn(A + 1e-5 * E) - fn(A - 1e-5 * E)) / 2e-5
        np.testing.assert_allclose(jnp.sum(jax.grad(fn)(A) * E), slope, rtol=1e-5, atol=1e-8)
    assert np.isfinite(jax.grad(metric.squared_distance)(A, A)).all()


def test_the_squared_bures_distance_has_its_second_derivative(x64):
    metric, A, E = BuresWasserstein(), jnp.diag(jnp.asarray([1.0, 1.0, 3.0, 2.0])), tangent(3)
    gradient = jax.grad(lambda A: metric.squared_distance(A, spd(1)))
    slope = (gradient(A + 1e-5 * E) - gradient(A - 1e-5 * E)) / 2e-5
    np.testing.assert_allclose(jax.jvp(gradient, (A,), (E,))[1], slope, rtol=1e-5, atol=1e-7)
    # At A = B it is twice the metric itself.
    gradient = jax.grad(lambda B: metric.squared_distance(A, B))
    hessian = jnp.sum(E * jax.jvp(gradient, (A,), (E,))[1])
    np.testing.assert_allclose(hessian, 2 * metric.inner(A, E, E), rtol=1e-6)


def test_bad_input_is_refused():
    metric, X = BuresWasserstein(), jnp.stack([jnp.eye(2), 2 * jnp.eye(2)])
    with pytest.raises(InputError, match="LogEuclidean"):
        BuresWasserstein(power=0.0)
    with pytest.raises(InputError, match="start from the identity"):
        BuresWasserstein(jnp.diag(jnp.asarray([1.0, 0.0])))
    with pytest.raises(InputError, match="at least 0"):
        metric.mean(X, iters=-1)
    with pytest.raises(InputError, match="one for each matrix"):
        metric.mean(X, [1.0, 1.0, 1.0])
    with pytest.raises(InputError, match="not all 0"):
        metric.mean(X, [-1.0, 2.0])
    with pytest.raises(InputError, match="eigenvalue"):
        metric.mean(-X)
    with pytest.raises(InputError, match="batch, n, n"):
        metric.mean(X[0])
