"""Committors, passage times and rates of a diffusion in one or two dimensions, on a grid.

Answers    with which probability does the system reach B before A, how long does it take, how often does it cross?
Equations  L f = b . grad f + eps/2 a : grad grad f;   L q = 0, q = 0 in A and 1 in B;   L tau = -1, tau = 0 in B
           L^T pi = 0;   rate A -> B = sum_{i in A, j} pi_i L_ij q_j / sum_i pi_i q_i^-, with q^- the probability to
           have come from A last, the committor of the reversed process L~_ij = pi_j L_ji / pi_i
           the grid's jump rates across a face are those of Scharfetter and Gummel: (D / h^2) z / (e^z - 1) with
           z = -+ (b - grad D) h / D, D = eps a / 2: second order, and a jump process at any noise
Symbols    q -> committor, tau -> passage time, pi -> stationary
Cost       a sparse LU of the grid by SciPy: 10^5 cells in two dimensions take seconds
Fails      the walls of the box reflect: it must be wide enough. Noise that mixes coordinates is refused. A cell must be
           smaller than the sets and than the layer about a saddle, sqrt(eps). Across a drift that circulates, cells add
           z^2 / 12 of the diffusion, which the exponent of a rare event multiplies: halve them and see
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float
from scipy.sparse.linalg import splu

from ..core import InputError
from .hamiltonian import AbstractSmallNoise

Cells = Float[np.ndarray, " cells"]
Inside = Bool[np.ndarray, " cells"]


@dataclass(frozen=True)
class Box:
    """A grid of cells: `Box((-2.0, -1.0), (2.0, 1.0), (200, 100))`.

    Fields:
        low: the lower corner, one or two numbers.
        high: the upper corner.
        cells: how many along each direction, at least 3.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    cells: tuple[int, ...]

    def __post_init__(self):
        d = len(self.cells)
        if d not in (1, 2) or len(self.low) != d or len(self.high) != d:
            raise InputError(f"Box{self.low, self.high, self.cells}: expected tuples of the same length, 1 or 2")
        if min(self.cells) < 3 or not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise InputError(
                f"Box{self.low, self.high, self.cells}: expected low < high, and 3 cells or more a direction"
            )

    @property
    def sides(self) -> np.ndarray:
        """The lengths of a cell."""
        return (np.asarray(self.high, float) - np.asarray(self.low, float)) / np.asarray(self.cells)

    def points(self) -> np.ndarray:
        """Centres of all cells, (cells, d), the last direction fastest."""
        axes = [a + h * (np.arange(n) + 0.5) for a, h, n in zip(self.low, self.sides, self.cells, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))

    def reshape(self, values: Cells) -> np.ndarray:
        """One value a cell as an array of the grid's shape."""
        return np.asarray(values).reshape(self.cells)

    def where(self, inside: Callable) -> Inside:
        """The cells whose centres lie in a set, `inside` being a function of one point."""
        found = np.asarray(jax.vmap(inside)(jnp.asarray(self.points())))
        if found.dtype != bool or found.shape != (int(np.prod(self.cells)),):
            raise InputError(f"a set gave {found.dtype} of shape {found.shape[1:]} at a point; expected one bool")
        if not found.any():
            raise InputError("a set holds no centre of a cell; make it larger or the cells smaller")
        return found

    def at(self, values: Cells, x) -> float:
        """A value between centres, by linear interpolation."""
        from scipy.interpolate import RegularGridInterpolator

        axes = [a + h * (np.arange(n) + 0.5) for a, h, n in zip(self.low, self.sides, self.cells, strict=True)]
        return float(RegularGridInterpolator(axes, self.reshape(values))(np.asarray(x, float))[0])


