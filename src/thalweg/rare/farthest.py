"""Which few of many configurations say the most? Transport distances between them, and the farthest points.

Answers    how far has each kind of atom moved, whichever atom of the kind went where; which points to fit to?
Equations  w_t = (1/N_t) min over permutations pi of sum_i |x_i - y_pi(i)|, atoms i of kind t            (2510.06030)
           between data: sum_t w_t;   from the data, for trust: max_t w_t
           farthest: the latest first, then always the point whose nearest chosen one is farthest
           growth: more points when the fitted logarithms turn around in more than a share of their last moves
Symbols    t -> kinds, w_t -> `transport`
Cost       a row of distances: an assignment a point and kind, O(N_t^3), on the host; where every kind has one atom,
           a norm. The subset: as many rows as points are chosen
Fails      the distances see how a configuration lies in space: two that differ by a rotation are apart unless
           `align` turns them on to each other first, atom by atom
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core import InputError
from ..core.types import Point

# Moves of a logarithm that are smaller than this have no direction.
STILL = 1e-10


def transport(
    x: Point, points: Float[Array, "n *event"], kinds: tuple[int, ...] | None = None, align: bool = False
) -> Float[Array, "n groups"]:
    """The mean distance that the atoms of each kind are carried from x to each of the points, at the least.

    Args:
        x: atoms, (atoms, dim), or a point of another shape, which counts as one atom.
        points: of the same shape.
        kinds: of each atom; None for all alike.
        align: whether translations and rotations of all atoms together are taken out first.

    Raises:
        InputError: points of another shape than x, or kinds of another number than atoms.
    """
    if points.shape[1:] != x.shape:
        raise InputError(f"transport(x of shape {x.shape}, points of shape {points.shape}): expected (n, *x.shape)")
    if x.ndim != 2:
        x, points = x.reshape(1, -1), points.reshape(points.shape[0], 1, -1)
    if kinds is not None and len(kinds) != x.shape[0]:
        raise InputError(f"transport({len(kinds)} kinds for {x.shape[0]} atoms): expected one for each")
    if align:
        points = jax.vmap(lambda y: aligned(y, x))(points)
    labels = np.zeros(x.shape[0], int) if kinds is None else np.asarray(kinds)
    groups = [np.flatnonzero(labels == t) for t in np.unique(labels)]
    return jnp.stack([_carried(x[at], points[:, at]) for at in groups], axis=1)


def aligned(y: Float[Array, "atoms dim"], x: Float[Array, "atoms dim"]) -> Float[Array, "atoms dim"]:
    """y moved and turned as a whole to lie as near as it can to x, atom by atom (Kabsch)."""
    a, b = y - jnp.mean(y, axis=0), x - jnp.mean(x, axis=0)
    left, _, right = jnp.linalg.svd(a.T @ b)
    proper = jnp.sign(jnp.linalg.det(left @ right))
    turn = (left * jnp.ones(x.shape[1], x.dtype).at[-1].set(proper)) @ right
    return a @ turn + jnp.mean(x, axis=0)


def _carried(x, points):
    """W1 of equal numbers of atoms, one row a point."""
    if x.shape[0] > 1:
        # Places, not distances, come back: on the host's thread numbers may be in single precision.
        shape = jax.ShapeDtypeStruct(points.shape[:2], np.int32)
        fixed = jax.lax.stop_gradient((x, points))
        places = jax.pure_callback(_assigned, shape, *fixed, vmap_method="expand_dims")
        points = jnp.take_along_axis(points, places[..., None], axis=1)
    return jnp.mean(jnp.linalg.norm(points - x, axis=-1), axis=1)


def _assigned(x, points):
    """On the host; leading axes are mapped over, of length 1 where there is nothing to map."""
    from scipy.optimize import linear_sum_assignment

    x, points = np.asarray(x), np.asarray(points)
    lead = np.broadcast_shapes(x.shape[:-2], points.shape[:-3])
    xs = np.broadcast_to(x, (*lead, *x.shape[-2:])).reshape(-1, *x.shape[-2:])
    many = np.broadcast_to(points, (*lead, *points.shape[-3:])).reshape(-1, *points.shape[-3:])
    out = np.empty(many.shape[:-1], np.int32)
    for at, (one, of) in enumerate(zip(xs, many, strict=True)):
        for row, y in enumerate(of):
            cost = np.linalg.norm(one[:, None] - y, axis=-1)
            # What is not finite stays where it is, and its distance says so.
            out[at, row] = linear_sum_assignment(cost)[1] if np.isfinite(cost).all() else np.arange(len(cost))
    return out.reshape(*lead, *out.shape[1:])


class Farthest(eqx.Module):
    """Fit to the latest points and to those farthest from each other and from them.

    Fields:
        size: how many to begin with.
        latest: of these, always the last ones, at most `size`.
        most: how many the subset may grow to.
        growth: by how many it grows when the fit oscillates.
        window: fits that are looked back on for that, at least 1.
        flips: share of turned moves above which the fit oscillates, between 0 and 1.

    Raises:
        InputError: numbers that do not fit together.
    """

    size: int = eqx.field(static=True, default=10)
    latest: int = eqx.field(static=True, default=3)
    most: int = eqx.field(static=True, default=30)
    growth: int = eqx.field(static=True, default=2)
    window: int = eqx.field(static=True, default=5)
    flips: float = eqx.field(static=True, default=0.8)

    def __check_init__(self):
        if not 1 <= self.latest <= self.size <= self.most:
            raise InputError(
                f"Farthest(size={self.size}, latest={self.latest}, most={self.most}): expected "
                "1 <= latest <= size <= most"
            )
        if self.growth < 0 or self.window < 1 or not 0 < self.flips <= 1:
            raise InputError(
                f"Farthest(growth={self.growth}, window={self.window}, flips={self.flips}): expected growth of at "
                "least 0, a window of at least 1, and flips above 0, at most 1"
            )

    def oscillates(self, history: Float[Array, "rows parameters"]) -> Bool[Array, ""]:
        """Whether the logarithms turned around in more than `flips` of their moves; rows of NaN are not there yet."""
        moves = jnp.diff(history, axis=0)
        real = (jnp.abs(moves[1:]) > STILL) & (jnp.abs(moves[:-1]) > STILL)
        turned = real & (moves[1:] * moves[:-1] < 0)
        return jnp.sum(turned) > self.flips * jnp.maximum(jnp.sum(real), 1)

    def grown(self, size: Int[Array, ""], history: Float[Array, "rows parameters"]) -> Int[Array, ""]:
        """The size of the next subset."""
        return jnp.where(self.oscillates(history), jnp.minimum(size + self.growth, self.most), size)

    def chosen(self, points, count, size, kinds=None, align: bool = False) -> Int[Array, " most"]:
        """Places of the subset among the first `count` points, as many as `size` or `count` says; then anything.

        The latest come first, newest first, and then the farthest by the sum of the distances of all kinds.
        """
        n = points.shape[0]
        row = lambda at: jnp.sum(transport(points[at], points, kinds, align), axis=1)  # noqa: E731
        there = jnp.arange(n) < count

        def choose(slot, carry):
            places, nearest = carry
            late = slot < jnp.minimum(self.latest, count)
            at = jnp.where(late, count - 1 - slot, jnp.argmax(jnp.where(there, nearest, -jnp.inf)))
            # -1 for those taken: a point like a chosen one is chosen last, but before one twice.
            nearest = jnp.minimum(nearest, row(at)).at[at].set(-1.0)
            return places.at[slot].set(at.astype(places.dtype)), nearest

        start = jnp.zeros(self.most, jnp.int32), jnp.full(n, jnp.inf, points.dtype)
        return jax.lax.fori_loop(0, jnp.minimum(size, count), choose, start)[0]
