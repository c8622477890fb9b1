"""Walks on a graph that avoid where they have been too often: averages over the nodes with less variance than i.i.d.

Answers    what is the average of a function over the nodes of a graph that can only be walked, and how exactly?
Equations  K_ij[x] = P_ij (x_j/mu_j)^-alpha / sum_l P_il (x_l/mu_l)^-alpha               (self-repellent, 2305.05097)
           x_{n+1} = x_n + gamma_{n+1} (delta_{X_{n+1}} - x_n),  gamma_n = (n + m)^-a,  x_0 = mu
           history-driven: a Metropolis step that targets mu (x/mu)^-alpha                             (2505.18300)
           n Cov -> V = sum_{lambda_i < 1} g_i (1 + lambda_i)/(1 - lambda_i) u_i u_i^T,  u_i = D_mu^(1/2) psi_i,
           psi_i the eigenvectors of D_mu^(1/2) P D_mu^(-1/2).  c_i = alpha (1 + lambda_i) self-repellent, alpha
           history-driven:  g_i = 1/(2 c_i + 1) for a = 1,  g_i = 1/(1 + c_i)^2 for a < 1           (2401.09665)
Symbols    P -> log_p, mu -> target, a -> decay, x -> feedback, m -> fake times the number of nodes (fake visits);
           V is that of the plain average of the visits, which holds no fake ones, in both cases
Cost       a step O(max degree) a walker; memory O(nodes x max degree) for the chain, O(nodes) a walker. A graph with a
           hub that knows everybody is stored as a full matrix. The variance: O(nodes^3), dense
Fails      the theory is void for chains that are not reversible, and nothing returns to a node of no target: both are
           refused. A finite alpha cannot overflow (weights are compared in log space). The variance is asymptotic, and
           n must be large against the mixing time; for a < 1 there is a bias of order n^-a besides, with a constant so
           large that a = 1 has the smaller error up to millions of steps. The history-driven walk comes to its V
           from above and slowly, as few moves are accepted until the relative errors of x are below 1/alpha
Departure  the papers have m = 1, one fake visit in all
"""

import abc
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..core import AbstractInfo, AbstractMethod, Estimate, InputError, Paper, Status
from ..core.weights import estimate
from ._graphs import TOLERANCE, adjacency, balanced, checked, distribution, rows

papers = (
    Paper(
        "sa-srrw",
        "Accelerating Distributed Stochastic Optimization via Self-Repellent Random Walks",
        "2401.09665",
        2024,
        "the plain average under a < 1",
    ),
)


class Chain(eqx.Module):
    """A reversible chain on a graph, each node with its neighbours (itself among them, where it may stay).

    Made by `simple_walk`, `metropolis_walk` or `reversible_chain`, which check what the theory needs.

    Fields:
        neighbours: where each node can go; rows that are too short repeat the node.
        log_p: log probabilities of going there; -inf where a row has ended.
        target: the stationary distribution.
        log_q: log probabilities with which a Metropolis walk proposes; `log_p` for the others.
        log_law: log of what `log_q` alone would leave stationary.
    """

    neighbours: Int[Array, "nodes degree"]
    log_p: Float[Array, "nodes degree"]
    target: Float[Array, " nodes"]
    log_q: Float[Array, "nodes degree"]
    log_law: Float[Array, " nodes"]


class WalkState(eqx.Module):
    """Where the walkers are, how often they were where, the steps taken; for a < 1 also log x, up to `log_scale`."""

    node: Int[Array, " walkers"]
    visits: Int[Array, "walkers nodes"]
    step: Int[Array, ""]
    log_x: Float[Array, "walkers nodes"] | None
    log_scale: Float[Array, ""]


class WalkInfo(AbstractInfo):
    """Where each walker went, and the mean over walkers of the log of the move's factor or acceptance."""

    node: Int[Array, " walkers"]
    log_factor: Float[Array, ""]
    status: Any


class Occupation(eqx.Module):
    """What the walkers have seen; functions of the nodes are arrays (nodes,), in the order of the chain.

    Fields:
        visits: how often each walker was at each node.
        feedback: x, what each walker avoids: with fake visits, and weighted to the end where a < 1.
        target: the chain's.
        steps: taken by each walker.
    """

    visits: Int[Array, "walkers nodes"]
    feedback: Float[Array, "walkers nodes"]
    target: Float[Array, " nodes"]
    steps: Int[Array, ""]

    @property
    def frequencies(self) -> Float[Array, "walkers nodes"]:
        """Fractions of the steps, without fake visits."""
        return self.visits / jnp.maximum(self.steps, 1).astype(self.target.dtype)

    def averages(self, f: Float[Array, " nodes"]) -> Float[Array, " walkers"]:
        """The average of `f` that each walker saw."""
        return self.frequencies @ f

    def expectation(self, f: Float[Array, " nodes"]) -> Estimate:
        """The average of `f` over steps and walkers; the error bar is that of the walkers, which are independent."""
        return estimate(self.averages(f))

    def scaled_mse(self, f: Float[Array, " nodes"]) -> Estimate:
        """steps times the mean square error of a walker's average of `f`: what `asymptotic_variance` predicts."""
        # Centred first, so that single precision resolves errors that are small against the mean.
        return estimate(self.steps * self.averages(f - self.target @ f) ** 2)

    def total_variation(self) -> Estimate:
        """Half the L1 distance between a walker's frequencies and the target."""
        return estimate(0.5 * jnp.sum(jnp.abs(self.frequencies - self.target), axis=1))


