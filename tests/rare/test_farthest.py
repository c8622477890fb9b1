"""Transport distances between configurations, the farthest subset, and when it grows."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.rare import Farthest, aligned, transport

KINDS = (0, 1, 0, 1, 1)


def clouds(n=6, seed=0):
    chance = np.random.default_rng(seed)
    return chance.standard_normal((n, 5, 3)) * np.asarray([1.0, 2.0, 0.5]) + 0.3


def by_permutations(x, y, kind):
    at = [i for i, k in enumerate(KINDS) if k == kind]
    return min(np.mean([np.linalg.norm(x[i] - y[j]) for i, j in zip(at, p, strict=True)])
               for p in itertools.permutations(at))  # fmt: skip


def test_it_is_the_least_of_all_pairings_for_each_kind(x64):
    points = clouds()
    got = np.asarray(transport(jnp.asarray(points[0]), jnp.asarray(points), KINDS))
    truth = [[by_permutations(points[0], y, k) for k in (0, 1)] for y in points]
    np.testing.assert_allclose(got, truth, atol=1e-12)
    # The pairing that keeps every atom is not the best one, or this would not tell.
    plain = np.linalg.norm(points - points[0], axis=-1)[:, [1, 3, 4]].mean(axis=1)
    assert (got[:, 1] < plain - 0.01).any()


def test_exchanged_atoms_are_at_no_distance_and_those_of_other_kinds_are(x64):
    x = jnp.asarray(clouds()[0])
    same, other = x[jnp.asarray([2, 4, 0, 1, 3])], x[jnp.asarray([1, 0, 2, 3, 4])]
    np.testing.assert_allclose(transport(x, same[None], KINDS), 0.0, atol=1e-12)
    assert float(transport(x, other[None], KINDS).min()) > 0.1
    assert float(transport(x, other[None]).max()) == pytest.approx(0.0, abs=1e-12)


def test_single_atoms_need_no_host_and_are_the_norm(x64):
    points = jnp.asarray(clouds())
    got = transport(points[0], points, (0, 1, 2, 3, 4))
    np.testing.assert_allclose(got, jnp.linalg.norm(points - points[0], axis=-1), atol=1e-12)
    plain = transport(points[0, 0], points[:, 0])
    np.testing.assert_allclose(plain[:, 0], jnp.linalg.norm(points[:, 0] - points[0, 0], axis=-1), atol=1e-12)


def test_rotations_count_unless_configurations_are_aligned(x64):
    chance = np.random.default_rng(3)
    x = jnp.asarray(clouds()[0])
    turn = np.linalg.qr(chance.standard_normal((3, 3)))[0]
    turn *= np.linalg.det(turn)
    moved = x @ jnp.asarray(turn) + 2.0
    np.testing.assert_allclose(aligned(moved, x), x, atol=1e-10)
    assert float(transport(x, moved[None], KINDS, align=True).max()) < 1e-10
    assert float(transport(x, moved[None], KINDS).min()) > 0.5
    # A mirror image is another molecule.
    assert float(transport(x, (x * jnp.asarray([1.0, 1.0, -1.0]))[None], KINDS, align=True).max()) > 0.05


def test_compiled_and_mapped_it_is_the_same(x64):
    points = jnp.asarray(clouds())
    each = jnp.stack([transport(x, points, KINDS) for x in points])
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda x: transport(x, points, KINDS)))(points), each, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(each, axis=-1), jnp.sum(each, axis=-1).T, atol=1e-12)


def test_the_latest_are_chosen_and_then_the_farthest():
    line = jnp.asarray([0.0, 0.1, 5.0, 0.2, 9.0, 0.3, 0.35, 0.4, 77.0])[:, None]
    chosen = np.asarray(Farthest(5, 2, 8).chosen(line, jnp.asarray(8), jnp.asarray(5)))[:5]
    # 7 and 6 are the latest; then 9, 5, and 0 is the farthest from 5, 9, 0.35 and 0.4. 77 is not there yet.
    np.testing.assert_array_equal(chosen, [7, 6, 4, 2, 0])
    few = np.asarray(Farthest(5, 2, 8).chosen(line, jnp.asarray(3), jnp.asarray(5)))[:3]
    assert sorted(few) == [0, 1, 2]
    # Of points that are all the same none is taken twice.
    same = np.asarray(Farthest(4, 1, 4).chosen(jnp.ones((5, 2)), jnp.asarray(5), jnp.asarray(4)))
    assert len(set(same.tolist())) == 4


def test_a_fit_that_turns_around_takes_more_data():
    subset = Farthest(10, 3, 13, growth=2, window=5, flips=0.8)
    there_and_back = jnp.asarray([[0.1, 0.2], [0.5, -0.2]] * 3 + [[0.1, 0.2]])
    onward = jnp.linspace(0.0, 1.0, 7)[:, None] * jnp.asarray([1.0, -2.0])
    size = jnp.asarray(10)
    assert bool(subset.oscillates(there_and_back))
    assert not bool(subset.oscillates(onward))
    assert not bool(subset.oscillates(jnp.full((7, 2), jnp.nan)))
    # Two rows make no turn; three do.
    assert not bool(subset.oscillates(there_and_back.at[:5].set(jnp.nan)))
    assert bool(subset.oscillates(there_and_back.at[:4].set(jnp.nan)))
    assert int(subset.grown(size, there_and_back)) == 12
    assert int(subset.grown(size, onward)) == 10
    assert int(subset.grown(jnp.asarray(12), there_and_back)) == 13


def test_bad_input():
    with pytest.raises(InputError, match="latest=4"):
        Farthest(3, 4, 10)
    with pytest.raises(InputError, match="flips=0"):
        Farthest(flips=0.0)
    with pytest.raises(InputError, match="1 kinds for 2 atoms"):
        transport(jnp.zeros((2, 3)), jnp.zeros((4, 2, 3)), (0,))
