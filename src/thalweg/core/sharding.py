"""Several devices, by JAX's own sharding: one wrapper for what is split, one function for what is copied.

    mesh = data_mesh()
    fit = Fit(objective, replicate(model, mesh), optimiser)
    run(fit, Sharded(pairs, mesh), steps=..., key=key)

The batch is split over the mesh, the parameters are copied to every device, and the compiler inserts the sums over
devices; random numbers do not depend on how they are split. The same code runs over several processes after
`jax.distributed.initialize`.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .errors import InputError


def data_mesh(devices: int | None = None) -> Mesh:
    """A one-axis mesh called `data` over all devices of all processes, or over the first `devices` of them.

    Raises:
        InputError: when more devices are asked for than there are.
    """
    there = jax.devices()
    count = len(there) if devices is None else devices
    if not 1 <= count <= len(there):
        raise InputError(
            f"data_mesh(devices={devices}): expected between 1 and {len(there)}, the devices that JAX sees"
        )
    return Mesh(np.asarray(there[:count]), ("data",), axis_types=(AxisType.Auto,))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copy every array of a tree to every device of the mesh; each process must hold the same numbers."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    def place(x):
        if not eqx.is_array(x):
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=str(jax.random.key_impl(x)))
        # From a callback, because `device_put` does not reach the devices of other processes.
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, everywhere, lambda index: host[index])

    return jax.tree.map(place, tree)


def split(tree: PyTree, mesh: Mesh) -> PyTree:
    """Constrain the leading axis of every array of a tree to be divided over the mesh (inside `jit`)."""
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, rows) if eqx.is_array(x) else x, tree)


class Sharded(eqx.Module):
    """A batch sampler whose batches are divided over the devices of a mesh; a wrapper around any other."""

    sampler: Callable
    mesh: Mesh = eqx.field(static=True)

    def __call__(self, key):
        """Draw a batch and divide its leading axis."""
        return split(self.sampler(key), self.mesh)