class AbstractWalk(AbstractMethod[Chain, WalkState, WalkInfo, Occupation]):
    """Independent walkers, each of which avoids its own past.

    Fields:
        alpha: how strongly, at least 0; 0 is the base chain.
        walkers: how many.
        decay: a in (1/2, 1]; below 1 the feedback forgets and the variance falls like 1/alpha^2, but a bias of order
            n^-a outweighs that for long.
        fake: visits that an average node has at the start, more than 0; few let alpha rule before anything is known.
        start: the node where all begin; None draws it from the target.

    Raises:
        InputError: for numbers outside these ranges; no walkers.
    """

    alpha: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    walkers: int = eqx.field(static=True, default=1)
    decay: float = eqx.field(static=True, default=1.0)
    fake: float = eqx.field(static=True, default=1.0)
    start: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        name = type(self).__name__
        if self.alpha.ndim or (not isinstance(self.alpha, Tracer) and not 0 <= float(self.alpha) < math.inf):
            raise InputError(f"{name}(alpha={self.alpha}): expected one finite number of at least 0")
        if isinstance(self.walkers, bool) or not isinstance(self.walkers, int) or self.walkers < 1:
            raise InputError(f"{name}(walkers={self.walkers!r}): expected a whole number of at least 1")
        if not 0.5 < self.decay <= 1:
            raise InputError(f"{name}(decay={self.decay}): expected a in (1/2, 1]; 1 weighs all visits alike")
        if not 0 < self.fake < math.inf:
            raise InputError(f"{name}(fake={self.fake}): expected more than 0: x_j = 0 would weigh infinitely much")

    @abc.abstractmethod
    def move(self, chain: Chain, repulsion, node: Int[Array, ""], u: Float[Array, " 2"]) -> tuple[Array, Array]:
        """One step of one walker: the next node, and the log of its factor or acceptance.

        `repulsion(nodes)` is -alpha log(x/mu) there, up to a constant; `u` are two uniform numbers in (0, 1].
        """

    @abc.abstractmethod
    def strength(self, values: np.ndarray) -> np.ndarray:
        """c_i, how fast the feedback pulls back the part of x that belongs to each eigenvalue of P."""

    def init(self, problem, *, key):
        """Walkers at the start, x at the target."""
        n, dtype = len(problem.target), problem.target.dtype
        if self.start is None:
            u = 1 - jax.random.uniform(key, (self.walkers,), dtype)
            node = jax.vmap(lambda u: _choose(problem.target, u))(u)
        elif 0 <= self.start < n:
            node = jnp.full(self.walkers, self.start)
        else:
            raise InputError(f"{type(self).__name__}(start={self.start}): the graph has the nodes 0 to {n - 1}")
        visits = jnp.zeros((self.walkers, n), jnp.int32)
        step = jnp.zeros((), jnp.int32)
        log_x = None if self.decay == 1 else jnp.broadcast_to(jnp.log(problem.target), visits.shape)
        return WalkState(node.astype(jnp.int32), visits, step, log_x, jnp.zeros((), dtype))

    def step(self, problem, state, *, key):
        """Every walker moves and remembers."""
        dtype = problem.target.dtype
        u = 1 - jax.random.uniform(key, (self.walkers, 2), dtype)
        node, factor = jax.vmap(lambda i, v, x, u: self._move(problem, i, v, x, u))(
            state.node, state.visits, state.log_x, u
        )
        everyone = jnp.arange(self.walkers)
        visits = state.visits.at[everyone, node].add(1)
        log_x, log_scale = state.log_x, state.log_scale
        if log_x is not None:
            # x = exp(log_x + log_scale): forgetting is one number, so that only the node that was visited changes.
            gamma = (state.step + 1 + self._mass(problem)).astype(dtype) ** -self.decay
            log_scale = log_scale + jnp.log1p(-gamma)
            log_x = log_x.at[everyone, node].set(
                jnp.logaddexp(log_x[everyone, node], jnp.log(gamma) - log_scale).astype(dtype)
            )
        new = WalkState(node, visits, state.step + 1, log_x, log_scale)
        return new, WalkInfo(node=node, log_factor=jnp.mean(factor), status=Status.running)

    def value(self, problem, state):
        """What has been seen."""
        if state.log_x is None:
            mass = self._mass(problem)
            x = (state.visits + mass * problem.target) / (state.step + mass)
        else:
            x = jnp.exp(state.log_x + state.log_scale)
        return Occupation(state.visits, x.astype(problem.target.dtype), problem.target, state.step)

    def _mass(self, problem):
        return jnp.asarray(self.fake * len(problem.target), problem.target.dtype)

    def _move(self, problem, node, visits, log_x, u):
        mass = self._mass(problem)

        def repulsion(nodes):
            mu = problem.target[nodes]
            # Counts are whole numbers, so that no visit is lost however long the walk; x is needed up to a factor.
            ratio = jnp.log(visits[nodes] / mu + mass) if log_x is None else log_x[nodes] - jnp.log(mu)
            return -self.alpha.astype(mu.dtype) * ratio

        return self.move(problem, repulsion, node, u)


