"""The short reproduction of the active-fluid closures: what must hold does, and what was not run says so."""

import jax
import numpy as np

from thalweg.pde import kinetic_runs
from thalweg.reproduce import active_fluid


def test_the_short_reproduction():
    found = active_fluid.active_fluid_closure(short=True)
    assert found.name == "active-fluid-closure"
    held = {c.claim: c.holds for c in found.claims}
    quadratic = [h for c, h in held.items() if c.startswith("shear") and "times better than quadratic" in c]
    assert quadratic[:2] == [True, True]
    bingham = [h for c, h in held.items() if c.startswith("shear") and "within 50 %" in c]
    assert len(bingham) == 6
    assert all(bingham)
    assert [h for c, h in held.items() if "pushers" in c and "within 50 %" in c] == [True]
    assert [h for c, h in held.items() if "keeps its mass" in c] == [True]
    assert sum(h is None for h in held.values()) == 2


def test_the_drawn_settings_are_those_that_are_told(x64):
    drawn = jax.vmap(active_fluid.draw)(jax.random.split(jax.random.key(5), 200))
    A = np.asarray(drawn.gradient)
    assert np.abs(np.trace(A, axis1=1, axis2=2)).max() == 0
    assert np.ptp(A[:, 0, 0]) > 1.1
    assert A[:, 0, 0].max() < 1.25
    order = 2 * np.hypot(drawn.D[:, 0, 0] - 0.5, drawn.D[:, 0, 1])
    assert 60 < (order < 1e-12).sum() < 140
    assert order.max() < 0.7
    one = jax.tree.map(lambda x: x[:2], drawn)
    runs = kinetic_runs(one, 0.1, active_fluid.TIMES[:2])
    np.testing.assert_allclose(2 * np.hypot(one.D[:, 0, 0] - 0.5, one.D[:, 0, 1]), np.abs(runs.z[:, 0]), atol=1e-6)
