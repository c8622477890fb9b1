"""Sinkhorn divergences of large clouds: error, time and memory, and geomloss on clouds that it can hold.

Points in three dimensions, single precision, epsilon 0.01 where the clouds are about 1 wide. Asked for an L1 error of
the marginals of 1e-2; geomloss follows its own schedule and states no error, so that its value is compared with ours.
"""

import subprocess
import sys
import time
from pathlib import Path

import harness

EPSILON = 0.01
HERE = Path(__file__).parent

LARGE = """
import sys, time, harness, numpy as np, jax.numpy as jnp
from thalweg.ot import Transport, sinkhorn_divergence
n, epsilon = int(sys.argv[1]), float(sys.argv[2])
rungs = int(sys.argv[3]) if len(sys.argv) > 3 else None
rng = np.random.default_rng(0)
x = jnp.asarray(rng.uniform(size=(n, 3)), jnp.float32)
y = jnp.asarray(rng.uniform(size=(n, 3)) * [1.0, 0.5, 0.8] + [0.2, 0, 0], jnp.float32)
for _ in range(2 if n < 10_000 else 1):
    began = time.perf_counter()
    found = sinkhorn_divergence(Transport.points(x, y), epsilon, tolerance=1e-2, throw=False, rungs=rungs)
    value = float(found.value)
    print(time.perf_counter() - began)
print(value, float(found.marginal_error), bool(found.converged), int(found.cross.sinkhorn_steps), harness.peak_memory())
"""


def large(n, *rungs):
    """A divergence in a process of its own, so that its memory can be told; `rungs` of 0 is a cold start."""
    given = [str(x) for x in (n, EPSILON, *rungs)]
    done = subprocess.run([sys.executable, "-c", LARGE, *given], capture_output=True, text=True, check=True, cwd=HERE)
    *seconds, last = done.stdout.splitlines()
    value, error, converged, sweeps, memory = last.split()
    row = {
        "case": f"Sinkhorn divergence, {n} x {n} in 3-d, epsilon {EPSILON}" + ", from a cold start" * bool(rungs),
        "value": float(value),
        "marginal error": float(error),
        "converged": converged == "True",
        "sweeps of full size between the clouds": int(sweeps),
        "seconds of the first call, compilation included": float(seconds[0]),
        "peak memory, GiB": float(memory),
    }
    if len(seconds) > 1:
        row["seconds of the second call"] = float(seconds[1])
    print(row, flush=True)
    return row


def geomloss(n):
    """geomloss on the same clouds, its matrices in memory."""
    import numpy as np
    import torch
    from geomloss import SamplesLoss

    rng = np.random.default_rng(0)
    x = torch.tensor(rng.uniform(size=(n, 3)), dtype=torch.float32)
    y = torch.tensor(rng.uniform(size=(n, 3)) * [1.0, 0.5, 0.8] + [0.2, 0, 0], dtype=torch.float32)
    # Its cost is |x - y|^2 / 2 and its epsilon blur^2, so that twice its value at blur^2 = epsilon / 2 is ours.
    loss = SamplesLoss("sinkhorn", p=2, blur=(EPSILON / 2) ** 0.5, scaling=0.9, backend="tensorized")
    began = time.perf_counter()
    value = 2 * float(loss(x, y))
    row = {"case": f"geomloss, {n} x {n}", "value": value, "seconds": time.perf_counter() - began}
    print(row, flush=True)
    return row


def main():
    """Run, print, write JSON."""
    args = harness.arguments()
    rows = []
    for n in (2000,) if args.quick else (2000, 5000, 30_000):
        rows += [large(n), large(n, 0)]
    if not args.quick:
        rows.append(large(100_000))
    rows += [geomloss(n) for n in ((2000,) if args.quick else (2000, 5000))]
    harness.write("clouds", rows, ("thalweg", "jax", "geomloss", "torch"), args.out)


if __name__ == "__main__":
    main()
