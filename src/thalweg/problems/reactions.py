"""A reaction of three atoms whose saddle is known.

Answers    does a search for a saddle find it, and at what cost, where every energy is a formula?
Equations  LEPS    V = Q_AB/(1+S_AB) + Q_BC/(1+S_BC) + Q_AC/(1+S_AC)
                       - sqrt(J_AB^2 + J_BC^2 + J_AC^2 - J_AB J_BC - J_BC J_AC - J_AB J_AC),  J scaled by 1/(1+S) too
           Q(r) = D/2 (3/2 e^{-2 a (r - r0)} - e^{-a (r - r0)}),   J(r) = D/4 (e^{-2 a (r - r0)} - 6 e^{-a (r - r0)})
Symbols    D -> depths, S -> sato, a -> alpha, r0 -> rest; pairs in the order AB, BC, AC; lengths in Angstrom, V in eV
Cost       three distances
Source     London, Eyring, Polanyi, Sato; the constants of Jonsson, Mills and Jacobsen (1998), with one S per pair
Fails      coincident atoms have no gradient
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core.checks import finite, positive, real
from ..core.errors import InputError

# Newton's iteration for the saddle, and where it starts: near that of the constants by default.
ITERATIONS, GUESS = 50, (1.15, 0.86)


class LEPS(eqx.Module):
    """A + BC -> AB + C: the potential of three atoms, A, B, C, on a line, in a plane or in space.

    Fields:
        depths: D of AB, BC, AC, in eV, (3,).
        sato: S of AB, BC, AC, more than -1, (3,).
        alpha: the range of the bonds, per Angstrom.
        rest: their length at rest, in Angstrom.

    Raises:
        InputError: other shapes, depths, ranges or lengths that are not positive, S of -1 or less.
    """

    depths: Float[Array, "3"] = eqx.field(converter=real, default=(4.746, 4.746, 3.445))
    sato: Float[Array, "3"] = eqx.field(converter=real, default=(0.05, 0.30, 0.05))
    alpha: Float[Array, ""] = eqx.field(converter=real, default=1.942)
    rest: Float[Array, ""] = eqx.field(converter=real, default=0.742)

    def __check_init__(self):
        for name in ("depths", "sato"):
            if (shape := getattr(self, name).shape) != (3,):
                raise InputError(f"LEPS({name} of shape {shape}): expected (3,), for the pairs AB, BC, AC")
        for name in ("depths", "alpha", "rest"):
            positive("LEPS", name, getattr(self, name))
        finite("LEPS", "sato", self.sato)
        positive("LEPS", "1 + sato", 1 + self.sato)

    def __call__(self, x: Float[Array, "3 dim"]) -> Float[Array, ""]:
        """V of the positions of A, B, C."""
        return self.of_distances(jnp.linalg.norm(x[jnp.asarray([1, 2, 2])] - x[jnp.asarray([0, 1, 0])], axis=1))

    def of_distances(self, r: Float[Array, "3"]) -> Float[Array, ""]:
        """V of the distances AB, BC, AC."""
        once = jnp.exp(-self.alpha.astype(r.dtype) * (r - self.rest.astype(r.dtype)))
        scaled = self.depths.astype(r.dtype) / (1 + self.sato.astype(r.dtype))
        q, j = scaled / 2 * (1.5 * once**2 - once), scaled / 4 * (once**2 - 6 * once)
        exchange = 0.5 * jnp.sum((j - jnp.roll(j, 1)) ** 2)
        return jnp.sum(q) - jnp.sqrt(jnp.maximum(exchange, jnp.finfo(r.dtype).tiny))

    def collinear(self, bonds: Float[Array, "2"]) -> Float[Array, ""]:
        """V where B is between A and C, of the lengths AB and BC."""
        return self.of_distances(jnp.stack([bonds[0], bonds[1], bonds[0] + bonds[1]]))

    def placed(self, bonds, dim: int = 1) -> Float[Array, "3 dim"]:
        """Positions on the first axis with B at its origin, for the lengths AB and BC."""
        bonds = real(bonds)
        return jnp.zeros((3, dim), bonds.dtype).at[0, 0].set(-bonds[0]).at[2, 0].set(bonds[1])

    @property
    def saddle(self) -> Float[Array, "2"]:
        """The lengths AB and BC at the collinear saddle near that of the default constants, by Newton's iteration.

        Raises:
            InputError: when none is reached: other constants may have their saddle elsewhere, or none.
        """
        slope, curve = jax.grad(self.collinear), jax.hessian(self.collinear)
        x = jnp.asarray(GUESS, self.depths.dtype)
        for _ in range(ITERATIONS):
            x = x - jnp.linalg.solve(curve(x), slope(x))
        left, values = float(jnp.max(jnp.abs(slope(x)))), np.linalg.eigvalsh(np.asarray(curve(x)))
        if not (left < 1e3 * float(jnp.finfo(x.dtype).eps) and values[0] < 0 < values[1]):
            raise InputError(
                f"LEPS.saddle: Newton's iteration from {GUESS} ended with a force of {left:.3g} and curvatures "
                f"{values[0]:.3g}, {values[1]:.3g}; expected a saddle. Search for it with another method"
            )
        return x
