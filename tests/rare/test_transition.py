"""What a path says of itself."""

import jax.numpy as jnp
import numpy as np

from thalweg.rare import Gradient, evaluate
from thalweg.rare.transition import transition

SYSTEM = Gradient(lambda x: 0.25 * (x[0] ** 2 - 1) ** 2 + 0.5 * x[1] ** 2, 1.0)


def straight(n=201):
    return jnp.stack([jnp.linspace(-1, 1, n), jnp.zeros(n)], 1)


def test_the_climb_is_paid_for_and_the_descent_is_not(x64):
    got = evaluate(SYSTEM, straight())
    total = np.asarray(got.cumulative)
    np.testing.assert_allclose(total[100:], 0.5, rtol=1e-3)
    # S up to x is 2 (V(x) - V(-1)).
    x = np.linspace(-1, 0, 101)
    np.testing.assert_allclose(total[:101], 0.5 * (x**2 - 1) ** 2, atol=1e-4)
    assert int(got.transition_index) == 100
    np.testing.assert_allclose(got.transition_state, 0, atol=1e-9)
    # The force of the noise climbs against the drift and leaves the descent alone.
    middle = np.asarray(0.5 * (got.path[1:, 0] + got.path[:-1, 0]))
    np.testing.assert_allclose(got.momentum[:, 0], np.where(middle < 0, 2, 0) * (middle**3 - middle), atol=1e-9)


def test_residuals_are_those_of_hamiltons_equations(x64):
    got = evaluate(SYSTEM, straight())
    assert float(got.energy_error) < 1e-3
    assert float(got.velocity_error) < 1e-3
    # Half of the momentum is neither energy-free nor does it move the path at its speed.
    wrong = transition(SYSTEM, got.path, 0.5 * got.momentum, got.speed, got.costs, got.resampled)
    assert float(wrong.energy_error) > 0.1
    assert float(wrong.velocity_error) > 0.1


def test_a_free_path_has_no_transition_state():
    got = evaluate(SYSTEM, straight()[150:])
    assert float(got.action) < 1e-6
    assert int(got.transition_index) in (0, *range(40, 51))
