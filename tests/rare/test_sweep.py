"""Several tries, sweeps there and back, and the boundary where two phases are equally stable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from thalweg.core import InputError
from thalweg.rare import (
    AllenCahn,
    Cell,
    Crossing,
    Geometric,
    GinzburgLandau,
    Schlogl,
    String,
    follow,
    phase_boundary,
    search,
)

KEY = jax.random.key(0)


def two_sites(kappa):
    system = GinzburgLandau(kappa)
    low, high = (np.full(2, float(x)) for x in system.phases())
    return Crossing(system, low, high)


def test_the_best_of_several_tries(x64):
    found = search(Geometric(50), two_sites(0.26), tries=3, key=KEY)
    assert found.actions.shape == (3,)
    assert float(found.best.action) == float(found.actions.min()) == pytest.approx(0.302, abs=2e-3)
    with pytest.raises(InputError, match="tries=0"):
        search(Geometric(50), two_sites(0.26), tries=0, key=KEY)


def nucleus(length, diffusion=0.05):
    """The barrier of Allen-Cahn on a ring: one wave between -m and m, by its first integral."""
    # u = m sin(angle), and the well at u less that at m is m^2 cos^2 (2 - m^2 - u^2) / 4.
    root = lambda q, m: np.sqrt((2 - m * m - (m * np.sin(q)) ** 2) / (2 * diffusion))  # noqa: E731
    half = lambda fn: 2 * quad(fn, -np.pi / 2, np.pi / 2, limit=200)[0]  # noqa: E731
    m = brentq(lambda m: half(lambda q: 1 / root(q, m)) - length, 1e-6, 1 - 1e-9)
    wave = half(lambda q: (m * np.cos(q)) ** 2 * root(q, m))
    return 0.25 * (1 - m * m) ** 2 * length + diffusion * wave


def test_a_field_turns_over_by_a_nucleus_not_all_at_once(x64):
    sites, length = 24, 3.0
    system = AllenCahn(0.0, 0.05, length / sites, measure=Cell(length / sites))
    problem = Crossing(system, np.full(sites, -1.0), np.full(sites, 1.0))
    found = search(Geometric(40, tolerance=1e-6), problem, tries=1, key=KEY, relax=String(0.2, 40, tolerance=1e-3))
    # Homogeneous: length / 4 = 0.75.
    assert float(found.best.action) == pytest.approx(nucleus(length), rel=0.01)
    assert nucleus(length) < 0.6 * length / 4


def test_a_sweep_is_what_its_members_are(x64):
    values = (0.1, 0.18, 0.26)
    swept = follow(Geometric(50), [two_sites(k) for k in values], key=KEY)
    assert float(swept[-1].action) == pytest.approx(0.302, abs=2e-3)
    alone = search(Geometric(50), two_sites(0.1), tries=2, key=jax.random.key(5))
    assert float(swept[0].action) == pytest.approx(float(alone.best.action), rel=1e-3)
    assert [float(t.action) for t in swept] == sorted((float(t.action) for t in swept), reverse=True)
    with pytest.raises(InputError, match="no problems"):
        follow(Geometric(50), [], key=KEY)


def test_the_boundary_of_schlogl_in_one_volume(x64):
    """k0 where the two integrals of logarithms are the same."""

    def crossing(k0):
        system = Schlogl((k0, 2.9, 3.1, 1.0), 0.0)
        low, _, high = (np.asarray([float(x)]) for x in system.phases())
        return Crossing(system, low, high)

    def difference(k0):
        system = Schlogl((k0, 2.9, 3.1, 1.0))
        low, _, high = (float(x) for x in system.phases())
        return quad(lambda x: np.log((2.9 * x + x**3) / (k0 + 3.1 * x * x)), low, high)[0]

    truth = brentq(difference, 0.79, 0.83)
    found = phase_boundary(Geometric(40), crossing, 0.79, 0.83, key=KEY, tolerance=1e-5, tries=1)
    assert float(found.parameter) == pytest.approx(truth, abs=1e-4)
    assert float(found.forward.action) == pytest.approx(float(found.backward.action), rel=0.02)
    with pytest.raises(InputError, match="widen the interval"):
        phase_boundary(Geometric(40), crossing, 0.79, 0.795, key=KEY, tries=1)
    assert jnp.isfinite(found.parameter)
