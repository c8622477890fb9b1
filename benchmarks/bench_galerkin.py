"""The rate of the parameters in a Galerkin step: this library's least squares against jnp.linalg.lstsq and SciPy.

Two questions. At equal accuracy (the residual |J eta - f| that each leaves, reported with the times), what does a solve
cost beside dense least squares by singular values? And how does a whole step grow with the number of parameters p,
points n and dimensions d: fitted exponents. Double precision.
"""

import time

import equinox as eqx
import harness
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from thalweg.core import run
from thalweg.pde import Evolution, ExplicitSteps, GaussianUnits, NeuralGalerkin, Tikhonov, Truncated, UnitPoints
from thalweg.pde.galerkin_problem import System
from thalweg.pde.galerkin_steps import EULER

# Both sides drop what is below this share of the largest singular value (Tikhonov: of the root mean square).
CUT = 1e-5


def rate(t, x, u):
    """Advection, reaction and diffusion, so that the ansatz cannot follow exactly."""
    gradient, laplacian = jax.grad(u)(x), jnp.trace(jax.hessian(u)(x))
    return -jnp.sum(gradient) * (1 + 0.3 * x[0]) + 0.05 * laplacian - u(x) ** 2


def ansatz(units, dim):
    """Units that overlap, so that the Jacobian is nearly singular."""
    rng = np.random.default_rng(0)
    centre, scale = rng.normal(size=(units, dim)), np.log(0.7) + 0.2 * rng.normal(size=(units, 1))
    return GaussianUnits(*map(jnp.asarray, (rng.normal(size=units), scale, centre)))


def problem(units, dim, n):
    """One least-squares problem as it comes up in a step."""
    u = ansatz(units, dim)
    theta, build = Evolution(rate, u, [0.0, 1.0]).family()
    points = u.draw(n, 1.5, key=jax.random.key(1))
    system = System(rate, build, points, Tikhonov())
    return system.jacobian(theta), system.targets(jnp.asarray(0.0), theta)


def left(jacobian, target, eta):
    """The relative residual of a solution."""
    return float(jnp.linalg.norm(jacobian @ eta - target) / jnp.linalg.norm(target))


def solvers(jacobian, target):
    """Calls that return a solution."""
    j, f = np.asarray(jacobian), np.asarray(target)
    # The cut of the sum of squares, in units of the mean square of a column as `relative` has it.
    top = float(jnp.linalg.norm(jacobian, 2)) ** 2 / float(jnp.sum(jacobian**2) / jacobian.shape[1])
    ridge, svd = eqx.filter_jit(Tikhonov(CUT**2 * top)), eqx.filter_jit(Truncated(CUT))
    dense = jax.jit(lambda a, b: jnp.linalg.lstsq(a, b, rcond=CUT)[0])
    return {
        "Tikhonov": lambda: ridge(jacobian, target).eta.block_until_ready(),
        "Truncated": lambda: svd(jacobian, target).eta.block_until_ready(),
        "jnp.linalg.lstsq": lambda: dense(jacobian, target).block_until_ready(),
        "scipy gelsd": lambda: scipy.linalg.lstsq(j, f, cond=CUT, lapack_driver="gelsd")[0],
        "scipy gelsy (pivoted QR)": lambda: scipy.linalg.lstsq(j, f, cond=CUT, lapack_driver="gelsy")[0],
    }


def against(units, dim, n, repeats):
    """Residuals first, then times as ratios."""
    jacobian, target = problem(units, dim, n)
    calls = solvers(jacobian, target)
    residuals = {name: left(jacobian, target, call()) for name, call in calls.items()}
    times = harness.paired(calls, repeats)
    case, rows = f"n {n}, p {jacobian.shape[1]}", []
    for ours in ("Tikhonov", "Truncated"):
        for peer in list(calls)[2:]:
            found = harness.row(f"{ours}, {case}", ours, peer, times)
            found["residual"], found["residual of the peer"] = residuals[ours], residuals[peer]
            rows.append(found)
    print("  residuals " + ", ".join(f"{k} {v:.3e}" for k, v in residuals.items()), flush=True)
    return rows


def step_seconds(units, dim, n, repeats):
    """Seconds of one Euler step of the whole method, and its number of parameters."""
    u = ansatz(units, dim)
    evolution = Evolution(rate, u, [0.0, 1.0])
    method = NeuralGalerkin(UnitPoints(n, 1.5), ExplicitSteps(1e-5, EULER), Tikhonov(1e-8))
    took = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(run(method, evolution, steps=5, key=jax.random.key(2)).state)
        took.append((time.perf_counter() - began) / 5)
    return float(np.median(took[1:])), units * (2 + dim)


def growth(name, sizes, make, repeats):
    """Seconds over one size, and the exponent of the last half of it."""
    found = [step_seconds(*make(s), repeats) for s in sizes]
    seconds, p = zip(*found, strict=True)
    x = np.log(p if name == "p" else sizes)
    slope = float(np.polyfit(x[-3:], np.log(seconds[-3:]), 1)[0])
    told = ", ".join(f"{s}: {t:.2e} s" for s, t in zip(p if name == "p" else sizes, seconds, strict=True))
    print(f"a step grows as {name}^{slope:.2f} over the last three ({told})", flush=True)
    return {
        "case": f"a step as {name} grows",
        "sizes": list(p if name == "p" else sizes),
        "seconds": list(seconds),
        "exponent": slope,
    }


def main():
    """Run, print ratios and exponents, write JSON."""
    args = harness.arguments()
    repeats = 2 if args.quick else 7
    sizes = ((10, 3, 300),) if args.quick else ((6, 3, 1000), (30, 8, 1000), (50, 5, 1000), (100, 5, 4000))
    few = slice(0, 3) if args.quick else slice(None)
    with jax.enable_x64(True):
        rows = [r for s in sizes for r in against(*s, repeats)]
        rows.append(growth("p", (10, 20, 40, 80, 160)[few], lambda s: (s, 5, 1000), repeats))
        rows.append(growth("n", (500, 1000, 2000, 4000, 8000)[few], lambda s: (30, 5, s), repeats))
        rows.append(growth("d (30 units)", (2, 4, 8, 16, 32)[few], lambda s: (30, s, 1000), repeats))
    harness.write("galerkin", rows, ("thalweg", "jax", "scipy", "numpy"), args.out)


if __name__ == "__main__":
    main()
