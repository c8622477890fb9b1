"""The Gaussian process: covariances by differentiation, interpolation, the fit and its barrier, data that grow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import LEPS
from thalweg.rare import Coordinates, Data, Hyper, InverseDistances, Surrogate, blocks
from thalweg.rare.surrogate import AbstractFeatures


def wave(x):
    return jnp.sin(1.3 * x[0]) + 0.5 * x[0] * x[1] ** 2


def some(count=6, capacity=8, fn=wave, shape=(2,), seed=0):
    chance = np.random.default_rng(seed)
    points = jnp.asarray(chance.uniform(-1, 1, (capacity, *shape)))
    energies, gradients = jax.vmap(jax.value_and_grad(fn))(points)
    return Data(points, energies, gradients, jnp.asarray(count))


def atoms(count=5, capacity=6):
    surface, chance = LEPS(), np.random.default_rng(1)
    points = np.stack([surface.placed(b, 2) for b in chance.uniform(0.8, 2.0, (capacity, 2))])
    points = jnp.asarray(points + 0.05 * chance.standard_normal(points.shape))
    energies, gradients = jax.vmap(jax.value_and_grad(surface))(points)
    return Data(points, energies, gradients, jnp.asarray(count))


@pytest.mark.parametrize("features", [Coordinates(), InverseDistances()], ids=["coordinates", "distances"])
def test_the_covariance_is_the_kernel_and_its_derivatives(x64, features):
    data = atoms()
    surrogate = Surrogate(features, offset=0.7)
    logs = jnp.asarray([0.3, -0.4])
    x, y = data.points[0], data.points[1]

    def kernel(x, y):
        gap = features(x) - features(y)
        return jnp.exp(0.3) * jnp.exp(-0.5 * jnp.exp(-0.8) * gap @ gap) + 0.7

    got = np.asarray(surrogate.covariance(data, Hyper(logs))).reshape(6, 7, 6, 7)[0, :, 1]
    assert got[0, 0] == pytest.approx(float(kernel(x, y)), rel=1e-12)
    np.testing.assert_allclose(got[1:, 0], jax.grad(kernel, 0)(x, y).ravel(), atol=1e-12)
    np.testing.assert_allclose(got[0, 1:], jax.grad(kernel, 1)(x, y).ravel(), atol=1e-12)
    mixed = jax.jacfwd(jax.grad(kernel, 0), 1)(x, y).reshape(6, 6)
    np.testing.assert_allclose(got[1:, 1:], mixed, atol=1e-12)
    # It would show if the sign of the mixed block, or which of the two points it is of, were wrong.
    assert np.abs(mixed + got[1:, 1:]).max() > 0.1
    assert np.abs(got[1:, 0] - got[0, 1:]).max() > 0.01


def test_a_covariance_is_positive_and_empty_places_are_units(x64):
    matrix = np.asarray(Surrogate(Coordinates()).covariance(some(6), Hyper(jnp.zeros(2))))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > 0
    np.testing.assert_array_equal(matrix[18:], np.eye(24)[18:])
    u = jnp.zeros((2, 1))
    assert blocks(u, jnp.ones((2, 1, 1))).shape == (2, 2, 2, 2)


def test_it_passes_through_its_data_and_its_gradient_is_that_of_its_energy(x64):
    data = some(6)
    surrogate = Surrogate(Coordinates(), scale=1.0)
    post = surrogate.posterior(data, surrogate.first((2,), jnp.float64))
    assert bool(post.sound)
    energies = jax.vmap(post.energy)(data.points)
    gradients = jax.vmap(post.gradient)(data.points)
    np.testing.assert_allclose(energies[:6], data.energies[:6], atol=1e-3)
    np.testing.assert_allclose(gradients[:6], data.gradients[:6], atol=1e-3)
    # Between them it is near, and was not told: gradients are worth something.
    x = jnp.asarray([0.1, -0.2])
    assert float(post.energy(x)) == pytest.approx(float(wave(x)), abs=0.02)
    blind = eqx.tree_at(lambda d: d.gradients, data, -data.gradients)
    wrong = surrogate.posterior(blind, surrogate.first((2,), jnp.float64))
    assert abs(float(wrong.energy(x) - wave(x))) > 0.1
    h = 1e-5
    slope = (post.energy(x.at[0].add(h)) - post.energy(x.at[0].add(-h))) / (2 * h)
    assert float(post.gradient(x)[0]) == pytest.approx(float(slope), rel=1e-6)


def test_it_follows_shifts_of_energy_and_moves_of_all_atoms(x64):
    data, surrogate = atoms(), Surrogate()
    hyper = Hyper(jnp.asarray([-0.5, 0.8]))
    turn = jnp.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((2, 2)))[0])
    moved = Data(data.points @ turn + 3.0, data.energies + 7.0, data.gradients @ turn, data.count)
    x = data.points[0] + 0.05
    here, there = surrogate.posterior(data, hyper), surrogate.posterior(moved, hyper)
    assert float(there.energy(x @ turn + 3.0)) == pytest.approx(float(here.energy(x)) + 7.0, abs=1e-6)
    np.testing.assert_allclose(there.gradient(x @ turn + 3.0), here.gradient(x) @ turn, atol=1e-6)


def test_the_loss_is_that_of_a_gaussian_of_these_rows(x64):
    data, hyper = some(5), Hyper(jnp.asarray([0.4, -0.3]))
    surrogate = Surrogate(Coordinates(), ceiling=None, spread=2.0)
    rows = 5 * 3
    matrix = np.asarray(surrogate.covariance(data, hyper))[:rows, :rows]
    y = np.concatenate([(data.energies - data.energies[0])[:5, None], data.gradients[:5]], axis=1).ravel()
    truth = 0.5 * y @ np.linalg.solve(matrix, y) + 0.5 * np.linalg.slogdet(matrix)[1] + 0.5 * (0.3 / 2.0) ** 2
    assert float(surrogate.loss(data, hyper)) == pytest.approx(truth, rel=1e-9)
    with_barrier = Surrogate(Coordinates(), ceiling=2.0, spread=2.0)
    barrier = -(1e-4 + 1e-3 * 5) * np.log(np.log(2.0) - 0.4)
    assert float(with_barrier.loss(data, hyper)) == pytest.approx(truth + barrier, rel=1e-9)
    assert not np.isfinite(float(with_barrier.loss(data, Hyper(jnp.asarray([0.7, 0.0])))))


def test_a_fit_goes_down_to_where_the_slope_is_none(x64):
    data = some(6)
    surrogate = Surrogate(Coordinates(), scale=0.3, ceiling=None, steps=60, enough=0.0)
    start = surrogate.first((2,), jnp.float64)
    hyper, loss, steps = surrogate.fitted(data, start)
    assert float(loss) < float(surrogate.loss(data, start)) - 1.0
    assert float(loss) == pytest.approx(float(surrogate.loss(data, hyper)), rel=1e-9)
    slope = jax.grad(lambda logs: surrogate.loss(data, Hyper(logs)))(hyper.logs)
    assert float(jnp.max(jnp.abs(slope))) < 1e-3
    assert 2 < int(steps) < 60
    # One that ends where steps no longer pay is nearly as low, after fewer of them.
    soon, low, fewer = Surrogate(Coordinates(), scale=0.3, ceiling=None, steps=60).fitted(data, start)
    assert 0 < int(fewer) < int(steps)
    assert float(loss) <= float(low) < float(loss) + 1e-2
    assert float(low) == pytest.approx(float(surrogate.loss(data, soon)), rel=1e-9)
    # A start where nothing is finite is left for the first one; no steps leave it as it is.
    again, other, _ = surrogate.fitted(data, Hyper(jnp.full(2, jnp.nan)))
    assert float(other) == pytest.approx(float(loss), abs=1e-4)
    still, _, none = Surrogate(Coordinates(), steps=0).fitted(data, start)
    np.testing.assert_allclose(still.logs, start.logs)
    assert int(none) == 0
    assert np.isfinite(again.logs).all()


def test_the_barrier_keeps_the_variance_below_its_ceiling(x64):
    high = some(6, fn=lambda x: 30 * wave(x))
    variances = {}
    for ceiling in (2.0, None):
        surrogate = Surrogate(Coordinates(), ceiling=ceiling)
        hyper, _, _ = surrogate.fitted(high, surrogate.first((2,), jnp.float64))
        variances[ceiling] = float(hyper.variance)
    assert variances[2.0] < 2.0
    assert variances[None] > 20.0


def test_a_length_scale_for_every_pair_of_kinds():
    x = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    fixed = jnp.asarray([[4.0, 0.0], [0.0, 5.0]])
    features = InverseDistances(fixed, (0, 1, 0, 1, 0))
    pairs = np.concatenate([[1, 0.5, 5**-0.5], [0.25, 0.2, 1 / 3, 26**-0.5, 20**-0.5, 1 / 3]])
    np.testing.assert_allclose(features(x), pairs, rtol=1e-6)
    # 0-1, 0-0, 1-0; then with the fixed: 0-1, 0-0, 1-1, 1-0, 0-1, 0-0.
    np.testing.assert_array_equal(features.groups((3, 2)), [1, 0, 1, 1, 0, 2, 1, 1, 0])
    assert Surrogate(features).first((3, 2), jnp.float32).logs.shape == (4,)
    assert Surrogate(InverseDistances()).first((3, 2), jnp.float32).logs.shape == (2,)


def test_data_come_and_go_in_order():
    data = Data.first(4, jnp.asarray([1.0, 2.0]), jnp.asarray(0.5), jnp.asarray([0.1, 0.2]))
    for k in range(3):
        data = data.added(jnp.full(2, float(k)), jnp.asarray(float(k)), jnp.zeros(2))
    assert int(data.count) == 4
    np.testing.assert_array_equal(data.energies, [0.5, 0.0, 1.0, 2.0])
    fewer = data.without(1).added(jnp.full(2, 9.0), jnp.asarray(9.0), jnp.zeros(2))
    np.testing.assert_array_equal(fewer.energies, [0.5, 1.0, 2.0, 9.0])
    np.testing.assert_array_equal(data.taken(jnp.asarray([3, 0]), jnp.asarray(2)).energies, [2.0, 0.5])


class Counted(AbstractFeatures):
    """Coordinates that say how often they are traced."""

    traces: list = eqx.field(static=True)

    def __call__(self, x):
        self.traces.append(1)
        return x.ravel()


def test_more_data_are_not_compiled_anew(x64):
    traces: list[int] = []

    class Hashed(list):
        __hash__ = object.__hash__

    traces = Hashed()
    surrogate = Surrogate(Counted(traces))

    @eqx.filter_jit
    def both(data):
        hyper, _, _ = surrogate.fitted(data, Hyper(jnp.zeros(2)))
        return surrogate.posterior(data, hyper).energy(data.points[0])

    both(some(3))
    once = len(traces)
    assert once > 0
    for count in (4, 5, 8):
        both(some(count))
    assert len(traces) == once


def test_a_covariance_that_cannot_be_factorised_is_said_to_be(x64):
    data = some(6)
    broken = eqx.tree_at(lambda d: d.points, data, data.points.at[2].set(jnp.nan))
    assert not bool(Surrogate(Coordinates()).posterior(broken, Hyper(jnp.zeros(2))).sound)
    # Points on top of each other with no noise to speak of need more jitter, and say how much.
    same = eqx.tree_at(lambda d: d.points, data, jnp.broadcast_to(data.points[0], data.points.shape))
    tight = Surrogate(Coordinates(), noise=1e-30, jitter=0.0).posterior(same, Hyper(jnp.asarray([20.0, 3.0])))
    assert float(tight.jitter) > 1e-13


def test_bad_input():
    with pytest.raises(InputError, match="the barrier is infinite"):
        Surrogate(variance=2.0)
    with pytest.raises(InputError, match="noise=0"):
        Surrogate(noise=0.0)
    with pytest.raises(InputError, match="steps=-1"):
        Surrogate(steps=-1)
    with pytest.raises(InputError, match="expected atoms"):
        InverseDistances()(jnp.zeros(3))
    with pytest.raises(InputError, match="one atom"):
        Surrogate().first((1, 3), jnp.float32)
    with pytest.raises(InputError, match="expected 2 moving and 1 fixed"):
        Surrogate(InverseDistances(jnp.zeros((1, 3)), (0, 1))).first((2, 3), jnp.float32)
