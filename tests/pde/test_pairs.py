"""Permutations, and what the potential of pairs is made of."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core import InputError
from thalweg.nets import Gradient, Potential
from thalweg.pde import PairPotential, Scaled, Trained, pair_score
from thalweg.pde.scores import Learned

EVENT = (4, 2)


@pytest.fixture
def potential(key, x64):
    made = PairPotential(EVENT, width=8, depth=1, zero=False, key=key)
    return jax.tree.map(lambda x: x.astype(float), made)


def point(k=1):
    return jax.random.normal(jax.random.key(k), EVENT, float) * jnp.asarray([1.0, 0.4]) + 0.3


def test_permuting_the_particles_permutes_the_score(potential):
    x, order = point(), np.asarray([2, 0, 3, 1])
    score = Gradient(Potential(potential))
    np.testing.assert_allclose(score(0.0, x[order]), score(0.0, x)[order], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(potential(0.0, x[order]), potential(0.0, x), rtol=1e-10)


def test_the_sum_of_its_parts(potential):
    x, n = point(), 4
    want = sum(potential.single(0.0, a) for a in x)
    for i in range(n):
        for j in range(n):
            if i != j:
                ij, ji = (potential.pair(0.0, jnp.stack(p)) for p in ((x[i], x[j]), (x[j], x[i])))
                want += (ij + ji) / 2 / (2 * n)
    np.testing.assert_allclose(potential(0.0, x), want, rtol=1e-10)
    # A particle alone would not be felt by the others; here it is.
    far = x.at[3].add(1.0)
    score = Gradient(Potential(potential))
    assert np.abs(score(0.0, far)[0] - score(0.0, x)[0]).max() > 1e-3


def test_a_trained_score_of_a_scaled_cloud_permutes_too(potential):
    x, order = jnp.stack([point(k) for k in range(9)]), np.asarray([2, 0, 3, 1])
    scores = Trained(Gradient(Potential(potential)), optax.sgd(0.1), frame=Scaled())
    score = scores.score(Learned(eqx.filter(scores.net, eqx.is_inexact_array), None, Scaled().measure(x)))
    np.testing.assert_allclose(score(0.0, x[3][order]), score(0.0, x[3])[order], rtol=1e-10, atol=1e-12)


def test_the_score_starts_at_zero(key):
    score = pair_score(EVENT, width=8, depth=1, key=key)
    np.testing.assert_array_equal(score(0.0, jnp.ones(EVENT)), np.zeros(EVENT))


def test_what_is_refused(key):
    for event in ((2,), (1, 2), (2, 2, 2)):
        with pytest.raises(InputError, match="at least two particles"):
            PairPotential(event, key=key)
