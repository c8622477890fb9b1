"""On what, and with which answer known beforehand?

Densities whose scores, moments and interpolant fields are exact, and data sets by name.

| answers | name | file |
|---|---|---|
| a log density, and what is known of it | `AbstractDensity`, `Density`, `Normal` | `density.py` |
| Gaussian mixtures: density, score, samples, moments | `Mixture`, `two_modes`, `eight_modes`, ... | `mixtures.py` |
| exact fields of an interpolant between two mixtures | `MixtureInterpolant` | `interpolant.py` |
| real and toy data by name | `dataset`, `Dataset`, `split`, `names` | `datasets.py` |
| two-dimensional toy shapes | `TOYS` | `toys.py` |
"""

from .datasets import Dataset, dataset, names, split
from .density import AbstractDensity, Density, Normal, check
from .interpolant import MixtureInterpolant
from .mixtures import Mixture, eight_modes, five_modes, gaussian, three_from_two, two_modes
from .toys import TOYS

__all__ = [
    "TOYS",
    "AbstractDensity",
    "Dataset",
    "Density",
    "Mixture",
    "MixtureInterpolant",
    "Normal",
    "check",
    "dataset",
    "eight_modes",
    "five_modes",
    "gaussian",
    "names",
    "split",
    "three_from_two",
    "two_modes",
]
