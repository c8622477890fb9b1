"""Densities of statistical physics: a field on a lattice, a cluster of atoms.

Answers    does a sampler reach equilibrium where coordinates are strongly coupled, or labels can be exchanged?
Equations  PhiFour        rho = e^{-S},   S = sum_x ( (1/2) sum_mu (phi_{x+mu} - phi_x)^2 + V(phi_x) ), periodic,
                          V = (1/2) m^2 phi^2 + g phi^4 - h phi
           LennardJones   rho = e^{-U/T}, U = sum_{i<j} 4 (r_ij^-12 - r_ij^-6) + (k/2) sum_i |x_i|^2
Symbols    m^2 -> mass2 (may be negative: two phases), g -> coupling, h -> field, T -> temperature, k -> spring
Cost       PhiFour O(sites); LennardJones O(n^2)
Source     the transfer matrix of a ring of sites gives Z exactly; Wales and Doye, cond-mat/9803344 (global minima)
Fails      Z is known on a ring, and for coupling 0 on any lattice; elsewhere `log_z` is None
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaln

from ..core.errors import InputError
from .density import AbstractDensity


class PhiFour(AbstractDensity):
    """A scalar field on a periodic lattice of any dimension.

    Fields:
        shape: sites along each direction, each at least 2.
        mass2: m^2, negative for two phases.
        coupling: g, at least 0; more than 0 when mass2 is not.
        field: h, an outer field -h phi that breaks the symmetry.
    """

    shape: tuple[int, ...] = eqx.field(static=True, default=(16,))
    mass2: float = eqx.field(static=True, default=-1.0)
    coupling: float = eqx.field(static=True, default=0.5)
    field: float = eqx.field(static=True, default=0.05)

    def __check_init__(self):
        if not self.shape or min(self.shape) < 2:
            raise InputError(f"PhiFour(shape={self.shape}): expected at least 2 sites in each direction")
        if self.coupling < 0 or (self.coupling == 0 and self.mass2 <= 0):
            raise InputError(
                f"PhiFour(mass2={self.mass2}, coupling={self.coupling}): the action has no lower bound; expected "
                "coupling > 0, or coupling = 0 and mass2 > 0"
            )

    @property
    def event(self):
        """The lattice."""
        return self.shape

    def log_prob(self, x):
        """-S."""
        bonds = sum(jnp.sum((jnp.roll(x, -1, axis) - x) ** 2) for axis in range(x.ndim))
        return -0.5 * bonds - jnp.sum(self._site(x))

    def _site(self, x):
        return 0.5 * self.mass2 * x**2 + self.coupling * x**4 - self.field * x

    @property
    def log_z(self):
        """Ring: the trace of the transfer matrix's power. Free field: the determinant. Else None."""
        if self.coupling == 0:
            axes = np.meshgrid(*(2 - 2 * np.cos(2 * np.pi * np.arange(n) / n) for n in self.shape), indexing="ij")
            values = np.sum(axes, axis=0) + self.mass2
            sites = values.size
            return jnp.asarray(0.5 * np.sum(np.log(2 * np.pi / values)) + sites * self.field**2 / (2 * self.mass2))
        if len(self.shape) > 1:
            return None
        matrix, step = self._transfer()
        values = np.linalg.eigvalsh(matrix) * step
        top = values[-1]
        sites = int(np.prod(self.shape))
        return jnp.asarray(sites * np.log(top) + np.log(np.sum((np.maximum(values, 0) / top) ** sites)))

    def _transfer(self):
        reach = np.sqrt(max(-self.mass2, 0) / (2 * self.coupling)) + (80 / self.coupling) ** 0.25
        y = np.linspace(-reach, reach, 801)
        site = np.exp(-0.5 * self._site(y))
        return site[:, None] * np.exp(-0.5 * (y[:, None] - y) ** 2) * site, y[1] - y[0]


class LennardJones(AbstractDensity):
    """A cluster of atoms held together by a weak spring to the origin, in reduced units.

    Fields:
        atoms: how many, at least 2.
        dim: of space.
        temperature: k_B T in units of the well's depth.
        spring: k, of the trap about the origin; without it the atoms would evaporate.
    """

    atoms: int = eqx.field(static=True, default=13)
    dim: int = eqx.field(static=True, default=3)
    temperature: float = eqx.field(static=True, default=0.3)
    spring: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        if self.atoms < 2 or self.dim < 1:
            raise InputError(f"LennardJones(atoms={self.atoms}, dim={self.dim}): expected atoms >= 2 and dim >= 1")
        if not (self.temperature > 0 and self.spring > 0):
            raise InputError(
                f"LennardJones(temperature={self.temperature}, spring={self.spring}): expected both more than 0"
            )

    @property
    def event(self):
        """(atoms, dim)."""
        return (self.atoms, self.dim)

    def pair_energy(self, x) -> Float[Array, ""]:
        """The Lennard-Jones energy without the trap, in units of the well's depth."""
        i, j = np.triu_indices(self.atoms, 1)
        inverse = 1 / jnp.sum((x[i] - x[j]) ** 2, axis=-1) ** 3
        return jnp.sum(4 * (inverse**2 - inverse))

    def log_prob(self, x):
        """-(U + trap) / T."""
        return -(self.pair_energy(x) + 0.5 * self.spring * jnp.sum(x**2)) / self.temperature

    @property
    def log_z(self):
        """For two atoms, by quadrature over their distance; else None."""
        if self.atoms != 2:
            return None
        t, k, d = self.temperature, self.spring, self.dim
        r = np.linspace(0.5, 0.5 + 12 * np.sqrt(2 * t / k) + 4, 400_001)
        # Centre c and distance r: sum |x_i|^2 = 2 |c|^2 + r^2 / 2, with Jacobian 1.
        log_p = -(4 * (r**-12 - r**-6) + 0.25 * k * r**2) / t + (d - 1) * np.log(r)
        radial = np.log(np.sum(np.exp(log_p - log_p.max())) * (r[1] - r[0])) + log_p.max()
        sphere = np.log(2) + 0.5 * d * np.log(np.pi) - gammaln(0.5 * d)
        return jnp.asarray(radial + sphere + 0.5 * d * np.log(np.pi * t / k))
