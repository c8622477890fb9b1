"""One loop for everything: `run` for a fixed number of steps, `solve` until the method says it is done.

    result = run(method, problem, steps=..., key=key)
    result = solve(method, problem, max_steps=..., key=key)

The problem carries the data, the method the choices, the key the chance, the result the evidence. A method
is three pure functions: `init` makes a state, `step` advances it and reports one row of `info`, `value` reads
the answer out of the state. Step `k` is handed `fold_in(key, k)`, so `run(5)` is `run(3)` followed by `run(2)`,
and a run killed between chunks resumes to the same answer.
"""

import abc
import math
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from .errors import InputError, StatusError
from .types import Key

P = TypeVar("P")
S = TypeVar("S")
I = TypeVar("I")  # noqa: E741
V = TypeVar("V")

# No run takes this many steps, so the key of `init` is never the key of a step.
_INIT = np.uint32(2**32 - 1)


class Status(eqx.Enumeration):
    """How a run ended; the text says what to change. One list for every room, so that any caller can read it."""

    running = "the run can go on: pass state=result.state to continue it"
    finished = "all requested steps were taken"
    converged = "the method's own stopping rule was met"
    max_steps = (
        "max_steps was reached before the stopping rule was met: raise max_steps, loosen the tolerance, "
        "or start closer to the solution"
    )
    nonfinite = (
        "a non-finite number appeared: check the problem's data for NaN or infinity, and take smaller steps "
        "(a lower learning rate, a finer time grid, a larger regularisation)"
    )
    precision = (
        "the precision of the numbers was reached before the stopping rule was met: compute in float64 "
        "(jax_enable_x64), loosen the tolerance, or raise the regularisation"
    )
    weights_degenerate = (
        "the weights collapsed on to a few particles: use more steps between base and target, more particles, "
        "or resample"
    )
    rejecting = (
        "almost every proposal was rejected: take smaller steps, or let a warm-up choose them; if they are small, "
        "check the log density and its gradient"
    )
    unmixed = (
        "independent chains or runs disagree by more than their own errors allow (R-hat, or the spread of log Z): run "
        "longer, start nearer to the target, or anneal from a wider base"
    )
    unbounded = (
        "the walkers drift away without end: the density may not have a finite integral; add a prior or a wall, or "
        "check the sign of the log density"
    )
    unresolved = (
        "the points do not see the solution, or the ansatz cannot follow it: no rate of its parameters explains the "
        "equation there; draw points where the solution is (UnitPoints, ImportancePoints, more of them), fit the start "
        "better, or let more parameters move"
    )
    step_size = (
        "the solution bent by more than half of its size within one step, or adaptive steps became too small: take "
        "smaller or implicit steps, raise the regularisation, or loosen the tolerance"
    )
    rising = (
        "the loss rose while it was being made smaller: lower the optimiser's learning rate, take more steps of it or "
        "more particles a batch, and smaller steps in time"
    )
    cut_short = (
        "trajectories were cut off before they reached either set, and count as not arrived: raise the longest "
        "trajectory, or take longer time steps"
    )


class AbstractInfo(eqx.Module):
    """One row a step of what a careful scientist would plot; scalars, or `(n,)` per particle.

    `status` is how the step itself went: `running`, `converged` (which stops `solve`), or a failure, which
    the run remembers. The runner adds `nonfinite` when any number in the row is not finite.
    """

    status: eqx.AbstractVar[Any]


class AbstractMethod(eqx.Module, Generic[P, S, I, V]):
    """Advances a state. A frozen module whose fields are its whole configuration."""

    @abc.abstractmethod
    def init(self, problem: P, *, key: Key) -> S:
        """Make the first state."""

    @abc.abstractmethod
    def step(self, problem: P, state: S, *, key: Key) -> tuple[S, I]:
        """Advance by one step and report one row of `info`."""

    @abc.abstractmethod
    def value(self, problem: P, state: S) -> V:
        """Read the answer out of a state."""


