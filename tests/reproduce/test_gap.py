"""The pieces of the ODE-SDE gap: with the exact potential there is no gap."""

import jax
import jax.numpy as jnp

from thalweg.reproduce import gap


def exact_potential(tau, x):
    """log p_tau of the mixture under the OU noising."""
    shrink = jnp.exp(-tau)
    noise = 0.5 * (1 - shrink**2)
    means = gap.LAW.means * shrink
    variances = gap.LAW.covs[:, 0, 0] * shrink**2 + noise
    logs = -0.5 * (x[0] - means[:, 0]) ** 2 / variances - 0.5 * jnp.log(2 * jnp.pi * variances)
    return jax.scipy.special.logsumexp(logs, b=gap.LAW.weights)


def test_the_exact_potential_has_no_gap_and_no_residual(key):
    found = gap._distances(exact_potential, 4000, 400, key)
    assert found["residual"] < 0.02
    assert found["ode"] < 3 * found["floor"] + 0.01
    assert found["sde"] < 3 * found["floor"] + 0.01

    wrong = gap._distances(lambda tau, x: 0.5 * exact_potential(tau, x), 4000, 400, key)
    assert wrong["residual"] > 0.1
    assert wrong["ode"] > 0.05
