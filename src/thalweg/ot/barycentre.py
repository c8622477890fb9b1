"""Barycentres: the measure whose mean transport cost to given ones is least.

Answers    what is the average of several histograms, or of several clouds, in the geometry of transport?
Equations  histograms on one grid: b = prod_k (K^T(a_k / K v_k))^w_k, in logarithms             (1412.5154, prop. 1)
           debiased: b = d prod_k (...)^w_k, d <- sqrt(d b / K d)                                  (2006.02575, alg. 1)
           clouds: y_j <- sum_k w_k T_k(y_j), T_k the barycentric map to cloud k                   (1310.4375, alg. 2)
Symbols    w -> weights, K -> exp(-C/eps), v_k -> potentials g_k, b -> log_b
Cost       histograms: two passes over the costs for each measure a step; clouds: one transport each a step
Fails      max_steps when the histograms still move; the entropic one is blurred by about sqrt(eps): take the debiased
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..core import AbstractInfo, AbstractMethod, Cloud, InputError, Paper, Status
from .geometry import AbstractGeometry, Matrix
from .problem import Transport
from .sinkhorn import check_epsilon
from .solve import solve


class Histograms(eqx.Module):
    """Measures `a` (k, n) on one set of points with costs (n, n) among them, to be averaged with `weights` (k,)."""

    geometry: AbstractGeometry = eqx.field(converter=lambda g: g if isinstance(g, AbstractGeometry) else Matrix(g))
    a: Float[Array, "k n"]
    weights: Float[Array, " k"]

    def __check_init__(self):
        n, m = self.geometry.shape
        if n != m or self.a.ndim != 2 or self.a.shape[1] != n or self.weights.shape != self.a.shape[:1]:
            raise InputError(
                f"got costs {(n, m)}, histograms {self.a.shape}, weights {self.weights.shape}; "
                "expected shapes (n, n), (k, n), (k,)"
            )
        if not isinstance(self.a, Tracer):
            sums = self.a.sum(1)
            if bool((self.a < 0).any()) or bool((jnp.abs(sums - 1) > 1e-4).any()):
                raise InputError(
                    f"histograms sum to {sums.min():.6g} to {sums.max():.6g}; expected 1, no entry negative"
                )
            if bool((self.weights < 0).any()) or abs(float(self.weights.sum()) - 1) > 1e-4:
                raise InputError(f"weights sum to {float(self.weights.sum()):.6g}; expected 1 and nothing negative")


class BarycentreState(eqx.Module):
    """Potentials of every measure over eps, the logarithm of the barycentre and of the debiasing."""

    log_v: Float[Array, "k n"]
    log_b: Float[Array, " n"]
    log_d: Float[Array, " n"]


class BarycentreInfo(AbstractInfo):
    """L1 change of the barycentre in the step."""

    change: Float[Array, ""]
    status: Any


class Barycentre(AbstractMethod[Histograms, BarycentreState, BarycentreInfo, Float[Array, " n"]]):
    """The barycentre of histograms on one set of points.

    Fields:
        epsilon: the regularisation, in units of the cost.
        tolerance: L1 change a step that counts as none.
        debiased: whether the blur of the entropy is taken out, for costs that are symmetric.
    """

    paper: ClassVar[Paper] = Paper(
        "debiased-barycentre", "Debiased Sinkhorn barycenters", "2006.02575", 2020, "alg. 1; and 1412.5154, prop. 1"
    )
    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-5)
    debiased: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_epsilon("Barycentre", self.epsilon)

    def init(self, problem, *, key):
        """Flat potentials and the mean of the histograms."""
        zero = jnp.zeros_like(problem.a)
        return BarycentreState(zero, jnp.log(problem.weights @ problem.a), zero[0])

    def step(self, problem, state, *, key):
        """Project on the measures, average in logarithms, project back."""
        smooth = jax.vmap(lambda h: self._smooth(problem, h))
        log_u = jnp.log(problem.a) - smooth(state.log_v)
        carried = smooth(log_u)
        log_b = problem.weights @ carried + (state.log_d if self.debiased else 0.0)
        log_v = log_b - carried
        # Half steps in the logarithm make the debiasing's fixed point a contraction.
        log_d = 0.5 * (state.log_d + log_b - self._smooth(problem, state.log_d)) if self.debiased else state.log_d
        change = jnp.sum(jnp.abs(jnp.exp(log_b) - jnp.exp(state.log_b)))
        status = Status.where(change < self.tolerance, Status.converged, Status.running)
        return BarycentreState(log_v, log_b, log_d), BarycentreInfo(change=change, status=status)

    def value(self, problem, state):
        """The barycentre, which sums to one."""
        return jax.nn.softmax(state.log_b)

    def _smooth(self, problem, h):
        """log K exp(h)."""
        eps = self.epsilon.astype(h.dtype)
        return problem.geometry.rows(lambda c: logsumexp(h - c / eps))


def cloud_barycentre(
    clouds: list, size: int, epsilon, *, key, weights=None, iters: int = 30, tolerance: float = 1e-4
) -> Cloud:
    """`size` points with equal weights, the barycentre of clouds (n_k, d) for the squared distance.

    Args:
        epsilon: regularisation of each transport, in squared units of the data.
        key: draws the first places from the clouds.
        weights: one for each cloud; equal when None.
        iters: moves of the points at most; they stop when none moves by `tolerance` of the clouds' spread.

    Raises:
        InputError: for no clouds, or clouds of different dimension.
        StatusError: when a transport did not converge.
    """
    if not clouds or len({c.shape[1:] for c in map(jnp.asarray, clouds)}) != 1:
        raise InputError(f"got clouds of shapes {[jnp.shape(c) for c in clouds]}; expected some, of one dimension")
    clouds = [jnp.asarray(c) for c in clouds]
    weights = jnp.full(len(clouds), 1 / len(clouds)) if weights is None else jnp.asarray(weights)
    pool = jnp.concatenate(clouds)
    y = pool[jax.random.choice(key, pool.shape[0], (size,), replace=size > pool.shape[0])]
    spread = jnp.std(pool)
    for _ in range(iters):
        moved = sum(
            w * solve(Transport.points(y, c), epsilon, gap=False).plan.barycentric()
            for w, c in zip(weights, clouds, strict=True)
        )
        far = float(jnp.max(jnp.abs(moved - y)))
        y = jnp.asarray(moved)
        if far < tolerance * float(spread):
            break
    return y
