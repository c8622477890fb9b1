"""The score of a cloud, learned on the cloud and nothing else, and kept up to date while the cloud moves.

Answers    what is grad log rho, when all that is known of rho is a cloud of its draws?
Equations  Implicit   E[ s.D s + 2 div(D s) ]  over X                                                       (2206.04642)
           Denoised   E[ s.D s + (2/sigma) xi.D s ]  at X + sigma xi, the mean over xi and -xi   (its code, over sigma)
           both are E|s - grad log rho|_D^2 less a constant, for any D(x) >= 0: where a coordinate has no noise, the
           score is neither needed nor asked for. Training divides them by E[tr D]
           linear     s = -C^-1 (x - m), the exact minimiser of Implicit among affine functions
Symbols    D -> the diffusion tensor of the process; |u|_D^2 = u.D u; sigma -> sigma, in the units of x
Cost       Implicit with `Exact()` d derivatives of the net a point, with `Probes(k)` k; Denoised two evaluations. A
           step of training costs about three times that
Fails      Denoised learns the score of rho * N(0, sigma^2), on the noisy coordinates: -(C + sigma^2)^-1 (x - m) for a
           Gaussian. It is too small: under a linear drift the stationary variance D/theta becomes D/theta - sigma^2.
           Implicit has no lower bound on a finite cloud: a net that is large for its cloud learns the cloud; hold
           particles out and look at the residual. A fit that ends higher than it began: status = rising
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from ..core import AbstractDivergence, Cloud, Exact, InputError, Key, Score, Time
from ..core.checks import positive, real
from .fokker_planck import FokkerPlanck, noisy, spread, trace
from .frames import AbstractFrame, Whitened


class AbstractScoreLoss(eqx.Module):
    """A loss a particle whose mean is least for the score."""

    @abc.abstractmethod
    def __call__(self, process, t: Time, x: Cloud, score, *, key: Key) -> Float[Array, " n"]:
        """One value a particle, for `score` a function of one point."""


class Implicit(AbstractScoreLoss):
    """Implicit score matching: no noise is added, and the divergence of D s is needed.

    Fields:
        how: `Exact()`, or `Probes(k)` for many coordinates.
    """

    how: AbstractDivergence = Exact()

    def __call__(self, process, t, x, score, *, key):
        """s.D s + 2 div(D s) at every particle."""

        def one(x, key):
            flux, div = self.how(lambda y: spread(process, t, y, score(y)), x, self.how.probes(x, key=key))
            return jnp.sum(score(x) * flux) + 2 * jnp.mean(div)

        return jax.vmap(one)(x, jax.random.split(key, x.shape[0]))


class Denoised(AbstractScoreLoss):
    """Denoising score matching with antithetic noise: no derivative of the net, but a bias (see above).

    Fields:
        sigma: the noise that is added, in the units of x.
    """

    sigma: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        positive("Denoised", "sigma", self.sigma, "without noise take Implicit()")

    def __call__(self, process, t, x, score, *, key):
        """The mean over xi and -xi at every particle."""
        sigma = self.sigma.astype(x.dtype)

        def one(x, xi):
            step = sigma * noisy(process, t, x) * xi

            def half(sign):
                y = x + sign * step
                s = score(y)
                flux = spread(process, t, y, s)
                return jnp.sum(s * flux) + 2 * sign / sigma * jnp.sum(xi * flux)

            return 0.5 * (half(1.0) + half(-1.0))

        return jax.vmap(one)(x, jax.random.normal(key, x.shape, x.dtype))


class Learned(NamedTuple):
    """What a family knows: arrays to train (None without), the optimiser's state, and the coordinates."""

    params: PyTree
    optimiser: PyTree
    measured: PyTree


class Fitted(eqx.Module):
    """How a fit went: the loss a particle before and after, the steps, the last norm of the gradient a parameter."""

    before: Float[Array, " b"]
    after: Float[Array, " b"]
    steps: Int[Array, ""]
    grad_norm: Float[Array, ""]


