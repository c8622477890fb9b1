"""The methods of the room `rare` in the contract."""

import equinox as eqx
import jax.numpy as jnp

from tests.case import Case
from thalweg.core import Diffusion
from thalweg.rare import (
    Coordinates,
    Crossing,
    Dimer,
    ElasticBand,
    Farthest,
    FixedTime,
    Geometric,
    GPDimer,
    Gradient,
    Reach,
    SaddleSearch,
    SmallNoise,
    Splitting,
    String,
    Surrogate,
)


def tilted(x):
    """Two wells of unequal depth and width, not along an axis."""
    return (x[0] ** 2 - 1) ** 2 + 0.3 * x[0] + 2 * (x[1] - 0.5 * x[0]) ** 2


def swirling(x):
    return jnp.stack([x[0] - x[0] ** 3 - 2 * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1] + 0.2 * (x[0] ** 2 - 1)])


def swirl():
    return Crossing(SmallNoise(swirling, jnp.asarray([1.0, 0.5])), jnp.asarray([-1.0, 0.0]), jnp.asarray([1.0, 0.0]))


def well():
    start, end = jnp.asarray([-1.04, -0.52]), jnp.asarray([0.96, 0.48])
    return Crossing(Gradient(tilted), start, end, tolerance=None)


def ascent():
    return SaddleSearch(Gradient(tilted), jnp.asarray([-0.4, -0.3]), jnp.asarray([1.0, 0.3]))


def pruned():
    # Noise that single precision can factorise with.
    surrogate = Surrogate(Coordinates(), noise=1e-2, steps=3)
    return GPDimer(surrogate, Farthest(2, 1, 3), capacity=4, climb=3)


def climb():
    process = Diffusion(lambda t, x: x - x**3 + 0.1, lambda t, x: 0.5)
    low, high = (lambda x: x[0] < -0.8), (lambda x: x[0] > 0.8)
    return Reach(process, jnp.asarray([-0.3]), lambda x: x[0], low, high, 0.02)


def nan_start(problem):
    return eqx.tree_at(lambda p: p.start, problem, problem.start * jnp.nan)


CASES = [
    Case("Geometric", lambda: Geometric(12), swirl, nan_start, grad=False),
    Case("FixedTime", lambda: FixedTime(6.0, 12), swirl, nan_start, grad=False),
    Case("String", lambda: String(0.05, 12), swirl, nan_start, grad=False),
    Case("ElasticBand", lambda: ElasticBand(0.05, 8, bend=0.1), well, nan_start, grad=False),
    Case("Dimer", Dimer, ascent, nan_start, grad=False),
    Case("GPDimer", pruned, ascent, nan_start, grad=False),
    Case("Splitting", lambda: Splitting(8, 2, 60), climb, nan_start, grad=False),
]
