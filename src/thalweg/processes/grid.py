"""A diffusion as jumps between the cells of a grid of one, two or three dimensions, in NumPy and double precision.

Answers    which rates of jumping between cells stand for a drift and a diffusion, and which law do they leave as it is?
Equations  dp_i/dt = sum over faces of (flux in - flux out) / h,  p_i the mean density of cell i
           the flux from i to i + 1 is (D/h) (B(-P) p_i - B(P) p_{i+1}),  P = u h / D,  B(z) = z / (e^z - 1)
           with u = b - div D and D at the middle of the face            (Scharfetter and Gummel 1969; for D = 0 upwind)
           A pi = 0,   sum_i pi_i = 1
Symbols    A -> generator, P -> the cell Peclet number, h -> widths, pi -> invariant
Cost       memory O(cells); `invariant` two sparse factorisations: 10^5 cells in two dimensions take seconds
Fails      order 2 in h; but where P is above 2 the scheme adds a diffusion of up to |u| h / 2, which is order 1 (always
           where D = 0, see `Faces.added`). D as a full matrix is refused: no such scheme on axes is positive for every
           D. Rates come in JAX's precision: single by default
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import ArrayLike
from scipy.sparse.linalg import splu

from ..core import AbstractCorrelated, AbstractProcess, InputError


@dataclass(frozen=True)
class Grid:
    """A box cut into equal cells.

    Fields:
        lower, upper: ends of each axis.
        cells: how many along each axis, at least 3.
        periodic: for each axis, whether its ends are one; else they reflect.

    Raises:
        InputError: for fields of different lengths, more than three axes, an empty axis, or too few cells.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    cells: tuple[int, ...]
    periodic: tuple[bool, ...] = ()

    def __post_init__(self):
        if not self.periodic:
            object.__setattr__(self, "periodic", (False,) * len(self.cells))
        sizes = {len(x) for x in (self.lower, self.upper, self.cells, self.periodic)}
        if len(sizes) != 1 or not 1 <= len(self.cells) <= 3:
            raise InputError(f"Grid has fields of lengths {sorted(sizes)}; expected one length, of 1 to 3 axes")
        ends = np.asarray([self.lower, self.upper], np.float64)
        if not np.isfinite(ends).all() or (ends[0] >= ends[1]).any():
            raise InputError(
                f"Grid(lower={self.lower}, upper={self.upper}): expected finite lower < upper on each axis"
            )
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 3 for n in self.cells):
            raise InputError(f"Grid(cells={self.cells}): expected whole numbers of at least 3")

    @property
    def dim(self) -> int:
        """How many axes."""
        return len(self.cells)

    @property
    def widths(self) -> np.ndarray:
        """The length of a cell along each axis."""
        return (np.asarray(self.upper, np.float64) - np.asarray(self.lower, np.float64)) / np.asarray(self.cells)

    @property
    def volume(self) -> float:
        """The volume of a cell."""
        return float(np.prod(self.widths))

    def axis(self, i: int) -> np.ndarray:
        """The middles of the cells along axis `i`."""
        return self.lower[i] + (np.arange(self.cells[i]) + 0.5) * self.widths[i]

    @property
    def centres(self) -> np.ndarray:
        """The middles of all cells, (cells, d), the last axis fastest."""
        mesh = np.meshgrid(*(self.axis(i) for i in range(self.dim)), indexing="ij")
        return np.stack([m.ravel() for m in mesh], axis=1)

    def faces(self, axis: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Middles of the inner faces across an axis, (faces, d), and the flat cells on their left and right."""
        pick = lambda a: np.take(index, a, axis=axis).ravel()  # noqa: E731
        n, h = self.cells[axis], self.widths[axis]
        at = np.arange(n if self.periodic[axis] else n - 1)
        left, right = pick(at), pick((at + 1) % n)
        points = self.centres[left]
        points[:, axis] += h / 2
        return points, left, right

    def between(self, values: np.ndarray, x: ArrayLike) -> np.ndarray:
        """One value a cell at points (..., d), as (...): linear between the middles of cells, NaN outside them."""
        from scipy.interpolate import RegularGridInterpolator

        axes = tuple(self.axis(i) for i in range(self.dim))
        fn = RegularGridInterpolator(axes, np.reshape(values, self.cells), bounds_error=False, fill_value=np.nan)
        x = np.asarray(x, np.float64)
        return fn(x).reshape(x.shape[:-1])


@dataclass(frozen=True)
class Faces:
    """u = b - div D and D on the inner faces across one axis, with the cells on either side."""

    left: np.ndarray
    right: np.ndarray
    u: np.ndarray
    D: np.ndarray
    h: float

    @property
    def peclet(self) -> np.ndarray:
        """|u| h / D of each face; infinite where there is no noise."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.u == 0, 0.0, np.abs(self.u) * self.h / self.D)

    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates of mass from left to right and from right to left, both at least 0."""
        P, h = self.peclet, self.h
        small = P < 1e-3
        little, large = np.where(small, P, 0.0), np.where(small, 1.0, P)
        # "down" is along u. B(-P) and B(P) are 0/0 at P = 0, where their series take over.
        down = (
            np.where(small, self.D * (1 + little / 2 + little**2 / 12), np.abs(self.u) * h / -np.expm1(-large)) / h**2
        )
        up = np.where(small, self.D * (1 - little / 2 + little**2 / 12) / h**2, down * np.exp(-large))
        return np.where(self.u >= 0, down, up), np.where(self.u >= 0, up, down)

    def added(self) -> np.ndarray:
        """The diffusion that the scheme adds: D (P/2 coth(P/2) - 1), and |u| h / 2 without noise."""
        right, left = self.rates()
        return 0.5 * (right + left) * self.h**2 - self.D


def faces(process: AbstractProcess | AbstractCorrelated, grid: Grid, t: float) -> list[Faces]:
    """The coefficients on the inner faces, an axis at a time.

    Raises:
        InputError: for noise mixed by a matrix, and a drift or diffusion that is not finite, with the point.
    """
    if isinstance(process, AbstractCorrelated):
        raise InputError("a grid takes noise that acts coordinate by coordinate; rotate the coordinates so that D is "
                         "diagonal, or use particles (ScoreTransport)")  # fmt: skip
    found, index = [], np.arange(np.prod(grid.cells)).reshape(grid.cells)
    for axis in range(grid.dim):
        points, left, right = grid.faces(axis, index)
        # Arrays all of them: a number would be compiled in, and every time anew.
        x = jnp.asarray(points)
        u, D = (np.asarray(a, np.float64) for a in _coefficients(process, jnp.asarray(t, x.dtype), x, axis))
        bad = ~(np.isfinite(u) & np.isfinite(D))
        if bad.any():
            at = int(bad.argmax())
            where = ", ".join(f"{x:.4g}" for x in points[at])
            raise InputError(f"at t = {t:.4g}, x = ({where}) the drift is {u[at]} and D is {D[at]} along axis {axis}; "
                             "expected finite numbers: keep the grid inside the domain of the process")  # fmt: skip
        found.append(Faces(left, right, u, D, grid.widths[axis]))
    return found


@eqx.filter_jit
def _coefficients(process, t, points, axis: int):
    def tensor(x):
        return jnp.broadcast_to(0.5 * process.diffusion(t, x) ** 2, x.shape).astype(x.dtype)[axis]

    def one(x):
        D, slope = jax.jvp(tensor, (x,), (jnp.zeros_like(x).at[axis].set(1),))
        return process.drift(t, x)[axis] - slope, D

    return jax.vmap(one)(points)


def generator(process: AbstractProcess | AbstractCorrelated, grid: Grid, t: float = 0.0) -> Any:
    """A with dp/dt = A p for the flattened cell densities: columns sum to 0, off the diagonal nothing is negative."""
    return assemble(faces(process, grid, t), grid)


def assemble(found: list[Faces], grid: Grid) -> Any:
    """The generator of these faces, sparse."""
    rows, columns, values = [], [], []
    for f in found:
        right, left = f.rates()
        for source, sink, rate in ((f.left, f.right, right), (f.right, f.left, left)):
            rows += [sink, source]
            columns += [source, source]
            values += [rate, -rate]
    size = int(np.prod(grid.cells))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sp.coo_array(entries, shape=(size, size)).tocsc()


def invariant(A: Any) -> np.ndarray:
    """The probabilities of the cells that a generator leaves as they are.

    Raises:
        InputError: when there is more than one, or none can be told: cells that cannot reach each other.
    """
    A = A.tocsr()
    pi, held = np.zeros(A.shape[0]), int(np.argmin(np.abs(A.diagonal())))
    # One cell is held at 1, the others follow. It should be a likely one, and the first guess of it need not be.
    for _ in range(2):
        free = np.arange(A.shape[0]) != held
        rows = A[free]
        try:
            # Without pivoting, which an M-matrix does not need: no probability can come out negative.
            lu = splu(-rows[:, free].tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                      options={"SymmetricMode": True})  # fmt: skip
            pi[free] = lu.solve(rows[:, [held]].toarray().ravel())
        except RuntimeError:
            pi[free] = np.nan
        pi[held] = 1.0
        if not np.isfinite(pi).all() or pi.min() < -1e-8 * pi.max():
            raise InputError(
                "the stationary density on this grid is not unique: some cells cannot reach others, for want of noise "
                "or over barriers that are too high; evolve an initial density instead"
            )
        held = int(np.argmax(pi))
    pi = np.clip(pi, 0, None)
    return pi / pi.sum()
