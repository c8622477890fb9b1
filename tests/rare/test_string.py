"""The string method: saddles, minimum energy paths, and an upper bound where there is no energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rare.cases import tilted
from thalweg.core import InputError, StatusError, solve
from thalweg.rare import Crossing, Geometric, GinzburgLandau, Gradient, String, evaluate, fixed_point

KEY = jax.random.key(0)


def test_it_lies_along_the_gradient_and_costs_the_barrier(x64):
    system = Gradient(tilted, 2.0)
    start, saddle, end = (fixed_point(system, np.asarray(x)) for x in ([-1.0, -0.5], [0.1, 0.0], [1.0, 0.5]))
    got = solve(String(0.03, 60, tolerance=1e-6), Crossing(system, start, end), max_steps=3000, key=KEY).value
    np.testing.assert_allclose(fixed_point(system, got.transition_state), saddle, atol=1e-9)
    cost = evaluate(system, got.path)
    assert float(cost.action) == pytest.approx(float(tilted(saddle) - tilted(start)), rel=2e-3)
    assert float(got.arclength[-1]) == pytest.approx(np.sqrt(1.25) * float(end[0] - start[0]), rel=0.06)


def test_out_of_equilibrium_its_action_is_an_upper_bound(x64):
    system = GinzburgLandau(0.26)
    low, high = (np.full(2, float(x)) for x in system.phases())
    problem = Crossing(system, low, high)
    relaxed = solve(String(0.05, 80, tolerance=1e-3), problem, max_steps=3000, key=KEY).value
    best = solve(Geometric(80, guess=relaxed.path), problem, max_steps=3000, key=KEY).value
    assert float(evaluate(system, relaxed.path).action) > float(best.action) + 1e-3
    assert float(best.action) == pytest.approx(0.302, abs=1e-3)


def test_stiff_fields_take_long_steps():
    """Explicit steps of this length would grow: D / h^2 is 50 and the fastest rate 200."""
    from thalweg.rare import AllenCahn

    system = AllenCahn(0.0, diffusion=0.5, spacing=0.1)
    problem = Crossing(system, np.full(16, -1.0), np.full(16, 1.0))
    got = solve(String(0.2, 20, tolerance=1e-3), problem, max_steps=400, key=KEY).value
    # So short a ring is homogeneous all along.
    assert float(jnp.abs(got.path - got.path[:, :1]).max()) < 1e-3
    with pytest.raises(StatusError, match="non-finite"):
        solve(String(50.0, 20), problem, max_steps=400, key=KEY)


def test_bad_input():
    for given, message in (
        (dict(step_size=0.0), "step_size=0"),
        (dict(segments=1), "segments=1"),
        (dict(bend=-0.1), "bend"),
        (dict(tolerance=-1.0), "tolerance"),
    ):
        with pytest.raises(InputError, match=message):
            String(**given)
