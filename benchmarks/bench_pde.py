"""Evolution equations: what a step of time costs, and what it saves to go on from the step before.

Score-based transport: the steps of the optimiser that a warm start needs to come to an error of the score, against a
start from nothing; and the seconds of a step of time as particles and coordinates grow, as a fitted exponent.
"""

import time

import equinox as eqx
import harness
import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.core import run
from thalweg.nets import MLP
from thalweg.pde import FokkerPlanck, Linear, Raw, ScoreTransport, Trained, Whitened
from thalweg.problems import Normal
from thalweg.processes import OU

KEY = jax.random.key(0)
# Steps of the optimiser between two looks at the error, and after which nobody waits for more.
LOOK, PATIENCE = 5, 3000


def trap(d, steps, t=0.5):
    """A trap with a rate and a width of its own for each coordinate; its score is known at all times."""
    theta, sigma = jnp.linspace(0.6, 1.4, d), jnp.linspace(0.5, 0.9, d)
    return FokkerPlanck(OU(theta, 0.3, sigma), Normal(jnp.full(d, 0.9), 0.4), jnp.linspace(0.0, t, steps + 1))


def truth(problem):
    """Mean and variance at the last time."""
    ou, t = problem.process, problem.ts[-1]
    decay = jnp.exp(-ou.theta * t)
    mean = ou.mu + decay * (problem.initial.mean - ou.mu)
    return mean, decay**2 * problem.initial.std**2 + ou.sigma**2 * (1 - decay**2) / (2 * ou.theta)


def warm_and_cold(frame, n=1000, d=4):
    """Optimiser steps to the error of the warm start's tracking, from the last step's net and from a new one."""
    problem = trap(d, 50)
    mlp = lambda k: MLP((d,), width=32, depth=2, zero=frame != Raw(), key=jax.random.key(k))  # noqa: E731
    scores = Trained(mlp(0), optax.adam(1e-3), frame=frame, steps=LOOK, batch=500, first=1000)
    found = run(ScoreTransport(scores, n), problem, steps=49, key=KEY)
    last = run(ScoreTransport(scores, n), problem, steps=1, key=KEY, state=found.state)
    mean, variance = truth(problem)
    probe = mean + jnp.sqrt(variance) * jax.random.normal(KEY, (4000, d))
    exact = -(probe - mean) / variance

    @jax.jit
    def error(learned):
        s = jax.vmap(lambda x: scores.score(learned)(0.0, x))(probe)
        return jnp.sum((s - exact) ** 2) / jnp.sum(exact**2)

    target = 1.1 * float(error(last.state.state.learned))
    more = jax.jit(lambda learned, key: scores.fit(problem, learned, problem.ts[-1], last.value.x, key=key)[0])
    fresh = eqx.filter(mlp(7), eqx.is_inexact_array)
    cold = found.state.state.learned._replace(params=fresh, optimiser=scores.optimiser.init(fresh))
    taken = {}
    for name, learned in (("warm", found.state.state.learned), ("cold", cold)):
        steps = 0
        while steps < PATIENCE and (steps == 0 or float(error(learned)) > target):
            learned = more(learned, jax.random.fold_in(KEY, steps))
            steps += LOOK
        taken[name] = steps
    row = {
        "case": f"score transport, {type(frame).__name__}, d {d}, n {n}: optimiser steps to an error of {target:.2g}",
        "warm": taken["warm"],
        "from scratch": taken["cold"] if taken["cold"] < PATIENCE else f"over {PATIENCE}",
        "ratio": taken["cold"] / taken["warm"],
    }
    print(row, flush=True)
    return row


def step_seconds(scores, d, n, steps=10, repeats=3):
    """Median seconds of a step of time, without compilation."""
    problem, method = trap(d, steps), ScoreTransport(scores, n)
    first = run(method, problem, steps=0, key=KEY).state
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(run(method, problem, steps=steps, key=KEY, state=first).value.x)
        times.append((time.perf_counter() - began) / steps)
    return float(np.median(times[1:]))


def growth(quick):
    """Exponents of the cost of a step in the number of coordinates and of particles."""
    rows = []
    dims, sizes = ((4, 8, 16), (250, 500, 1000)) if quick else ((4, 8, 16, 32, 64), (250, 500, 1000, 2000, 4000))
    for name in ("linear", "net"):
        for what, values in (("coordinates", dims), ("particles", sizes)):
            found = []
            for v in values:
                d, n = (v, 500) if what == "coordinates" else (8, v)
                net = MLP((d,), width=32, depth=2, zero=True, key=KEY)
                scores = Linear() if name == "linear" else Trained(net, optax.adam(1e-3), steps=5, first=0)
                found.append(step_seconds(scores, d, n))
            slope = float(np.polyfit(np.log(values), np.log(found), 1)[0])
            rows.append(
                {
                    "case": f"score transport, {name}: seconds a step over {what}",
                    "sizes": list(values),
                    "seconds": found,
                    "exponent": slope,
                }
            )
            print(
                f"score transport, {name}: a step costs {what}^{slope:.2f}, {found[0]:.2e} s at {values[0]}", flush=True
            )
    return rows


def transport(quick):
    """Score-based transport."""
    return [warm_and_cold(Raw()), warm_and_cold(Whitened()), *growth(quick)]


def main():
    """Run, print, write JSON."""
    args = harness.arguments()
    rows = transport(args.quick)
    harness.write("pde", rows, ("thalweg", "jax"), args.out)


if __name__ == "__main__":
    main()
