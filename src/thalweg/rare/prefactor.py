"""The next order: what stands in front of e^{-S/eps}.

Answers    how often does a system with a potential cross a saddle, to leading order with its prefactor?
Equations  dX = -(M + J) grad V dt + sqrt(2 T M) dW, M symmetric positive definite, J antisymmetric, both constant:
           rate = lambda / (2 pi) sqrt(det V''(x) / |det V''(z)|) e^{-(V(z) - V(x)) / T} (1 + O(T)),
           lambda the positive eigenvalue of -(M + J) V''(z); the mean time is one over it.
           J = 0: Eyring and Kramers;  J != 0: Bouchet and Reygner (2016), eq. (1.10), as here div(J grad V) = 0
Symbols    x -> minimum, z -> saddle, T -> temperature: eps a / 2 for `Gradient`, eps for `Stirred`
Cost       two Hessians and their determinants, O(d^3)
Fails      InputError for a minimum or a saddle that is degenerate (a translation, a rotation, a bifurcation), where the
           formula does not hold; and where the saddle is not one. It counts one saddle: rates of several are added
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..core import InputError
from ..core.checks import positive, real
from .hamiltonian import AbstractGradient, Stirred
from .problem import show

# Eigenvalues below this share of the largest count as zero, and gradients below this share of the Hessian's size.
FLAT, REST = 1e-5, 1e-3


class Rate(eqx.Module):
    """A rate in units of 1/time.

    Fields:
        prefactor: what stands before the exponential.
        barrier: V(z) - V(x).
        temperature: T.
        unstable: lambda, the rate at which the saddle is left.
    """

    prefactor: Float[Array, ""]
    barrier: Float[Array, ""]
    temperature: Float[Array, ""]
    unstable: Float[Array, ""]

    @property
    def log_rate(self) -> Float[Array, ""]:
        """log of the rate; finite however rare the event."""
        return jnp.log(self.prefactor) - self.barrier / self.temperature

    @property
    def rate(self) -> Float[Array, ""]:
        """Crossings per unit of time spent in the well."""
        return jnp.exp(self.log_rate)

    @property
    def mean_time(self) -> Float[Array, ""]:
        """Mean time until the saddle has been crossed for good."""
        return jnp.exp(-self.log_rate)


def eyring_kramers(system: AbstractGradient | Stirred, minimum: ArrayLike, saddle: ArrayLike, eps) -> Rate:
    """The rate of leaving a well over one saddle.

    Args:
        system: `Gradient` (or another `AbstractGradient`), or `Stirred`.
        minimum: of the potential, polished (`fixed_point`).
        saddle: with one direction down, polished.
        eps: the noise's strength.

    Raises:
        InputError: points that are not what they should be, or degenerate.
    """
    minimum, saddle, eps = real(minimum), real(saddle), real(eps)
    positive("eyring_kramers", "eps", eps)
    below, at_minimum = _hessian(system, "minimum", minimum)
    above, at_saddle = _hessian(system, "saddle", saddle)
    _check_signs("minimum", minimum, at_minimum, 0)
    _check_signs("saddle", saddle, at_saddle, 1)
    if isinstance(system, Stirred):
        response, temperature = np.asarray(system.mobility + system.circulation, np.float64), eps
    else:
        response, temperature = np.eye(len(above)), eps * system.covariance(minimum) / 2
    unstable = float(np.linalg.eigvals(-response @ above).real.max())
    log_ratio = np.linalg.slogdet(below)[1] - np.linalg.slogdet(above)[1]
    prefactor = unstable / (2 * np.pi) * np.exp(0.5 * log_ratio)
    barrier = system.potential(saddle) - system.potential(minimum)
    if not float(barrier) > 0:
        raise InputError(f"eyring_kramers: V(saddle) - V(minimum) = {float(barrier):.3g}; expected more than 0")
    dtype = minimum.dtype
    return Rate(jnp.asarray(prefactor, dtype), barrier, jnp.asarray(temperature, dtype), jnp.asarray(unstable, dtype))


def _hessian(system, name, x):
    hessian = np.asarray(jax.hessian(system.potential)(x), np.float64).reshape(x.size, x.size)
    if not np.isfinite(hessian).all():
        raise InputError(f"eyring_kramers: the Hessian at {name} = {show(x)} is not finite")
    values = np.linalg.eigvalsh(hessian)
    slope = float(jnp.max(jnp.abs(jax.grad(system.potential)(x))))
    if slope > REST * max(np.abs(values).max(), 1e-30):
        raise InputError(
            f"eyring_kramers: |grad V| = {slope:.3g} at {name} = {show(x)}, which is no critical point; "
            f"polish it with fixed_point(system, {name})"
        )
    return hessian, values


def _check_signs(name, x, values, down):
    low = np.abs(values).min()
    if low < FLAT * np.abs(values).max():
        raise InputError(
            f"eyring_kramers: {name} = {show(x)} is degenerate (a Hessian eigenvalue of {low:.2g}); the formula does "
            "not hold there. Take the symmetry out, or go away from the bifurcation"
        )
    if int((values < 0).sum()) != down:
        raise InputError(
            f"eyring_kramers: {int((values < 0).sum())} directions fall from {name} = {show(x)}; expected {down}"
        )