class Carry(eqx.Module, Generic[S]):
    """Enough to resume: the method's own state, the number of steps taken, and the first failure, if any."""

    step: Int[Array, ""]
    state: S
    status: Any
    failed_at: Int[Array, ""]


class Result(eqx.Module, Generic[V, I, S]):
    """What a run leaves behind.

    `value` is the answer, `status` how the run ended, `info` one row a step (stacked on the first axis; under
    `solve` inside a transformation, rows past `num_steps` are NaN or zero), `num_steps` the steps taken since
    `init`, `state` what `run(..., state=...)` resumes from.
    """

    value: V
    status: Any
    info: I
    num_steps: Int[Array, ""]
    state: Carry[S]


def run(method, problem, *, steps: int, key: Key, state: Carry | None = None, throw: bool = True) -> Result:
    """Take `steps` steps of `method` on `problem` in one compiled scan.

    Args:
        method: an `AbstractMethod`.
        problem: what the method works on, any pytree.
        steps: how many steps to take now, at least 0.
        key: the same key for every part of one run; step `k` uses `fold_in(key, k)`.
        state: `result.state` of an earlier part, to go on from there.
        throw: raise when the run ends with a failing status (`False` returns it, as one wants under `vmap`).

    Raises:
        InputError: for a negative or non-integer `steps`.
        StatusError: the status's text, with the step at which it first happened, and the result.
    """
    steps = _count("steps", steps)
    carry = _start(method, problem, key) if state is None else state
    carry, info, value = _scan(method, problem, carry, key, steps)
    status = Status.where(_good(carry.status), Status.finished, carry.status)
    return finish(Result(value, status, info, carry.step, carry), throw)


def solve(method, problem, *, max_steps: int, key: Key, state: Carry | None = None, throw: bool = True) -> Result:
    """Step until `info.status` is `converged` or a failure, at most `max_steps` times.

    Takes, raises and returns what `run` does; the status is `converged`, `max_steps` or the failure. Reverse-mode
    derivatives do not pass through the loop: differentiate the optimality condition instead.
    """
    max_steps = _count("max_steps", max_steps)
    carry = _start(method, problem, key) if state is None else state
    first = int(carry.step) if not isinstance(carry.step, Tracer) else None
    carry, info, value = _while(method, problem, carry, key, max_steps)
    status = Status.where(carry.status == Status.running, Status.max_steps, carry.status)
    if first is not None and not isinstance(carry.step, Tracer):
        taken = int(carry.step) - first
        info = jax.tree.map(lambda x: x[:taken], jax.device_get(info))
    return finish(Result(value, status, info, carry.step, carry), throw)


def run_host(method, problem, *, steps: int, key: Key, state: Carry | None = None, throw: bool = True) -> Result:
    """`run` as a Python loop, for a problem that cannot be traced (a calculator, an environment, a file).

    Stops at the first failure, with the state after the failing step. `info` is stacked into NumPy arrays.
    """
    steps = _count("steps", steps)
    carry = _fresh(method.init(problem, key=jax.random.fold_in(key, _INIT))) if state is None else state
    rows = []
    for _ in range(steps):
        carry, info = _advance(method, problem, carry, key)
        rows.append(jax.device_get(info))
        if not bool(_good(carry.status)):
            break
    info = jax.tree.map(lambda *row: np.stack(row), *rows) if rows else None
    status = Status.where(_good(carry.status), Status.finished, carry.status)
    return finish(Result(method.value(problem, carry.state), status, info, carry.step, carry), throw)


def start(method, problem, *, key: Key) -> Carry:
    """The state that `run` would begin from: what a checkpoint is read back into."""
    return _start(method, problem, key)


# The loops below are shared by every method; `filter_jit` keeps one compilation a method, problem shape and length.


@eqx.filter_jit
def _start(method, problem, key):
    return _fresh(method.init(problem, key=jax.random.fold_in(key, _INIT)))


