"""Every integrator of a transport by name, for the command line and for those who compare them.

Answers    which solvers are there, and which motions do they fit?
Symbols    ode -> `FlowODE` on any path; sde -> `FlowSDE` on any path; one-sided -> `FlowODE` with a denoiser on a
           one-sided path, on the solver's own `grid`; score -> either motion, with a score
Cost       as said in each solver's file
Fails      an unknown name is an InputError that names the nearest ones
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..core import choose
from ..processes import (
    RK4,
    AbstractSimulator,
    Adaptive,
    Euler,
    EulerMaruyama,
    HeunODE,
    InterpolantHeun,
    Midpoint,
    StochasticHeun,
)
from .corrector import PredictorCorrector, ReverseDiffusion
from .exponential import DDIM, DPMSolver2, DPMSolver2M, DPMSolver3

SOLVERS: dict[str, Callable[[], AbstractSimulator | Adaptive]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": HeunODE,
    "rk4": RK4,
    "euler-maruyama": EulerMaruyama,
    "stochastic-heun": StochasticHeun,
    "interpolant-heun": InterpolantHeun,
    "ddim": DDIM,
    "dpm-2": DPMSolver2,
    "dpm-3": DPMSolver3,
    "dpm-2m": DPMSolver2M,
    "reverse-diffusion": ReverseDiffusion,
    "predictor-corrector": PredictorCorrector,
    "adaptive": Adaptive,
}


@dataclass(frozen=True)
class Note:
    """What a solver is for.

    `ode` and `sde` say which motions it takes, `one_sided` whether it needs a one-sided path with a score or denoiser,
    `evaluations` how many of the net it makes a step, `words` the rest.
    """

    ode: bool
    sde: bool
    one_sided: bool
    evaluations: int
    words: str


NOTES: dict[str, Note] = {
    "euler": Note(True, False, False, 1, "ODE, order 1"),
    "midpoint": Note(True, False, False, 2, "ODE, order 2"),
    "heun": Note(True, False, False, 2, "ODE, order 2; the default without noise"),
    "rk4": Note(True, False, False, 4, "ODE, order 4"),
    "euler-maruyama": Note(False, True, False, 1, "SDE, weak order 1; the default with noise"),
    "stochastic-heun": Note(False, True, False, 2, "SDE, weak order 2"),
    "interpolant-heun": Note(False, True, False, 2, "SDE, weak order 1; as in the paper on stochastic interpolants"),
    "ddim": Note(True, False, True, 1, "ODE on a one-sided path, order 1"),
    "dpm-2": Note(True, False, True, 2, "ODE on a one-sided path, order 2"),
    "dpm-3": Note(True, False, True, 3, "ODE on a one-sided path, order 3"),
    "dpm-2m": Note(True, False, True, 1, "ODE on a one-sided path, order 2 from two steps"),
    "reverse-diffusion": Note(True, True, True, 1, "one-sided path; brings its own noise, whatever the motion's"),
    "predictor-corrector": Note(
        True, True, False, 2, "Euler-Maruyama and one Langevin correction a step; needs a score"
    ),
    "adaptive": Note(
        True, True, False, 6, "steps of its own to a tolerance: Tsit5 without noise, SRA1 with it; --steps is not used"
    ),
}


def solver(name: str) -> AbstractSimulator | Adaptive:
    """The integrator of that name, with its default choices.

    Raises:
        InputError: for an unknown name.
    """
    return SOLVERS[choose("solver", name, SOLVERS)]()
