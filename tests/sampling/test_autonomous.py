"""Fields: closed forms of the divergence against differentiation, and what a change of speed leaves alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.nets import MLP, Potential
from thalweg.problems import Normal, two_modes
from thalweg.sampling.autonomous import (
    Affine,
    FunnelField,
    GradientField,
    Hastened,
    NeuralField,
    Phase,
    PlanarPoisson,
    TwoLayer,
    TwoLayerGradient,
    UnderdampedField,
)

KEY = jax.random.key(0)
FIELDS = {
    "affine": Affine([[0.5, 0.3], [-0.7, 0.2]], [0.4, -0.6]),
    "funnel": FunnelField(1.2, 0.7),
    "two layers": TwoLayer.random(2, 7, scale=3.0, key=KEY),
    "gradient": TwoLayerGradient.random(2, 7, scale=3.0, key=KEY),
    "net": NeuralField(MLP((2,), width=8, depth=2, key=KEY)),
    "potential": GradientField(Potential(MLP((2,), out=(), width=8, depth=2, key=KEY), 0.3)),
    "poisson": PlanarPoisson([0.3, -0.2], 1.0, [2.0, 1.0], 0.6),
    "hastened": Hastened(PlanarPoisson([0.3, -0.2], 1.0, [2.0, 1.0], 0.6), 0.1),
    "underdamped": UnderdampedField(two_modes(), 1.5),
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_divergence_is_the_trace_of_the_derivative(name, x64):
    field = jax.tree.map(lambda a: a.astype(jnp.float64) if eqx.is_inexact_array(a) else a, FIELDS[name])
    x = jnp.asarray([[0.7, -0.4], [0.2, 1.1]]) if name == "underdamped" else jnp.asarray([0.7, -0.4])
    value, div = eqx.filter_jit(lambda f, y: f.rates(y))(field, x)
    jacobian = jax.jacfwd(field)(x).reshape(x.size, x.size)
    np.testing.assert_allclose(value, field(x), rtol=1e-6)
    np.testing.assert_allclose(div, jnp.trace(jacobian), rtol=1e-6, atol=1e-12)
    if name in ("gradient", "potential"):
        np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-12)
    assert value.dtype == jnp.float64


def test_the_divergence_of_the_poisson_field_is_the_difference_of_the_densities():
    x = jnp.asarray([[0.7, -0.4], [2.0, 1.0], [0.3, -0.2], [-3.0, 2.0]])
    target, base = Normal(jnp.asarray([2.0, 1.0]), 0.6), Normal(jnp.asarray([0.3, -0.2]), 1.0)
    found = jax.vmap(FIELDS["poisson"].rates)(x)[1]
    expected = jnp.exp(jax.vmap(target.log_prob)(x)) - jnp.exp(jax.vmap(base.log_prob)(x))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_only_the_friction_of_an_underdamped_field_is_trained():
    x = jnp.asarray([[0.7, -0.4], [0.2, 1.1]])
    grads = eqx.filter_grad(lambda f: jnp.sum(f(x) ** 2))(FIELDS["underdamped"])
    assert float(jnp.abs(grads.friction)) > 0
    assert float(jnp.abs(grads.density.means).max()) == 0


def test_phase_points():
    base = Normal(jnp.asarray([0.3, -0.2]), 1.5)
    phase = Phase(base)
    x = phase.sample(KEY, 4000)
    assert x.shape == (4000, *phase.event)
    np.testing.assert_allclose(jnp.std(x, axis=0), [[1.5, 1.5], [1.0, 1.0]], rtol=0.06)
    np.testing.assert_allclose(
        phase.log_prob(x[0]), base.log_prob(x[0, 0]) + Normal(jnp.zeros(2)).log_prob(x[0, 1]), rtol=1e-5
    )
    assert float(phase.log_z) == 0


def test_bad_input():
    with pytest.raises(InputError, match=r"got matrix \(2, 3\), shift \(2,\)"):
        Affine(jnp.ones((2, 3)), jnp.ones(2))
