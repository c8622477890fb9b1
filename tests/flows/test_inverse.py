"""Measurements of Gaussian data: the exact posterior in the data's units, twins, and bad input."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import Score
from thalweg.core.errors import InputError
from thalweg.flows import DiffusionPath, Fields, Gaussian, Independent, Linear, OneSided, Transport, Units
from thalweg.flows.inverse import Isotropic, inpaint, linear_inverse
from thalweg.problems import MixtureInterpolant, gaussian
from thalweg.processes import VP

MEAN = np.array([0.6, -1.1, 0.3])
COV = np.array([[0.9, 0.4, -0.2], [0.4, 0.5, 0.1], [-0.2, 0.1, 0.7]])
SHIFT, SCALE = np.array([5.0, -2.0, 0.5]), np.array([2.0, 0.1, 30.0])
# A mixes features of very different scales; rows are scaled so that the measurements have size one.
A = np.array([[0.3, 4.0, 0.0], [0.1, 0.0, -0.03]])
OPERATOR = lambda x: jnp.asarray(A, x.dtype) @ x  # noqa: E731
Y = np.array([-0.5, 0.4])
N = 4000


def transport(path=OneSided(Linear())):  # noqa: B008
    exact = MixtureInterpolant(gaussian(np.zeros(3), np.eye(3)), gaussian(MEAN, COV), path)
    units = Units(jnp.asarray(SHIFT, jnp.float32), jnp.asarray(SCALE, jnp.float32))
    return Transport(Fields(score=exact.score), path, Independent(), Gaussian((3,)), units, (3,))


def posterior(a, y, noise):
    mean, cov = SHIFT + SCALE * MEAN, SCALE[:, None] * COV * SCALE
    gain = cov @ a.T @ np.linalg.inv(a @ cov @ a.T + noise**2 * np.eye(len(a)))
    return mean + gain @ (y - a @ mean), cov - gain @ a @ cov


def assert_gaussian(x, mean, cov, steps_error=0.0):
    """Mean and covariance, in the posterior's own scale; the allowance is for time steps."""
    x = np.asarray(x, np.float64)
    size = np.sqrt(np.diag(cov))
    centred = (x - mean) / size
    assert_z(centred.mean(0), 0, 1 / len(x) ** 0.5 + steps_error)
    products = np.einsum("ni,nj->nij", centred, centred)
    assert_z(products.mean(0), cov / np.outer(size, size), products.std(0) / len(x) ** 0.5 + steps_error)


@pytest.mark.parametrize("path", [OneSided(Linear()), DiffusionPath(VP())], ids=["linear", "vp"])
def test_the_posterior_of_gaussian_data_is_exact(key, path):
    x = linear_inverse(transport(path), Y, OPERATOR, 0.3, key=key, n=N, steps=30)
    assert_gaussian(x, *posterior(A, Y, 0.3), steps_error=0.004)
    with pytest.raises(AssertionError):
        assert_gaussian(x, *posterior(A, Y, 0.6), steps_error=0.004)


def test_the_guided_sde_has_the_same_posterior(key):
    x = linear_inverse(transport(), Y, OPERATOR, 0.3, key=key, n=N, steps=200, sde=0.5)
    assert_gaussian(x, *posterior(A, Y, 0.3), steps_error=0.01)


def test_the_isotropic_covariance_is_not_exact_here(key):
    x = linear_inverse(transport(), Y, OPERATOR, 0.3, key=key, n=N, steps=30, covariance=Isotropic())
    with pytest.raises(AssertionError):
        assert_gaussian(x, *posterior(A, Y, 0.3), steps_error=0.004)


def test_the_isotropic_covariance_is_exact_for_white_data(key):
    path, mean, a = OneSided(Linear()), np.array([0.6, -1.1]), np.array([[1.0, -2.0]])
    exact = MixtureInterpolant(gaussian(np.zeros(2), np.eye(2)), gaussian(mean, np.eye(2)), path)
    units = Units(jnp.asarray(0.0), jnp.asarray(1.0))
    white = Transport(Fields(score=exact.score), path, Independent(), Gaussian((2,)), units, (2,))
    x = linear_inverse(white, np.array([0.7]), lambda x: a @ x, 0.5, key=key, n=N, steps=30, covariance=Isotropic())
    gain = a.T / (a @ a.T + 0.25)
    assert_gaussian(x, mean + gain @ (0.7 - a @ mean), np.eye(2) - gain @ a, steps_error=0.004)


def test_inpainting_gives_the_conditional_law(key):
    known = np.array([np.nan, -2.05, np.nan])
    x = np.asarray(inpaint(transport(), known, np.array([False, True, False]), key=key, n=N, steps=30))
    np.testing.assert_array_equal(x[:, 1], np.float32(-2.05))
    mean, cov = posterior(np.eye(3)[1:2], known[1:2], 0.0)
    rest = [0, 2]
    assert_gaussian(x[:, rest], mean[rest], cov[np.ix_(rest, rest)], steps_error=0.004)
    noisy = inpaint(transport(), known, np.array([False, True, False]), key=key, n=N, noise_std=0.05, steps=30)
    assert_gaussian(noisy, *posterior(np.eye(3)[1:2], known[1:2], 0.05), steps_error=0.004)


def test_a_flipped_score_fails(key):
    right = transport()
    wrong = dataclasses.replace(right, fields=Fields(score=Score(lambda t, x, c=None: 0.7 * right.score(t, x, c))))
    x = linear_inverse(wrong, Y, OPERATOR, 0.3, key=key, n=N, steps=30)
    with pytest.raises(AssertionError):
        assert_gaussian(x, *posterior(A, Y, 0.3), steps_error=0.004)


def test_bad_use(key):
    flow = transport()
    with pytest.raises(InputError, match=r"y has shape"):
        linear_inverse(flow, np.zeros(3), OPERATOR, 0.1, key=key)
    with pytest.raises(InputError, match=r"at least 0"):
        linear_inverse(flow, Y, OPERATOR, -0.1, key=key)
    with pytest.raises(InputError, match=r"at least 0"):
        inpaint(flow, np.zeros(3), np.ones(3, bool), key=key, noise_std=-1.0)
    with pytest.raises(InputError, match=r"not linear"):
        linear_inverse(flow, np.zeros(3), lambda x: x**2, 0.1, key=key)
    with pytest.raises(InputError, match=r"integer of at least 1"):
        linear_inverse(flow, Y, OPERATOR, 0.1, key=key, n=0)
    with pytest.raises(InputError, match=r"nothing is known"):
        inpaint(flow, np.zeros(3), np.zeros(3, bool), key=key)
    with pytest.raises(InputError, match=r"expected \(3,\) for both"):
        inpaint(flow, np.zeros(2), np.ones(3, bool), key=key)
    with pytest.raises(InputError, match=r"one-sided"):
        linear_inverse(dataclasses.replace(flow, path=Linear()), Y, OPERATOR, 0.1, key=key)