class AbstractScores(eqx.Module):
    """A family of scores, and how one is found in it."""

    @abc.abstractmethod
    def check(self, n: int, event: tuple[int, ...]) -> None:
        """Refuse a cloud that is too small for the family."""

    @abc.abstractmethod
    def start(self, problem: FokkerPlanck, x: Cloud, *, key: Key) -> Learned:
        """Fit to the score of the initial density, on draws of it."""

    @abc.abstractmethod
    def fit(self, problem: FokkerPlanck, learned: Learned, t: Time, x: Cloud, *, key: Key) -> tuple[Learned, Fitted]:
        """Fit to a cloud, from what an earlier cloud has taught."""

    @abc.abstractmethod
    def score(self, learned: Learned) -> Score:
        """The score, a field of (t, x) that does not depend on t."""


class _Framed(eqx.Module):
    frame: AbstractFrame
    measured: Any
    net: Any

    def __call__(self, t, x):
        # A net takes a time; what is learned anew in each step has none.
        net = None if self.net is None else lambda z: self.net(jnp.zeros((), z.dtype), z)
        return self.frame.score(self.measured, net, x)


class Linear(AbstractScores):
    """The Gaussian with the cloud's own mean and covariance: s = -C^-1 (x - m), in closed form.

    The covariance of the cloud then follows the equation that the true one follows, whatever the number of particles:
    for a linear drift nothing but the first draws is random. Needs more particles than coordinates; C^-1 is too large
    on average by n/(n - d - 2) for n independent draws of d coordinates, and the entropy rate and the loss with it.

    Fields:
        how: the divergence in the reported loss, which takes no part in the fit: `Probes(1)` for many coordinates.
    """

    how: AbstractDivergence = Exact()

    def check(self, n, event):
        """Refuse a cloud whose covariance is singular."""
        Whitened().check(n, event)

    def start(self, problem, x, *, key):
        """The moments of the draws: also at the start the cloud's own covariance, not the density's."""
        return Learned(None, None, Whitened().measure(x))

    def fit(self, problem, learned, t, x, *, key):
        """The moments of the cloud."""
        learned = Learned(None, None, Whitened().measure(x))
        loss = Implicit(self.how)(problem.process, t, x, lambda x: self.score(learned)(t, x), key=key)
        zero = jnp.zeros((), x.dtype)
        return learned, Fitted(loss, loss, jnp.asarray(0), zero)

    def score(self, learned):
        """-C^-1 (x - m)."""
        return Score(_Framed(Whitened(), learned.measured, None))


