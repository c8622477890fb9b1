"""The moment equation of rods in two dimensions: the second moment alone, with a closure for the fourth.

Answers    where do rods point, at the cost of two numbers a place instead of hundreds?
Equations  D_t + u.grad D - grad u D - D grad u^T + 2 S:E = 4 zeta (D.D - S:D) + d_T Lap D - 4 d_R (D - 1/2)
                                                                                      (2308.06675, the moment equation)
           z_t = -u.grad z + i w z + 2 g - 4 (S:g) - (4 d_R - d_T Lap) z,   g = e + zeta z
Symbols    z <-> D, w -> the vorticity, S:g = a g + b conj g by the closure (see `suspension.py`)
Cost       in a box about ten transforms of (nx, ny) a stage, and the closure at every point
Fails      StatusError when a number is not finite: a step too long, or a closure that left what a density can have

The trace of D stays 1 by construction. Where the closure is exact, so is this: it is the kinetic equation's own moment.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from ..core import Times
from .closures import AbstractClosure
from .suspension import (
    Flow,
    PeriodicBox,
    Suspension,
    cast,
    check_box,
    check_gradient,
    check_moment,
    check_result,
    check_times,
    deviator,
    march,
    stokes,
    tail,
    tensor,
    vorticity,
)


class Moments(eqx.Module):
    """Second moments at every time that was asked for, (k, 2, 2), of trace 1."""

    times: Times
    D: Float[Array, "k 2 2"]


def moments_in_gradient(
    closure: AbstractClosure,
    suspension: Suspension,
    gradient: ArrayLike,
    D: ArrayLike,
    times: ArrayLike,
    *,
    substeps: int = 10,
) -> Moments:
    """The second moment in a constant velocity gradient, from `D` at times[0].

    Args:
        closure: what S is.
        suspension: of which d_R and zeta count here.
        gradient: d u_i / d x_j, (2, 2), without trace.
        D: (2, 2), symmetric, of trace 1, with eigenvalues in [0, 1].
        times: rising.
        substeps: equal steps of order 4 in each interval.

    Raises:
        InputError: for a gradient with a trace, a D that no density has, times that do not rise.
        StatusError: when a number is not finite.
    """
    owner = "moments_in_gradient"
    D, A = check_moment(owner, D, (2, 2)), check_gradient(owner, gradient)
    ts = check_times(owner, times, substeps, D.dtype)
    closure, suspension = cast((closure, suspension), D.dtype)
    return check_result(owner, _in_gradient(closure, suspension, A.astype(D.dtype), D, ts, substeps))


@eqx.filter_jit
def _in_gradient(closure, suspension, A, D, times, substeps):
    e = deviator(A)
    decay = 4 * suspension.d_R - 1j * vorticity(A)
    z = 2 * deviator(D)
    _, rows = march(lambda z: stretching(closure, z, e + suspension.zeta * z), decay, z, times, substeps, tensor)
    return Moments(times, rows)


def stretching(closure: AbstractClosure, z: Array, g: Array) -> Complex[Array, "*batch"]:
    """2 g - 4 S:g: how the strain g moves z."""
    a, b = closure.act(z, g)
    return 2 * g - 4 * (a * g + b * jnp.conj(g))


def moments_in_box(
    closure: AbstractClosure,
    suspension: Suspension,
    box: PeriodicBox,
    D: ArrayLike,
    times: ArrayLike,
    *,
    substeps: int = 10,
) -> Flow:
    """The second moment in the flow that the rods drive, from `D` at times[0].

    Args:
        closure: what S is.
        suspension: all its parameters.
        box: the periodic box.
        D: (nx, ny, 2, 2) at `box.points`; modes above the 2/3 rule are dropped.
        times: rising.
        substeps: equal steps of order 4 in each interval.

    Raises:
        InputError: for a D that no density has, times that do not rise, too few sweeps.
        StatusError: when a number is not finite.
    """
    owner = "moments_in_box"
    D = check_moment(owner, D, (*box.n, 2, 2))
    check_box(owner, suspension, box)
    ts = check_times(owner, times, substeps, D.dtype)
    closure, suspension, box = cast((closure, suspension, box), D.dtype)
    return check_result(owner, _in_box(closure, suspension, box, D, ts, substeps))


def _flow(closure, suspension, box, z):
    return stokes(box, suspension, z, lambda g: closure.act(z, g))


def moment_rate(closure: AbstractClosure, suspension: Suspension, box: PeriodicBox, spectrum: Array) -> Array:
    """All but diffusion: d/dt of the modes of z."""
    kx, ky = box.wavenumbers
    z = jnp.fft.ifft2(spectrum)
    flow = _flow(closure, suspension, box, z)
    turned = stretching(closure, z, flow.e + suspension.zeta * z) + 1j * flow.vorticity * z
    along = kx * box.transform(flow.u.real * z) + ky * box.transform(flow.u.imag * z)
    return box.transform(turned) - 1j * along


@eqx.filter_jit
def _in_box(closure, suspension, box, D, times, substeps):
    kx, ky = box.wavenumbers
    decay = 4 * suspension.d_R + suspension.d_T * (kx**2 + ky**2)

    def observe(spectrum):
        z = jnp.fft.ifft2(spectrum)
        u = _flow(closure, suspension, box, z).u
        return tensor(z), jnp.stack([u.real, u.imag], axis=-1), tail(box, spectrum)

    _, rows = march(
        lambda s: moment_rate(closure, suspension, box, s),
        decay,
        box.transform(2 * deviator(D)),
        times,
        substeps,
        observe,
    )
    return Flow(times, *rows)
