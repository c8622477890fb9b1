"""Two-dimensional shapes that a density can be seen on.

Each is a function `(rng, n) -> (x, labels or None)` of a NumPy generator; `TOYS` maps their names to them. They are
drawn by NumPy, so that a seed gives the same points whatever accelerator is present.
"""

from collections.abc import Callable

import numpy as np

from .mixtures import Mixture, eight_modes, two_modes


def checkerboard(rng, n):
    """Uniform on the dark squares of a 4 x 4 board of side 8; its edges are where a smooth flow fails first."""
    column = rng.integers(0, 4, n)
    row = 2 * rng.integers(0, 2, n) + column % 2
    return 2.0 * (np.stack([column, row], 1) + rng.random((n, 2))) - 4.0, None


def two_moons(rng, n):
    """Two interlocking half circles with noise 0.08, the second shifted; labels say which."""
    which, angle = rng.integers(0, 2, n), np.pi * rng.random(n)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    return np.where(which[:, None] == 0, upper, lower) + 0.08 * rng.standard_normal((n, 2)), which


def circles(rng, n):
    """Circles of radius 1 and 2 with noise 0.08; labels say which."""
    which, angle = rng.integers(0, 2, n), 2 * np.pi * rng.random(n)
    ring = (1 + which)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return ring + 0.08 * rng.standard_normal((n, 2)), which


def eight_gaussians(rng, n):
    """Eight equal Gaussians of standard deviation 0.3 on a circle of radius 4; labels say which."""
    which = rng.integers(0, 8, n)
    angle = 2 * np.pi * which / 8
    return 4 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.3 * rng.standard_normal((n, 2)), which


def two_modes_points(rng, n):
    """The mixture `two_modes()`; labels say which mode."""
    return _mixture(two_modes(), rng, n)


def eight_modes_points(rng, n):
    """The mixture `eight_modes()`, the asymmetric sister of eight-gaussians; labels say which mode."""
    return _mixture(eight_modes(), rng, n)


def spiral(rng, n):
    """Two arms of one and a half turns, out to radius 4, with noise 0.1; labels say which."""
    which, along = rng.integers(0, 2, n), np.sqrt(rng.random(n))
    angle = 3 * np.pi * along + np.pi * which
    arm = 4 * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return arm + 0.1 * rng.standard_normal((n, 2)), which


def pinwheel(rng, n):
    """Five blades bent the same way; labels say which."""
    which = rng.integers(0, 5, n)
    x = rng.standard_normal((n, 2)) * np.array([0.3, 0.1]) + np.array([1.0, 0.0])
    angle = 2 * np.pi * which / 5 + 0.25 * np.exp(x[:, 0])
    turned = np.stack(
        [x[:, 0] * np.cos(angle) - x[:, 1] * np.sin(angle), x[:, 0] * np.sin(angle) + x[:, 1] * np.cos(angle)], 1
    )
    return 2 * turned, which


def swiss_roll(rng, n):
    """One long spiral arm, in the plane, with noise 0.1."""
    angle = 1.5 * np.pi * (1 + 2 * rng.random(n))
    return 0.3 * np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) + 0.1 * rng.standard_normal((n, 2)), None


def _mixture(mixture: Mixture, rng, n):
    weights = np.asarray(mixture.weights, float)
    which = rng.choice(len(weights), n, p=weights / weights.sum())
    roots = np.linalg.cholesky(np.asarray(mixture.covs, float))
    x = np.asarray(mixture.means, float)[which] + np.einsum("nij,nj->ni", roots[which], rng.standard_normal((n, 2)))
    return x, which


TOYS: dict[str, Callable] = {
    "checkerboard": checkerboard,
    "two-moons": two_moons,
    "circles": circles,
    "eight-gaussians": eight_gaussians,
    "eight-modes": eight_modes_points,
    "two-modes": two_modes_points,
    "spiral": spiral,
    "pinwheel": pinwheel,
    "swiss-roll": swiss_roll,
}
