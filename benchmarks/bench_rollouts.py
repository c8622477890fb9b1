"""Fixed-step SDE roll-outs against a hand-written scan, diffrax and torchsde; and the memory of a million samples.

Ornstein-Uhlenbeck, 4096 paths x 1000 steps x 2 dimensions, float32. Every result's variance is checked against the
exact one before its time is reported.
"""

import subprocess
import sys
from pathlib import Path

import harness
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.processes import OU, EulerMaruyama, simulate

HERE = Path(__file__).parent
PATHS, STEPS, T = 4096, 1000, 2.0
KEY = jax.random.key(0)
EXACT = 0.7**2 * (1 - np.exp(-2 * 1.5 * T)) / (2 * 1.5)


def checked(run):
    """A function, once its answer has the right variance (to 4.5 standard errors)."""
    x = np.asarray(run())
    error = EXACT * np.sqrt(2 / x.size)
    assert abs(x.var() - EXACT) < 4.5 * error + 2e-3, (x.var(), EXACT)
    return run


def ours():
    """`simulate` with Euler-Maruyama."""
    x0, ts = jnp.zeros((PATHS, 2)), jnp.linspace(0, T, STEPS + 1)
    process = OU(1.5, 0.0, 0.7)
    return lambda: jax.block_until_ready(simulate(process, x0, ts, method=EulerMaruyama(), key=KEY, throw=False).value)


def hand_written():
    """The same in one scan."""

    @jax.jit
    def scan(x, key):
        dt = T / STEPS

        def step(x, k):
            dw = jnp.sqrt(dt) * jax.random.normal(jax.random.fold_in(key, k), x.shape)
            return x - 1.5 * x * dt + 0.7 * dw, None

        return jax.lax.scan(step, x, jnp.arange(STEPS))[0]

    return lambda: jax.block_until_ready(scan(jnp.zeros((PATHS, 2)), KEY))


def diffrax_tree():
    """diffrax with the Brownian tree that its documentation recommends, tolerance 1e-3."""
    import diffrax

    @jax.jit
    def solve(keys):
        def one(key):
            noise = diffrax.VirtualBrownianTree(0.0, T, tol=1e-3, shape=(2,), key=key)
            drift = diffrax.ODETerm(lambda t, y, args: -1.5 * y)
            terms = diffrax.MultiTerm(drift, diffrax.ControlTerm(lambda t, y, args: 0.7 * jnp.eye(2), noise))
            out = diffrax.diffeqsolve(
                terms,
                diffrax.Euler(),
                0.0,
                T,
                T / STEPS,
                jnp.zeros(2),
                adjoint=diffrax.ForwardMode(),
                max_steps=STEPS + 8,
            )
            return out.ys[0]

        return jax.vmap(one)(keys)

    return lambda: jax.block_until_ready(solve(jax.random.split(KEY, PATHS)))


def torchsde_euler():
    """torchsde's Euler with its default Brownian interval."""
    import torch
    import torchsde

    class Process(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, y):
            return -1.5 * y

        def g(self, t, y):
            return torch.full_like(y, 0.7)

    def solve():
        with torch.no_grad():
            ts = torch.tensor([0.0, T])
            return torchsde.sdeint(Process(), torch.zeros(PATHS, 2), ts, dt=T / STEPS, method="euler")[-1]

    return solve


MEMORY = """
import harness, jax, jax.numpy as jnp
from thalweg.core import Velocity
from thalweg.flows import Fields, Gaussian, Independent, Linear, OneSided, Transport, Units
from thalweg.nets import MLP
key = jax.random.key(0)
net = Velocity(MLP((2,), width=256, depth=3, key=key))
units = Units(jnp.zeros(2), jnp.ones(2))
flow = Transport(Fields(velocity=net), OneSided(Linear()), Independent(), Gaussian((2,)), units, (2,))
x = flow.sample(1_000_000, key=key, steps=4)
assert x.shape == (1_000_000, 2)
print(harness.peak_memory())
"""


def memory():
    """Peak resident memory, in GiB, of a process that draws a million points in two dimensions."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, cwd=HERE)
    return float(done.stdout.split()[-1])


def main():
    """Run, print ratios, write JSON."""
    args = harness.arguments()
    functions = {"ours": checked(ours()), "hand-written scan": checked(hand_written())}
    times = harness.paired(functions, 3 if args.quick else 9)
    rows = [harness.row("Euler-Maruyama, 4096 x 1000 x 2", "ours", "hand-written scan", times, 1, "aim 0.77")]
    slow = {"ours": ours(), "diffrax, Brownian tree": checked(diffrax_tree()), "torchsde": checked(torchsde_euler())}
    times = harness.paired(slow, 1 if args.quick else 3)
    rows.append(harness.row("Euler-Maruyama, 4096 x 1000 x 2", "ours", "diffrax, Brownian tree", times, 1, "aim 10"))
    rows.append(harness.row("Euler-Maruyama, 4096 x 1000 x 2", "ours", "torchsde", times))
    peak = memory()
    print(f"peak memory of sampling 1 000 000 points in 2-d: {peak:.2f} GiB (aim: under 2)")
    rows.append({"case": "peak memory, 1 000 000 points in 2-d, GiB", "ours": peak, "aim": "2"})
    harness.write("rollouts", rows, ("thalweg", "jax", "diffrax", "torch", "torchsde"), args.out)


if __name__ == "__main__":
    main()
