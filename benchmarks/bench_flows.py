"""Training and sampling of a flow against torchcfm, torchdiffeq and the bare matrix products of the same shapes.

Three hidden layers, batch 512, two dimensions, float32. The same work: the same multilayer perceptron (width, depth,
batch, Adam), the same number of Euler steps. Each side's result is checked before its time is reported.
"""

import equinox as eqx
import harness
import jax
import jax.numpy as jnp
import optax

from thalweg.core import Fit, Velocity, run
from thalweg.flows import Fields, FlowODE, Gaussian, Independent, Linear, Matching, OneSided, Pairs, Units
from thalweg.nets import MLP
from thalweg.processes import Euler, simulate

BATCH, STEPS, POINTS, GRID = 512, 200, 10_000, 100
KEY = jax.random.key(0)
DATA = jax.random.normal(KEY, (4096, 2)) * jnp.asarray([1.0, 0.3]) + jnp.asarray([2.0, -1.0])


def ours_training(width):
    """A compiled chunk of training steps."""
    net = MLP((2,), width=width, depth=3, key=KEY)
    units = Units(jnp.zeros(2), jnp.ones(2))
    pairs = Pairs(Gaussian((2,)), DATA, None, units, Independent(), batch=BATCH)
    fit = Fit(Matching(OneSided(Linear())), Fields(velocity=Velocity(net)), optax.adam(1e-3))
    result = run(fit, pairs, steps=STEPS, key=KEY)
    assert float(result.info.loss[-20:].mean()) < float(result.info.loss[:20].mean()), "training did not learn"
    return lambda: jax.block_until_ready(run(fit, pairs, steps=STEPS, key=KEY, throw=False).value.velocity.fn.last)


def hand_training(width):
    """The same training written as a bare scan: what `run` costs."""
    net = MLP((2,), width=width, depth=3, key=KEY)
    units = Units(jnp.zeros(2), jnp.ones(2))
    pairs = Pairs(Gaussian((2,)), DATA, None, units, Independent(), batch=BATCH)
    objective = Matching(OneSided(Linear()))
    params, static = eqx.partition(Fields(velocity=Velocity(net)), eqx.is_inexact_array)
    optimiser = optax.adam(1e-3)

    @jax.jit
    def chunk(params, state, data):
        problem = eqx.tree_at(lambda p: p.target, pairs, data)

        def step(carry, k):
            params, state = carry
            a, b = jax.random.split(jax.random.fold_in(KEY, k))
            loss, grads = jax.value_and_grad(lambda p: objective(eqx.combine(p, static), problem(a), key=b))(params)
            updates, state = optimiser.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, (params, state), jnp.arange(STEPS))

    return lambda: jax.block_until_ready(chunk(params, optimiser.init(params), DATA))


def matrix_products(width, rows, steps, training):
    """The products of the same shapes and nothing else: the limit.

    Forward, a chain through the layers; in training also the two products of the backward pass for each layer (one for
    the first, whose input needs no gradient). The chain keeps the compiler from dropping or sharing any of them.
    """
    sizes = [(2, width), (width, width), (width, width), (width, 2)]
    weights = [jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(jax.random.split(KEY, 4), sizes, strict=True)]
    x0 = jax.random.normal(KEY, (rows, 2))

    @jax.jit
    def chunk(weights, x):
        def step(carry, _):
            weights, x = carry
            inputs = []
            for w in weights:
                inputs.append(x)
                x = x @ w
            if training:
                g, new = x, []
                for i in reversed(range(4)):
                    new.append(inputs[i].T @ g)
                    g = g @ weights[i].T if i else g
                weights = [w + 1e-20 * d for w, d in zip(weights, reversed(new), strict=True)]
            return (weights, x), None

        return jax.lax.scan(step, (weights, x), None, length=steps)[0]

    return lambda: jax.block_until_ready(chunk(weights, x0))


