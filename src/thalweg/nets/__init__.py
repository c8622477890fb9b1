"""Which function of time, a point and a condition is fitted?

A net is a leaf function of one point, `net(t, x, c=None)`; runners `vmap` it. Every net is a frozen module of arrays
that `core.io.save` can store; activations are `Gate` or functions of `jax.nn`.

| answers | name | file |
|---|---|---|
| vectors and any small event | `MLP` | `mlp.py` |
| images | `UNet` | `unet.py` |
| a log density whose gradient is the score | `Potential`, `Gradient` | `potential.py` |
| labels and numbers to condition on | `Labels`, `Continuous` | `condition.py` |
| covariances: batch norm and layers, 2504.00660 | `SPDBatchNorm`, `BiMap`, `ReEig`, `LogEig`, `svec` | `spd.py` |
| the pieces | `Dense`, `Conv`, `Norm`, `Gate`, `time_features` | `layers.py` |
"""

from .condition import AbstractCondition, Continuous, Labels
from .layers import Conv, Dense, Gate, Norm, time_features
from .mlp import MLP
from .potential import Gradient, Potential
from .spd import BiMap, LogEig, ReEig, SPDBatchNorm, SPDNormInfo, SPDNormState, svec
from .unet import Attention, ResidualBlock, UNet

__all__ = [
    "MLP",
    "AbstractCondition",
    "Attention",
    "BiMap",
    "Continuous",
    "Conv",
    "Dense",
    "Gate",
    "Gradient",
    "Labels",
    "LogEig",
    "Norm",
    "Potential",
    "ReEig",
    "ResidualBlock",
    "SPDBatchNorm",
    "SPDNormInfo",
    "SPDNormState",
    "UNet",
    "svec",
    "time_features",
]
