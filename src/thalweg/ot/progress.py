"""Iterations that say how far they are: the same steps, a few at a time, with the host looking on in between.

Answers    is the transport of large clouds getting anywhere, and how long does a sweep take?
Symbols    chunk -> steps between two reports
Cost       nothing that can be measured for large problems; for small ones a call from the host for each chunk
Fails      InputError inside a compiled function, where there is nobody to report to
"""

import equinox as eqx
import jax
from jax.core import Tracer

from ..core import AbstractMethod, InputError, Result, run_chunks
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
    seen = run_chunks(_Unread(method), problem, steps=max_steps, key=key, until=True, chunk=chunk, progress=progress)
    return Result(_read(method, problem, seen.state.state), seen.status, seen.info, seen.num_steps, seen.state)


@eqx.filter_jit
def _read(method, problem, state):
    return method.value(problem, state)
