"""The short reproduction of score-based transport: the moments are exact, and what fails says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.pde import linear_moments
from thalweg.reproduce import score_transport


@pytest.mark.slow
def test_the_short_reproduction():
    found = score_transport.score_based_transport(short=True)
    assert found.name == "score-based-transport"
    held = {c.claim: c.holds for c in found.claims}
    assert [h for c, h in held.items() if "tr Cov at t = 1 is" in c] == [True]
    assert [h for c, h in held.items() if "without a score fails" in c] == [True]
    assert [h for c, h in held.items() if "fourth-order trap" in c and "tr Cov" in c] == [True]
    assert [h for c, h in held.items() if "fourth-order trap" in c and "entropy" in c] == [True]
    assert sum(h is None for h in held.values()) == 3


def test_the_closed_forms_of_the_trap(x64):
    trace, rate, v = score_transport._harmonic_exact(50)
    np.testing.assert_allclose(trace, 33.676, atol=1e-3)
    # The whole trap as one linear drift, of three particles.
    trace, rate, v = score_transport._harmonic_exact(3)
    A = np.kron(-0.5 * np.eye(3) - 0.5 / 3, np.eye(2))
    _, C = linear_moments(A, np.zeros(6), 0.25 * np.eye(6), np.zeros(6), 0.0625 * np.eye(6), 1.0)
    np.testing.assert_allclose([np.trace(C), np.trace(A + 0.25 * np.linalg.inv(C))], [trace, rate], rtol=1e-9)
    problem = score_transport._harmonic_problem(3, 20)
    x = jax.random.normal(jax.random.key(0), (4, 3, 2), float)
    z = np.asarray(x - score_transport._centre(problem)).reshape(4, 6)
    score = score_transport._harmonic_score(problem, x, v)
    np.testing.assert_allclose(np.asarray(score).reshape(4, 6), -z @ np.linalg.inv(C), rtol=1e-9)
    want = -0.5 * (np.einsum("ni,ij,nj->n", z, np.linalg.inv(C), z) + np.linalg.slogdet(2 * np.pi * C)[1])
    np.testing.assert_allclose(score_transport._harmonic_log_prob(problem, x, v), want, rtol=1e-9)


def test_the_drifts():
    t, x = jnp.asarray(0.3), jnp.asarray([[1.0, 0.5], [0.2, -0.4]])
    mu = 3 * np.asarray([np.cos(0.3 * np.pi), np.sin(0.3 * np.pi)])
    pull = lambda a: -0.4 * np.sum((a - mu) ** 2) * (a - mu)  # noqa: E731
    gap = np.asarray(x[0] - x[1])
    push = 2.0 / 0.25 * gap * np.exp(-gap @ gap / 0.5) / 2
    trap = score_transport.FourthOrderTrap(0.4, 2.0)
    np.testing.assert_allclose(trap.drift(t, x), [pull(x[0]) + push, pull(x[1]) - push], rtol=1e-4)
    np.testing.assert_allclose(trap.drift(t, x[0]), pull(np.asarray(x[0])), rtol=1e-5)
    np.testing.assert_allclose(score_transport.Swimmer().drift(t, x[0]), [-0.5, -0.05], rtol=1e-6)
    np.testing.assert_allclose(score_transport.Swimmer().diffusion(t, x[0]), [0, 0.2**0.5], rtol=1e-6)
