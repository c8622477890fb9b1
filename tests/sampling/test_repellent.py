"""Self-repellent and history-driven walks: kernels, spectra, measured variances, symmetries, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from tests.stats import assert_z
from thalweg.core import InputError, run
from thalweg.sampling.repellent import (
    HistoryDriven,
    SelfRepellent,
    asymptotic_covariance,
    asymptotic_variance,
    independent_variance,
    metropolis_walk,
    reversible_chain,
    simple_walk,
    transition_matrix,
)

KEY = jax.random.key(3)
both = pytest.mark.parametrize("walk", [SelfRepellent, HistoryDriven])


def graph():
    """Eight nodes with degrees 1 to 4, two triangles and a tail: no two nodes alike."""
    g = nx.Graph()
    g.add_nodes_from(range(8))
    g.add_edges_from([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5), (2, 6), (6, 4), (1, 7)])
    return g


MU = np.arange(1.0, 9) / 36
F = np.asarray([3.0, -1, 2, 0.5, 4, -2, 1, 2.5])


def fundamental_variance(P, mu, f):
    """2 <f, Z f> - <f, f> of the centred f, Z = (I - P + 1 mu^T)^-1: the textbook's asymptotic variance."""
    f = f - mu @ f
    Z = np.linalg.inv(np.eye(len(mu)) - P + mu)
    return 2 * mu @ (f * (Z @ f)) - mu @ f**2


def test_the_walks_have_the_textbook_s_rows():
    g = graph()
    A, P = nx.to_numpy_array(g, nodelist=range(8)), transition_matrix(simple_walk(g))
    d = A.sum(1)
    np.testing.assert_allclose(P, A / d[:, None], atol=1e-7)
    np.testing.assert_allclose(simple_walk(g).target, d / d.sum(), rtol=1e-6)
    P = transition_matrix(metropolis_walk(g, MU))
    expected = A / d[:, None] * np.minimum(1, MU * d[:, None] / (MU[:, None] * d))
    expected += np.diag(1 - expected.sum(1))
    np.testing.assert_allclose(P, expected, atol=1e-6)
    np.testing.assert_allclose(MU @ P, MU, rtol=1e-5)
    # The target is found from the matrix alone, and a graph is the same in every form.
    np.testing.assert_allclose(reversible_chain(sp.csr_array(P)).target, MU, rtol=1e-4)
    for same in (A, sp.coo_array(A)):
        assert eqx.tree_equal(metropolis_walk(same, MU), metropolis_walk(g, MU))
    lazy = transition_matrix(simple_walk(A, lazy=0.25))
    np.testing.assert_allclose(lazy, 0.75 * A / d[:, None] + 0.25 * np.eye(8), atol=1e-7)


def test_without_repulsion_the_variance_is_that_of_the_base_chain(x64):
    for chain in (metropolis_walk(graph(), MU), simple_walk(graph())):
        P, mu = transition_matrix(chain), np.asarray(chain.target)
        truth = fundamental_variance(P, mu, F)
        np.testing.assert_allclose(asymptotic_variance(chain, SelfRepellent(0.0), F), truth, rtol=1e-10)
        np.testing.assert_allclose(asymptotic_variance(chain, HistoryDriven(0.0), F), truth, rtol=1e-10)
        base = asymptotic_covariance(chain, SelfRepellent(0.0))
        np.testing.assert_allclose(asymptotic_covariance(chain, HistoryDriven(1.5)), base / 4, atol=1e-12)
        np.testing.assert_allclose(asymptotic_covariance(chain, HistoryDriven(1.5, decay=0.8)), base / 6.25, atol=1e-12)
        # Frequencies sum to one, so that a constant has no variance.
        np.testing.assert_allclose(base @ np.ones(8), 0, atol=1e-12)


