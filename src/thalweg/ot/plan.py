"""An entropic plan, kept as its two potentials.

Answers    how much goes where, is that what was asked for, what does it cost, and where does a new point go?
Equations  P_ij = a_i b_j exp((f_i + g_j - C_ij)/eps)
           primal  <P, C> + eps KL(P | a b^T) + D_a(P 1 | a) + D_b(P^T 1 | b)
           dual    -D_a*(-f) - D_b*(-g) - eps (sum P - sum a sum b)
           barycentric map  T(x_i) = sum_j P_ij y_j / sum_j P_ij
           map of the potential (entropic Brenier map, 2109.12004): at a new x, the weights of the y_j are
           b_j exp((g_j - c(x, y_j))/eps)
Cost       each question is one or two passes over the costs; `matrix` alone needs memory for all of it
Fails      the primal value is that of the plan as it is; where a marginal is missed it can lie below the dual, so that
           `duality_gap` is measured after rounding to the marginals (1705.09634, alg. 2)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import InputError
from .geometry import PointCloud
from .problem import Transport


class Potentials(eqx.Module):
    """The dual potentials, in units of the cost."""

    f: Float[Array, " n"]
    g: Float[Array, " m"]


class Plan(eqx.Module):
    """The plan of `problem` at regularisation `epsilon`, by its potentials."""

    problem: Transport
    potentials: Potentials
    epsilon: Float[Array, ""]

    @property
    def log_matrix(self) -> Float[Array, "n m"]:
        """log P; -inf where a weight is zero."""
        p = self.problem
        inner = (self.potentials.f[:, None] + self.potentials.g - p.geometry.matrix()) / self.epsilon
        return inner + jnp.log(p.a)[:, None] + jnp.log(p.b)

    @property
    def matrix(self) -> Float[Array, "n m"]:
        """P itself."""
        return jnp.exp(self.log_matrix)

    @eqx.filter_jit
    def apply(self, v: Float[Array, "m ..."]) -> Float[Array, "n ..."]:
        """P v, without building P."""
        f, h = self._inner
        return self.problem.geometry.sums(f, h, self.epsilon, v)

    @eqx.filter_jit
    def apply_T(self, v: Float[Array, "n ..."]) -> Float[Array, "m ..."]:
        """P^T v, without building P."""
        f, h = self._inner
        return self.problem.geometry.T.sums(h, f, self.epsilon, v)

    @eqx.filter_jit
    def marginals(self) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
        """Row and column sums of P."""
        f, h = self._inner
        g = self.problem.geometry
        return g.sums(f, h, self.epsilon), g.T.sums(h, f, self.epsilon)

    @eqx.filter_jit
    def marginal_error(self) -> Float[Array, ""]:
        """|P 1 - a|_1 + |P^T 1 - b|_1 for the sides that are fixed; for the others, how far f is from its update."""
        total = jnp.zeros((), self.problem.a.dtype)
        for problem, f, g in self._sides:
            total = total + mismatch(problem, f, best(problem, g, self.epsilon), self.epsilon)
        return total

    @eqx.filter_jit
    def transport_cost(self) -> Float[Array, ""]:
        """<P, C>: the cost without the regularisation."""
        f, h = self._inner
        return jnp.sum(self.problem.geometry.cost_sums(f, h, self.epsilon))

    @eqx.filter_jit
    def dual(self) -> Float[Array, ""]:
        """The dual value: at the optimum, the value of the problem; always at most it."""
        p, (f, g) = self.problem, (self.potentials.f, self.potentials.g)
        mass = jnp.sum(self.marginals()[0])
        reference = jnp.sum(p.a) * jnp.sum(p.b)
        return p.left.dual(f, p.a) + p.right.dual(g, p.b) - self.epsilon * (mass - reference)

    @eqx.filter_jit
    def duality_gap(self) -> Float[Array, ""]:
        """Primal value at a plan that meets the marginals, less the dual: how far the value can be off."""
        f, h = self._inner
        p, eps = self.problem, self.epsilon
        rows, columns = self.marginals()
        if p.balanced:
            # Rows, then columns, are cut down to their weights, and what is missing is spread as a rank-one plan.
            cut = jnp.minimum(1.0, p.a / jnp.where(rows > 0, rows, 1.0))
            columns = self.apply_T(cut)
            trim = jnp.minimum(1.0, p.b / jnp.where(columns > 0, columns, 1.0))
            less = cut * self.apply(trim)
            short_a, short_b = p.a - less, p.b - trim * columns
            lost = jnp.sum(short_a)
            fill = short_b / jnp.where(lost > 0, lost, 1.0)
        else:
            cut, trim, short_a, fill = jnp.ones_like(p.a), jnp.ones_like(p.b), jnp.zeros_like(p.a), jnp.zeros_like(p.b)

        def row(c, f_i, a_i, cut_i, short_i):
            mass = cut_i * trim * jnp.exp((f_i + h - c) / eps) + short_i * fill
            reference = a_i * p.b
            ratio = jnp.where((mass > 0) & (reference > 0), mass / jnp.where(reference > 0, reference, 1.0), 1.0)
            return jnp.sum(mass * c) + eps * jnp.sum(mass * jnp.log(ratio) - mass + reference)

        primal = jnp.sum(p.geometry.rows(row, f, p.a, cut, short_a))
        if not p.balanced:
            primal = primal + p.left.penalty(rows, p.a) + p.right.penalty(columns, p.b)
        return primal - self.dual()

    @eqx.filter_jit
    def barycentric(self, y: Float[Array, "m *event"] | None = None) -> Float[Array, "n *event"]:
        """Where each x_i goes on average, (n, *event); `y` are the places of the columns, the cloud's own when None."""
        if y is None:
            y = self._cloud().y
        return averages(self.apply, self.marginals()[0], y)

    @eqx.filter_jit
    def push(self, x: Float[Array, "k *event"]) -> Float[Array, "k *event"]:
        """Where new points (k, *event) go by the potential g; needs clouds, not a matrix of costs."""
        cloud, eps = self._cloud(), self.epsilon
        h = self.potentials.g + eps * jnp.log(self.problem.b)
        flat = cloud.y.reshape(cloud.y.shape[0], -1)
        new = PointCloud(x.astype(cloud.dtype), cloud.y, cloud.cost, cloud.block)
        moved = new.rows(lambda c: jax.nn.softmax((h - c) / eps) @ flat)
        return moved.reshape(x.shape)

    def _cloud(self) -> PointCloud:
        g = self.problem.geometry
        if not isinstance(g, PointCloud):
            raise InputError(
                "a matrix of costs says nothing of new points; make the problem with Transport.points(x, y)"
            )
        return g

    @property
    def _inner(self):
        p, eps = self.problem, self.epsilon
        return self.potentials.f + eps * jnp.log(p.a), self.potentials.g + eps * jnp.log(p.b)

    @property
    def _sides(self):
        yield self.problem, self.potentials.f, self.potentials.g
        yield self.problem.T, self.potentials.g, self.potentials.f


