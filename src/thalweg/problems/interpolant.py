"""Every field of a stochastic interpolant between two Gaussian mixtures, in closed form.

Answers    what a perfectly trained net would return: the yardstick for flows, conversions and samplers
Equations  x_t = alpha x_0 + beta x_1 + gamma z,  x_0, x_1, z independent            (arXiv:2303.08797, section 4)
           C_ij = alpha^2 C0_i + beta^2 C1_j + gamma^2 I,   m_ij = alpha m0_i + beta m1_j
           rho = sum_ij w0_i w1_j N(x; m_ij, C_ij),   r_ij the responsibilities
           b = sum_ij r_ij (m_ij' + 1/2 C_ij' C_ij^{-1} (x - m_ij)),   s = -sum_ij r_ij C_ij^{-1} (x - m_ij)
           v = b + gamma gamma' s,   eta = E[z | x] = -gamma s
Symbols    b -> velocity, s -> score, v -> split, eta -> denoiser, ' -> derivative in t (by forward differentiation)
Cost       one factorisation for each pair of modes and each point: m0 m1 d^3
Fails      where C_ij is singular (never, as long as both mixtures have full covariances and alpha, beta are not both 0)

The paper's inline "eta = -s / gamma" is a slip for eta = -gamma s, which its other equations give and this file uses.
gamma enters only squared, so that ends where gamma = 0 with an infinite slope cost nothing: b and v stay finite there
(gamma gamma' is half the derivative of gamma^2).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float

from ..core.errors import InputError
from ..core.fields import Denoiser, Score, Velocity
from .mixtures import Mixture, normals


class MixtureInterpolant(eqx.Module):
    """The exact density and fields of x_t between `base` at t = 0 and `target` at t = 1.

    Args:
        base, target: mixtures of the same dimension, drawn independently of each other.
        path: anything with functions `alpha(t)`, `beta(t)` and `gamma2(t)`, the square of gamma, of a scalar time.

    Raises:
        InputError: when the dimensions differ or the path lacks one of the three functions.
    """

    base: Mixture
    target: Mixture
    path: Any

    def __check_init__(self):
        if self.base.event != self.target.event:
            raise InputError(
                f"base and target have points of shape {self.base.event} and {self.target.event}; expected one"
            )
        missing = [name for name in ("alpha", "beta", "gamma2") if not callable(getattr(self.path, name, None))]
        if missing:
            raise InputError(f"path {type(self.path).__name__} has no {', '.join(missing)}; expected functions of time")

    def marginal(self, t: ArrayLike) -> Mixture:
        """The mixture that x_t is distributed as: one component for each pair of modes."""
        means, covs = self._moments(jnp.asarray(t, self.base.means.dtype))
        return Mixture(jnp.exp(self._log_weights()), means, covs)

    def log_prob(self, t: ArrayLike, x: Float[Array, " d"]) -> Float[Array, ""]:
        """log rho_t(x), normalised."""
        logs, _ = normals(x, *self._moments(jnp.asarray(t, x.dtype)))
        return logsumexp(self._log_weights().astype(x.dtype) + logs)

    @property
    def velocity(self) -> Velocity:
        """b = E[dx_t/dt | x_t]: moves rho_t."""
        return Velocity(MixtureVelocity(self))

    @property
    def split(self) -> Velocity:
        """v = E[alpha' x_0 + beta' x_1 | x_t]: the velocity without the part of the noise."""
        return Velocity(MixtureSplit(self))

    @property
    def score(self) -> Score:
        """s = grad log rho_t."""
        return Score(MixtureScore(self))

    @property
    def denoiser(self) -> Denoiser:
        """eta = E[z | x_t]; zero where gamma is, by continuity."""
        return Denoiser(MixtureDenoiser(self))

    def sample(self, t: ArrayLike, key, n: int) -> Float[Array, "n d"]:
        """`n` independent points of x_t."""
        return self.marginal(t).sample(key, n)

    def _moments(self, t):
        alpha, beta, gamma2 = (jnp.asarray(f(t), t.dtype) for f in (self.path.alpha, self.path.beta, self.path.gamma2))
        d = self.base.means.shape[1]
        means = alpha * self.base.means[:, None] + beta * self.target.means[None]
        covs = (
            alpha**2 * self.base.covs[:, None] + beta**2 * self.target.covs[None] + gamma2 * jnp.eye(d, dtype=t.dtype)
        )
        return means.reshape(-1, d).astype(t.dtype), covs.reshape(-1, d, d).astype(t.dtype)

    def _log_weights(self):
        return (self.base.log_weights[:, None] + self.target.log_weights[None]).reshape(-1)

    def _fields(self, t, x):
        """Velocity and score at one point."""
        t = jnp.asarray(t, x.dtype)
        (means, covs), (dmeans, dcovs) = jax.jvp(self._moments, (t,), (jnp.ones_like(t),))
        logs, pull = normals(x, means, covs)
        share = jax.nn.softmax(self._log_weights().astype(x.dtype) + logs)
        velocity = share @ (dmeans + 0.5 * jnp.einsum("mij,mj->mi", dcovs, pull))
        return velocity, -(share @ pull)


class MixtureVelocity(eqx.Module):
    """b(t, x) of an interpolant, as a callable that can be saved."""

    interpolant: MixtureInterpolant

    def __call__(self, t: ArrayLike, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """b at one point."""
        return self.interpolant._fields(t, x)[0]


class MixtureScore(eqx.Module):
    """s(t, x) of an interpolant, as a callable that can be saved."""

    interpolant: MixtureInterpolant

    def __call__(self, t: ArrayLike, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """s at one point."""
        return self.interpolant._fields(t, x)[1]


class MixtureSplit(eqx.Module):
    """v(t, x) of an interpolant, as a callable that can be saved."""

    interpolant: MixtureInterpolant

    def __call__(self, t: ArrayLike, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """v at one point."""
        t = jnp.asarray(t, x.dtype)
        velocity, score = self.interpolant._fields(t, x)
        slope = jax.jvp(lambda t: jnp.asarray(self.interpolant.path.gamma2(t), x.dtype), (t,), (jnp.ones_like(t),))[1]
        return velocity + 0.5 * slope * score


class MixtureDenoiser(eqx.Module):
    """eta(t, x) of an interpolant, as a callable that can be saved."""

    interpolant: MixtureInterpolant

    def __call__(self, t: ArrayLike, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """eta at one point."""
        gamma = jnp.sqrt(jnp.asarray(self.interpolant.path.gamma2(jnp.asarray(t, x.dtype)), x.dtype))
        return -gamma * self.interpolant._fields(t, x)[1]
