"""Layers for symmetric positive definite matrices: batch normalisation on the cone, and the pieces of an SPDNet.

Answers    how is a batch of covariances centred and scaled without leaving the cone, and how does a net read them?
Equations  Y_i = phi(X_i);  G the mean of Y by `iters` steps;  V_i = Gamma_{G->I} Log_G Y_i;  v = mean |V_i|^2 / p^2
           X_i <- phi^-1(Exp_W Gamma_{I->W} (s / sqrt(v + eps)) V_i)                                      (2504.00660)
           running mean: the point at `momentum` of the geodesic towards G
           BiMap  Q^T X Q, Q^T Q = I;   ReEig  U max(w, floor) U^T;   LogEig  U log(w) U^T           (1608.04233)
Symbols    phi, Log, Exp, Gamma, p -> metric; W = B B^T -> bias B; s -> scale; Q -> polar factor of weight
Cost       for Bures-Wasserstein four eigendecompositions a matrix, forward; the others about as many
Fails      the scaled tangent vector of an outlier can leave the cone where Exp is one to one (Bures-Wasserstein): the
           layer still returns (I + L) W (I + L), and counts it in `info.outside_scaled`. The running variance describes
           one step of the mean like the one it was trained with, not the true mean
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core.errors import InputError
from ..core.spd import Matrix, Scalar, check_spd, floorm, logm, rsqrtm, safe_root, sym
from ..core.spd_metric import AbstractSPDMetric, Matrices
from ..core.types import Key
from .layers import check_counts, normal


class SPDNormState(eqx.Module):
    """Running statistics: a matrix in the coordinates of the input, and the variance in the metric's units."""

    mean: Matrix
    variance: Scalar


class SPDNormInfo(eqx.Module):
    """What happened to one batch.

    Fields:
        variance: mean squared distance to the batch's mean.
        residual: length of the mean centred vector relative to its spread: 0 for a converged mean.
        outside_centred: how many matrices the map to the identity takes out of the cone; the paper's code exponentiates
            there and folds them back.
        outside_scaled: how many leave it at the bias, where this layer exponentiates.
    """

    variance: Scalar
    residual: Scalar
    outside_centred: Int[Array, ""]
    outside_scaled: Int[Array, ""]


class SPDBatchNorm(eqx.Module):
    """Centres a batch of (n, n) matrices, scales its spread to `scale` and moves it to the bias B B^T.

        state = norm.start()
        x, state, info = norm(x, state)     # the batch's own statistics, in training
        y, inside = norm.infer(x[0], state) # the running ones, for a single matrix

    Fields:
        metric: `BuresWasserstein(factor, power)` (whose factor is trained with the net), `AffineInvariant()` or
            `LogEuclidean()`.
        bias: B, whose lower triangle counts.
        scale: s.
        momentum: weight of the new batch in the running statistics.
        eps: added to the variance.
        iters: steps of the mean; 1 as in the paper's code, 50 for a converged one.
        through: whether derivatives pass through the batch's mean and variance; in the paper's code they do not.

    Raises:
        InputError: for a size or number of steps below 1, a momentum outside (0, 1], an eps that is not positive, or a
            metric whose factor has another size.
    """

    metric: AbstractSPDMetric
    bias: Float[Array, "n n"]
    scale: Float[Array, ""]
    momentum: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    iters: int = eqx.field(static=True)
    through: bool = eqx.field(static=True)

    def __init__(
        self,
        n: int,
        metric: AbstractSPDMetric,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        iters: int = 1,
        through: bool = False,
    ):
        check_counts("SPDBatchNorm", n=n, iters=iters)
        factor = getattr(metric, "factor", None)
        if factor is not None and jnp.shape(factor) != (n, n):
            raise InputError(
                f"SPDBatchNorm(n={n}): the metric's factor has shape {jnp.shape(factor)}; expected {(n, n)}"
            )
        if not 0 < momentum <= 1:
            raise InputError(f"SPDBatchNorm(momentum={momentum}): expected a number in (0, 1]")
        if not eps > 0:
            raise InputError(f"SPDBatchNorm(eps={eps}): expected a positive number; equal matrices have variance 0")
        self.metric, self.momentum, self.eps, self.iters, self.through = metric, momentum, eps, iters, through
        self.bias, self.scale = jnp.eye(n), jnp.ones(())

    def start(self) -> SPDNormState:
        """The identity and a variance of 1."""
        return SPDNormState(jnp.eye(len(self.bias), dtype=self.bias.dtype), jnp.ones((), self.bias.dtype))

    def __call__(self, x: Float[Array, "..."], state: SPDNormState) -> tuple[Matrices, SPDNormState, SPDNormInfo]:
        """Normalise (batch, n, n) by its own mean and variance, and update the running ones.

        Raises:
            InputError: for fewer than two matrices, another size, or (outside `jit`) ones not positive definite.
        """
        x = check_spd("SPDBatchNorm", "x", x, batch=1)
        self._fit(x)
        if len(x) < 2:
            raise InputError(
                "SPDBatchNorm: got a batch of 1 matrix; expected at least 2, because one has no spread: use `infer`"
            )
        return self._normalise(x, state)

    @eqx.filter_jit
    def _normalise(self, x, state):
        model, unit = self.metric.model, self.metric.unit
        hold = (lambda a: a) if self.through else jax.lax.stop_gradient
        y = jax.vmap(self.metric.chart)(x)
        G = hold(model.mean(hold(y), jnp.full(len(x), 1 / len(x), x.dtype), self.iters))
        v = jax.vmap(lambda Y: self._centre(G, Y))(y)
        origin = model.origin(x.shape[-1], x.dtype)
        inner = lambda V: model.inner(origin, V, V)  # noqa: E731
        variance = hold(unit**2 * jnp.mean(jax.vmap(inner)(v)))
        out, inside = jax.vmap(lambda V: self._place(V, variance))(v)
        centred = jax.vmap(lambda V: model.exp(origin, V)[1])(v)
        residual = unit * safe_root(inner(jnp.mean(v, axis=0))) / safe_root(variance + self.eps)
        info = SPDNormInfo(variance, residual, jnp.sum(~centred), jnp.sum(~inside))
        return out, self._follow(state, G, variance), jax.lax.stop_gradient(info)

    def infer(self, x: Float[Array, "..."], state: SPDNormState) -> tuple[Matrix, Bool[Array, ""]]:
        """Normalise one matrix by the running statistics; the second result is whether it stayed in the cone.

        Raises:
            InputError: for another shape, or (outside `jit`) a matrix that is not positive definite.
        """
        x = check_spd("SPDBatchNorm.infer", "x", x)
        self._fit(x)
        G = self.metric.chart(state.mean.astype(x.dtype))
        return self._place(self._centre(G, self.metric.chart(x)), state.variance.astype(x.dtype))

    def _centre(self, G, Y):
        """Log at the mean, carried to the origin. Exp and Log there, which the paper has in between, cancel."""
        return self.metric.model.to_origin(G, self.metric.model.log(G, Y))

    def _place(self, V, variance):
        """The scaled vector carried to the bias, and Exp there."""
        model, B = self.metric.model, jnp.tril(self.bias).astype(V.dtype)
        W = self.metric.chart(sym(B @ B.T))
        scaled = self.scale.astype(V.dtype) * jax.lax.rsqrt(variance + self.eps) * V
        end, inside = model.exp(W, model.from_origin(W, scaled))
        return self.metric.unchart(end), inside

    def _follow(self, state, G, variance):
        model, m = self.metric.model, self.momentum
        # The paper's code keeps the running mean in the chart, which moves under it while M is learned.
        before = self.metric.chart(state.mean.astype(G.dtype))
        mean = self.metric.unchart(model.exp(before, m * model.log(before, G))[0])
        new = SPDNormState(
            mean.astype(state.mean.dtype), ((1 - m) * state.variance + m * variance).astype(state.variance.dtype)
        )
        return jax.lax.stop_gradient(new)

    def _fit(self, x):
        n = len(self.bias)
        if x.shape[-1] != n:
            raise InputError(f"SPDBatchNorm: got matrices of size {x.shape[-1]}; expected {n}, which it was made for")


