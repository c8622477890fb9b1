"""Gaussian mixtures: the target whose every answer is known.

Answers    density, score, samples, mean, covariance, and to which mode a point belongs
Equations  rho(x) = sum_i w_i N(x; m_i, C_i);   grad log rho = -sum_i r_i(x) C_i^{-1} (x - m_i)
           r_i(x) = w_i N(x; m_i, C_i) / rho(x)
Symbols    w -> weights, log w -> log_weights, m -> means, C -> covs, r -> responsibilities
Cost       m d^2 a point once the Cholesky factors are known; they are recomputed (m d^3) where they are not hoisted
Fails      a covariance that is not positive definite is refused where its value is known, and gives NaN where not

The named cases are not centred, not isotropic and not evenly weighted, so that a wrong sign or a transposed matrix
cannot hide behind a symmetry; `three_from_two` and `five_modes` are published cases, kept as they are.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float, Int

from ..core.errors import InputError
from ..core.types import Key
from .density import AbstractDensity


class Mixture(AbstractDensity):
    """A mixture of `m` Gaussians on vectors of `d` numbers.

    Args:
        weights: positive numbers, one a component; they are normalised.
        means: the centres.
        covs: the covariance matrices.

    Raises:
        InputError: for shapes that do not agree; for weights that are not positive or covariances that are not
            symmetric positive definite, where the values are known.
    """

    log_weights: Float[Array, " m"]
    means: Float[Array, "m d"]
    covs: Float[Array, "m d d"]

    def __init__(self, weights: ArrayLike, means: ArrayLike, covs: ArrayLike):
        dtype = jnp.result_type(float, *(jnp.asarray(x).dtype for x in (weights, means, covs)))
        dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
        weights, means, covs = (jnp.asarray(x, dtype) for x in (weights, means, covs))
        if means.ndim != 2 or weights.shape != means.shape[:1] or covs.shape != (*means.shape, means.shape[1]):
            raise InputError(
                f"Mixture: got weights {weights.shape}, means {means.shape}, covs {covs.shape}; "
                "expected (m,), (m, d) and (m, d, d)"
            )
        if not any(isinstance(x, Tracer) for x in (weights, means, covs)):
            _check_values(np.asarray(weights, float), np.asarray(covs, float))
        self.log_weights = jnp.log(weights) - jnp.log(jnp.sum(weights))
        self.means, self.covs = means, covs

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one point."""
        return self.means.shape[1:]

    @property
    def weights(self) -> Float[Array, " m"]:
        """Normalised weights."""
        return jax.nn.softmax(self.log_weights)

    def log_joint(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """log w_i + log N(x; m_i, C_i) for each component."""
        return self.log_weights + normals(x, self.means, self.covs)[0]

    def log_prob(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Normalised log density at one point."""
        return logsumexp(self.log_joint(x))

    def responsibilities(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Probability of each component given the point."""
        return jax.nn.softmax(self.log_joint(x))

    def modes(self, x: Float[Array, " d"]) -> Int[Array, ""]:
        """Index of the component most responsible for the point."""
        return jnp.argmax(self.log_joint(x))

    @property
    def log_z(self) -> Float[Array, ""]:
        """Zero: the density is normalised."""
        return jnp.zeros((), self.means.dtype)

    def score(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Gradient of the log density at one point."""
        logs, pull = normals(x, self.means, self.covs)
        return -(jax.nn.softmax(self.log_weights + logs) @ pull)

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """`n` independent points."""
        return self.sample_labelled(key, n)[0]

    def sample_labelled(self, key: Key, n: int) -> tuple[Float[Array, "n d"], Int[Array, " n"]]:
        """`n` independent points and the component that each was drawn from."""
        which_key, noise_key = jax.random.split(key)
        which = jax.random.categorical(which_key, self.log_weights, shape=(n,))
        z = jax.random.normal(noise_key, (n, *self.event), self.means.dtype)
        roots = jnp.linalg.cholesky(self.covs)

        def one(moved, component):
            i, root = component
            return jnp.where((which == i)[:, None], z @ root.T, moved), None

        # One product a component and a choice, rather than n gathered matrices: d in the hundreds then fits.
        moved, _ = jax.lax.scan(one, z, (jnp.arange(len(roots)), roots))
        return self.means[which] + moved, which

    @property
    def mean(self) -> Float[Array, " d"]:
        """The mean."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """The covariance: the mean of the covariances plus the covariance of the means."""
        offset = self.means - self.mean
        return jnp.einsum("m,mij->ij", self.weights, self.covs) + jnp.einsum(
            "m,mi,mj->ij", self.weights, offset, offset
        )


def normals(
    x: Float[Array, " d"], means: Float[Array, "m d"], covs: Float[Array, "m d d"]
) -> tuple[Float[Array, " m"], Float[Array, "m d"]]:
    """log N(x; m_i, C_i) and C_i^{-1} (x - m_i) for each i, from one factorisation."""
    roots = jnp.linalg.cholesky(covs)
    # The inverse depends on the covariances alone, so a whole cloud shares it and what is left a point is a product.
    inverse = solve_triangular(roots, jnp.broadcast_to(jnp.eye(x.size, dtype=roots.dtype), roots.shape), lower=True)
    white = jnp.einsum("mij,mj->mi", inverse, x - means)
    pull = jnp.einsum("mji,mj->mi", inverse, white)
    log_det = jnp.sum(jnp.log(jnp.diagonal(roots, axis1=1, axis2=2)), axis=1)
    return -0.5 * jnp.sum(white**2, axis=1) - log_det - 0.5 * x.size * np.log(2 * np.pi), pull


def gaussian(mean: ArrayLike, cov: ArrayLike) -> Mixture:
    """One Gaussian as a mixture: `gaussian(jnp.zeros(2), jnp.eye(2))`."""
    return Mixture(jnp.ones(1), jnp.asarray(mean)[None], jnp.asarray(cov)[None])


def two_modes() -> Mixture:
    """Two tilted modes in the plane with weights 0.3 and 0.7."""
    covs = [[[0.50, 0.20], [0.20, 0.30]], [[0.30, -0.15], [-0.15, 0.60]]]
    return Mixture(np.array([0.3, 0.7]), np.array([[-1.8, 0.6], [1.6, -0.9]]), np.array(covs))


def eight_modes() -> Mixture:
    """Eight modes on a shifted ellipse, of unequal weights, each stretched along its own direction."""
    k = np.arange(8)
    angle = 2 * np.pi * k / 8 + 0.2
    means = np.stack([0.7 + 4.0 * np.cos(angle), -0.4 + 3.0 * np.sin(angle)], axis=1)
    turn = 0.5 * angle + 0.1
    axes = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], axis=1)
    spread = np.stack([0.10 + 0.02 * k, 0.05 + 0.00 * k], axis=1)
    covs = np.einsum("mij,mj,mkj->mik", axes, spread, axes)
    return Mixture(1.0 + 0.4 * k, means, covs)


def three_from_two() -> tuple[Mixture, Mixture]:
    """The one-dimensional pair of arXiv:2303.08797's notebooks: two modes at -3 and 3 to three at -6, 0 and 6.

    The numbers beside the means are variances: the second then has variance 24 + (0.5 + 0.33 + 0.5) / 3 = 24.443.
    """
    base = Mixture(np.ones(2), np.array([[-3.0], [3.0]]), np.full((2, 1, 1), 0.25))
    target = Mixture(np.ones(3), np.array([[-6.0], [0.0], [6.0]]), np.array([0.5, 0.33, 0.5])[:, None, None])
    return base, target


def five_modes(d: int = 128, *, seed: int = 0) -> Mixture:
    """The case of arXiv:2303.08797, section 7: five modes in `d` dimensions.

    Means from N(0, 7.5^2 I), covariances W^T W / d + I with W standard normal, equal weights; the paper prints no
    seed, so numbers agree in distribution only.
    """
    if d < 1:
        raise InputError(f"five_modes(d={d}): expected a dimension of at least 1")
    draw = np.random.default_rng(seed)
    w = draw.standard_normal((5, d, d))
    return Mixture(np.ones(5), 7.5 * draw.standard_normal((5, d)), np.swapaxes(w, 1, 2) @ w / d + np.eye(d))


def _check_values(weights, covs):
    if not (np.all(np.isfinite(weights)) and np.all(weights > 0)):
        raise InputError(f"Mixture: got weights {weights.tolist()}; expected positive numbers")
    if not np.allclose(covs, np.swapaxes(covs, 1, 2), rtol=1e-5, atol=1e-8):
        raise InputError("Mixture: got a covariance that is not symmetric; expected (m, d, d) symmetric matrices")
    for i, cov in enumerate(covs):
        smallest = np.linalg.eigvalsh(cov)[0] if np.all(np.isfinite(cov)) else -np.inf
        if not smallest > 0:
            raise InputError(f"Mixture: covariance {i} has an eigenvalue {smallest:.3g}; expected positive definite")
