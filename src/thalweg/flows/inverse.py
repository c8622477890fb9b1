"""Conditioning on measurements without retraining: y = A x + noise, and inpainting.

Answers    given part of a sample, or a blurred or projected one, which whole samples fit it?
Equations  grad log p(x_t | y) = s(t, x_t) + grad log p(y | x_t);  y | x_t taken as N(A x1^, A V A^T + std^2 I)
               x1^ = E[x1 | x_t] = (x - alpha eta)/beta,   V stands for Cov[x1 | x_t]
               grad log p(y | x_t) ~ (d x1^/dx)^T A^T (A V A^T + std^2 I)^-1 (y - A x1^)          (2011.13456, sec. 5)
           Tweedie:    V = (alpha^2/beta) d x1^/dx, which is the covariance exactly                  (2310.06721)
           Isotropic:  V = r^2 I,  r^2 = alpha^2/(alpha^2 + beta^2)                                  (PiGDM, ICLR 2023)
           and with k = alpha (alpha beta'/beta - alpha'):   b' = b + k grad,   eta' = eta - alpha grad
Symbols    A -> operator (of points in the data's units), V -> covariance
EXACTNESS  the one approximation is that x1 given x_t is Gaussian. With Tweedie() samples are exact draws of the
           posterior (up to time steps and the learned fields) when the data are Gaussian, of any mean and covariance;
           with Isotropic() when they are N(mean, I) in the model's units. Otherwise both are approximate: with several
           modes their shares come out wrong, however many steps are taken. Nothing here corrects that
Cost       Tweedie: m backward passes of the net and an m x m eigendecomposition a point and step, for m measurements;
           Isotropic: one backward pass, and the eigendecomposition once
Fails      a learned x1^ has a derivative that is not quite a covariance: directions where A V A^T is not positive are
           left unguided. Early on, where beta is small, it is known poorly; there the guidance hardly moves x
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..core import Cloud, Denoiser, InputError, Key, Paper, Point, Score, Velocity
from ..processes import EulerMaruyama, simulate
from .convert import EDGE, inner, score_gain
from .exponential import DPMSolver2, denoise, half_log_snr_grid
from .motion import FlowODE, FlowSDE
from .path import AbstractOneSided
from .transport import Transport

# Named by file: the conditional score is the paper's, the two covariances are those of the equations above.
papers = (
    Paper(
        "tweedie-moments",
        "Tweedie Moment Projected Diffusions for Inverse Problems",
        "2310.06721",
        2023,
        "the Gaussian guidance with the full covariance",
    ),
)


class AbstractCovariance(eqx.Module):
    """What is taken for Cov[x1 | x_t] in the guidance."""

    @abc.abstractmethod
    def pull(self, clean: Callable, matrix: Float[Array, "m d"], noise2, alpha, beta, x: Float[Array, " d"], y) -> Any:
        """grad_x log p(y | x), with `clean` from x_t to x1^ (both flat) and y - A x1^ = y - matrix x1^."""


class Tweedie(AbstractCovariance):
    """The covariance itself, from the derivative of x1^: exact for Gaussian data."""

    def pull(self, clean, matrix, noise2, alpha, beta, x, y):
        """grad_x log p(y | x) at one point."""
        found, back = jax.vjp(clean, x)
        rows = jax.vmap(lambda row: back(row)[0])(matrix)  # A d x1^/dx
        return rows.T @ _solve(alpha**2 / beta * rows @ matrix.T, noise2, y - matrix @ found)


class Isotropic(AbstractCovariance):
    """alpha^2/(alpha^2 + beta^2) I: the covariance if the data were N(mean, I) in the model's units."""

    def pull(self, clean, matrix, noise2, alpha, beta, x, y):
        """grad_x log p(y | x) at one point."""
        found, back = jax.vjp(clean, x)
        spread = alpha**2 / (alpha**2 + beta**2)
        return back(matrix.T @ _solve(spread * matrix @ matrix.T, noise2, y - matrix @ found))[0]


class _Guidance(eqx.Module):
    """grad log p(y | x_t) at one time and point, and factor(t) times it added to a field."""

    field: Callable
    factor: Callable
    denoiser: Denoiser
    path: AbstractOneSided
    matrix: Float[Array, "m d"]
    y: Float[Array, " m"]
    noise2: Float[Array, ""]
    covariance: AbstractCovariance

    def __call__(self, t, x, c=None):
        s = inner(t)
        alpha, beta = self.path.alpha(s), self.path.beta(s)

        def clean(flat):
            return ((flat.reshape(x.shape) - alpha * self.denoiser(s, flat.reshape(x.shape), c)) / beta).reshape(-1)

        pull = self.covariance.pull(clean, self.matrix, self.noise2, alpha, beta, x.reshape(-1), self.y)
        return self.field(t, x, c) + self.factor(self.path, s) * pull.reshape(x.shape).astype(x.dtype)