class BiMap(eqx.Module):
    """Q^T X Q with orthonormal columns: a smaller covariance, of the data seen through Q.

    Q is the polar factor of an unconstrained weight, so that any optimiser keeps the constraint.

    Raises:
        InputError: for sizes below 1, or more outputs than inputs.
    """

    weight: Float[Array, "inputs outputs"]

    def __init__(self, inputs: int, outputs: int, *, key: Key):
        check_counts("BiMap", inputs=inputs, outputs=outputs)
        if outputs > inputs:
            raise InputError(
                f"BiMap({inputs}, {outputs}): expected at most as many outputs as inputs; Q^T Q = I needs it"
            )
        self.weight = normal((inputs, outputs), 1, 1.0, key)
        self.weight = self.stiefel()

    def stiefel(self) -> Float[Array, "inputs outputs"]:
        """Q = weight (weight^T weight)^-1/2."""
        return self.weight @ rsqrtm(self.weight.T @ self.weight)

    def __call__(self, x: Float[Array, "inputs inputs"]) -> Float[Array, "outputs outputs"]:
        """Q^T x Q."""
        Q = self.stiefel().astype(x.dtype)
        return sym(Q.T @ x @ Q)


class ReEig(eqx.Module):
    """Raises eigenvalues below `floor` to it.

    Raises:
        InputError: for a floor that is not positive.
    """

    floor: float = eqx.field(default=1e-4, static=True)

    def __check_init__(self):
        if not self.floor > 0:
            raise InputError(
                f"ReEig(floor={self.floor}): expected a positive number, below the eigenvalues that matter"
            )

    def __call__(self, x: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """The rectified matrix."""
        return floorm(x, self.floor)


class LogEig(eqx.Module):
    """The logarithm: from the cone to symmetric matrices, where a linear layer can read them."""

    def __call__(self, x: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """log x."""
        return logm(x)


def svec(V: Float[Array, "n n"]) -> Float[Array, " m"]:
    """The upper triangle as a vector of n (n + 1) / 2 numbers, off-diagonal ones times sqrt 2: |svec V| = |V|."""
    rows, columns = jnp.triu_indices(V.shape[-1])
    return V[rows, columns] * jnp.where(rows == columns, 1.0, jnp.sqrt(2.0)).astype(V.dtype)
