"""The same run several times, independently, as one run.

Answers    what is the spread of an estimate over runs, when they are to be made, watched and resumed together?
Equations  replicate r uses fold_in(key, r) of every step's key; one that has ended waits for the others
Cost       `runs` times that of the method
Fails      with the status of the first replicate that failed, once all have ended
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..core import AbstractInfo, AbstractMethod, InputError, Status, succeeded


class ReplicatesState(eqx.Module):
    """A state for each replicate, how each stands, and whether it has ended."""

    each: Any
    statuses: Any
    ended: Bool[Array, " runs"]


class ReplicatesInfo(AbstractInfo):
    """The method's own rows, one for each replicate; of those that have ended, the row of a step not taken."""

    each: Any
    ended: Bool[Array, " runs"]
    status: Any


class Replicates(AbstractMethod):
    """`runs` independent runs of a method that ends by itself.

    Fields:
        method: such as `Annealing`.
        runs: how many.
    """

    method: AbstractMethod
    runs: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        if self.runs < 1:
            raise InputError(f"Replicates(runs={self.runs}): expected at least 1")

    def _keys(self, key):
        return jax.vmap(lambda r: jax.random.fold_in(key, r))(jnp.arange(self.runs))

    def init(self, problem, *, key):
        """A first state for each."""
        each = eqx.filter_vmap(lambda k: self.method.init(problem, key=k))(self._keys(key))
        statuses = eqx.filter_vmap(lambda _: Status.running)(jnp.arange(self.runs))
        return ReplicatesState(each, statuses, jnp.zeros(self.runs, bool))

    def step(self, problem, state, *, key):
        """A step of those that have not ended."""
        moved, info = eqx.filter_vmap(lambda s, k: self.method.step(problem, s, key=k))(state.each, self._keys(key))

        def keep(old, new):
            if not eqx.is_array(new):
                return new
            return jnp.where(state.ended.reshape(-1, *[1] * (new.ndim - 1)), old, new)

        each = jax.tree.map(keep, state.each, moved)
        # Statuses are compared one by one.
        statuses = eqx.filter_vmap(Status.where)(state.ended, state.statuses, info.status)
        ended = eqx.filter_vmap(lambda s: s != Status.running)(statuses)
        # The first failure speaks for all, but only when all have had their chance.
        worst = jnp.argmax(~eqx.filter_vmap(succeeded)(statuses))
        verdict = jax.tree.map(lambda s: s[worst], statuses)
        status = Status.where(jnp.all(ended), verdict, Status.running)
        return ReplicatesState(each, statuses, ended), ReplicatesInfo(each=info, ended=ended, status=status)

    def value(self, problem, state):
        """The values, stacked."""
        return eqx.filter_vmap(lambda s: self.method.value(problem, s))(state.each)