def test_limits_of_the_variance(x64):
    chain = metropolis_walk(graph(), MU)
    values = [asymptotic_variance(chain, SelfRepellent(float(a)), F) for a in (0, 0.5, 1, 4, 100)]
    assert (np.diff(values) < 0).all()
    # alpha V(alpha) has a limit, in which the factor 1 + lambda cancels.
    large = [a * asymptotic_variance(chain, SelfRepellent(a), F) for a in (1e6, 1e7)]
    np.testing.assert_allclose(large[0], large[1], rtol=1e-5)
    forgetting = [a**2 * asymptotic_variance(chain, SelfRepellent(a, decay=0.8), F) for a in (1e6, 1e7)]
    np.testing.assert_allclose(forgetting[0], forgetting[1], rtol=1e-5)
    # On a complete graph with P_ij = mu_j all draws are independent: every lambda is 0.
    iid = reversible_chain(np.tile(MU, (8, 1)))
    np.testing.assert_allclose(asymptotic_variance(iid, SelfRepellent(0.0), F), independent_variance(iid, F), rtol=1e-9)
    np.testing.assert_allclose(
        asymptotic_variance(iid, SelfRepellent(2.0), F), independent_variance(iid, F) / 5, rtol=1e-9
    )


@pytest.mark.parametrize("walk", [SelfRepellent, HistoryDriven])
@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_one_step_follows_the_kernel(walk, decay):
    """From a state with a past: transition frequencies of 40,000 walkers against the formula written out."""
    chain, n, alpha, here = metropolis_walk(graph(), MU), 40_000, 1.7, 2
    method = walk(alpha, walkers=n, decay=decay, start=here, fake=0.5)
    first = method.init(chain, key=KEY)
    visits = jnp.asarray([3, 0, 9, 1, 0, 2, 5, 1])
    x = np.asarray((visits + 4 * MU) / 25)
    log_x = None if decay == 1 else jnp.broadcast_to(jnp.log(jnp.asarray(x, jnp.float32)) + 7, (n, 8))
    state = eqx.tree_at(lambda s: s.visits, first, jnp.broadcast_to(visits, (n, 8)).astype(jnp.int32))
    if log_x is not None:
        state = eqx.tree_at(lambda s: (s.log_x, s.log_scale), state, (log_x, jnp.asarray(-7.0)))
    new, info = method.step(chain, state, key=KEY)
    P, r = transition_matrix(chain)[here], (x / MU) ** -alpha
    A = nx.to_numpy_array(graph(), nodelist=range(8))

    def row(r):
        if walk is SelfRepellent:
            return P * r / (P @ r)
        flow = MU * r / A.sum(1)
        moved = A[here] / A[here].sum() * np.minimum(1, flow / flow[here])
        return moved + (1 - moved.sum()) * (np.arange(8) == here)

    share = np.bincount(np.asarray(new.node), minlength=8) / n
    truth = row(r)
    seen = truth > 1e-12
    assert not share[~seen].any()
    stderr = np.sqrt(truth * (1 - truth) / n)[seen]
    assert_z(share[seen], truth[seen], stderr)
    with pytest.raises(AssertionError, match="z ="):  # the twin: attracted instead of repelled
        assert_z(share[seen], row(1 / r)[seen], stderr)
    assert np.isfinite(info.log_factor)


def test_the_feedback_is_the_recursion_of_the_paper(x64):
    chain = metropolis_walk(graph(), MU)
    for decay in (1.0, 0.6):
        method = SelfRepellent(2.0, walkers=3, decay=decay, fake=0.25)
        result = run(method, chain, steps=200, key=KEY)
        x = np.tile(MU, (3, 1))
        for k, nodes in enumerate(np.asarray(result.info.node)):
            gamma = (k + 1 + 0.25 * 8) ** -decay
            x += gamma * (np.eye(8)[nodes] - x)
        np.testing.assert_allclose(result.value.feedback, x, rtol=1e-9)
        np.testing.assert_allclose(result.value.feedback.sum(1), 1, rtol=1e-9)
        np.testing.assert_array_equal(result.value.visits.sum(1), 200)


