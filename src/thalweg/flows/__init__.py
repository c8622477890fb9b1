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
"""

from .certify import Certificate, Check, certify
from .convert import (
    Split,
    denoiser_from_score,
    denoiser_from_velocity,
    score_from_denoiser,
    score_from_velocity,
    velocity_from_denoiser,
    velocity_from_split,
)
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
from .guidance import ClassifierFree, ClassifierScore, ClassifierVelocity, classifier_guided
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
from .times import AbstractTimes, BetaTimes, LogitNormal, Reweighted, Uniform
from .training import Training, fit
from .transport import Transport

__all__ = [
    "COUPLINGS",
    "DIFFUSIONS",
    "LATENTS",
    "TWO_SIDED",
    "AbstractCoupling",
    "AbstractLatent",
    "AbstractLinearPath",
    "AbstractMotion",
    "AbstractNoise",
    "AbstractOneSided",
    "AbstractPath",
    "AbstractSource",
    "AbstractTimes",
    "BetaTimes",
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
    "DiffusionPath",
    "Empirical",
    "EncodingDecoding",
    "Fields",
    "FlowODE",
    "FlowSDE",
    "Frame",
    "Gaussian",
    "Independent",
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
    "Quadratic",
    "Reweighted",
    "SigmoidDifference",
    "SineSquared",
    "Split",
    "Training",
    "Transport",
    "Trigonometric",
    "Uniform",
    "Units",
    "VanishingNoise",
    "WithinCondition",
    "certify",
    "classifier_guided",
    "denoiser_from_score",
    "denoiser_from_velocity",
    "fit",
    "kl_bound",
    "log_prob",
    "log_prob_bound",
    "rate",
    "sample_location_and_target",
    "sample_with_log_prob",
    "score_from_denoiser",
    "score_from_velocity",
    "velocity_from_denoiser",
    "velocity_from_split",
]
