"""Transport between Gaussians: closed forms, POT, a fine one-dimensional computation, samples."""

import jax
import jax.numpy as jnp
import numpy as np
import ot as pot
import pytest
from scipy.special import logsumexp

from tests.stats import assert_z
from thalweg.core import InputError, Status
from thalweg.ot.bures import bures_mean, bures_wasserstein, entropic_gaussian, gaussian_wasserstein

M1, M2 = np.array([0.3, -1.0, 0.5]), np.array([-0.2, 0.4, 1.5])


def cov(seed, n=3, shift=0.1):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a @ a.T + shift * np.eye(n)


def test_against_pot(x64):
    A, B = cov(0), cov(1)
    expected = pot.gaussian.bures_wasserstein_distance(M1, M2, A, B)
    found = gaussian_wasserstein(M1, A, M2, B)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-8)
    matrix, shift = pot.gaussian.bures_wasserstein_mapping(M1, M2, A, B)
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        found(jnp.asarray([1.0, 2.0, 3.0])), (shift + np.array([1, 2, 3]) @ matrix).ravel(), rtol=1e-7
    )
    X = np.stack([cov(i) for i in range(5)])
    w = np.array([0.1, 0.3, 0.2, 0.35, 0.05])
    barycentre = pot.gaussian.bures_wasserstein_barycenter(np.zeros((5, 3)), X, weights=w, num_iter=500, eps=1e-13)[1]
    np.testing.assert_allclose(bures_mean(X, 7 * w, tolerance=1e-12).value, barycentre, rtol=1e-9)


def test_the_map_carries_samples_at_the_stated_cost(x64, key):
    A, B = cov(0), cov(1)
    T = gaussian_wasserstein(M1, A, M2, B)
    x = M1 + jax.random.normal(key, (20_000, 3)) @ np.linalg.cholesky(A).T
    y = jax.vmap(T)(x)
    cost = np.sum((np.asarray(y) - np.asarray(x)) ** 2, axis=1)
    stderr = cost.std() / np.sqrt(len(cost))
    assert_z(cost.mean(), T.distance**2, stderr, max_stderr=0.05)
    centred = np.asarray(y) - M2
    outer = centred[:, :, None] * centred[:, None, :]
    assert_z(outer.mean(axis=0), B, outer.std(axis=0) / np.sqrt(len(outer)))
    # The map that turns one direction round has the same image of the first coordinate's variance, not the same cost.
    flip = np.diag([-1.0, 1.0, 1.0])
    other = np.sum(((np.asarray(x) - M1) @ np.asarray(T.matrix).T @ flip + M2 - np.asarray(x)) ** 2, axis=1)
    with pytest.raises(AssertionError, match="z ="):
        assert_z(other.mean(), T.distance**2, other.std() / np.sqrt(len(other)))


