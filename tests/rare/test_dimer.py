"""The plain dimer: known saddles, what it costs, atoms that do not move, a calculator, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rare.test_elastic import muller_brown
from thalweg.core import InputError, Status, run_host, solve
from thalweg.problems import LEPS
from thalweg.rare import Clamped, Crossing, Dimer, ElasticBand, Gradient, SaddleSearch, dimer, growth_rates
from thalweg.rare.hamiltonian import AbstractGradient

KEY = jax.random.key(0)


class Counting(AbstractGradient):
    """A potential that cannot be traced, as a calculator, and counts how often it is asked."""

    inner: Gradient
    asked: list

    @property
    def noise(self):
        return self.inner.noise

    def potential(self, x):
        return self.inner.potential(jnp.asarray(np.asarray(x)))

    def drift(self, x):
        self.asked.append(np.asarray(x))
        return self.inner.drift(x)


def reactants(dim=2, seed=0):
    surface, chance = LEPS(), np.random.default_rng(seed)
    start = surface.placed(np.asarray([1.5, 0.75]), dim) + 0.03 * chance.standard_normal((3, dim))
    axis = np.zeros((3, dim))
    axis[:2, 0] = -1.0, 1.0
    return SaddleSearch(Gradient(surface), start, axis, (0, 1, 2), True)


def bonds(x):
    return np.linalg.norm(np.diff(np.asarray(x), axis=0), axis=1)


def test_a_saddle_of_muller_and_brown(x64):
    problem = SaddleSearch(Gradient(muller_brown), np.asarray([-0.7, 0.9]), np.asarray([1.0, -1.0]))
    found = solve(Dimer(tolerance=1e-5, separation=1e-3), problem, max_steps=100, key=KEY)
    assert found.status == Status.converged
    np.testing.assert_allclose(found.value.point, [-0.8220016, 0.6243128], atol=1e-5)
    assert (np.asarray(growth_rates(problem.system, found.value.point)) > 0).sum() == 1
    values, vectors = np.linalg.eigh(jax.hessian(muller_brown)(found.value.point))
    assert float(found.value.curvature) == pytest.approx(values[0], rel=0.05)
    assert abs(float(found.value.orientation @ vectors[:, 0])) > 0.99


def test_the_saddle_of_three_atoms_and_what_it_costs(x64):
    problem = reactants()
    found = solve(Dimer(tolerance=1e-3), problem, max_steps=100, key=KEY)
    np.testing.assert_allclose(bonds(found.value.point), LEPS().saddle, atol=1e-3)
    assert float(found.value.curvature) < 0
    # Nothing has moved or turned all atoms together.
    np.testing.assert_allclose(jnp.mean(found.value.point, axis=0), jnp.mean(problem.start, axis=0), atol=1e-10)
    calls = np.asarray(found.info.calls)
    # One for the start; then one or two at the image, and one at the middle unless the search is over.
    assert calls[-1] == found.value.calls
    assert set(np.diff(calls)) <= {1, 2, 3}


def test_the_host_asks_as_often_as_it_says_and_stops_asking(x64):
    problem = reactants()
    asked: list = []
    host = SaddleSearch(Counting(problem.system, asked), problem.start, problem.orientation, (0, 1, 2), True)
    method = Dimer()
    jitted = solve(method, problem, max_steps=60, key=KEY)
    rest = run_host(method, host, steps=int(jitted.num_steps) + 4, key=KEY)
    assert int(rest.value.calls) == int(jitted.value.calls) == len(asked)
    np.testing.assert_allclose(rest.value.point, jitted.value.point, atol=1e-8)
    assert bool((rest.info.status == Status.converged)[-1])


def test_a_search_by_the_host_compiles_its_loops_once(x64, monkeypatch):
    problem, traced = reactants(), []
    step_along = dimer.step_along
    monkeypatch.setattr(dimer, "step_along", lambda *args: (traced.append(1), step_along(*args))[1])
    host = SaddleSearch(Counting(problem.system, []), problem.start, problem.orientation, (0, 1, 2), True)
    first = run_host(Dimer(), host, steps=2, key=KEY)
    once = len(traced)
    run_host(Dimer(), host, steps=4, key=KEY, state=first.state)
    # None at all where another test has compiled it.
    assert len(traced) == once <= 1


def test_turned_and_exchanged_the_search_follows(x64):
    problem = reactants()
    turn = jnp.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((2, 2)))[0])
    other = SaddleSearch(problem.system, problem.start @ turn + 2, problem.orientation @ turn, (0, 1, 2), True)
    here, there = (solve(Dimer(), p, max_steps=60, key=KEY).value for p in (problem, other))
    assert int(here.calls) == int(there.calls)
    np.testing.assert_allclose(here.point @ turn + 2, there.point, atol=1e-6)


def test_atoms_that_do_not_move(x64):
    surface = LEPS()
    frame = surface.placed(np.asarray([1.3, 0.9]), 2)
    system = Clamped(Gradient(surface), frame, (1,))
    np.testing.assert_allclose(system.first, frame[1:2])
    np.testing.assert_allclose(system.fixed, frame[jnp.asarray([0, 2])])
    x = jnp.asarray([[0.05, 0.02]])
    full = frame.at[1].set(x[0])
    assert float(system.potential(x)) == pytest.approx(float(surface(full)))
    np.testing.assert_allclose(system.drift(x)[0], -jax.grad(surface)(full)[1])
    path = jnp.stack([x, x + 0.1])
    np.testing.assert_allclose(system.drifts(path)[1], system.drift(path[1]))
    # Between two that stay the one in the middle has its own saddle, which an elastic band finds too.
    outer = surface.placed(np.asarray([2.0, 2.0]), 1)
    free = Clamped(Gradient(surface), outer, (1,))
    ends = jnp.asarray([[-1.2]]), jnp.asarray([[1.2]])
    band = solve(ElasticBand(0.02, 8, tolerance=1e-4), Crossing(free, *ends, tolerance=None), max_steps=3000, key=KEY)
    start = SaddleSearch(free, np.asarray([[0.1]]), np.asarray([[1.0]]))
    found = solve(Dimer(tolerance=1e-4), start, max_steps=60, key=KEY).value
    np.testing.assert_allclose(found.point, band.value.transition_state, atol=1e-3)


def test_bad_input():
    system, x = Gradient(LEPS()), LEPS().placed(np.asarray([1.0, 1.0]), 2)
    with pytest.raises(InputError, match="its length is 0"):
        SaddleSearch(system, x, 0 * x)
    with pytest.raises(InputError, match="rigid motions taken out"):
        SaddleSearch(system, x, jnp.ones_like(x), rigid=True)
    with pytest.raises(InputError, match="atoms 0 and 2 of the start coincide"):
        SaddleSearch(system, x.at[2].set(x[0]), x)
    with pytest.raises(InputError, match="expected the same shape"):
        SaddleSearch(system, x, x[:2])
    with pytest.raises(InputError, match="is not finite"):
        SaddleSearch(system, x * jnp.nan, x)
    with pytest.raises(InputError, match="2 kinds for 3 atoms"):
        SaddleSearch(system, x, x, (0, 1))
    with pytest.raises(InputError, match="need atoms"):
        SaddleSearch(Gradient(muller_brown), np.zeros(2), np.ones(2), rigid=True)
    with pytest.raises(InputError, match="rotations=0"):
        Dimer(rotations=0)
    with pytest.raises(InputError, match="longest=0"):
        Dimer(longest=0.0)
    with pytest.raises(InputError, match="expected different atoms"):
        Clamped(system, x, (1, 1))
