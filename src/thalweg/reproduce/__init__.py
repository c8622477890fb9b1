"""Do the papers' claims hold, recomputed here at the smallest honest size?

    thalweg reproduce NAME        # one of REPRODUCTIONS, or `all`

A reproduction is a function of `short` (the size for continuous integration) that returns a `Reproduction`: a table
*claim, paper, here, baseline here, holds*. Nothing in it is typed in; what cannot be tested at this size says so. A
module adds its own: a line in `REPRODUCTIONS`, under the name of its `Paper`.

| answers | name | file |
|---|---|---|
| claims and their table | `Claim`, `Reproduction`, `Stopwatch`, `table` | `claims.py` |
| stochastic interpolants, 2303.08797 | `stochastic_interpolants` | `interpolants.py` |
| InterFlow, 2209.15571 | `interflow` | `interflow.py` |
| score-based SDEs, 2011.13456 | `score_sde` | `score_sde.py` |
| the ODE-SDE gap, 2311.15996 | `ode_sde_gap` | `gap.py` |
| Sinkhorn-Newton-Sparse, 2401.12253 | `sinkhorn_newton_sparse` | `sns.py` |
| sliced Wasserstein with control variates, 2305.00402 | `sliced_wasserstein_cv` | `sliced.py` |
| batch norm under Bures-Wasserstein, 2504.00660 | `bures_batchnorm` | `bures.py` |
| graph-on-logits distillation, 2505.13893 | `infigfusion` | `infigfusion.py` |
| Gromov-Wasserstein initialisation, 2503.22517 | `moe_map` | `moe.py` |
| energies with Jarzynski weights, 2305.19414 | `jarzynski_ebm` | `ebm.py` |
| NEIS, 2206.09908 | `neis_flows` | `neis.py` |
| self-repellent walks, 2305.05097 | `self_repellent_walk` | `repellent.py` |
| stochastic-gradient MCMC of potentials, 2212.07959 | `sgmcmc_potentials` | `potentials.py` |
| score-based transport, 2206.04642 | `score_based_transport` | `score_transport.py` |
| Neural Galerkin schemes, 2203.01360 | `neural_galerkin` | `galerkin.py` |
| closures of an active fluid, 2308.06675 | `active_fluid_closure` | `active_fluid.py` |
| minimum action paths, 2202.06936 | `minimum_action_paths` | `minimum_action.py` |
| the dimer on a Gaussian process, 2510.06030 | `gp_dimer_saddles` | `ot_gp_dimer.py`, `baker.py` |
| coverage of the intervals for log Z | `certificate_evidence` | `coverage.py` |
| the certificate on digits and MNIST | `digits`, `mnist` | `images.py` |
"""

from collections.abc import Callable as _Callable

from .active_fluid import active_fluid_closure
from .bures import bures_batchnorm
from .claims import Claim, Reproduction, Stopwatch, table
from .coverage import certificate_evidence
from .ebm import jarzynski_ebm
from .galerkin import neural_galerkin
from .gap import ode_sde_gap
from .images import digits, mnist
from .infigfusion import infigfusion
from .interflow import interflow
from .interpolants import stochastic_interpolants
from .minimum_action import minimum_action_paths
from .moe import moe_map
from .neis import neis_flows
from .ot_gp_dimer import gp_dimer_saddles
from .potentials import sgmcmc_potentials
from .repellent import self_repellent_walk
from .score_sde import score_sde
from .score_transport import score_based_transport
from .sliced import sliced_wasserstein_cv
from .sns import sinkhorn_newton_sparse

REPRODUCTIONS: dict[str, _Callable[[bool], Reproduction]] = {
    "stochastic-interpolants": stochastic_interpolants,
    "interflow": interflow,
    "score-sde": score_sde,
    "ode-sde-gap": ode_sde_gap,
    "sinkhorn-newton-sparse": sinkhorn_newton_sparse,
    "sliced-wasserstein-cv": sliced_wasserstein_cv,
    "bures-wasserstein-batchnorm": bures_batchnorm,
    "infigfusion": infigfusion,
    "moe-modality": moe_map,
    "jarzynski-ebm": jarzynski_ebm,
    "neis": neis_flows,
    "self-repellent-walk": self_repellent_walk,
    "sgmcmc-potentials": sgmcmc_potentials,
    "score-based-transport": score_based_transport,
    "neural-galerkin": neural_galerkin,
    "active-fluid-closure": active_fluid_closure,
    "minimum-action": minimum_action_paths,
    "ot-gp-dimer": gp_dimer_saddles,
    "certificate-digits": digits,
    "certificate-mnist": mnist,
    "certificate-evidence": certificate_evidence,
}

__all__ = [
    "REPRODUCTIONS",
    "Claim",
    "Reproduction",
    "Stopwatch",
    "active_fluid_closure",
    "bures_batchnorm",
    "certificate_evidence",
    "digits",
    "gp_dimer_saddles",
    "infigfusion",
    "interflow",
    "jarzynski_ebm",
    "minimum_action_paths",
    "mnist",
    "moe_map",
    "neis_flows",
    "neural_galerkin",
    "ode_sde_gap",
    "score_based_transport",
    "score_sde",
    "self_repellent_walk",
    "sgmcmc_potentials",
    "sinkhorn_newton_sparse",
    "sliced_wasserstein_cv",
    "stochastic_interpolants",
    "table",
]
