"""The Fokker-Planck equation as a measure of a learned potential, and as a penalty in its training.

Answers    is a net for log p_tau the log density of one diffusion at all times, so that its ODE and SDE agree?
Equations  R = d_tau u + div f + f.grad u - 1/2 g^2 (lap u + |grad u|^2),  zero for u = log p_tau           (2311.15996)
           dX = f dtau + g dW the noising process. Where R = 0 and e^u is the prior at the last time, the reversed ODE
           and the reversed SDE with the score grad u both have the density e^u
           loss = E|grad u(tau, x_tau) - grad log p(x_tau|x_0)|^2 + w_R (mean R^2 in the box + mean e^(2u) on its edge)
Symbols    u -> u, w_R -> weight, R -> fokker_planck_residual, the last time -> horizon
Time       THE POTENTIAL AND THE PROCESS ARE ASKED AT THE PROCESS'S OWN TIME tau, WHERE 0 IS THE DATA and `horizon` the
           noise. The library's t, with 0 the noise and 1 the data, is t = 1 - tau/horizon: the score of a transport
           at t is grad u at horizon (1 - t). The fields `times` are in t.
Cost       one residual: d forward over backward derivatives of u (k with `Probes(k)`); the loss: 2 n gradients of u and
           `collocation` residuals
Fails      second derivatives in single precision lose half their digits: measure small residuals in double. A box that
           the data leave says nothing of what is outside. At tau = 0 the data may have no density: keep times off it
Departure  the score matching term is the mean over z and -z less the constant E|z/std|^2 (the same gradient, and a
           variance that stays finite as tau -> 0), so that it is negative where it is good
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core import (
    AbstractAffine,
    AbstractDivergence,
    AbstractObjective,
    AbstractProcess,
    Cloud,
    Estimate,
    Exact,
    InputError,
    Key,
    Paper,
    Point,
    Time,
    Times,
    divergence,
    estimate,
)
from ..core.checks import all_known, known
from ..core.fields import AbstractField
from ..nets import Gradient
from ..processes.sde import is_additive
from .times import AbstractTimes, BetaTimes

paper = Paper(
    "ode-sde-gap",
    "Closing the ODE-SDE gap in score-based diffusion models through the Fokker-Planck equation",
    "2311.15996",
    2025,
    "residual and loss",
)


class Box(eqx.Module):
    """A box of points, from the corner `lo` to the corner `hi`.

    Raises:
        InputError: when the corners have different shapes, or `hi` does not lie above `lo` in every coordinate.
    """

    lo: Float[Array, "*event"] = eqx.field(converter=jnp.asarray)
    hi: Float[Array, "*event"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if self.lo.shape != self.hi.shape or self.lo.size == 0:
            raise InputError(f"Box: the corners have shapes {self.lo.shape} and {self.hi.shape}; expected one event's")
        lo, hi = known(self.lo), known(self.hi)
        if lo is not None and hi is not None and not (np.isfinite(lo) & np.isfinite(hi) & (lo < hi)).all():
            raise InputError(f"Box(lo={lo.tolist()}, hi={hi.tolist()}): expected finite numbers with lo < hi")

    @classmethod
    def around(cls, x: Cloud, margin: float = 0.5) -> "Box":
        """The smallest box that holds a cloud, longer by `margin` of its length at each of its ends."""
        lo, hi = jnp.min(x, axis=0), jnp.max(x, axis=0)
        return cls(lo - margin * (hi - lo), hi + margin * (hi - lo))

    def uniform(self, n: int, *, key: Key) -> Cloud:
        """`n` independent points inside."""
        return self.lo + (self.hi - self.lo) * jax.random.uniform(key, (n, *self.lo.shape), self.lo.dtype)

    def edge(self, n: int, *, key: Key) -> Cloud:
        """`n` independent points on the surface, uniform by area."""
        inside, face, side = jax.random.split(key, 3)
        x = self.uniform(n, key=inside).reshape(n, -1)
        lo, hi = self.lo.reshape(-1), self.hi.reshape(-1)
        # The area of a face is the volume over the length across it.
        which = jax.random.categorical(face, -jnp.log(hi - lo), shape=(n,))
        across = jnp.where(jax.random.bernoulli(side, shape=(n,)), hi[which], lo[which])
        return x.at[jnp.arange(n), which].set(across).reshape(n, *self.lo.shape)


def fokker_planck_residual(
    u: Callable,
    process: AbstractProcess,
    t: Time,
    x: Point,
    *,
    how: AbstractDivergence | None = None,
    key: Key | None = None,
) -> Estimate:
    """R at one time of the process and one point, with the standard error of the probes (0 when exact).

    Args:
        u: the potential, a callable (tau, x) -> scalar such as a `Potential`.
        process: the noising process, whose noise is one number that depends on time alone.
        t, x: a time of the process (0 is the data) and a point.
        how: `Exact()` (default) or `Probes(k)` for div f - 1/2 g^2 lap u; probes need a key.

    Raises:
        InputError: for a score or any field that is not the gradient of a known potential, or noise of another kind.
    """
    _check(u, process, t, x)
    g2 = process.diffusion(t, x) ** 2
    slope, gradient = jax.grad(u, argnums=(0, 1))(t, x)
    f = process.drift(t, x)
    bend = divergence(lambda y: process.drift(t, y) - 0.5 * g2 * jax.grad(u, argnums=1)(t, y), x, how, key=key)
    rest = slope + jnp.sum(f * gradient) - 0.5 * g2 * jnp.sum(gradient**2)
    return Estimate(bend.mean + rest, bend.stderr, bend.ess)


def residual_rms(
    u: Callable,
    process: AbstractProcess,
    ts: Times,
    x: Cloud,
    *,
    how: AbstractDivergence | None = None,
    key: Key | None = None,
) -> Estimate:
    """Root mean square of R over pairs of a time of the process and a point, with its standard error over the pairs.

    Args:
        u, process, how: as for `fokker_planck_residual`; with `Probes(k)`, k at least 2, whose variance is taken off.
        ts: (n,), in the process's own time.
        x: (n, *event): draws of x_tau for what the samplers feel, or of a box for what the loss of training feels.

    Raises:
        InputError: as for `fokker_planck_residual`, or one probe only.
    """
    if ts.ndim != 1 or ts.shape[0] != x.shape[0]:
        raise InputError(f"got {ts.shape} times and points of shape {x.shape}; expected one time for each point")
    _check(u, process, ts[0], x[0])
    squares = estimate(_squares(u, process, ts, x, _two_probes(how), key))
    root = jnp.sqrt(jnp.maximum(squares.mean, 0.0))
    slope = jnp.where(root > 0, 0.5 / jnp.where(root > 0, root, 1.0), 0.0)
    return Estimate(root, slope * squares.stderr, squares.ess)


class PotentialMatching(AbstractObjective):
    """Denoising score matching of grad u, with the Fokker-Planck residual of u as a penalty.

    The model is the potential u(tau, x), the batch a cloud of data (n, *event), such as `key -> rows`.

    Fields:
        process: the noising process, Gaussian given its start, whose noise depends on time alone.
        box: where the residual is asked for; it should hold the data and the noise of the last time.
        horizon: the last time of the process; 1 for VP and its kin, some relaxation times for OU.
        weight: w_R, at least 0; 0 leaves the penalty out.
        collocation: points of the residual, and of the edge, a step.
        times: how t = 1 - tau/horizon is drawn for the score matching; Beta(1, 2) in tau by default, as in the paper.
        how: exact Laplacian, or probes (at least 2).
        earliest: share of the horizon that the residual's times keep off tau = 0.
    """

    process: AbstractAffine
    box: Box
    horizon: float = 1.0
    weight: float = 0.1
    collocation: int = eqx.field(static=True, default=256)
    times: AbstractTimes = BetaTimes(2.0, 1.0)
    how: AbstractDivergence = Exact()
    earliest: float = 1e-3

    def __check_init__(self):
        if not (isinstance(self.horizon, float) and self.horizon > 0):
            raise InputError(f"PotentialMatching(horizon={self.horizon}): expected a positive number")
        if not (isinstance(self.weight, float) and self.weight >= 0):
            raise InputError(f"PotentialMatching(weight={self.weight}): expected a number of at least 0")
        if self.collocation < 1 or not 0 < self.earliest < 1:
            raise InputError(
                f"PotentialMatching(collocation={self.collocation}, earliest={self.earliest}): expected at least one "
                "point, and a share of the horizon between 0 and 1"
            )
        _two_probes(self.how)
        _check_noise(self.process, jnp.asarray(0.5 * self.horizon, self.box.lo.dtype), self.box.lo)

    def __call__(self, model, batch: Cloud, *, key: Key) -> Float[Array, ""]:
        """The loss of a potential on a batch of data."""
        draw, noise, inside, edge, probes = jax.random.split(key, 5)
        t, weights = self.times(batch.shape[0], key=draw)
        tau = (self.horizon * (1 - t)).astype(batch.dtype)
        _check(model, self.process, tau[0], batch[0])
        z = jax.random.normal(noise, batch.shape, batch.dtype)
        matching = jax.vmap(lambda *row: _matching(model, self.process, *row))(tau, batch, z)
        loss = jnp.mean(weights.astype(matching.dtype) * matching)
        if self.weight == 0:
            return loss
        tau, x = self.points(self.collocation, key=inside)
        squares = _squares(model, self.process, tau, x, self.how, probes)
        there = self.box.edge(self.collocation, key=edge)
        leak = jax.vmap(lambda s, y: jnp.exp(2 * model(s, y)))(tau, there)
        return loss + self.weight * (jnp.mean(squares) + jnp.mean(leak)).astype(loss.dtype)

    def points(self, n: int, *, key: Key) -> tuple[Times, Cloud]:
        """Times of the process (n,) and points (n, *event), uniform over the horizon and the box."""
        when, where = jax.random.split(key)
        x = self.box.uniform(n, key=where)
        share = jax.random.uniform(when, (n,), x.dtype, self.earliest, 1.0)
        return self.horizon * share, x


def _matching(u, process, tau, x0, z):
    """E over z and -z of |s - target|^2 - |target|^2, with target = -z/std."""
    score, std = jax.grad(u, argnums=1), process.std(tau)
    mean = process.mean(tau, x0) if hasattr(process, "mean") else process.scale(tau) * x0
    up, down = score(tau, mean + std * z), score(tau, mean - std * z)
    return 0.5 * jnp.sum(up**2 + down**2) + jnp.sum((up - down) * z / std)


@eqx.filter_jit
def _squares(u, process, ts, x, how, key):
    """R^2 at every pair, without the bias that the variance of the probes would add."""
    keys = jax.random.split(jax.random.key(0) if key is None else key, x.shape[0])
    if not isinstance(how, Exact | None) and key is None:
        raise InputError("a residual by random probes needs key=...; got None")

    def one(t, y, k):
        found = fokker_planck_residual(u, process, t, y, how=how, key=k)
        return found.mean**2 - found.stderr**2

    return jax.vmap(one)(ts, x, keys)


def _two_probes(how):
    if getattr(how, "k", 2) < 2:
        raise InputError(
            "the square of a residual by one probe is biased; expected Probes(k) with k at least 2, or Exact()"
        )
    return how


def _check(u, process, t, x):
    """Refuse what is not a potential, and noise for which R is another expression."""
    remedy = "learn the potential itself (thalweg.nets.Potential) and take Score(Gradient(potential)) for its score"
    if isinstance(u, AbstractField | Gradient):
        raise InputError(
            f"the residual got a {type(u).__name__}, and a score need not be the gradient of anything; expected a "
            f"potential u(tau, x), a scalar: {remedy}"
        )
    shape = eqx.filter_eval_shape(u, t, x).shape
    if shape != ():
        raise InputError(f"the residual got a function with values of shape {shape}; expected a scalar: {remedy}")
    _check_noise(process, t, x)


def _check_noise(process, t, x):
    name = type(process).__name__
    shape = jnp.shape(process.diffusion(t, x))
    cloud = x[None]  # a tracer inside a transformation, where nothing can be said of values
    if shape != () or (all_known((process, t, cloud)) and not is_additive(process, t, cloud)):
        raise InputError(
            f"the residual got the process {name}; expected noise that is one number and depends on time alone, as in "
            "VP, VE, SubVP and OU"
        )
