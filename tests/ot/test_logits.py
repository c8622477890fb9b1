"""Graph-on-logits: the bound by brute force, the loss against loops, and derivatives against differences."""

from itertools import permutations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import ot
import pytest

from thalweg.core import InputError
from thalweg.ot.logits import (
    RankNodes,
    VocabularyNodes,
    graph_on_logits,
    gromov_lower_bound,
    logit_graph,
    node_features,
    node_means,
    sorted_gap,
    standardised,
    token_gap,
)

STUDENT = 2.0 * jax.random.normal(jax.random.key(0), (7, 13)) + 0.5
TEACHER = 3.0 * jax.random.normal(jax.random.key(1), (7, 9)) - 1
OTHER = jax.random.normal(jax.random.key(2), (7, 17)) * jnp.linspace(0.5, 3, 17)

loss = eqx.filter_jit(graph_on_logits)
derivative = eqx.filter_jit(eqx.filter_value_and_grad(graph_on_logits))


def random_graph(rng, k=6, t=4):
    z = rng.normal(size=(t, k)) * rng.uniform(0.5, 2, size=k) + rng.normal()
    return z.T @ z / t


def pairing_cost(C, D, P):
    return np.einsum("ijkl,ik,jl->", np.abs(C[:, :, None, None] - D[None, None]), P, P)


def test_the_bound_holds_for_every_permutation_and_for_random_couplings(x64):
    rng = np.random.default_rng(0)
    every = np.asarray(list(permutations(range(6))))
    tight = []
    for _ in range(20):
        C, D = random_graph(rng), random_graph(rng)
        bound = float(gromov_lower_bound(jnp.asarray(C), jnp.asarray(D)))
        shuffled = D[every[:, :, None], every[:, None, :]]
        least = np.abs(C - shuffled).mean((1, 2)).min()
        assert bound <= least + 1e-12
        tight.append(bound / least)
        # Permutations are the corners; couplings in between can cost less, and the bound is below them too.
        flat = np.full(6, 1 / 6)
        couplings = [ot.sinkhorn(flat, flat, rng.normal(size=(6, 6)), e, numItermax=10_000) for e in (0.3, 1.0, 3.0)]
        couplings.append(ot.gromov.gromov_wasserstein(C, D))
        assert all(bound <= pairing_cost(C, D, P) + 1e-9 for P in couplings)
    # Neither empty nor an identity.
    assert 0.2 < np.mean(tight) < 0.95


def test_the_bound_is_never_an_upper_one():
    """A cycle of six and two triangles: equal row means, and no relabelling makes them equal."""
    cycle = np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1)
    triangles = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
    assert float(gromov_lower_bound(jnp.asarray(cycle), jnp.asarray(triangles))) == 0
    every = np.asarray(list(permutations(range(6))))
    least = np.abs(cycle - triangles[every[:, :, None], every[:, None, :]]).mean((1, 2)).min()
    assert least > 0.1
    # Without the 1/k the sum lies above the least cost of some pairs and below that of others.
    twice = sorted_gap(node_features(jnp.asarray(cycle)), node_features(jnp.asarray(2 * cycle)))
    assert float(twice) > np.abs(cycle - 2 * cycle).mean()


def test_the_bound_is_reached_by_constant_graphs_and_follows_scale_and_labels():
    C, D = jnp.full((5, 5), 2.0), jnp.full((5, 5), 3.5)
    np.testing.assert_allclose(gromov_lower_bound(C, D), 1.5)
    rng = np.random.default_rng(1)
    C, D, order = jnp.asarray(random_graph(rng)), jnp.asarray(random_graph(rng)), rng.permutation(6)
    plain = gromov_lower_bound(C, D)
    assert plain > 0
    np.testing.assert_allclose(gromov_lower_bound(C[order][:, order], D), plain, rtol=1e-5)
    np.testing.assert_allclose(gromov_lower_bound(3 * C, 3 * D), 3 * plain, rtol=1e-5)
    np.testing.assert_allclose(gromov_lower_bound(D, C), plain, rtol=1e-6)


def test_features_without_the_graph():
    z = jnp.sort(STUDENT, axis=1)[:, ::-1][:, :5]
    mask = jnp.asarray([True, True, False, True, True, True, False])
    np.testing.assert_allclose(node_means(z, mask), node_features(logit_graph(z, mask)), rtol=1e-5)
    np.testing.assert_allclose(logit_graph(z, mask), np.asarray(z[mask]).T @ np.asarray(z[mask]) / 5, rtol=1e-5)