def torch_net(width):
    """The same perceptron in torch: SELU-free, SiLU, time concatenated, as torchcfm's own."""
    import torch

    layers, size = [], 3
    for _ in range(3):
        layers += [torch.nn.Linear(size, width), torch.nn.SiLU()]
        size = width
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 2))


def torch_training(width):
    """torchcfm's loop, as in its examples."""
    import numpy as np
    import torch
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    net, data = torch_net(width), torch.from_numpy(np.asarray(DATA).copy())
    matcher, optimiser = ConditionalFlowMatcher(sigma=0.0), torch.optim.Adam(net.parameters(), 1e-3)

    def chunk():
        for _ in range(STEPS):
            x1 = data[torch.randint(len(data), (BATCH,))]
            t, x, u = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            loss = ((net(torch.cat([x, t[:, None]], 1)) - u) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return chunk


def ours_sampling(width):
    """Euler steps of the probability flow."""
    net = MLP((2,), width=width, depth=3, key=KEY)
    motion = FlowODE(Velocity(net), OneSided(Linear()))
    x0, ts = jax.random.normal(KEY, (POINTS, 2)), jnp.linspace(0, 1, GRID + 1)
    return lambda: jax.block_until_ready(simulate(motion, x0, ts, method=Euler(), key=KEY, throw=False).value)


def torch_sampling(width, library):
    """A plain loop, or torchdiffeq's fixed-step Euler."""
    import torch

    net, x0 = torch_net(width), torch.randn(POINTS, 2)

    def field(t, x):
        return net(torch.cat([x, t.expand(len(x), 1)], 1))

    def loop():
        with torch.no_grad():
            x = x0
            for k in range(GRID):
                x = x + field(torch.tensor(k / GRID), x) / GRID
            return x

    def diffeq():
        from torchdiffeq import odeint

        with torch.no_grad():
            return odeint(field, x0, torch.linspace(0, 1, 2), method="euler", options={"step_size": 1 / GRID})[-1]

    assert torch.allclose(loop(), diffeq(), atol=1e-4), "the two torch samplers disagree"
    return diffeq if library else loop


def main():
    """Run, print ratios, write JSON."""
    args = harness.arguments()
    repeats = 2 if args.quick else 7
    rows = []
    for width in (64, 256):
        times = harness.paired(
            {
                "ours": ours_training(width),
                "torchcfm": torch_training(width),
                "matrix products": matrix_products(width, BATCH, STEPS, training=True),
                "hand-written scan": hand_training(width),
            },
            repeats,
        )
        aim = {64: "aim 2.5", 256: "aim 2"}[width]
        rows.append(harness.row(f"training step, width {width}", "ours", "torchcfm", times, STEPS, aim))
        limit = "aim 0.75" if width == 256 else ""
        rows.append(harness.row(f"training step, width {width}", "ours", "matrix products", times, STEPS, limit))
        rows.append(harness.row(f"training step, width {width}", "ours", "hand-written scan", times, STEPS, "aim 0.97"))
        times = harness.paired(
            {
                "ours": ours_sampling(width),
                "torch loop": torch_sampling(width, library=False),
                "torchdiffeq": torch_sampling(width, library=True),
                "matrix products": matrix_products(width, POINTS, GRID, training=False),
            },
            repeats,
        )
        aim = "aim 5" if width == 64 else ""
        rows.append(harness.row(f"sampling 10 000 x 100, width {width}", "ours", "torch loop", times, 1, aim))
        rows.append(harness.row(f"sampling 10 000 x 100, width {width}", "ours", "torchdiffeq", times))
        limit = "aim 0.9" if width == 256 else ""
        rows.append(harness.row(f"sampling 10 000 x 100, width {width}", "ours", "matrix products", times, 1, limit))
    harness.write("flows", rows, ("thalweg", "jax", "torch", "torchcfm", "torchdiffeq"), args.out)


if __name__ == "__main__":
    main()
