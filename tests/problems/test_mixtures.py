"""Mixtures: density, score, samples and moments against each other and against SciPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from tests.stats import assert_z
from thalweg.core import InputError, load, save
from thalweg.problems import Mixture, eight_modes, five_modes, gaussian, three_from_two, two_modes
from thalweg.problems.mixtures import normals

CASES = {
    "two": two_modes,
    "eight": eight_modes,
    "three": lambda: three_from_two()[1],
    "five": lambda: five_modes(6),
    "one": lambda: gaussian(jnp.asarray([1.0, -2.0]), jnp.asarray([[2.0, 0.7], [0.7, 0.5]])),
}


@pytest.mark.parametrize("name", CASES)
def test_density_and_score(name, x64, key):
    mixture = CASES[name]()
    x = mixture.means[0] + jax.random.normal(key, (5, *mixture.event))

    @jax.jit
    @jax.vmap
    def everything(x):
        log_prob, slope = jax.value_and_grad(mixture.log_prob)(x)
        normal = normals(x, mixture.means, mixture.covs)
        return log_prob, slope, mixture.score(x), mixture.responsibilities(x), *normal

    log_prob, slope, score, share, logs, pull = everything(x)
    gaussians = [multivariate_normal(m, c) for m, c in zip(mixture.means, mixture.covs, strict=True)]
    expected = np.stack([g.logpdf(np.asarray(x)).reshape(5) for g in gaussians], 1)
    joint = np.exp(expected) * np.asarray(mixture.weights)
    np.testing.assert_allclose(logs, expected, rtol=1e-9)
    np.testing.assert_allclose(log_prob, np.log(joint.sum(1)), rtol=1e-9)
    np.testing.assert_allclose(share, joint / joint.sum(1, keepdims=True), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(score, slope, rtol=1e-8, atol=1e-8)
    offset = np.asarray(x)[:, None] - np.asarray(mixture.means)
    np.testing.assert_allclose(np.einsum("mij,nmj->nmi", mixture.covs, pull), offset, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_moments(name, key):
    mixture, n = CASES[name](), 40_000
    x, which = eqx.filter_jit(mixture.sample_labelled)(key, n)
    x = np.asarray(x, np.float64)
    assert_z(x.mean(0), mixture.mean, x.std(0) / n**0.5)
    centred = x - np.asarray(mixture.mean, np.float64)
    products = np.einsum("ni,nj->nij", centred, centred)
    assert_z(products.mean(0), mixture.covariance, products.std(0) / n**0.5)
    share = np.bincount(which, minlength=len(mixture.weights)) / n
    weights = np.asarray(mixture.weights, np.float64)
    assert_z(share[:-1], weights[:-1], np.sqrt(weights * (1 - weights) / n)[:-1] + 1e-12)


def test_modes_name_the_component(key):
    mixture = eight_modes()
    x, which = mixture.sample_labelled(key, 2000)
    assert float(jnp.mean(jax.vmap(mixture.modes)(x) == which)) > 0.98


def test_density_integrates_to_one(x64):
    mixture = two_modes()
    grid = jnp.linspace(-9, 9, 301)
    cells = jnp.stack(jnp.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    total = jnp.sum(jnp.exp(jax.vmap(mixture.log_prob)(cells))) * (grid[1] - grid[0]) ** 2
    np.testing.assert_allclose(total, 1, rtol=1e-8)


def test_published_moments_and_shapes():
    base, target = three_from_two()
    np.testing.assert_allclose(target.covariance, [[24.443]], atol=5e-4)
    np.testing.assert_allclose(base.covariance, [[9.25]], rtol=1e-6)
    five = five_modes()
    assert five.event == (128,)
    np.testing.assert_allclose(np.mean(np.diagonal(five.covs, axis1=1, axis2=2)), 2, rtol=0.02)
    np.testing.assert_allclose(np.std(five.means), 7.5, rtol=0.1)
    np.testing.assert_array_equal(five.means, five_modes().means)
    assert bool(jnp.any(five.means != five_modes(seed=1).means))


def test_no_house_case_is_symmetric():
    for mixture in (two_modes(), eight_modes()):
        assert float(jnp.min(jnp.abs(mixture.mean))) > 0.05
        assert float(jnp.ptp(mixture.weights)) > 0.1
        assert float(jnp.min(jnp.abs(mixture.covs[:, 0, 1]))) > 1e-3
        assert float(jnp.min(jnp.abs(mixture.covs[:, 0, 0] - mixture.covs[:, 1, 1]))) > 1e-3


def test_saved_and_compiled(tmp_path):
    mixture, x = two_modes(), jnp.asarray([0.3, 0.4])
    save(tmp_path / "m", mixture)
    np.testing.assert_array_equal(load(tmp_path / "m")[0].log_prob(x), mixture.log_prob(x))
    grads = jax.jit(jax.grad(lambda m: Mixture(jnp.ones(2), m, mixture.covs).log_prob(x)))(mixture.means)
    assert bool(jnp.all(jnp.isfinite(grads)))


def test_bad_input_is_refused():
    eye = np.eye(2)[None].repeat(2, 0)
    with pytest.raises(InputError, match=r"expected \(m,\)"):
        Mixture(np.ones(3), np.zeros((2, 2)), eye)
    with pytest.raises(InputError, match="positive numbers"):
        Mixture(np.array([1.0, 0.0]), np.zeros((2, 2)), eye)
    with pytest.raises(InputError, match="positive definite"):
        Mixture(np.ones(2), np.zeros((2, 2)), -eye)
    with pytest.raises(InputError, match="symmetric"):
        Mixture(np.ones(2), np.zeros((2, 2)), eye + np.array([[0.0, 0.3], [0.0, 0.0]]))
    with pytest.raises(InputError, match="at least 1"):
        five_modes(0)
