"""Sinkhorn divergences of large clouds: error, time and memory, and geomloss on clouds that it can hold.

Points in three dimensions, single precision, epsilon 0.01 where the clouds are about 1 wide. Asked for an L1 error of
the marginals of 1e-2; geomloss follows its own schedule and states no error, so that its value is compared with ours.
"""

import subprocess
import sys
import time
from pathlib import Path

import harness
import numpy as np

EPSILON = 0.01
HERE = Path(__file__).parent

# In a process of its own, so that its memory can be told.
LARGE = "import sys, bench_clouds; bench_clouds.measure(*map(int, sys.argv[1:]))"


def clouds(n):
    """Two clouds in single precision, the second narrower and shifted."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(n, 3)), rng.uniform(size=(n, 3)) * [1.0, 0.5, 0.8] + [0.2, 0, 0]
    return x.astype(np.float32), y.astype(np.float32)


def measure(n, rungs=None):
    """Print the seconds of one divergence, or of two where that is quick, and what was found."""
    import jax.numpy as jnp

    from thalweg.ot import Transport, sinkhorn_divergence

    x, y = map(jnp.asarray, clouds(n))
    for _ in range(2 if n < 10_000 else 1):
        began = time.perf_counter()
        found = sinkhorn_divergence(Transport.points(x, y), EPSILON, tolerance=1e-2, throw=False, rungs=rungs)
        value = float(found.value)
        print(time.perf_counter() - began)
    told = float(found.marginal_error), bool(found.converged), int(found.cross.sinkhorn_steps)
    print(value, *told, harness.peak_memory())


def large(n, *rungs):
    """A divergence in a process of its own, so that its memory can be told; `rungs` of 0 is a cold start."""
    given = [str(x) for x in (n, *rungs)]
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
    import torch
    from geomloss import SamplesLoss

    x, y = map(torch.from_numpy, clouds(n))
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
