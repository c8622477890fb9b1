"""A potential of many particles, of one- and two-particle parts: its gradient commutes with their permutations.

Answers    which scores can particles have that cannot be told apart?
Equations  u(x) = sum_i f(x_i) + 1/(2N) sum_{i != j} (g(x_i, x_j) + g(x_j, x_i))/2,   s = grad u
Symbols    f -> single, g -> pair; a point x is (N, d)
Cost       N evaluations of f and N^2 of g; with `Exact()` the loss takes N d derivatives of their gradient
Fails      not; correlations of three and more particles are outside the family
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import InputError, Key, Point
from ..nets import MLP, Gradient, Potential


class PairPotential(eqx.Module):
    """u(t, x) of one point (N, d); `pair_score` makes the score.

    Args:
        event: (N, d), with at least two particles.
        width, depth: of both nets.
        zero: start at u = 0.

    Raises:
        InputError: for an event of another form.
    """

    single: MLP
    pair: MLP
    event: tuple[int, ...] = eqx.field(static=True)
    out: tuple[int, ...] = eqx.field(static=True, default=())

    def __init__(self, event: tuple[int, ...], *, width: int = 32, depth: int = 2, zero: bool = True, key: Key):
        if len(event) != 2 or event[0] < 2:
            raise InputError(f"PairPotential(event={event}): expected (N, d) with at least two particles")
        first, second = jax.random.split(key)
        self.single = MLP(event[1:], out=(), width=width, depth=depth, zero=zero, key=first)
        self.pair = MLP((2, event[1]), out=(), width=width, depth=depth, zero=zero, key=second)
        self.event, self.out = tuple(event), ()

    def __call__(self, t, x: Point, c=None) -> Float[Array, ""]:
        """u at one point."""
        n = x.shape[0]
        alone = jnp.sum(jax.vmap(lambda a: self.single(t, a))(x))
        i, j = jnp.asarray([(i, j) for i in range(n) for j in range(n) if i != j]).T
        # All ordered pairs: g(a, b) and g(b, a) are both among them, so that the sum is symmetric as it stands.
        both = jnp.stack([x[i], x[j]], axis=1)
        return alone + jnp.sum(jax.vmap(lambda a: self.pair(t, a))(both)) / (2 * n)


def pair_score(event: tuple[int, ...], *, width: int = 32, depth: int = 2, key: Key) -> Gradient:
    """The gradient of a `PairPotential`, zero at the start: a net for `Trained(..., frame=Scaled())`."""
    return Gradient(Potential(PairPotential(event, width=width, depth=depth, key=key)))
