"""Functions of positive definite matrices: values against SciPy, derivatives against differences, no NaN at ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from thalweg.core import InputError
from thalweg.core.spd import (
    check_spd,
    expm,
    floorm,
    logm,
    lyapunov,
    mean_root,
    mean_rsqrt,
    powm,
    rsqrtm,
    sqrtm,
    sym,
)


def spd(seed, n=4, shift=0.1):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return jnp.asarray(a @ a.T + shift * np.eye(n))


V = np.random.default_rng(9).normal(size=(4, 4))
V = V + V.T
FUNCTIONS = {
    "sqrtm": sqrtm,
    "rsqrtm": rsqrtm,
    "logm": logm,
    "expm": expm,
    "power 0.3": lambda A: powm(A, 0.3),
    "power -1.7": lambda A: powm(A, -1.7),
    "power 2": lambda A: powm(A, 2.0),
    "floorm": lambda A: floorm(A, 1.2),
    "lyapunov": lambda A: lyapunov(A, jnp.asarray(V)),
    "mean_root": lambda A: mean_root(A, jnp.asarray(V)),
    "mean_rsqrt": lambda A: mean_rsqrt(A, jnp.asarray(V)),
}
each = pytest.mark.parametrize("fn", FUNCTIONS.values(), ids=FUNCTIONS)


def test_values_are_those_of_scipy(x64):
    A = spd(0)
    expected = {
        "sqrtm": scipy.linalg.sqrtm(A),
        "rsqrtm": scipy.linalg.inv(scipy.linalg.sqrtm(A)),
        "logm": scipy.linalg.logm(A),
        "expm": scipy.linalg.expm(A),
        "power 0.3": scipy.linalg.fractional_matrix_power(A, 0.3),
        "power -1.7": scipy.linalg.fractional_matrix_power(A, -1.7),
        "power 2": A @ A,
        "lyapunov": scipy.linalg.solve_continuous_lyapunov(np.asarray(A), V),
    }
    for name, matrix in expected.items():
        np.testing.assert_allclose(FUNCTIONS[name](A), np.real(matrix), rtol=1e-9, atol=1e-10, err_msg=name)


def test_the_two_transports_are_inverse_and_the_root_of_lyapunov(x64):
    A, E = spd(1), jnp.asarray(V)
    np.testing.assert_allclose(mean_rsqrt(A, mean_root(A, E)), E, atol=1e-11)
    np.testing.assert_allclose(mean_rsqrt(A, mean_rsqrt(A, E)), 2 * lyapunov(A, E), atol=1e-11)


@each
def test_turning_the_matrix_turns_the_result(x64, fn):
    q = jnp.asarray(np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0])
    if fn in (FUNCTIONS["lyapunov"], FUNCTIONS["mean_root"], FUNCTIONS["mean_rsqrt"]):
        pytest.skip("has a second argument that would have to turn as well")
    np.testing.assert_allclose(fn(q @ spd(2) @ q.T), q @ fn(spd(2)) @ q.T, rtol=1e-10, atol=1e-10)


POINTS = {
    "apart": lambda: spd(4),
    "all equal": lambda: 1.5 * jnp.eye(4),
    "two equal": lambda: jnp.diag(jnp.asarray([0.7, 2.0, 2.0, 3.0])),
    "nearly equal": lambda: jnp.diag(jnp.asarray([1.0, 1.0 + 1e-10, 1.0 + 1e-7, 2.5])),
    "far apart": lambda: jnp.diag(jnp.asarray([1e-3, 1.0, 1.0, 6.0])),
}


@each
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_derivatives_agree_with_differences(x64, fn, point):
    A, rng = point(), np.random.default_rng(5)
    E, C = (jnp.asarray(rng.normal(size=(4, 4))) for _ in range(2))
    E, h = sym(E), 1e-6
    slope = (fn(A + h * E) - fn(A - h * E)) / (2 * h)
    forward = jax.jvp(fn, (A,), (E,))[1]
    np.testing.assert_allclose(forward, slope, rtol=1e-4, atol=2e-6 * float(jnp.max(jnp.abs(slope))))
    backward = jax.grad(lambda A: jnp.sum(C * fn(A)))(A)
    np.testing.assert_allclose(jnp.sum(backward * E), jnp.sum(C * forward), rtol=1e-9)
    np.testing.assert_allclose(backward, backward.T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["sqrtm", "rsqrtm", "lyapunov"])
def test_second_derivatives_at_a_tie(x64, name):
    fn, A = FUNCTIONS[name], POINTS["two equal"]()
    E, h = sym(spd(6)), 1e-5
    first = lambda A: jax.grad(lambda A: jnp.sum(V * fn(A)))(A)  # noqa: E731
    slope = (first(A + h * E) - first(A - h * E)) / (2 * h)
    np.testing.assert_allclose(jax.jvp(first, (A,), (E,))[1], slope, rtol=1e-5, atol=1e-7)


def test_divided_differences_keep_their_digits(x64):
    """Two eigenvalues at every distance: against the logarithm in extended precision."""
    for gap in (1e-15, 1e-12, 1e-8, 1e-4, 0.1, 0.9, 2.0, 1e3, 1e9):
        a, b = np.longdouble(1.0) + np.longdouble(gap), np.longdouble(1.0)
        exact = float(np.log1p(a - b) / (a - b))
        found = jax.jvp(logm, (jnp.diag(jnp.asarray([float(a), 1.0])),), (jnp.asarray([[0.0, 1.0], [1.0, 0.0]]),))[1]
        # The double next to a is not a: at a gap of 1e-15 that is all of the error.
        np.testing.assert_allclose(found[0, 1], exact, rtol=1e-13 if gap > 1e-13 else 1e-12)


def test_a_root_of_a_singular_matrix_has_no_nan(x64):
    A = jnp.diag(jnp.asarray([0.0, 1.0, 4.0]))
    np.testing.assert_allclose(sqrtm(A), jnp.diag(jnp.asarray([0.0, 1.0, 2.0])), atol=1e-15)
    v = jnp.asarray([[1.0], [2.0], [-1.0]]) / jnp.sqrt(6.0)
    np.testing.assert_allclose(sqrtm(v @ v.T), v @ v.T, atol=1e-7)
    assert not np.isfinite(sqrtm(jnp.diag(jnp.asarray([-0.1, 1.0])))).all()


def test_single_precision_is_followed():
    A = jnp.asarray(spd(0), jnp.float32)
    for name, fn in FUNCTIONS.items():
        assert fn(A).dtype == jnp.float32, name
    np.testing.assert_allclose(sqrtm(A) @ sqrtm(A), A, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("A", "message"),
    [
        (np.ones((2, 3)), "expected \\(n, n\\)"),
        (np.ones(4), "expected \\(n, n\\)"),
        (np.array([[1.0, 0.5], [0.4, 1.0]]), "transpose"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "eigenvalue -1"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), "multiple of the identity"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "non-finite number at \\(0, 1\\)"),
    ],
)
def test_bad_input_is_refused(A, message):
    with pytest.raises(InputError, match=message) as caught:
        check_spd("caller", "A", A)
    assert str(caught.value).startswith("caller: A ")
    assert "\n" not in str(caught.value)


def test_a_bad_matrix_of_a_batch_is_named():
    with pytest.raises(InputError, match="matrix 1"):
        check_spd("caller", "X", np.stack([np.eye(2), np.diag([1.0, -2.0])]), batch=1)
    with pytest.raises(InputError, match="batch, n, n"):
        check_spd("caller", "X", np.eye(2), batch=1)
    assert jnp.issubdtype(check_spd("caller", "A", np.eye(2, dtype=int)).dtype, jnp.floating)