@dataclass(frozen=True)
class GridProcess:
    """A diffusion as jumps between the cells of a box. `grid_process` makes one.

    Fields:
        box: the grid.
        generator: L, sparse; rows sum to 0.
    """

    box: Box
    generator: Any

    def committor(self, a: Callable, b: Callable) -> Cells:
        """The probability to reach B before A, from each cell; `a` and `b` are functions of one point."""
        return self._committor(self.generator, self.box.where(a), self.box.where(b))

    def passage_time(self, b: Callable) -> Cells:
        """The mean time to reach B from each cell."""
        return _solve(self.generator, self.box.where(b), np.zeros(self.generator.shape[0]), -1.0)

    def stationary(self) -> Cells:
        """The stationary probability of each cell."""
        pi, first = np.ones(self.generator.shape[0]), 0
        transposed = self.generator.T.tocsr()
        # The cell that is held at 1 should be a likely one: the first guess of it need not be.
        for _ in range(2):
            held = np.zeros(len(pi), bool)
            held[first] = True
            pi = _solve(transposed, held, held.astype(float), 0.0)
            first = int(np.argmax(pi))
        return pi / pi.sum()

    def rate(self, a: Callable, b: Callable) -> float:
        """Crossings from A to B per unit of the time during which A was visited last."""
        in_a, in_b = self.box.where(a), self.box.where(b)
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


def grid_process(system: AbstractSmallNoise, box: Box, eps: float) -> GridProcess:
    """The diffusion dX = b dt + sqrt(eps a) dW on a grid, with reflecting walls.

    Raises:
        InputError: noise that mixes the coordinates, a drift that is not finite, or an `eps` that is not positive.
    """
    if not eps > 0:
        raise InputError(f"grid_process(eps={eps}): expected more than 0")
    total = int(np.prod(box.cells))
    index = np.arange(total).reshape(box.cells)
    rows, columns, rates = [], [], []
    centres = box.points().reshape(*box.cells, -1)
    for k, h in enumerate(box.sides):
        left = np.take(index, np.arange(box.cells[k] - 1), axis=k).ravel()
        right = np.take(index, np.arange(1, box.cells[k]), axis=k).ravel()
        face = np.array(centres.reshape(total, -1)[left])
        face[:, k] += h / 2
        drift, diffusion = _faces(system, face, k, eps)
        z = drift * h / diffusion
        for start, end, sign in ((left, right, -1.0), (right, left, 1.0)):
            rows.append(start)
            columns.append(end)
            rates.append(diffusion / h**2 * _bernoulli(sign * z))
    rows, columns, rates = (np.concatenate(part) for part in (rows, columns, rates))
    jumps = sparse.coo_array((rates, (rows, columns)), shape=(total, total)).tocsr()
    return GridProcess(box, (jumps - sparse.diags_array(jumps.sum(axis=1))).tocsr())


def _faces(system, points, k, eps):
    """The drift across faces, less the gradient of the diffusion, and the diffusion there."""

    def own(x):
        a = jnp.asarray(system.covariance(x), x.dtype)
        matrix = jnp.diag(jnp.broadcast_to(a, x.shape)) if a.ndim < 2 else a
        return matrix[k, k], jnp.sum(jnp.abs(matrix[k])) - jnp.abs(matrix[k, k])

    def at(x):
        slope, mixed = jax.grad(own, has_aux=True)(x)
        return system.drift(x)[k] - 0.5 * eps * slope[k], 0.5 * eps * own(x)[0], mixed

    drift, diffusion, mixed = (np.asarray(v, np.float64) for v in jax.vmap(at)(jnp.asarray(points)))
    if (mixed > 1e-6 * diffusion / eps).any():
        raise InputError(
            "grid_process: the noise mixes coordinates (a has elements off its diagonal); rotate them away"
        )
    if not (np.isfinite(drift).all() and (diffusion > 0).all()):
        raise InputError("grid_process: the drift is not finite, or the noise not positive, somewhere in the box")
    return drift, diffusion


def _bernoulli(z):
    """z / (e^z - 1), one at 0."""
    near = np.abs(z) < 1e-6
    safe = np.where(near, 1.0, np.clip(z, -700, 700))
    return np.where(near, 1 - z / 2, safe / np.expm1(safe))


def _solve(matrix, held, values, rest):
    """matrix f = rest where f is free, f = values where it is held."""
    free = ~held
    rows = matrix[free]
    right = rest - rows[:, held] @ values[held]
    found = values.astype(float).copy()
    found[free] = splu(rows[:, free].tocsc()).solve(right)
    return found