def test_without_repulsion_the_law_is_that_of_the_base_chain():
    chain, n = metropolis_walk(graph(), MU), 20_000
    P = transition_matrix(chain)
    for walk in (SelfRepellent, HistoryDriven):
        result = run(walk(0.0, walkers=n, start=7), chain, steps=6, key=KEY)
        law = np.linalg.matrix_power(P, 6)[7]
        share = np.bincount(np.asarray(result.info.node[-1]), minlength=8) / n
        assert_z(share, law, np.sqrt(law * (1 - law) / n))
        with pytest.raises(AssertionError, match="z ="):  # the twin: the law one step on
            assert_z(share, law @ P, np.sqrt(law * (1 - law) / n))


@both
def test_the_measured_variance_is_the_predicted_one(walk):
    chain = metropolis_walk(graph(), MU)
    method = walk(3.0, walkers=2000)
    result = run(method, chain, steps=3000, key=KEY)
    found, f = result.value.scaled_mse(jnp.asarray(F, jnp.float32)), F
    # 5 % is what 2000 walkers tell, and more than what 3000 steps are off the limit by.
    truth = asymptotic_variance(chain, method, f)
    assert_z(found.mean, truth, found.stderr, max_stderr=0.04 * truth)
    average = result.value.expectation(jnp.asarray(F, jnp.float32))
    assert_z(average.mean, MU @ F, average.stderr)
    # The twins: each walk with the other's factor, and without any.
    other = HistoryDriven if walk is SelfRepellent else SelfRepellent
    for wrong in (other(3.0), walk(0.0), walk(6.0)):
        with pytest.raises(AssertionError, match="z ="):
            assert_z(found.mean, asymptotic_variance(chain, wrong, f), found.stderr)


def test_forgetting_lowers_the_variance():
    """alpha is small and a is 0.7, so that a few thousand steps are near the limit (2 % by the linear recursion)."""
    chain, n, walkers = metropolis_walk(graph(), MU), 2000, 2500
    method = SelfRepellent(0.5, walkers=walkers, decay=0.7)
    result = run(method, chain, steps=n, key=KEY)
    averages = np.asarray(result.value.averages(jnp.asarray(F, jnp.float32)), np.float64)
    variance = n * averages.var(ddof=1)
    stderr = variance * np.sqrt(2 / walkers)
    truth = asymptotic_variance(chain, method, F)
    assert_z(variance, truth, stderr, max_stderr=0.04 * truth)
    with pytest.raises(AssertionError, match="z ="):  # the twin: the formula for a = 1
        assert_z(variance, asymptotic_variance(chain, SelfRepellent(0.5), F), stderr)


def test_names_of_the_nodes_do_not_matter(x64):
    order = np.random.default_rng(0).permutation(8)
    g = graph()
    A = nx.to_numpy_array(g, nodelist=range(8))[np.ix_(order, order)]
    method = SelfRepellent(2.0)
    V = asymptotic_covariance(metropolis_walk(g, MU), method)
    moved = asymptotic_covariance(metropolis_walk(A, MU[order]), method)
    np.testing.assert_allclose(moved, V[np.ix_(order, order)], atol=1e-12)


def test_a_large_alpha_and_a_long_forgetting_walk_stay_finite():
    chain = metropolis_walk(graph(), MU)
    for alpha in (1e3, 1e30):
        for walk in (SelfRepellent, HistoryDriven):
            value = run(walk(alpha, walkers=4), chain, steps=300, key=KEY).value
            assert np.isfinite(value.feedback).all()
            assert (value.visits.sum(1) == 300).all()
    # exp of the scale alone would underflow in single precision after a few thousand steps.
    result = run(SelfRepellent(1.0, walkers=2, decay=0.51), chain, steps=6000, key=KEY)
    assert result.state.state.log_scale < -110
    np.testing.assert_allclose(result.value.feedback.sum(1), 1, rtol=1e-3)


