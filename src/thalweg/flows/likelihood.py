"""Densities along the probability flow.

Answers    how likely is a point under the learned transport, and how far is that to be trusted?
Equations  log rho_1(x) = log rho_0(X_0) - int_0^1 div b(t, X_t) dt,  X_1 = x               (2303.08797, (2.27))
           log rho_1(x) >= E[log rho_0(Y_0) - int_0^1 (div b_F + eps |s|^2) dt],  Y the backward SDE from x,
               b_F = b + eps s; equality when s is the score of the forward SDE's density   (Feynman-Kac and Girsanov)
           KL(rho_1 | model) <= dL_b / eps + eps dL_s,  dL_b = 1/2 int E|b' - b|^2, dL_s the same for s
               (2303.08797, thm 2.11; the printed (1/2 eps) dL_b + (eps/2) dL_s misses the 1/2 inside dL)
Symbols    div -> an AbstractDivergence: exact, or k probes with a standard error
Cost       exact: d + 1 forward derivatives a step; k probes: k + 1
Fails      a non-smooth field on a coarse grid; the round-trip error says so

Everything is one fixed-step scan, so the gradient with respect to parameters and points is that of the number returned.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractDivergence, Cloud, Estimate, Exact, InputError, Key, estimate
from ..processes import RK4, AbstractODE, AbstractStepper, simulate
from .motion import AbstractMotion, FlowSDE


class _Augmented(AbstractODE):
    """The flow with its accumulated divergence: the state of one particle is (x, l_1..l_k) in one row."""

    motion: AbstractMotion
    how: AbstractDivergence
    probes: Float[Array, "n k *event"]
    event: tuple[int, ...] = eqx.field(static=True)

    def drift(self, t, x):
        raise NotImplementedError("particles carry probes of their own; use drifts")

    def drifts(self, t, x):
        size = x.shape[1] - _draws(self.how, self.probes)

        def one(row, probes, c):
            fn = lambda point: self.motion.velocity(t, point, c)  # noqa: E731
            b, draws = self.how(fn, row[:size].reshape(self.event), probes)
            return jnp.concatenate([b.reshape(-1), draws])

        return jax.vmap(one)(x, self.probes, self.motion.c)


def _draws(how, probes):
    return 1 if isinstance(how, Exact) else probes.shape[1]


def _transport(motion, x, ts, how, method, key):
    """Carry (n, *event) along ts and return where it ends and the integral of the divergence, (n, draws)."""
    n, event = x.shape[0], x.shape[1:]
    if isinstance(how, Exact):
        probes = jnp.broadcast_to(how.probes(x[0], key=key), (n, x[0].size, *event))
    else:
        probes = jax.vmap(lambda point, k: how.probes(point, key=k))(x, jax.random.split(key, n))
    flat = jnp.concatenate([x.reshape(n, -1), jnp.zeros((n, _draws(how, probes)), x.dtype)], axis=1)
    process = _Augmented(motion, how, probes, event)
    moved = simulate(process, flat, ts, method=method, key=key, throw=False).value
    size = x[0].size
    return moved[:, :size].reshape(x.shape), moved[:, size:]


def log_prob(
    motion: AbstractMotion,
    base,
    x: Cloud,
    *,
    key: Key,
    how: AbstractDivergence | None = None,
    steps: int = 50,
    method: AbstractStepper | None = None,
) -> Estimate:
    """log density of points at t = 1, (n,), with the standard error of the probes (0 when exact, NaN for one).

    Args:
        motion: an ODE or SDE; its probability flow is meant.
        base: a source with a `log_prob` of one point.
        x: (n, *event), in the model's units.
        how: `Exact()` (default) or `Probes(k)`; a probe is kept along its particle's whole path.
        steps, method: the fixed grid and integrator; RK4 by default.
    """
    how = Exact() if how is None else how
    x0, integral = _transport(motion, x, _grid(steps, x.dtype)[::-1], how, RK4() if method is None else method, key)
    # Time runs backwards here, so the accumulated integral is already minus the forward one.
    return _per_point(jax.vmap(_log_base(base))(x0)[:, None] + integral, how)


def sample_with_log_prob(
    motion: AbstractMotion,
    base,
    x0: Cloud,
    *,
    key: Key,
    how: AbstractDivergence | None = None,
    steps: int = 50,
    method: AbstractStepper | None = None,
) -> tuple[Cloud, Estimate]:
    """Carry x0 to t = 1 and return it with its log density, from one pass."""
    how = Exact() if how is None else how
    x1, integral = _transport(motion, x0, _grid(steps, x0.dtype), how, RK4() if method is None else method, key)
    return x1, _per_point(jax.vmap(_log_base(base))(x0)[:, None] - integral, how)


def log_prob_bound(
    motion: FlowSDE,
    base,
    x: Cloud,
    *,
    key: Key,
    how: AbstractDivergence | None = None,
    steps: int = 100,
    draws: int = 8,
) -> Estimate:
    """Lower bound on the log density of the forward *SDE* at points of t = 1, (n,), with its standard error over paths.

    Args:
        motion: the forward SDE.
        draws: independent backward paths a point.
    """
    how = Exact() if how is None else how
    ts = _grid(steps, x.dtype)[::-1]

    def path(k):
        return _bound_path(motion, base, x, ts, how, k)

    return estimate(jax.lax.map(path, jax.random.split(key, draws)))


def _bound_path(motion, base, x, ts, how, key):
    probe_key, key = jax.random.split(key)
    probes = jax.vmap(lambda point, k: how.probes(point, key=k))(x, jax.random.split(probe_key, x.shape[0]))
    backward = dataclasses.replace(motion, backward=True)

    def cost(t, point, v, c):
        eps = motion.noise(t)
        forward = lambda y: motion.velocity(t, y, c) + eps * motion.score(t, y, c)  # noqa: E731
        _, draws = how(forward, point, v)
        return jnp.mean(draws) + eps * jnp.sum(motion.score(t, point, c) ** 2)

    def step(carry, k):
        y, total = carry
        t, dt = ts[k], ts[k] - ts[k + 1]
        total = total + dt * jax.vmap(cost, in_axes=(None, 0, 0, 0))(t, y, probes, motion.c)
        z = jax.random.normal(jax.random.fold_in(key, k), y.shape, y.dtype)
        y = y - dt * backward.drifts(t, y) + jnp.sqrt(2 * motion.noise(t) * dt) * z
        return (y, total), None

    start = (x, jnp.zeros(x.shape[0], x.dtype))
    (y, total), _ = jax.lax.scan(step, start, jnp.arange(ts.shape[0] - 1))
    return jax.vmap(_log_base(base))(y) - total


def kl_bound(velocity_loss: Estimate, score_loss: Estimate, eps: float) -> Estimate:
    """Bound on KL(data | SDE samples) from the excess losses of b and s: dL_b / eps + eps dL_s, in nats.

    The excess losses are 1/2 of the mean squared errors, summed over coordinates and integrated over time. The bound is
    smallest at eps = sqrt(dL_b / dL_s).
    """
    if not eps > 0:
        raise InputError(
            f"kl_bound(eps={eps}): the bound holds for eps > 0; it is infinite at 0, where only the ODE is left"
        )
    mean = velocity_loss.mean / eps + eps * score_loss.mean
    stderr = jnp.sqrt((velocity_loss.stderr / eps) ** 2 + (eps * score_loss.stderr) ** 2)
    return Estimate(mean, stderr, jnp.minimum(velocity_loss.ess, score_loss.ess))


def _grid(steps, dtype):
    if steps < 1:
        raise InputError(f"steps is {steps}; expected at least 1")
    return jnp.linspace(0.0, 1.0, steps + 1, dtype=dtype)


def _log_base(base):
    if not hasattr(base, "log_prob"):
        raise InputError(
            f"the density of the base ({type(base).__name__}) is not known, so the transport has no likelihood; "
            "start it from Gaussian(event)"
        )
    return base.log_prob


def _per_point(draws, how):
    if isinstance(how, Exact):
        return Estimate(draws[:, 0], jnp.zeros_like(draws[:, 0]), jnp.full_like(draws[:, 0], jnp.inf))
    return estimate(draws.T)
