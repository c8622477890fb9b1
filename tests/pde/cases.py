"""The rows of this room in the table of `tests/cases.py`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.case import Case
from thalweg.nets import MLP
from thalweg.pde import (
    AdaptiveSteps,
    Denoised,
    DensityUnits,
    Evolution,
    ExplicitSteps,
    FokkerPlanck,
    GivenPoints,
    ImplicitSteps,
    ImportancePoints,
    LangevinPoints,
    Linear,
    NeuralGalerkin,
    ScoreTransport,
    Tikhonov,
    Trained,
    UnitPoints,
)
from thalweg.problems import Normal, Trap
from thalweg.processes import OU


def trap():
    """A trap that is neither centred nor isotropic."""
    process = OU(np.asarray([1.0, 0.6]), np.asarray([0.3, -0.2]), np.asarray([0.8, 0.5]))
    return FokkerPlanck(process, Normal(np.asarray([0.9, -0.6]), np.asarray([0.4, 0.3])), jnp.linspace(0.0, 0.5, 6))


def nan_start(problem):
    """The initial density with a NaN in its mean."""
    return eqx.tree_at(lambda p: p.initial.mean, problem, problem.initial.mean.at[0].set(jnp.nan))


def transport():
    """A small net, trained with noise, and particles to judge it by."""
    net = MLP((2,), width=6, depth=1, zero=True, key=jax.random.key(1))
    return ScoreTransport(Trained(net, optax.sgd(1e-2), Denoised(0.2), steps=2, first=2), 30, 10)


def galerkin():
    """Two Gaussians of one density, carried and spread."""
    trapped = Trap(jnp.asarray([0.4, 2.2]), jnp.diag(jnp.asarray([0.3, 0.08])), 0.4, 7.0)
    scales = jnp.log(jnp.asarray([[0.5, 0.3], [0.7, 0.4]]))
    u = DensityUnits(jnp.asarray([0.9, 0.4]), scales, jnp.asarray([[0.4, 2.2], [1.0, 1.7]]))
    return Evolution(trapped.rate, u, jnp.asarray([0.0, 0.04, 0.1]))


def nan_unit(problem):
    """An ansatz with a NaN in its amplitudes."""
    return eqx.tree_at(lambda p: p.u.amplitude, problem, problem.u.amplitude * jnp.nan)


# Enough regularisation for single precision.
RIDGE = Tikhonov(1e-3)
CLOUD = GivenPoints(jnp.asarray([0.4, 2.0]) + 0.6 * jax.random.normal(jax.random.key(2), (40, 2)))


CASES: list = [
    Case("NeuralGalerkin", lambda: NeuralGalerkin(CLOUD, ExplicitSteps(0.02), RIDGE), galerkin, nan_unit),
    Case(
        "NeuralGalerkinAdaptive",
        lambda: NeuralGalerkin(ImportancePoints(CLOUD, 30), AdaptiveSteps(1e-3, 0.02), RIDGE),
        galerkin,
        nan_unit,
        grad=False,
    ),
    Case(
        "NeuralGalerkinImplicit",
        lambda: NeuralGalerkin(LangevinPoints(UnitPoints(30), 0.01), ImplicitSteps(0.02), RIDGE),
        galerkin,
        nan_unit,
        grad=False,
    ),
    Case("ScoreTransport", lambda: ScoreTransport(Linear(), 12, 4), trap, nan_start),
    Case("ScoreTransportTrained", transport, trap, nan_start, grad=False),
]
