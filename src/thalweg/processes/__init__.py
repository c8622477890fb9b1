"""How does a cloud of points move along a diffusion, and what happens on its way?

    result = simulate(process, x0, ts, key=key)                       # the cloud at ts[-1]
    result = simulate(..., method=SRA1(), save_at=(0, 50, 100))       # and at chosen steps
    result = simulate(..., observable=lambda t, x: x[0] ** 2)         # and time averages

Time runs along `ts`, up or down; on a falling grid the caller hands in the reversed process. Noising processes keep
their papers' forward time (0 is data), which the paths of `thalweg.flows` translate.

| process | source | file |
|---|---|---|
| `ODE`, `OU`, `GeometricBrownian`; exact transitions (`AbstractExact`, `AbstractGaussian`) | textbook | `library.py` |
| `VP`, `VE`, `SubVP` | score-based SDEs, arXiv 2011.13456 | `noising.py` |
| `OverdampedLangevin`, `UnderdampedLangevin` with `phase` | textbook | `langevin.py` |

| method | order | source | file |
|---|---|---|---|
| `Euler`, `Midpoint`, `HeunODE`, `RK4` | 1, 2, 2, 4 | textbook; `ODE` only | `ode.py` |
| `EulerMaruyama` (any noise) | strong 1/2, weak 1 | Maruyama 1955 | `sde.py` |
| `Milstein` (diagonal noise) | strong 1 | Milstein 1975 | `sde.py` |
| `StochasticHeun` (diagonal noise) | strong 1; weak 2 if additive | Kloeden and Platen 1992 | `sde.py` |
| `SRA1` (additive noise) | strong 3/2 | Roessler 2010 | `sde.py` |
| `InterpolantHeun` (additive noise) | weak 1 | stochastic interpolants, arXiv 2303.08797 | `sde.py` |
| `ExactTransition` | exact | the process's own law | `sde.py` |
| `BAOAB` (underdamped Langevin) | weak 2, harmonic positions exact | arXiv 1203.5428 | `baoab.py` |

| answers | name | file |
|---|---|---|
| the problem and what methods share | `Simulate`, `AbstractSimulator`, `AbstractStepper` | `problem.py` |
| the front door | `simulate` | `simulate.py` |
| jumps between cells, and the law that they keep | `Grid`, `generator`, `invariant` | `grid.py` |
| clouds at chosen steps, time averages | `Recorded`, `Observed` | `observe.py` |
| adaptive steps to a tolerance | `Adaptive`, `simulate_adaptive` | `adaptive.py` |
"""

from .adaptive import Adaptive, AdaptiveInfo, simulate_adaptive
from .baoab import BAOAB, PhaseState
from .grid import Faces, Grid, assemble, faces, generator, invariant
from .langevin import OverdampedLangevin, UnderdampedLangevin, phase
from .library import ODE, OU, AbstractExact, AbstractGaussian, AbstractODE, GeometricBrownian
from .noising import SCORE_SDE, VE, VP, SubVP
from .observe import Observation, Observed, Recorded, Recording
from .ode import RK4, Euler, HeunODE, Midpoint
from .problem import AbstractSimulator, AbstractStepper, Simulate, StepInfo, StepState
from .sde import SRA1, EulerMaruyama, ExactTransition, InterpolantHeun, Milstein, StochasticHeun
from .simulate import simulate

__all__ = [
    "BAOAB",
    "ODE",
    "OU",
    "RK4",
    "SCORE_SDE",
    "SRA1",
    "VE",
    "VP",
    "AbstractExact",
    "AbstractGaussian",
    "AbstractODE",
    "AbstractSimulator",
    "AbstractStepper",
    "Adaptive",
    "AdaptiveInfo",
    "Euler",
    "EulerMaruyama",
    "ExactTransition",
    "Faces",
    "GeometricBrownian",
    "Grid",
    "HeunODE",
    "InterpolantHeun",
    "Midpoint",
    "Milstein",
    "Observation",
    "Observed",
    "OverdampedLangevin",
    "PhaseState",
    "Recorded",
    "Recording",
    "Simulate",
    "StepInfo",
    "StepState",
    "StochasticHeun",
    "SubVP",
    "UnderdampedLangevin",
    "assemble",
    "faces",
    "generator",
    "invariant",
    "phase",
    "simulate",
    "simulate_adaptive",
]
