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
| nodes, spacing, first paths | `arclength`, `resample`, ... | `path.py` |
| the best of several tries, sweeps, phase boundaries | `search`, `follow`, `phase_boundary` | `sweep.py` |
| rates with their prefactor | `eyring_kramers` | `prefactor.py` |
| committors, passage times and rates on grids | `grid_process` | `committor.py` |
| probabilities of rare crossings by simulation | `Splitting`, `Reach`, `probability` | `splitting.py` |
"""

from ._descent import PathInfo, PathState
from .committor import GridProcess, grid_process
from .elastic import Band, BandInfo, BandState, Calculator, ElasticBand
from .fixed_time import FixedTime
from .geometric import Geometric, evaluate
from .hamiltonian import AbstractGradient, AbstractSmallNoise, AbstractSystem, Gradient, Jumps, SmallNoise, Stirred
from .lattices import AbstractLattice, AbstractMeasure, AllenCahn, Cell, GinzburgLandau, Schlogl, Sum
from .path import arclength, lengths, resample, spacing, straight
from .prefactor import Rate, eyring_kramers
from .problem import Crossing, fixed_point, growth_rates
from .splitting import Reach, Split, SplitInfo, SplitState, Splitting, noisy, probability
from .string import Relaxed, String, StringInfo, StringState
from .sweep import Boundary, Found, follow, phase_boundary, search
from .transition import Transition

__all__ = [
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
    "Crossing",
    "ElasticBand",
    "FixedTime",
    "Found",
    "Geometric",
    "GinzburgLandau",
    "Gradient",
    "GridProcess",
    "Jumps",
    "PathInfo",
    "PathState",
    "Rate",
    "Reach",
    "Relaxed",
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
    "Transition",
    "arclength",
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
]
