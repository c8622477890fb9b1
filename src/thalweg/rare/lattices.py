"""Fields on periodic grids with weak noise: two phase transitions out of equilibrium, and one within.

Answers    how does one phase replace another in space, when no free energy need exist?
Equations  GinzburgLandau  d_t rho = D lap rho + rho - rho^3 + kappa <rho^2> + noise;  < > is the mean over space, whose
                           derivative is not symmetric in two sites: no potential unless kappa = 0
                           H = sum_x (...) p + 1/2 a p^2; homogeneous states 0 and (kappa +- sqrt(kappa^2 + 4)) / 2
           AllenCahn       d_t u = D lap u + u - u^3 + f + noise, the gradient of
                           V = sum_x 1/2 D |grad u|^2 + (1 - u^2)^2 / 4 - f u
           Schlogl         hops at rate D rho to each neighbour, and reactions
                           H = sum_x D rho_x (e^{p_{x+1} - p_x} + e^{p_{x-1} - p_x} - 2)
                               + (k0 + k2 rho^2)(e^p - 1) + (k1 rho + k3 rho^3)(e^-p - 1)
           lap u = (u_{x+1} + u_{x-1} - 2 u_x) / h^2 in each direction, of eigenvalues -(2 - 2 cos k) / h^2
Symbols    rho, u -> x; D -> diffusion; kappa -> coupling; f -> field; h -> spacing; a -> noise; k -> rates
Cost       O(sites) a drift
Fails      with the sum over sites as measure the action grows with the number of sites; `Cell(h)` makes it the integral
           over space, which has a limit as h -> 0 in one dimension (in more the noise must be coloured)
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core import InputError
from ..core.checks import at_least_zero, known, positive, real
from .hamiltonian import AbstractGradient, AbstractSmallNoise, AbstractSystem


class AbstractMeasure(eqx.Module):
    """What one site counts in the action."""

    @property
    @abc.abstractmethod
    def weight(self) -> float:
        """The factor on sums over sites."""


class Sum(AbstractMeasure):
    """Each site counts 1: noise of strength a on every site, eps the inverse of the number of particles in one."""

    @property
    def weight(self):
        """1."""
        return 1.0


class Cell(AbstractMeasure):
    """Each site counts its volume: noise that is white in space, of strength a / volume on every site.

    Fields:
        volume: of a cell, h in one dimension, h^2 in two.
    """

    volume: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.volume > 0:
            raise InputError(f"Cell(volume={self.volume}): expected more than 0")

    @property
    def weight(self):
        """The volume."""
        return self.volume


class AbstractLattice(AbstractSystem):
    """Fields on a periodic grid; `diffusion` and `spacing` make the stiff linear part."""

    diffusion: eqx.AbstractVar[Float[Array, ""]]
    spacing: eqx.AbstractVar[Float[Array, ""]]
    measure: eqx.AbstractVar[AbstractMeasure]

    @property
    def weight(self):
        """That of the measure."""
        return self.measure.weight

    def spread(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """D lap x."""
        # Differences of neighbours first: a homogeneous field spreads by exactly nothing.
        bonds = sum((jnp.roll(x, -1, i) - x) - (x - jnp.roll(x, 1, i)) for i in range(x.ndim))
        return (self.diffusion / self.spacing**2).astype(x.dtype) * bonds

    def filtered(self, x, fn: Callable):
        """fn(D |k|^2) applied in Fourier space."""
        axes = tuple(range(x.ndim))
        waves = [2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in x.shape[:-1]]
        waves.append(2 - 2 * np.cos(2 * np.pi * np.fft.rfftfreq(x.shape[-1])))
        square = sum(np.meshgrid(*waves, indexing="ij"))
        rates = jnp.asarray(square, x.dtype) * (self.diffusion / self.spacing**2).astype(x.dtype)
        return jnp.fft.irfftn(fn(rates) * jnp.fft.rfftn(x, axes=axes), s=x.shape, axes=axes).astype(x.dtype)


class GinzburgLandau(AbstractLattice, AbstractSmallNoise):
    """The modified Ginzburg-Landau equation, driven out of equilibrium by its own mean square.

    Fields:
        coupling: kappa; 0 leaves a gradient system.
        diffusion: D, at least 0.
        spacing: h, more than 0.
        noise: a, more than 0.
        measure: `Sum()` or `Cell(h)`.
    """

    coupling: Float[Array, ""] = eqx.field(converter=real, default=0.26)
    diffusion: Float[Array, ""] = eqx.field(converter=real, default=0.05)
    spacing: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    noise: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    measure: AbstractMeasure = Sum()

    def __check_init__(self):
        _check("GinzburgLandau", self)

    def drift(self, x):
        """The equation without noise."""
        return self.spread(x) + x - x**3 + self.coupling.astype(x.dtype) * jnp.mean(x * x)

    def covariance(self, x):
        """The noise, a number."""
        return self.noise.astype(x.dtype)

    def phases(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Values of the two homogeneous phases, low and high."""
        root = jnp.sqrt(self.coupling**2 + 4)
        return 0.5 * (self.coupling - root), 0.5 * (self.coupling + root)


