"""The Schroedinger bridge between two samples, by optimising over the interpolant.

Answers    which diffusion carries rho0 to rho1 in unit time with the least work, at a given noise?
Equations  min over (rho, u) of int E 1/2 |u|^2 dt   subject to   dX = u dt + sqrt(2 eps) dW from rho0 to rho1
           x_t = I + gamma z,  I = (1 - t) x0 + t x1 + t (1 - t) N(t, x0, x1),  gamma^2 = 2 eps t (1 - t)
           max over N, min over u^ of  L = int E[1/2 |u^(t, x_t)|^2 - (dI/dt + (gamma' - eps/gamma) z).u^(t, x_t)]
                                                                                    (2303.08797, the section on bridges)
           because E[dI/dt + gamma' z | x_t] = b and -E[z | x_t]/gamma = s, so that the best u^ is u = b + eps s,
           the drift of the SDE, with L = -int E 1/2 |u|^2; and gamma' - eps/gamma = -sqrt(2 eps t/(1 - t))
Symbols    u^ -> Bridge.drift, N -> Bridge.bend, eps -> Bridge.epsilon; ' -> d/dt
Time       0 is rho0, 1 is rho1. The reference motion is sqrt(2 eps) dW: the static problem has the kernel
           exp(-|x1 - x0|^2/(4 eps)), entropic regularisation 2 eps for the cost 1/2 |x1 - x0|^2
Cost       four evaluations of the drift and one of N with its time derivative, a point
Fails      a net N that cannot bend the law of x_t into the bridge's leaves too much work (the drift still joins rho0 to
           rho1: `marginal_error` does not show it, a larger `kinetic_energy` does). Ascent against descent circles
           where the drift lags behind the path; give the drift the larger step (`two_rates`), and average
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..core import AbstractObjective, Cloud, Diffusion, Estimate, InputError, Key, Paper, Point, Time, estimate
from ..ot import sliced_wasserstein
from ..processes import EulerMaruyama, simulate
from .matching import Pair
from .path import paper as INTERPOLANTS
from .times import AbstractTimes, Uniform


class Bend(eqx.Module):
    """N(t, x0, x1) from a net of the stacked pair, as in `MLP((2, d), out=(d,), zero=True, key=key)`."""

    net: Callable

    def __call__(self, t: Time, x0: Point, x1: Point) -> Point:
        """The net at the stacked pair."""
        return self.net(t, jnp.stack([x0, x1]))


class Bridge(eqx.Module):
    """A Schroedinger bridge at the stated epsilon: what `Fit` trains, and what it returns.

    Fields:
        drift: (t, x) -> u, like x; a net.
        bend: (t, x0, x1) -> N, like x0; a net, best started at zero.
        epsilon: the temperature: the SDE's noise is sqrt(2 epsilon) dW. It is not trained.
    """

    drift: Callable
    bend: Callable
    epsilon: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.epsilon > 0:
            raise InputError(
                f"Bridge(epsilon={self.epsilon}): expected a positive number; for optimal transport use MinibatchOT"
            )

    def __str__(self):
        return (
            f"Schroedinger bridge at epsilon = {self.epsilon:g}: dX = u(t, X) dt + {(2 * self.epsilon) ** 0.5:.4g} dW"
        )

    def interpolant(self, t: Time, x0: Point, x1: Point) -> Point:
        """I(t, x0, x1): x_t without its noise."""
        return (1 - t) * x0 + t * x1 + t * (1 - t) * self.bend(t, x0, x1)

    def marginal(self, t: Time, x0: Cloud, x1: Cloud, *, key: Key) -> Cloud:
        """Draws of x_t from independent draws of both ends: the law that the SDE should have at t."""
        z = jax.random.normal(key, x0.shape, x0.dtype)
        mean = jax.vmap(self.interpolant, in_axes=(None, 0, 0))(t, x0, x1)
        return mean + jnp.sqrt(2 * self.epsilon * t * (1 - t)).astype(x0.dtype) * z

    def sample(self, x0: Cloud, *, key: Key, steps: int = 100, save_at=None) -> Any:
        """Carry draws of rho0 to rho1 by Euler-Maruyama; with `save_at`, a `Recording` after those numbers of steps.

        Raises:
            InputError: for fewer than one step.
            StatusError: when a point is not finite.
        """
        if steps < 1:
            raise InputError(f"steps is {steps}; expected at least 1")
        noise = (2 * self.epsilon) ** 0.5
        process = Diffusion(self.drift, lambda t, x: jnp.asarray(noise, x.dtype))
        ts = jnp.linspace(0.0, 1.0, steps + 1)
        return simulate(process, x0, ts, method=EulerMaruyama(), key=key, save_at=save_at).value

    def kinetic_energy(self, x0: Cloud, *, key: Key, steps: int = 100) -> Estimate:
        """int E 1/2 |u|^2 dt along the SDE from draws of rho0, with its standard error over paths.

        Divided by 2 epsilon it is the relative entropy of the bridge to the reference motion from the same start. Of
        two drifts that join the same ends, the one with less is nearer to the bridge.
        """
        dt, noise = 1 / steps, (2 * self.epsilon / steps) ** 0.5

        def step(carry, k):
            x, work = carry
            u = jax.vmap(lambda y: self.drift(k * jnp.asarray(dt, x.dtype), y))(x)
            work = work + 0.5 * dt * jnp.sum((u * u).reshape(x.shape[0], -1), axis=1)
            z = jax.random.normal(jax.random.fold_in(key, k), x.shape, x.dtype)
            return (x + dt * u + noise * z, work), None

        start = x0, jnp.zeros(x0.shape[0], x0.dtype)
        return estimate(jax.lax.scan(step, start, jnp.arange(steps))[0][1])

    def marginal_error(
        self, x0: Cloud, x1: Float[Array, "m *event"], *, key: Key, steps: int = 100
    ) -> tuple[Estimate, Estimate]:
        """Sliced W2 from the SDE's end points to one half of x1, and its floor: from the other half to that half.

        The ends are compared in equal numbers, at most half of either cloud.
        """
        move, sort = jax.random.split(key)
        n = min(x0.shape[0], x1.shape[0] // 2)
        if n < 1:
            raise InputError(f"x0 has {x0.shape[0]} points and x1 {x1.shape[0]}; expected at least 1 and 2")
        held, other = x1[:n], x1[n : 2 * n]
        ends = self.sample(x0[:n], key=move, steps=steps)
        return sliced_wasserstein(ends, held, key=sort), sliced_wasserstein(other, held, key=sort)


class BridgeMatching(AbstractObjective):
    """The loss of a `Bridge` on a batch of independent draws of both ends (`Pair`): descends in u, ascends in N.

    Its value is L, which is minus the kinetic energy once the drift has caught up; its gradient is that of L for the
    drift and that of -L for the bend, so that one optimiser serves both.

    Fields:
        times: how t is drawn.
    """

    paper: ClassVar[Paper] = INTERPOLANTS
    times: AbstractTimes = Uniform()

    def __call__(self, model: Bridge, batch: Pair, *, key: Key) -> Float[Array, ""]:
        """The mean loss over the batch, with its two gradients."""
        draw, noise = jax.random.split(key)
        t, weight = self.times(batch.x0.shape[0], key=draw)
        t, weight = t.astype(batch.x0.dtype), weight.astype(batch.x0.dtype)
        z = jax.random.normal(noise, batch.x0.shape, batch.x0.dtype)

        def loss(drift, bend):
            bridge = Bridge(drift, bend, model.epsilon)
            return jnp.mean(weight * jax.vmap(lambda *row: _action(bridge, *row))(t, batch.x0, batch.x1, z))

        down = loss(model.drift, _frozen(model.bend))
        up = loss(_frozen(model.drift), model.bend)
        # Zero in value, minus the gradient of L in derivative.
        return down + (jax.lax.stop_gradient(up) - up)


def two_rates(drift, bend) -> optax.GradientTransformation:
    """Adam with one learning rate (a number or a schedule) for a `Bridge`'s drift and another for its bend.

    The drift has to keep up with the path: a bend at a quarter of its rate is a good start.
    """

    def labels(params):
        names = {name: jax.tree.map(lambda _, n=name: n, getattr(params, name)) for name in ("drift", "bend")}
        return dataclasses.replace(params, **names)

    return optax.partition({"drift": optax.adam(drift, b2=0.99), "bend": optax.adam(bend, b2=0.99)}, labels)


def _action(bridge, t, x0, x1, z):
    """The integrand of L, as the mean over z and -z: (gamma' - eps/gamma) grows like (1 - t)^(-1/2) towards t = 1."""
    mean, mean_dot = jax.jvp(lambda s: bridge.interpolant(s, x0, x1), (t,), (jnp.ones_like(t),))
    gamma = jnp.sqrt(2 * bridge.epsilon * t * (1 - t)).astype(z.dtype)
    slope = -jnp.sqrt(2 * bridge.epsilon * t / (1 - t)).astype(z.dtype)
    up, down = bridge.drift(t, mean + gamma * z), bridge.drift(t, mean - gamma * z)
    squares = 0.25 * jnp.sum(up**2 + down**2)
    return squares - 0.5 * jnp.sum(mean_dot * (up + down)) - 0.5 * slope * jnp.sum(z * (up - down))


def _frozen(tree):
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_inexact_array(x) else x, tree)