def by_loops(student, teachers, k, token, graph):
    """The loss as the page writes it: outer products, row means, sorts."""

    def chosen(x):
        x = np.asarray(x, np.float64)
        x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        return -np.sort(-x, axis=1)[:, :k]

    def features(z):
        return np.sort(np.mean([np.outer(row, row) for row in z], axis=0).mean(1))[::-1]

    y, total = chosen(student), 0.0
    for teacher in teachers:
        z = chosen(teacher)
        total += token * np.mean([np.abs(u - v).sum() for u, v in zip(y, z, strict=True)])
        total += graph * np.abs(features(y) - features(z)).sum()
    return total / len(teachers)


def test_the_loss_is_the_one_on_the_page():
    expected = by_loops(STUDENT, [TEACHER, OTHER], 5, 0.7, 0.3)
    found = loss(STUDENT, [TEACHER, OTHER], k=5, token=0.7, graph=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    single = loss(STUDENT, TEACHER, k=5, token=0.7, graph=0.3)
    np.testing.assert_allclose(single, by_loops(STUDENT, [TEACHER], 5, 0.7, 0.3), rtol=1e-5)
    assert float(loss(TEACHER, TEACHER, k=5)) == 0


def test_the_scale_must_come_before_the_largest_are_taken():
    """In the other order every position has mean 0 over its k numbers, and the graph says nothing of any model."""
    late = [standardised(jax.lax.top_k(x, 5)[0]) for x in (STUDENT, TEACHER)]
    np.testing.assert_allclose([node_means(z) for z in late], 0, atol=1e-6)
    early = [jax.lax.top_k(standardised(x), 5)[0] for x in (STUDENT, TEACHER)]
    assert sorted_gap(*(node_means(z) for z in early)) > 0.1


def test_what_must_follow_when_the_logits_change():
    plain = loss(STUDENT, TEACHER, k=4)
    # Another order of the vocabulary, of the positions, another scale and shift of the logits.
    tokens, places = np.random.default_rng(0).permutation(9), np.random.default_rng(1).permutation(7)
    np.testing.assert_allclose(loss(STUDENT, TEACHER[:, tokens], k=4), plain, rtol=1e-5)
    np.testing.assert_allclose(loss(STUDENT[places], TEACHER[places], k=4), plain, rtol=1e-5)
    np.testing.assert_allclose(loss(5 * STUDENT + 3, TEACHER, k=4), plain, rtol=1e-4)
    raw = loss(STUDENT, TEACHER, k=4, standardise=False)
    assert abs(float(loss(5 * STUDENT, TEACHER, k=4, standardise=False)) - float(raw)) > 1
    # A sequence twice as long says the same: nothing grows with its length.
    np.testing.assert_allclose(loss(*(jnp.tile(x, (2, 1)) for x in (STUDENT, TEACHER)), k=4), plain, rtol=1e-5)


@pytest.mark.parametrize("junk", [jnp.nan, jnp.inf, -jnp.inf, 1e30])
def test_padding_counts_for_nothing(junk):
    mask = jnp.arange(10) < 7
    padded = [jnp.concatenate([x, jnp.full((3, x.shape[1]), junk)]) for x in (STUDENT, TEACHER)]
    for nodes in (RankNodes(), VocabularyNodes()):
        value, grad = derivative(padded[0], padded[1], k=4, mask=mask, nodes=nodes)
        expected = derivative(STUDENT, TEACHER, k=4, nodes=nodes)
        np.testing.assert_allclose(value, expected[0], rtol=1e-5)
        np.testing.assert_allclose(grad[:7], expected[1], atol=1e-6)
        np.testing.assert_array_equal(grad[7:], 0)
    nothing = derivative(padded[0], padded[1], k=4, mask=jnp.zeros(10, bool))
    assert float(nothing[0]) == 0
    np.testing.assert_array_equal(nothing[1], 0)


def test_tokens_that_cannot_be_said_are_as_if_they_were_not_there():
    banned = jnp.concatenate([TEACHER, jnp.full((7, 4), -jnp.inf)], axis=1)
    for nodes in (RankNodes(), VocabularyNodes()):
        value = loss(STUDENT, banned, k=5, nodes=nodes)
        np.testing.assert_allclose(value, loss(STUDENT, TEACHER, k=5, nodes=nodes), rtol=1e-5)
    student = jnp.concatenate([STUDENT, jnp.full((7, 4), -jnp.inf)], axis=1)
    grad = jax.grad(lambda s: loss(s, TEACHER, k=5))(student)
    assert np.isfinite(grad).all()
    np.testing.assert_array_equal(grad[:, 13:], 0)
    # Too few that can be said, and numbers that are none, are not hidden.
    few = TEACHER.at[2, 3:].set(-jnp.inf)
    assert np.isnan(loss(STUDENT, few, k=5))
    assert np.isnan(loss(STUDENT.at[3, 3].set(jnp.nan), TEACHER, k=5))
    assert np.isnan(loss(STUDENT, TEACHER.at[3, 3].set(jnp.inf), k=5))


@pytest.mark.parametrize("nodes", [RankNodes(), VocabularyNodes()])
@pytest.mark.parametrize("standardise", [True, False])
def test_derivatives_are_those_of_differences(nodes, standardise, x64):
    student, teacher = (jnp.asarray(np.asarray(x), jnp.float64) for x in (STUDENT, TEACHER))

    @jax.jit
    def at(s):
        return graph_on_logits(
            s, [teacher, 2 * teacher + 1], k=4, token=0.6, graph=1.7, nodes=nodes, standardise=standardise
        )

    grad = jax.grad(at)(student)
    for seed in range(3):
        way = jax.random.normal(jax.random.key(seed), student.shape, student.dtype)
        difference = (at(student + 1e-6 * way) - at(student - 1e-6 * way)) / 2e-6
        np.testing.assert_allclose(jnp.sum(grad * way), difference, rtol=1e-5)
    assert float(jnp.abs(grad).max()) > 0
    np.testing.assert_array_equal(jax.grad(lambda t: loss(student, t, k=4))(teacher), 0)


def test_the_nodes_of_a_vocabulary_are_its_most_active_tokens():
    mask = jnp.ones(7, bool).at[6].set(False)
    logits = OTHER.at[6].set(1e6)
    found = VocabularyNodes()(logits, mask, 3)
    order = np.argsort(-np.asarray(logits[:6]).mean(0))[:3]
    np.testing.assert_array_equal(found, logits[:, order])
    rank, vocabulary = (loss(STUDENT, OTHER, k=3, nodes=n) for n in (RankNodes(), VocabularyNodes()))
    assert abs(float(rank) - float(vocabulary)) > 1e-2


def test_ties_and_flat_logits_have_finite_derivatives():
    for flat in (jnp.zeros((7, 13)), jnp.full((7, 13), 0.1), jnp.tile(STUDENT[:, :1], (1, 13))):
        np.testing.assert_allclose(standardised(flat), 0)
        grad = jax.grad(lambda s: loss(s, TEACHER, k=5))(flat)
        assert np.isfinite(grad).all()
    assert np.isfinite(jax.grad(lambda s: loss(s, TEACHER, k=1))(STUDENT)).all()
    np.testing.assert_allclose(standardised(STUDENT).std(1), 1, rtol=1e-4)


def test_half_precision_is_computed_in_single():
    half = [x.astype(jnp.bfloat16) for x in (STUDENT, TEACHER)]
    value, grad = jax.value_and_grad(lambda s: loss(s, half[1], k=5))(half[0])
    exact = loss(*(x.astype(jnp.float32) for x in half), k=5)
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert grad.dtype == jnp.bfloat16


def test_training_on_it_compiled_and_over_a_batch():
    students = jnp.stack([STUDENT, STUDENT[::-1]])
    teachers = jnp.stack([TEACHER, 0.5 * TEACHER])
    optimiser = optax.adam(0.03)

    def mean(s):
        return jnp.mean(jax.vmap(lambda a, b: graph_on_logits(a, b, k=6))(s, teachers))

    @jax.jit
    def step(s, state):
        updates, state = optimiser.update(jax.grad(mean)(s), state)
        return optax.apply_updates(s, updates), state

    s, state = students, optimiser.init(students)
    for _ in range(300):
        s, state = step(s, state)
    assert mean(s) < 0.3 * mean(students)


def test_bad_input():
    with pytest.raises(InputError, match=r"k is 10, but teacher 0 has a vocabulary of 9"):
        graph_on_logits(STUDENT, TEACHER, k=10)
    with pytest.raises(InputError, match=r"k is 14, but the student has a vocabulary of 13"):
        graph_on_logits(STUDENT, OTHER, k=14)
    with pytest.raises(InputError, match=r"k is 0"):
        graph_on_logits(STUDENT, TEACHER, k=0)
    with pytest.raises(InputError, match=r"teacher 1 has logits of shape \(5, 9\); expected 7 positions"):
        graph_on_logits(STUDENT, [OTHER, TEACHER[:5]], k=3)
    with pytest.raises(InputError, match=r"no teacher"):
        graph_on_logits(STUDENT, [], k=3)
    with pytest.raises(InputError, match=r"features of 3 and 4 nodes; expected the same k"):
        sorted_gap(jnp.ones(3), jnp.ones(4))
    assert float(token_gap(jnp.ones((2, 3)), jnp.zeros((2, 3)))) == 3