class AllenCahn(AbstractLattice, AbstractGradient):
    """Two phases of an order parameter; a gradient system, so that S = 2 dV / a, times the measure's weight.

    Fields:
        field: f, which favours the upper phase.
        diffusion: D, at least 0.
        spacing: h, more than 0.
        noise: a, more than 0.
        measure: `Sum()` or `Cell(h)`.
    """

    field: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    diffusion: Float[Array, ""] = eqx.field(converter=real, default=0.05)
    spacing: Float[Array, ""] = eqx.field(converter=real, default=0.1)
    noise: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    measure: AbstractMeasure = Sum()

    def __check_init__(self):
        _check("AllenCahn", self)

    def potential(self, x):
        """V, without the measure's weight."""
        bonds = sum(jnp.sum((jnp.roll(x, -1, i) - x) ** 2) for i in range(x.ndim))
        wells = jnp.sum(0.25 * (1 - x * x) ** 2 - self.field.astype(x.dtype) * x)
        return 0.5 * (self.diffusion / self.spacing**2).astype(x.dtype) * bonds + wells

    def drift(self, x):
        """-grad V, written out."""
        return self.spread(x) + x - x**3 + self.field.astype(x.dtype)


class Schlogl(AbstractLattice):
    """Schlogl's reactions on a ring of volumes, with hops between neighbours.

    Fields:
        rates: k0 to k3: birth k0 + k2 rho^2, death k1 rho + k3 rho^3; at least 0, and k0 more.
        diffusion: D, of hops to each side; 0 for volumes apart.
        spacing: h; D counts per h^2.
        measure: `Sum()` or `Cell(h)`.
    """

    rates: Float[Array, " 4"] = eqx.field(converter=real, default=(0.8, 2.9, 3.1, 1.0))
    diffusion: Float[Array, ""] = eqx.field(converter=real, default=11.0)
    spacing: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    measure: AbstractMeasure = Sum()

    def __check_init__(self):
        rates = known(self.rates)
        if rates is not None and rates.shape != (4,):
            raise InputError(f"Schlogl(rates of shape {rates.shape}): expected the four numbers k0, k1, k2, k3")
        at_least_zero("Schlogl", "rates", self.rates)
        if rates is not None:
            positive("Schlogl", "rates[0]", self.rates[0], "without births out of nothing an empty volume stays empty")
        at_least_zero("Schlogl", "diffusion", self.diffusion)
        positive("Schlogl", "spacing", self.spacing)

    def births(self, x):
        """k0 + k2 rho^2."""
        k = self.rates.astype(x.dtype)
        return k[0] + k[2] * x * x

    def deaths(self, x):
        """k1 rho + k3 rho^3."""
        k = self.rates.astype(x.dtype)
        return k[1] * x + k[3] * x**3

    def hamiltonian(self, x, p):
        """Hops, births and deaths."""
        hop = (self.diffusion / self.spacing**2).astype(x.dtype)
        up, down = jnp.roll(p, -1) - p, jnp.roll(p, 1) - p
        hops = hop * x * (jnp.expm1(up) + jnp.expm1(down))
        return jnp.sum(hops + self.births(x) * jnp.expm1(p) + self.deaths(x) * jnp.expm1(-p))

    def drift(self, x):
        """Births less deaths, and spreading."""
        return self.spread(x) + self.births(x) - self.deaths(x)

    def curvature(self, x, p):
        """A cyclic band: the hops couple neighbours."""
        n = x.shape[0]
        hop = (self.diffusion / self.spacing**2).astype(x.dtype)
        # From site i to its right-hand neighbour, and back.
        right = hop * x * jnp.exp(jnp.roll(p, -1) - p)
        left = hop * jnp.roll(x, -1) * jnp.exp(p - jnp.roll(p, -1))
        bond = right + left
        own = bond + jnp.roll(bond, 1) + self.births(x) * jnp.exp(p) + self.deaths(x) * jnp.exp(-p)
        i = jnp.arange(n)
        # Two neighbours may be one site, on a ring of two: bonds are added, not set.
        band = jnp.zeros((n, n), x.dtype).at[i, i].add(own)
        return band.at[i, (i + 1) % n].add(-bond).at[(i + 1) % n, i].add(-bond)

    def phases(self) -> Float[Array, "3"]:
        """The homogeneous states in rising order, where there are three; the middle one is not stable.

        Raises:
            InputError: when there are not three.
        """
        k = np.asarray(self.rates, np.float64)
        roots = np.roots([-k[3], k[2], -k[1], k[0]])
        real_roots = np.sort(roots[np.abs(roots.imag) < 1e-9 * np.abs(roots).max()].real)
        if len(real_roots) != 3:
            raise InputError(f"Schlogl(rates={k.tolist()}) has {len(real_roots)} homogeneous states, not three")
        return jnp.asarray(real_roots, self.rates.dtype)


def _check(owner, system):
    at_least_zero(owner, "diffusion", system.diffusion)
    positive(owner, "spacing", system.spacing)
    positive(owner, "noise", system.noise)