def linear_inverse(
    transport: Transport,
    y: ArrayLike,
    operator: Callable[[Point], Float[Array, "..."]],
    noise_std: float,
    *,
    key: Key,
    n: int = 1,
    condition=None,
    covariance: AbstractCovariance | None = None,
    sde=None,
    steps: int = 50,
) -> Cloud:
    """Draw (n, *event) samples x of the data given y = operator(x) + noise_std z, in the data's units.

    Args:
        transport: a one-sided transport from standard normal noise, with a score; it is not changed.
        y: the measurement, of the shape that `operator` gives.
        operator: a linear (or affine) function of one point in the data's units.
        noise_std: standard deviation of the measurement's noise in the units of y, at least 0.
        n: how many samples.
        condition: as for `Transport.sample`.
        covariance: `Tweedie()` (default) or `Isotropic()`; see the file's notes on exactness.
        sde: None for the guided probability flow, else eps(t) as for `Transport.sample`.
        steps: time steps; of `DPMSolver2` on an even grid in log(beta/alpha), or of Euler-Maruyama for the SDE.

    Raises:
        InputError: for a transport that is not one-sided or has no score, a y of another shape than the operator's, an
            operator that is not linear, or a negative noise.
        StatusError: when a sample is not finite.
    """
    path = _check(transport, n, noise_std)
    zero = jnp.zeros(transport.event)
    # In the model's units, x = decode(m), the measurement is affine in m: matrix m + offset.
    observe = lambda flat: jnp.asarray(operator(transport.units.decode(flat.reshape(transport.event)))).reshape(-1)  # noqa: E731
    shape = jax.eval_shape(operator, zero).shape
    y = jnp.asarray(y, zero.dtype)
    if y.shape != shape or not bool(jnp.isfinite(y).all()):
        raise InputError(f"y has shape {y.shape}; expected {shape}, as the operator gives, and finite numbers")
    flat = zero.reshape(-1)
    offset, matrix = observe(flat), jax.jacrev(observe)(flat)
    _check_linear(observe, matrix, offset)
    c = transport._conditions(n, condition, key)
    parts = transport.denoiser, path, matrix, y.reshape(-1) - offset, jnp.asarray(noise_std**2, y.dtype)
    covariance = Tweedie() if covariance is None else covariance
    score = Score(_Guidance(transport.score, _one, *parts, covariance))
    eta = Denoiser(_Guidance(transport.denoiser, _minus_alpha, *parts, covariance))
    velocity = Velocity(_Guidance(transport.velocity, score_gain, *parts, covariance))
    x0 = transport.source.sample(n, key=jax.random.fold_in(key, 0))
    if sde is None:
        motion, method = FlowODE(velocity, path, score, eta, c), DPMSolver2()
        ts = half_log_snr_grid(path, steps)
    else:
        motion = FlowSDE(velocity, path, score, noise=transport.noise(sde), denoiser=eta, c=c)
        method, ts = EulerMaruyama(), jnp.linspace(0.0, 1 - EDGE, steps + 1)
    x = simulate(motion, x0, ts, method=method, key=jax.random.fold_in(key, 1)).value
    return transport.units.decode(denoise(motion, ts[-1], x))


def inpaint(
    transport: Transport,
    known: ArrayLike,
    mask: ArrayLike,
    *,
    key: Key,
    n: int = 1,
    noise_std: float = 0.0,
    condition=None,
    covariance: AbstractCovariance | None = None,
    sde=None,
    steps: int = 50,
) -> Cloud:
    """Draw (n, *event) samples whose entries under the mask are the known ones, in the data's units.

    Args:
        known: one point; entries outside the mask are not looked at and may be NaN.
        mask: True where an entry is known; at least one.
        noise_std: standard deviation of the known entries' noise. Without noise they are put back exactly at the end;
            data on a grid count as uncertain by their cell (quantum/sqrt(12)) until then.

    Takes the other arguments of `linear_inverse`, and raises what it raises.
    """
    known, mask = jnp.asarray(known), np.asarray(mask)
    if known.shape != transport.event or mask.shape != transport.event:
        raise InputError(f"known has shape {known.shape} and mask {mask.shape}; expected {transport.event} for both")
    if not mask.any():
        raise InputError("mask is False everywhere, so nothing is known; use transport.sample")
    at = np.nonzero(mask)
    cell = 0.0 if transport.units.quantum is None else transport.units.quantum / 12**0.5
    spread = (noise_std**2 + cell**2) ** 0.5 if noise_std >= 0 else noise_std
    x = linear_inverse(
        transport,
        known[at],
        lambda point: point[at],
        spread,
        key=key,
        n=n,
        condition=condition,
        covariance=covariance,
        sde=sde,
        steps=steps,
    )
    return x if noise_std > 0 else jnp.where(jnp.asarray(mask), jnp.nan_to_num(known).astype(x.dtype), x)


def _one(path, t):
    return jnp.ones_like(t)


def _minus_alpha(path, t):
    return -path.alpha(t)


def _solve(spread, noise2, gap):
    """(spread + noise2)^-1 gap, in the directions where `spread` is positive."""
    values, axes = jnp.linalg.eigh(0.5 * (spread + spread.T))
    sound = values > 1e-6 * jnp.max(jnp.abs(values))
    inverse = jnp.where(sound, 1 / jnp.where(sound, values + noise2, 1.0), 0.0)
    return axes @ (inverse * (axes.T @ gap))


def _check(transport, n, noise_std) -> AbstractOneSided:
    if not isinstance(transport.path, AbstractOneSided) or not transport.has_score:
        name = type(transport.path).__name__
        raise InputError(f"got a transport on {name}; expected a one-sided path and a score, as of fit(data)")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n is {n!r}; expected an integer of at least 1")
    if not noise_std >= 0:
        raise InputError(f"noise_std is {noise_std}; expected a number of at least 0")
    return transport.path


def _check_linear(observe, matrix, offset):
    x = jax.random.normal(jax.random.key(7), matrix.shape[1:], matrix.dtype)
    got, expected = observe(x), matrix @ x + offset
    if not bool(jnp.all(jnp.abs(got - expected) <= 1e-3 * (1 + jnp.abs(expected)))):
        raise InputError("the operator is not linear; expected operator(x) = A x + b for some A and b")
