"""How is one distribution carried to another, learned from samples, and how far is the result to be trusted?

    flow = fit(data, key=key)                       # learn a transport from a standard normal, or from source=...
    x = flow.sample(1000, key=key)                  # run it as an ODE
    x = flow.sample(1000, key=key, sde=0.5)         # or as an SDE, without retraining
    print(certify(flow, held_out, data, key=key))   # and see how far to trust it

Time runs from 0 (base) to 1 (data). Path x coupling x fields x times x solver are the factors; each is a small object.

| answers | name | source | file |
|---|---|---|---|
| the front door: from arrays to a transport | `fit`, `Training` | | `training.py` |
| a learned transport, and how to run it | `Transport` | 2303.08797 | `transport.py` |
| how far to trust it | `certify`, `Certificate` | | `certify.py` |
| paths between two points | `Linear`, `Trigonometric`, `OneSided`, `DiffusionPath`, ... | 2303.08797 | `path.py` |
| latent noise gamma(t) | `Brownian`, `NoLatent`, ... | 2303.08797 | `latent.py` |
| who is paired | `Independent`, `MinibatchOT`, `WithinCondition`, ... | 2302.00482, 2503.10636 | `coupling.py` |
| at which times to train | `Uniform`, `LogitNormal`, `BetaTimes`, `Reweighted` | | `times.py` |
| sources, units, batches | `Gaussian`, `Empirical`, `Units`, `Pairs` | | `data.py` |
| learning velocity, score, denoiser | `Matching`, `Fields`, `sample_location_and_target` | 2303.08797 | `matching.py` |
| one field from another, where that is true | `score_from_velocity`, ... | 2303.08797 | `convert.py` |
| the ODE and the SDEs of a transport | `FlowODE`, `FlowSDE`, `ConstantNoise`, ... | 2303.08797 | `motion.py` |
| likelihood with its error; bounds | `log_prob`, `log_prob_bound`, `kl_bound` | 2303.08797 | `likelihood.py` |
| guidance | `ClassifierFree`, `classifier_guided` | 2510.21890 | `guidance.py` |
| samples that fit a measurement | `inpaint`, `linear_inverse` | 2310.06721 | `inverse.py` |
| fast solvers of one-sided flows | `DDIM`, `DPMSolver2`, `DPMSolver3`, `DPMSolver2M` | 2510.21890 | `exponential.py` |
| Langevin corrections after each step | `PredictorCorrector`, `ReverseDiffusion` | 2011.13456 | `corrector.py` |
| every solver by name | `SOLVERS`, `solver` | | `solvers.py` |
| the Schroedinger bridge | `Bridge`, `BridgeMatching` | 2303.08797 | `bridge.py` |
| Fokker-Planck residual of a potential | `residual_rms`, `PotentialMatching` | 2311.15996 | `residual.py` |
"""

from .bridge import Bend, Bridge, BridgeMatching, two_rates
from .certify import Certificate, Check, certify
from .convert import (
    Split,
    denoiser_from_score,
    denoiser_from_velocity,
    score_from_denoiser,
    score_from_velocity,
    score_gain,
    velocity_from_denoiser,
    velocity_from_split,
)
from .corrector import PredictorCorrector, ReverseDiffusion, correct
from .coupling import (
    COUPLINGS,
    AbstractCoupling,
    Independent,
    MinibatchOT,
    MinibatchSinkhorn,
    Paired,
    WithinCondition,
)
from .data import AbstractSource, Empirical, Gaussian, Pairs, Units
from .exponential import DDIM, DPMSolver2, DPMSolver2M, DPMSolver3, denoise, half_log_snr, half_log_snr_grid
from .guidance import ClassifierFree, ClassifierScore, ClassifierVelocity, classifier_guided
from .inverse import AbstractCovariance, Isotropic, Tweedie, inpaint, linear_inverse
from .latent import (
    LATENTS,
    AbstractLatent,
    Brownian,
    CustomLatent,
    NoLatent,
    Quadratic,
    SigmoidDifference,
    SineSquared,
)
from .likelihood import kl_bound, log_prob, log_prob_bound, sample_with_log_prob
from .matching import Fields, Matching, Pair, sample_location_and_target
from .motion import AbstractMotion, AbstractNoise, ConstantNoise, CustomNoise, FlowODE, FlowSDE, VanishingNoise
from .path import (
    DIFFUSIONS,
    TWO_SIDED,
    AbstractLinearPath,
    AbstractOneSided,
    AbstractPath,
    Custom,
    DiffusionPath,
    EncodingDecoding,
    Frame,
    Linear,
    Mirror,
    OneSided,
    Trigonometric,
    rate,
)
from .residual import Box, PotentialMatching, fokker_planck_residual, residual_rms
from .solvers import NOTES, SOLVERS, solver
from .times import AbstractTimes, BetaTimes, LogitNormal, Reweighted, Uniform
from .training import Training, fit
from .transport import Transport

__all__ = [
    "COUPLINGS",
    "DDIM",
    "DIFFUSIONS",
    "LATENTS",
    "NOTES",
    "SOLVERS",
    "TWO_SIDED",
    "AbstractCoupling",
    "AbstractCovariance",
    "AbstractLatent",
    "AbstractLinearPath",
    "AbstractMotion",
    "AbstractNoise",
    "AbstractOneSided",
    "AbstractPath",
    "AbstractSource",
    "AbstractTimes",
    "Bend",
    "BetaTimes",
    "Box",
    "Bridge",
    "BridgeMatching",
    "Brownian",
    "Certificate",
    "Check",
    "ClassifierFree",
    "ClassifierScore",
    "ClassifierVelocity",
    "ConstantNoise",
    "Custom",
    "CustomLatent",
    "CustomNoise",
    "DPMSolver2",
    "DPMSolver2M",
    "DPMSolver3",
    "DiffusionPath",
    "Empirical",
    "EncodingDecoding",
    "Fields",
    "FlowODE",
    "FlowSDE",
    "Frame",
    "Gaussian",
    "Independent",
    "Isotropic",
    "Linear",
    "LogitNormal",
    "Matching",
    "MinibatchOT",
    "MinibatchSinkhorn",
    "Mirror",
    "NoLatent",
    "OneSided",
    "Pair",
    "Paired",
    "Pairs",
    "PotentialMatching",
    "PredictorCorrector",
    "Quadratic",
    "ReverseDiffusion",
    "Reweighted",
    "SigmoidDifference",
    "SineSquared",
    "Split",
    "Training",
    "Transport",
    "Trigonometric",
    "Tweedie",
    "Uniform",
    "Units",
    "VanishingNoise",
    "WithinCondition",
    "certify",
    "classifier_guided",
    "correct",
    "denoise",
    "denoiser_from_score",
    "denoiser_from_velocity",
    "fit",
    "fokker_planck_residual",
    "half_log_snr",
    "half_log_snr_grid",
    "inpaint",
    "kl_bound",
    "linear_inverse",
    "log_prob",
    "log_prob_bound",
    "rate",
    "residual_rms",
    "sample_location_and_target",
    "sample_with_log_prob",
    "score_from_denoiser",
    "score_from_velocity",
    "score_gain",
    "solver",
    "two_rates",
    "velocity_from_denoiser",
    "velocity_from_split",
]
