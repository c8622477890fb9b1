"""A density on the cells of a grid: what the grid solver works on. All of it NumPy, in double precision."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..core import InputError
from ..problems import AbstractDensity
from ..processes import Grid


@dataclass(frozen=True)
class GridDensity:
    """A density by its mean in each cell, at one time.

    Fields:
        grid: the cells.
        p: density, not mass, of shape `grid.cells`.
        t: when.
    """

    grid: Grid
    p: np.ndarray
    t: float

    @property
    def mass(self) -> float:
        """The integral, 1 to round-off."""
        return float(self.p.sum() * self.grid.volume)

    def expectation(self, fn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The mean of fn(points), for a function of (cells, d) that returns (cells, ...)."""
        w = self.p.ravel() * self.grid.volume
        return np.tensordot(w, np.asarray(fn(self.grid.centres)), axes=1)

    @property
    def mean(self) -> np.ndarray:
        """E[x], (d,)."""
        return self.expectation(lambda x: x)

    @property
    def covariance(self) -> np.ndarray:
        """Cov[x], (d, d), of the middles of the cells."""
        mean = self.mean
        return self.expectation(lambda x: (x - mean)[:, :, None] * (x - mean)[:, None, :])

    @property
    def entropy(self) -> float:
        """-integral of rho log rho, in nats."""
        p = self.p[self.p > 0]
        return float(-self.grid.volume * np.sum(p * np.log(p)))

    def marginal(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """The middles of the cells along an axis, and the density of that coordinate there."""
        others = tuple(i for i in range(self.grid.dim) if i != axis)
        h = np.prod([self.grid.widths[i] for i in others])
        return self.grid.axis(axis), self.p.sum(axis=others) * h

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """log rho at points (n, d), linear between the middles of cells; NaN outside them and where rho is 0."""
        with np.errstate(divide="ignore"):
            return self.grid.between(np.log(self.p), x)

    def score(self, x: ArrayLike) -> np.ndarray:
        """grad log rho at points (n, d), from central differences; NaN outside the middles of cells."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log_p = np.log(self.p)
            axes = [self._slope(log_p, i) for i in range(self.grid.dim)]
        return np.stack([self.grid.between(a, x) for a in axes], axis=1)

    def _slope(self, log_p, axis):
        h = self.grid.widths[axis]
        if self.grid.periodic[axis]:
            return (np.roll(log_p, -1, axis) - np.roll(log_p, 1, axis)) / (2 * h)
        return np.gradient(log_p, h, axis=axis, edge_order=2)


def project(density: AbstractDensity, grid: Grid, t: float) -> GridDensity:
    """A log density on the cells, from its values in their middles, with mass 1.

    Raises:
        InputError: when its points have another shape, its values are not numbers, or the grid misses some of it.
    """
    if density.event != (grid.dim,):
        raise InputError(f"the density has points of shape {density.event}; expected ({grid.dim},), as the grid has "
                         f"{grid.dim} axes")  # fmt: skip
    log_p = np.asarray(jax.vmap(density.log_prob)(jnp.asarray(grid.centres)), np.float64)
    if np.isnan(log_p).any() or np.isposinf(log_p).any() or not np.isfinite(log_p).any():
        raise InputError("the initial log density is NaN, +inf or nowhere finite on the grid; keep the grid inside its "
                         "domain")  # fmt: skip
    top = log_p.max()
    p = np.exp(log_p - top)
    mass = float(np.log(p.sum() * grid.volume) + top)
    if density.log_z is not None and abs(np.expm1(mass - float(density.log_z))) > 0.01:
        share = np.exp(mass - float(density.log_z))
        raise InputError(
            f"the grid sees a mass of {share:.3g} of the initial density, expected 1 to a hundredth: widen it to hold "
            "the density, or refine it to resolve it"
        )
    return GridDensity(grid, (p / (p.sum() * grid.volume)).reshape(grid.cells), t)