def test_symmetries(x64):
    A, B = cov(0), cov(1)
    q = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    d, e = gaussian_wasserstein(M1, A, M2, B).distance, entropic_gaussian(M1, A, M2, B, 0.7)
    turned = gaussian_wasserstein(q @ M1 + 1, q @ A @ q.T, q @ M2 + 1, q @ B @ q.T)
    np.testing.assert_allclose(turned.distance, d, rtol=1e-9)
    np.testing.assert_allclose(gaussian_wasserstein(3 * M1, 9 * A, 3 * M2, 9 * B).distance, 3 * d, rtol=1e-9)
    np.testing.assert_allclose(entropic_gaussian(3 * M1, 9 * A, 3 * M2, 9 * B, 9 * 0.7), 9 * e, rtol=1e-9)
    np.testing.assert_allclose(entropic_gaussian(M2, B, M1, A, 0.7), e, rtol=1e-9)
    X = np.stack([cov(i) for i in range(4)])
    mean = bures_mean(X, tolerance=1e-12).value
    np.testing.assert_allclose(bures_mean(q @ X @ q.T, tolerance=1e-12).value, q @ mean @ q.T, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(bures_mean(X[[2, 0, 3, 1]], tolerance=1e-12).value, mean, rtol=1e-8)


@pytest.mark.parametrize("eps", [0.3, 2.0])
def test_entropic_value_against_a_fine_grid(x64, eps):
    m1, v1, m2, v2 = 0.3, 0.7, -0.5, 1.9
    x, y = (np.linspace(m - 9 * np.sqrt(v), m + 9 * np.sqrt(v), 250) for m, v in ((m1, v1), (m2, v2)))
    a, b = (np.exp(-((z - m) ** 2) / (2 * v)) for z, m, v in ((x, m1, v1), (y, m2, v2)))
    a, b = a / a.sum(), b / b.sum()
    C = (x[:, None] - y) ** 2
    g = np.zeros(len(y))
    for _ in range(160):
        f = -eps * logsumexp((g - C) / eps, b=b[None], axis=1)
        g = -eps * logsumexp((f[:, None] - C) / eps, b=a[:, None], axis=0)
    found = float(entropic_gaussian([m1], [[v1]], [m2], [[v2]], eps))
    assert found == pytest.approx(f @ a + g @ b, rel=1e-10)


def test_entropic_limits_and_the_formula_of_the_paper(x64):
    A, B, eps = cov(0), cov(1), 0.8
    exact = float(gaussian_wasserstein(M1, A, M2, B).distance) ** 2
    assert float(entropic_gaussian(M1, A, M2, B, 1e-8)) == pytest.approx(exact, abs=1e-6)
    independent = np.sum((M1 - M2) ** 2) + np.trace(A + B)
    assert float(entropic_gaussian(M1, A, M2, B, 1e9)) == pytest.approx(independent, rel=1e-7)
    s, mu = eps / 2, np.real(np.linalg.eigvals(A @ B))
    D = np.sqrt(4 * mu + s**2)
    formula = independent - D.sum() + 3 * s * (1 - np.log(2 * s)) + s * np.log(D + s).sum()
    assert float(entropic_gaussian(M1, A, M2, B, eps)) == pytest.approx(formula, rel=1e-12)


def test_gradients_at_repeated_eigenvalues(x64):
    eye, E = jnp.eye(3), jnp.asarray(cov(4))
    for fn in (
        lambda A: entropic_gaussian(M1, A, M2, 2 * eye, 0.5),
        lambda A: gaussian_wasserstein(M1, A, M2, 2 * eye).distance,
        lambda A: bures_wasserstein(A, 2 * eye),
    ):
        slope = (fn(eye + 1e-5 * E) - fn(eye - 1e-5 * E)) / 2e-5
        np.testing.assert_allclose(jnp.sum(jax.grad(fn)(eye) * E), slope, rtol=1e-7)


def test_the_barycentre_says_how_it_ended(x64):
    X = np.stack([cov(i, shift=1e-6) for i in range(5)])
    found = bures_mean(X, tolerance=1e-10)
    assert found.status == Status.converged
    assert float(found.residual) <= 1e-10
    short = bures_mean(X, tolerance=1e-10, max_steps=2)
    assert short.status == Status.max_steps
    assert int(short.num_steps) == 2
    assert float(short.residual) > 1e-10
    assert bures_mean(np.stack([cov(1)] * 3)).status == Status.converged
    assert bures_mean(X, tolerance=1e-18).status == Status.precision
    broken = jax.jit(lambda X: bures_mean(X).status)(jnp.asarray(X).at[0, 0, 0].set(jnp.nan))
    assert broken == Status.nonfinite


def test_single_precision_converges_by_default():
    found = bures_mean(np.stack([cov(i) for i in range(5)]).astype(np.float32))
    assert found.value.dtype == jnp.float32
    assert found.status == Status.converged


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bures_wasserstein(np.eye(2), np.eye(3)), "expected the same"),
        (lambda: bures_wasserstein(np.eye(2), -np.eye(2)), "the second matrix has the eigenvalue -1"),
        (lambda: bures_wasserstein(np.full((2, 2), np.nan), np.eye(2)), "non-finite"),
        (lambda: bures_wasserstein(np.array([[1.0, 0.5], [0.0, 1.0]]), np.eye(2)), "symmetry"),
        (lambda: gaussian_wasserstein(np.zeros(3), np.eye(2), np.zeros(2), np.eye(2)), "fit the covariances"),
        (lambda: entropic_gaussian(np.zeros(2), np.eye(2), np.zeros(2), np.eye(2), 0.0), "expected a positive number"),
        (lambda: bures_mean(np.eye(2)), "batch, n, n"),
        (lambda: bures_mean(np.stack([np.eye(2)]), tolerance=-1.0), "expected a positive number"),
        (lambda: bures_mean(np.stack([np.eye(2)]), max_steps=0), "at least 1"),
        (lambda: bures_mean(np.stack([np.eye(2)]), [0.0]), "not all 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