def test_a_large_sparse_graph_is_stored_by_its_edges():
    n = 20_000
    chain = metropolis_walk(nx.random_regular_graph(3, n, seed=1))
    assert chain.neighbours.shape[1] <= 4
    value = run(SelfRepellent(5.0, walkers=2), chain, steps=5000, key=KEY).value
    # A repellent walk finds new nodes: fewer returns than the base chain has.
    base = run(SelfRepellent(0.0, walkers=2), chain, steps=5000, key=KEY).value
    assert ((value.visits > 0).sum(1) > (base.visits > 0).sum(1)).all()


@both
def test_bad_settings(walk):
    with pytest.raises(InputError, match=r"alpha=-0.5\): expected one finite number of at least 0"):
        walk(-0.5)
    for alpha in (float("nan"), float("inf"), [1.0, 2.0]):
        with pytest.raises(InputError, match=r"expected one finite number"):
            walk(alpha)
    with pytest.raises(InputError, match=r"walkers=0\): expected a whole number"):
        walk(1.0, walkers=0)
    with pytest.raises(InputError, match=r"decay=0.5\): expected a in \(1/2, 1\]"):
        walk(1.0, decay=0.5)
    with pytest.raises(InputError, match=r"fake=0.0\): expected more than 0: x_j = 0"):
        walk(1.0, fake=0.0)
    with pytest.raises(InputError, match=r"start=8\): the graph has the nodes 0 to 7"):
        run(walk(1.0, start=8), metropolis_walk(graph()), steps=1, key=KEY)


def test_bad_graphs():
    ring = np.asarray([[0, 0.9, 0.1], [0.1, 0, 0.9], [0.9, 0.1, 0]])
    with pytest.raises(InputError, match=r"differ at i=0, j=1: 0.3 and 0.0333; the theory needs a reversible chain"):
        reversible_chain(ring, np.full(3, 1 / 3))
    with pytest.raises(InputError, match=r"needs a reversible chain"):
        reversible_chain(ring)
    with pytest.raises(InputError, match=r"nodes 0 and 1 one way only"):
        reversible_chain(np.asarray([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    with pytest.raises(InputError, match=r"row 1 of P sums to 1.2, off by 0.2; divide each row by its sum"):
        reversible_chain(np.asarray([[0.5, 0.5], [0.7, 0.5]]))
    with pytest.raises(InputError, match=r"P has shape \(2, 3\)"):
        reversible_chain(np.ones((2, 3)) / 3)
    with pytest.raises(InputError, match=r"the graph falls into 2 parts of \[3, 2\] nodes"):
        metropolis_walk(nx.Graph([(0, 1), (2, 3), (3, 4), (2, 4)]))
    with pytest.raises(InputError, match=r"all its cycles are even; let it stay sometimes"):
        simple_walk(nx.cycle_graph(6))
    assert simple_walk(nx.cycle_graph(6), lazy=0.1).neighbours.shape == (6, 3)
    with pytest.raises(InputError, match=r"target sums to 2; expected 1: divide it by its sum"):
        metropolis_walk(graph(), 2 * MU)
    with pytest.raises(InputError, match=r"target\[0\] is 0; expected more than 0"):
        metropolis_walk(graph(), (MU * (np.arange(8) > 0)) / (35 / 36))
    with pytest.raises(InputError, match=r"target has shape \(3,\); expected \(8,\)"):
        metropolis_walk(graph(), np.full(3, 1 / 3))
    with pytest.raises(InputError, match=r"the graph is directed"):
        simple_walk(nx.DiGraph([(0, 1), (1, 0)]))
    with pytest.raises(InputError, match=r"differs from its transpose"):
        simple_walk(np.triu(np.ones((3, 3))))
    with pytest.raises(InputError, match=r"node 1 has no edge"):
        simple_walk(np.diag([1.0, 0, 1]))
    with pytest.raises(InputError, match=r"weight is negative or not finite"):
        simple_walk(-np.ones((3, 3)))
    with pytest.raises(InputError, match=r"lazy=1.0"):
        simple_walk(graph(), lazy=1.0)
    with pytest.raises(InputError, match=r"weight='w' names an attribute of a networkx graph"):
        simple_walk(np.ones((3, 3)), weight="w")
