"""The short reproduction of energies with Jarzynski's weights: the mass is found, and what fails says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.reproduce import ebm


def test_the_known_normalisation_is_that_of_the_energy(x64):
    d = ebm.DIMENSION
    model = ebm.TwoModes(jnp.zeros(d).at[0].set(-1.0), jnp.zeros(d).at[0].set(0.5), jnp.asarray(0.7))
    line = np.linspace(-15, 15, 20001)
    points = jnp.zeros((len(line), d)).at[:, 0].set(line)
    # The other coordinates are standard normal.
    z = np.trapezoid(np.exp(-np.asarray(jax.vmap(model)(points))), line) * (2 * np.pi) ** ((d - 1) / 2)
    np.testing.assert_allclose(model.log_z, np.log(z), rtol=1e-8)
    np.testing.assert_allclose(model.mass, 1 / (1 + np.exp(-0.7)), rtol=1e-8)


def test_whitened_digits_are_white():
    train, held, _ = ebm.whitened("digits")
    assert train.shape[1] == held.shape[1] == 64
    np.testing.assert_allclose(np.cov(np.asarray(train, np.float64).T), np.eye(64), atol=1e-4)
    assert abs(float(jnp.mean(held**2)) - 1) < 0.1


@pytest.mark.slow
def test_the_short_reproduction():
    found = ebm.jarzynski_ebm(short=True)
    assert found.name == "jarzynski-ebm"
    held = {c.claim: c.holds for c in found.claims}
    assert [h for c, h in held.items() if "mass of the mode" in c] == [True]
    assert [h for c, h in held.items() if "no method without weights" in c] == [True]
    assert [h for c, h in held.items() if "cross-entropy told" in c] == [True]
    assert sum(h is None for h in held.values()) == 2
