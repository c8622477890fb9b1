"""What is the normalising constant of this density, what are its averages, and can the answer be trusted?

    run = solve(Annealing(Invariant(HMC(0.3))), Tempering(base, target), max_steps=100, key=key)
    run.value.evidence().interval(0.9)       # log Z, or a refusal that says why
    run.value.cloud.expectation(f)           # an average with its standard error

| answers | name | file |
|---|---|---|
| steps of one walker | `RandomWalk`, `ULA`, `MALA`, `HMC`, `Underdamped`, `GHMC`, `FromBlackjax` | `kernels.py` |
| R-hat, effective draws, Pareto k-hat (1903.08008) | `rhat`, `ess_bulk`, `ess_tail`, `pareto_khat` | `diagnostics.py` |
| log Z, its error bar and its refusal (1509.00394) | `Evidence`, `evidence` | `evidence.py` |
| chains with a warm-up and a verdict | `sample_chains`, `Chains`, `WarmUp` | `chains.py` |
| rungs between two densities (1303.3123) | `Tempering`, `Adaptive`, `Ladder` | `tempering.py` |
| moves and what they do to weights (2305.19414) | `Invariant`, `Jarzynski`, `unadjusted` | `movers.py` |
| annealed importance sampling, sequential Monte Carlo | `Annealing` | `annealing.py` |
| log Z and averages along the orbits of a flow (2206.09908) | `NEIS`, `NEISProblem`, `neis`, ... | `neis.py` |
| orbits, their Jacobians, finite and infinite time | `orbits`, `FiniteTime`, `InfiniteTime` | `orbits.py` |
| velocity fields that stand still, with their divergence | `Affine`, `TwoLayer`, ... | `autonomous.py` |
| the field of NEIS, trained to leave no variance | `train_field`, `SecondMoment` | `neis_training.py` |
| energies trained with weighted walkers, and CD, PCD (2305.19414) | `EnergyTraining`, ... | `ebm.py` |
| several runs as one, to watch and to resume | `Replicates` | `replicates.py` |
| averages over the nodes of a graph (2305.05097, 2505.18300) | `SelfRepellent`, `HistoryDriven`, ... | `repellent.py` |
| posteriors from mini-batches, and the bias of their steps (2212.07959) | `SGLD`, `SGHMC`, `Posterior` | `sgmcmc.py` |
| ensembles of a neural potential, intervals of observables (2212.07959) | `RadialPotential`, ... | `potentials.py` |
"""

from .annealing import Annealed, AnnealInfo, Annealing, Particles
from .autonomous import (
    AbstractStill,
    Affine,
    FunnelField,
    GradientField,
    Hastened,
    NeuralField,
    Phase,
    PlanarPoisson,
    TwoLayer,
    TwoLayerGradient,
    UnderdampedField,
)
from .chains import Chains, ChainsInfo, Sampled, Starts, WarmUp, judge, sample_chains
from .diagnostics import chain_estimate, ess_bulk, ess_mean, ess_tail, pareto_khat, rhat
from .ebm import (
    AbstractMoves,
    AbstractNegative,
    AllMove,
    Contrastive,
    EnergyData,
    EnergyDensity,
    EnergyInfo,
    EnergyState,
    EnergyTraining,
    JarzynskiWalkers,
    Persistent,
    SomeMove,
    TrainedEnergy,
    Walkers,
)
from .evidence import Evidence, Tally, ancestral_variance, evidence, tally
from .kernels import (
    GHMC,
    HMC,
    MALA,
    ULA,
    AbstractKernel,
    AbstractScaled,
    Foreign,
    FromBlackjax,
    Move,
    RandomWalk,
    Underdamped,
    Walker,
)
from .movers import AbstractMover, Invariant, Jarzynski, unadjusted
from .neis import NEIS, Averaged, NEISInfo, NEISProblem, NEISState, NEISValue, neis, orbit_average
from .neis_training import AssistedStarts, SecondMoment, Trained, queries, train_field
from .orbits import AbstractHorizon, FiniteTime, InfiniteTime, Orbits, orbits
from .potentials import (
    ForceLikelihood,
    Interval,
    RadialPotential,
    credible_interval,
    deep_ensemble,
    ensemble_interval,
    propagate,
)
from .repellent import (
    Chain,
    HistoryDriven,
    Occupation,
    SelfRepellent,
    asymptotic_covariance,
    asymptotic_variance,
    independent_variance,
    metropolis_walk,
    reversible_chain,
    simple_walk,
    transition_matrix,
)
from .replicates import Replicates, ReplicatesInfo, ReplicatesState
from .sgmcmc import (
    SGHMC,
    SGLD,
    AbstractStepSize,
    Constant,
    Draws,
    Polynomial,
    Posterior,
    RMSProp,
    stationary_covariance,
)
from .tempering import AbstractSchedule, Adaptive, Ladder, Tempered, Tempering

__all__ = [
    "GHMC",
    "HMC",
    "MALA",
    "NEIS",
    "SGHMC",
    "SGLD",
    "ULA",
    "AbstractHorizon",
    "AbstractKernel",
    "AbstractMover",
    "AbstractMoves",
    "AbstractNegative",
    "AbstractScaled",
    "AbstractSchedule",
    "AbstractStepSize",
    "AbstractStill",
    "Adaptive",
    "Affine",
    "AllMove",
    "AnnealInfo",
    "Annealed",
    "Annealing",
    "AssistedStarts",
    "Averaged",
    "Chain",
    "Chains",
    "ChainsInfo",
    "Constant",
    "Contrastive",
    "Draws",
    "EnergyData",
    "EnergyDensity",
    "EnergyInfo",
    "EnergyState",
    "EnergyTraining",
    "Evidence",
    "FiniteTime",
    "ForceLikelihood",
    "Foreign",
    "FromBlackjax",
    "FunnelField",
    "GradientField",
    "Hastened",
    "HistoryDriven",
    "InfiniteTime",
    "Interval",
    "Invariant",
    "Jarzynski",
    "JarzynskiWalkers",
    "Ladder",
    "Move",
    "NEISInfo",
    "NEISProblem",
    "NEISState",
    "NEISValue",
    "NeuralField",
    "Occupation",
    "Orbits",
    "Particles",
    "Persistent",
    "Phase",
    "PlanarPoisson",
    "Polynomial",
    "Posterior",
    "RMSProp",
    "RadialPotential",
    "RandomWalk",
    "Replicates",
    "ReplicatesInfo",
    "ReplicatesState",
    "Sampled",
    "SecondMoment",
    "SelfRepellent",
    "SomeMove",
    "Starts",
    "Tally",
    "Tempered",
    "Tempering",
    "Trained",
    "TrainedEnergy",
    "TwoLayer",
    "TwoLayerGradient",
    "Underdamped",
    "UnderdampedField",
    "Walker",
    "Walkers",
    "WarmUp",
    "ancestral_variance",
    "asymptotic_covariance",
    "asymptotic_variance",
    "chain_estimate",
    "credible_interval",
    "deep_ensemble",
    "ensemble_interval",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "evidence",
    "independent_variance",
    "judge",
    "metropolis_walk",
    "neis",
    "orbit_average",
    "orbits",
    "pareto_khat",
    "propagate",
    "queries",
    "reversible_chain",
    "rhat",
    "sample_chains",
    "simple_walk",
    "stationary_covariance",
    "tally",
    "train_field",
    "transition_matrix",
    "unadjusted",
]
