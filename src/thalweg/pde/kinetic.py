"""The kinetic equation of rods in two dimensions: how many point where, in a given flow or in the one that they drive.

Answers    what is the density of orientations, and with it all moments: the reference for every closure
Equations  psi_t + div(u psi) - d_T Lap psi + d_p.(p' psi) = d_R Lap_p psi,   p' = (1 - pp)(grad u + 2 zeta D) p
                                                                                        (2308.06675, the kinetic theory)
           a_m = <e^(i m theta)>:   a_m' = -u.grad a_m + i m w/2 a_m + m/2 (g a_(m-2) - conj(g) a_(m+2))
                                           - (m^2 d_R - d_T Lap) a_m,   g = e + zeta a_2
Symbols    w -> the vorticity, D <-> a_2, S <-> a_2 and a_4, psi = (1 + 2 Re sum_m a_m e^(-i m theta)) / (2 pi)
Cost       n/2 complex numbers a point for n angles, odd harmonics too, which are zero for rods without a head and a
           tail; in a box four transforms of (n/2, nx, ny) a stage
Fails      StatusError when a number is not finite: substeps longer than about 5 / (n |g|), or than the flow needs to
           cross a mode. Rods that align more sharply than n angles show leave a large `tail`

Turning by a linear flow couples a mode to two others alone, so that nothing is aliased in the angle; both diffusions,
and in a given gradient the vorticity, are integrated exactly. Mass is a mode that nothing changes.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from ..core import InputError, Times
from ..core.checks import at_least_zero, known, real
from .suspension import (
    ROUNDING,
    Flow,
    PeriodicBox,
    Suspension,
    cast,
    check_box,
    check_gradient,
    check_result,
    check_times,
    deviator,
    march,
    stokes,
    tail,
    tensor,
    vorticity,
)


class Orientations(eqx.Module):
    """The density of angles at every time that was asked for.

    Fields:
        times: those times.
        harmonics: <e^(i m theta)> for m = 0, 1, ..., (k, n/2).
    """

    times: Times
    harmonics: Complex[Array, "k modes"]

    @property
    def psi(self) -> Float[Array, "k n"]:
        """At the angles 2 pi j / n."""
        return density(self.harmonics)

    @property
    def mass(self) -> Float[Array, " k"]:
        """Of all angles."""
        return self.harmonics[:, 0].real

    @property
    def D(self) -> Float[Array, "k 2 2"]:
        """<pp>."""
        return tensor(self.harmonics[:, 2])

    @property
    def S(self) -> Float[Array, "k 2 2 2 2"]:
        """<pppp>."""
        return fourth_moment(self.harmonics[:, 2], self.harmonics[:, 4])

    @property
    def tail(self) -> Float[Array, " k"]:
        """The larger of the last two harmonics, out of 1: what more angles would show."""
        return jnp.max(jnp.abs(self.harmonics[:, -2:]), axis=1)


class KineticFlow(eqx.Module):
    """A suspension in a box.

    Fields:
        flow: D and the velocity at every time.
        fourth: <e^(4 i theta)> at every time, (k, nx, ny).
        mass: of the whole box, in units of its start.
        harmonics: at the last time, (n/2, nx, ny).
        angle_tail: the larger of the last two of them anywhere, out of 1.
    """

    flow: Flow
    fourth: Complex[Array, "k nx ny"]
    mass: Float[Array, " k"]
    harmonics: Complex[Array, "modes nx ny"]
    angle_tail: Float[Array, ""]

    @property
    def psi(self) -> Float[Array, "nx ny n"]:
        """At the last time, at the angles 2 pi j / n."""
        return density(jnp.moveaxis(self.harmonics, 0, -1))


def harmonics(psi: Float[Array, "*batch n"]) -> Complex[Array, "*batch modes"]:
    """<e^(i m theta)>, m below n/2, of densities at the angles 2 pi j / n."""
    n = psi.shape[-1]
    return jnp.conj(jnp.fft.rfft(psi))[..., : n // 2] * (2 * math.pi / n)


def density(a: Complex[Array, "*batch modes"]) -> Float[Array, "*batch n"]:
    """The density at n angles, the inverse of `harmonics` but for the mode n/2."""
    n = 2 * a.shape[-1]
    spectrum = jnp.concatenate([jnp.conj(a), jnp.zeros_like(a[..., :1])], axis=-1)
    return jnp.fft.irfft(spectrum, n) * (n / (2 * math.pi))


def fourth_moment(z: Array, w: Array) -> Float[Array, "*batch 2 2 2 2"]:
    """S = <pppp> from z = <e^(2 i theta)> and w = <e^(4 i theta)>."""
    # By how many of the four indices are the second: <cos^(4-k) sin^k>.
    components = jnp.stack(
        [
            3 / 8 + z.real / 2 + w.real / 8,
            z.imag / 4 + w.imag / 8,
            1 / 8 - w.real / 8,
            z.imag / 4 - w.imag / 8,
            3 / 8 - z.real / 2 + w.real / 8,
        ],
        axis=-1,
    )
    i = jnp.arange(2)
    count = i[:, None, None, None] + i[:, None, None] + i[:, None] + i
    return components[..., count]


def kinetic_in_gradient(
    suspension: Suspension, gradient: ArrayLike, psi: ArrayLike, times: ArrayLike, *, substeps: int = 10
) -> Orientations:
    """The density of angles in a constant velocity gradient, from `psi` at times[0].

    Args:
        suspension: of which d_R and zeta count here.
        gradient: d u_i / d x_j, (2, 2), without trace.
        psi: (n,) at the angles 2 pi j / n, n even and at least 12; not negative, of mass 1.
        times: rising.
        substeps: equal steps of order 4 in each interval.

    Raises:
        InputError: for a gradient with a trace, a density that is negative or not of mass 1, times that do not rise.
        StatusError: when a number is not finite.
    """
    owner = "kinetic_in_gradient"
    psi, A = _check_psi(owner, psi, 1), check_gradient(owner, gradient)
    ts = check_times(owner, times, substeps, psi.dtype)
    return check_result(owner, _in_gradient(cast(suspension, psi.dtype), A.astype(psi.dtype), psi, ts, substeps))


@eqx.filter_jit
def _in_gradient(suspension, A, psi, times, substeps):
    a = harmonics(psi)
    m = jnp.arange(a.shape[0])
    e = deviator(A)
    decay = suspension.d_R * m**2 - 0.5j * m * vorticity(A)

    def rate(a):
        return turning(a, e + suspension.zeta * a[2])

    _, rows = march(rate, decay, a, times, substeps, lambda a: a)
    return Orientations(times, rows)


def turning(a: Complex[Array, "modes *batch"], g: Complex[Array, "*batch"]) -> Complex[Array, "modes *batch"]:
    """m/2 (g a_(m-2) - conj(g) a_(m+2)): how the strain g turns rods, harmonics first."""
    m = jnp.arange(a.shape[0], dtype=a.real.dtype).reshape(-1, *(1,) * (a.ndim - 1))
    below = jnp.concatenate([jnp.conj(a[2:3]), jnp.conj(a[1:2]), a[:-2]])
    above = jnp.concatenate([a[2:], jnp.zeros_like(a[:2])])
    return 0.5 * m * (g * below - jnp.conj(g) * above)


def kinetic_in_box(
    suspension: Suspension, box: PeriodicBox, psi: ArrayLike, times: ArrayLike, *, substeps: int = 10
) -> KineticFlow:
    """The density of places and angles in the flow that the rods drive, from `psi` at times[0].

    Args:
        suspension: all its parameters.
        box: the periodic box.
        psi: (nx, ny, n) at `box.points` and the angles 2 pi j / n, n even and at least 12; not negative, of mass 1 over
            the angles at every point. Modes of the start above the 2/3 rule are dropped.
        times: rising; D and the flow are kept at each, psi at the last.
        substeps: equal steps of order 4 in each interval.

    Raises:
        InputError: for a density that is negative or not of mass 1, times that do not rise, too few sweeps.
        StatusError: when a number is not finite.
    """
    owner = "kinetic_in_box"
    psi = _check_psi(owner, psi, 3)
    if psi.shape[:2] != box.n:
        raise InputError(f"{owner}(psi of shape {psi.shape}): expected {(*box.n, 'angles')}, the points of the box")
    check_box(owner, suspension, box)
    ts = check_times(owner, times, substeps, psi.dtype)
    suspension, box = cast((suspension, box), psi.dtype)
    return check_result(owner, _in_box(suspension, box, psi, ts, substeps))


def _flow(suspension, box, a):
    return stokes(box, suspension, a[2], lambda g: (0.25, a[4] / 4))


def kinetic_rate(suspension: Suspension, box: PeriodicBox, spectrum: Complex[Array, "modes nx ny"]) -> Array:
    """All but diffusion: d/dt of the modes in space of every harmonic."""
    kx, ky = box.wavenumbers
    a = jnp.fft.ifft2(spectrum)
    flow = _flow(suspension, box, a)
    m = jnp.arange(a.shape[0], dtype=a.real.dtype)[:, None, None]
    turned = turning(a, flow.e + suspension.zeta * a[2]) + 0.5j * m * flow.vorticity * a
    along = kx * box.transform(flow.u.real * a) + ky * box.transform(flow.u.imag * a)
    return box.transform(turned) - 1j * along


@eqx.filter_jit
def _in_box(suspension, box, psi, times, substeps):
    spectrum = box.transform(jnp.moveaxis(harmonics(psi), -1, 0))
    kx, ky = box.wavenumbers
    m = jnp.arange(spectrum.shape[0])[:, None, None]
    decay = suspension.d_R * m**2 + suspension.d_T * (kx**2 + ky**2)

    def observe(spectrum):
        a = jnp.fft.ifft2(spectrum[:5])
        u = _flow(suspension, box, a).u
        velocity = jnp.stack([u.real, u.imag], axis=-1)
        return tensor(a[2]), velocity, tail(box, spectrum[2]), a[4], spectrum[0, 0, 0].real / psi[..., 0].size

    last, (D, velocity, tails, fourth, mass) = march(
        lambda s: kinetic_rate(suspension, box, s), decay, spectrum, times, substeps, observe
    )
    a = jnp.fft.ifft2(last)
    return KineticFlow(Flow(times, D, velocity, tails), fourth, mass, a, jnp.max(jnp.abs(a[-2:])))


def _check_psi(owner, psi, ndim):
    psi = real(psi)
    n = psi.shape[-1] if psi.ndim else 0
    if psi.ndim != ndim or n < 12 or n % 2:
        raise InputError(f"{owner}(psi of shape {psi.shape}): expected {ndim} axes, the last an even number from 12 up")
    at_least_zero(owner, "psi", psi)
    if (a := known(psi)) is not None:
        mass = a.sum(-1) * (2 * math.pi / n)
        if (off := abs(mass - 1).max()) > ROUNDING:
            raise InputError(f"{owner}(psi with a mass of 1 up to {off:.3g}): expected 1 over the angles; divide by it")
    return psi


def isotropic(n: int) -> Float[Array, " n"]:
    """Rods in all directions alike, at n angles."""
    return jnp.full(n, 1 / (2 * math.pi), jax.dtypes.canonicalize_dtype(float))
