"""On what, and with which answer known beforehand?

Densities whose scores, moments and interpolant fields are exact, and data sets by name.

| answers | name | file |
|---|---|---|
| a log density, and what is known of it | `AbstractDensity`, `Density`, `Normal` | `density.py` |
| Gaussian mixtures: density, score, samples, moments | `Mixture`, `two_modes`, `eight_modes`, ... | `mixtures.py` |
| funnel, banana, double and many wells | `Funnel`, `Banana`, `ManyWell` | `shapes.py` |
| a lattice field, a cluster of atoms | `PhiFour`, `LennardJones` | `physics.py` |
| posteriors of real data | `posterior`, `LinearRegression`, `LogisticRegression` | `posteriors.py` |
| exact fields of an interpolant between two mixtures | `MixtureInterpolant` | `interpolant.py` |
| evolution equations with their solutions, 2203.01360 | `KdV`, `Advection`, `Trap` | `evolution.py` |
| a reaction of three atoms with a known saddle | `LEPS` | `reactions.py` |
| real and toy data by name | `dataset`, `Dataset`, `split`, `names` | `datasets.py` |
| two-dimensional toy shapes | `TOYS` | `toys.py` |
"""

from .datasets import Dataset, dataset, names, split
from .density import AbstractDensity, Density, Normal, check, check_base
from .evolution import AbstractEvolution, Advection, KdV, Trap
from .interpolant import MixtureInterpolant
from .mixtures import Mixture, eight_modes, five_modes, gaussian, three_from_two, two_modes
from .physics import LennardJones, PhiFour
from .posteriors import LinearRegression, LogisticRegression, posterior
from .reactions import LEPS
from .shapes import Banana, Funnel, ManyWell
from .toys import TOYS

__all__ = [
    "LEPS",
    "TOYS",
    "AbstractDensity",
    "AbstractEvolution",
    "Advection",
    "Banana",
    "Dataset",
    "Density",
    "Funnel",
    "KdV",
    "LennardJones",
    "LinearRegression",
    "LogisticRegression",
    "ManyWell",
    "Mixture",
    "MixtureInterpolant",
    "Normal",
    "PhiFour",
    "Trap",
    "check",
    "check_base",
    "dataset",
    "eight_modes",
    "five_modes",
    "gaussian",
    "names",
    "posterior",
    "split",
    "three_from_two",
    "two_modes",
]
