"""Where the residual of an evolution equation is looked at.

Answers    at which points is J eta = f asked for, when the solution fills a vanishing part of space?
Equations  GivenPoints       a grid, or data
           UniformPoints     x ~ U(box)
           UnitPoints        x = b_i + spread s_i xi, as many from each unit
           ImportancePoints  candidates y_j of another choice, resampled with weights w(y_j)
           LangevinPoints    x <- x + h power grad log |u| + sqrt(2 h) xi, from one time step to the next
Symbols    b_i, s_i -> the units' centres and widths, xi ~ N(0, I), h -> step_size
Cost       that of the draws; ImportancePoints one value a candidate; LangevinPoints one gradient a particle and move
Source     arXiv 2203.01360, section 3.3 (units, importance); arXiv 2306.15630 (particles)
Fails      a share of about (width / side)^d of uniform points sees a bump: none in d >= 5. The least squares then fits
           whatever few points do, or nothing: watch `info.seen` and `info.rank`; nothing at all is `unresolved`

The points of one time step are the same in all its stages. No weights are needed: any measure defines a projection,
and the exact rate is found by all of them where the ansatz can express it.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractResampler, Cloud, InputError, Key, Systematic
from ..core.checks import at_least_zero, known, positive, real


class View(eqx.Module):
    """What a choice of points may look at: the solution, and the residual that its last rate leaves at a point."""

    u: Callable
    residual: Callable


class AbstractPoints(eqx.Module):
    """A measure by its draws. `init` makes what is carried from step to step (None where nothing is)."""

    def check(self, u: Any) -> None:
        """Refuse an ansatz that this choice cannot work with."""
        del u

    def init(self, view: View, *, key: Key) -> Any:
        """What is carried between steps."""
        del view, key

    @abc.abstractmethod
    def __call__(self, view: View, state: Any, *, key: Key) -> tuple[Cloud, Any]:
        """The points of one step, and what is carried."""


class GivenPoints(AbstractPoints):
    """The same points in every step: a grid, or data.

    Fields:
        points: (n, *event).
    """

    points: Cloud

    def __call__(self, view, state, *, key):
        """The points."""
        return self.points, state


class UniformPoints(AbstractPoints):
    """Fresh uniform points in a box.

    Fields:
        low, high: corners of the box, numbers or of the shape of a point.
        n: how many.
    """

    low: Float[Array, "*event"] = eqx.field(converter=real)
    high: Float[Array, "*event"] = eqx.field(converter=real)
    n: int = eqx.field(static=True, default=1000)

    def __check_init__(self):
        _count("UniformPoints", self.n)
        low, high = known(self.low), known(self.high)
        if low is not None and high is not None and (low.shape != high.shape or not (low < high).all()):
            raise InputError(
                f"UniformPoints(low={low}, high={high}): expected corners of one shape, each low below its high"
            )

    def __call__(self, view, state, *, key):
        """Independent draws."""
        return jax.random.uniform(key, (self.n, *self.low.shape), self.low.dtype, self.low, self.high), state


class UnitPoints(AbstractPoints):
    """Draws from the solution's own units: they are where it is, in any dimension.

    Fields:
        n: how many.
        spread: in widths of a unit; more than 1 also sees the flanks.
    """

    n: int = eqx.field(static=True, default=1000)
    spread: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        _count("UnitPoints", self.n)
        positive("UnitPoints", "spread", self.spread)

    def check(self, u):
        """Only units can be drawn from."""
        if not hasattr(u, "draw"):
            raise InputError(
                f"UnitPoints: the ansatz {type(u).__name__} has no draw(n, spread, key=...); take units, or "
                "ImportancePoints(UniformPoints(low, high))"
            )

    def __call__(self, view, state, *, key):
        """As many draws from each unit."""
        return view.u.draw(self.n, self.spread.astype(view.u.centre.dtype), key=key), state


class AbstractWeight(eqx.Module):
    """The log of how much a point matters."""

    @abc.abstractmethod
    def __call__(self, view: View, x: Float[Array, "*event"]) -> Float[Array, ""]:
        """log w(x); -inf for a point that does not matter."""


class BySolution(AbstractWeight):
    """w = |u|^power."""

    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        at_least_zero("BySolution", "power", self.power)

    def __call__(self, view, x):
        """power log |u|."""
        return _log_power(view.u(x), self.power)


class ByResidual(AbstractWeight):
    """w = |J eta - f|^power, with the rate eta of the step before."""

    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        at_least_zero("ByResidual", "power", self.power)

    def __call__(self, view, x):
        """power log |residual|."""
        return _log_power(view.residual(x), self.power)


class ImportancePoints(AbstractPoints):
    """Candidates, resampled by how much they matter; equally likely where none does.

    Fields:
        candidates: many points of another choice, such as `UniformPoints(low, high, 20_000)`.
        n: how many are kept.
        weight: `BySolution(power)` or `ByResidual(power)`.
        resampler: one of `core`.
    """

    candidates: AbstractPoints
    n: int = eqx.field(static=True, default=1000)
    weight: AbstractWeight = BySolution()
    resampler: AbstractResampler = Systematic()

    def __check_init__(self):
        _count("ImportancePoints", self.n)

    def check(self, u):
        """That of the candidates."""
        self.candidates.check(u)

    def init(self, view, *, key):
        """That of the candidates."""
        return self.candidates.init(view, key=key)

    def __call__(self, view, state, *, key):
        """The candidates that were drawn."""
        first, second = jax.random.split(key)
        points, state = self.candidates(view, state, key=first)
        log_w = jax.vmap(lambda x: self.weight(view, x))(points)
        log_w = jnp.where(jnp.max(log_w) == -jnp.inf, jnp.zeros_like(log_w), log_w)
        return points[self.resampler(log_w, self.n, key=second)], state


class LangevinPoints(AbstractPoints):
    """Points that follow the solution from step to step by Langevin moves toward |u|^power.

    Fields:
        start: where they begin.
        step_size: of a move, in squared lengths.
        moves: a time step.
        power: of |u|; below 1 they also keep to the flanks.
    """

    start: AbstractPoints
    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    moves: int = eqx.field(static=True, default=1)
    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        positive("LangevinPoints", "step_size", self.step_size)
        positive("LangevinPoints", "power", self.power)
        if self.moves < 1:
            raise InputError(f"LangevinPoints(moves={self.moves}): expected at least 1")

    def check(self, u):
        """That of the start."""
        self.start.check(u)

    def init(self, view, *, key):
        """The first cloud."""
        first, second = jax.random.split(key)
        return self.start(view, self.start.init(view, key=first), key=second)[0]

    def __call__(self, view, state, *, key):
        """The cloud after its moves."""
        h, power = (a.astype(state.dtype) for a in (self.step_size, self.power))

        def pull(x):
            u, slope = jax.value_and_grad(view.u)(x)
            # Where u has underflowed nothing pulls; a NaN stays one.
            return jnp.where(u == 0, 0.0, slope / jnp.where(u == 0, 1.0, u))

        def move(x, key):
            noise = jax.random.normal(key, x.shape, x.dtype)
            return x + h * power * jax.vmap(pull)(x) + jnp.sqrt(2 * h) * noise, None

        state, _ = jax.lax.scan(move, state, jax.random.split(key, self.moves))
        return state, state


def _log_power(value, power):
    """The log of |value|^power, where 0^0 is 1."""
    power = power.astype(value.dtype)
    return jnp.where(power == 0, 0 * value, power * jnp.log(jnp.abs(value)))


def _count(owner, n):
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"{owner}(n={n!r}): expected a number of points, at least 1")