class SelfRepellent(AbstractWalk):
    """The self-repellent walk: each row of P weighted by (x_j/mu_j)^-alpha."""

    paper: ClassVar[Paper] = Paper(
        "self-repellent-walk",
        "Self-Repellent Random Walks on General Graphs - Achieving Minimal Sampling Variance via Nonlinear Markov "
        "Chains",
        "2305.05097",
        2023,
        "kernel K[x], V(alpha)",
        "reproduced",
    )

    def move(self, chain, repulsion, node, u):
        """Choose among all neighbours."""
        nodes, log_p = chain.neighbours[node], chain.log_p[node]
        # The largest of the row is taken off, so that a large alpha cannot overflow.
        weight = repulsion(nodes)
        logits = log_p + weight
        # A NaN of the problem goes through `total` into the factor, and so into the status.
        top = jnp.max(logits)
        p = jnp.exp(logits - top)
        at = _choose(p, u[0])
        return nodes[at].astype(node.dtype), weight[at] - top - jnp.log(jnp.sum(p))

    def strength(self, values):
        """alpha (1 + lambda)."""
        return float(self.alpha) * (1 + values)


class HistoryDriven(AbstractWalk):
    """The history-driven target: a Metropolis step towards mu (x/mu)^-alpha, with the proposals of the base chain."""

    paper: ClassVar[Paper] = Paper(
        "history-driven-target",
        "Beyond Self-Repellent Kernels: History-Driven Target Towards Efficient Nonlinear MCMC on General Graphs",
        "2505.18300",
        2025,
        "target mu (x/mu)^-alpha, V/(2 alpha + 1)",
    )

    def move(self, chain, repulsion, node, u):
        """Propose one neighbour, and look at that one only."""
        at = _choose(jnp.exp(chain.log_q[node]), u[0])
        pair = jnp.stack([node, chain.neighbours[node, at].astype(node.dtype)])
        proposed = pair[1]
        here, there = repulsion(pair) + jnp.log(chain.target[pair]) - chain.log_law[pair]
        log_accept = jnp.minimum(there - here, 0.0)
        return jnp.where(jnp.log(u[1]) <= log_accept, proposed, node), log_accept

    def strength(self, values):
        """alpha."""
        return float(self.alpha) * np.ones_like(values)


def asymptotic_covariance(chain: Chain, method: AbstractWalk) -> np.ndarray:
    """V, (nodes, nodes): steps times the covariance of a walker's `frequencies`, in the limit of many steps.

    In double precision by a dense eigendecomposition: for graphs of up to a few thousand nodes.
    """
    root = np.sqrt(np.asarray(chain.target, np.float64))
    root /= np.linalg.norm(root)
    symmetric = root[:, None] * transition_matrix(chain) / root
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    # The largest eigenvalue is 1, once, as the chain is irreducible.
    values, u = values[:-1], root[:, None] * vectors[:, :-1]
    c = method.strength(values)
    shrink = 1 / (1 + 2 * c) if method.decay == 1 else 1 / (1 + c) ** 2
    return (u * (shrink * (1 + values) / (1 - values))) @ u.T


def asymptotic_variance(chain: Chain, method: AbstractWalk, f) -> float:
    """f^T V f: what `Occupation.scaled_mse(f)` comes to."""
    f = np.asarray(f, np.float64)
    return float(f @ asymptotic_covariance(chain, method) @ f)


