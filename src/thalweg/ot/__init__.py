"""How far apart are two distributions, and how is one carried to the other at the least cost?

| answers | name | source | file |
|---|---|---|---|
| exact pairing of two equal samples | `assignment`, `squared_distances` | SciPy | `assignment.py` |
| entropic plan | `Sinkhorn`, `Transport`, `Plan` | 1306.0895 | `sinkhorn.py` |
| one-dimensional and sliced distances | `wasserstein_1d`, `sliced_wasserstein`, `directions` | | `sliced.py` |
| two-sample distances with p-values | `compare`, `Distance` | | `twosample.py` |
"""

from .assignment import assignment, squared_distances
from .sinkhorn import Plan, Potentials, Sinkhorn, SinkhornInfo, Transport
from .sliced import directions, sliced_wasserstein, wasserstein_1d
from .twosample import Distance, compare

__all__ = [
    "Distance",
    "Plan",
    "Potentials",
    "Sinkhorn",
    "SinkhornInfo",
    "Transport",
    "assignment",
    "compare",
    "directions",
    "sliced_wasserstein",
    "squared_distances",
    "wasserstein_1d",
]
