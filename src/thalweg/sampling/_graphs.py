"""What a walk on a graph asks of its graph: read it, and refuse what the theory does not cover.

Everything here is done once, on the host, in double precision, and sparse.
"""

import math
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ..core import InputError

# How far rows, targets and detailed balance may be off, relative: what single precision leaves.
TOLERANCE = 1e-5


def adjacency(graph, weight) -> Any:
    """The weights of the edges, symmetric, from whatever the graph is."""
    if hasattr(graph, "nodes") and hasattr(graph, "adj"):
        import networkx as nx

        if graph.is_directed():
            raise InputError("the graph is directed; expected an undirected one: graph.to_undirected()")
        A = nx.to_scipy_sparse_array(graph, weight=weight, dtype=float)
    elif weight is not None:
        raise InputError(f"weight={weight!r} names an attribute of a networkx graph; the entries of a matrix are used")
    else:
        A = graph
    A: Any = sp.csr_array(A, dtype=np.float64)
    A.eliminate_zeros()
    if A.shape[0] != A.shape[1] or A.shape[0] < 2:
        raise InputError(f"the graph has an adjacency of shape {A.shape}; expected a square one, of two nodes or more")
    if not np.isfinite(A.data).all() or (A.data < 0).any():
        raise InputError("the graph has edges whose weight is negative or not finite; expected positive weights")
    if abs(A - A.T).max() > TOLERANCE * abs(A).max():
        raise InputError("the adjacency differs from its transpose; expected an undirected graph: (A + A.T) / 2")
    if (lonely := np.asarray(A.sum(axis=1)).ravel() == 0).any():
        raise InputError(f"node {int(lonely.argmax())} has no edge; leave out what cannot be reached")
    return A


def distribution(target, n) -> np.ndarray:
    """A target of `n` positive probabilities."""
    mu = np.asarray(target, np.float64)
    if mu.shape != (n,):
        raise InputError(f"target has shape {mu.shape}; expected ({n},), a probability for each node")
    if not np.isfinite(mu).all() or (mu <= 0).any():
        at = int(np.argmin(np.where(np.isfinite(mu), mu, -np.inf)))
        raise InputError(f"target[{at}] is {mu[at]:g}; expected more than 0: leave nodes out that are not wanted")
    if abs(mu.sum() - 1) > TOLERANCE:
        raise InputError(f"target sums to {mu.sum():.6g}; expected 1: divide it by its sum")
    return mu / mu.sum()


def connected(P):
    """Refuse a graph in parts."""
    parts, label = connected_components(P, directed=False)
    if parts > 1:
        sizes = sorted(np.bincount(label).tolist(), reverse=True)
        raise InputError(f"the graph falls into {parts} parts of {sizes[:3]} nodes or fewer; walk on one of them")


def balanced(P) -> np.ndarray:
    """The only candidate for the target: mu_j = mu_i P_ij / P_ji along a spanning tree."""
    connected(P)
    order, before = breadth_first_order(P, 0, directed=False)
    log_mu = np.zeros(P.shape[0])
    tree = order[1:]
    there, back = P[before[tree], tree], P[tree, before[tree]]
    for j, i, p, q in zip(tree, before[tree], np.asarray(there), np.asarray(back), strict=True):
        if p == 0 or q == 0:
            raise InputError(f"P goes between nodes {i} and {j} one way only; the theory needs a reversible chain")
        log_mu[j] = log_mu[i] + math.log(p / q)
    mu = np.exp(log_mu - log_mu.max())
    return mu / mu.sum()


def checked(P: Any, mu) -> Any:
    """P with sorted rows, once it is known to be reversible, irreducible and aperiodic."""
    P = sp.csr_array(P)
    P.eliminate_zeros()
    P.sort_indices()
    n = P.shape[0]
    connected(P)
    flow = sp.csr_array(sp.diags_array(mu) @ P)
    gap, size = abs(flow - flow.T), flow.maximum(flow.T)
    if (excess := sp.coo_array(gap - TOLERANCE * size)).nnz and excess.data.max() > 0:
        at = excess.data.argmax()
        i, j = int(excess.row[at]), int(excess.col[at])
        raise InputError(
            f"mu_i P_ij and mu_j P_ji differ at i={i}, j={j}: {flow[i, j]:.3g} and {flow[j, i]:.3g}; the theory needs "
            "a reversible chain: take metropolis_walk, or give the chain's own target"
        )
    if not P.diagonal().any():
        order, before = breadth_first_order(P, 0, directed=False)
        side = np.zeros(n, bool)
        for j in order[1:]:
            side[j] = not side[before[j]]
        coo = sp.coo_array(P)
        if (side[coo.row] != side[coo.col]).all():
            raise InputError("the chain is periodic: all its cycles are even; let it stay sometimes, as with lazy=0.1")
    return P


def rows(P: Any, Q: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours in P, and the logs of P and of Q, which goes nowhere else; rows that are short repeat the node."""
    degree = np.diff(P.indptr)
    there = np.arange(degree.max()) < degree[:, None]
    neighbours = np.broadcast_to(np.arange(P.shape[0])[:, None], there.shape).astype(np.int32)
    neighbours[there] = P.indices
    # Q on the pattern of P: what is not stored is 0.
    coo, Q = sp.coo_array(P), sp.csr_array(Q)
    proposed = np.asarray(Q[coo.row, coo.col]).ravel()
    logs = np.full((2, *there.shape), -np.inf)
    with np.errstate(divide="ignore"):
        logs[0][there], logs[1][there] = np.log(P.data), np.log(proposed)
    return neighbours, logs[0], logs[1]