def independent_variance(chain: Chain, f) -> float:
    """The variance of `f` under the target: n times the mean square error of n independent draws."""
    f, mu = np.asarray(f, np.float64), np.asarray(chain.target, np.float64)
    mu = mu / mu.sum()
    return float(mu @ (f - mu @ f) ** 2)


def transition_matrix(chain: Chain) -> np.ndarray:
    """P as a full matrix, for small graphs."""
    n, degree = chain.neighbours.shape
    P = np.zeros((n, n))
    p = np.exp(np.asarray(chain.log_p, np.float64))
    np.add.at(P, (np.repeat(np.arange(n), degree), np.asarray(chain.neighbours).ravel()), p.ravel())
    return P / P.sum(axis=1, keepdims=True)


def simple_walk(graph, *, weight: str | None = None, lazy: float = 0.0) -> Chain:
    """P_ij = A_ij / d_i, with the target d_i / sum d.

    Args:
        graph: a networkx graph (nodes in the order of `graph.nodes`), or a symmetric SciPy sparse matrix or array of
            weights of edges.
        weight: the attribute of a networkx edge to use; None gives every edge the weight 1.
        lazy: the probability of staying that is mixed in; a bipartite graph needs some.

    Raises:
        InputError: for a graph that is directed, not connected, has a negative weight or only even cycles.
    """
    if not 0 <= lazy < 1:
        raise InputError(f"simple_walk(lazy={lazy}): expected a probability in [0, 1)")
    A = adjacency(graph, weight)
    degree = np.asarray(A.sum(axis=1)).ravel()
    P = sp.diags_array((1 - lazy) / degree) @ A + lazy * sp.eye_array(A.shape[0])
    return _chain(P, degree / degree.sum())


def metropolis_walk(graph, target=None, *, weight: str | None = None) -> Chain:
    """The Metropolis-Hastings walk to `target`, a neighbour proposed as by `simple_walk`.

    Args:
        graph, weight: as for `simple_walk`.
        target: probabilities of the nodes, all positive; uniform when None.

    Raises:
        InputError: as for `simple_walk`, and for a target that is not positive or does not sum to one.
    """
    A = adjacency(graph, weight)
    n = A.shape[0]
    mu = np.full(n, 1 / n) if target is None else distribution(target, n)
    degree = np.asarray(A.sum(axis=1)).ravel()
    coo = sp.coo_array(A)
    # A_ij / d_i min(1, mu_j d_i / (mu_i d_j)), whose flow mu_i P_ij is symmetric.
    moved = coo.data * np.minimum(mu[coo.row] / degree[coo.row], mu[coo.col] / degree[coo.col]) / mu[coo.row]
    P: Any = sp.csr_array((moved, (coo.row, coo.col)), shape=(n, n))
    stay = 1 - np.asarray(P.sum(axis=1)).ravel()
    # Where nothing is rejected the rest is rounding, and must not become a way to stay.
    P = P + sp.diags_array(np.where(stay > 1e-12, stay, 0.0))
    return _chain(P, mu, proposal=(sp.diags_array(1 / degree) @ A, degree / degree.sum()))


def reversible_chain(P: Any, target=None) -> Chain:
    """Any reversible chain, from its transition matrix: SciPy sparse or an array, rows summing to one.

    Args:
        P: transition probabilities.
        target: the stationary distribution; found from detailed balance when None.

    Raises:
        InputError: for a P that is no transition matrix, not reversible, reducible or periodic.
    """
    P = sp.csr_array(P, dtype=np.float64)
    if P.shape[0] != P.shape[1] or P.shape[0] < 2:
        raise InputError(f"P has shape {P.shape}; expected a square matrix with at least two nodes")
    if not np.isfinite(P.data).all() or (P.data < 0).any():
        raise InputError("P has entries that are negative or not finite; expected probabilities")
    sums = np.asarray(P.sum(axis=1)).ravel()
    if (worst := np.abs(sums - 1).max()) > TOLERANCE:
        at = int(np.abs(sums - 1).argmax())
        raise InputError(f"row {at} of P sums to {sums[at]:.6g}, off by {worst:.2g}; divide each row by its sum")
    return _chain(P, balanced(P) if target is None else distribution(target, P.shape[0]))


def _choose(p, u):
    """An index with probability p / sum(p), for u uniform in (0, 1]; never one of probability 0."""
    cumulative = jnp.cumsum(p)
    return jnp.argmax((cumulative >= u * cumulative[-1]) & (p > 0))


def _chain(P, mu, proposal=None) -> Chain:
    neighbours, log_p, log_q = rows(checked(P, mu), P if proposal is None else proposal[0])
    law = mu if proposal is None else proposal[1]
    told = (jnp.asarray(x, float) for x in (log_p, mu, log_q, np.log(law)))
    return Chain(jnp.asarray(neighbours), *told)
