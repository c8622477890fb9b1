"""Several devices give the numbers of one, up to the order of sums."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.core.test_fit import Line, Squares, batches
from thalweg.core import Fit, InputError, Sharded, data_mesh, replicate, run

pytestmark = pytest.mark.skipif(len(jax.devices()) < 4, reason="needs four devices; conftest makes four host devices")


def test_data_parallel_training(key):
    fit = Fit(Squares(), Line(jnp.zeros(3)), optax.adam(0.05), ema=0.9, clip=1.0)
    alone = run(fit, batches, steps=50, key=key)
    mesh = data_mesh(4)
    together = run(replicate(fit, mesh), Sharded(batches, mesh), steps=50, key=key)
    np.testing.assert_allclose(together.info.loss, alone.info.loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together.value.w, alone.value.w, rtol=1e-4)
    assert len(together.value.w.sharding.device_set) == 4


def test_batches_are_divided(key):
    mesh = data_mesh(4)
    x, _ = jax.jit(Sharded(batches, mesh))(key)
    assert {s.data.shape for s in x.addressable_shards} == {(8, 3)}
    np.testing.assert_allclose(x, batches(key)[0], rtol=1e-6)


@pytest.mark.parametrize("devices", [0, 99])
def test_bad_counts(devices):
    with pytest.raises(InputError, match=r"the devices that JAX sees"):
        data_mesh(devices)


WORKER = """
import sys

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
port, process, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)

import jax.numpy as jnp
import numpy as np
import optax

from tests.core.test_fit import Line, Squares, batches
from thalweg.core import Fit, Sharded, data_mesh, replicate, run

assert len(jax.devices()) == 2 * processes
mesh = data_mesh()
fit = replicate(Fit(Squares(), Line(np.zeros(3, np.float32)), optax.adam(0.05), ema=0.9, clip=1.0), mesh)
key = replicate(jax.random.key(0), mesh)
result = run(fit, Sharded(batches, mesh), steps=30, key=key, throw=False)
print("RESULT", *np.asarray(result.value.w.addressable_data(0)), float(result.info.loss.addressable_data(0)[-1]))
"""


def start_worker(port, process, processes):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"THALWEG_TYPECHECK": "0"}
    command = [sys.executable, "-c", WORKER, str(port), str(process), str(processes)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], text=True, **pipes)


def finished(worker):
    out, err = worker.communicate(timeout=240)
    lines = [line for line in out.splitlines() if line.startswith("RESULT")]
    assert worker.returncode == 0, err[-2000:]
    assert lines, err[-2000:]
    return np.asarray([float(x) for x in lines[0].split()[1:]])


def test_two_processes_give_the_numbers_of_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = [start_worker(port, i, 2) for i in range(2)]
    first, second = (finished(w) for w in workers)
    np.testing.assert_array_equal(first, second)
    alone = finished(start_worker(0, 0, 1))
    np.testing.assert_allclose(first, alone, rtol=1e-4, atol=1e-6)
