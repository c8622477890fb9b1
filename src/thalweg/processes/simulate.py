"""The room's front door for fixed steps.

Answers    where is the cloud after the process has run through these times?
Equations  run(method, Simulate(process, x0, ts), steps=len(ts) - 1, key=key)
Symbols    ts -> the grid; step k uses the key fold_in(key, k)
Cost       that of the method; memory of the cloud, whatever the number of steps
Fails      InputError before anything runs where process, method and times do not fit; else the run's status
"""

from collections.abc import Callable, Sequence

import jax
from jaxtyping import ArrayLike

from ..core import InputError, Key, Result, run
from .adaptive import Adaptive, simulate_adaptive
from .library import AbstractODE
from .observe import Observed, Recorded
from .ode import Euler
from .problem import AbstractSimulator, Simulate
from .sde import EulerMaruyama


def simulate(
    process,
    x0,
    ts,
    *,
    method: AbstractSimulator | Adaptive | None = None,
    key: Key | None = None,
    save_at: Sequence[int] | ArrayLike | None = None,
    observable: Callable | None = None,
    throw: bool = True,
) -> Result:
    """Run a process from a cloud through a grid of times.

    Args:
        process: an `AbstractProcess` or `AbstractCorrelated`; see `library.py`, `noising.py`, `langevin.py`.
        x0: the cloud at ts[0], (n, *event).
        ts: two or more times, rising or falling; on falling times the process must be the reversed one.
        method: how a step is made. None is `EulerMaruyama()`, and its noiseless form `Euler()` for an `ODE`.
            `Adaptive()` goes from ts[0] to ts[-1] in steps of its own; see `simulate_adaptive`.
        key: the chance; may be left out for an `ODE`.
        save_at: numbers of steps after which the cloud is kept; the value is then a `Recording`.
        observable: (t, x) -> number, integrated over time for each particle; the value is then an `Observation`,
            whose `final` is what the value would have been without it.
        throw: raise on a failing status.

    Returns:
        A `Result` whose `value` is the last cloud (or as above), `info` a `StepInfo` with one row a step.

    Raises:
        InputError: bad times or cloud, or a method that does not fit the process.
        StatusError: when the cloud stopped being finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from thalweg.processes import OU, simulate
        >>> x0 = jnp.zeros((1000, 2))
        >>> result = simulate(OU(theta=2.0), x0, jnp.linspace(0, 3, 301), key=jax.random.key(0))
        >>> result.value.shape, bool(abs(result.value.var() - 0.25) < 0.03)
        ((1000, 2), True)
    """
    problem = Simulate(process, x0, ts)
    if isinstance(method, Adaptive):
        if save_at is not None or observable is not None:
            raise InputError("Adaptive() keeps no steps to save or observe at; take simulate_adaptive(save_at=times)")
        numbers = {"rtol": method.rtol, "atol": method.atol, "max_steps": method.max_steps, "solver": method.solver}
        return simulate_adaptive(process, x0, problem.ts[0], problem.ts[-1], key=key, throw=throw, **numbers)
    if method is None:
        method = Euler() if isinstance(process, AbstractODE) else EulerMaruyama()
    if key is None:
        if not isinstance(process, AbstractODE):
            raise InputError("simulate got no key; expected key=jax.random.key(seed), as the process has noise")
        key = jax.random.key(0)
    if save_at is not None:
        method = Recorded(method, save_at)
    if observable is not None:
        method = Observed(method, observable)
    method.check(problem)
    return run(method, problem, steps=problem.steps, key=key, throw=throw)
