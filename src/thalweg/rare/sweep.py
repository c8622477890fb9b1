"""Many crossings that differ a little: the best of several tries, and paths followed along a parameter.

Answers    is this path the best there is; how do barriers change with a parameter; which phase is the stable one?
Equations  the quasi-potential difference of two phases is S(A -> B) - S(B -> A): the boundary is where it vanishes
Cost       one descent a crossing; compiled once, as the shapes do not change
Fails      as the method does. A mechanism that is best on one side only of the sweep is found because the sweep is
           made in both directions and the lower action kept
"""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq

from ..core import AbstractMethod, InputError, solve
from ..core.types import Key
from .problem import Crossing
from .string import String
from .transition import Transition


class Found(eqx.Module):
    """The best of several tries.

    Fields:
        best: the transition of lowest action.
        actions: of every try; several values are several locally best paths.
    """

    best: Transition
    actions: Float[Array, " tries"]


def search(
    method: AbstractMethod,
    problem: Crossing,
    *,
    tries: int = 4,
    max_steps: int = 2000,
    key: Key,
    relax: String | None = None,
) -> Found:
    """Solve from several random first paths.

    Args:
        method: `Geometric` or `FixedTime`, without a guess.
        tries: how many.
        max_steps: of each.
        relax: a string method that makes each first path; the flow takes a path off its symmetric manifold, where a
            descent of the action is slow to. Worth it for fields.

    Raises:
        InputError: for no tries.
        StatusError: when a descent fails.
    """
    if tries < 1:
        raise InputError(f"search(tries={tries}): expected at least 1")
    found = []
    for number in range(tries):
        own = jax.random.fold_in(key, number)
        guess = None if relax is None else solve(relax, problem, max_steps=max_steps, key=own, throw=False).value.path
        one = method if guess is None else dataclasses.replace(method, guess=guess)
        found.append(solve(one, problem, max_steps=max_steps, key=own).value)
    actions = jnp.stack([f.action for f in found])
    return Found(found[int(jnp.argmin(actions))], actions)


def follow(
    method: AbstractMethod,
    problems: Sequence[Crossing],
    *,
    max_steps: int = 2000,
    key: Key,
    relax: String | None = None,
) -> list[Transition]:
    """Solve a row of crossings, each from its neighbour's path, there and back; the lower action of each is kept.

    Args:
        problems: in the order of the parameter, each a little different from the one before.
        relax: a string method for the very first path.
    """
    if not problems:
        raise InputError("follow: got no problems")
    first = search(method, problems[0], tries=1, max_steps=max_steps, key=key, relax=relax).best
    kept = [first]
    for number, problem in enumerate(problems[1:]):
        kept.append(_from(method, problem, kept[-1], max_steps, jax.random.fold_in(key, number)))
    for i in range(len(problems) - 2, -1, -1):
        own = jax.random.fold_in(key, len(problems) + i)
        back = _from(method, problems[i], kept[i + 1], max_steps, own)
        if float(back.action) < float(kept[i].action):
            kept[i] = back
    return kept


class Boundary(eqx.Module):
    """Where two phases are equally stable.

    Fields:
        parameter: its value there.
        forward: the crossing from the first phase to the second, there.
        backward: the way back.
    """

    parameter: Float[Array, ""]
    forward: Transition
    backward: Transition


def phase_boundary(
    method: AbstractMethod,
    crossing: Callable[[float], Crossing],
    low: float,
    high: float,
    *,
    key: Key,
    tolerance: float = 1e-3,
    max_steps: int = 2000,
    tries: int = 2,
    relax: String | None = None,
) -> Boundary:
    """The parameter between `low` and `high` where the way there costs what the way back does.

    Args:
        crossing: parameter -> the crossing from the first phase to the second.
        tolerance: of the parameter.
        tries: random first paths at `low`; from there on paths are followed.

    Raises:
        InputError: when the difference of the actions has one sign at both ends.
    """
    last = {}

    def both(value):
        there = crossing(value)
        for name, problem in (("forward", there), ("backward", there.reversed())):
            if name in last:
                last[name] = _from(method, problem, last[name], max_steps, key)
            else:
                last[name] = search(method, problem, tries=tries, max_steps=max_steps, key=key, relax=relax).best
        return float(last["forward"].action - last["backward"].action)

    ends = both(low), both(high)
    if np.sign(ends[0]) == np.sign(ends[1]):
        raise InputError(
            f"phase_boundary: forward less backward action is {ends[0]:.4g} at {low} and {ends[1]:.4g} at {high}; "
            "expected different signs: widen the interval"
        )
    found = brentq(both, low, high, xtol=tolerance)
    both(found)
    return Boundary(jnp.asarray(found), last["forward"], last["backward"])


def _from(method, problem, near, max_steps, key):
    return solve(dataclasses.replace(method, guess=near.path), problem, max_steps=max_steps, key=key).value
