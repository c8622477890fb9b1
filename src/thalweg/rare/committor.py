"""Committors, passage times and rates of a diffusion in one or two dimensions, on a grid.

Answers    with which probability does the system reach B before A, how long does it take, how often does it cross?
Equations  L f = b . grad f + eps/2 a : grad grad f;   L q = 0, q = 0 in A and 1 in B;   L tau = -1, tau = 0 in B
           L^T pi = 0;   rate A -> B = sum_{i in A, j} pi_i L_ij q_j / sum_i pi_i q_i^-, with q^- the probability to
           have come from A last, the committor of the reversed process L~_ij = pi_j L_ji / pi_i
           L = A^T, the jump rates of `processes.grid` with D = eps a / 2
Symbols    q -> committor, tau -> passage time, pi -> stationary
Cost       a sparse LU of the grid by SciPy: 10^5 cells in two dimensions take seconds
Fails      the walls of the grid reflect: it must be wide enough. Noise that mixes coordinates is refused. A cell must
           be smaller than the sets and than the layer about a saddle, sqrt(eps). Across a drift that circulates, cells
           add z^2 / 12 of the diffusion, which the exponent of a rare event multiplies: halve them and see
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Array, Bool, Float
from scipy.sparse.linalg import splu

from ..core import AbstractProcess, InputError
from ..core.checks import positive, real
from ..processes import Grid, generator, invariant
from .hamiltonian import AbstractSmallNoise, as_matrix

Cells = Float[np.ndarray, " cells"]
Inside = Bool[np.ndarray, " cells"]


@dataclass(frozen=True)
class GridProcess:
    """A diffusion as jumps between the cells of a grid. `grid_process` makes one.

    Fields:
        grid: the cells.
        generator: L, sparse; rows sum to 0.
    """

    grid: Grid
    generator: Any

    def committor(self, a: Callable, b: Callable) -> Cells:
        """The probability to reach B before A, from each cell; `a` and `b` are functions of one point."""
        return self._committor(self.generator, self._where(a), self._where(b))

    def passage_time(self, b: Callable) -> Cells:
        """The mean time to reach B from each cell."""
        return _solve(self.generator, self._where(b), np.zeros(self.generator.shape[0]), -1.0)

    def stationary(self) -> Cells:
        """The stationary probability of each cell."""
        return invariant(self.generator.T.tocsr())

    def rate(self, a: Callable, b: Callable) -> float:
        """Crossings from A to B per unit of the time during which A was visited last."""
        in_a, in_b = self._where(a), self._where(b)
        pi = self.stationary()
        ahead = self._committor(self.generator, in_a, in_b)
        reversed_ = sparse.diags_array(1 / pi) @ self.generator.T @ sparse.diags_array(pi)
        behind = self._committor(reversed_.tocsr(), in_b, in_a)
        flux = float((pi * in_a) @ (self.generator @ ahead))
        return flux / float(pi @ behind)

    def _committor(self, generator, in_a, in_b):
        if (in_a & in_b).any():
            raise InputError("the sets A and B have cells in common")
        return _solve(generator, in_a | in_b, in_b.astype(float), 0.0)

    def _where(self, inside):
        """The cells whose middles lie in a set."""
        found = np.asarray(jax.vmap(inside)(jnp.asarray(self.grid.centres)))
        if found.dtype != bool or found.shape != (int(np.prod(self.grid.cells)),):
            raise InputError(f"a set gave {found.dtype} of shape {found.shape[1:]} at a point; expected one bool")
        if not found.any():
            raise InputError("a set holds no middle of a cell; make it larger or the cells smaller")
        return found


def grid_process(system: AbstractSmallNoise, grid: Grid, eps: float) -> GridProcess:
    """The diffusion dX = b dt + sqrt(eps a) dW on a grid of one or two axes, whose walls reflect.

    Raises:
        InputError: noise that mixes the coordinates or vanishes, a drift that is not finite, more than two axes, or an
            `eps` that is not positive.
    """
    scale = real(eps)
    positive("grid_process", "eps", scale)
    if grid.dim > 2:
        raise InputError(f"grid_process: a grid of {grid.dim} axes; expected 1 or 2, where its matrices are solved")
    noise = np.asarray(jax.vmap(lambda x: as_matrix(system.covariance(x), x))(jnp.asarray(grid.centres)))
    own = np.einsum("nii->ni", noise)
    if (np.abs(noise).sum(2) - np.abs(own) > 1e-6 * own).any():
        raise InputError(
            "grid_process: the noise mixes coordinates (a has elements off its diagonal); rotate them away"
        )
    if (own <= 0).any():
        raise InputError("grid_process: a has no positive diagonal everywhere on the grid; expected noise on each axis")
    return GridProcess(grid, generator(_OnAxes(system, scale), grid).T.tocsr())


class _OnAxes(AbstractProcess):
    """The process of a system whose noise acts coordinate by coordinate."""

    system: AbstractSmallNoise
    eps: Float[Array, ""]

    def drift(self, t, x):
        return self.system.drift(x)

    def diffusion(self, t, x):
        return jnp.sqrt(self.eps.astype(x.dtype) * jnp.diagonal(as_matrix(self.system.covariance(x), x)))


def _solve(matrix, held, values, rest):
    """matrix f = rest where f is free, f = values where it is held."""
    free = ~held
    rows = matrix[free]
    right = rest - rows[:, held] @ values[held]
    found = values.astype(float).copy()
    found[free] = splu(rows[:, free].tocsc()).solve(right)
    return found
