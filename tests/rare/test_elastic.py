"""Nudged elastic bands: the barrier of a known surface, in JAX and through an ASE calculator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rare.cases import swirl, tilted
from thalweg.core import InputError, run_host, solve
from thalweg.rare import Calculator, Crossing, ElasticBand, Gradient, fixed_point

KEY = jax.random.key(0)


def muller_brown(x):
    """The usual test of path methods, in units of 100: minima at -1.4670 and -1.0817, saddle between at -0.4066."""
    a = jnp.asarray([-2.0, -1.0, -1.7, 0.15])
    c = jnp.asarray([[-1.0, 0.0, -10.0], [-1.0, 0.0, -10.0], [-6.5, 11.0, -6.5], [0.7, 0.6, 0.7]])
    centre = jnp.asarray([[1.0, 0.0], [0.0, 0.5], [-0.5, 1.5], [-1.0, 1.0]])
    d = x - centre
    return jnp.sum(a * jnp.exp(c[:, 0] * d[:, 0] ** 2 + c[:, 1] * d[:, 0] * d[:, 1] + c[:, 2] * d[:, 1] ** 2))


def test_the_barrier_of_muller_and_brown(x64):
    system = Gradient(muller_brown)
    start, end = (fixed_point(system, np.asarray(x)) for x in ([-0.558, 1.442], [0.623, 0.028]))
    band = ElasticBand(0.02, 14, spring=5.0, bend=0.05, tolerance=1e-5)
    got = solve(band, Crossing(system, start, end), max_steps=2000, key=KEY).value
    # The climbing image is at the saddle itself.
    assert float(got.barrier) == pytest.approx(1.4669951 - 0.4066484, abs=1e-5)
    np.testing.assert_allclose(got.transition_state, [-0.8220016, 0.6243128], atol=1e-4)
    assert float(got.arclength[-1]) > 1.8
    # Without climbing the highest image is below the saddle.
    low = solve(ElasticBand(0.02, 14, spring=5.0, climb=False), Crossing(system, start, end), max_steps=2000, key=KEY)
    assert float(low.value.barrier) < float(got.barrier) - 1e-4


def test_a_calculator_is_driven_by_the_host_and_gives_the_same_band():
    from ase import Atoms
    from ase.calculators.calculator import Calculator as Base
    from ase.calculators.calculator import all_changes

    potential = lambda x: tilted(x[:2]) + 3 * x[2] ** 2  # noqa: E731
    slope = jax.jit(jax.value_and_grad(potential))

    class Surface(Base):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            energy, gradient = slope(jnp.asarray(self.atoms.positions[0], jnp.float32))
            self.results = {"energy": float(energy), "forces": -np.asarray(gradient, float)[None]}

    atoms = Atoms("H", positions=[[0.0, 0.0, 0.0]])
    atoms.calc = Surface()
    ends = [np.asarray([[x, x / 2, 0.0]]) for x in (-1.03625, 0.96004)]
    method = ElasticBand(0.05, 8, bend=0.05, tolerance=2e-3)
    host = run_host(method, Crossing(Calculator(atoms), *ends, tolerance=None), steps=60, key=KEY).value
    traced = Gradient(lambda x: potential(x[0]))
    jitted = solve(method, Crossing(traced, *ends, tolerance=None), max_steps=60, key=KEY, throw=False).value
    np.testing.assert_allclose(host.energies, jitted.energies, atol=2e-3)
    assert float(host.barrier) == pytest.approx(1.3168, abs=0.01)


def test_bad_input():
    with pytest.raises(InputError, match="it has no potential"):
        solve(ElasticBand(), swirl(), max_steps=1, key=KEY)
    with pytest.raises(InputError, match="spring=0"):
        ElasticBand(spring=0.0)
    with pytest.raises(InputError, match="no calculator"):
        Calculator(None)

    class Bare:
        calc = "something"

    system = Calculator(Bare())
    with pytest.raises(InputError, match="run_host"):
        jax.jit(lambda x: system.drift(x))(jnp.zeros((1, 3)))