def best(problem: Transport, g: Float[Array, " m"], epsilon) -> Float[Array, " n"]:
    """The potential f that is optimal for g: one half of a Sinkhorn sweep."""
    return problem.left.damp(problem.geometry.softmin(g + epsilon * jnp.log(problem.b), epsilon), epsilon)


def averages(apply, mass: Float[Array, " n"], y: Float[Array, "m *event"]) -> Float[Array, "n *event"]:
    """P y / mass for the plan whose product is `apply`: where each row goes on average; zero for a row without mass."""
    carried = apply(y.reshape(y.shape[0], -1)) / jnp.where(mass > 0, mass, 1.0)[:, None]
    return carried.reshape(-1, *y.shape[1:])


def missed(matrix: Float[Array, "n m"], a: Float[Array, " n"], b: Float[Array, " m"]) -> Float[Array, ""]:
    """|P 1 - a|_1 + |P^T 1 - b|_1 of a plan that is a matrix."""
    return jnp.sum(jnp.abs(jnp.sum(matrix, axis=1) - a)) + jnp.sum(jnp.abs(jnp.sum(matrix, axis=0) - b))


def mismatch(problem: Transport, f, wanted, epsilon) -> Float[Array, ""]:
    """sum a |exp((f - wanted)/eps) - 1|: for a fixed marginal, the L1 error of the row sums of (f, g)."""
    return jnp.sum(jnp.where(problem.a > 0, problem.a * jnp.abs(jnp.expm1((f - wanted) / epsilon)), 0.0))
