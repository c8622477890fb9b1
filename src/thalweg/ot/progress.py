"""Iterations that say how far they are: the same steps, a few at a time, with the host looking on in between.

Answers    is the transport of large clouds getting anywhere, and how long does a sweep take?
Symbols    chunk -> steps between two reports
Cost       nothing that can be measured for large problems; for small ones a call from the host for each chunk
Fails      InputError inside a compiled function, where there is nobody to report to
"""

import time

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

from ..core import AbstractMethod, InputError, Result, Status
from ..core import solve as iterate
from ..core.chunks import Progress
from .problem import Transport

# Pairs of points that are looked at between two reports: some seconds.
WORK = 2**31


class _Unread(AbstractMethod):
    """A method whose value is not read out, which costs a pass over the costs, after every chunk."""

    method: AbstractMethod

    def init(self, problem, *, key):
        return self.method.init(problem, key=key)

    def step(self, problem, state, *, key):
        return self.method.step(problem, state, key=key)

    def value(self, problem, state):
        return ()


def advance(method, problem: Transport, *, max_steps: int, progress: Progress | None = None) -> Result:
    """`core.solve` for a method without chance; with `progress` in chunks, to the same bits.

    Args:
        progress: called after each chunk with (step, max_steps, seconds a step, last row of info as floats).

    Raises:
        InputError: for a `progress` inside `jit`, `vmap` or `grad`.
    """
    # Nothing is drawn: any key will do.
    key = jax.random.key(0)
    if progress is None:
        return iterate(method, problem, max_steps=max_steps, key=key, throw=False)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((method, problem))):
        raise InputError("progress is reported between compiled chunks; leave it out inside jit, vmap and grad")
    n, m = problem.geometry.shape
    chunk = max(1, min(100, WORK // (n * m)))
    unread, carry, rows, began = _Unread(method), None, [], time.monotonic()
    while True:
        taken = 0 if carry is None else int(carry.step)
        part = iterate(unread, problem, max_steps=min(chunk, max_steps - taken), key=key, state=carry, throw=False)
        carry, step = part.state, int(part.num_steps)
        rows.append(part.info)
        if step > taken:
            last = {
                name: float(x[-1]) for name, x in vars(part.info).items() if np.ndim(x) == 1 and x.dtype.kind == "f"
            }
            progress(step, max_steps, (time.monotonic() - began) / step, last)
        if bool(part.status != Status.max_steps) or step >= max_steps:
            break
    info = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
    return Result(_read(method, problem, carry.state), part.status, info, carry.step, carry)


@eqx.filter_jit
def _read(method, problem, state):
    return method.value(problem, state)
