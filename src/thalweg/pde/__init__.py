"""How does a density evolve in time under a Fokker-Planck equation, or any field under its evolution equation?

| answers | name | source | file |
|---|---|---|---|
| a diffusion and the equation of its density | `FokkerPlanck`, `diffusing`, `linear_moments` | | `fokker_planck.py` |
| particles, with a score learned on the fly | `ScoreTransport`, `kl_bound` | 2206.04642 | `transport.py` |
| families of scores, and their losses | `Linear`, `Trained`; `Implicit`, `Denoised` | 2206.04642 | `scores.py` |
| coordinates in which a cloud stands still | `Whitened`, `Scaled`, `Raw` | | `frames.py` |
| scores of particles that can be exchanged | `PairPotential`, `pair_score` | 2206.04642 | `pairs.py` |
| the reference on a grid, steady states, currents | `evolve`, `stationary`, `current` | | `grid.py` |
| a field, by the parameters of an ansatz | `NeuralGalerkin` | 2203.01360 | `galerkin.py` |
| what is asked, and what is left behind | `Evolution`, `Evolved` | | `galerkin_problem.py` |
| families of functions | `PeriodicUnits`, `GaussianUnits`, `DensityUnits`, ... | 2203.01360 | `ansatz.py` |
| where its residual is looked at | `UnitPoints`, `ImportancePoints`, ... | 2306.15630 | `galerkin_points.py` |
| steps in time of parameters | `ExplicitSteps`, `AdaptiveSteps`, `ImplicitSteps` | | `galerkin_steps.py` |
| least squares that is nearly singular | `Tikhonov`, `Truncated` | | `galerkin_solve.py` |
| the parameters to start from | `fit_start`, `relative_error` | | `galerkin_fit.py` |
| rods in a fluid, and the flow they drive | `Suspension`, `PeriodicBox`, `Flow` | 2308.06675 | `suspension.py` |
| how many rods point where | `kinetic_in_gradient`, `kinetic_in_box`, ... | 2308.06675 | `kinetic.py` |
| their second moment alone | `moments_in_gradient`, `moments_in_box` | 2308.06675 | `moments.py` |
| closures of the fourth | `Bingham`, `Quadratic`, `SymmetricQuadratic`, `Learned` | 2308.06675 | `closures.py` |
| a closure trained on kinetic runs | `learn_closure`, `Trainer`, `kinetic_runs`, ... | 2308.06675 | `closure_fit.py` |
"""

from .ansatz import (
    AbstractUnits,
    DensityUnits,
    GaussianUnits,
    PeriodicMLP,
    PeriodicUnits,
    amplitudes,
    moving,
)
from .closure_fit import (
    KineticRuns,
    LearnedClosure,
    PriorBatch,
    PriorLoss,
    Round,
    SeriesBatch,
    SeriesLoss,
    Setting,
    Trainer,
    kinetic_runs,
    learn_closure,
)
from .closures import (
    AbstractClosure,
    AbstractSymmetricClosure,
    Bingham,
    Learned,
    Quadratic,
    SymmetricQuadratic,
    bingham_density,
)
from .fokker_planck import FokkerPlanck, advection, diffusing, linear_moments, velocity
from .frames import AbstractFrame, Raw, Scaled, Whitened
from .galerkin import GalerkinInfo, GalerkinState, NeuralGalerkin
from .galerkin_fit import FittedStart, fit_start, relative_error
from .galerkin_points import (
    AbstractPoints,
    AbstractWeight,
    ByResidual,
    BySolution,
    GivenPoints,
    ImportancePoints,
    LangevinPoints,
    UniformPoints,
    UnitPoints,
)
from .galerkin_problem import Evolution, Evolved
from .galerkin_solve import AbstractLeastSquares, Tikhonov, Truncated
from .galerkin_steps import (
    BOGACKI_SHAMPINE,
    DORMAND_PRINCE,
    EULER,
    RK4,
    AbstractStepper,
    AdaptiveSteps,
    ExplicitSteps,
    ImplicitSteps,
    Scheme,
)
from .grid import (
    AbstractGridStep,
    BackwardEuler,
    Exponential,
    GridDensity,
    GridEvolution,
    current,
    entropy_rate,
    evolve,
    stationary,
)
from .kinetic import KineticFlow, Orientations, isotropic, kinetic_in_box, kinetic_in_gradient
from .moments import Moments, moments_in_box, moments_in_gradient
from .pairs import PairPotential, pair_score
from .scores import AbstractScoreLoss, AbstractScores, Denoised, Implicit, Linear, Trained
from .suspension import Flow, PeriodicBox, Suspension
from .transport import ScoreTransport, Transported, TransportInfo, TransportState, kl_bound

__all__ = [
    "BOGACKI_SHAMPINE",
    "DORMAND_PRINCE",
    "EULER",
    "RK4",
    "AbstractClosure",
    "AbstractFrame",
    "AbstractGridStep",
    "AbstractLeastSquares",
    "AbstractPoints",
    "AbstractScoreLoss",
    "AbstractScores",
    "AbstractStepper",
    "AbstractSymmetricClosure",
    "AbstractUnits",
    "AbstractWeight",
    "AdaptiveSteps",
    "BackwardEuler",
    "Bingham",
    "ByResidual",
    "BySolution",
    "Denoised",
    "DensityUnits",
    "Evolution",
    "Evolved",
    "ExplicitSteps",
    "Exponential",
    "FittedStart",
    "Flow",
    "FokkerPlanck",
    "GalerkinInfo",
    "GalerkinState",
    "GaussianUnits",
    "GivenPoints",
    "GridDensity",
    "GridEvolution",
    "Implicit",
    "ImplicitSteps",
    "ImportancePoints",
    "KineticFlow",
    "KineticRuns",
    "LangevinPoints",
    "Learned",
    "LearnedClosure",
    "Linear",
    "Moments",
    "NeuralGalerkin",
    "Orientations",
    "PairPotential",
    "PeriodicBox",
    "PeriodicMLP",
    "PeriodicUnits",
    "PriorBatch",
    "PriorLoss",
    "Quadratic",
    "Raw",
    "Round",
    "Scaled",
    "Scheme",
    "ScoreTransport",
    "SeriesBatch",
    "SeriesLoss",
    "Setting",
    "Suspension",
    "SymmetricQuadratic",
    "Tikhonov",
    "Trained",
    "Trainer",
    "TransportInfo",
    "TransportState",
    "Transported",
    "Truncated",
    "UniformPoints",
    "UnitPoints",
    "Whitened",
    "advection",
    "amplitudes",
    "bingham_density",
    "current",
    "diffusing",
    "entropy_rate",
    "evolve",
    "fit_start",
    "isotropic",
    "kinetic_in_box",
    "kinetic_in_gradient",
    "kinetic_runs",
    "kl_bound",
    "learn_closure",
    "linear_moments",
    "moments_in_box",
    "moments_in_gradient",
    "moving",
    "pair_score",
    "relative_error",
    "stationary",
    "velocity",
]
