"""How far apart are two distributions, and how is one carried to the other at the least cost?

    problem = Transport.points(x, y)                     # or Transport(cost_matrix, a, b)
    found = solve(problem, epsilon=0.01)                 # entropic, at any epsilon; with evidence
    print(found); found.plan.push(new_points); jax.grad(lambda x: solve(Transport.points(x, y), 0.1).value)(x)
    exact(problem).value                                 # without regularisation, on the host

| answers | name | source | file |
|---|---|---|---|
| what is carried, and how strictly | `Transport`, `Fixed`, `KL`, `per_condition` | 1607.05816 | `problem.py` |
| costs by name or by hand | `COSTS`, `SquaredEuclidean`, `Euclidean`, `CustomCost`, ... | | `cost.py` |
| a matrix of costs, or clouds that never become one | `Matrix`, `PointCloud` | | `geometry.py` |
| entropic transport, at any epsilon | `solve`, `Solution` | | `solve.py` |
| a plan by its potentials, and its maps | `Plan`, `Potentials` | 2109.12004 | `plan.py` |
| Sinkhorn's iteration | `Sinkhorn` | 1306.0895, 1711.01851 | `sinkhorn.py` |
| Newton steps with a sparse Hessian | `SinkhornNewton` | 2401.12253 | `newton.py` |
| large clouds, cell by cell first | `coarsened`, `refined` | 1610.06519 | `coarse.py` |
| how far it is | `solve(..., progress=...)` | | `progress.py` |
| derivatives of a solution | `attach`, `envelope` | | `implicit.py` |
| the debiased divergence | `sinkhorn_divergence`, `SymmetricSinkhorn` | 1810.08278 | `divergence.py` |
| barycentres of histograms and of clouds | `Barycentre`, `cloud_barycentre` | 2006.02575, 1310.4375 | `barycentre.py` |
| Gaussians and covariances | `gaussian_wasserstein`, `bures_mean`, `entropic_gaussian` | 2006.02572 | `bures.py` |
| the plan of least cost | `exact`, `ExactPlan` | POT, SciPy | `exact.py` |
| exact pairing of two equal samples, compiled | `assignment` | SciPy | `assignment.py` |
| match two spaces by inner distances | `gromov_wasserstein`, `GromovWasserstein` | ICML 2016 | `gromov.py` |
| new embeddings from old ones | `initialise_embeddings`, `barycentric_map` | 2503.22517 | `gromov.py` |
| distillation between vocabularies | `graph_on_logits`, `gromov_lower_bound` | 2505.13893 | `logits.py` |
| exact on the line and the circle | `wasserstein_1d`, `wasserstein_circle`, `monotone_map` | | `line.py` |
| sliced distances, with control variates | `sliced_wasserstein`, `sliced_with_variates` | 2305.00402 | `sliced.py` |
| two-sample distances with p-values | `compare`, `Distance` | | `twosample.py` |
"""

from .assignment import assignment
from .barycentre import Barycentre, BarycentreInfo, BarycentreState, Histograms, cloud_barycentre
from .bures import BuresMean, GaussianMap, bures_mean, bures_wasserstein, entropic_gaussian, gaussian_wasserstein
from .coarse import coarsened, refined
from .cost import COSTS, AbstractCost, Cosine, CustomCost, Euclidean, Manhattan, SquaredEuclidean, squared_distances
from .divergence import Divergence, SymmetricInfo, SymmetricSinkhorn, SymmetricState, sinkhorn_divergence
from .exact import ExactPlan, exact
from .geometry import AbstractGeometry, Matrix, PointCloud
from .gromov import (
    Gromov,
    GromovInfo,
    GromovPlan,
    GromovProblem,
    GromovState,
    GromovWasserstein,
    Initialised,
    barycentric_map,
    gromov_loss,
    gromov_wasserstein,
    initialise_embeddings,
)
from .implicit import attach, envelope
from .line import MonotonePlan, monotone_map, monotone_plan, wasserstein_1d, wasserstein_circle
from .logits import (
    AbstractNodes,
    RankNodes,
    VocabularyNodes,
    graph_on_logits,
    gromov_lower_bound,
    logit_graph,
    node_features,
    node_means,
    sorted_gap,
    standardised,
    token_gap,
)
from .newton import NewtonInfo, NewtonState, SinkhornNewton
from .plan import Plan, Potentials
from .problem import KL, AbstractMarginal, Fixed, Transport, per_condition
from .sinkhorn import Sinkhorn, SinkhornInfo, SinkhornState
from .sliced import (
    AbstractVariate,
    LowerVariate,
    SlicedEstimate,
    SlicedVariates,
    UpperVariate,
    directions,
    sliced_wasserstein,
    sliced_with_variates,
)
from .solve import Solution, solve
from .twosample import Distance, compare

__all__ = [
    "COSTS",
    "KL",
    "AbstractCost",
    "AbstractGeometry",
    "AbstractMarginal",
    "AbstractNodes",
    "AbstractVariate",
    "Barycentre",
    "BarycentreInfo",
    "BarycentreState",
    "BuresMean",
    "Cosine",
    "CustomCost",
    "Distance",
    "Divergence",
    "Euclidean",
    "ExactPlan",
    "Fixed",
    "GaussianMap",
    "Gromov",
    "GromovInfo",
    "GromovPlan",
    "GromovProblem",
    "GromovState",
    "GromovWasserstein",
    "Histograms",
    "Initialised",
    "LowerVariate",
    "Manhattan",
    "Matrix",
    "MonotonePlan",
    "NewtonInfo",
    "NewtonState",
    "Plan",
    "PointCloud",
    "Potentials",
    "RankNodes",
    "Sinkhorn",
    "SinkhornInfo",
    "SinkhornNewton",
    "SinkhornState",
    "SlicedEstimate",
    "SlicedVariates",
    "Solution",
    "SquaredEuclidean",
    "SymmetricInfo",
    "SymmetricSinkhorn",
    "SymmetricState",
    "Transport",
    "UpperVariate",
    "VocabularyNodes",
    "assignment",
    "attach",
    "barycentric_map",
    "bures_mean",
    "bures_wasserstein",
    "cloud_barycentre",
    "coarsened",
    "compare",
    "directions",
    "entropic_gaussian",
    "envelope",
    "exact",
    "gaussian_wasserstein",
    "graph_on_logits",
    "gromov_loss",
    "gromov_lower_bound",
    "gromov_wasserstein",
    "initialise_embeddings",
    "logit_graph",
    "monotone_map",
    "monotone_plan",
    "node_features",
    "node_means",
    "per_condition",
    "refined",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "sliced_with_variates",
    "solve",
    "sorted_gap",
    "squared_distances",
    "standardised",
    "token_gap",
    "wasserstein_1d",
    "wasserstein_circle",
]
