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
| the certificate on digits and MNIST | `digits`, `mnist` | `images.py` |
"""

from collections.abc import Callable as _Callable

from .claims import Claim, Reproduction, Stopwatch, table
from .gap import ode_sde_gap
from .images import digits, mnist
from .interflow import interflow
from .interpolants import stochastic_interpolants
from .score_sde import score_sde

REPRODUCTIONS: dict[str, _Callable[[bool], Reproduction]] = {
    "stochastic-interpolants": stochastic_interpolants,
    "interflow": interflow,
    "score-sde": score_sde,
    "ode-sde-gap": ode_sde_gap,
    "certificate-digits": digits,
    "certificate-mnist": mnist,
}

__all__ = [
    "REPRODUCTIONS",
    "Claim",
    "Reproduction",
    "Stopwatch",
    "digits",
    "interflow",
    "mnist",
    "ode_sde_gap",
    "score_sde",
    "stochastic_interpolants",
    "table",
]
