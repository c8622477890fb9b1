"""Rods in a viscous fluid, in two dimensions: parameters, the flow that they drive, and steps in time for both levels.

Answers    which flow does a suspension of active rods make, and how is any of its equations carried over a time step?
Equations  -Lap u + grad q = div Sigma,  div u = 0                                             (2308.06675, the model)
           Sigma = alpha D + beta S:E + 2 zeta beta (S:D - D.D)
           y' = L y + N(y), L diagonal: Runge and Kutta's four stages on e^(-L t) y
Symbols    D = <pp>, S = <pppp>, E = sym grad u, (grad u)_ij = d u_i / d x_j. A traceless symmetric tensor is a complex
           number, [[t1, t2], [t2, -t1]] <-> t1 + i t2; D <-> z = <e^(2 i theta)> (twice its traceless part), E <-> e;
           g = e + zeta z is the strain that turns the rods; of S:T only t -> a t + b conj t is left, with a = 1/4 and
           b = <e^(4 i theta)> / 4 where S has all symmetries
Cost       the flow: four transforms, and two more for every sweep
Fails      StatusError when a run ends with a number that is not finite: more substeps; `tail` tells of too few modes.
           The 2/3 rule removes the aliases of products of two; S:E has more factors, and its aliases are seen in `tail`

On beta: a rod that resists stretching gives S:E its sign, and free energy that rotation dissipates gives the last term
the sign above. Its factor 2 is that of the literature and holds for equal friction along and across a rod; the leading
order of slender bodies, with twice the friction across, has 4 in its place.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Complex, Float

from ..core import InputError, StatusError, Times
from ..core.checks import at_least_zero, finite, known, positive, real

# What rounding may do to a trace, a mass or an eigenvalue in single precision.
ROUNDING = 1e-5
# Picard's iteration for the rods' own viscosity stops where it is wrong by this share.
SWEPT = 1e-6

# The four stages: half steps of decay of y, of the slope before and of its share in the sum; that share and its weight.
HALVES = np.asarray([[0, 0, 2], [1, 1, 1], [1, 0, 1], [2, 1, 0]], np.int32)
WEIGHTS = np.asarray([[0, 1 / 6], [1 / 2, 1 / 3], [1 / 2, 1 / 3], [1, 1 / 6]])


class Suspension(eqx.Module):
    """The parameters, in units in which the viscosity is 1.

    Fields:
        d_R, d_T: rotational and translational diffusion, at least 0.
        zeta: strength of alignment with the neighbours.
        alpha: activity; negative for pushers.
        beta: stress of rods that cannot be stretched, at least 0; only where they drive the flow.
    """

    d_R: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    zeta: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    alpha: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    d_T: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    beta: Float[Array, ""] = eqx.field(converter=real, default=0.0)

    def __check_init__(self):
        for name in ("d_R", "d_T", "beta"):
            at_least_zero("Suspension", name, getattr(self, name))
        for name in ("zeta", "alpha"):
            finite("Suspension", name, getattr(self, name))

    def growth(self, wavenumber: ArrayLike) -> Float[Array, "..."]:
        """The rate at which a small wave of wavenumber |k| grows out of uniform, isotropic rods at rest, by shear.

        sigma = zeta - (alpha - zeta beta / 2) / (4 + beta / 2) - 4 d_R - d_T k^2: to first order S:E = E/4, whatever
        the fourth moment is.
        """
        driven = (self.alpha - self.zeta * self.beta / 2) / (4 + self.beta / 2)
        return self.zeta - driven - 4 * self.d_R - self.d_T * jnp.asarray(wavenumber) ** 2


class PeriodicBox(eqx.Module):
    """A periodic box of `n` points, with Fourier modes below a third of them (the 2/3 rule).

    Fields:
        n: points along each axis, at least 4.
        length: sides of the box.
        sweeps: of Picard's iteration for the flow, which only beta > 0 needs; each divides its error by 1 + 8 / beta.
    """

    n: tuple[int, int] = eqx.field(static=True)
    length: Float[Array, "2"] = eqx.field(converter=real)
    sweeps: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        if len(self.n) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 4 for n in self.n):
            raise InputError(f"PeriodicBox(n={self.n}): expected two whole numbers of at least 4")
        if isinstance(self.sweeps, bool) or not isinstance(self.sweeps, int) or self.sweeps < 0:
            raise InputError(f"PeriodicBox(sweeps={self.sweeps}): expected a whole number of at least 0")
        positive("PeriodicBox", "length", self.length, "the sides of the periodic box")

    @property
    def points(self) -> Float[Array, "nx ny 2"]:
        """Where the fields are given: (0, 0) is the first."""
        axes = [side * jnp.arange(n) / n for n, side in zip(self.n, self.length, strict=True)]
        return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)

    @property
    def wavenumbers(self) -> tuple[Float[Array, "nx 1"], Float[Array, "1 ny"]]:
        """Of the modes along each axis."""
        kx, ky = (2 * jnp.pi / side * jnp.asarray(_indices(n)) for n, side in zip(self.n, self.length, strict=True))
        return kx[:, None], ky[None, :]

    @property
    def kept(self) -> Bool[Array, "nx ny"]:
        """The modes that are carried."""
        x, y = (np.abs(_indices(n)) <= (n - 1) // 3 for n in self.n)
        return jnp.asarray(x[:, None] & y[None, :])

    def transform(self, field: Array) -> Complex[Array, "*batch nx ny"]:
        """The kept modes of a field on the points."""
        return jnp.where(self.kept, jnp.fft.fft2(field), 0.0)


class Velocity(eqx.Module):
    """The flow on the points: u_x + i u_y, the strain e and the vorticity."""

    u: Complex[Array, "nx ny"]
    e: Complex[Array, "nx ny"]
    vorticity: Float[Array, "nx ny"]


class Flow(eqx.Module):
    """A suspension in a box, at every time that was asked for.

    Fields:
        times: those times.
        D: second moments, (k, nx, ny, 2, 2), of trace 1.
        velocity: (k, nx, ny, 2).
        tail: the largest mode of D next to the cut, relative to the largest of all, one a time: the share that the
            grid does not resolve.
    """

    times: Times
    D: Float[Array, "k nx ny 2 2"]
    velocity: Float[Array, "k nx ny 2"]
    tail: Float[Array, " k"]


def stokes(box: PeriodicBox, suspension: Suspension, z: Array, act: Callable) -> Velocity:
    """The flow of rods with second moment `z`, (nx, ny), whose fourth moment under a strain g acts as `act(g)`: a, b.

    The mean flow is zero. The rods' own viscosity is solved for by Picard's iteration, with its isotropic part on the
    left: what is left of it is below beta/4 |E|, a contraction by beta / (8 + beta) whatever beta.
    """
    kx, ky = box.wavenumbers
    square = kx**2 + ky**2
    safe = jnp.where(square == 0, 1.0, square)
    viscosity = 1 + suspension.beta / 8

    def stream(sigma):
        # The curl of the equation: viscosity k^4 chi = -Im (kx - i ky)^2 (Sigma_1 + i Sigma_2), u = (d_y, -d_x) chi.
        spectrum = (kx - 1j * ky) ** 2 * box.transform(sigma) / (viscosity * safe**2)
        return 0.5j * (spectrum - jnp.conj(_mirrored(spectrum)))

    def strain(chi):
        return jnp.fft.ifft2(0.5j * (kx + 1j * ky) ** 2 * chi)

    chi = stream(suspension.alpha * z / 2)
    for _ in range(box.sweeps):
        e = strain(chi)
        g = e + suspension.zeta * z
        a, b = act(g)
        # S:E + 2 zeta (S:D - D.D), less the E/4 that is on the left.
        rods = a * g + b * jnp.conj(g) - suspension.zeta * z / 2 - e / 4
        chi = stream(suspension.alpha * z / 2 + suspension.beta * rods)
    u = jnp.fft.ifft2((kx + 1j * ky) * chi)
    return Velocity(u, strain(chi), jnp.fft.ifft2(square * chi).real)


def march(rate: Callable, decay: Array, y: Array, times: Times, substeps: int, observe: Callable) -> tuple[Any, Any]:
    """Carry y' = rate(y) - decay y through the times, each interval in `substeps` equal steps of order 4.

    Returns:
        the last y, and `observe(y)` at every time, stacked. Reverse-mode memory: one y an interval and a substep of
        one interval, the stages being computed anew.
    """

    def interval(y, dt):
        # e^(-j dt L / 2) for j = 0, 1, 2.
        factors = jnp.stack([jnp.ones_like(decay), half := jnp.exp(-0.5 * dt * decay), half * half])

        def stage(carry, at):
            y, slope, total = carry
            (start, passed, kept), (share, weight) = at
            slope = rate(factors[start] * y + dt * share * factors[passed] * slope)
            return (y, slope, total + dt * weight * factors[kept] * slope), None

        def substep(y, _):
            # A loop, not four copies: what is compiled is a fourth.
            start = (y, jnp.zeros_like(y), factors[2] * y)
            return jax.lax.scan(stage, start, (jnp.asarray(HALVES), jnp.asarray(WEIGHTS, dt.dtype)))[0][2], None

        y, _ = jax.lax.scan(jax.checkpoint(substep), y, None, length=substeps)
        return y, observe(y)

    y_last, rows = jax.lax.scan(jax.checkpoint(interval), y, jnp.diff(times) / substeps)
    first = observe(y)
    return y_last, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rows)


def tensor(z: Array) -> Float[Array, "*batch 2 2"]:
    """D with trace 1 from z = <e^(2 i theta)>."""
    q1, q2 = z.real / 2, z.imag / 2
    rows = jnp.stack([0.5 + q1, q2], -1), jnp.stack([q2, 0.5 - q1], -1)
    return jnp.stack(rows, -2)


def deviator(T: Array) -> Complex[Array, "*batch"]:
    """The traceless symmetric part of (..., 2, 2) as t1 + i t2; z is twice that of D, e that of grad u."""
    return jax.lax.complex((T[..., 0, 0] - T[..., 1, 1]) / 2, (T[..., 0, 1] + T[..., 1, 0]) / 2)


def vorticity(gradient: Float[Array, "2 2"]) -> Float[Array, ""]:
    """d u_y / d x - d u_x / d y."""
    return gradient[1, 0] - gradient[0, 1]


def tail(box: PeriodicBox, spectrum: Complex[Array, "nx ny"]) -> Float[Array, ""]:
    """The largest of the outermost kept modes, relative to the largest of all."""
    edges = [np.abs(_indices(n)) == (n - 1) // 3 for n in box.n]
    size = jnp.abs(spectrum)
    outer = jnp.max(jnp.where(jnp.asarray(edges[0][:, None] | edges[1][None, :]) & box.kept, size, 0.0))
    largest = jnp.max(size)
    return jnp.where(largest == 0, 0.0, outer / jnp.where(largest == 0, 1.0, largest))


def check_gradient(owner: str, gradient: ArrayLike) -> Float[Array, "2 2"]:
    """The velocity gradient as an array.

    Raises:
        InputError: unless it is a finite (2, 2) matrix without trace.
    """
    A = real(gradient)
    if A.shape != (2, 2):
        raise InputError(f"{owner}(gradient of shape {A.shape}): expected (2, 2), d u_i / d x_j")
    finite(owner, "gradient", A)
    if (a := known(A)) is not None and abs(np.trace(a)) > ROUNDING * np.abs(a).max():
        raise InputError(f"{owner}(gradient with trace {np.trace(a):.6g}): expected 0, an incompressible flow")
    return A


def check_moment(owner: str, D: ArrayLike, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """The second moment as an array of `shape`.

    Raises:
        InputError: unless it is symmetric, of trace 1, with eigenvalues in [0, 1], at every point.
    """
    D = real(D)
    if D.shape != shape:
        raise InputError(f"{owner}(D of shape {D.shape}): expected {shape}")
    finite(owner, "D", D)
    if (a := known(D)) is None:
        return D
    trace = np.trace(a, axis1=-2, axis2=-1)
    if (off := np.abs(trace - 1).max()) > ROUNDING:
        raise InputError(f"{owner}(D with a trace of 1 up to {off:.3g}): expected trace 1; divide by it")
    if (off := np.abs(a - np.swapaxes(a, -1, -2)).max()) > ROUNDING:
        raise InputError(f"{owner}(D with |D - D^T| = {off:.3g}): expected a symmetric tensor")
    values = np.linalg.eigvalsh(a)
    if values.min() < -ROUNDING or values.max() > 1 + ROUNDING:
        raise InputError(
            f"{owner}(D with eigenvalues from {values.min():.6g} to {values.max():.6g}): expected them in [0, 1]"
        )
    return D


def check_times(owner: str, times: ArrayLike, substeps: int, dtype: Any) -> Times:
    """The times as an array of `dtype`.

    Raises:
        InputError: unless they rise and `substeps` is a whole number of at least 1.
    """
    t = real(times)
    if t.ndim != 1 or t.shape[0] < 2:
        raise InputError(f"{owner}(times of shape {t.shape}): expected two or more times in a row")
    finite(owner, "times", t)
    if (a := known(t)) is not None and not (a[1:] > a[:-1]).all():
        raise InputError(f"{owner}: expected rising times")
    if isinstance(substeps, bool) or not isinstance(substeps, int) or substeps < 1:
        raise InputError(f"{owner}(substeps={substeps}): expected a whole number of at least 1")
    return t.astype(dtype)


def check_box(owner: str, suspension: Suspension, box: PeriodicBox) -> None:
    """Refuse fewer sweeps than beta asks for.

    Raises:
        InputError: with how many it takes.
    """
    if (b := known(suspension.beta)) is None or b == 0:
        return
    factor = float(b / (8 + b))
    enough = int(np.ceil(np.log(SWEPT) / np.log(factor)))
    if box.sweeps < enough:
        raise InputError(f"{owner}(PeriodicBox(sweeps={box.sweeps})): beta = {float(b):g} takes {enough} sweeps")


def check_result(owner: str, result: Any) -> Any:
    """Hand a result over if its numbers are finite.

    Raises:
        StatusError: with the result, where they are not.
    """
    numbers = [a for x in jax.tree.leaves(result) if (a := known(x)) is not None]
    if not all(np.isfinite(a).all() for a in numbers):
        raise StatusError(f"{owner}: a number is not finite: take more substeps", result)
    return result


def cast(module: Any, dtype: Any) -> Any:
    """The module with its real numbers in `dtype`."""
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, module)


def _indices(n):
    return np.fft.fftfreq(n, 1 / n)


def _mirrored(spectrum):
    """The mode -k at the place of k."""
    return jnp.roll(jnp.flip(spectrum, (-2, -1)), (1, 1), (-2, -1))
