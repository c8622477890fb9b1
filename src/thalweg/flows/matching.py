"""Learning the fields of an interpolant by regression.

Answers    which velocity, split velocity, score and denoiser go with a path and a coupling?
Equations  L_b   = E[1/2 |b(t, x_t)|^2   - (dI/dt + gamma' z).b(t, x_t)]
           L_v   = E[1/2 |v(t, x_t)|^2   - dI/dt.v(t, x_t)]
           L_s   = E[1/2 |s(t, x_t)|^2   + (1/gamma) z.s(t, x_t)]
           L_eta = E[1/2 |eta(t, x_t)|^2 - z.eta(t, x_t)]                                (2303.08797, (2.12)-(2.19))
           each as the mean over z and -z, which keeps its variance finite as gamma -> 0 (its sec. 6.1)
           one-sided: the same with z = x0, gamma -> alpha and no antithetic pair
Symbols    b, v, s, eta -> Fields.velocity, split, score, denoiser
Cost       one evaluation of each net a point; two when gamma > 0
Fails      not; but a loss is bounded below by minus half the mean square of its field, so a good one is negative
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractObjective, Cloud, Denoiser, InputError, Key, Paper, Score, Velocity
from .convert import Split
from .coupling import AbstractCoupling, Independent
from .latent import NoLatent
from .path import AbstractOneSided, AbstractPath
from .times import AbstractTimes, Uniform

# Its method is this file's, on a path without latent noise: a recipe, not a system of its own.
paper = Paper(
    "interflow",
    "Building Normalizing Flows with Stochastic Interpolants",
    "2209.15571",
    2022,
    "interpolant loss G, likelihood, W2 bound",
    "reproduced",
)


class Fields(eqx.Module):
    """What is learned: any of the four fields. Each that is present has its own loss."""

    velocity: Velocity | None = None
    split: Split | None = None
    score: Score | None = None
    denoiser: Denoiser | None = None

    def __check_init__(self):
        if all(f is None for f in (self.velocity, self.split, self.score, self.denoiser)):
            raise InputError("Fields() has nothing to learn; give it a velocity, split, score or denoiser")


class Pair(eqx.Module):
    """A batch: ends of the path, and the conditions of x1 (None without)."""

    x0: Cloud
    x1: Cloud
    c: Array | None = None


class Matching(AbstractObjective):
    """The quadratic regression losses of every field that the model holds, summed.

    Fields:
        path: the interpolant.
        times: how t is drawn.
    """

    path: AbstractPath
    times: AbstractTimes = Uniform()

    def __call__(self, model: Fields, batch: Pair, *, key: Key) -> Float[Array, ""]:
        """The mean loss over the batch; its model is a `Fields`, its batch a `Pair`."""
        if model.split is not None and isinstance(self.path, AbstractOneSided):
            raise InputError("the split velocity belongs to two-sided paths; on a one-sided path learn b, s or eta")
        keys = jax.random.split(key, 2)
        n = batch.x0.shape[0]
        t, weight = self.times(n, key=keys[0])
        t = t.astype(batch.x0.dtype)
        if isinstance(self.path, AbstractOneSided):
            one_sided = partial(self._one_sided, self.path)
            losses = jax.vmap(one_sided, in_axes=(None, 0, 0, 0, 0))(model, t, batch.x0, batch.x1, batch.c)
        elif isinstance(getattr(self.path, "latent", None), NoLatent):
            losses = jax.vmap(self._plain, in_axes=(None, 0, 0, 0, 0))(model, t, batch.x0, batch.x1, batch.c)
        else:
            z = jax.random.normal(keys[1], batch.x0.shape, batch.x0.dtype)
            losses = jax.vmap(self._antithetic, in_axes=(None, 0, 0, 0, 0, 0))(model, t, batch.x0, batch.x1, z, batch.c)
        return jnp.mean(weight.astype(losses.dtype) * losses)

    def _plain(self, model, t, x0, x1, c):
        frame = self.path.frame(t, x0, x1)
        return _losses(model, t, frame.mean, c, frame.mean_dot, frame.mean_dot, None, None)

    def _one_sided(self, path: AbstractOneSided, model, t, x0, x1, c):
        frame = path.frame(t, x0, x1)
        return _losses(model, t, frame.mean, c, frame.mean_dot, None, x0, path.alpha(t))

    def _antithetic(self, model, t, x0, x1, z, c):
        frame = self.path.frame(t, x0, x1)

        def half(sign):
            x = frame.mean + sign * frame.gamma * z
            b = frame.mean_dot + sign * frame.gamma_dot * z
            return _losses(model, t, x, c, b, frame.mean_dot, sign * z, frame.gamma)

        return 0.5 * (half(1.0) + half(-1.0))


def _losses(model, t, x, c, b, v, z, level):
    """Sum of 1/2 |f|^2 - target.f over the fields present, per coordinate so that sizes compare across shapes."""
    targets = ((model.velocity, b), (model.split, v), (model.denoiser, z))
    total = jnp.zeros((), x.dtype)
    for field, target in targets:
        if field is not None:
            total = total + _quadratic(field(t, x, c), _needed(target))
    if model.score is not None:
        # Weighted by level^2, so that L_s = E[1/2 |level s|^2 + z.(level s)] is the denoiser's loss: same minimiser,
        # finite at the ends where level -> 0 and the paper's (2.18) is not.
        total = total + _quadratic(level * model.score(t, x, c), -_needed(z))
    return total


def _quadratic(field, target):
    return jnp.mean(0.5 * field**2 - target * field)


def _needed(target):
    if target is None:
        raise InputError(
            "a score or denoiser needs noise on the path; this one has gamma = 0. Give it a latent such as Brownian()"
        )
    return target


def sample_location_and_target(
    path: AbstractPath,
    x0: Cloud,
    x1: Float[Array, "m *event"],
    *,
    key: Key,
    coupling: AbstractCoupling | None = None,
    c: Array | None = None,
):
    """The thin door: (t, x_t, dx_t/dt), for those who bring their own network and loop.

    Args:
        path: the interpolant.
        x0, x1: (n, *event) batches of base and data.
        coupling: how the rows are paired; as they stand by default.

    Returns:
        t (n,), x_t (n, *event) and the velocity target (n, *event).
    """
    if x0.shape != x1.shape:
        raise InputError(f"x0 has shape {x0.shape} and x1 {x1.shape}; expected the same")
    times, noise, pairing = jax.random.split(key, 3)
    index = (Independent() if coupling is None else coupling)(x0, x1, c, key=pairing)
    t = Uniform()(x0.shape[0], key=times)[0].astype(x0.dtype)
    frame = jax.vmap(path.frame)(t, x0, x1[index])
    z = jax.random.normal(noise, x0.shape, x0.dtype)

    def wide(s):
        return s.reshape((-1,) + (1,) * (x0.ndim - 1))

    return t, frame.mean + wide(frame.gamma) * z, frame.mean_dot + wide(frame.gamma_dot) * z