@eqx.filter_jit
def _scan(method, problem, carry, key, steps):
    dynamic, static = eqx.partition(carry, eqx.is_array)

    def body(dynamic, _):
        carry, info = _advance(method, problem, eqx.combine(dynamic, static), key)
        return eqx.filter(carry, eqx.is_array), info

    dynamic, info = jax.lax.scan(body, dynamic, None, length=steps)
    carry = eqx.combine(dynamic, static)
    return carry, info, method.value(problem, carry.state)


@eqx.filter_jit
def _while(method, problem, carry, key, max_steps):
    dynamic, static = eqx.partition(carry, eqx.is_array)
    first = carry.step
    row = eqx.filter_eval_shape(lambda d: _advance(method, problem, eqx.combine(d, static), key)[1], dynamic)
    # An array without rows cannot even be indexed.
    rows = jax.tree.map(lambda x: _blank((max(max_steps, 1), *x.shape), x.dtype), row)

    def unfinished(loop):
        carry = eqx.combine(loop[0], static)
        return (carry.status == Status.running) & (carry.step - first < max_steps)

    def body(loop):
        carry, info = _advance(method, problem, eqx.combine(loop[0], static), key)
        at = carry.step - 1 - first
        rows = jax.tree.map(lambda buffer, x: buffer.at[at].set(x), loop[1], info)
        return eqx.filter(carry, eqx.is_array), rows

    dynamic, rows = jax.lax.while_loop(unfinished, body, (dynamic, rows))
    carry = eqx.combine(dynamic, static)
    rows = jax.tree.map(lambda x: x[:max_steps], rows)
    return carry, rows, method.value(problem, carry.state)


def _advance(method, problem, carry, key):
    state, info = method.step(problem, carry.state, key=jax.random.fold_in(key, carry.step))
    status = Status.where(_finite(info), info.status, Status.nonfinite)
    failed = ~_good(status)
    already = ~_good(carry.status)
    return Carry(
        step=carry.step + 1,
        state=state,
        status=Status.where(already, carry.status, status),
        failed_at=jnp.where(failed & ~already, carry.step, carry.failed_at),
    ), info


def _fresh(state):
    # A resumed state and a fresh one must have the same structure, so the counters are arrays from the start.
    return Carry(jnp.asarray(0), state, Status.running, jnp.asarray(-1))


def _good(status) -> Bool[Array, ""]:
    return (status == Status.running) | (status == Status.converged) | (status == Status.finished)


def _finite(info: PyTree) -> Bool[Array, ""]:
    leaves = [x for x in jax.tree.leaves(info) if eqx.is_inexact_array(x)]
    finite = jnp.asarray(True)
    for leaf in leaves:
        finite = finite & jnp.all(jnp.isfinite(leaf))
    return finite


def _blank(shape, dtype):
    return jnp.full(shape, math.nan if jnp.issubdtype(dtype, jnp.inexact) else 0, dtype)


def _count(name, value):
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InputError(f"{name} is {value!r}; expected an integer of at least 0")
    return int(value)


def succeeded(status) -> Bool[Array, ""]:
    """Whether a status is one of `running`, `finished` and `converged`."""
    return _good(status)


def finish(result: Result, throw: bool) -> Result:
    """Hand a result over; when `throw` and it failed, raise its status's text (a traced one raises as it runs)."""
    if not throw:
        return result
    good = succeeded(result.status)
    if isinstance(good, Tracer):
        failed = ~good
        told = "the run ended with a failing status; call with throw=False to see it"
        value = eqx.error_if(result.value, failed, told)
        return eqx.tree_at(lambda r: r.value, result, value, is_leaf=lambda x: x is None)
    if not bool(good):
        raise StatusError(describe(result), result)
    return result


def describe(result: Result) -> str:
    """One line: how the run ended and, if it failed, at which step."""
    text = Status[result.status]
    where = int(result.state.failed_at)
    return text if where < 0 else f"at step {where}: {text}"
