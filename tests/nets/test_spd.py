"""Batch normalisation on the cone: what it promises of mean and spread, its symmetries, its flags and gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, load, save
from thalweg.core.spd import sym
from thalweg.core.spd_metric import AffineInvariant, BuresWasserstein, LogEuclidean
from thalweg.nets.spd import BiMap, LogEig, ReEig, SPDBatchNorm, svec


def batch(seed, count=12, n=4, spread=0.4):
    rng = np.random.default_rng(seed)
    base = np.diag([0.3, 1.0, 2.0, 5.0][:n])
    roots = np.eye(n) + spread * rng.normal(size=(count, n, n)) / np.sqrt(n)
    return jnp.asarray(roots @ base @ np.swapaxes(roots, 1, 2) + 1e-3 * np.eye(n))


FACTOR = np.array([[1.0, 0, 0, 0], [0.3, 0.8, 0, 0], [-0.2, 0.1, 1.3, 0], [0.1, 0.4, -0.3, 1.1]])
METRICS = {
    "Bures": BuresWasserstein,
    "general Bures": lambda: BuresWasserstein(jnp.asarray(FACTOR), 0.5),
    "affine": AffineInvariant,
    "log-Euclidean": LogEuclidean,
}
each = pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)


def with_bias(norm, bias, scale):
    return eqx.tree_at(lambda n: (n.bias, n.scale), norm, (jnp.asarray(bias), jnp.asarray(scale)))


@each
def test_the_batch_ends_at_the_bias_with_the_spread_that_was_asked_for(x64, make):
    bias = np.tril(0.3 * np.random.default_rng(0).normal(size=(4, 4))) + np.diag([1.0, 0.8, 1.5, 1.2])
    norm = with_bias(SPDBatchNorm(4, make(), iters=60, eps=1e-12), bias, 0.3)
    y, _, info = norm(batch(1), norm.start())
    assert int(info.outside_scaled) == 0
    # The logarithms at the bias have mean zero, and the mean of their squares is scale^2.
    W = sym(norm.bias @ norm.bias.T)
    logs = jax.vmap(lambda Y: norm.metric.log(W, Y))(y)
    average = jnp.mean(logs, axis=0)
    assert float(norm.metric.inner(W, average, average)) < 1e-14
    np.testing.assert_allclose(jnp.mean(jax.vmap(lambda V: norm.metric.inner(W, V, V))(logs)), 0.09, rtol=1e-6)
    assert float(info.residual) < 1e-8
    spread = norm.metric.mean(batch(1), iters=60).spread
    np.testing.assert_allclose(info.variance, spread**2, rtol=1e-8)


@each
def test_turning_the_batch_turns_the_result(x64, make):
    q = jnp.linalg.qr(jnp.asarray(np.random.default_rng(0).normal(size=(4, 4))))[0]
    norm, x = SPDBatchNorm(4, make()), batch(1)
    y, state, _ = norm(x, norm.start())
    if norm.metric.unit != 1.0:
        # M turns along: as a factor any L with L L^T = q M q^T.
        L = jnp.linalg.cholesky(sym(q @ jnp.asarray(FACTOR @ FACTOR.T) @ q.T))
        norm = eqx.tree_at(lambda n: n.metric.factor, norm, L)
    turned, other, _ = norm(q @ x @ q.T, norm.start())
    np.testing.assert_allclose(turned, q @ y @ q.T, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(other.mean, q @ state.mean @ q.T, rtol=1e-7, atol=1e-8)
    order = np.random.default_rng(1).permutation(len(x))
    np.testing.assert_allclose(norm(q @ x[order] @ q.T, norm.start())[0], turned[order], rtol=1e-7, atol=1e-8)


def test_the_affine_norm_is_whitening(x64):
    norm, x = SPDBatchNorm(4, AffineInvariant(), iters=60, eps=1e-12), batch(1)
    C = jnp.asarray(np.random.default_rng(3).normal(size=(4, 4)))
    spectrum = lambda y: jnp.linalg.eigvalsh(y)  # noqa: E731
    # A congruence of the whole batch only turns what comes out.
    np.testing.assert_allclose(
        spectrum(norm(C @ x @ C.T, norm.start())[0]), spectrum(norm(x, norm.start())[0]), rtol=1e-6
    )


def test_running_statistics_follow_the_batches(x64):
    norm, state = SPDBatchNorm(4, BuresWasserstein(), iters=30), None
    x = batch(1)
    run, state = eqx.filter_jit(norm), norm.start()
    for _ in range(150):
        y, state, info = run(x, state)
    metric = norm.metric
    np.testing.assert_allclose(state.mean, metric.mean(x).value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.variance, info.variance, rtol=1e-5)
    single, inside = norm.infer(x[3], state)
    np.testing.assert_allclose(single, y[3], rtol=1e-3, atol=1e-4)
    assert bool(inside)
    first = norm(x, norm.start())[1]
    expected = metric.geodesic(jnp.eye(4), metric.mean(x, iters=30).value, 0.1)
    np.testing.assert_allclose(first.mean, expected, rtol=1e-7)


def test_what_leaves_the_cone_is_counted(x64):
    calm = batch(1)
    norm = SPDBatchNorm(4, BuresWasserstein())
    # One direction that almost all agree in, and one matrix without it: its map has to shrink that direction.
    wild = calm.at[0].set(1e-4 * calm[0])
    _, _, info = with_bias(norm, np.eye(4), 3.0)(wild, norm.start())
    assert int(info.outside_scaled) > 0
    y, _, info = with_bias(norm, np.eye(4), 0.05)(wild, norm.start())
    assert int(info.outside_scaled) == 0
    assert float(jnp.linalg.eigvalsh(y).min()) > 0
    _, _, info = with_bias(SPDBatchNorm(4, AffineInvariant()), np.eye(4), 3.0)(wild, norm.start())
    assert int(info.outside_scaled) == int(info.outside_centred) == 0


class Net(eqx.Module):
    first: BiMap
    norm: SPDBatchNorm

    def __call__(self, x):
        y = self.norm(jax.vmap(self.first)(x), self.norm.start())[0]
        return jax.vmap(lambda m: svec(LogEig()(ReEig(1e-3)(m))))(y)


@pytest.mark.parametrize(
    ("make", "through"), [*((make, True) for make in METRICS.values()), (METRICS["general Bures"], False)]
)
def test_gradients_are_finite_where_eigenvalues_repeat_and_agree_with_differences(x64, key, make, through):
    metric = make()
    if hasattr(metric, "factor"):
        metric = type(metric)(jnp.asarray(FACTOR[:3, :3]), metric.power)
    # The first two matrices and the bias have repeated eigenvalues; in single precision the net is the same.
    net = Net(BiMap(4, 3, key=key), SPDBatchNorm(3, metric, through=through))
    net = jax.tree.map(lambda a: a.astype(jnp.float64) if eqx.is_inexact_array(a) else a, net)
    x = batch(1, 6).at[0].set(jnp.eye(4)).at[1].set(2 * jnp.eye(4))
    target = jnp.asarray(np.random.default_rng(2).normal(size=(6, 6)))
    loss = lambda net: jnp.sum(net(x) * target)  # noqa: E731
    grads = eqx.filter_jit(eqx.filter_grad(loss))(net)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    if through:
        tangent = lambda a: jnp.asarray(np.random.default_rng(7).normal(size=a.shape))  # noqa: E731
        step = jax.tree.map(lambda a: tangent(a) if eqx.is_inexact_array(a) else None, net)
        value, h = eqx.filter_jit(loss), 1e-6
        up = value(eqx.apply_updates(net, jax.tree.map(lambda e: h * e, step)))
        down = value(eqx.apply_updates(net, jax.tree.map(lambda e: -h * e, step)))
        slope = sum(jnp.sum(g * e) for g, e in zip(jax.tree.leaves(grads), jax.tree.leaves(step), strict=True))
        np.testing.assert_allclose((up - down) / (2 * h), slope, rtol=1e-4)


def test_the_pieces(x64, key):
    bimap = BiMap(5, 3, key=key)
    Q = bimap.stiefel()
    np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=1e-6)
    moved = eqx.tree_at(lambda b: b.weight, bimap, bimap.weight @ jnp.diag(jnp.asarray([2.0, 0.5, 3.0])) + 0.1)
    np.testing.assert_allclose(moved.stiefel().T @ moved.stiefel(), np.eye(3), atol=1e-6)
    x = jnp.asarray(np.cov(np.random.default_rng(0).normal(size=(5, 40))))
    np.testing.assert_allclose(bimap(x), Q.T @ x @ Q, rtol=1e-6)
    w = jnp.linalg.eigvalsh(ReEig(0.9)(x))
    np.testing.assert_allclose(w, jnp.maximum(jnp.linalg.eigvalsh(x), 0.9), rtol=1e-10)
    V = LogEig()(x)
    np.testing.assert_allclose(jnp.linalg.norm(svec(V)), jnp.linalg.norm(V), rtol=1e-12)
    np.testing.assert_allclose(jnp.linalg.eigvalsh(V), jnp.log(jnp.linalg.eigvalsh(x)), rtol=1e-9, atol=1e-12)


def test_it_is_saved_with_its_metric(tmp_path):
    norm = SPDBatchNorm(4, BuresWasserstein(jnp.asarray(FACTOR, jnp.float32), 0.5))
    save(tmp_path / "norm", norm)
    again = load(tmp_path / "norm")[0]
    x = batch(1).astype(jnp.float32)
    y = norm(x, norm.start())[0]
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(again(x, again.start())[0], y)


def test_bad_input_is_refused(key):
    norm = SPDBatchNorm(4, BuresWasserstein())
    x, start = batch(1).astype(jnp.float32), norm.start()
    for call, message in [
        (lambda: norm(x[:1], start), "batch of 1"),
        (lambda: norm(x[0], start), "batch, n, n"),
        (lambda: norm(batch(1, n=3), start), "made for"),
        (lambda: norm(-x, start), "eigenvalue"),
        (lambda: norm(x.at[2, 0, 1].add(0.1), start), "transpose"),
        (lambda: norm(x.at[2, 0, 1].set(jnp.nan), start), "non-finite"),
        (lambda: norm.infer(x, start), "expected \\(n, n\\)"),
        (lambda: SPDBatchNorm(0, AffineInvariant()), "at least 1"),
        (lambda: SPDBatchNorm(4, AffineInvariant(), iters=0), "at least 1"),
        (lambda: SPDBatchNorm(4, AffineInvariant(), momentum=0.0), "momentum"),
        (lambda: SPDBatchNorm(4, AffineInvariant(), eps=0.0), "variance 0"),
        (lambda: SPDBatchNorm(4, BuresWasserstein(jnp.eye(3))), "factor has shape"),
        (lambda: BiMap(3, 4, key=key), "at most as many"),
        (lambda: ReEig(0.0), "positive"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
