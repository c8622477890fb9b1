"""A diffusion, where it starts and the times it runs through: one problem for particles, for grids and for draws.

Answers    which equation does the density of a diffusion obey, and which velocity moves it without noise?
Equations  dX = b(t, X) dt + g(t, X) dW  in Ito's sense,  D = g g^T / 2
           d rho/dt = -div(b rho) + sum_ij d_i d_j (D_ij rho) = -div J,   J = (b - div D) rho - D grad rho
           the same density is moved by  dX/dt = v,   v = b - div D - D grad log rho          (probability flow)
           b = A x + c, D constant: Gaussians stay so,   m' = A m + c,   C' = A C + C A^T + 2 D     (`linear_moments`)
Symbols    (div D)_i = sum_j d_j D_ij;  s -> a score, grad log rho where it is exact
Cost       div D costs d derivatives of the diffusion a point
Fails      a D with a negative eigenvalue is no diffusion: `diffusing` refuses it. The equation is often written
           -div(b rho - D grad rho): the same for a D that does not depend on x; where it does, that b is this b - div D
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from ..core import AbstractCorrelated, AbstractProcess, Cloud, InputError, Point, Time, Times
from ..core.checks import finite, known, real
from ..problems import AbstractDensity
from ..processes import Simulate


class FokkerPlanck(eqx.Module):
    """The Fokker-Planck equation of a process.

    `run(ScoreTransport(...), problem, ...)` moves particles, `evolve(problem, grid)` solves it on a grid, and
    `simulate(problem.process, problem.initial.sample(key, n), problem.ts, key=key)` draws from it.

    Particles that feel one another are one point, of shape (N, d): the density is that of all of them together, and the
    `drift` of one point is what is used, never `drifts` of a cloud.

    Fields:
        process: the diffusion.
        initial: the density at ts[0], which can be drawn from.
        ts: at least two rising times, the steps of whoever solves it.

    Raises:
        InputError: for times that do not rise, or a process whose drift or diffusion does not fit the density's points.
    """

    process: AbstractProcess | AbstractCorrelated
    initial: AbstractDensity
    ts: Times = eqx.field(converter=real)

    def __check_init__(self):
        if self.ts.ndim != 1 or self.ts.shape[0] < 2:
            raise InputError(f"ts has shape {self.ts.shape}; expected at least 2 times, as in jnp.linspace(0, 1, 101)")
        if (ts := known(self.ts)) is not None and not (np.isfinite(ts).all() and (np.diff(ts) > 0).all()):
            raise InputError("ts is not strictly rising; a diffusion has no density to run back to: sort the times")
        event = self.initial.event
        point, time = jax.ShapeDtypeStruct(event, self.ts.dtype), jax.ShapeDtypeStruct((), self.ts.dtype)
        got = eqx.filter_eval_shape(self.process.drift, time, point).shape
        if got != event:
            raise InputError(f"the drift of a point of shape {event} has shape {got}; expected that of the point")
        noise = eqx.filter_eval_shape(self.process.diffusion, time, point).shape
        if isinstance(self.process, AbstractCorrelated):
            fits = len(event) == 1 and len(noise) == 2 and noise[0] == event[0]
        else:
            fits = noise in ((), event)
        if not fits:
            raise InputError(f"the diffusion of a point of shape {event} has shape {noise}; expected (), {event} "
                             "or, for an AbstractCorrelated, (d, w)")  # fmt: skip

    @property
    def steps(self) -> int:
        """How many steps lead through all times."""
        return self.ts.shape[0] - 1

    def along(self, x0: Cloud) -> Simulate:
        """The same process and times for a cloud of draws."""
        return Simulate(self.process, x0, self.ts)


class _Constant(AbstractProcess):
    drift_fn: Callable
    tensor: Float[Array, "..."]

    def drift(self, t, x):
        return self.drift_fn(t, x)

    def diffusion(self, t, x):
        return jnp.sqrt(2 * self.tensor)


class _ConstantMatrix(AbstractCorrelated):
    drift_fn: Callable
    root: Float[Array, "d d"]

    def drift(self, t, x):
        return self.drift_fn(t, x)

    def diffusion(self, t, x):
        return self.root


def diffusing(drift: Callable, tensor) -> AbstractProcess | AbstractCorrelated:
    """The process with a drift and a constant D: dX = drift(t, X) dt + sqrt(2 D) dW.

    Args:
        drift: (t, x) -> like x, of one point.
        tensor: D, a number, an array of the event's shape (one value a coordinate, 0 where there is no noise), or a
            symmetric (d, d) matrix for points of shape (d,); it must be known, not traced.

    Raises:
        InputError: for a D that is not finite, not symmetric or has a negative eigenvalue.
    """
    tensor = real(tensor)
    finite("diffusing", "tensor", tensor)
    if (a := known(tensor)) is None:
        raise InputError("diffusing needs a D that is known; inside a transformation write a process of your own")
    square = a.ndim == 2 and a.shape[0] == a.shape[1]
    if not square:
        if (a < 0).any():
            raise InputError(f"diffusing(tensor): D has the entry {a.min():.4g}; expected at least 0, as D = g^2 / 2")
        return _Constant(drift, tensor)
    if not np.allclose(a, a.T, rtol=1e-5, atol=1e-6 * np.abs(a).max()):
        raise InputError("diffusing(tensor): the matrix D is not symmetric; expected D = g g^T / 2")
    values, vectors = np.linalg.eigh(a.astype(np.float64))
    if values[0] < -1e-6 * max(abs(values[-1]), 1e-300):
        raise InputError(
            f"diffusing(tensor): the matrix D has the eigenvalue {values[0]:.4g}; expected none below 0, as "
            "D = g g^T / 2: check its signs"
        )
    root = vectors * np.sqrt(2 * np.clip(values, 0, None)) @ vectors.T
    return _ConstantMatrix(drift, jnp.asarray(root, tensor.dtype))


def spread(process, t: Time, x: Point, s: Point) -> Point:
    """D s at one point."""
    g = process.diffusion(t, x).astype(x.dtype)
    return 0.5 * g @ (g.T @ s) if isinstance(process, AbstractCorrelated) else 0.5 * g**2 * s


def noisy(process, t: Time, x: Point) -> Point:
    """1 for the coordinates of a point that feel noise, 0 for the others; all 1 where a matrix mixes them."""
    if isinstance(process, AbstractCorrelated):
        return jnp.ones_like(x)
    return jnp.broadcast_to(process.diffusion(t, x) != 0, x.shape).astype(x.dtype)


def trace(process, t: Time, x: Point) -> Float[Array, ""]:
    """tr D at one point."""
    g = process.diffusion(t, x).astype(x.dtype)
    return 0.5 * jnp.sum((g if isinstance(process, AbstractCorrelated) else jnp.broadcast_to(g, x.shape)) ** 2)


def advection(process, t: Time, x: Point) -> Point:
    """b - div D at one point: the velocity of the flux, apart from D grad rho."""
    b = process.drift(t, x).astype(x.dtype)
    if isinstance(process, AbstractCorrelated):

        def tensor(x):
            g = process.diffusion(t, x).astype(x.dtype)
            return 0.5 * g @ g.T

        return b - jnp.einsum("ijj->i", jax.jacfwd(tensor)(x))

    def diagonal(x):
        return jnp.broadcast_to(0.5 * process.diffusion(t, x) ** 2, x.shape).astype(x.dtype)

    _, tangent = jax.linearize(diagonal, x)
    along = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    return b - jax.vmap(lambda e: jnp.sum(e * tangent(e)))(along).reshape(x.shape)


def velocity(process, t: Time, x: Point, s: Point) -> Point:
    """b - div D - D s at one point: what moves the density whose score is `s`."""
    return advection(process, t, x) - spread(process, t, x, s)


def linear_moments(A, c, D, mean, covariance, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) after the time `t` under b = A x + c and a constant D, (d, d); exact.

    From an exponential of a matrix of twice the size (Van Loan 1978), so that A may be singular; over a time so short
    that it cannot overflow, doubled as often as it takes.
    """
    A, c, D, mean, covariance = (np.asarray(a, np.float64) for a in (A, c, D, mean, covariance))
    d = len(A)
    doublings = max(0, int(np.ceil(np.log2(max(t * np.linalg.norm(A, 1), 1.0)))))
    h = t / 2**doublings
    moved = scipy.linalg.expm(h * np.block([[-A, 2 * D], [np.zeros((d, d)), A.T]]))
    lifted = scipy.linalg.expm(h * np.block([[A, c[:, None]], [np.zeros((1, d + 1))]]))
    F, shift = moved[d:, d:].T, lifted[:d, d]
    Q = F @ moved[:d, d:]
    for _ in range(doublings):
        F, shift, Q = F @ F, F @ shift + shift, F @ Q @ F.T + Q
    return F @ mean + shift, F @ covariance @ F.T + Q
