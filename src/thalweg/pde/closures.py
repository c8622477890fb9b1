"""Closures of the fourth moment of rods in two dimensions: what S = <pppp> is, as far as D = <pp> tells.

Answers    which S:T enters the equation for D, when only D and the strain are known?
Equations  Bingham     psi ~ e^(kappa cos 2 theta) in D's frame:  |z| = I_1/I_0(kappa),  w = I_2/I_0(kappa) z^2/|z|^2
           Quadratic   S = D D, without the symmetry S_ijkl = S_ikjl
           SymmetricQuadratic   w = z^2: D D made symmetric, with its traces put right
           Learned     w = z^2 + (1 - |z|^2) h / (1 + |h|^4)^(1/4),   h = f_1 z^2 + f_2 z s + f_3 s^2
                       s = g/(|g| + rate), f of the invariants |z|^2, |s|^2, Re(z conj s)
                                                                                   (2308.06675, the learned closure)
Symbols    z = <e^(2 i theta)>, w = <e^(4 i theta)>, g the strain that turns the rods (see `suspension.py`), f -> net
Cost       elementwise: Bingham one pair of Bessel functions, Learned a net of three numbers
Fails      Bingham has no answer for |z| > 1: NaN there, beyond the rounding of an aligned state

In two dimensions D has one complex number in it and a fully symmetric S one more: z, and w. Turning the frame by phi
multiplies z and g by e^(2 i phi), w by e^(4 i phi), and a reflection conjugates all of them; so real f make the tensor
expansion in DD, DE, EE equivariant by construction. |w - z^2| <= 1 - |z|^2 is exactly what a density can have, and
`Learned` never leaves it. Its strain is that of flow and neighbours together, E + 2 zeta (D - 1/2), where the paper has
E: the kinetic equation knows no other.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float

from ..core import Key, Paper
from ..core.checks import positive, real
from ..nets import MLP
from .kinetic import fourth_moment
from .suspension import ROUNDING, check_moment, deviator

# Where the three forms of the Bingham closure meet: a series in |z|^2 below, one in 1/kappa above.
LOW, HIGH = 0.3, 0.985
# I_2/I_0 = r^2 sum_n SERIES[n] r^(2n) with r = I_1/I_0: the quotient of their power series, inverted.
SERIES = np.asarray(
    [
        *(1 / 2, 1 / 6, 5 / 48, 7 / 90, 541 / 8640, 2101 / 40320, 254183 / 5806080, 680963 / 18662400),
        *(22130339 / 746496000, 3952866277 / 172440576000, 66802712681 / 4138573824000),
        *(867717979883 / 94152554496000,),
    ]
)
# I_1/I_0 = sum_n RATIO[n] kappa^-n, from Riccati's equation for it; what it lacks to 1, highest power first.
RATIO = np.asarray(
    [
        *(1, -1 / 2, -1 / 8, -1 / 8, -25 / 128, -13 / 32, -1073 / 1024, -103 / 32, -375733 / 32768, -23797 / 512),
        *(-55384775 / 262144, -2180461 / 2048, -24713030909 / 4194304, -72763141 / 2048),
    ]
)
GAP = np.concatenate([-RATIO[:0:-1], [0.0]])
GAP_SLOPE = np.polyder(GAP)
# kappa (1 - r^2) / r by powers of r^2, highest first, to 3e-4 for r in [LOW, HIGH]: where Halley's step starts from.
START = np.asarray([15.9557, -75.8434, 144.154, -142.449, 80.276, -26.3517, 4.70142, -1.4616, 2.01709])
# |z| may be past 1 by this much before Bingham says NaN: the stages of a step overshoot.
PAST = 1e-3


class AbstractClosure(eqx.Module):
    """S from D and the strain: the tensor at one point by calling it, or what the equations need by `act`."""

    @abc.abstractmethod
    def act(self, z: Complex[Array, "*batch"], g: Complex[Array, "*batch"]) -> tuple[Array, Array]:
        """a and b, so that S:T <-> a t + b conj t for traceless T <-> t, of complex z and strain g at any points."""

    def __call__(self, D: ArrayLike, strain: ArrayLike) -> Float[Array, "2 2 2 2"]:
        """S at one point; S_iikl = D_kl whatever the closure.

        Args:
            D: (2, 2), of trace 1.
            strain: E + 2 zeta (D - 1/2), (2, 2); its symmetric traceless part counts.

        Raises:
            InputError: unless D is symmetric, of trace 1, with eigenvalues in [0, 1].
        """
        D = check_moment(type(self).__name__, D, (2, 2))
        a, b = self.act(2 * deviator(D), deviator(real(strain).astype(D.dtype)))
        S = 0.5 * D[:, :, None, None] * jnp.eye(2, dtype=D.dtype)
        for unit, t in ((jnp.asarray([[1.0, 0.0], [0.0, -1.0]]), 1.0), (jnp.asarray([[0.0, 1.0], [1.0, 0.0]]), 1j)):
            s = a * t + b * jnp.conj(t)
            part = jnp.stack([jnp.stack([s.real, s.imag]), jnp.stack([s.imag, -s.real])])
            part = part + 0.5 * jnp.sum(D * unit) * jnp.eye(2, dtype=D.dtype)
            S = S + 0.5 * part[:, :, None, None] * unit.astype(D.dtype)
        return S


class AbstractSymmetricClosure(AbstractClosure):
    """One whose S has every symmetry of <pppp>, given by w = <e^(4 i theta)>."""

    @abc.abstractmethod
    def fourth(self, z: Complex[Array, "*batch"], g: Complex[Array, "*batch"]) -> Complex[Array, "*batch"]:
        """w."""

    def act(self, z, g):
        """1/4 and w/4."""
        w = self.fourth(z, g)
        return jnp.full_like(z.real, 0.25), w / 4

    def __call__(self, D, strain):
        """S at one point, in the form in which it is symmetric to the last bit."""
        D = check_moment(type(self).__name__, D, (2, 2))
        z = 2 * deviator(D)
        return fourth_moment(z, self.fourth(z, deviator(real(strain).astype(D.dtype))))


class Bingham(AbstractSymmetricClosure):
    """The density of most entropy with this D: exact for rods at rest that align with their neighbours."""

    def fourth(self, z, g):
        """I_2/I_0 / (I_1/I_0)^2 z^2, smooth at z = 0."""
        return bingham_ratio(z.real**2 + z.imag**2) * z**2


class Quadratic(AbstractClosure):
    """S = D D: exact for rods that are all parallel, and without the symmetry of S otherwise."""

    def act(self, z, g):
        """D (D:T), whose traceless part is z Re(conj(z) t) / 2."""
        return (z.real**2 + z.imag**2) / 4, z**2 / 4


class SymmetricQuadratic(AbstractSymmetricClosure):
    """The traceless part of D D made symmetric, with traces S_iikl = D_kl: w = z^2."""

    def fourth(self, z, g):
        """z^2."""
        return z**2


class Learned(AbstractSymmetricClosure):
    """A net of the invariants of D and the strain, realisable and equivariant whatever its parameters.

    Fields:
        net: three invariants to three coefficients, `MLP((3,), out=(3,), ...)` or like it, called as net(0, x).
        rate: the strain that counts as strong, in 1/time; about the d_R that it was trained for.
    """

    paper: ClassVar[Paper] = Paper(
        "active-fluid-closure",
        "Learning fast, accurate, and stable closures of a kinetic theory of an active fluid",
        "2308.06675",
        2023,
        "kinetic theory, moment equation, learned closure",
        "reproduced",
    )
    net: MLP
    rate: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        positive("Learned", "rate", self.rate, "a strain to measure others by, such as d_R")

    @classmethod
    def start(cls, rate: ArrayLike, *, width: int = 24, depth: int = 2, key: Key) -> "Learned":
        """Untrained, with w = z^2."""
        return cls(MLP((3,), out=(3,), width=width, depth=depth, octaves=1, zero=True, key=key), real(rate))

    def fourth(self, z, g):
        """z^2 and a part of 1 - |z|^2."""
        # The smallest normal number keeps the gradient of a root finite where nothing flows.
        tiny = jnp.finfo(z.real.dtype).tiny
        rate = jax.lax.stop_gradient(self.rate).astype(z.real.dtype)
        s = g / (jnp.sqrt(g.real**2 + g.imag**2 + tiny) + rate)
        square = z.real**2 + z.imag**2
        x = jnp.stack([square, s.real**2 + s.imag**2, z.real * s.real + z.imag * s.imag], axis=-1)
        f = jax.vmap(lambda x: self.net(0.0, x))(x.reshape(-1, 3)).reshape(x.shape)
        h = f[..., 0] * z**2 + f[..., 1] * z * s + f[..., 2] * s**2
        return z**2 + (1 - square) * h / (1 + (h.real**2 + h.imag**2) ** 2) ** 0.25


def bingham_ratio(y: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """I_2 I_0 / I_1^2 at the kappa with (I_1/I_0)^2 = y: from 1/2 at 0 to 1 at 1; NaN for y above 1."""
    r = jnp.sqrt(jnp.maximum(y, LOW**2))
    low = _polynomial(SERIES[::-1], jnp.minimum(y, LOW**2))
    middle = jnp.clip(r, LOW, HIGH)
    high = jnp.clip(r, HIGH, 1 + PAST)
    # I_2 = I_0 - 2 I_1 / kappa.
    by_kappa = (1 - 2 * middle / _kappa(middle)) / middle**2
    by_inverse = (1 - 2 * high * _inverse(1 - high)) / high**2
    ratio = jnp.where(y < LOW**2, low, jnp.where(r < HIGH, by_kappa, by_inverse))
    return jnp.where(y > (1 + PAST) ** 2, jnp.nan, ratio)


def bingham_density(D: ArrayLike, n: int) -> Float[Array, " n"]:
    """The Bingham density at n angles 2 pi j / n with second moment D, (2, 2).

    Raises:
        InputError: unless D is symmetric, of trace 1, with eigenvalues in [0, 1].
    """
    z = 2 * deviator(check_moment("bingham_density", D, (2, 2)))
    y = jnp.minimum(z.real**2 + z.imag**2, 1 - ROUNDING)
    # I_2/I_0 = 1 - 2 r / kappa.
    kappa = 2 * jnp.sqrt(y) / (1 - bingham_ratio(y) * y)
    theta = 2 * jnp.pi * jnp.arange(n) / n
    weight = jnp.exp(kappa * (jnp.cos(2 * theta - jnp.angle(z)) - 1))
    return weight / jnp.sum(weight) * (n / (2 * jnp.pi))


@jax.custom_jvp
def _kappa(r):
    """kappa with r = I_1/I_0(kappa) for r in [LOW, HIGH]: one step of Halley's, from 3e-4 to 2e-12 of it."""
    kappa = jnp.polyval(jnp.asarray(START, r.dtype), r**2) * r / (1 - r**2)
    ratio = jax.scipy.special.i1e(kappa) / jax.scipy.special.i0e(kappa)
    # Riccati's equation for the ratio gives its derivatives.
    first = _slope(kappa, ratio)
    second = -first / kappa + ratio / kappa**2 - 2 * ratio * first
    return kappa - 2 * (ratio - r) * first / (2 * first**2 - (ratio - r) * second)


@_kappa.defjvp
def _kappa_jvp(primals, tangents):
    kappa = _kappa(primals[0])
    return kappa, tangents[0] / _slope(kappa, primals[0])


def _slope(kappa, ratio):
    """d(I_1/I_0)/d kappa."""
    return 1 - ratio / kappa - ratio**2


@jax.custom_jvp
def _inverse(gap):
    """1/kappa with I_1/I_0(kappa) = 1 - gap, for gaps below 1 - HIGH: no difference of near numbers is taken."""
    tau = 2 * gap - gap**2
    for _ in range(2):
        tau = tau - (_polynomial(GAP, tau) - gap) / _polynomial(GAP_SLOPE, tau)
    return tau


@_inverse.defjvp
def _inverse_jvp(primals, tangents):
    tau = _inverse(primals[0])
    return tau, tangents[0] / _polynomial(GAP_SLOPE, tau)


def _polynomial(coefficients, x):
    return jnp.polyval(jnp.asarray(coefficients, x.dtype), x)
