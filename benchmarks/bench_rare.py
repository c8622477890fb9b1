"""Minimum action paths against SciPy's L-BFGS-B on the same discretised action, from the same first path.

Both minimise the geometric action at the middle of segments with the same even spacing, in double precision, with the
same compiled gradient rules; SciPy's is one jitted function of the flat vector. Seconds, the action each found, and the
number of gradients that SciPy asked for. Ours runs without kicks, which SciPy has none of, to its default tolerance;
SciPy stops at a relative fall of 1e-13.
"""

import harness
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from thalweg.core import solve
from thalweg.rare import AllenCahn, Crossing, Geometric, GinzburgLandau, SmallNoise, straight
from thalweg.rare._descent import first_scales
from thalweg.rare.geometric import geometric_costs
from thalweg.rare.path import bump, lengths, resample

KEY = jax.random.key(0)


def maier_stein(x):
    """Beyond its bifurcation: the path leaves the axis."""
    return jnp.stack([x[0] - x[0] ** 3 - 10 * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1]])


def problems():
    """Name, crossing, segments."""
    plane = Crossing(SmallNoise(maier_stein, 1.0), np.asarray([-1.0, 0.0]), np.asarray([1.0, 0.0]))
    yield "Maier-Stein, beta 10", plane, 100
    yield "Maier-Stein, beta 10", plane, 400
    for sites in (2, 32):
        system = GinzburgLandau(0.26)
        low, high = (np.full(sites, float(x)) for x in system.phases())
        yield f"Ginzburg-Landau, {sites} sites", Crossing(system, low, high), 100
    tilted = AllenCahn(0.1, 0.05, 0.1)
    low, high = (np.full(64, x) for x in np.sort(np.roots([-1, 0, 1, 0.1]).real)[[0, 2]])
    yield "Allen-Cahn, 64 stiff sites", Crossing(tilted, low, high), 100


def first(problem, segments):
    """A straight path with a bend."""
    line = straight(problem.start, problem.end, segments + 1)
    smooth = lambda x: problem.system.filtered(x, lambda rates: 1 / (1 + rates))  # noqa: E731
    reach = 0.2 * jnp.linalg.norm(problem.end - problem.start)
    return resample(line + reach * bump(problem.start, segments + 1, smooth, key=KEY), segments + 1)


def by_scipy(problem, path):
    """A call that returns SciPy's result."""
    scale = first_scales(problem.system, path).action

    @jax.jit
    def objective(flat):
        def total(flat):
            whole = path.at[1:-1].set(flat.reshape(path[1:-1].shape))
            sizes = lengths(whole)
            costs, _ = geometric_costs(problem.system, whole, jnp.zeros_like(path[1:]))
            return jnp.sum(costs) + scale * jnp.mean((sizes / jnp.mean(sizes) - 1) ** 2), jnp.sum(costs)

        (value, action), gradient = jax.value_and_grad(total, has_aux=True)(flat)
        return value, gradient, action

    def split(flat):
        value, gradient, _ = objective(flat)
        return float(value), np.asarray(gradient)

    options = {"maxcor": 12, "ftol": 1e-13, "gtol": 1e-9, "maxiter": 20_000, "maxfun": 50_000}
    start = np.asarray(path[1:-1]).ravel()
    return lambda: minimize(split, start, jac=True, method="L-BFGS-B", options=options), lambda x: objective(x)[2]


def main():
    """Run, print ratios, write JSON."""
    args = harness.arguments()
    rows = []
    with jax.enable_x64(True):
        for name, problem, segments in problems():
            path = first(problem, segments)
            method = Geometric(segments, bend=0.0, guess=path)

            def ours(method=method, problem=problem):
                return jax.block_until_ready(solve(method, problem, max_steps=5000, key=KEY, throw=False).value)

            peer, action = by_scipy(problem, path)
            times = harness.paired({"ours": ours, "SciPy L-BFGS-B": peer}, 3 if args.quick else 7)
            row = harness.row(f"{name}, {segments} segments", "ours", "SciPy L-BFGS-B", times)
            found = peer()
            row |= {"our action": float(ours().action), "SciPy's action": float(action(found.x))}
            row |= {"SciPy's gradients": int(found.nfev)}
            print(f"    S {row['our action']:.6f}, of SciPy {float(action(found.x)):.6f} after {found.nfev} gradients")
            rows.append(row)
    harness.write("rare", rows, ("thalweg", "jax", "scipy"), args.out)


if __name__ == "__main__":
    main()
