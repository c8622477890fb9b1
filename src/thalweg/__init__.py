"""thalweg: learn, run, measure and certify the motion of probability.

    import jax, thalweg as tw

    key = jax.random.key(0)
    flow = tw.fit(data, key=key)                          # a transport from a standard normal to the data
    x = flow.sample(1000, key=key)                        # by the probability flow
    y = flow.sample(1000, key=key, sde=0.5)               # by an SDE, from the same model
    print(tw.certify(flow, held_out, data, key=key))      # how far to trust it

Rooms, from the ground up: `core` (the loop, training, fields, weights, saving), `nets`, `problems`, `processes`, `ot`,
`flows`, `sampling`, `pde`, `rare`; on top the command line, the report and the reproductions. Time runs from 0 (base)
to 1 (data) everywhere.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import core, flows, nets, ot, pde, problems, processes, rare, sampling
    from .core import (
        CheckpointError,
        Estimate,
        InputError,
        Result,
        Status,
        StatusError,
        Weighted,
        estimate,
        run,
        run_host,
        solve,
    )
    from .flows import Certificate, Transport, certify, fit
    from .ot import compare
    from .problems import dataset
    from .processes import simulate

_ROOMS = ("core", "nets", "problems", "processes", "ot", "flows", "sampling", "pde", "rare")

__all__ = [
    "Certificate",
    "CheckpointError",
    "Estimate",
    "InputError",
    "Result",
    "Status",
    "StatusError",
    "Transport",
    "Weighted",
    "certify",
    "compare",
    "core",
    "dataset",
    "estimate",
    "fit",
    "flows",
    "nets",
    "ot",
    "pde",
    "problems",
    "processes",
    "rare",
    "run",
    "run_host",
    "sampling",
    "simulate",
    "solve",
]


def __getattr__(name: str):
    # Rooms are imported when they are asked for, so that `thalweg --help` does not wait for JAX.
    if name in _ROOMS:
        return _import_module(f".{name}", __name__)
    if name in __all__:
        rooms = (_import_module(f".{room}", __name__) for room in _ROOMS)
        return next(getattr(room, name) for room in rooms if name in room.__all__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
