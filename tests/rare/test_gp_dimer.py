"""The dimer on a surrogate: the same saddles for fewer calls, by the host too, with pruned fits and full stores."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rare.test_dimer import Counting, bonds, reactants
from tests.rare.test_elastic import muller_brown
from thalweg.core import InputError, Status, StatusError, run_host, solve
from thalweg.problems import LEPS
from thalweg.rare import (
    Coordinates,
    Data,
    Dimer,
    Farthest,
    GPDimer,
    Gradient,
    InverseDistances,
    SaddleSearch,
    Surrogate,
    Trust,
)
from thalweg.rare.gp_dimer import _stored

KEY = jax.random.key(0)


def small(**more):
    """Less to compile and to factorise than by default."""
    return GPDimer(subset=Farthest(5, 3, 9), capacity=20, **more)


def test_three_atoms_for_fewer_calls_than_the_plain_dimer_and_truly_counted(x64):
    problem, asked = reactants(), []
    host = SaddleSearch(Counting(problem.system, asked), problem.start, problem.orientation, (0, 1, 2), True)
    jitted = solve(small(tolerance=1e-3), problem, max_steps=30, key=KEY)
    assert jitted.status == Status.converged
    np.testing.assert_allclose(bonds(jitted.value.point), LEPS().saddle, atol=1e-3)
    assert float(jitted.value.curvature) < 0
    assert float(jitted.value.force) < 1e-3
    plain = solve(Dimer(tolerance=1e-3), problem, max_steps=100, key=KEY)
    assert 2 * int(jitted.value.calls) < int(plain.value.calls)
    # Two at first, one a step, and one for the curvature at the end.
    assert int(jitted.value.calls) == 2 + int(jitted.num_steps) + 1
    rest = run_host(small(tolerance=1e-3), host, steps=int(jitted.num_steps) + 2, key=KEY)
    assert int(rest.value.calls) == int(jitted.value.calls) == len(asked)
    np.testing.assert_allclose(rest.value.point, jitted.value.point, atol=1e-4)
    # More data than the subset: it was pruned, and all of them predicted.
    assert int(jitted.info.count[-1]) > 5
    assert (np.asarray(jitted.info.size) >= 5).all()
    assert (np.asarray(jitted.info.variance) < 2.0).all()


def test_coordinates_will_do_for_a_toy(x64):
    problem = SaddleSearch(Gradient(muller_brown), np.asarray([-0.7, 0.9]), np.asarray([1.0, -1.0]))
    surrogate = Surrogate(Coordinates(), scale=2.0, ceiling=None)
    found = solve(small(surrogate=surrogate, tolerance=1e-3), problem, max_steps=30, key=KEY)
    np.testing.assert_allclose(found.value.point, [-0.8220016, 0.6243128], atol=1e-3)
    assert int(found.value.calls) <= 20


def test_a_full_store_drops_what_is_far(x64):
    x = jnp.asarray([[0.0, 0.0], [1.0, 0.0]])
    data = Data.first(3, x, jnp.asarray(0.0), x)
    data = data.added(x.at[0, 0].set(9.0), jnp.asarray(1.0), x).added(x + 0.1, jnp.asarray(2.0), x)
    data = _stored(data, x + 0.2, jnp.asarray(3.0), x, (0, 1))
    np.testing.assert_array_equal(data.energies, [0.0, 2.0, 3.0])
    assert int(data.count) == 3
    # A search with a store that overflows still ends at the saddle.
    tight = GPDimer(subset=Farthest(3, 2, 4), capacity=5)
    found = solve(tight, reactants(), max_steps=40, key=KEY)
    np.testing.assert_allclose(bonds(found.value.point), LEPS().saddle, atol=5e-3)
    assert int(found.info.count.max()) == 5
    assert int(found.value.calls) > 5


def test_the_trust_radius_grows_with_data_up_to_what_the_atoms_allow():
    trust = Trust()
    radius = lambda n, atoms: float(trust.radius(jnp.asarray(n), atoms))  # noqa: E731
    assert radius(0, 3) == pytest.approx(0.15)
    assert radius(50, 3) == pytest.approx(0.15 + 0.175)
    assert radius(100_000, 3) == pytest.approx(0.5)
    assert radius(100_000, 25) == pytest.approx(0.26)
    assert radius(100_000, 400) == pytest.approx(0.2)
    assert float(Trust.constant(0.4).radius(jnp.asarray(7), 30)) == pytest.approx(0.4)


def test_no_climb_leaves_the_trust_radius_but_by_its_first_step(x64):
    method = small(trust=Trust.constant(0.08), climb=50)
    problem = reactants()
    state = method.init(problem, key=KEY)
    rejected, longest = 0, 0.0
    step = eqx.filter_jit(method.step)
    for _ in range(6):
        before = state.data
        state, info = step(problem, state, key=KEY)
        moved = np.linalg.norm(np.asarray(state.point)[None] - np.asarray(before.points), axis=-1).max(axis=1)
        longest = max(longest, moved[: int(before.count)].min())
        rejected += bool(info.rejected)
    assert rejected > 0
    assert longest <= 0.08 + 1e-9
    far = eqx.filter_jit(small(trust=Trust.constant(3.0)).step)(problem, method.init(problem, key=KEY), key=KEY)
    assert int(far[1].climbed) > 2
    assert not bool(far[1].rejected)


def test_a_climb_that_left_the_trust_radius_is_learnt_from_and_not_gone_on_from(x64):
    method, problem = small(trust=Trust.constant(0.08), climb=50), reactants()
    state, rejected = method.init(problem, key=KEY), []
    step = eqx.filter_jit(method.step)
    while not bool(state.done) and len(rejected) < 40:
        before = state
        state, info = step(problem, state, key=KEY)
        rejected.append(bool(info.rejected))
        left = rejected[-1]
        np.testing.assert_array_equal(state.base, before.base if left else state.point)
        np.testing.assert_array_equal(state.heading, before.heading if left else state.orientation)
        assert int(state.data.count) > int(before.data.count)
    assert bool(state.done)
    assert {True, False} == set(rejected)


def test_one_compilation_serves_a_search_by_the_host(x64):
    class Hashed(list):
        __hash__ = object.__hash__

    traces = Hashed()

    class Counted(InverseDistances):
        seen: list = eqx.field(static=True, default=traces)

        def __call__(self, x):
            self.seen.append(1)
            return super().__call__(x)

    method, problem = small(surrogate=Surrogate(Counted())), reactants()
    state = run_host(method, problem, steps=1, key=KEY).state
    once = len(traces)
    run_host(method, problem, steps=3, key=KEY, state=state)
    # `step` is not compiled here, and asks for the groups of the features only.
    assert 0 < once == len(traces)


def test_what_cannot_be_factorised_ends_with_a_status(x64):
    problem, method = reactants(), small()
    state = method.init(problem, key=KEY)
    broken = dataclasses.replace(state, data=eqx.tree_at(lambda d: d.points, state.data, state.data.points * jnp.nan))
    new, info = method.step(problem, broken, key=KEY)
    assert info.status == Status.precision
    assert int(new.calls) == int(state.calls)
    np.testing.assert_array_equal(new.point, state.point)
    # An oracle that fails is not the surrogate's fault.
    nowhere = SaddleSearch(Gradient(lambda x: jnp.sum(x) * jnp.nan), problem.start, problem.orientation)
    with pytest.raises(StatusError, match="non-finite"):
        solve(method, nowhere, max_steps=3, key=KEY)


def test_bad_input():
    with pytest.raises(InputError, match="capacity=8"):
        GPDimer(capacity=8)
    with pytest.raises(InputError, match="divisor=0"):
        GPDimer(divisor=0.0)
    with pytest.raises(InputError, match="climb=0"):
        GPDimer(climb=0)
    with pytest.raises(InputError, match="half=-1"):
        Trust(half=-1.0)
