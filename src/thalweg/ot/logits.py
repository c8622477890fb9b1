"""Graph-on-logits distillation: compare what two models say when their vocabularies share no tokens.

Answers    how far is the student from its teachers, as a loss in the student's logits alone?
Equations  z (t, k) the k largest logits of each position;  C = (1/t) sum_t z_t z_t^T, its nodes the k columns of z
           node features f_C(i) = (1/k) sum_j C_ij;  ^ sorts in descending order
           graph term  GW~ = sum_i |f_C^(i) - f_D^(i)|;  token term  WD~ = mean_t sum_i |z_t^(i) - y_t^(i)|
           loss = w_token WD~ + w_graph GW~, the mean over teachers; the supervised term is the caller's
Symbols    C, D -> graphs of student and teacher, k -> k, w_token, w_graph -> token, graph
Bound      (1/k) GW~ IS A LOWER BOUND of GW_1 = min_P sum |C_ij - D_i'j'| P_ii' P_jj' over all P with uniform marginals.
           For any such P, taking the sum over j and j' inside the modulus (Jensen) and sum_j' P_jj' = 1/k,
               sum_ii' P_ii' sum_jj' |C_ij - D_i'j'| P_jj'  >=  sum_ii' P_ii' |f_C(i) - f_D(i')|
           and the right is a transport cost on the line, at least that of the sorted order, (1/k) GW~. It is NEVER AN
           UPPER BOUND: graphs with equal row means have GW~ = 0 however different they are (a cycle of six and two
           triangles), so that a small loss does not say that the graphs are alike. GW~ itself, without the 1/k, bounds
           GW_1 neither way; the paper trains with it, and so does this loss
Cost       O(t v log k) for the largest and O(t k) for the features: f_C = (1/t) sum_t z_t mean(z_t), without the graph
Fails      NaN or +inf at a position that counts makes the loss NaN, and so does fewer than k finite logits there (-inf
           is a token that cannot be said: it is never chosen and does not enter the scale). With k of 1 the graph is
           one number. Equal logits have no derivative: one of the subgradients is returned
Departure  the scale (mean 0, variance 1 over the vocabulary) comes before the k largest are taken. After it, as steps 1
           and 2 of the paper's algorithm are listed, every z_t would have mean 0, hence f_C = 0 and the graph term
           would vanish identically. The weights are this file's: how the paper splits its lambda could not be read
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ..core import InputError, Paper

paper = Paper(
    "infigfusion",
    "InfiGFusion: Graph-on-Logits Distillation via Efficient Gromov-Wasserstein for Model Fusion",
    "2505.13893",
    2025,
    "graph, row means, sorted L1, sorted token loss",
)


class AbstractNodes(eqx.Module):
    """Which k numbers of each position are the nodes of the graph."""

    @abc.abstractmethod
    def __call__(self, logits: Float[Array, "t v"], mask: Bool[Array, " t"], k: int) -> Float[Array, "t k"]:
        """The values of the k nodes at every position; positions where `mask` is False do not count."""


class RankNodes(AbstractNodes):
    """Node i is the i-th largest logit of each position, whichever token that is (the figure of the paper)."""

    def __call__(self, logits, mask, k):
        """The k largest, in descending order."""
        return jax.lax.top_k(logits, k)[0]


class VocabularyNodes(AbstractNodes):
    """Node i is one token of the vocabulary throughout: the k tokens that are largest on average (the abstract).

    A token that cannot be said (-inf) at any position that counts is never a node.
    """

    def __call__(self, logits, mask, k):
        """The same k columns at every position."""
        counted = jnp.where(mask[:, None], jax.lax.stop_gradient(logits), 0.0)
        return logits[:, jax.lax.top_k(jnp.mean(counted, axis=0), k)[1]]


def graph_on_logits(
    student_logits: Float[Array, "t v"],
    teacher_logits: Float[Array, "_ w"] | Sequence[Float[Array, "_ _"]],
    *,
    k: int,
    token: float = 1.0,
    graph: float = 1.0,
    mask: Bool[Array, " t"] | None = None,
    nodes: AbstractNodes | None = None,
    standardise: bool = True,
) -> Float[Array, ""]:
    """The loss of one sequence; `jax.vmap` it over a batch. Its derivative is in the student alone.

    Args:
        student_logits: (t, v).
        teacher_logits: (t, w), or one such array for each teacher; w may differ from v and between teachers. Where the
            tokenizers cut the text differently, line the positions up first.
        k: nodes of the graph, at most the smallest vocabulary.
        token, graph: weights of the two terms.
        mask: False at padded positions, whose logits may be anything. With no position left the loss is 0.
        nodes: `RankNodes()` (default) or `VocabularyNodes()`.
        standardise: bring each position to mean 0 and variance 1 over its vocabulary; without it the model with the
            larger logits sets the scale.

    Raises:
        InputError: for a k that a vocabulary is too small for, positions that differ, or no teacher.
    """
    teachers = [teacher_logits] if eqx.is_array(teacher_logits) else list(teacher_logits)
    _check(student_logits, teachers, k)
    mask = jnp.ones(student_logits.shape[0], bool) if mask is None else mask
    nodes = RankNodes() if nodes is None else nodes
    y = _chosen(student_logits, mask, nodes, k, standardise)
    total = jnp.zeros((), y.dtype)
    for logits in teachers:
        z = jax.lax.stop_gradient(_chosen(logits, mask, nodes, k, standardise)).astype(y.dtype)
        total = total + token * token_gap(y, z, mask) + graph * sorted_gap(node_means(y, mask), node_means(z, mask))
    return total / len(teachers)


def standardised(logits: Float[Array, "t v"]) -> Float[Array, "t v"]:
    """Each position at mean 0 and variance 1 over its finite logits; -inf stays, equal logits become 0."""
    there = logits != -jnp.inf
    count = jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1)
    safe = jnp.where(there, logits, 0.0)
    centred = jnp.where(there, safe - jnp.sum(safe, axis=1, keepdims=True) / count, 0.0)
    variance = jnp.sum(centred**2, axis=1, keepdims=True) / count
    # A position whose logits differ by rounding alone says nothing, and at 0 the root has no derivative.
    rounding = 10 * jnp.finfo(logits.dtype).eps * jnp.max(jnp.abs(safe), axis=1, keepdims=True)
    flat = variance <= rounding**2
    scaled = jnp.where(flat, 0.0, centred / jnp.sqrt(jnp.where(flat, 1.0, variance)))
    return jnp.where(there, scaled, -jnp.inf)


def logit_graph(z: Float[Array, "t k"], mask: Bool[Array, " t"] | None = None) -> Float[Array, "k k"]:
    """C = (1/t) sum_t z_t z_t^T over the positions that count."""
    z, count = _counted(z, mask)
    return z.T @ z / count


def node_features(C: Float[Array, "k k"]) -> Float[Array, " k"]:
    """The mean of each row."""
    return jnp.mean(C, axis=1)


def node_means(z: Float[Array, "t k"], mask: Bool[Array, " t"] | None = None) -> Float[Array, " k"]:
    """`node_features(logit_graph(z))` in O(t k), without the graph."""
    z, count = _counted(z, mask)
    return jnp.mean(z, axis=1) @ z / count


def sorted_gap(f: Float[Array, " k"], g: Float[Array, " l"]) -> Float[Array, ""]:
    """sum_i |f^(i) - g^(i)|, both sorted: k times the W1 of two samples of equal size.

    Raises:
        InputError: for samples of unequal size, for which this sum has no meaning (and padding would invent values).
    """
    if f.shape != g.shape:
        raise InputError(f"features of {f.shape[0]} and {g.shape[0]} nodes; expected the same k for both graphs")
    return jnp.sum(jnp.abs(jnp.sort(f) - jnp.sort(g)))


def gromov_lower_bound(C: Float[Array, "k k"], D: Float[Array, "k k"]) -> Float[Array, ""]:
    """(1/k) GW~, at most GW_1(C, D): at most sum |C_ij - D_i'j'| P_ii' P_jj' for every P with uniform marginals."""
    return sorted_gap(node_features(C), node_features(D)) / C.shape[0]


def token_gap(
    y: Float[Array, "t k"], z: Float[Array, "t k"], mask: Bool[Array, " t"] | None = None
) -> Float[Array, ""]:
    """WD~: the mean over the positions that count of the `sorted_gap` of their values."""
    mask = jnp.ones(y.shape[0], bool) if mask is None else mask
    gaps = jnp.where(mask, jax.vmap(sorted_gap)(y, z), 0.0)
    return jnp.sum(gaps) / jnp.maximum(jnp.sum(mask), 1)


def _chosen(logits, mask, nodes, k, standardise):
    """The nodes at every position, zero where padded, NaN where fewer than k logits are finite."""
    # Sums of squares over a vocabulary need more digits than half precision has.
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # Padded positions get numbers that no root or quotient minds, so that they cannot spoil a derivative either.
    logits = jnp.where(mask[:, None], logits, jnp.arange(logits.shape[1], dtype=logits.dtype))
    z = nodes(standardised(logits) if standardise else logits, mask, k)
    return jnp.where(mask[:, None], jnp.where(jnp.isfinite(z), z, jnp.nan), 0.0)


def _counted(z, mask):
    if mask is None:
        return z, z.shape[0]
    return jnp.where(mask[:, None], z, 0.0), jnp.maximum(jnp.sum(mask), 1)


def _check(student, teachers, k):
    if not teachers:
        raise InputError("graph_on_logits got no teacher; expected at least one array of logits")
    if isinstance(k, Tracer) or k < 1:
        raise InputError(f"k is {k}; expected an integer of at least 1, known when the loss is compiled")
    for name, x in (("the student", student), *((f"teacher {i}", x) for i, x in enumerate(teachers))):
        if x.ndim != 2 or x.shape[0] != student.shape[0]:
            raise InputError(
                f"{name} has logits of shape {x.shape}; expected {student.shape[0]} positions, as the student has: "
                "line the tokens up first, and vmap over a batch"
            )
        if k > x.shape[1]:
            raise InputError(f"k is {k}, but {name} has a vocabulary of {x.shape[1]}; expected k of at most that")
