"""Training: one method, `Fit`, and any objective.

Answers    fit a model to batches drawn from a sampler `key -> batch`.
Equations  theta <- theta - optimiser(grad L(theta)),  ema <- m ema + (1 - m) theta,  m = min(decay, (1 + k)/(10 + k))
Symbols    L -> objective, decay -> ema
Cost       one gradient a step; memory of the model, its gradient, the optimiser's moments and the average
Fails      at the first non-finite loss or gradient the model is left as it was before that step, and stays so;
           status = nonfinite and the step is named
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from .errors import InputError
from .method import AbstractInfo, AbstractMethod, Status
from .types import Key


class AbstractObjective(eqx.Module):
    """Scores a model on a batch."""

    @abc.abstractmethod
    def __call__(self, model: PyTree, batch: PyTree, *, key: Key) -> Float[Array, ""]:
        """The loss, a scalar to be made small."""


class FitState(eqx.Module):
    """Trainable arrays, the optimiser's state, the running average and whether training is still sound."""

    params: PyTree
    optimiser: PyTree
    average: PyTree
    alive: Bool[Array, ""]
    step: Int[Array, ""]


class FitInfo(AbstractInfo):
    """The loss and the norm of its gradient before clipping."""

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    status: Any


class Fit(AbstractMethod):
    """Minimise `objective` over the inexact arrays of `model`.

    Fields:
        objective: an `AbstractObjective`.
        model: where to start; any pytree.
        optimiser: an optax gradient transformation.
        ema: decay of the average of the parameters that `value` returns, or None to return the parameters themselves.
        clip: largest norm of a gradient, or None.

    The problem is a batch sampler: a callable `key -> batch` that can be traced.
    """

    objective: AbstractObjective
    model: PyTree
    optimiser: optax.GradientTransformation
    ema: float | None = None
    clip: float | None = None

    def __check_init__(self):
        if self.ema is not None and not 0 <= self.ema < 1:
            raise InputError(f"Fit(ema={self.ema}): expected a decay in [0, 1), or None")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"Fit(clip={self.clip}): expected a positive norm, or None")

    def init(self, problem, *, key):
        """Start from the model's own arrays."""
        params = eqx.filter(self.model, eqx.is_inexact_array)
        average = None if self.ema is None else params
        return FitState(params, self.optimiser.init(params), average, jnp.asarray(True), jnp.asarray(0))

    def step(self, problem, state, *, key):
        """One batch, one gradient, one update; nothing changes once a loss was not finite."""
        batch_key, loss_key = jax.random.split(key)
        static = eqx.filter(self.model, eqx.is_inexact_array, inverse=True)

        def objective(params):
            return self.objective(eqx.combine(params, static), problem(batch_key), key=loss_key)

        loss, grads = jax.value_and_grad(objective)(state.params)
        norm = optax.tree.norm(grads)
        if self.clip is not None:
            shrink = jnp.minimum(1.0, self.clip / norm)
            grads = jax.tree.map(lambda g: g * shrink.astype(g.dtype), grads)
        updates, optimiser = self.optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if self.ema is not None:
            decay = jnp.minimum(self.ema, (1 + state.step) / (10 + state.step))
            average = jax.tree.map(lambda a, p: a + ((1 - decay) * (p - a)).astype(a.dtype), average, params)
        alive = state.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
        new = FitState(params, optimiser, average, alive, state.step + 1)
        keep = FitState(state.params, state.optimiser, state.average, alive, state.step)
        state = jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, keep)
        return state, FitInfo(loss=loss, grad_norm=norm, status=Status.running)

    def value(self, problem, state):
        """The model with the averaged parameters, or with the last ones when `ema` is None."""
        static = eqx.filter(self.model, eqx.is_inexact_array, inverse=True)
        return eqx.combine(state.params if self.ema is None else state.average, static)
