"""Several devices give the numbers of one, up to the order of sums."""

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
