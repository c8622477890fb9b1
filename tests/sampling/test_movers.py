"""Weights of moves: exact for every step size, and not without the ratio of the transitions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import Density, Normal
from thalweg.sampling import HMC, Invariant, Jarzynski, unadjusted

OLD = Normal(jnp.asarray([0.5, -1.0]), jnp.asarray([1.0, 1.5]))
NEW = Normal(jnp.asarray([0.9, -0.7]), jnp.asarray([0.8, 1.2]))
N = 40_000


def z_scores(h, key, forgotten=False):
    """z of E[w] = 1 and of E[w y] = the new mean, from exact draws of the old density."""
    x = OLD.sample(key, N)
    keys = jax.random.split(jax.random.fold_in(key, 1), N)
    step = lambda x, k: unadjusted(OLD, NEW, x, jnp.asarray(h), jnp.asarray([1.0, 1.3]), key=k)  # noqa: E731
    y, log_w = jax.jit(jax.vmap(step))(x, keys)
    if forgotten:
        # As if the step were reversible: without the ratio of the transition densities.
        log_w = jax.vmap(NEW.log_prob)(y) - jax.vmap(OLD.log_prob)(x)
    w = np.exp(np.asarray(log_w, float))
    seen = np.concatenate([w[:, None], w[:, None] * (np.asarray(y, float) - np.asarray(NEW.mean, float))], axis=1)
    truth = np.asarray([1.0, 0.0, 0.0])
    return (seen.mean(0) - truth) / (seen.std(0) / np.sqrt(N))


@pytest.mark.parametrize("h", [0.02, 0.3])
def test_unadjusted_steps_have_exact_weights_at_any_step_size(h, key):
    assert np.abs(z_scores(h, key)).max() < 4.5


def test_without_the_ratio_of_transitions_they_have_not(key):
    assert np.abs(z_scores(0.3, key, forgotten=True)).max() > 4.5


def test_a_step_between_equal_densities_has_weights_that_vanish_with_h(key):
    x = OLD.sample(key, 1000)
    keys = jax.random.split(key, 1000)

    def spread(h):
        step = lambda x, k: unadjusted(OLD, OLD, x, jnp.asarray(h), jnp.asarray(1.0), key=k)  # noqa: E731
        return float(jnp.std(jax.vmap(step)(x, keys)[1]))

    assert spread(0.01) < 0.1 * spread(0.1)


def test_tuning_follows_the_acceptance_and_the_spread(key):
    from thalweg.sampling import Tempering

    problem = Tempering(Normal(jnp.zeros(2), jnp.asarray([3.0, 3.0])), NEW)
    mover = Invariant(HMC(0.01, jnp.ones(2), leaps=2), moves=2)
    x = NEW.sample(key, 500)
    beta = jnp.asarray(1.0)
    _, log_w, _, broken, kernel = eqx.filter_jit(mover)(problem, mover.kernel, x, beta, beta, key=key)
    assert float(jnp.abs(log_w).max()) == 0.0
    assert int(broken) == 0
    assert float(kernel.step_size) > 0.01
    np.testing.assert_allclose(kernel.scale, jnp.std(x, axis=0), rtol=1e-5)
    assert mover.cost() == 1 + 2 * 2
    still = Invariant(HMC(0.01, jnp.ones(2), leaps=2), tuning=0.0)
    assert float(still(problem, still.kernel, x, beta, beta, key=key)[4].step_size) == pytest.approx(0.01)


def test_bad_input():
    with pytest.raises(InputError, match="moves"):
        Invariant(HMC(0.1), moves=0)
    with pytest.raises(InputError, match="step_size"):
        Jarzynski(0.0)
    # A density that is zero somewhere: the weight is -inf, not NaN.
    half = Density(lambda x: jnp.where(x[0] > 50, 0.0, -jnp.inf), (2,))
    _, log_w = unadjusted(OLD, half, jnp.zeros(2), jnp.asarray(0.1), jnp.asarray(1.0), key=jax.random.key(0))
    assert float(log_w) == -np.inf