class Trained(AbstractScores):
    """A net, trained a little after every step, from where the last step left it.

    Fields:
        net: (t, x) -> like x: `MLP((d,), zero=True, key=key)`, or `Gradient(Potential(...))` for an exact gradient, of
            `PairPotential` for particles that can be exchanged. Its time is always 0.
        optimiser: an optax transformation; its state is kept from step to step.
        loss: `Implicit()` or `Denoised(sigma)`.
        frame: `Whitened()`, `Scaled()` or `Raw()`: what is known without a net.
        steps: of the optimiser after each step of time, at most.
        gradient: stop earlier, once the norm of the gradient over the root of the number of parameters is below this;
            0 always takes all steps.
        batch: particles a step of the optimiser, drawn with replacement; None for all.
        first: steps of the optimiser at the start, at most, where the score of the initial density is known.
        first_error: stop earlier, once E|s - grad log rho_0|_D^2 is below this share of E|grad log rho_0|_D^2.

    Raises:
        InputError: for numbers outside these ranges.
    """

    net: PyTree
    optimiser: optax.GradientTransformation
    loss: AbstractScoreLoss = Implicit()
    frame: AbstractFrame = Whitened()
    steps: int = eqx.field(static=True, default=25)
    gradient: float = eqx.field(static=True, default=0.0)
    batch: int | None = eqx.field(static=True, default=None)
    first: int = eqx.field(static=True, default=5000)
    first_error: float = eqx.field(static=True, default=1e-4)

    def __check_init__(self):
        for name in ("steps", "batch"):
            n = getattr(self, name)
            if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
                raise InputError(f"Trained({name}={n!r}): expected a whole number of at least 1")
        if isinstance(self.first, bool) or not isinstance(self.first, int) or self.first < 0:
            raise InputError(f"Trained(first={self.first!r}): expected a whole number of at least 0")
        if not (self.gradient >= 0 and self.first_error >= 0):
            raise InputError(
                f"Trained(gradient={self.gradient}, first_error={self.first_error}): expected at least 0; 0 takes "
                "all steps"
            )

    def check(self, n, event):
        """Refuse a cloud that is too small for the frame."""
        self.frame.check(n, event)

    def start(self, problem, x, *, key):
        """Least squares against the score of the initial density."""
        process, t = problem.process, problem.ts[0].astype(x.dtype)
        truth = jax.vmap(problem.initial.score)(x)
        weigh = jax.vmap(lambda x, u: jnp.sum(u * spread(process, t, x, u)))
        size = jnp.mean(weigh(x, truth))
        params = eqx.filter(self.net, eqx.is_inexact_array)
        measured = self.frame.measure(x)

        def objective(params, key):
            score = self.score(Learned(params, None, measured))
            return jnp.mean(weigh(x, jax.vmap(lambda x: score(t, x))(x) - truth)) / jnp.where(size > 0, size, 1)

        optimiser = self.optimiser.init(params)
        trained = self._descend(objective, params, optimiser, self.first, lambda loss, _: loss > self.first_error, key)
        return Learned(trained[0], self.optimiser.init(params), measured)

    def fit(self, problem, learned, t, x, *, key):
        """Some steps of the optimiser on the loss, in the coordinates of the new cloud."""
        process, n = problem.process, x.shape[0]
        measured = self.frame.measure(x)
        total = jnp.mean(jax.vmap(lambda x: trace(process, t, x))(x))
        size = jnp.where(total > 0, total, 1)

        def losses(params, x, key):
            score = self.score(Learned(params, None, measured))
            return self.loss(process, t, x, lambda x: score(t, x), key=key)

        def objective(params, key):
            pick, key = jax.random.split(key)
            rows = x if self.batch is None else x[jax.random.randint(pick, (self.batch,), 0, n)]
            return jnp.mean(losses(params, rows, key)) / size

        last, key = jax.random.split(key)
        # Steep at first, by definition: at least one step is taken.
        go_on = lambda _, norm: norm > self.gradient  # noqa: E731
        new = self._descend(objective, learned.params, learned.optimiser, self.steps, go_on, key)
        # One copy of the loss to compile for both.
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), learned.params, new[0])
        before, after = jax.vmap(losses, in_axes=(0, None, None))(both, x, last)
        return Learned(new[0], new[1], measured), Fitted(before, after, new[2], new[3])

    def score(self, learned):
        """The net in its frame."""
        static = eqx.filter(self.net, eqx.is_inexact_array, inverse=True)
        return Score(_Framed(self.frame, learned.measured, eqx.combine(learned.params, static)))

    def _descend(self, objective, params, optimiser, steps, go_on, key):
        """At most `steps` updates, while `go_on` of the last loss and norm of its gradient; what they left behind."""
        count = max(sum(p.size for p in jax.tree.leaves(params)), 1)
        dtype = jnp.result_type(*jax.tree.leaves(params))

        def unfinished(loop):
            _, _, k, loss, norm = loop
            return (k < steps) & go_on(loss, norm)

        def body(loop):
            params, optimiser, k, _, _ = loop
            loss, grads = jax.value_and_grad(objective)(params, jax.random.fold_in(key, k))
            updates, optimiser = self.optimiser.update(grads, optimiser, params)
            norm = optax.tree.norm(grads) / count**0.5
            return optax.apply_updates(params, updates), optimiser, k + 1, loss.astype(dtype), norm.astype(dtype)

        big = jnp.asarray(jnp.inf, dtype)
        params, optimiser, k, _, norm = jax.lax.while_loop(
            unfinished, body, (params, optimiser, jnp.asarray(0), big, big)
        )
        return params, optimiser, k, norm
