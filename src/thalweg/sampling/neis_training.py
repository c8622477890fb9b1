"""Training of the field of NEIS: normalised-gradient steps on E[A^2], differentiated through the orbits.

Answers    along which field is the variance small?
Equations  theta <- theta - rate / (1 + decay k) g / |g|,  g = grad E[A^2] on new starts each step,  k = 1, 2, ...
           assisted: with a chance that falls to 0, a start x is replaced by y(1), dy/dt = grad log rho_1(y), y(0) = x
Symbols    E[A^2] -> exp of SecondMoment, the assisted starts -> AssistedStarts
Cost       N + 1 gradients of log rho_1 an orbit, and 4 `steps` for each start that is carried
Fails      nonfinite, when orbits run away; the field stays as it was before that step. A mode that no orbit meets has
           no gradient: that is what assisted starts are for
Departure  the chance falls in stairs instead of every step
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..core import AbstractObjective, Cloud, Fit, InputError, Key, run
from ..processes import ODE, RK4
from .autonomous import AbstractStill, papers
from .neis import NEISProblem, orbit_average
from .orbits import AbstractHorizon

paper = papers[0]


class SecondMoment(AbstractObjective):
    """log E[A^2] on a batch of starting points; E[A] does not depend on the field, so this is the variance.

    The log has the direction of the gradient of E[A^2] itself, and does not overflow.
    """

    problem: NEISProblem
    horizon: AbstractHorizon

    def __call__(self, model, batch, *, key):
        """The loss of a field."""
        log_a = orbit_average(self.problem, model, self.horizon, batch).log_a
        return jax.nn.logsumexp(2 * log_a) - jnp.log(log_a.shape[0]).astype(log_a.dtype)


class AssistedStarts(eqx.Module):
    """A sampler of starting points for `Fit`: from the base, or, for a share of them, carried towards the target.

    Fields:
        problem: base and target.
        particles: points a batch.
        share: of the points, replaced by the end of dx/dt = grad log rho_1 after one unit of time. It biases what is
            trained, never what is estimated: `NEIS` draws from the base.
        most: the largest share that will be asked for; that many points are carried.
        steps: of that gradient flow.
    """

    problem: NEISProblem
    particles: int = eqx.field(static=True)
    share: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    most: float = eqx.field(static=True, default=0.0)
    steps: int = eqx.field(static=True, default=50)

    @property
    def carried(self) -> int:
        """Points that are carried along the gradient, whether used or not."""
        return min(self.particles, int(np.ceil(self.particles * self.most)))

    def __call__(self, key: Key) -> Cloud:
        """A batch of starting points."""
        a, b = jax.random.split(key)
        x = self.problem.base.sample(a, self.particles)
        if not self.carried:
            return x
        there, rk4, dt = x[: self.carried], RK4(), jnp.asarray(1 / self.steps, x.dtype)
        uphill = ODE(lambda t, y: self.problem.target.score(y))
        body = lambda y, _: (rk4.advance(uphill, jnp.zeros((), x.dtype), dt, y, key=key), None)  # noqa: E731
        there = jax.lax.scan(body, there, None, length=self.steps)[0]
        chance = self.share * self.particles / self.carried
        taken = jax.random.uniform(b, (self.carried,)) < chance
        # A start that the gradient flow has blown away is of no help.
        taken = taken.reshape((-1,) + (1,) * (x.ndim - 1)) & jnp.isfinite(there)
        return x.at[: self.carried].set(jnp.where(taken, there, x[: self.carried]))


class Trained(eqx.Module):
    """A trained field, what it cost and how it went.

    Fields:
        field: the field after the last step.
        loss: (steps,), log E[A^2] on each batch; on assisted batches it is not that of the base.
        status: of the training.
        values, gradients: evaluations of log rho_1 and of its gradient (which includes the value).
    """

    field: Any
    loss: Float[Array, " steps"]
    status: Any
    values: int
    gradients: int


def train_field(
    problem: NEISProblem,
    field: AbstractStill,
    horizon: AbstractHorizon,
    *,
    particles: int,
    steps: int,
    rate: float = 0.3,
    decay: float = 0.08,
    assisted: float = 0.0,
    until: float = 0.6,
    stairs: int = 6,
    key: Key,
    throw: bool = True,
) -> Trained:
    """Minimise E[A^2] by normalised-gradient steps of length rate / (1 + decay k), k = 1, 2, ...

    Args:
        problem, field, horizon: where to start.
        particles, steps: new starting points a step, and steps.
        rate, decay: of the length of a step in the space of all parameters.
        assisted: the share of starts carried towards the target at first; falls to 0 over the first `until` of steps.
        stairs: of that fall.
        throw: raise when the training ended with numbers that are not finite.

    Raises:
        InputError: for counts below 1, or shares outside [0, 1].
        StatusError: as `run` does.
    """
    if min(particles, steps, stairs) < 1 or not (0 <= assisted <= 1 and 0 <= until <= 1):
        got = f"particles={particles}, steps={steps}, stairs={stairs}, assisted={assisted}, until={until}"
        raise InputError(f"train_field({got}): expected counts of at least 1 and shares in [0, 1]")
    optimiser = optax.chain(
        optax.normalize_by_update_norm(), optax.scale_by_learning_rate(lambda k: rate / (1 + decay * (k + 1)))
    )
    fit = Fit(SecondMoment(problem, horizon), field, optimiser)
    assist = round(until * steps) if assisted else 0
    lengths = [len(part) for part in np.array_split(np.arange(assist), min(stairs, max(assist, 1))) if len(part)]
    shares = [assisted * (1 - i / len(lengths)) for i in range(len(lengths))]
    plan = [*zip(lengths, shares, [assisted] * len(lengths), strict=True), (steps - assist, 0.0, 0.0)]
    result, losses, gradients = None, [], 0
    for length, share, most in plan:
        if not length:
            continue
        starts = AssistedStarts(problem, particles, share, most)
        state = None if result is None else result.state
        result = run(fit, starts, steps=length, key=key, state=state, throw=throw)
        losses.append(result.info.loss)
        each = particles * (_width(horizon) + 8 * horizon.steps * field.gradients) + starts.carried * 4 * starts.steps
        gradients += length * each
    assert result is not None
    return Trained(result.value, jnp.concatenate(losses), result.status, gradients, gradients)


def queries(horizon: AbstractHorizon, field: AbstractStill) -> tuple[int, int]:
    """Evaluations of log rho_1 and of its gradient that one orbit costs, without the check at half the step."""
    return _width(horizon), 8 * horizon.steps * field.gradients


def _width(horizon):
    return horizon.nodes.stop - horizon.nodes.start
