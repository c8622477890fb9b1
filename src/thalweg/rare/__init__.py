"""Which way does a noisy system cross a barrier, at what cost, and how often?

    problem = Crossing(SmallNoise(drift, 1.0), start, end)                    # near fixed points, or told so
    found = solve(Geometric(100), problem, max_steps=2000, key=key).value
    found.action, found.transition_state                                      # rate ~ e^{-action / eps}

| answers | name | file |
|---|---|---|
| systems with weak noise, by their Hamiltonian | `SmallNoise`, `Gradient`, `Stirred`, `Jumps` | `hamiltonian.py` |
| fields on periodic grids | `GinzburgLandau`, `AllenCahn`, `Schlogl`, ... | `lattices.py` |
| from where to where; fixed points | `Crossing`, `fixed_point`, `growth_rates` | `problem.py` |
| the likeliest path without a final time (2202.06936) | `Geometric`, `evaluate` | `geometric.py` |
| the likeliest path in a given time | `FixedTime` | `fixed_time.py` |
| what a path costs, where, and its residuals | `Transition` | `transition.py` |
| paths along the deterministic flow | `String` | `string.py` |
| minimum energy paths, also of calculators | `ElasticBand`, `Calculator` | `elastic.py` |
| a saddle from one point, by gradients alone | `Dimer`, `SaddleSearch`, `Clamped` | `dimer.py` |
| the same with few calls of the oracle (2510.06030) | `GPDimer`, `Trust` | `gp_dimer.py` |
| energies and gradients by a Gaussian process | `Surrogate`, `InverseDistances`, `Coordinates` | `surrogate.py` |
| how far kinds of atoms were carried; the farthest points | `Farthest`, `transport` | `farthest.py` |
| nodes, spacing, first paths | `arclength`, `resample`, ... | `path.py` |
| the best of several tries, sweeps, phase boundaries | `search`, `follow`, `phase_boundary` | `sweep.py` |
| rates with their prefactor | `eyring_kramers` | `prefactor.py` |
| committors, passage times and rates on grids | `grid_process` | `committor.py` |
| probabilities of rare crossings by simulation | `Splitting`, `Reach`, `probability` | `splitting.py` |
"""

from ._descent import PathInfo, PathState
from .committor import GridProcess, grid_process
from .dimer import Clamped, Dimer, DimerInfo, DimerState, Saddle, SaddleSearch
from .elastic import Band, BandInfo, BandState, Calculator, ElasticBand
from .farthest import Farthest, aligned, transport
from .fixed_time import FixedTime
from .geometric import Geometric, evaluate
from .gp_dimer import Climb, GPDimer, GPDimerInfo, GPDimerState, Trust
from .hamiltonian import AbstractGradient, AbstractSmallNoise, AbstractSystem, Gradient, Jumps, SmallNoise, Stirred
from .lattices import AbstractLattice, AbstractMeasure, AllenCahn, Cell, GinzburgLandau, Schlogl, Sum
from .path import arclength, lengths, resample, spacing, straight
from .prefactor import Rate, eyring_kramers
from .problem import Crossing, fixed_point, growth_rates
from .splitting import Reach, Split, SplitInfo, SplitState, Splitting, noisy, probability
from .string import Relaxed, String, StringInfo, StringState
from .surrogate import AbstractFeatures, Coordinates, Data, Hyper, InverseDistances, Posterior, Surrogate, blocks
from .sweep import Boundary, Found, follow, phase_boundary, search
from .transition import Transition

__all__ = [
    "AbstractFeatures",
    "AbstractGradient",
    "AbstractLattice",
    "AbstractMeasure",
    "AbstractSmallNoise",
    "AbstractSystem",
    "AllenCahn",
    "Band",
    "BandInfo",
    "BandState",
    "Boundary",
    "Calculator",
    "Cell",
    "Clamped",
    "Climb",
    "Coordinates",
    "Crossing",
    "Data",
    "Dimer",
    "DimerInfo",
    "DimerState",
    "ElasticBand",
    "Farthest",
    "FixedTime",
    "Found",
    "GPDimer",
    "GPDimerInfo",
    "GPDimerState",
    "Geometric",
    "GinzburgLandau",
    "Gradient",
    "GridProcess",
    "Hyper",
    "InverseDistances",
    "Jumps",
    "PathInfo",
    "PathState",
    "Posterior",
    "Rate",
    "Reach",
    "Relaxed",
    "Saddle",
    "SaddleSearch",
    "Schlogl",
    "SmallNoise",
    "Split",
    "SplitInfo",
    "SplitState",
    "Splitting",
    "Stirred",
    "String",
    "StringInfo",
    "StringState",
    "Sum",
    "Surrogate",
    "Transition",
    "Trust",
    "aligned",
    "arclength",
    "blocks",
    "evaluate",
    "eyring_kramers",
    "fixed_point",
    "follow",
    "grid_process",
    "growth_rates",
    "lengths",
    "noisy",
    "phase_boundary",
    "probability",
    "resample",
    "search",
    "spacing",
    "straight",
    "transport",
]
