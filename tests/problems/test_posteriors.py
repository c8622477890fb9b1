"""Posteriors of real data: the evidence against the chain rule, moments against draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.problems import LinearRegression, LogisticRegression, posterior


def test_the_evidence_is_likelihood_times_prior_over_posterior(x64):
    """At every w: log p(y) = log p(y|w) + log p(w) - log p(w|y)."""
    model = posterior("diabetes")
    assert model.x.shape == (442, 11)
    cov, mean = np.asarray(model.covariance), np.asarray(model.mean)
    for w in (np.zeros(11), mean + 0.1 * np.arange(11)):
        off = w - mean
        log_posterior = -0.5 * (np.linalg.slogdet(2 * np.pi * cov)[1] + off @ np.linalg.solve(cov, off))
        np.testing.assert_allclose(float(model.log_prob(jnp.asarray(w))) - log_posterior, model.log_z, rtol=1e-9)


def test_draws_of_the_linear_posterior(key):
    model = posterior("diabetes")
    draws = np.asarray(model.sample(key, 20_000), float)
    assert_z(draws.mean(0), np.asarray(model.mean, float), draws.std(0) / np.sqrt(len(draws)))
    spread = np.diag(np.asarray(model.covariance, float))
    assert_z(draws.var(0), spread, spread * np.sqrt(2 / len(draws)))


@pytest.mark.parametrize(("name", "shape"), [("breast-cancer", (569, 31)), ("wine", (130, 14))])
def test_logistic_posteriors_are_concave_with_finite_scores(name, shape):
    model = posterior(name)
    assert model.x.shape == shape
    assert model.log_z is None
    w = jnp.linspace(-1.0, 1.0, shape[1])
    assert bool(jnp.isfinite(model.score(w)).all())
    assert float(jnp.linalg.eigvalsh(jax.hessian(model.log_prob)(w))[-1]) < 0
    # A hand-written Bernoulli likelihood.
    p = 1 / (1 + np.exp(-np.asarray(model.x, float) @ np.asarray(w, float)))
    y = np.asarray(model.y)
    by_hand = np.sum(np.log(np.where(y == 1, p, 1 - p))) - 0.5 * np.sum(np.asarray(w, float) ** 2)
    np.testing.assert_allclose(model.log_prob(w), by_hand - 0.5 * shape[1] * np.log(2 * np.pi), rtol=1e-3)


def test_bad_input():
    x, y = jnp.ones((3, 2)), jnp.asarray([0.0, 1.0, 2.0])
    with pytest.raises(InputError, match="other than 0 and 1"):
        LogisticRegression(x, y)
    with pytest.raises(InputError, match="noise"):
        LinearRegression(x, y, noise=0.0)
    with pytest.raises(InputError, match="posterior 'iris'"):
        posterior("iris")
