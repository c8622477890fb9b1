"""How is anything run, and what does it leave behind?

One loop (`run`, `solve`, `run_host`), one training method (`Fit`), one meaning for each field, one way to carry weights
and error bars, one way to save. Every other room is methods and problems for this one.

| answers | name | file |
|---|---|---|
| the loop: method, status, result | `AbstractMethod`, `run`, `solve`, `run_host`, `Result`, `Status` | `method.py` |
| long runs with progress, checkpoints and exact resuming | `run_chunks`, `progress_bar` | `chunks.py` |
| training | `AbstractObjective`, `Fit` | `fit.py` |
| fields, divergence | `Velocity`, `Score`, `Denoiser`, `Exact`, `Probes`, `divergence` | `fields.py` |
| diffusions | `AbstractProcess`, `AbstractAffine`, `Diffusion` | `process.py` |
| weights, resampling, error bars | `Weighted`, `ess`, `log_mean`, `Estimate`, `Systematic`, ... | `weights.py` |
| functions of positive definite matrices | `sqrtm`, `logm`, `powm`, `lyapunov`, ... (in the module) | `spd.py` |
| metrics on covariances, their means | `BuresWasserstein`, `AffineInvariant`, `LogEuclidean` | `spd_metric.py` |
| saving without pickles | `save`, `load`, `save_leaves`, `load_leaves` | `io.py` |
| several devices | `Sharded`, `replicate`, `data_mesh` | `sharding.py` |
| what constructors refuse | `positive`, `at_least_zero`, `finite`, `known`, ... (in the module) | `checks.py` |
| what a mistake looks like | `InputError`, `StatusError`, `CheckpointError` | `errors.py` |
| where a method comes from | `Paper`, `implemented` | `paper.py` |
| the shapes that signatures speak of | `Point`, `Cloud`, `Time`, `Key` | `types.py` |
"""

from .chunks import Interrupted, progress_bar, run_chunks
from .errors import CheckpointError, InputError, StatusError, choose
from .fields import AbstractDivergence, AbstractField, Denoiser, Exact, Probes, Score, Velocity, divergence
from .fit import AbstractObjective, Fit, FitInfo, FitState
from .io import load, load_leaves, read_meta, save, save_leaves, write_atomic
from .method import (
    AbstractInfo,
    AbstractMethod,
    Carry,
    Result,
    Status,
    describe,
    finish,
    run,
    run_host,
    solve,
    start,
    succeeded,
)
from .paper import Paper, implemented
from .process import AbstractAffine, AbstractCorrelated, AbstractProcess, Diffusion
from .sharding import Sharded, data_mesh, replicate
from .spd_metric import AbstractSPDMetric, AffineInvariant, BuresWasserstein, LogEuclidean, SPDMean
from .types import Cloud, Key, Point, Scalar, Time, Times
from .weights import (
    AbstractResampler,
    Estimate,
    Multinomial,
    Residual,
    Stratified,
    Systematic,
    Weighted,
    ess,
    estimate,
    log_mean,
)

__all__ = [
    "AbstractAffine",
    "AbstractCorrelated",
    "AbstractDivergence",
    "AbstractField",
    "AbstractInfo",
    "AbstractMethod",
    "AbstractObjective",
    "AbstractProcess",
    "AbstractResampler",
    "AbstractSPDMetric",
    "AffineInvariant",
    "BuresWasserstein",
    "Carry",
    "CheckpointError",
    "Cloud",
    "Denoiser",
    "Diffusion",
    "Estimate",
    "Exact",
    "Fit",
    "FitInfo",
    "FitState",
    "InputError",
    "Interrupted",
    "Key",
    "LogEuclidean",
    "Multinomial",
    "Paper",
    "Point",
    "Probes",
    "Residual",
    "Result",
    "SPDMean",
    "Scalar",
    "Score",
    "Sharded",
    "Status",
    "StatusError",
    "Stratified",
    "Systematic",
    "Time",
    "Times",
    "Velocity",
    "Weighted",
    "choose",
    "data_mesh",
    "describe",
    "divergence",
    "ess",
    "estimate",
    "finish",
    "implemented",
    "load",
    "load_leaves",
    "log_mean",
    "progress_bar",
    "read_meta",
    "replicate",
    "run",
    "run_chunks",
    "run_host",
    "save",
    "save_leaves",
    "solve",
    "start",
    "succeeded",
    "write_atomic",
]
