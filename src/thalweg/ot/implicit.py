"""Derivatives of an entropic solution from its optimality conditions, not from the iterations.

Answers    how do the value, the potentials and the plan change with costs, points, weights and epsilon?
Equations  value: its derivative is that of the dual at fixed potentials (envelope theorem)
           potentials: f = damp_a T(g), g = damp_b T'(f), linearised at the solution:
           df + l_a W dg = u,  dg + l_b V df = v;  W, V the rows and columns of P divided by their sums, u, v the
           derivatives of the right sides at fixed potentials, l = rho/(rho + eps) or 1
Symbols    P -> plan, l_a, l_b -> damping
Cost       value: one pass; potentials: conjugate gradients on the equation of dg alone, two passes a step
Fails      as exact as the solution that it is given: solve to a tolerance well below the derivative that is wanted.
           Balanced potentials are known up to a constant, of which nothing may depend
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .plan import Plan, Potentials, best
from .problem import Transport

# Conjugate gradient steps at most for one derivative.
MOST = 2000


@eqx.filter_custom_jvp
def attach(problem: Transport, epsilon: Float[Array, ""], potentials: Potentials) -> Potentials:
    """The given optimal potentials, as a differentiable function of the problem and of epsilon."""
    return potentials


@attach.def_jvp
def _(primals, tangents):
    problem, epsilon, potentials = primals
    change, change_epsilon, _ = tangents
    out = attach(problem, epsilon, potentials)
    f, g = out.f, out.g

    def rights(problem, epsilon):
        return best(problem, g, epsilon), best(problem.T, f, epsilon)

    # At fixed potentials: the derivatives through f and g are what is solved for.
    f, g = jax.lax.stop_gradient(f), jax.lax.stop_gradient(g)
    _, (u, v) = eqx.filter_jvp(rights, (problem, epsilon), (change, change_epsilon))
    # None is what no input that moves can reach.
    u, v = jnp.zeros_like(f) if u is None else u, jnp.zeros_like(g) if v is None else v
    df, dg = _solved(Plan(problem, out, epsilon), u, v)
    return out, Potentials(df, dg)


@eqx.filter_custom_jvp
def envelope(problem: Transport, epsilon: Float[Array, ""], potentials: Potentials) -> Float[Array, ""]:
    """The dual value at optimal potentials."""
    return Plan(problem, potentials, epsilon).dual()


@envelope.def_jvp
def _(primals, tangents):
    problem, epsilon, potentials = primals
    change, change_epsilon, _ = tangents
    out = attach(problem, epsilon, potentials)

    def dual(problem, epsilon):
        return Plan(problem, out, epsilon).dual()

    value, slope = eqx.filter_jvp(dual, (problem, epsilon), (change, change_epsilon))
    return value, slope


def _solved(plan: Plan, u, v):
    problem, eps = plan.problem, plan.epsilon
    rows, columns = plan.marginals()
    left, right = (side.damp(jnp.ones((), rows.dtype), eps) for side in (problem.left, problem.right))
    over = lambda x, mass: x / jnp.where(mass > 0, mass, 1.0)  # noqa: E731
    used = columns > 0

    def matrix(dg):
        return columns / right * dg - left * plan.apply_T(over(plan.apply(dg), rows))

    # The diagonal, where columns are almost determined by one row, is far below the column sums.
    f, h = plan._inner

    def column(c, h_j, total):
        p = jnp.exp((h_j + f - c) / eps)
        return total / right - left * jnp.sum(over(p**2, rows))

    diagonal = problem.geometry.T.rows(column, h, columns)
    floor = jnp.finfo(rows.dtype).eps * columns + jnp.finfo(rows.dtype).tiny

    def solve(matvec, b):
        balanced = problem.balanced
        b = b - jnp.where(used, columns, 0.0) * jnp.sum(b) / jnp.sum(columns) if balanced else b
        raised = lambda x: x / jnp.maximum(diagonal, floor)  # noqa: E731
        x, _ = conjugate_gradients(matvec, raised, b, 10 * jnp.finfo(rows.dtype).eps, MOST)
        return x - jnp.sum(x * columns) / jnp.sum(columns) if balanced else x

    rhs = columns / right * v - plan.apply_T(u)
    dg = jax.lax.custom_linear_solve(matrix, rhs, solve, symmetric=True)
    df = u - left * over(plan.apply(dg), rows)
    return jnp.where(rows > 0, df, u), jnp.where(used, dg, v)


def conjugate_gradients(matrix, precondition, right, accuracy, most: int):
    """Solve until the residual, in the norm of the preconditioner, is `accuracy` of that at zero; and the steps taken.

    `jax.scipy` has the iteration too, but does not say how many steps it took.
    """

    def unfinished(loop):
        return (loop[3] > accuracy**2 * first) & (loop[4] < most)

    def step(loop):
        x, residual, direction, size, k = loop
        image = matrix(direction)
        curvature = jnp.dot(direction, image)
        # Rounding can make the curvature of a null direction vanish: then what there is, is the answer.
        sound = curvature > 0
        length = jnp.where(sound, size / jnp.where(sound, curvature, 1.0), 0.0)
        x, residual = x + length * direction, residual - length * image
        raised = precondition(residual)
        new = jnp.dot(residual, raised)
        return x, residual, raised + new / size * direction, new, jnp.where(sound, k + 1, most)

    raised = precondition(right)
    first = jnp.dot(right, raised)
    begin = (jnp.zeros_like(right), right, raised, first, jnp.asarray(0))
    x, _, _, _, steps = jax.lax.while_loop(unfinished, step, begin)
    return x, steps
